//! Tells a person at a terminal how far an extraction is, once it has taken a second.

use alloc::format;
use alloc::string::{String, ToString};
use core::sync::atomic::{AtomicU64, Ordering};
use core::time::Duration;

use crate::sys::{clock, stdio};

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
    started: Duration,
    /// Milliseconds from the start to when something was said last; 0 for never.
    said: AtomicU64,
}

impl Progress {
    /// Counts and says nothing.
    pub fn silent() -> Self {
        Self::new(None, 0)
    }

    fn new(label: Option<String>, total: u64) -> Self {
        Self { label, total, done: AtomicU64::new(0), started: clock::monotonic(), said: AtomicU64::new(0) }
    }

    /// Counts to `total` bytes; says so where standard error is a terminal.
    pub fn to_terminal(label: &str, total: u64) -> Self {
        let label = stdio::is_watched().then(|| pspf_format::Shown(label).to_string());
        Self::new(label, total)
    }

    /// Counts `bytes` more.
    pub fn advance(&self, bytes: u64) {
        let done = self.done.fetch_add(bytes, Ordering::Relaxed).saturating_add(bytes);
        let Some(label) = &self.label else { return };
        let elapsed = clock::monotonic().saturating_sub(self.started);
        let said = self.said.load(Ordering::Relaxed);
        if elapsed < QUIET || elapsed < Duration::from_millis(said) + INTERVAL {
            return;
        }
        let now = u64::try_from(elapsed.as_millis()).unwrap_or(u64::MAX);
        // Whoever finds that another thread was faster has nothing to add.
        if self.said.compare_exchange(said, now, Ordering::Relaxed, Ordering::Relaxed).is_err() {
            return;
        }
        let percent = done.saturating_mul(100).checked_div(self.total).unwrap_or(100).min(100);
        stdio::tell(&format!("\rpspf: unpacking {label} {percent:3} %"));
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if *self.said.get_mut() > 0 {
            stdio::tell("\r\x1b[K");
        }
    }
}
