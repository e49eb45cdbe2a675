//! An interrupted program leaves no temporary file behind.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, Once, PoisonError};

use signal_hook::consts::{SIGHUP, SIGINT, SIGQUIT, SIGTERM};

/// The files to remove if a signal ends this program.
static TEMPORARY: Mutex<Vec<PathBuf>> = Mutex::new(Vec::new());
static WATCHER: Once = Once::new();

fn temporary() -> MutexGuard<'static, Vec<PathBuf>> {
    TEMPORARY.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Creates a temporary file. A signal waits meanwhile, so that there is no moment in which the file exists unknown.
pub(crate) fn create<T>(make: impl FnOnce() -> io::Result<T>, path: impl FnOnce(&T) -> PathBuf) -> io::Result<T> {
    let mut started = Ok(());
    WATCHER.call_once(|| started = watch());
    started?;
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

fn watch() -> io::Result<()> {
    // Whoever ignores a signal, as `nohup` does, wants it ignored here too.
    let ignored = ignored();
    let wanted = [SIGHUP, SIGINT, SIGQUIT, SIGTERM].into_iter().filter(|signal| ignored >> (signal - 1) & 1 == 0);
    let mut signals = signal_hook::iterator::Signals::new(wanted)?;
    std::thread::Builder::new().name("signals".to_owned()).spawn(move || {
        for signal in &mut signals {
            let known = temporary();
            for path in known.iter() {
                let _ = fs::remove_file(path).or_else(|_| fs::remove_dir_all(path));
            }
            // Ends the program as that signal does; the lock is held, so that nothing is created any more.
            let _ = signal_hook::low_level::emulate_default_handler(signal);
        }
    })?;
    Ok(())
}

/// The signals that are ignored, one bit each; none where the system does not tell.
fn ignored() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).unwrap_or(0)
}
