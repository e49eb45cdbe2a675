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
use crate::text::{Places, matches};

/// How much of a failed command's output is shown.
const SHOWN: u64 = 4096;

/// Runs all of them, in their order. The first that fails ends it.
pub(crate) fn run(places: Places<'_>, caller: &Environment) -> Result<(), Error> {
    let commands = places.metadata.setup_commands.as_deref().unwrap_or_default();
    for command in commands {
        match command {
            SetupCommand::Execute { command } => execute(places, caller, command, None)?,
            SetupCommand::EnumerateAndExecute { command, enumerate } => {
                let folder = places.path_inside(&enumerate.path)?;
                for path in matching(&folder, OsStr::new(&enumerate.pattern))? {
                    execute(places, caller, command, Some(path))?;
                }
            }
            SetupCommand::WriteFile { path, content } => {
                let path = places.path_inside(path)?;
                if let Some(parent) = path.parent() {
                    fs::create_dir_all(parent).map_err(Error::io("creating", parent))?;
                }
                let content = places.expand(content, false);
                fs::write(&path, content.as_bytes()).map_err(Error::io("writing", &path))?;
            }
            SetupCommand::Chmod { path, mode } => {
                let path = places.path_inside(path)?;
                let mode = u32::from_str_radix(mode.trim_start_matches("0o"), 8).ok();
                let mode = mode.ok_or_else(|| Error::metadata("the mode of a `chmod` is no octal number"))? & 0o777;
                let (Some(folder), Some(pattern)) = (path.parent(), path.file_name()) else { continue };
                for path in matching(folder, pattern)? {
                    let set = fs::set_permissions(&path, Permissions::from_mode(mode));
                    set.map_err(Error::io("setting the mode of", &path))?;
                }
            }
        }
    }
    Ok(())
}

/// The files in a folder whose names have this form, in the order of their names; links are left out.
fn matching(folder: &Path, pattern: &OsStr) -> Result<Vec<PathBuf>, Error> {
    let read = |error| Error::io("reading", folder)(error);
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).map_err(read)? {
        let entry = entry.map_err(read)?;
        let is_link = entry.file_type().map_err(read)?.is_symlink();
        if !is_link && matches(pattern, &entry.file_name()) {
            found.push(entry.path());
        }
    }
    found.sort();
    Ok(found)
}

/// Runs a command and waits. What it prints is shown only where it fails: what a start prints is the application's.
fn execute(places: Places<'_>, caller: &Environment, text: &str, last: Option<PathBuf>) -> Result<(), Error> {
    let environment = of_setup(caller, places)?;
    let mut words = places.words(text, false)?;
    words.extend(last.map(OsString::from));
    let Some((first, arguments)) = words.split_first() else {
        return Err(Error::metadata("a setup command is empty"));
    };
    let program = program(first, places.workenv, &environment)?;
    let mut output = tempfile::tempfile_in(places.workenv).map_err(Error::io("writing in", places.workenv))?;
    let same = || output.try_clone().map_err(Error::io("writing in", places.workenv));
    let mut command = Command::new(&program);
    command.args(arguments).env_clear().current_dir(places.workenv);
    for entry in environment.entries() {
        if let Some((name, value)) = split(entry.to_bytes()) {
            command.env(name, value);
        }
    }
    command.stdin(Stdio::null()).stdout(same()?).stderr(same()?);
    let status = command.status().map_err(Error::io("executing", &program))?;
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
