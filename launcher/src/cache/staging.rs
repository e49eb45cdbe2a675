//! Work in progress: everything is made beside its final name under `slots/.tmp-…`, then renamed once.

use alloc::ffi::CString;
use alloc::format;
use core::ffi::CStr;
use core::sync::atomic::{AtomicU32, Ordering};

use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::fs::{AtFlags, Mode, OFlags};
use rustix::io::Errno;

use super::lock::try_lock;
use super::{Cache, names};
use crate::disk::{self, create_directory, open_directory};
use crate::path::concat;
use crate::sys::clock;

/// What work in progress is called.
const PREFIX: &str = ".tmp-";
/// How often a new directory may be taken by somebody who reclaims.
const TRIES: usize = 10;

static COUNTER: AtomicU32 = AtomicU32::new(0);

/// A name that no other process uses now.
pub(crate) fn fresh_name() -> CString {
    let number = COUNTER.fetch_add(1, Ordering::Relaxed);
    let (pid, now) = (rustix::process::getpid().as_raw_nonzero(), clock::since_1970().as_nanos());
    concat(&[format!("{PREFIX}{pid}-{number}-{now:x}").as_bytes()])
}

/// A directory that is being filled. It is removed when dropped, unless it was published; a process that dies leaves
/// it, and the next one that extracts removes it, because its lock is gone.
pub(crate) struct Staging<'c> {
    cache: &'c Cache,
    name: CString,
    directory: OwnedFd,
    published: bool,
}

impl<'c> Staging<'c> {
    pub(crate) fn new(cache: &'c Cache) -> rustix::io::Result<Self> {
        let mut outcome = Err(Errno::AGAIN);
        for _ in 0..TRIES {
            let name = names::below("slots", &fresh_name());
            let directory = match create_directory(cache.root(), &name) {
                // Whoever reclaims came first, in the moment between the directory and its opening.
                Err(Errno::NOENT) => continue,
                created => created?,
            };
            // The lock says that somebody is at work here. Whoever reclaims holds it until the directory is gone: so
            // either it is ours, or this name is given up.
            let staging = Self { cache, name, directory, published: false };
            if try_lock(&staging.directory) != Some(false) && staging.is_here() {
                return Ok(staging);
            }
            outcome = Err(Errno::BUSY);
        }
        outcome
    }

    /// Whether the directory still has its name.
    fn is_here(&self) -> bool {
        let named = rustix::fs::statat(self.cache.root(), self.name.as_c_str(), AtFlags::SYMLINK_NOFOLLOW);
        let own = rustix::fs::fstat(&self.directory);
        matches!((named, own), (Ok(named), Ok(own)) if (named.st_dev, named.st_ino) == (own.st_dev, own.st_ino))
    }

    pub(crate) fn directory(&self) -> BorrowedFd<'_> {
        self.directory.as_fd()
    }

    pub(crate) fn name(&self) -> &CStr {
        &self.name
    }

    /// Gives the directory its final name, which must be free.
    pub(crate) fn publish(mut self, name: &CStr) -> rustix::io::Result<()> {
        let root = self.cache.root();
        if !self.is_here() {
            return Err(Errno::STALE);
        }
        rustix::fs::renameat(root, self.name.as_c_str(), root, name)?;
        self.published = true;
        Ok(())
    }
}

impl Drop for Staging<'_> {
    fn drop(&mut self) {
        if !self.published {
            let _ = remove_tree(self.cache.root(), &self.name);
        }
    }
}

/// Writes a small file under its final name, which lies in `folder`, whole or not at all. Who may read it is up to the
/// directory.
pub(crate) fn write_record(cache: &Cache, folder: &str, name: &CStr, bytes: &[u8]) -> rustix::io::Result<()> {
    let temporary = names::below(folder, &fresh_name());
    let temporary = temporary.as_c_str();
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let fd = disk::open_at(cache.root(), temporary, flags, Mode::from_raw_mode(0o644))?;
    let done = disk::write_at(fd.as_fd(), bytes, 0)
        .and_then(|()| rustix::fs::renameat(cache.root(), temporary, cache.root(), name));
    if done.is_err() {
        let _ = rustix::fs::unlinkat(cache.root(), temporary, AtFlags::empty());
    }
    done
}

/// Removes what dead processes left.
pub(crate) fn reclaim(cache: &Cache) {
    for folder in [c"slots", c"receipts"] {
        let Ok(directory) = open_directory(cache.root(), folder) else { continue };
        for name in disk::names(&directory).unwrap_or_default() {
            if name.to_bytes().starts_with(PREFIX.as_bytes())
                && let Some(_held) = abandoned(directory.as_fd(), &name)
            {
                let _ = remove_tree(directory.as_fd(), &name);
            }
        }
    }
}

/// What nobody works on any more; a directory comes locked, so that nobody begins while it is held.
enum Abandoned {
    Directory { _locked: OwnedFd },
    Record,
}

fn abandoned(directory: BorrowedFd<'_>, name: &CStr) -> Option<Abandoned> {
    match open_directory(directory, name) {
        Ok(work) => (try_lock(&work) == Some(true)).then_some(Abandoned::Directory { _locked: work }),
        // A record of a few hundred bytes takes no time to write: whose writer is gone is left over.
        Err(_) => name
            .to_str()
            .ok()
            .and_then(|name| name.strip_prefix(PREFIX)?.split('-').next()?.parse().ok())
            .and_then(rustix::process::Pid::from_raw)
            .is_some_and(|pid| rustix::process::test_kill_process(pid) == Err(Errno::SRCH))
            .then_some(Abandoned::Record),
    }
}

/// Removes a file or a whole tree by descriptors, never through a symbolic link.
pub(crate) fn remove_tree(parent: BorrowedFd<'_>, name: &CStr) -> rustix::io::Result<()> {
    match remove_below(parent, name) {
        // Somebody else removes the same: what counts is that it is gone.
        Err(Errno::NOENT) => Ok(()),
        done => done,
    }
}

fn remove_below(parent: BorrowedFd<'_>, name: &CStr) -> rustix::io::Result<()> {
    match rustix::fs::unlinkat(parent, name, AtFlags::empty()) {
        Err(Errno::ISDIR | Errno::PERM) => {}
        done => return done,
    }
    let directory = match open_directory(parent, name) {
        Err(Errno::ACCESS) => {
            rustix::fs::chmodat(parent, name, Mode::RWXU, AtFlags::empty())?;
            open_directory(parent, name)?
        }
        opened => opened?,
    };
    // Extracted directories are read-only.
    rustix::fs::fchmod(&directory, Mode::RWXU)?;
    for child in disk::names(&directory)? {
        match remove_below(directory.as_fd(), &child) {
            Ok(()) | Err(Errno::NOENT) => {}
            Err(errno) => return Err(errno),
        }
    }
    rustix::fs::unlinkat(parent, name, AtFlags::REMOVEDIR)
}
