//! A new work environment: its slots, and setup commands, which a package gives once before its first start
//! (SPEC §8.6).

use std::ffi::OsString;
use std::fs::{self, Permissions};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use pspf_format::{SetupCommand, UnsealedMetadata, UnsealedSlot};
use pspf_launcher::{Environment, PackageFile, Umask};
use pspf_workenv::{Command, Error as WorkenvError, Locks, Purpose};

use crate::Error;
use crate::environment::of_setup;
use crate::start::program;
use crate::text::Places;
use crate::unpack::{Modes, make_directories, unpack};

/// Unpacks and sets up, in a directory that is new and the caller's own, what these metadata say of these slots, each of
/// which is in the file beside it.
///
/// # Errors
/// What cannot be done; what was written by then is for the caller to remove.
pub fn set_up(
    metadata: &UnsealedMetadata,
    slots: &[UnsealedSlot],
    files: &[&PackageFile],
    workenv: &Path,
    caller: &Environment,
) -> Result<(), Error> {
    let places = Places { metadata, slots, workenv };
    fill(files.iter().copied().zip(slots), places, caller, &Locks::default())
}

/// Everything that makes the new directory what the package wants to start in.
pub(crate) fn fill<'a>(
    slots: impl Iterator<Item = (&'a PackageFile, &'a UnsealedSlot)>,
    places: Places<'_>,
    caller: &Environment,
    locks: &Locks<'_>,
) -> Result<(), Error> {
    look(places)?;
    let umask = Umask::none();
    let mut modes = Modes::default();
    for directory in places.metadata.workenv.iter().flat_map(|workenv| &workenv.directories) {
        let path = places.path_inside(&directory.path)?;
        make_directories(&path)?;
        modes.add(path, directory.mode.as_deref().map_or(0o700, octal));
    }
    for (file, slot) in slots {
        unpack(file, slot, places.workenv, &mut modes)?;
    }
    modes.set()?;
    drop(umask);
    locks.share(|| run(places, caller))?;
    for slot in places.slots.iter().filter(|slot| slot.is_init()) {
        if let Some(target) = &slot.target {
            pspf_workenv::remove(&places.workenv.join(target.as_str()))?;
        }
    }
    Ok(())
}

/// Runs all of them, in their order. The first that fails ends it.
fn run(places: Places<'_>, caller: &Environment) -> Result<(), Error> {
    for command in commands(places) {
        match command {
            SetupCommand::Execute { command } => execute(places, caller, command, None)?,
            SetupCommand::EnumerateAndExecute { command, enumerate } => {
                for path in matching(places, &format!("{}/{}", enumerate.path, enumerate.pattern))? {
                    execute(places, caller, command, Some(path))?;
                }
            }
            SetupCommand::WriteFile { path, content } => {
                let path = places.path_inside(path)?;
                let content = places.expand(content, false);
                let made = path.parent().map_or(Ok(()), fs::create_dir_all);
                made.and_then(|()| fs::write(&path, content.as_bytes())).map_err(failed("write_file", &path))?;
            }
            SetupCommand::Chmod { path, mode } => {
                for path in matching(places, path)? {
                    let set = fs::set_permissions(&path, Permissions::from_mode(octal(mode)));
                    set.map_err(failed("chmod", &path))?;
                }
            }
        }
    }
    Ok(())
}

fn commands<'a>(places: Places<'a>) -> &'a [SetupCommand] {
    places.metadata.setup_commands.as_deref().unwrap_or_default()
}

/// Fails where a command could not even be begun, before any of them runs.
fn look(places: Places<'_>) -> Result<(), Error> {
    commands(places).iter().try_for_each(|command| match command {
        SetupCommand::Execute { command } => words(places, command).map(drop),
        SetupCommand::EnumerateAndExecute { command, enumerate } => {
            words(places, command)?;
            places.path_inside(&format!("{}/{}", enumerate.path, enumerate.pattern)).map(drop)
        }
        SetupCommand::WriteFile { path, .. } | SetupCommand::Chmod { path, .. } => places.path_inside(path).map(drop),
    })
}

fn words(places: Places<'_>, text: &str) -> Result<Vec<OsString>, Error> {
    let words = places.words(text, false)?;
    if words.is_empty() { Err(Error::metadata("a setup command is empty")) } else { Ok(words) }
}

/// A mode in octal digits, as the reference launcher reads it; 0700 where it is none.
fn octal(mode: &str) -> u32 {
    u32::from_str_radix(mode, 8).ok().filter(|bits| *bits != 0).unwrap_or(0o700) & 0o777
}

fn failed<'p>(command: &'static str, path: &'p Path) -> impl FnOnce(std::io::Error) -> Error + 'p {
    move |error| {
        let command = format!("{command} {}", path.display());
        let (end, output) = (format!("failed: {error}"), String::new());
        WorkenvError::Command { purpose: Purpose::Setup, command, end, output }.into()
    }
}

/// What in this work environment has a path of this form, as setup commands have it.
///
/// # Errors
/// Where the form leads out of it.
pub fn matching_paths(
    metadata: &UnsealedMetadata,
    slots: &[UnsealedSlot],
    workenv: &Path,
    pattern: &str,
) -> Result<Vec<PathBuf>, Error> {
    matching(Places { metadata, slots, workenv }, pattern)
}

/// What in the work environment has a path of this form, in the order of the paths; links are left out.
fn matching(places: Places<'_>, pattern: &str) -> Result<Vec<PathBuf>, Error> {
    let path = places.path_inside(pattern)?;
    let inside = path.strip_prefix(places.workenv).unwrap_or(&path).to_string_lossy();
    // The place itself is no pattern, whatever characters it holds.
    let pattern = format!("{}/{inside}", glob::Pattern::escape(&places.workenv.to_string_lossy()));
    let found = glob::glob(&pattern).map_err(|error| Error::metadata(format!("pattern `{inside}`: {error}")))?;
    let is_link = |path: &PathBuf| path.symlink_metadata().is_ok_and(|found| found.is_symlink());
    Ok(found.flatten().filter(|path| !is_link(path)).collect())
}

/// Runs a command and waits.
fn execute(places: Places<'_>, caller: &Environment, text: &str, last: Option<PathBuf>) -> Result<(), Error> {
    let environment = of_setup(caller, places)?;
    let mut words = words(places, text)?;
    words.extend(last.map(OsString::from));
    let Some((first, arguments)) = words.split_first() else { return Ok(()) };
    let command = Command {
        purpose: Purpose::Setup,
        shown: text.to_owned(),
        program: program(first, places.workenv, &environment)?,
        arguments: arguments.to_vec(),
        environment,
        directory: places.workenv.to_owned(),
    };
    Ok(command.run()?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{metadata, slot};
    use pspf_format::Class;
    use serde_json::{Value, json};
    use std::ffi::CString;

    fn caller() -> Environment {
        let mut environment = Environment::default();
        let path = std::env::var_os("PATH").unwrap_or_default();
        environment.set("PATH", &CString::new(path.as_bytes()).unwrap());
        environment
    }

    /// A script, named as what `sh` reads: nothing is executed that was written by a process of many threads.
    fn set_up_script(script: &str, lifecycle: &str, more: Value, workenv: &Path) -> Result<(), Error> {
        let (file, mut slot) = slot(Vec::new(), script.as_bytes());
        lifecycle.clone_into(&mut slot.lifecycle);
        set_up(&metadata(more), &[slot], &[&file], workenv, &caller())
    }

    fn mode(path: PathBuf) -> u32 {
        fs::metadata(path).unwrap().permissions().mode() & 0o7777
    }

    #[test]
    fn commands_run_in_their_order_and_on_what_is_in_the_work_environment() {
        let outside = tempfile::tempdir().unwrap();
        fs::set_permissions(outside.path(), Permissions::from_mode(0o700)).unwrap();
        // Characters that mean something in patterns.
        let workenv = tempfile::Builder::new().prefix("a[b]*?").tempdir().unwrap();
        let inside = |name: &str| workenv.path().join(name);
        let link = format!("ln -s '{}' {{workenv}}/made/link", outside.path().display());
        let more = json!({
            "workenv": {"directories": [
                {"path": "{workenv}/tmp/inner", "mode": "1750"}, {"path": "plain"}, {"path": "odd", "mode": "rwx"}
            ]},
            "setup_commands": [
                {"type": "write_file", "path": "{workenv}/made/deep/by", "content": "{package_name} {version} {slot:0}"},
                {"type": "write_file", "path": "made/two.x", "content": ""},
                {"type": "write_file", "path": "made/one.x", "content": ""},
                {"type": "execute", "command": "sh {workenv}/target 'first word'"},
                {"type": "enumerate_and_execute", "command": "sh target",
                 "enumerate": {"path": "{workenv}/made", "pattern": "*.x"}},
                {"type": "execute", "command": link},
                {"type": "chmod", "path": "made/*", "mode": "4751"},
            ],
        });
        let script = "pwd >>log; for word; do echo \"$word\" >>log; done";
        set_up_script(script, "", more, workenv.path()).unwrap();
        let here = format!("{}\n", workenv.path().canonicalize().unwrap().display());
        let path = |name: &str| format!("{}\n", inside(name).display());
        let expected = [&here[..], "first word\n", &here, &path("made/one.x"), &here, &path("made/two.x")].concat();
        assert_eq!(fs::read_to_string(inside("log")).unwrap(), expected);
        assert_eq!(fs::read_to_string(inside("made/deep/by")).unwrap(), "forged 1.5 {slot:0}");
        for (name, expected) in
            [("tmp/inner", 0o750), ("tmp", 0o700), ("plain", 0o700), ("odd", 0o700), ("made/one.x", 0o751)]
        {
            assert_eq!(mode(inside(name)), expected, "{name}");
        }
        assert_eq!(mode(outside.path().to_owned()), 0o700, "a link leads out, and is not followed");
        assert!(inside("target").exists());
    }

    #[test]
    fn what_only_the_setup_needs_is_gone_after_it() {
        let workenv = tempfile::tempdir().unwrap();
        let used = json!({"setup_commands": [{"type": "execute", "command": "sh target"}]});
        set_up_script("echo used >made", "init", used, workenv.path()).unwrap();
        assert!(workenv.path().join("made").exists() && !workenv.path().join("target").exists());
    }

    #[test]
    fn nothing_runs_where_a_later_command_could_not_be_begun() {
        for (second, class) in [
            (json!({"type": "execute", "command": "a 'b"}), Class::Format),
            (json!({"type": "execute", "command": " "}), Class::Format),
            (json!({"type": "chmod", "path": "..", "mode": "7"}), Class::Format),
            (json!({"type": "write_file", "path": "/x", "content": ""}), Class::Format),
            (
                json!({"type": "enumerate_and_execute", "command": "''", "enumerate": {"path": "", "pattern": "*"}}),
                Class::Format,
            ),
            (
                json!({"type": "enumerate_and_execute", "command": "a", "enumerate": {"path": "..", "pattern": "*"}}),
                Class::Format,
            ),
        ] {
            let workenv = tempfile::tempdir().unwrap();
            let first = json!({"type": "execute", "command": "sh target"});
            let told = second.to_string();
            let more = json!({"setup_commands": [first, second]});
            let error = set_up_script("echo x >made", "", more, workenv.path()).unwrap_err();
            assert_eq!(error.class(), class, "{told}: {error}");
            assert_eq!(fs::read_dir(workenv.path()).unwrap().count(), 0, "{told}");
        }
    }

    #[test]
    fn the_first_command_that_fails_ends_it() {
        let workenv = tempfile::tempdir().unwrap();
        let commands = ["sh target 0", "sh target 7", "sh target 0"];
        let commands = commands.map(|command| json!({"type": "execute", "command": command}));
        let more = json!({ "setup_commands": commands });
        let error = set_up_script("echo x >>log; echo why; exit $1", "init", more, workenv.path()).unwrap_err();
        assert_eq!(error.class(), Class::Exec);
        assert!(error.to_string().contains("`sh target 7` ended with exit status: 7"), "{error}");
        assert_eq!(fs::read_to_string(workenv.path().join("log")).unwrap(), "x\nx\n");
        assert!(workenv.path().join("target").exists());
        // What is not there has no mode, and what cannot be written is told.
        let more = json!({"setup_commands": [{"type": "write_file", "path": "target/x", "content": ""}]});
        let workenv = tempfile::tempdir().unwrap();
        let error = set_up_script("", "", more, workenv.path()).unwrap_err();
        assert!(error.to_string().contains("write_file"), "{error}");
    }

    #[test]
    fn modes_are_octal_and_have_no_other_bits() {
        for (text, expected) in
            [("750", 0o750), ("0750", 0o750), ("6755", 0o755), ("1", 0o1), ("0", 0o700), ("", 0o700), ("9", 0o700)]
        {
            assert_eq!(octal(text), expected, "{text}");
        }
    }
}
