//! Payload P: Python applications as people install them, in a virtual environment, and packed by the recipe.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, ensure};

use super::{Start, warm_cache};

use crate::bench::args::Phase;
use crate::bench::case::Case;
use crate::bench::figure::{Figure, Unit};
use crate::bench::payloads::python::Installed;
use crate::bench::session::Session;

/// The most that a start may take, against the same application in a virtual environment.
const WARM: f64 = 1.05;

/// What is installed, and what is started of it.
const APPS: [(&str, &str, &str); 3] = [
    ("black==26.10.1", "black", "--version"),
    ("httpie==3.2.4", "http", "--version"),
    ("flask==3.1.0", "flask", "--version"),
];

pub(super) fn run(session: &mut Session) -> anyhow::Result<()> {
    let (warm, cold) = (session.args.wants(Phase::Warm), session.args.wants(Phase::Cold));
    if !warm && !cold {
        return Ok(());
    }
    let installed = Installed::find(session.args.python.as_deref())?;
    session.note(format!("P is {} with CPython {}", APPS.map(|(what, ..)| what).join(", "), installed.version));
    for (what, script, argument) in APPS {
        let environment = environment(session, &installed.prefix, what, script)?;
        let package = package(session, &environment, &installed.prefix, what, script)?;
        let bare = environment.join("bin").join(script);
        let start = Start { args: &[argument], says: b"" };
        // Each tells its own place, so that what they say differs.
        let any = |mut case: Case| {
            case.says = None;
            case
        };
        let stub = session.stub();
        if warm {
            let cases = vec![any(session.bare(&bare, start)), any(session.warm(&stub, &package, start))];
            let group = session.measure(&format!("P {script} warm"), 40, cases)?;
            let ratio = group.per_round([stub.name.as_str(), "bare"], |[start, bare]| start / bare);
            let name = format!("P, {script}: start / start in an environment");
            session
                .figures
                .extend(Figure::median("warm", name, Unit::Times, &ratio).map(|figure| figure.at_most(WARM)));
            session.keep(group)?;
        }
        if cold {
            let cases = vec![any(session.bare(&bare, start)), any(session.cold(&stub, &package, start))];
            let group = session.measure(&format!("P {script} cold"), 7, cases)?;
            let more = group.per_round([stub.name.as_str(), "bare"], |[start, bare]| start - bare);
            let name = format!("P, {script}: first start - start in an environment");
            session.figures.extend(Figure::median("cold", name, Unit::Milliseconds, &more));
            session.keep(group)?;
        }
        session.place.discard(&warm_cache(&package))?;
    }
    Ok(())
}

/// A virtual environment of this CPython, with this and all that it needs, compiled as pip does it.
fn environment(session: &Session, prefix: &Path, what: &str, script: &str) -> anyhow::Result<PathBuf> {
    let directory = session.place.path(format!("environment-{script}"));
    if !directory.join("bin").join(script).exists() {
        let mut make = Command::new(prefix.join("bin/python3"));
        step(make.args(["-I", "-m", "venv", "--clear"]).arg(&directory))?;
        let mut install = Command::new(directory.join("bin/python3"));
        install.args([
            "-I",
            "-m",
            "pip",
            "install",
            "--quiet",
            "--disable-pip-version-check",
            "--only-binary",
            ":all:",
        ]);
        step(install.arg(what).env("PIP_CACHE_DIR", session.place.path("pip")))?;
    }
    Ok(directory)
}

/// The same application as a package.
fn package(session: &Session, environment: &Path, prefix: &Path, what: &str, script: &str) -> anyhow::Result<PathBuf> {
    let package = session.place.path(format!("{script}.psp"));
    let mut pack = Command::new(&session.pspf.program);
    pack.args(["pack", "--python", what, "--entry", script, "--python-prefix"]).arg(prefix).arg("-o").arg(&package);
    if let Some(launcher) = session.stub().file {
        pack.arg("--launcher").arg(launcher);
    }
    // The pip of the environment installs where there is no uv, and nothing is kept outside of the work directory.
    let path = std::env::var_os("PATH").unwrap_or_default();
    let path = std::iter::once(environment.join("bin")).chain(std::env::split_paths(&path));
    let path: OsString = std::env::join_paths(path).context("PATH")?;
    pack.env("PATH", path).env("PSPF_CACHE_DIR", session.place.path("packing"));
    pack.env("PIP_CACHE_DIR", session.place.path("pip")).env("UV_CACHE_DIR", session.place.path("uv"));
    step(&mut pack)?;
    Ok(package)
}

fn step(command: &mut Command) -> anyhow::Result<()> {
    let output = command.output().with_context(|| format!("starting {command:?}"))?;
    ensure!(output.status.success(), "{command:?}:\n{}", String::from_utf8_lossy(&output.stderr));
    Ok(())
}
