//! npm: what it selects, fetches and installs is what is packed. What it says when it fails is shown whole.

use std::ffi::{OsStr, OsString};
use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::refuse;
use crate::failure::{At, Failure, shown};
use crate::pack_command::DEFAULT_MTIME;
use crate::step::{Said, in_path, run, said};

/// Where Debian has the modules of its npm: its own Node looks there by itself.
const DEBIAN: &str = "/usr/share/nodejs";

/// npm, set to work for one project.
pub(super) struct Npm {
    program: PathBuf,
    /// Whose configuration it reads.
    folder: PathBuf,
    work: PathBuf,
}

/// Where an installation happens, and with what.
pub(super) struct Place<'a> {
    /// The folder with `package.json` and the lock file.
    pub(super) app: &'a Path,
    /// The folder with the program `node`.
    pub(super) bin: &'a Path,
    /// The prefix with its headers.
    pub(super) headers: Option<&'a Path>,
}

impl Npm {
    pub(super) fn find(folder: &Path, work: &Path) -> anyhow::Result<Self> {
        match in_path("npm") {
            Some(program) => Ok(Self { program, folder: folder.to_owned(), work: work.to_owned() }),
            None => refuse("packing a Node application needs npm, which is not in PATH", "install Node.js with npm"),
        }
    }

    /// The version of the Node in PATH.
    pub(super) fn own_version(&self) -> anyhow::Result<String> {
        let Some(node) = in_path("node") else {
            return refuse("which Node to pack is not said, and none is in PATH", "name one: `--node VERSION`");
        };
        let mut command = Command::new(node);
        command.arg("--version").current_dir(&self.folder);
        let said = run(&mut command, "asking the Node in PATH for its version", |_| "`--node VERSION` names another")?;
        Ok(said.trim().trim_start_matches('v').to_owned())
    }

    /// Fetches something of the registry as it is there, compared with its digest there.
    pub(super) fn fetch(&self, name: &str, spec: &str) -> anyhow::Result<PathBuf> {
        let mut command = self.command();
        command.arg("pack").arg(format!("{name}@{spec}"));
        self.archive(
            command,
            &format!("fetching Node `{}` (`{name}` of npm's registry)", spec.escape_debug()),
            |said| {
                if ["etarget", "notarget", "e404", "invalid"].iter().any(|word| said.contains(word)) {
                    "`--node VERSION` takes another, `--node PATH` one that is here"
                } else {
                    hint(said)
                }
            },
        )
    }

    /// Writes the files that npm would publish of this folder to another one.
    pub(super) fn select(&self, from: &Path, to: &Path) -> anyhow::Result<()> {
        let mut command = self.command();
        command.args(["pack", "--ignore-scripts"]).arg(from);
        // npm before its version 11 runs `prepare` all the same; here by a shell that does nothing.
        if let Some(nothing) = in_path("true") {
            let idle = self.work.join("idle");
            fs::create_dir_all(&idle).at("creating", &idle)?;
            let shell = idle.join("sh");
            if !shell.exists() {
                symlink(nothing, &shell).at("creating", &shell)?;
            }
            first_in_path(&mut command, &idle)?;
        }
        let archive = self.archive(command, &format!("selecting the files of {}", shown(from)), hint)?;
        unpack(&archive, to, |_| true)?;
        fs::remove_file(&archive).at("removing", &archive)
    }

    /// Runs `npm pack`, and returns the archive that it made.
    fn archive(&self, mut command: Command, step: &str, hint: fn(&str) -> &'static str) -> anyhow::Result<PathBuf> {
        let folder = self.work.join("archives");
        fs::create_dir_all(&folder).at("creating", &folder)?;
        command.arg("--pack-destination").arg(&folder);
        run(&mut command, step, hint)?;
        let entries = fs::read_dir(&folder).at("reading", &folder)?;
        let found = entries.flatten().map(|entry| entry.path());
        match found.into_iter().find(|path| path.extension() == Some(OsStr::new("tgz"))) {
            Some(archive) => Ok(archive),
            None => refuse(format!("{step} failed: npm made no archive"), "see what `npm pack` says there"),
        }
    }

    /// Installs what the lock file says, for this Node, and run by it, so that all that is chosen or built by its version
    /// is for it.
    pub(super) fn install(&self, place: &Place<'_>) -> anyhow::Result<Said> {
        // By the path of its Node it finds its global settings, and that is another one now.
        let mut ask = self.command();
        ask.args(["config", "get", "globalconfig"]);
        let settings = run(&mut ask, "asking npm for its settings", hint)?;
        let mut command = Command::new(place.bin.join("node"));
        self.set_up(&mut command, place.app);
        let script = self.script()?;
        if script.starts_with(DEBIAN) {
            command.env("NODE_PATH", DEBIAN);
        }
        command.env("NPM_CONFIG_GLOBALCONFIG", settings.trim()).arg(script);
        // `include` has the last word on what `omit` leaves out, so whoever includes more by default does not do so here.
        command.args(["ci", "--omit=dev", "--include=prod", "--no-audit", "--no-fund", "--no-update-notifier"]);
        first_in_path(&mut command, place.bin)?;
        if let Some(headers) = place.headers {
            command.env("npm_config_nodedir", headers);
        }
        // What is compiled tells of no directory of this machine.
        for name in ["CFLAGS", "CXXFLAGS"] {
            let mut flags = std::env::var_os(name).unwrap_or_default();
            for folder in place.headers.into_iter().chain([&*self.work]) {
                flags.push(" -ffile-prefix-map=");
                flags.push(folder);
                flags.push("=/build");
            }
            command.env(name, flags);
        }
        said(&mut command, "installing the dependencies (`npm ci --omit=dev`)", install_hint)
    }

    /// The script that npm is: what is in PATH may be a program that chooses among several, with a Node of its own.
    fn script(&self) -> anyhow::Result<PathBuf> {
        let real = self.program.canonicalize().at("opening", &self.program)?;
        if real.file_name() == Some(OsStr::new("npm-cli.js")) {
            return Ok(real);
        }
        let mut command = self.command();
        command.args(["root", "--global"]);
        let root = run(&mut command, "asking npm where it is", hint)?;
        let script = Path::new(root.trim()).join("npm/bin/npm-cli.js");
        match script.is_file() {
            true => Ok(script),
            false => refuse(
                format!("{} is not npm itself, which is not at {} either", shown(&self.program), shown(&script)),
                "put the folder of a Node with its npm first in PATH",
            ),
        }
    }

    fn command(&self) -> Command {
        let mut command = Command::new(&self.program);
        self.set_up(&mut command, &self.folder);
        command
    }

    fn set_up(&self, command: &mut Command, folder: &Path) {
        command.current_dir(folder).env("TMPDIR", &self.work).env("npm_config_update_notifier", "false");
        // Whoever likes it silent wants to know all the same why it failed.
        command.env("npm_config_loglevel", "warn");
        if std::env::var_os("SOURCE_DATE_EPOCH").is_none() {
            command.env("SOURCE_DATE_EPOCH", DEFAULT_MTIME.to_string());
        }
        // What is said to another npm that this is a script of.
        let of_script = |name: &OsString| {
            let name = name.to_string_lossy();
            ["npm_package_", "npm_lifecycle_"].iter().any(|start| name.starts_with(start))
        };
        let names = std::env::vars_os().map(|(name, _)| name).filter(of_script);
        for name in names.chain(["INIT_CWD", "NODE_PATH"].map(OsString::from)) {
            command.env_remove(name);
        }
    }
}

/// Lets a command look for programs in this folder before all others.
fn first_in_path(command: &mut Command, folder: &Path) -> anyhow::Result<()> {
    let paths = std::env::var_os("PATH").unwrap_or_default();
    let paths = std::iter::once(folder.to_owned()).chain(std::env::split_paths(&paths));
    let paths = std::env::join_paths(paths).map_err(|error| Failure::usage("PATH").because(error))?;
    command.env("PATH", paths);
    Ok(())
}

/// Unpacks what is wanted of an archive of npm's, without the folder that all of it is in.
pub(super) fn unpack(archive: &Path, to: &Path, is_wanted: impl Fn(&Path) -> bool) -> anyhow::Result<()> {
    let file = fs::File::open(archive).at("opening", archive)?;
    let mut reader = tar::Archive::new(flate2::read::GzDecoder::new(file));
    fs::create_dir_all(to).at("creating", to)?;
    for entry in reader.entries().at("reading", archive)? {
        let mut entry = entry.at("reading", archive)?;
        let path: PathBuf = entry.path().at("reading", archive)?.components().skip(1).collect();
        let is_plain = path.components().all(|part| matches!(part, std::path::Component::Normal(_)));
        // npm takes nothing else either.
        if !entry.header().entry_type().is_file() || !is_plain || !is_wanted(&path) {
            continue;
        }
        let target = to.join(&path);
        if let Some(folder) = target.parent() {
            fs::create_dir_all(folder).at("creating", folder)?;
        }
        entry.unpack(&target).at("unpacking", &target)?;
    }
    Ok(())
}

/// What may help where something is installed.
fn install_hint(said: &str) -> &'static str {
    let says = |words: &[&str]| words.iter().any(|word| said.contains(word));
    match () {
        () if says(&["does not support node.js"]) => "put an npm that does first in PATH, or take a newer `--node`",
        () if says(&["gyp err! stack error: 404", "gyp err! stack fetcherror", "nodejs.org"]) => {
            "an addon is compiled with the headers of the Node: `--node VERSION`, or a prefix that has `include/node`"
        }
        () if says(&["cannot find -lnode"]) => {
            "Debian's node-gyp makes addons for Debian's Node alone: put another npm first in PATH"
        }
        () if says(&["gyp err!"]) => "an addon is compiled here: that needs a C++ compiler, make and Python 3",
        () if says(&["command sh -c"]) => {
            "an install script failed; it runs without what is needed only to develop, as where the package is installed"
        }
        () if says(&["ebadplatform"]) => "it is not for this platform: see that it is an optional dependency",
        () => hint(said),
    }
}

/// What may help, by what npm has said.
fn hint(said: &str) -> &'static str {
    let says = |words: &[&str]| words.iter().any(|word| said.contains(word));
    let is_unreachable =
        ["enotfound", "econnrefused", "econnreset", "etimedout", "eai_again", "enotcached", "network", "certificate"];
    match () {
        () if says(&["package-lock.json", "code eusage"]) => {
            "`npm install --package-lock-only` makes the lock file anew"
        }
        () if says(&is_unreachable) => "npm's registry has to be in reach",
        () if says(&["e401", "e403", "eneedauth"]) => "npm has to be logged in there: `npm login`",
        () if says(&["etarget", "e404", "eintegrity"]) => {
            "the registry has not what the lock file says; `npm install --package-lock-only` makes it anew"
        }
        () => "its own message says why",
    }
}
