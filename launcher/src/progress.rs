//! Tells a person at a terminal how far an extraction is, once it has taken a second.

use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// How long nothing is said.
const QUIET: Duration = Duration::from_secs(1);
/// How often something is said after that.
const INTERVAL: Duration = Duration::from_millis(100);

/// A counter of bytes with a line on standard error.
#[derive(Debug)]
pub struct Progress {
    label: Option<String>,
    total: u64,
    done: AtomicU64,
    started: Instant,
    said: Mutex<Option<Instant>>,
}

impl Progress {
    /// Counts and says nothing.
    pub fn silent() -> Self {
        Self::new(None, 0)
    }

    fn new(label: Option<String>, total: u64) -> Self {
        Self { label, total, done: AtomicU64::new(0), started: Instant::now(), said: Mutex::new(None) }
    }

    /// Counts to `total` bytes; says so where standard error is a terminal.
    pub fn to_terminal(label: &str, total: u64) -> Self {
        let label = rustix::termios::isatty(rustix::stdio::stderr()).then(|| label.escape_debug().to_string());
        Self::new(label, total)
    }

    /// Counts `bytes` more.
    pub fn advance(&self, bytes: u64) {
        let done = self.done.fetch_add(bytes, Ordering::Relaxed).saturating_add(bytes);
        let Some(label) = &self.label else { return };
        if self.started.elapsed() < QUIET {
            return;
        }
        // Whoever finds the lock taken has nothing to add.
        let Ok(mut said) = self.said.try_lock() else { return };
        if said.is_some_and(|last| last.elapsed() < INTERVAL) {
            return;
        }
        *said = Some(Instant::now());
        let percent = done.saturating_mul(100).checked_div(self.total).unwrap_or(100).min(100);
        write(&format!("\rpspf: unpacking {label} {percent:3} %"));
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if self.said.get_mut().is_ok_and(|said| said.is_some()) {
            write("\r\x1b[K");
        }
    }
}

fn write(text: &str) {
    let _ = rustix::io::write(rustix::stdio::stderr(), text.as_bytes());
}
