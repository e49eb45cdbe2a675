//! Removal (SPEC §10.5): receipts first, then the slots that no receipt names; never what is in use.

use alloc::collections::BTreeSet;
use alloc::ffi::CString;
use alloc::format;
use alloc::vec::Vec;
use core::ffi::CStr;
use core::time::Duration;

use pspf_format::{Receipt, Sha256};
use rustix::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use rustix::fs::{AtFlags, CWD, FileType, Mode, OFlags};
use rustix::io::Errno;

use super::lock::Lock;
use super::receipts::read_receipt;
use super::slots::older_than;
use super::staging::{fresh_name, reclaim, remove_tree};
use super::{Cache, names};
use crate::Error;
use crate::disk::{self, open_directory};
use crate::path::{concat, is_below, join};

/// Which packages to remove.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Scope {
    /// Every package.
    All,
    /// The package with this id.
    Package(Sha256),
}

/// What to remove.
#[derive(Clone, Debug)]
pub struct Removal {
    /// Which packages.
    pub scope: Scope,
    /// Only what was last used longer ago than this.
    pub unused_for: Duration,
}

/// What was removed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Removed {
    /// Packages whose receipts are gone.
    pub packages: u64,
    /// Slots that are gone.
    pub slots: u64,
    /// Bytes that are free again.
    pub bytes: u64,
    /// Packages and slots that were left because they are in use, or were lately.
    pub kept: u64,
}

impl Cache {
    /// Removes packages and the slots that only they used.
    ///
    /// # Errors
    /// [`Error::Io`] where the cache cannot be read or changed.
    pub fn remove(&self, removal: &Removal) -> Result<Removed, Error> {
        reclaim(self);
        let mut removed = Removed::default();
        let live = self.slots_of_live_processes();
        let mut named = BTreeSet::new();
        let mut freed = BTreeSet::new();
        for (id, receipt, file) in self.receipts()? {
            let keys = || receipt.iter().flat_map(|receipt| &receipt.slots).map(|stamp| Sha256(stamp.key));
            let wanted = removal.scope == Scope::All || removal.scope == Scope::Package(id);
            if !wanted {
                named.extend(keys());
            } else if keys().any(|key| live.contains(&key))
                || !self.remove_unused(&names::receipt(&id), &file, removal)?
            {
                named.extend(keys());
                removed.kept += 1;
            } else {
                freed.extend(keys());
                removed.packages += 1;
            }
        }
        for key in self.slot_keys()? {
            let wanted = removal.scope == Scope::All || freed.contains(&key);
            if named.contains(&key) || !wanted {
                continue;
            }
            if live.contains(&key) {
                removed.kept += 1;
                continue;
            }
            match self.remove_slot(&key, removal)? {
                Some(bytes) => {
                    removed.slots += 1;
                    removed.bytes += bytes;
                }
                None => removed.kept += 1,
            }
        }
        Ok(removed)
    }

    /// Unlinks a record unless it was used lately; false where it was. The file is unlinked first and its access time
    /// is read from the open descriptor afterwards: a start notes its use first and looks for the link afterwards.
    fn remove_unused(&self, name: &CStr, file: &OwnedFd, removal: &Removal) -> Result<bool, Error> {
        let unused = || {
            rustix::fs::fstat(file)
                .is_ok_and(|stat| removal.unused_for.is_zero() || older_than(stat.st_atime, removal.unused_for))
        };
        if !unused() {
            return Ok(false);
        }
        match rustix::fs::unlinkat(self.root(), name, AtFlags::empty()) {
            Ok(()) | Err(Errno::NOENT) => Ok(unused()),
            Err(errno) => Err(self.failed("removing", name, errno)),
        }
    }

    fn remove_slot(&self, key: &Sha256, removal: &Removal) -> Result<Option<u64>, Error> {
        let (name, record) = (names::slot(key), names::record(key));
        // Whoever extracts it holds this lock until its record is written.
        let Some(_lock) = Lock::of_slot_now(self, key) else { return Ok(None) };
        let unused = match self.open_unnoticed(&record) {
            Ok(file) => self.remove_unused(&record, &file, removal)?,
            Err(_) => rustix::fs::statat(self.root(), name.as_c_str(), AtFlags::SYMLINK_NOFOLLOW)
                .is_ok_and(|stat| removal.unused_for.is_zero() || older_than(stat.st_ctime, removal.unused_for)),
        };
        if !unused {
            return Ok(None);
        }
        let aside = fresh_name();
        let aside_path = names::below("slots", &aside);
        let rename = |from: &CStr, to: &CStr| rustix::fs::renameat(self.root(), from, self.root(), to);
        match rename(&name, &aside_path) {
            Ok(()) => {}
            Err(Errno::NOENT) => return Ok(None),
            Err(errno) => return Err(self.failed("removing", &name, errno)),
        }
        // A program may have started since the first look; the kernel knows it by the new name now.
        if is_used(self.root(), aside_path.to_bytes()) {
            let _ = rename(&aside_path, &name);
            return Ok(None);
        }
        let bytes = disk_usage(self.root(), &aside_path);
        remove_tree(self.root(), &aside_path).map_err(|errno| self.failed("removing", &aside_path, errno))?;
        for name in [names::index(key), names::lock(key)] {
            let _ = rustix::fs::unlinkat(self.root(), name.as_c_str(), AtFlags::empty());
        }
        Ok(Some(bytes))
    }

    /// All receipts; `None` for one that cannot be read as such, which names no slots.
    pub(super) fn receipts(&self) -> Result<Vec<(Sha256, Option<Receipt>, OwnedFd)>, Error> {
        let open = |id| {
            let file = self.open_unnoticed(&names::receipt(&id)).ok()?;
            Some((id, read_receipt(&file, &id).map(|(receipt, _)| receipt), file))
        };
        Ok(self.digests(c"receipts")?.into_iter().filter_map(open).collect())
    }

    /// Opens a record so that looking at it is no use of it: its access time stays.
    fn open_unnoticed(&self, name: &CStr) -> rustix::io::Result<OwnedFd> {
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        match disk::open_at(self.root(), name, flags | OFlags::NOATIME, Mode::empty()) {
            // Only its owner and root may ask for that.
            Err(Errno::PERM) => self.open_record(name),
            opened => opened,
        }
    }

    /// The keys of all slots that are there, in no order.
    pub(super) fn slot_keys(&self) -> Result<Vec<Sha256>, Error> {
        self.digests(c"slots")
    }

    /// The names in a folder that are digests.
    fn digests(&self, folder: &CStr) -> Result<Vec<Sha256>, Error> {
        match open_directory(self.root(), folder).and_then(disk::names) {
            Ok(names) => Ok(names.iter().filter_map(|name| Sha256::from_hex(name.to_str().ok()?)).collect()),
            // A cache that is being made has not all its folders yet.
            Err(Errno::NOENT) => Ok(Vec::new()),
            Err(errno) => Err(self.failed("reading", folder, errno)),
        }
    }

    /// The slots that a process has as executable, map or working directory, as far as we may look.
    fn slots_of_live_processes(&self) -> BTreeSet<Sha256> {
        let mut keys = BTreeSet::new();
        let Ok(root) = path_of(self.root()) else { return keys };
        let below = join(&root, b"slots");
        each_path_of_live_processes(&mut |path| keys.extend(key_in(path, below.to_bytes())));
        keys
    }
}

/// Whether a live process has as executable, map or working directory what is below `name` in an open directory, as far
/// as we may look; true where nobody can tell.
pub(super) fn is_used(directory: BorrowedFd<'_>, name: &[u8]) -> bool {
    let Ok(directory) = path_of(directory) else { return true };
    is_used_below(join(&directory, name).to_bytes())
}

/// Whether a live process has as executable, map or working directory what is below this path, as far as we may look.
/// The path is one without symbolic links.
pub fn is_used_below(path: &[u8]) -> bool {
    let place = concat(&[path]);
    let mut used = false;
    each_path_of_live_processes(&mut |path| used |= is_below(&concat(&[path]), &place));
    used
}

/// The path of an open directory, without the symbolic links that lead to it.
fn path_of(directory: BorrowedFd<'_>) -> rustix::io::Result<CString> {
    disk::read_link(CWD, &concat(&[format!("/proc/self/fd/{}", directory.as_raw_fd()).as_bytes()]))
}

/// Calls `look` with everything that a process has as executable, map or working directory, as far as we may see it.
fn each_path_of_live_processes(look: &mut dyn FnMut(&[u8])) {
    let processes = disk::open(c"/proc").and_then(disk::names).unwrap_or_default();
    for process in processes.iter().map(|name| name.to_bytes()).filter(|name| name.iter().all(u8::is_ascii_digit)) {
        let below = |name: &[u8]| concat(&[b"/proc/", process, name]);
        for link in [below(b"/exe"), below(b"/cwd")] {
            if let Ok(target) = disk::read_link(CWD, &link) {
                look(target.to_bytes());
            }
        }
        let maps = disk::read(&below(b"/maps")).unwrap_or_default();
        maps.split(|&byte| byte == b'\n').for_each(|line| {
            if let Some(at) = line.iter().position(|&byte| byte == b'/') {
                look(line.get(at..).unwrap_or_default());
            }
        });
    }
}

/// The key in a path below the slots' directory.
fn key_in(path: &[u8], slots: &[u8]) -> Option<Sha256> {
    let rest = path.strip_prefix(slots)?.strip_prefix(b"/")?;
    Sha256::from_hex(core::str::from_utf8(rest.get(..64)?).ok()?)
}

/// Bytes on disk below a directory.
pub(super) fn disk_usage(parent: BorrowedFd<'_>, name: &CStr) -> u64 {
    let Ok(directory) = open_directory(parent, name) else { return 0 };
    let mut bytes = 0;
    for name in disk::names(&directory).unwrap_or_default() {
        let Ok(stat) = rustix::fs::statat(&directory, name.as_c_str(), AtFlags::SYMLINK_NOFOLLOW) else { continue };
        bytes += u64::try_from(stat.st_blocks).unwrap_or(0) * 512;
        if FileType::from_raw_mode(stat.st_mode) == FileType::Directory {
            bytes += disk_usage(directory.as_fd(), &name);
        }
    }
    bytes
}

/// Removes a directory of this process alone, by its parent and name.
pub fn remove_directory(parent: &CStr, name: &CStr) {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    if let Ok(parent) = disk::open_at(CWD, parent, flags, Mode::empty()) {
        let _ = remove_tree(parent.as_fd(), name);
    }
}
