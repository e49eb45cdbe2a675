//! Setup commands: what a package does once, in its new work environment, before its first start (SPEC §8.6).

use std::ffi::{OsStr, OsString};
use std::fs::{self, Permissions};
use std::io::{Read, Seek};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use pspf_format::SetupCommand;
use pspf_launcher::Environment;

use crate::Error;
use crate::environment::of_setup;
use crate::start::program;
use crate::text::Places;

/// How much of a failed command's output is shown.
const SHOWN: u64 = 4096;

/// Runs all of them, in their order. The first that fails ends it.
pub(crate) fn run(places: Places<'_>, caller: &Environment) -> Result<(), Error> {
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
pub(crate) fn look(places: Places<'_>) -> Result<(), Error> {
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
pub(crate) fn octal(mode: &str) -> u32 {
    u32::from_str_radix(mode, 8).ok().filter(|bits| *bits != 0).unwrap_or(0o700) & 0o777
}

fn failed<'p>(command: &'static str, path: &'p Path) -> impl FnOnce(std::io::Error) -> Error + 'p {
    move |error| Error::Setup {
        command: format!("{command} {}", path.display()),
        end: format!("failed: {error}"),
        output: String::new(),
    }
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

/// Runs a command and waits. What it prints is shown only where it fails: what a start prints is the application's.
fn execute(places: Places<'_>, caller: &Environment, text: &str, last: Option<PathBuf>) -> Result<(), Error> {
    let environment = of_setup(caller, places)?;
    let mut words = words(places, text)?;
    words.extend(last.map(OsString::from));
    let Some((first, arguments)) = words.split_first() else { return Ok(()) };
    let program = program(first, places.workenv, &environment)?;
    let mut output = tempfile::tempfile_in(places.workenv).map_err(failed("output in", places.workenv))?;
    let same = || output.try_clone().map_err(failed("output in", places.workenv));
    let mut command = Command::new(&program);
    command.args(arguments).env_clear().current_dir(places.workenv);
    for entry in environment.entries() {
        if let Some((name, value)) = split(entry.to_bytes()) {
            command.env(name, value);
        }
    }
    command.stdin(Stdio::null()).stdout(same()?).stderr(same()?);
    // A caller may have it ignored, and then nobody can be waited for; the application gets it back as it was.
    let child_signal = pspf_launcher::sys::signals::set_child_default();
    let status = command.status();
    child_signal.restore();
    let status = status.map_err(failed("executing", &program))?;
    if status.success() {
        return Ok(());
    }
    let mut printed = Vec::new();
    let len = output.stream_position().unwrap_or(0);
    let _ = output.seek(std::io::SeekFrom::Start(len.saturating_sub(SHOWN)));
    let _ = output.take(SHOWN).read_to_end(&mut printed);
    let output = String::from_utf8_lossy(&printed).into_owned();
    Err(Error::Setup { command: text.to_owned(), end: format!("ended with {status}"), output })
}

fn split(entry: &[u8]) -> Option<(&OsStr, &OsStr)> {
    let at = entry.iter().position(|byte| *byte == b'=').filter(|at| *at > 0)?;
    let (name, value) = entry.split_at(at);
    Some((OsStr::from_bytes(name), OsStr::from_bytes(value.get(1..)?)))
}
