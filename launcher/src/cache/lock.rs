//! Locks that save duplicate work. Nothing is wrong where one cannot be had: a rename commits, whoever comes first.

use core::time::Duration;

use pspf_format::Sha256;
use rustix::fd::{AsFd, OwnedFd};
use rustix::fs::{FileType, FlockOperation, Mode, OFlags};

use super::{Cache, names};
use crate::disk;
use crate::sys::process::euid;
use crate::sys::{clock, stdio};

/// How long to wait for another process that extracts the same slot.
const PATIENCE: Duration = Duration::from_secs(30);
/// How long a person at a terminal waits without a word.
const QUIET: Duration = Duration::from_secs(1);
/// How often to look.
const INTERVAL: Duration = Duration::from_millis(5);

/// A lock, or the lack of one.
pub(crate) struct Lock {
    _held: Option<OwnedFd>,
}

impl Lock {
    /// Waits for the lock of a slot; after [`PATIENCE`] goes on without.
    pub(crate) fn of_slot(cache: &Cache, key: &Sha256) -> Self {
        let Some(fd) = open(cache, key) else { return Self { _held: None } };
        let started = clock::monotonic();
        let elapsed = || clock::monotonic().saturating_sub(started);
        let mut told = !stdio::is_watched();
        loop {
            if !told && elapsed() > QUIET {
                told = true;
                crate::error::warn("another start unpacks the same slot; waiting for it");
            }
            match try_lock(&fd) {
                Some(true) => return Self { _held: Some(fd) },
                Some(false) if elapsed() < PATIENCE => clock::sleep(INTERVAL),
                _ => return Self { _held: None },
            }
        }
    }

    /// The lock of a slot, unless somebody has it now.
    pub(crate) fn of_slot_now(cache: &Cache, key: &Sha256) -> Option<Self> {
        match open(cache, key) {
            Some(fd) if try_lock(&fd) == Some(false) => None,
            held => Some(Self { _held: held }),
        }
    }
}

/// The lock file, where it is a plain file of ours.
fn open(cache: &Cache, key: &Sha256) -> Option<OwnedFd> {
    // Opened for writing because network file systems lock only such descriptors; never truncated or written.
    let flags = OFlags::RDWR | OFlags::CREATE | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let fd = disk::open_at(cache.root(), names::lock(key).as_c_str(), flags, Mode::RUSR | Mode::WUSR).ok()?;
    let stat = rustix::fs::fstat(&fd).ok()?;
    let regular = FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile;
    (regular && stat.st_uid == euid() && stat.st_nlink == 1).then_some(fd)
}

/// Whether the lock was taken; `None` where this file system has no locks.
pub(crate) fn try_lock(fd: impl AsFd) -> Option<bool> {
    match rustix::fs::flock(fd, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Some(true),
        Err(rustix::io::Errno::WOULDBLOCK | rustix::io::Errno::INTR) => Some(false),
        Err(_) => None,
    }
}
