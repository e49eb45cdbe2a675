//! The interpreter: a CPython of somebody's, copied without what only its makers need, and made to run in any place.

use std::fs;
use std::io::Read;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::tool::run;
use super::{refuse, relocatable};
use crate::elf::Object;
use crate::failure::{At, Failure, shown};
use crate::host;
use crate::step::in_path;

/// The variable that names the directories of the other slots.
pub(super) const PATH_VARIABLE: &str = "PSPF_PYTHONPATH";
/// What adds them, in every interpreter that the application starts: `-I` knows no other way.
const SITE: &str = "\"\"\"Adds the directories of the package to the path, as `site` does with its own.\"\"\"\n\n\
    import os\nimport site\n\nfor path in os.environ.get(\"PSPF_PYTHONPATH\", \"\").split(os.pathsep):\n    \
    if path:\n        site.addsitedir(path)\n";
/// Where headers are in a prefix.
const HEADERS: &str = "include";
/// Folders of the standard library that are there to test it.
const TESTS: [&str; 3] = ["test", "tests", "idle_test"];

/// An interpreter that is being packed.
#[derive(Debug)]
pub(super) struct Runtime {
    /// Its prefix, here.
    pub(super) path: PathBuf,
    /// The name of its program in `bin`, as `python3.13`.
    pub(super) program: String,
}

impl Runtime {
    /// Copies the interpreter with this prefix, or in this archive; without either, one that uv manages, of the versions
    /// that the project asks for.
    pub(super) fn stage(given: Option<&Path>, versions: Option<&str>, work: &Path) -> anyhow::Result<Self> {
        let prefix = match given {
            Some(path) if path.is_dir() => path.canonicalize().at("opening", path)?,
            Some(path) => unpack(path, &work.join("unpacked"))?,
            None => managed(versions, work)?,
        };
        hold_apart(&prefix)?;
        let program = program(&prefix)?;
        let runtime = Self { path: work.join("python"), program };
        let copy = Copy {
            prefix: &prefix,
            library: &runtime.program,
            is_shared: ["/usr", "/usr/local"].iter().any(|path| prefix == Path::new(path)),
        };
        copy.all(&prefix, &runtime.path)?;
        let site = runtime.path.join("lib").join(&runtime.program).join("sitecustomize.py");
        fs::write(&site, SITE).at("writing", &site)?;
        relocatable::relocate(&runtime.path, &prefix)?;
        runtime.hold_to_place(&prefix)?;
        Ok(runtime)
    }

    /// Removes what only compilers need.
    pub(super) fn without_headers(&self) -> anyhow::Result<()> {
        let headers = self.path.join(HEADERS);
        if headers.exists() { fs::remove_dir_all(&headers).at("removing", &headers) } else { Ok(()) }
    }

    /// Fails unless it runs where it is now.
    fn hold_to_place(&self, prefix: &Path) -> anyhow::Result<()> {
        let python = self.path.join("bin").join(&self.program);
        let mut command = Command::new(&python);
        command.args(["-I", "-B", "-c", "import sys, sysconfig, zlib; print(sys.prefix)"]).env_clear().current_dir("/");
        let step = format!("starting the copy of {}", shown(prefix));
        let said = run(&mut command, &step)?;
        if Path::new(said.trim_end()) != self.path {
            return refuse(
                format!(
                    "the CPython of {} cannot be moved: its copy uses {}",
                    shown(prefix),
                    shown(Path::new(said.trim_end()))
                ),
                "take a relocatable CPython, as python-build-standalone has them",
            );
        }
        Ok(())
    }

    /// Looks at every binary of the package: they are for one machine, and what they need of the host is told.
    pub(super) fn finish(&self, trees: &[&Path], notes: &mut Vec<String>) -> anyhow::Result<()> {
        let all: Vec<&Path> = [self.path.as_path()].iter().chain(trees).copied().collect();
        let mut objects = host::objects(&all)?;
        let machine = objects.get(&self.path.join("bin").join(&self.program)).map(|object| object.machine);
        let foreign = |object: &Object| Some(object.machine) != machine;
        // What is imported has to be of the same; some tools bring programs for several machines.
        if let Some((path, _)) = objects.iter().find(|(path, object)| foreign(object) && is_extension_module(path)) {
            let file = path.file_name().unwrap_or_default();
            return refuse(
                format!("{} is for another machine than the interpreter", shown(Path::new(file))),
                "install a wheel for the machine that the package is for",
            );
        }
        objects.retain(|_, object| !foreign(object));
        notes.extend(host::needs(&objects, "a CPython of python-build-standalone brings its own"));
        Ok(())
    }
}

/// Whether the name says that it is loaded by this interpreter, or by every one (PEP 3149, PEP 384).
fn is_extension_module(path: &Path) -> bool {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    name.ends_with(".so") && (name.contains(".cpython-") || name.contains(".abi3."))
}

/// The newest interpreter that uv manages, of these versions (PEP 440); where there is none, uv fetches one, if it may.
fn managed(versions: Option<&str>, work: &Path) -> anyhow::Result<PathBuf> {
    let hint = "name one: `--python-prefix DIR`, or an archive of python-build-standalone";
    let Some(uv) = in_path("uv") else { return refuse("which CPython to pack is not said", hint) };
    let step = |words: &[&str], step: &str| {
        let mut command = Command::new(&uv);
        command.arg("python").args(words).args(versions).current_dir(work).env("UV_NO_PROGRESS", "1");
        // It is for this package, and not for the user's PATH.
        run(command.env("UV_PYTHON_INSTALL_BIN", "0"), step)
    };
    let find = ["find", "--managed-python", "--no-project", "--resolve-links"];
    let found = step(&find, "finding a CPython that uv manages").or_else(|_| {
        step(&["install", "--no-config"], "fetching a CPython with uv (`--python-prefix DIR` names one that is here)")?;
        step(&find, "finding the CPython that uv has fetched")
    })?;
    match Path::new(found.trim_end()).ancestors().nth(2) {
        Some(prefix) if prefix.is_absolute() => Ok(prefix.to_owned()),
        _ => refuse("which CPython to pack is not said", hint),
    }
}

/// Unpacks an archive and finds the interpreter in it.
fn unpack(archive: &Path, target: &Path) -> anyhow::Result<PathBuf> {
    let name = archive.file_name().unwrap_or_default().to_string_lossy();
    let file = fs::File::open(archive).at("opening", archive)?;
    let reader: Box<dyn Read> = match () {
        () if name.ends_with(".tar.gz") || name.ends_with(".tgz") => Box::new(flate2::read::GzDecoder::new(file)),
        () if name.ends_with(".tar.zst") => Box::new(zstd::Decoder::new(file).at("reading", archive)?),
        () => {
            return refuse(
                format!("{} is neither a directory nor a `.tar.gz` or `.tar.zst` archive", shown(archive)),
                "name the prefix of a CPython",
            );
        }
    };
    tar::Archive::new(reader).unpack(target).map_err(|error| {
        let failure = Failure::usage(format!("unpacking {}", shown(archive))).because(error);
        failure.hint("take an archive of python-build-standalone, whole")
    })?;
    // `install_only` archives have it in `python`, full ones in `python/install`.
    let places = [target.join("python/install"), target.join("python"), target.to_owned()];
    match places.into_iter().find(|place| place.join("bin").is_dir()) {
        Some(place) => Ok(place),
        None => {
            refuse(format!("{} holds no `bin/python3`", shown(archive)), "take an archive of python-build-standalone")
        }
    }
}

/// A virtual environment is no interpreter: it has links to one.
fn hold_apart(prefix: &Path) -> anyhow::Result<()> {
    let Ok(settings) = fs::read_to_string(prefix.join("pyvenv.cfg")) else { return Ok(()) };
    let home = settings.lines().find_map(|line| line.split_once('=').filter(|(key, _)| key.trim() == "home"));
    let home = home.map_or(Path::new(""), |(_, home)| Path::new(home.trim()));
    let link = prefix.join("bin/python");
    let end = fs::read_link(&link).unwrap_or_else(|_| home.join("python3"));
    refuse(
        format!("{} is a virtual environment: {} leads to {}", shown(prefix), shown(&link), shown(&end)),
        &format!(
            "name the interpreter that it was made with: `--python-prefix {}`",
            home.parent().unwrap_or(home).display()
        ),
    )
}

/// The program of a prefix: what `python3` is there.
fn program(prefix: &Path) -> anyhow::Result<String> {
    let bin = prefix.join("bin");
    let wrong = |reason: String| {
        refuse(
            format!("{}: {reason}", shown(prefix)),
            "name the prefix of a CPython 3: it holds `bin/python3` and `lib/python3.N`",
        )
    };
    let is_versioned = |name: &str| name.strip_prefix("python3.").is_some_and(|minor| minor.parse::<u16>().is_ok());
    let real = bin.join("python3").canonicalize().ok().and_then(|path| path.file_name()?.to_str().map(str::to_owned));
    let mut names: Vec<String> = real.into_iter().collect();
    names.extend(
        fs::read_dir(&bin).into_iter().flatten().flatten().filter_map(|entry| entry.file_name().into_string().ok()),
    );
    let Some(name) = names.into_iter().find(|name| is_versioned(name)) else {
        return wrong("there is no `bin/python3.N`".to_owned());
    };
    if name.trim_start_matches("python3.").parse::<u16>().is_ok_and(|minor| minor < 9) {
        return wrong(format!("{name} is too old: byte code for read-only trees needs 3.9"));
    }
    if !prefix.join("lib").join(&name).join("os.py").is_file() {
        return wrong(format!("there is no standard library at `lib/{name}`"));
    }
    Ok(name)
}

/// What of a prefix is copied.
struct Copy<'a> {
    /// `python3.N`, the program and the folder of the standard library.
    library: &'a str,
    /// Whether others have files in this prefix.
    is_shared: bool,
    /// The prefix itself, without links.
    prefix: &'a Path,
}

impl Copy<'_> {
    fn all(&self, prefix: &Path, target: &Path) -> anyhow::Result<()> {
        let bin = target.join("bin");
        fs::create_dir_all(&bin).at("creating", &bin)?;
        let program = prefix.join("bin").join(self.library);
        fs::copy(&program, bin.join(self.library)).at("copying", &program)?;
        for name in ["python3", "python"] {
            symlink(self.library, bin.join(name)).at("creating", &bin.join(name))?;
        }
        // What extension modules are compiled with; it is not packed.
        let headers = prefix.join(HEADERS).join(self.library);
        if headers.is_dir() {
            let to = target.join(HEADERS);
            fs::create_dir(&to).at("creating", &to)?;
            self.folder(&headers, &to.join(self.library), Where::Inside)?;
        }
        for folder in ["lib", "lib64"] {
            let from = prefix.join(folder);
            // A link to the other one is not needed.
            if from.symlink_metadata().is_ok_and(|found| found.is_dir()) {
                self.folder(&from, &target.join(folder), Where::Lib)?;
            }
        }
        Ok(())
    }

    fn folder(&self, from: &Path, to: &Path, place: Where) -> anyhow::Result<()> {
        for entry in fs::read_dir(from).at("reading", from)? {
            let path = entry.at("reading", from)?.path();
            let Some(name) = path.file_name().and_then(|name| name.to_str()) else { continue };
            let target = to.join(name);
            let Some(inside) = self.wanted(name, &path, place) else { continue };
            fs::create_dir_all(to).at("creating", to)?;
            // What leads out of the prefix, or back to where it comes from, is no part of it.
            if path.is_symlink() {
                let Ok(real) = path.canonicalize() else { continue };
                if !real.starts_with(self.prefix) || path.starts_with(&real) {
                    continue;
                }
            }
            let link = fs::read_link(&path).ok();
            // Libraries have links beside them; others, as a distribution's, lead to what is not copied.
            if let Some(link) = link.filter(|link| link.components().count() == 1 && place == Where::Lib) {
                symlink(link, &target).at("creating", &target)?;
            } else if path.is_dir() {
                self.folder(&path, &target, inside)?;
            } else if path.is_file() {
                fs::copy(&path, &target).at("copying", &path)?;
            }
        }
        Ok(())
    }

    /// Where what has this name lies, or `None` where it stays behind.
    fn wanted(&self, name: &str, path: &Path, place: Where) -> Option<Where> {
        let is_folder = path.is_dir();
        let is_wanted = match place {
            Where::Lib if is_folder && name == self.library => return Some(Where::Library),
            Where::Lib if is_folder => {
                !self.is_shared && !name.starts_with("python") && !["pkgconfig", "cmake"].contains(&name)
            }
            Where::Lib => {
                name.starts_with(&format!("lib{}", self.library))
                    || name.starts_with("libpython3.so")
                    || !self.is_shared
            }
            Where::Library if is_folder => {
                !name.starts_with("config-") && !["site-packages", "dist-packages"].contains(&name)
            }
            Where::Library => !["EXTERNALLY-MANAGED", "sitecustomize.py", "usercustomize.py"].contains(&name),
            Where::Inside => true,
        };
        let is_test = is_folder && place != Where::Lib && TESTS.contains(&name);
        let is_test = is_test || name.starts_with("_test") && name.contains(".so") || name.starts_with("_ctypes_test");
        let is_left = is_test || name == "__pycache__" || name.ends_with(".a") || name.ends_with(".pyc");
        (is_wanted && !is_left).then_some(Where::Inside)
    }
}

/// A part of a prefix.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Where {
    /// `lib` itself.
    Lib,
    /// The standard library itself.
    Library,
    Inside,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_interpreter_is_told_apart() {
        let folder = tempfile::tempdir().unwrap();
        let prefix = folder.path();
        let said = |result: anyhow::Result<()>| format!("{:#}", result.unwrap_err());
        assert!(said(program(prefix).map(drop)).contains("no `bin/python3.N`"));
        fs::create_dir_all(prefix.join("bin")).unwrap();
        fs::write(prefix.join("bin/python3.12"), "").unwrap();
        symlink("python3.12", prefix.join("bin/python3")).unwrap();
        fs::write(prefix.join("bin/python3.9-config"), "").unwrap();
        assert!(said(program(prefix).map(drop)).contains("`lib/python3.12`"));
        fs::create_dir_all(prefix.join("lib/python3.12")).unwrap();
        fs::write(prefix.join("lib/python3.12/os.py"), "").unwrap();
        assert_eq!(program(prefix).unwrap(), "python3.12");
        fs::write(prefix.join("pyvenv.cfg"), "home = /opt/python/bin\nversion = 3\n").unwrap();
        symlink("/opt/python/bin/python3", prefix.join("bin/python")).unwrap();
        let text = said(hold_apart(prefix));
        assert!(text.contains("bin/python` leads to `/opt/python/bin/python3`"), "{text}");
    }
}
