//! Commands that a package gives beside its application: to set up a work environment, and after the end.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use pspf_launcher::Environment;

use crate::Error;
use crate::error::Purpose;

/// How much of a failed command's output is looked at, in bytes.
const SHOWN: u64 = 4096;

/// A program with its arguments.
#[derive(Debug)]
pub struct Command {
    /// What it is for.
    pub purpose: Purpose,
    /// What errors call it.
    pub shown: String,
    /// The program's path.
    pub program: PathBuf,
    /// Its arguments.
    pub arguments: Vec<OsString>,
    /// Its environment, whole.
    pub environment: Environment,
    /// Its directory.
    pub directory: PathBuf,
}

impl Command {
    /// Runs it without input and waits. What it prints is shown only where it fails: what a start prints is the
    /// application's.
    ///
    /// # Errors
    /// [`Error::Command`].
    pub fn run(self) -> Result<(), Error> {
        let failed = |doing: &str, error: io::Error| self.failed(format!("failed: {doing}: {error}"), String::new());
        // The application may have closed its directory.
        let output = tempfile::tempfile_in(&self.directory).or_else(|_| tempfile::tempfile());
        let mut output = output.map_err(|error| failed("a file for its output", error))?;
        let same = || output.try_clone().map_err(|error| failed("a file for its output", error));
        let mut command = std::process::Command::new(&self.program);
        command.args(&self.arguments).env_clear().current_dir(&self.directory);
        for entry in self.environment.entries() {
            if let Some((name, value)) = split(entry.to_bytes()) {
                command.env(name, value);
            }
        }
        command.stdin(Stdio::null()).stdout(same()?).stderr(same()?);
        // A caller may have it ignored, and then nobody can be waited for; the application gets it back as it was.
        let child_signal = pspf_launcher::sys::signals::set_child_default();
        let status = command.status();
        child_signal.restore();
        match status {
            Ok(status) if status.success() => Ok(()),
            Ok(status) => Err(self.failed(format!("ended with {status}"), end_of(&mut output))),
            Err(error) => Err(failed(&format!("executing `{}`", shown(&self.program)), error)),
        }
    }

    fn failed(&self, end: String, output: String) -> Error {
        Error::Command { purpose: self.purpose, command: self.shown.clone(), end, output }
    }
}

fn shown(path: &Path) -> String {
    path.to_string_lossy().escape_debug().to_string()
}

fn end_of(output: &mut File) -> String {
    let mut printed = Vec::new();
    let len = output.stream_position().unwrap_or(0);
    let _ = output.seek(SeekFrom::Start(len.saturating_sub(SHOWN)));
    let _ = output.take(SHOWN).read_to_end(&mut printed);
    String::from_utf8_lossy(&printed).into_owned()
}

fn split(entry: &[u8]) -> Option<(&OsStr, &OsStr)> {
    let at = entry.iter().position(|byte| *byte == b'=').filter(|at| *at > 0)?;
    let (name, value) = entry.split_at(at);
    Some((OsStr::from_bytes(name), OsStr::from_bytes(value.get(1..)?)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::alone;
    use std::fs;

    fn command(program: &str, arguments: &[&str], directory: &Path) -> Command {
        let mut environment = Environment::default();
        environment.set("ONE", c"a=b");
        environment.set("EMPTY", c"");
        // What has no name no program can read.
        environment.set("", c"x");
        Command {
            purpose: Purpose::Setup,
            shown: "as it was written".to_owned(),
            program: program.into(),
            arguments: arguments.iter().map(OsString::from).collect(),
            environment,
            directory: directory.to_owned(),
        }
    }

    #[test]
    fn a_command_gets_its_environment_and_its_directory_alone() {
        let _alone = alone();
        let directory = tempfile::tempdir().unwrap();
        command("/bin/cp", &["/proc/self/environ", "environment"], directory.path()).run().unwrap();
        let mut found: Vec<String> = fs::read_to_string(directory.path().join("environment"))
            .unwrap()
            .split_terminator('\0')
            .map(str::to_owned)
            .collect();
        found.sort();
        assert_eq!(found, ["EMPTY=", "ONE=a=b"]);
        // Nothing of its output is left there.
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_command_that_fails_tells_how_it_ended_and_what_it_said_last() {
        let _alone = alone();
        let directory = tempfile::tempdir().unwrap();
        let failed = |program, arguments: &[&str]| match command(program, arguments, directory.path()).run() {
            Err(Error::Command { purpose: Purpose::Setup, command, end, output }) => {
                assert_eq!(command, "as it was written");
                (end, output)
            }
            other => panic!("{other:?}"),
        };
        let (end, output) = failed("/bin/sh", &["-c", "echo one; echo two >&2; exit 3"]);
        assert_eq!((&*end, &*output), ("ended with exit status: 3", "one\ntwo\n"));
        let (_, output) = failed("/bin/sh", &["-c", "for i in 1 2 3 4 5 6; do printf '%01000d' $i; done; exit 3"]);
        let expected: String = (1..=6).map(|number| format!("{number:01000}")).collect();
        assert!(output == expected[6000 - 4096..]);
        let (end, output) = failed("/none/at\nall", &[]);
        assert!(end.starts_with("failed: executing `/none/at\\nall`: ") && output.is_empty(), "{end}");
    }
}
