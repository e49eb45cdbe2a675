//! Programs are written and started by many threads at once: between fork and exec a child holds every descriptor of
//! this process, and a program that somebody has open for writing cannot be executed. So nothing forks meanwhile.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::sync::{PoisonError, RwLock};

/// Read by who starts a program, written by who writes one.
static FORKS: RwLock<()> = RwLock::new(());

/// Starts a program.
///
/// # Errors
/// What the system reports.
pub fn spawn(command: &mut Command) -> io::Result<Child> {
    // It returns when the program was executed.
    let _guard = FORKS.read().unwrap_or_else(PoisonError::into_inner);
    command.spawn()
}

/// Runs a program to its end and keeps what it says.
#[track_caller]
pub fn output(command: &mut Command) -> Output {
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    let started = spawn(command).and_then(Child::wait_with_output);
    started.unwrap_or_else(|error| panic!("{}: {error}", command.get_program().display()))
}

/// Writes a file that may be executed later.
#[track_caller]
pub fn write(path: &Path, content: impl AsRef<[u8]>) {
    let _guard = FORKS.write().unwrap_or_else(PoisonError::into_inner);
    fs::write(path, content).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
}

/// Overwrites one byte of such a file.
#[track_caller]
pub fn put(path: &Path, at: u64, byte: u8) {
    let _guard = FORKS.write().unwrap_or_else(PoisonError::into_inner);
    let file = File::options().write(true).open(path);
    file.and_then(|file| file.write_all_at(&[byte], at)).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
}

/// Copies such a file, with its mode.
#[track_caller]
pub fn copy(from: &Path, to: &Path) {
    let _guard = FORKS.write().unwrap_or_else(PoisonError::into_inner);
    fs::copy(from, to).unwrap_or_else(|error| panic!("{}: {error}", from.display()));
}
