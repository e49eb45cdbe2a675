//! Filling a directory from a slot: directories, files in parallel, hard links, symbolic links, then modes.

use alloc::collections::BTreeMap;
use alloc::ffi::CString;
use alloc::sync::Arc;
use core::ffi::CStr;
use core::sync::atomic::{AtomicUsize, Ordering};

use pspf_format::Slot;
use pspf_format::tree::{EntryKind, SlotIndex};
use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::fs::{AtFlags, Mode, OFlags};

use crate::directories::Directories;
use crate::frames::{self, Sink};
use crate::path::join;
use crate::sys::lock::Lock;
use crate::sys::thread::{First, cores, on_all};
use crate::{Error, PackageFile, Progress, disk};

/// For fewer directories than these another thread is not worth its start.
const WORTH_A_THREAD: usize = 500;
/// Enough for a path and a call.
const STACK: usize = 128 << 10;

/// Which modes the extracted files get.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Modes {
    /// 0444 and 0555: nobody changes them by accident.
    ReadOnly,
    /// 0644 and 0755, less the umask, as tar would.
    Plain,
}

/// Extracts `slot` into the empty directory `root`; `path` names it in messages.
///
/// # Errors
/// [`Error::Package`] where the slot is not what was signed, [`Error::Io`] where something cannot be written. What
/// was written so far is left for the caller to remove.
pub fn extract_slot(
    package: &PackageFile,
    slot: Slot<'_>,
    index: &SlotIndex,
    root: BorrowedFd<'_>,
    path: &CStr,
    modes: Modes,
    progress: &Progress,
) -> Result<(), Error> {
    // With every mode given explicitly the umask only gets in the way.
    let _umask = (modes == Modes::ReadOnly).then(Umask::none);
    let directories = Directories::of(index);
    let disk = Disk { root, path, index, modes, directories, open: Lock::new(BTreeMap::new()) };
    frames::decode(package, slot, index, &disk, cores(), progress)?;
    disk.links()?;
    disk.seal_directories()
}

/// The process's umask, put back when dropped.
pub struct Umask(Mode);

impl Umask {
    /// Every mode is what it was asked to be, whatever the caller's umask: the cache asks for what it needs.
    pub fn none() -> Self {
        Self(rustix::process::umask(Mode::empty()))
    }
}

impl Drop for Umask {
    fn drop(&mut self) {
        rustix::process::umask(self.0);
    }
}

struct Disk<'a> {
    root: BorrowedFd<'a>,
    path: &'a CStr,
    index: &'a SlotIndex,
    modes: Modes,
    directories: Directories<'a>,
    /// Files of several frames, with the bytes that are still to come.
    open: Lock<BTreeMap<usize, (Arc<OwnedFd>, u64)>>,
}

impl Disk<'_> {
    fn failed(&self, action: &'static str, name: &str) -> impl FnOnce(rustix::io::Errno) -> Error {
        move |errno| Error::io(action, &join(self.path, name.as_bytes()), errno)
    }

    fn create_directory(&self, name: &str) -> Result<(), Error> {
        let mode = if self.modes == Modes::ReadOnly { Mode::RWXU } else { Mode::from_raw_mode(0o755) };
        rustix::fs::mkdirat(self.root, name, mode).map_err(self.failed("creating", name))
    }

    fn links(&self) -> Result<(), Error> {
        for entry in &self.index.entries {
            let name = entry.path.as_str();
            match &entry.kind {
                EntryKind::HardLink { target, .. } => {
                    rustix::fs::linkat(self.root, target.as_str(), self.root, name, AtFlags::empty())
                }
                EntryKind::SymLink { target } => rustix::fs::symlinkat(target.as_str(), self.root, name),
                EntryKind::Directory | EntryKind::File { .. } => Ok(()),
            }
            .map_err(self.failed("linking", name))?;
        }
        Ok(())
    }

    fn seal_directories(&self) -> Result<(), Error> {
        if self.modes == Modes::Plain {
            return Ok(());
        }
        let mode = Mode::from_raw_mode(0o555);
        let directories = &self.directories.order;
        // A directory that nobody may write to can still be passed, so their order does not matter.
        let (next, failure) = (AtomicUsize::new(0), First::new());
        let work = || {
            while let Some((_, name)) = directories.get(next.fetch_add(1, Ordering::Relaxed)) {
                let closed = rustix::fs::chmodat(self.root, *name, mode, AtFlags::empty());
                if let Err(error) = closed.map_err(self.failed("closing", name)) {
                    failure.set(error);
                    return;
                }
            }
        };
        let count = directories.len();
        let threads = if count < WORTH_A_THREAD { 1 } else { cores() };
        on_all(threads - 1, STACK, &work);
        failure.into_inner().map_or(Ok(()), Err)?;
        rustix::fs::fchmod(self.root, mode).map_err(self.failed("closing", ""))
    }

    fn create(&self, number: usize) -> Result<OwnedFd, Error> {
        let Some(entry) = self.index.entries.get(number) else {
            return Err(Error::Internal { what: "content without an entry" });
        };
        let EntryKind::File { mode, .. } = entry.kind else {
            return Err(Error::Internal { what: "content of what is no file" });
        };
        let bits = match self.modes {
            Modes::ReadOnly => mode.bits() & 0o555,
            Modes::Plain => mode.bits(),
        };
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let name = entry.path.as_str();
        let fd = disk::open_at(self.root, name, flags, Mode::from_raw_mode(u32::from(bits)));
        fd.map_err(self.failed("creating", name))
    }

    fn path_of(&self, number: usize) -> CString {
        join(self.path, self.index.entries.get(number).map_or("", |entry| entry.path.as_str()).as_bytes())
    }
}

impl Sink for Disk<'_> {
    fn prepare(&self, failure: &First<Error>) {
        self.directories.each(failure, |name| self.create_directory(name));
    }

    fn write(&self, entry: usize, offset: u64, bytes: &[u8]) -> Result<(), Error> {
        let size = self.index.entries.get(entry).map_or(0, pspf_format::tree::Entry::size);
        let file = if bytes.len() as u64 == size {
            Arc::new(self.create(entry)?)
        } else {
            self.open.with(|open| {
                let (file, rest) = match open.remove(&entry) {
                    Some(open) => open,
                    None => (Arc::new(self.create(entry)?), size),
                };
                let rest = rest.saturating_sub(bytes.len() as u64);
                if rest > 0 {
                    open.insert(entry, (Arc::clone(&file), rest));
                }
                Ok(file)
            })?
        };
        disk::write_at(file.as_fd(), bytes, offset).map_err(|source| Error::io("writing", &self.path_of(entry), source))
    }
}
