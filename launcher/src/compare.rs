//! Compares an extracted slot with its index, in full: nothing missing, nothing changed, nothing added.

use std::collections::HashMap;
use std::fs::File;
use std::io::Read;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};

use pspf_format::tree::{Entry, EntryKind, SlotIndex};
use pspf_format::{Hasher, Sha256};
use rustix::fs::{AtFlags, Dir, FileType, Mode, OFlags, Stat};

use crate::extract::open_directory;

/// How much of a file is read at once.
const CHUNK: usize = 256 << 10;

/// Why a comparison ended early.
enum Stop {
    /// It differs; how, in words.
    Differs(String),
    /// The system did not let us look, which says nothing about the slot.
    CannotTell(std::io::Error),
}

impl Stop {
    fn differs<T>(reason: String) -> Result<T, Self> {
        Err(Self::Differs(reason))
    }

    /// An error at `path`: only some say that the tree is not what it was.
    fn at(path: &str, source: impl Into<std::io::Error>) -> Self {
        let source = source.into();
        match source.raw_os_error() {
            Some(libc::ENOENT | libc::ENOTDIR | libc::ELOOP | libc::EISDIR | libc::ENXIO | libc::EACCES) => {
                Self::Differs(format!("`{path}` cannot be read: {source}"))
            }
            _ => Self::CannotTell(std::io::Error::new(source.kind(), format!("`{path}`: {source}"))),
        }
    }
}

/// The first difference between the directory `root` and `index`, in words; `None` where there is none.
///
/// # Errors
/// Where the system does not let us look: too many open files, a read error.
pub(crate) fn difference(root: BorrowedFd<'_>, index: &SlotIndex) -> std::io::Result<Option<String>> {
    let numbers = index.entries.iter().enumerate().map(|(number, entry)| (entry.path.as_str(), number)).collect();
    let mut walk = Walk { index, numbers, seen: vec![None; index.entries.len()] };
    let found = walk
        .directory(root, "")
        .and_then(|()| walk.nothing_missing())
        .and_then(|()| walk.hard_links())
        .and_then(|()| contents(root, index));
    match found {
        Ok(()) => Ok(None),
        Err(Stop::Differs(reason)) => Ok(Some(reason)),
        Err(Stop::CannotTell(source)) => Err(source),
    }
}

struct Walk<'a> {
    index: &'a SlotIndex,
    numbers: HashMap<&'a str, usize>,
    /// Device and inode of each entry that was met.
    seen: Vec<Option<(u64, u64)>>,
}

impl Walk<'_> {
    fn directory(&mut self, directory: BorrowedFd<'_>, path: &str) -> Result<(), Stop> {
        let unreadable = |errno| Stop::at(path, errno);
        // The listing is complete, and its descriptor closed, before anything below is opened.
        let children =
            Dir::read_from(directory).and_then(|dir| dir.collect::<Result<Vec<_>, _>>()).map_err(unreadable)?;
        for child in &children {
            let Ok(name) = child.file_name().to_str() else {
                return Stop::differs(format!("a file was added to `{path}`"));
            };
            if name == "." || name == ".." {
                continue;
            }
            let full = if path.is_empty() { name.to_owned() } else { format!("{path}/{name}") };
            let Some((number, entry)) =
                self.numbers.get(full.as_str()).and_then(|&number| Some((number, self.index.entries.get(number)?)))
            else {
                return Stop::differs(format!("`{full}` was added"));
            };
            let stat = rustix::fs::statat(directory, name, AtFlags::SYMLINK_NOFOLLOW)
                .map_err(|errno| Stop::at(&full, errno))?;
            same_kind(entry, &stat)?;
            if let EntryKind::SymLink { target } = &entry.kind {
                let found = rustix::fs::readlinkat(directory, name, Vec::new()).map_err(unreadable)?;
                if found.as_bytes() != target.as_bytes() {
                    return Stop::differs(format!("`{full}` points elsewhere"));
                }
            }
            if let Some(seen) = self.seen.get_mut(number) {
                *seen = Some((stat.st_dev, stat.st_ino));
            }
            if entry.kind == EntryKind::Directory {
                let child = open_directory(directory, name).map_err(unreadable)?;
                self.directory(child.as_fd(), &full)?;
            }
        }
        Ok(())
    }

    fn nothing_missing(&self) -> Result<(), Stop> {
        match self.index.entries.iter().zip(&self.seen).find(|(_, seen)| seen.is_none()) {
            Some((entry, _)) => Stop::differs(format!("`{}` is missing", entry.path)),
            None => Ok(()),
        }
    }

    fn hard_links(&self) -> Result<(), Stop> {
        for (entry, seen) in self.index.entries.iter().zip(&self.seen) {
            if let EntryKind::HardLink { file, target } = &entry.kind
                && self.seen.get(*file as usize) != Some(seen)
            {
                return Stop::differs(format!("`{}` is no longer the same file as `{target}`", entry.path));
            }
        }
        Ok(())
    }
}

/// Type, size and mode; what is not ours is not what we extracted.
fn same_kind(entry: &Entry, stat: &Stat) -> Result<(), Stop> {
    let found = (FileType::from_raw_mode(stat.st_mode), stat.st_mode & 0o7777);
    let same = match &entry.kind {
        EntryKind::Directory => found == (FileType::Directory, 0o555),
        EntryKind::File { mode, size, .. } => {
            found == (FileType::RegularFile, u32::from(mode.bits() & 0o555)) && u64::try_from(stat.st_size) == Ok(*size)
        }
        EntryKind::HardLink { .. } => found.0 == FileType::RegularFile,
        EntryKind::SymLink { .. } => found.0 == FileType::Symlink,
    };
    if same { Ok(()) } else { Stop::differs(format!("type, size or mode of `{}` changed", entry.path)) }
}

/// Hashes every file, on all cores.
fn contents(root: BorrowedFd<'_>, index: &SlotIndex) -> Result<(), Stop> {
    let next = AtomicUsize::new(0);
    let failure = Mutex::new(None);
    let work = || {
        let mut buffer = vec![0; CHUNK];
        while let Some(entry) = index.entries.get(next.fetch_add(1, Ordering::Relaxed)) {
            let EntryKind::File { sha256, .. } = &entry.kind else { continue };
            let problem = match hash(root, entry.path.as_str(), &mut buffer) {
                Ok(found) if found == *sha256 => continue,
                Ok(_) => Stop::Differs(format!("the content of `{}` changed", entry.path)),
                Err(error) => Stop::at(entry.path.as_str(), error),
            };
            failure.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(problem);
            next.store(usize::MAX / 2, Ordering::Relaxed);
        }
    };
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    std::thread::scope(|scope| {
        for _ in 1..cores.min(index.entries.len()) {
            let _ = std::thread::Builder::new().spawn_scoped(scope, work);
        }
        work();
    });
    failure.into_inner().unwrap_or_else(PoisonError::into_inner).map_or(Ok(()), Err)
}

fn hash(root: BorrowedFd<'_>, path: &str, buffer: &mut [u8]) -> std::io::Result<Sha256> {
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let mut file = File::from(rustix::fs::openat(root, path, flags, Mode::empty())?);
    let mut hasher = Hasher::new();
    loop {
        match file.read(buffer)? {
            0 => return Ok(hasher.finish()),
            len => hasher.update(buffer.get(..len).unwrap_or_default()),
        }
    }
}
