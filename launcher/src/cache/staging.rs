//! Work in progress: everything is made beside its final name under `slots/.tmp-…`, then renamed once.

use alloc::ffi::CString;
use alloc::format;
use core::ffi::CStr;
use core::sync::atomic::{AtomicU32, Ordering};

use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::fs::{AtFlags, Mode, OFlags};
use rustix::io::Errno;

use super::lock::try_lock;
use super::removal::is_used;
use super::{Cache, names, safety};
use crate::Error;
use crate::disk::{self, create_directory, open_directory};
use crate::path::concat;
use crate::sys::clock;
use crate::sys::process::euid;

/// What work in progress is called.
const PREFIX: &str = ".tmp-";
/// What stands before that in the name of a directory for one run alone, which others share a directory with.
const PRIVATE: &[u8] = b"pspf-";
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
/// it, and the next one that makes such a directory removes it, because its lock is gone.
#[derive(Debug)]
pub(crate) struct Staging {
    parent: OwnedFd,
    name: CString,
    directory: OwnedFd,
    published: bool,
}

impl Staging {
    /// For a slot of this cache.
    pub(crate) fn new(cache: &Cache) -> rustix::io::Result<Self> {
        Self::below(cache.root(), b"slots/")
    }

    /// For one run alone, in the directory `base`. What dead processes of this user left there is removed.
    ///
    /// # Errors
    /// [`Error::Unfit`] and [`Error::Io`] where there is none to be had.
    pub(crate) fn private(base: &CStr) -> Result<Self, Error> {
        let parent = safety::open_or_create(base, Mode::RWXU).map_err(|reason| reason.at(base))?;
        reclaim_private(parent.as_fd());
        Self::below(parent.as_fd(), PRIVATE).map_err(|errno| Error::io("creating a directory in", base, errno))
    }

    /// In the directory `parent`, under a new name that begins so.
    fn below(parent: BorrowedFd<'_>, prefix: &[u8]) -> rustix::io::Result<Self> {
        let mut outcome = Err(Errno::AGAIN);
        for _ in 0..TRIES {
            let name = concat(&[prefix, fresh_name().to_bytes()]);
            let directory = match create_directory(parent, &name) {
                // Whoever reclaims came first, in the moment between the directory and its opening.
                Err(Errno::NOENT) => continue,
                created => created?,
            };
            // The lock says that somebody is at work here. Whoever reclaims holds it until the directory is gone: so
            // either it is ours, or this name is given up.
            let staging =
                Self { parent: rustix::io::fcntl_dupfd_cloexec(parent, 0)?, name, directory, published: false };
            if try_lock(&staging.directory) != Some(false) && staging.is_here() {
                return Ok(staging);
            }
            outcome = Err(Errno::BUSY);
        }
        outcome
    }

    /// Whether the directory still has its name.
    fn is_here(&self) -> bool {
        let named = rustix::fs::statat(&self.parent, self.name.as_c_str(), AtFlags::SYMLINK_NOFOLLOW);
        let own = rustix::fs::fstat(&self.directory);
        matches!((named, own), (Ok(named), Ok(own)) if (named.st_dev, named.st_ino) == (own.st_dev, own.st_ino))
    }

    pub(crate) fn directory(&self) -> BorrowedFd<'_> {
        self.directory.as_fd()
    }

    /// Its name below the directory that it was made in.
    pub(crate) fn name(&self) -> &CStr {
        &self.name
    }

    /// Gives the directory its final name, which must be free.
    pub(crate) fn publish(&mut self, name: &CStr) -> rustix::io::Result<()> {
        if !self.is_here() {
            return Err(Errno::STALE);
        }
        rustix::fs::renameat(&self.parent, self.name.as_c_str(), &self.parent, name)?;
        self.published = true;
        Ok(())
    }
}

impl Drop for Staging {
    fn drop(&mut self) {
        if !self.published {
            let _ = remove_tree(self.parent.as_fd(), &self.name);
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

/// Removes what processes of this user left that died while their application ran from a directory of its own. The
/// application may live on.
fn reclaim_private(parent: BorrowedFd<'_>) {
    let prefix = [PRIVATE, PREFIX.as_bytes()].concat();
    let names = open_directory(parent, c".").and_then(disk::names).unwrap_or_default();
    for name in names.iter().filter(|name| name.to_bytes().starts_with(&prefix)) {
        if let Some(Abandoned::Directory { _locked }) = abandoned(parent, name)
            && !is_used(parent, name.to_bytes())
        {
            let _ = remove_tree(parent, name);
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
        Ok(work) => {
            let is_ours = rustix::fs::fstat(&work).is_ok_and(|stat| stat.st_uid == euid());
            (is_ours && try_lock(&work) == Some(true)).then_some(Abandoned::Directory { _locked: work })
        }
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
