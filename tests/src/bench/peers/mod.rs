//! Other tools that make one file of a program, at pinned versions.
//!
//! The bench installs none of them: each that is missing is named with the command that installs it.

mod javascript;
mod native;
mod python;

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, bail};

use super::args::Payload;
use super::session::Session;
use super::tools;

/// A tool, what it needs, and how it packs.
pub(super) struct Peer {
    /// With its version.
    pub(super) name: &'static str,
    /// What it can pack.
    pub(super) payloads: &'static [Payload],
    needs: &'static [Need],
    pack: fn(&Job<'_>) -> anyhow::Result<Vec<OsString>>,
}

/// Something that must be there.
#[derive(Clone, Copy)]
enum Need {
    /// A Python package in `DIR/venv`.
    Pip(&'static str, &'static str),
    /// A Node package in `DIR/npm`.
    Npm(&'static str, &'static str),
    /// A program in `PATH`, and the Debian package that has it.
    Program(&'static str, &'static str),
}

/// All of them; those for JavaScript last.
pub(super) const PEERS: [Peer; 9] = [
    Peer {
        name: "flavorpack 0.5.4, rs launcher",
        payloads: &[Payload::A, Payload::B, Payload::C],
        needs: &[Need::Pip("flavorpack", "0.5.4")],
        pack: native::flavor_rs,
    },
    Peer {
        name: "flavorpack 0.5.4, go launcher",
        payloads: &[Payload::A, Payload::B, Payload::C],
        needs: &[Need::Pip("flavorpack", "0.5.4")],
        pack: native::flavor_go,
    },
    Peer {
        name: "caxa 3.0.1",
        payloads: &[Payload::A, Payload::B, Payload::C],
        needs: &[Need::Program("node", "nodejs npm"), Need::Npm("caxa", "3.0.1")],
        pack: native::caxa,
    },
    Peer {
        name: "makeself, zstd",
        payloads: &[Payload::A, Payload::B, Payload::C],
        needs: &[Need::Program("makeself", "makeself"), Need::Program("zstd", "zstd")],
        pack: native::makeself,
    },
    Peer {
        name: "PyInstaller 6.22.3, one file *",
        payloads: &[Payload::B],
        needs: &[Need::Pip("pyinstaller", "6.22.3")],
        pack: python::pyinstaller,
    },
    Peer {
        name: "Nuitka 4.3.3, one file *",
        payloads: &[Payload::B],
        needs: &[
            Need::Program("gcc", "gcc"),
            Need::Program("patchelf", "patchelf"),
            Need::Pip("zstandard", "0.25.0"),
            Need::Pip("nuitka", "4.3.3"),
        ],
        pack: python::nuitka,
    },
    Peer {
        name: "shiv 1.0.8, no interpreter *",
        payloads: &[Payload::B],
        needs: &[Need::Pip("setuptools", "83.0.0"), Need::Pip("shiv", "1.0.8")],
        pack: python::shiv,
    },
    Peer {
        name: "Node SEA",
        payloads: &[Payload::J],
        needs: &[Need::Program("node", "nodejs npm"), Need::Npm("postject", "1.0.0-alpha.6")],
        pack: javascript::node_sea,
    },
    Peer {
        name: "Bun 1.4.5, compiled",
        payloads: &[Payload::J],
        needs: &[Need::Program("node", "nodejs npm"), Need::Npm("bun", "1.4.5")],
        pack: javascript::bun,
    },
];

/// What is to be packed, and with what.
struct Job<'a> {
    payload: Payload,
    /// What payloads A and C start.
    hello: &'a Path,
    /// The tree or the large file of the payload, where it has one.
    content: Option<&'a Path>,
    /// Where the tools are.
    tools: &'a Path,
    /// An empty directory for this job.
    work: &'a Path,
    /// The level that packages of `pspf` have.
    level: u32,
    env: Vec<(OsString, OsString)>,
}

impl Peer {
    /// Packs a payload; what starts it comes back. `Err` says what is missing, or what went wrong.
    pub(super) fn pack(
        &self,
        session: &Session,
        payload: Payload,
        content: Option<&Path>,
    ) -> anyhow::Result<Vec<OsString>> {
        let tools = session.args.peers_dir()?;
        for need in self.needs {
            need.find(&tools)?;
        }
        // A name for a directory.
        let name: String = self.name.chars().filter(char::is_ascii_alphanumeric).collect();
        let work = session.place.empty(&format!("peer-{name}-{payload}"))?;
        let (level, env) = (session.pspf.level, session.env(&work));
        (self.pack)(&Job { payload, hello: &session.hello, content, tools: &tools, work: &work, level, env })
    }
}

impl Need {
    fn find(self, tools: &Path) -> anyhow::Result<()> {
        let (found, name, install) = match self {
            Self::Pip(name, version) => {
                let install =
                    format!("python3 -m venv {0}/venv && {0}/venv/bin/pip install {name}=={version}", tools.display());
                (
                    site_packages(tools).is_ok_and(|p| p.join(format!("{name}-{version}.dist-info")).is_dir()),
                    name,
                    install,
                )
            }
            Self::Npm(name, version) => {
                let install = format!("npm install --prefix {}/npm {name}@{version}", tools.display());
                let description = tools.join("npm/node_modules").join(name).join("package.json");
                let found = fs::read_to_string(description).is_ok_and(|text| has_version(&text, version));
                (found, name, install)
            }
            Self::Program(name, package) => (tools::find(name).is_ok(), name, format!("apt-get install {package}")),
        };
        if found { Ok(()) } else { bail!("{name} is missing: {install}") }
    }
}

/// What a `package.json` says of its version.
fn has_version(text: &str, version: &str) -> bool {
    serde_json::from_str::<serde_json::Value>(text).is_ok_and(|value| value["version"] == version)
}

/// The directory of the Python packages of `DIR/venv`.
fn site_packages(tools: &Path) -> anyhow::Result<PathBuf> {
    let library = tools.join("venv/lib");
    let python = crate::sandbox::names(&library).into_iter().rfind(|name| name.starts_with("python3"));
    Ok(library.join(python.context("there is no Python in the virtual environment")?).join("site-packages"))
}

impl Job<'_> {
    /// Runs a step of packing in the directory of the job.
    fn run(&self, program: impl AsRef<Path>, args: &[&str]) -> anyhow::Result<()> {
        let mut command = Command::new(program.as_ref());
        command.args(args).current_dir(self.work).env_clear().envs(self.env.iter().map(|(name, value)| (name, value)));
        command.env("TMPDIR", self.work).env("HOME", self.work);
        let output = command.output().with_context(|| program.as_ref().display().to_string())?;
        if !output.status.success() {
            let said = [output.stdout, output.stderr].concat();
            bail!("{} {}: {}", program.as_ref().display(), args.join(" "), String::from_utf8_lossy(&said).trim());
        }
        Ok(())
    }

    /// A path in the directory of the job, as text.
    fn path(&self, name: &str) -> anyhow::Result<String> {
        Ok(self.work.join(name).to_str().context("the path of the work directory is not UTF-8")?.to_owned())
    }

    /// The file that the job made.
    fn made(&self, name: &str) -> Vec<OsString> {
        vec![self.work.join(name).into()]
    }

    /// Keeps what takes long to make beside the tools, and makes it only where it is not there.
    fn kept(&self, name: &str, make: impl FnOnce() -> anyhow::Result<PathBuf>) -> anyhow::Result<Vec<OsString>> {
        let kept = self.tools.join("built").join(name);
        if !kept.is_file() {
            let made = make()?;
            fs::create_dir_all(self.tools.join("built"))?;
            fs::copy(&made, &kept).with_context(|| format!("keeping {}", kept.display()))?;
        }
        // Measured where everything else is.
        let here = self.work.join(name);
        fs::copy(&kept, &here).with_context(|| format!("copying {}", kept.display()))?;
        Ok(vec![here.into()])
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Sandbox, Who};

    #[test]
    fn what_is_missing_is_named_with_the_command_that_installs_it() {
        let sandbox = Sandbox::new(Who::Caller);
        let tools = sandbox.work("tools");
        let missing =
            |need: Need| need.find(&tools).map_err(|error| error.to_string().replace(tools.to_str().unwrap(), "DIR"));
        let pip = "shiv is missing: python3 -m venv DIR/venv && DIR/venv/bin/pip install shiv==1.0.8";
        assert_eq!(missing(Need::Pip("shiv", "1.0.8")).unwrap_err(), pip);
        let npm = "caxa is missing: npm install --prefix DIR/npm caxa@3.0.1";
        assert_eq!(missing(Need::Npm("caxa", "3.0.1")).unwrap_err(), npm);
        let apt = "no-such-tool is missing: apt-get install no-such-package";
        assert_eq!(missing(Need::Program("no-such-tool", "no-such-package")).unwrap_err(), apt);

        // Another version is not the one that is named.
        sandbox.write("tools/npm/node_modules/caxa/package.json", r#"{ "version": "3.0.0" }"#);
        sandbox.write("tools/venv/lib/python3.11/site-packages/shiv-1.0.8.dist-info/METADATA", "");
        assert_eq!(missing(Need::Npm("caxa", "3.0.1")).unwrap_err(), npm);
        assert!(missing(Need::Npm("caxa", "3.0.0")).is_ok() && missing(Need::Pip("shiv", "1.0.8")).is_ok());
    }
}
