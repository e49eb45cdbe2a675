//! An interrupted program leaves no temporary file behind.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicI32, Ordering};
use std::sync::mpsc::channel;
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};
use std::thread;

use signal_hook::consts::{SIGHUP, SIGINT, SIGQUIT, SIGTERM};
use signal_hook::iterator::Signals;

/// The files to remove if a signal ends this program.
static TEMPORARY: Mutex<Vec<PathBuf>> = Mutex::new(Vec::new());
/// The directories to remove after them, as far as they are empty then: others may put something into them.
static DIRECTORIES: Mutex<Vec<PathBuf>> = Mutex::new(Vec::new());
/// The process group of a command that is running for us; 0 where there is none.
static GROUP: AtomicI32 = AtomicI32::new(0);
/// Whether somebody waits for signals.
static WATCHER: OnceLock<io::Result<()>> = OnceLock::new();

fn directories() -> MutexGuard<'static, Vec<PathBuf>> {
    DIRECTORIES.lock().unwrap_or_else(PoisonError::into_inner)
}

fn temporary() -> MutexGuard<'static, Vec<PathBuf>> {
    TEMPORARY.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Starts to wait for signals, once; fails every time where that cannot be: a temporary file that nobody would remove is
/// not made. What starts threads of its own calls this first, as it may be the last thread that can be had.
pub(crate) fn prepare() -> io::Result<()> {
    let failed = |error: &io::Error| io::Error::new(error.kind(), format!("waiting for signals: {error}"));
    WATCHER.get_or_init(watch).as_ref().copied().map_err(failed)
}

/// Creates a temporary file. A signal waits meanwhile, so that there is no moment in which the file exists unknown.
pub(crate) fn create<T>(make: impl FnOnce() -> io::Result<T>, path: impl FnOnce(&T) -> PathBuf) -> io::Result<T> {
    prepare()?;
    let mut known = temporary();
    let made = make()?;
    known.push(path(&made));
    Ok(made)
}

/// Makes known a file or directory that will be temporary.
pub(crate) fn announce(path: &Path) -> io::Result<()> {
    create(|| Ok(()), |()| path.to_owned())
}

/// Does what makes the file at `path` temporary no longer: renames or removes it. A signal waits meanwhile.
pub(crate) fn conclude<T>(path: &Path, action: impl FnOnce() -> T) -> T {
    let mut known = temporary();
    let outcome = action();
    known.retain(|other| other != path);
    outcome
}

/// Creates a directory that goes away again if a signal comes before something is in it.
pub(crate) fn create_directory(path: &Path) -> io::Result<()> {
    prepare()?;
    let mut known = directories();
    fs::create_dir(path)?;
    known.push(path.to_owned());
    Ok(())
}

/// Does what settles these directories: fills or removes them.
pub(crate) fn settle(paths: &[PathBuf], action: impl FnOnce()) {
    let mut known = directories();
    action();
    known.retain(|other| !paths.contains(other));
}

/// Runs a command that writes temporary files, with all that it starts; a signal ends them too.
pub(crate) fn output(command: &mut std::process::Command) -> io::Result<std::process::Output> {
    use std::os::unix::process::CommandExt;
    prepare()?;
    let child = {
        let _waits = temporary();
        let child = command.process_group(0).spawn()?;
        GROUP.store(i32::try_from(child.id()).unwrap_or(0), Ordering::SeqCst);
        child
    };
    let group = rustix::process::Pid::from_child(&child);
    let output = child.wait_with_output();
    GROUP.store(0, Ordering::SeqCst);
    // What it has left running would go on writing into what is packed, or is removed.
    let _ = rustix::process::kill_process_group(group, rustix::process::Signal::KILL);
    output
}

fn watch() -> io::Result<()> {
    // Whoever ignores a signal, as `nohup` does, wants it ignored here too.
    let ignored = ignored();
    let wanted = [SIGHUP, SIGINT, SIGQUIT, SIGTERM].into_iter().filter(|signal| ignored >> (signal - 1) & 1 == 0);
    let (registered, signals) = channel::<Signals>();
    thread::Builder::new().name("signals".to_owned()).spawn(move || {
        let Ok(mut signals) = signals.recv() else { return };
        for signal in &mut signals {
            let known = temporary();
            // What was started for us goes first: it would go on writing.
            if let Some(group) = rustix::process::Pid::from_raw(GROUP.load(Ordering::SeqCst)) {
                let _ = rustix::process::kill_process_group(group, rustix::process::Signal::KILL);
                // A call that is under way still ends; then there is nobody left who could put something back.
                for _ in 0..100 {
                    if rustix::process::test_kill_process_group(group).is_err() {
                        break;
                    }
                    thread::sleep(std::time::Duration::from_millis(10));
                }
            }
            for path in known.iter() {
                let _ = fs::remove_file(path).or_else(|_| remove_directory(path));
            }
            let empty = directories();
            for path in empty.iter().rev() {
                let _ = fs::remove_dir(path);
            }
            // Ends the program as that signal does; the lock is held, so that nothing is created any more.
            let _ = signal_hook::low_level::emulate_default_handler(signal);
        }
    })?;
    // Only now, as from here on a signal ends the program by that thread alone.
    registered.send(Signals::new(wanted)?).map_err(|_| io::Error::other("the thread ended early"))
}

/// Removes a directory, also what is read-only in it. It loses its name first: whoever is still writing finds it no more.
fn remove_directory(path: &Path) -> io::Result<()> {
    let gone = path.with_extension("gone");
    fs::rename(path, &gone)?;
    crate::workplace::remove(&gone);
    Ok(())
}

/// The signals that are ignored, one bit each; none where the system does not tell.
fn ignored() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).unwrap_or(0)
}
