//! Compares an extracted slot with its index, in full: nothing missing, nothing changed, nothing added.

use alloc::borrow::ToOwned;
use alloc::ffi::CString;
use alloc::format;
use alloc::string::String;
use alloc::vec;
use alloc::vec::Vec;
use core::fmt;
use core::sync::atomic::{AtomicUsize, Ordering};

use pspf_format::tree::{Entry, EntryKind, SlotIndex};
use pspf_format::{Hasher, Sha256};
use rustix::fd::{AsFd, BorrowedFd};
use rustix::fs::{AtFlags, FileType, Mode, OFlags, Stat};
use rustix::io::Errno;

use crate::disk;
use crate::error::OsError;
use crate::path::concat;
use crate::sys::pages::Pages;
use crate::sys::thread::{self, First};

/// How much of a file is read at once.
const CHUNK: usize = 256 << 10;
/// The buffer is outside.
const STACK: usize = 128 << 10;

/// The first difference between a tree on disk and its index.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Difference {
    /// The content of the file at this path, and nothing before it.
    Content(String),
    /// Anything else, in words.
    Other(String),
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Content(path) => write!(f, "the content of `{path}` changed"),
            Self::Other(words) => f.write_str(words),
        }
    }
}

/// Why a comparison ended early.
pub(crate) enum Stop {
    /// It differs.
    Differs(Difference),
    /// The system did not let us look at this path, which says nothing about the slot.
    CannotTell(CString, Errno),
}

impl Stop {
    fn differs<T>(reason: String) -> Result<T, Self> {
        Err(Self::Differs(Difference::Other(reason)))
    }

    /// An error at `path`: only some say that the tree is not what it was.
    fn at(path: &str, errno: Errno) -> Self {
        match errno {
            Errno::NOENT => Self::Differs(Difference::Other(format!("`{path}` is missing"))),
            Errno::NOTDIR | Errno::LOOP | Errno::ISDIR | Errno::NXIO | Errno::ACCESS => {
                Self::Differs(Difference::Other(format!("`{path}` cannot be read: {}", OsError::from(errno))))
            }
            _ => Self::CannotTell(concat(&[path.as_bytes()]), errno),
        }
    }
}

/// Compares the directory `root` with `index`.
///
/// # Errors
/// The first difference, or that the system does not let us look: too many open files, a read error.
pub(crate) fn compare(root: BorrowedFd<'_>, index: &SlotIndex) -> Result<(), Stop> {
    let tree = Tree { root, index };
    tree.entries()?;
    tree.nothing_added()?;
    tree.contents()
}

struct Tree<'a> {
    root: BorrowedFd<'a>,
    index: &'a SlotIndex,
}

impl Tree<'_> {
    /// Every entry is there, and is what it was. Directories come first, so that the way to each entry is known.
    fn entries(&self) -> Result<(), Stop> {
        let root = rustix::fs::fstat(self.root).map_err(|errno| Stop::at(".", errno))?;
        if root.st_mode & 0o7777 != 0o555 {
            return Stop::differs("the mode of its directory changed".to_owned());
        }
        // Device and inode of each entry.
        let mut seen = Vec::with_capacity(self.index.entries.len());
        for entry in &self.index.entries {
            let path = entry.path.as_str();
            let name = concat(&[path.as_bytes()]);
            let unreadable = |errno| Stop::at(path, errno);
            let stat = rustix::fs::statat(self.root, &name, AtFlags::SYMLINK_NOFOLLOW).map_err(unreadable)?;
            if !same_kind(entry, &stat) {
                return Stop::differs(format!("type, size or mode of `{path}` changed"));
            }
            let file = (stat.st_dev, stat.st_ino);
            seen.push(file);
            let reason = match &entry.kind {
                EntryKind::SymLink { target } => {
                    let found = disk::read_link(self.root, &name).map_err(unreadable)?;
                    (found.to_bytes() != target.as_bytes()).then(|| format!("`{path}` points elsewhere"))
                }
                EntryKind::HardLink { file: other, target } => (seen.get(*other as usize) != Some(&file))
                    .then(|| format!("`{path}` is no longer the same file as `{target}`")),
                EntryKind::Directory | EntryKind::File { .. } => None,
            };
            if let Some(reason) = reason {
                return Stop::differs(reason);
            }
        }
        Ok(())
    }

    /// In no directory is there more than its entries.
    fn nothing_added(&self) -> Result<(), Stop> {
        let entries = &self.index.entries;
        let count = entries.partition_point(|entry| entry.kind == EntryKind::Directory);
        let directories = entries.get(..count).unwrap_or_default();
        // How many entries lie in each directory; those in the root come last.
        let mut children = vec![0_usize; count + 1];
        for entry in entries {
            let place = entry
                .path
                .parent()
                .and_then(|parent| directories.binary_search_by(|directory| directory.path.as_str().cmp(parent)).ok());
            if let Some(number) = children.get_mut(place.unwrap_or(count)) {
                *number += 1;
            }
        }
        let paths = directories.iter().map(|directory| directory.path.as_str()).chain([""]);
        for (path, children) in paths.zip(children) {
            let unreadable = |errno| Stop::at(path, errno);
            let name = if path.is_empty() { c".".into() } else { concat(&[path.as_bytes()]) };
            let directory = disk::open_directory(self.root, &name).map_err(unreadable)?;
            let names = disk::names(&directory).map_err(unreadable)?;
            if names.len() > children {
                return Stop::differs(self.addition(path, &names));
            }
        }
        Ok(())
    }

    /// Which of the names in the directory `path` is new. To be found in any way: the slot is thrown away.
    fn addition(&self, path: &str, names: &[CString]) -> String {
        for name in names {
            let Ok(name) = name.to_str() else { break };
            let full = if path.is_empty() { name.into() } else { format!("{path}/{name}") };
            if self.index.entries.iter().all(|entry| entry.path.as_str() != full) {
                return format!("`{full}` was added");
            }
        }
        format!("a file was added to `{path}`")
    }

    /// Hashes every file, on all cores.
    fn contents(&self) -> Result<(), Stop> {
        let entries = &self.index.entries;
        let next = AtomicUsize::new(0);
        let failure = First::new();
        let work = |mut buffer: Pages| {
            while let Some(entry) = entries.get(next.fetch_add(1, Ordering::Relaxed)) {
                let EntryKind::File { sha256, .. } = &entry.kind else { continue };
                let path = entry.path.as_str();
                let problem = match hash(self.root, path, &mut buffer) {
                    Ok(found) if found == *sha256 => continue,
                    Ok(_) => Stop::Differs(Difference::Content(path.to_owned())),
                    Err(errno) => Stop::at(path, errno),
                };
                failure.set(problem);
                next.store(usize::MAX / 2, Ordering::Relaxed);
            }
        };
        let others = thread::cores().min(entries.len()).saturating_sub(1);
        let no_memory = |errno| Stop::CannotTell(CString::default(), errno);
        thread::on_all_with(others, STACK, &|| Pages::new(CHUNK).map_err(no_memory), &work)?;
        failure.into_inner().map_or(Ok(()), Err)
    }
}

/// Type, size and mode; what is not ours is not what we extracted.
fn same_kind(entry: &Entry, stat: &Stat) -> bool {
    let found = (FileType::from_raw_mode(stat.st_mode), stat.st_mode & 0o7777);
    match &entry.kind {
        EntryKind::Directory => found == (FileType::Directory, 0o555),
        EntryKind::File { mode, size, .. } => {
            found == (FileType::RegularFile, u32::from(mode.bits() & 0o555)) && u64::try_from(stat.st_size) == Ok(*size)
        }
        EntryKind::HardLink { .. } => found.0 == FileType::RegularFile,
        EntryKind::SymLink { .. } => found.0 == FileType::Symlink,
    }
}

fn hash(root: BorrowedFd<'_>, path: &str, buffer: &mut [u8]) -> rustix::io::Result<Sha256> {
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let file = disk::open_at(root, concat(&[path.as_bytes()]).as_c_str(), flags, Mode::empty())?;
    let mut hasher = Hasher::new();
    let mut at = 0;
    loop {
        match disk::read_at(file.as_fd(), buffer, at)? {
            0 => return Ok(hasher.finish()),
            len => hasher.update(buffer.get(..len).unwrap_or_default()),
        }
        at += buffer.len() as u64;
    }
}
