//! The installer: uv where it is, else pip. What it says when it fails is shown whole, under a line that says at what.

use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use super::refuse;
use super::resolve::{Requirements, canonical};
use super::runtime::Runtime;
use crate::failure::{At, shown};
use crate::project_copy::copy_project;
use crate::step::in_path;

/// The installer, set to work for one interpreter.
pub(super) struct Tool {
    kind: Kind,
    program: PathBuf,
    python: PathBuf,
    work: PathBuf,
    build_sdists: bool,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Uv,
    /// A Python that has it.
    Pip,
}

/// A wheel that was built here.
pub(super) struct Wheel {
    pub(super) path: PathBuf,
    /// Canonical (PEP 503).
    pub(super) name: String,
}

impl Tool {
    pub(super) fn find(runtime: &Runtime, work: &Path, build_sdists: bool) -> anyhow::Result<Self> {
        let python = runtime.path.join("bin").join(&runtime.program);
        let found = |kind, program: PathBuf| Self { kind, program, python, work: work.to_owned(), build_sdists };
        if let Some(uv) = in_path("uv") {
            return Ok(found(Kind::Uv, uv));
        }
        let has_pip = |program: &PathBuf| {
            let mut command = Command::new(program);
            command.args(["-m", "pip", "--version"]).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
            command.status().is_ok_and(|status| status.success())
        };
        match ["python3", "python"].iter().filter_map(|name| in_path(name)).find(has_pip) {
            Some(python) => Ok(found(Kind::Pip, python)),
            None => refuse("installing a Python application needs uv or pip, and neither is in PATH", "install uv"),
        }
    }

    /// Builds the wheel of a project, in a copy of it: build backends leave things behind.
    pub(super) fn build(&self, folder: &Path) -> anyhow::Result<Wheel> {
        // A new place for each, so that nothing is taken for what was built there before; by number, so that what a
        // compiler tells of it is the same each time.
        let numbered = (1..).map(|number: u32| self.work.join(format!("build-{number}")));
        let place = numbered.into_iter().find(|place| !place.exists()).unwrap_or_else(|| self.work.join("build"));
        fs::create_dir(&place).at("creating", &place)?;
        let (copy, wheels) = (place.join("project"), place.join("wheels"));
        copy_project(folder, &copy, &self.work)?;
        let mut command = self.command(&copy);
        match self.kind {
            Kind::Uv => command
                .args(["build", "--wheel", "--no-create-gitignore", "--python"])
                .arg(&self.python)
                .arg("--out-dir"),
            Kind::Pip => command.args(["wheel", "--no-deps", "--wheel-dir"]),
        };
        command.arg(&wheels).arg(&copy);
        run(&mut command, &format!("building {}", shown(folder)))?;
        let entries = fs::read_dir(&wheels).at("reading", &wheels)?;
        let path = entries.flatten().map(|entry| entry.path()).find(|path| path.extension() == Some(OsStr::new("whl")));
        let Some(path) = path else {
            return refuse(format!("building {}: no wheel was made", shown(folder)), "look at its `[build-system]`");
        };
        let file = path.file_name().unwrap_or_default().to_string_lossy();
        let name = canonical(file.split('-').next().unwrap_or_default());
        Ok(Wheel { path, name })
    }

    /// The dependencies that the lock file in `lock` names for the project in `folder`.
    pub(super) fn export(&self, folder: &Path, lock: &Path) -> anyhow::Result<Requirements> {
        if self.kind == Kind::Pip {
            return refuse(
                format!("{} is a lock file of uv, which is not in PATH", shown(&lock.join("uv.lock"))),
                "install uv",
            );
        }
        let mut command = self.command(folder);
        command.args([
            "export",
            "--locked",
            "--no-dev",
            "--no-default-groups",
            "--no-editable",
            "--no-emit-project",
            "--no-header",
            "--no-annotate",
            "--quiet",
        ]);
        command.arg("--python").arg(&self.python);
        command.args(["--format", "requirements-txt", "--project"]).arg(folder);
        let text = run(&mut command, "reading `uv.lock`")?;
        Ok(Requirements::parse(&text))
    }

    /// What has to be installed for these requirements, themselves included, with the digest of each file.
    pub(super) fn resolve(&self, requirements: &[String], folder: &Path) -> anyhow::Result<Requirements> {
        let input = self.work.join("wanted.txt");
        fs::write(&input, requirements.join("\n") + "\n").at("writing", &input)?;
        self.resolve_file(&input, folder)
    }

    /// The same for a file of them.
    pub(super) fn resolve_file(&self, input: &Path, folder: &Path) -> anyhow::Result<Requirements> {
        let text = fs::read_to_string(input).at("reading", input)?;
        let mut command = self.command(folder);
        match self.kind {
            Kind::Uv => {
                command.args(["pip", "compile", "--quiet", "--generate-hashes", "--no-header", "--no-annotate"]);
                command.arg("--python").arg(&self.python).args(self.wheels_only()).arg(input);
            }
            Kind::Pip => {
                command.arg("--python").arg(&self.python);
                command.args(["install", "--quiet", "--dry-run", "--ignore-installed", "--report", "-", "-r"]);
                command.arg(input).args(self.wheels_only());
            }
        }
        let wanted: Vec<&str> = text.lines().map(str::trim).filter(|line| !line.is_empty()).take(3).collect();
        let text = run(&mut command, &format!("resolving `{}`", wanted.join(", ").escape_debug()))?;
        match self.kind {
            Kind::Uv => Ok(Requirements::parse(&text)),
            Kind::Pip => Requirements::of_report(&text),
        }
    }

    /// Installs exactly these, each held to its digest where the list has them.
    pub(super) fn install(&self, wanted: &Requirements, target: &Path, folder: &Path) -> anyhow::Result<()> {
        if wanted.is_empty() {
            return Ok(());
        }
        let list = self.work.join("install.txt");
        fs::write(&list, wanted.text()).at("writing", &list)?;
        let mut command = self.install_command(target, folder);
        command.args(self.wheels_only()).args(wanted.has_hashes().then_some("--require-hashes")).arg("-r").arg(&list);
        run(&mut command, "installing the dependencies").map(drop)
    }

    /// Installs what a file lists with digests, which says all.
    pub(super) fn install_file(&self, file: &Path, target: &Path, folder: &Path) -> anyhow::Result<()> {
        let mut command = self.install_command(target, folder);
        command.args(self.wheels_only()).arg("--require-hashes").arg("-r").arg(file);
        run(&mut command, "installing the dependencies").map(drop)
    }

    /// Installs a wheel alone.
    pub(super) fn install_wheel(&self, wheel: &Path, target: &Path) -> anyhow::Result<()> {
        let mut command = self.install_command(target, &self.work);
        command.arg(wheel);
        run(&mut command, &format!("installing {}", shown(wheel))).map(drop)
    }

    fn install_command(&self, target: &Path, folder: &Path) -> Command {
        let mut command = self.command(folder);
        match self.kind {
            Kind::Uv => {
                command.args([
                    "pip",
                    "install",
                    "--quiet",
                    "--link-mode",
                    "copy",
                    "--no-break-system-packages",
                    "--python",
                ]);
                command.arg(&self.python)
            }
            Kind::Pip => command.arg("--python").arg(&self.python).args([
                "install",
                "--quiet",
                "--no-compile",
                "--no-warn-script-location",
            ]),
        };
        command.args(["--no-deps", "--target"]).arg(target);
        command
    }

    /// Whether what a marker says (PEP 508) is true for the interpreter that is packed.
    pub(super) fn applies(&self, marker: &str) -> anyhow::Result<bool> {
        let input = self.work.join("marker.txt");
        // Anything that every index has; its name alone is looked at.
        fs::write(&input, format!("pip ; {marker}\n")).at("writing", &input)?;
        // Where that cannot be found out, building it tells more.
        Ok(self.resolve_file(&input, &self.work).map_or(true, |list| !list.is_empty()))
    }

    /// What the caller says to compilers, and that they name the place of this build by what is the same each time.
    fn compiler_options(&self) -> std::ffi::OsString {
        let mut options = std::env::var_os("CFLAGS").unwrap_or_default();
        // They are words with spaces between them.
        if self.work.to_string_lossy().contains(char::is_whitespace) {
            return options;
        }
        options.push(" -ffile-prefix-map=");
        options.push(&self.work);
        options.push("=.");
        options
    }

    fn wheels_only(&self) -> &'static [&'static str] {
        if self.build_sdists { &[] } else { &["--only-binary", ":all:"] }
    }

    /// The tool in this folder, whose configuration it reads.
    fn command(&self, folder: &Path) -> Command {
        let mut command = Command::new(&self.program);
        if self.kind == Kind::Pip {
            command.args(["-m", "pip", "--disable-pip-version-check", "--no-input"]);
        }
        // A file of the project is no module of the installer's.
        command
            .current_dir(folder)
            .env("PYTHONSAFEPATH", "1")
            .env("UV_PYTHON_DOWNLOADS", "never")
            .env("UV_NO_PROGRESS", "1")
            .env("TMPDIR", &self.work)
            .env("PWD", folder)
            .env("CFLAGS", self.compiler_options());
        if std::env::var_os("SOURCE_DATE_EPOCH").is_none() {
            command.env("SOURCE_DATE_EPOCH", crate::pack_command::DEFAULT_MTIME.to_string());
        }
        for name in [
            "PYTHONHOME",
            "PYTHONPATH",
            "VIRTUAL_ENV",
            "PIP_TARGET",
            "PIP_USER",
            "PIP_REQUIRE_VIRTUALENV",
            "UV_SYSTEM_PYTHON",
        ] {
            command.env_remove(name);
        }
        command
    }
}

/// Runs a step of the installer's and returns what it printed.
pub(super) fn run(command: &mut Command, step: &str) -> anyhow::Result<String> {
    crate::step::run(command, step, hint)
}

/// What may help, by what a tool has said.
fn hint(said: &str) -> &'static str {
    let says = |words: &[&str]| words.iter().any(|word| said.contains(word));
    match () {
        () if says(&["lockfile", "uv.lock", "`uv lock`"]) => "`uv lock` writes the lock file that fits",
        () if says(&["fetch", "connect", "dns", "timed out", "network", "offline"]) => {
            "what it fetches from has to be in reach"
        }
        () if says(&["no usable wheels", "only-binary", "source distributions is disabled", "building source"]) => {
            "`--build-sdists` builds what has no wheel, by running its own code"
        }
        () if says(&["build-system", "build backend", "build_meta", "failed to build"]) => {
            "look at its `[build-system]`"
        }
        () => "its own message says why",
    }
}
