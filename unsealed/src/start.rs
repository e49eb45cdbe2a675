//! Starts a package without a seal (SPEC §8.6).

use std::borrow::Cow;
use std::convert::Infallible;
use std::ffi::{CString, OsStr};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use pspf_launcher::{Environment, Error as LauncherError, Invocation, PackageFile};
use pspf_workenv::{Locks, Workenv};

use crate::text::Places;
use crate::{Error, Opened, environment, setup};

/// Becomes the application of a package whose slots were compared already or are when they are unpacked.
///
/// # Errors
/// Everything that keeps it from starting; nothing but setup commands has run then.
pub fn run(file: &PackageFile, opened: &Opened, invocation: &Invocation) -> Result<Infallible, Error> {
    let caller = &invocation.environment;
    let package = opened.package();
    let command = package.metadata.execution.command.as_deref();
    let command = command.ok_or_else(|| Error::metadata("there is no `execution.command` to start"))?;
    hold_to_policy(opened, caller)?;
    look(opened, caller, command)?;
    let workenv = place(file, opened, caller)?;
    Err(start(file, opened, invocation, command, &workenv.path))
}

/// Fails where the start could not succeed wherever the work environment is, before any of it is made.
fn look(opened: &Opened, caller: &Environment, command: &str) -> Result<(), Error> {
    let package = opened.package();
    let places = Places { metadata: &package.metadata, slots: &package.slots, workenv: Path::new("/") };
    if places.words(command, true)?.is_empty() {
        return Err(Error::metadata("`execution.command` is empty"));
    }
    environment::of_application(caller, places, Path::new("package")).map(drop)
}

/// Becomes the application. Returns only where that failed.
fn start(file: &PackageFile, opened: &Opened, invocation: &Invocation, command: &str, workenv: &Path) -> Error {
    match execute(file, opened, invocation, command, workenv) {
        Ok(never) => match never {},
        Err(error) => error,
    }
}

fn execute(
    file: &PackageFile,
    opened: &Opened,
    invocation: &Invocation,
    command: &str,
    workenv: &Path,
) -> Result<Infallible, Error> {
    let (caller, package) = (&invocation.environment, opened.package());
    let places = Places { metadata: &package.metadata, slots: &package.slots, workenv };
    let words = places.words(command, true)?;
    let Some((first, arguments)) = words.split_first() else {
        return Err(Error::metadata("`execution.command` is empty"));
    };
    let path = Path::new(OsStr::from_bytes(file.path().to_bytes()));
    let environment = environment::of_application(caller, places, path)?;
    let program = program(first, workenv, &environment)?;
    let text = |text: &OsStr| CString::new(text.as_bytes()).map_err(|_| Error::metadata("the command holds a NUL"));
    let mut argv = vec![Cow::Owned(text(path.file_name().unwrap_or_default())?)];
    for argument in arguments {
        argv.push(Cow::Owned(text(argument)?));
    }
    argv.extend(invocation.argv.iter().skip(1).cloned());
    let program = text(program.as_os_str())?;
    let errno = pspf_launcher::sys::process::execve(&program, &argv, environment.entries());
    Err(LauncherError::NotExecutable { program, source: errno.into() }.into())
}

/// Makes the work environment in the first cache that can hold it.
fn place(file: &PackageFile, opened: &Opened, caller: &Environment) -> Result<Workenv, Error> {
    let (_, workenv) = pspf_workenv::in_first_place(caller, |_, root| {
        match pspf_workenv::ready(root, opened.package().id, caller, |path, locks| {
            fill(file, opened, caller, path, locks)
        }) {
            Err(Error::Workenv(error)) => Ok(Err(error)),
            done => done.map(Ok),
        }
    })?;
    Ok(workenv)
}

/// Makes the new directory what the package wants to start in.
fn fill(
    file: &PackageFile,
    opened: &Opened,
    caller: &Environment,
    workenv: &Path,
    locks: &Locks<'_>,
) -> Result<(), Error> {
    opened.check_once(file)?;
    let package = opened.package();
    let places = Places { metadata: &package.metadata, slots: &package.slots, workenv };
    setup::fill(package.slots.iter().map(|slot| (file, slot)), places, caller, locks)
}

/// The rules that the package itself brings, which nobody can loosen.
fn hold_to_policy(opened: &Opened, caller: &Environment) -> Result<(), Error> {
    let Some(policy) = &opened.package().metadata.policy else { return Ok(()) };
    let refused = |reason: String| Err(Error::Policy { reason });
    let own = pspf_launcher::cache::current_platform().map(|platform| platform.to_string());
    if !policy.platforms.is_empty() && !policy.platforms.iter().any(|word| Some(word) == own.as_ref()) {
        return refused("it is not for this platform".to_owned());
    }
    if policy.refuse_root && rustix::process::geteuid().is_root() {
        return refused("root may not start it".to_owned());
    }
    for name in &policy.require_env {
        if caller.get(name).is_none() {
            return refused(format!("variable `{name}` is not set"));
        }
    }
    Ok(())
}

/// The program that a word names: a path, or the name of one of the package's own, else of one in `PATH`.
pub(crate) fn program(word: &OsStr, workenv: &Path, environment: &Environment) -> Result<PathBuf, Error> {
    let path = Path::new(word);
    let is_program =
        |path: &Path| path.metadata().is_ok_and(|found| found.is_file() && found.permissions().mode() & 0o111 != 0);
    if word.as_bytes().contains(&b'/') {
        let path = workenv.join(path);
        // A bare name, which the builder in Python takes for one at the top of the work environment.
        let in_bin = workenv.join("bin").join(path.file_name().unwrap_or_default());
        let is_top = path.parent() == Some(workenv);
        return match path.exists() {
            true => Ok(path),
            false if is_top && is_program(&in_bin) => Ok(in_bin),
            false => Err(Error::EntryMissing { program: path }),
        };
    }
    let own = [workenv.join("bin").join(path), workenv.join(path)];
    let others = environment.get("PATH").unwrap_or_default().split(|byte| *byte == b':');
    let others =
        others.filter(|folder| folder.starts_with(b"/")).map(|folder| Path::new(OsStr::from_bytes(folder)).join(path));
    let found = own.into_iter().chain(others).find(|path| is_program(path));
    found.ok_or_else(|| Error::EntryMissing { program: path.to_owned() })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::in_file;
    use pspf_tests::forge::key;
    use pspf_tests::unsealed::{UnsealedSlot, metadata, package};
    use serde_json::{Value, json};
    use std::fs::{self, Permissions};

    fn held(policy: Value, caller: &Environment) -> Result<(), Error> {
        let slots = [UnsealedSlot::program("tool", b"")];
        let bytes = package(b"", &metadata("{workenv}/tool", &slots, json!({ "policy": policy })), &slots, &key());
        hold_to_policy(&Opened::open(&in_file(&bytes)).unwrap(), caller)
    }

    #[test]
    fn a_package_starts_where_its_policy_says() {
        let own = pspf_launcher::cache::current_platform().unwrap().to_string();
        let mut caller = Environment::default();
        caller.set("SET", c"");
        for (policy, refused) in [
            (json!({}), None),
            (json!({"platforms": []}), None),
            (json!({"platforms": [own]}), None),
            (json!({"platforms": ["other_arch", own]}), None),
            (json!({"platforms": ["other_arch"]}), Some("platform")),
            (json!({"platforms": ["other_arch", "third_arch"]}), Some("platform")),
            (json!({"refuse_root": false}), None),
            (json!({"refuse_root": true}), Some("root").filter(|_| rustix::process::geteuid().is_root())),
            (json!({"require_env": ["SET"]}), None),
            (json!({"require_env": ["SET", "UNSET"]}), Some("`UNSET`")),
        ] {
            let told = policy.to_string();
            let found = held(policy, &caller).err().map(|error| error.to_string());
            match refused {
                None => assert_eq!(found, None, "{told}"),
                Some(text) => assert!(found.as_ref().is_some_and(|found| found.contains(text)), "{told}: {found:?}"),
            }
        }
    }

    #[test]
    fn a_word_names_a_program_of_the_package_before_one_of_the_machine() {
        let folder = tempfile::tempdir().unwrap();
        let (workenv, path) = (folder.path().join("w"), folder.path().join("path"));
        let write = |path: &Path, mode: u32| {
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, "").unwrap();
            fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
        };
        for name in ["bin/tool", "bin/both", "both", "top"] {
            write(&workenv.join(name), 0o701);
        }
        for name in ["bin/note", "other"] {
            write(&workenv.join(name), 0o644);
        }
        fs::create_dir_all(workenv.join("bin/folder")).unwrap();
        fs::create_dir_all(workenv.join("sub")).unwrap();
        for name in ["tool", "top", "note", "other", "folder", "missing"] {
            write(&path.join(name), 0o755);
        }
        let mut environment = Environment::default();
        let value = format!("relative::/none:{}:/usr/bin", path.display());
        environment.set("PATH", &CString::new(value).unwrap());
        let inside = |name: &str| workenv.join(name);
        let absolute = |name: &str| inside(name).into_os_string().into_string().unwrap();
        for (word, expected) in [
            ("tool", Some(inside("bin/tool"))),
            ("both", Some(inside("bin/both"))),
            ("top", Some(inside("top"))),
            // What is no program is no such one.
            ("note", Some(path.join("note"))),
            ("other", Some(path.join("other"))),
            ("folder", Some(path.join("folder"))),
            ("missing", Some(path.join("missing"))),
            ("none", None),
            // A path is what it says, and where it says nothing the one in `bin`.
            ("bin/note", Some(inside("bin/note"))),
            ("./tool", Some(inside("bin/tool"))),
            ("sub/tool", None),
            ("./missing", None),
            (&absolute("top"), Some(inside("top"))),
            (&absolute("tool"), Some(inside("bin/tool"))),
            (&absolute("note"), None),
            (&absolute("folder"), None),
            (&absolute("sub/tool"), None),
            (&absolute("missing"), None),
            ("/none/tool", None),
        ] {
            let found = program(OsStr::new(word), &workenv, &environment);
            match expected {
                Some(path) => assert_eq!(found.unwrap(), path, "{word}"),
                None => assert!(matches!(found, Err(Error::EntryMissing { .. })), "{word}: {found:?}"),
            }
        }
        // Without a `PATH` there are the package's own.
        let found = program(OsStr::new("missing"), &workenv, &Environment::default());
        assert!(found.is_err());
    }
}
