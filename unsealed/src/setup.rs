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
