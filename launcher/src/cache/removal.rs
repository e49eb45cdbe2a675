//! Removal (SPEC §10.5): receipts first, then the slots that no receipt names; never what is in use.

use std::collections::HashSet;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use pspf_format::{Receipt, Sha256};
use rustix::fs::{AtFlags, Dir, Mode, OFlags};

use super::lock::Lock;
use super::receipts::read_receipt;
use super::slots::older_than;
use super::staging::{fresh_name, reclaim, remove_tree};
use super::{Cache, slot_name};
use crate::Error;
use crate::extract::open_directory;

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
        let mut named = HashSet::new();
        let mut freed = HashSet::new();
        for (id, receipt, file) in self.receipts()? {
            let keys = || receipt.iter().flat_map(|receipt| &receipt.slots).map(|stamp| Sha256(stamp.key));
            let wanted = removal.scope == Scope::All || removal.scope == Scope::Package(id);
            if !wanted {
                named.extend(keys());
            } else if keys().any(|key| live.contains(&key))
                || !self.remove_unused(&format!("receipts/{id}"), &file, removal)?
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
    fn remove_unused(&self, name: &str, file: &OwnedFd, removal: &Removal) -> Result<bool, Error> {
        let unused = || {
            rustix::fs::fstat(file)
                .is_ok_and(|stat| removal.unused_for.is_zero() || older_than(stat.st_atime, removal.unused_for))
        };
        if !unused() {
            return Ok(false);
        }
        match rustix::fs::unlinkat(self.root(), name, AtFlags::empty()) {
            Ok(()) | Err(rustix::io::Errno::NOENT) => Ok(unused()),
            Err(errno) => Err(self.failed("removing", name)(errno)),
        }
    }

    fn remove_slot(&self, key: &Sha256, removal: &Removal) -> Result<Option<u64>, Error> {
        let name = slot_name(key);
        let record = format!("{name}.ok");
        // Whoever extracts it holds this lock until its record is written.
        let Some(_lock) = Lock::of_slot_now(self, key) else { return Ok(None) };
        let unused = match self.open_unnoticed(&record) {
            Ok(file) => self.remove_unused(&record, &file, removal)?,
            Err(_) => rustix::fs::statat(self.root(), &name, AtFlags::SYMLINK_NOFOLLOW)
                .is_ok_and(|stat| removal.unused_for.is_zero() || older_than(stat.st_ctime, removal.unused_for)),
        };
        if !unused {
            return Ok(None);
        }
        let aside = format!("slots/{}", fresh_name());
        match rustix::fs::renameat(self.root(), &name, self.root(), &aside) {
            Ok(()) => {}
            Err(rustix::io::Errno::NOENT) => return Ok(None),
            Err(errno) => return Err(self.failed("removing", &name)(errno)),
        }
        // A program may have started since the first look; the kernel knows it by the new name now.
        if self.is_used(aside.trim_start_matches("slots/")) {
            let _ = rustix::fs::renameat(self.root(), &aside, self.root(), &name);
            return Ok(None);
        }
        let bytes = disk_usage(self.root(), &aside);
        remove_tree(self.root(), aside.as_str())
            .map_err(|source| Error::io("removing", &self.path().join(&aside), source))?;
        for name in [format!("{name}.index"), format!("locks/{key}")] {
            let _ = rustix::fs::unlinkat(self.root(), name, AtFlags::empty());
        }
        Ok(Some(bytes))
    }

    /// All receipts; `None` for one that cannot be read as such, which names no slots.
    pub(super) fn receipts(&self) -> Result<Vec<(Sha256, Option<Receipt>, OwnedFd)>, Error> {
        let open = |name: &String| {
            let id = Sha256::from_hex(name)?;
            let file = self.open_unnoticed(&format!("receipts/{name}")).ok()?;
            Some((id, read_receipt(&file, &id).map(|(receipt, _)| receipt), file))
        };
        Ok(self.names("receipts")?.iter().filter_map(open).collect())
    }

    /// Opens a record so that looking at it is no use of it: its access time stays.
    fn open_unnoticed(&self, name: &str) -> rustix::io::Result<OwnedFd> {
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        match rustix::fs::openat(self.root(), name, flags | OFlags::NOATIME, Mode::empty()) {
            // Only its owner and root may ask for that.
            Err(rustix::io::Errno::PERM) => rustix::fs::openat(self.root(), name, flags, Mode::empty()),
            opened => opened,
        }
    }

    /// The keys of all slots that are there.
    pub(super) fn slot_keys(&self) -> Result<Vec<Sha256>, Error> {
        Ok(self.names("slots")?.iter().filter_map(|name| Sha256::from_hex(name)).collect())
    }

    fn names(&self, folder: &str) -> Result<Vec<String>, Error> {
        let directory = match open_directory(self.root(), folder) {
            // A cache that is being made has not all its folders yet.
            Err(rustix::io::Errno::NOENT) => return Ok(Vec::new()),
            opened => opened.map_err(self.failed("reading", folder))?,
        };
        let entries = Dir::read_from(&directory).map_err(self.failed("reading", folder))?;
        let mut names: Vec<String> =
            entries.flatten().filter_map(|entry| entry.file_name().to_str().ok().map(str::to_owned)).collect();
        names.sort_unstable();
        Ok(names)
    }

    /// The slots that a process has as executable, map or working directory, as far as we may look.
    fn slots_of_live_processes(&self) -> HashSet<Sha256> {
        let mut keys = HashSet::new();
        let Some(below) = self.slots_as_the_kernel_says() else { return keys };
        each_path_of_live_processes(&mut |path| keys.extend(key_in(path, below.as_os_str().as_bytes())));
        keys
    }

    /// Whether a process uses what is below a name in the slots' directory.
    fn is_used(&self, name: &str) -> bool {
        let Some(below) = self.slots_as_the_kernel_says() else { return false };
        let directory = below.join(name);
        let mut used = false;
        each_path_of_live_processes(&mut |path| {
            used |=
                path.strip_prefix(directory.as_os_str().as_bytes()).is_some_and(|rest| matches!(rest, [] | [b'/', ..]));
        });
        used
    }

    /// The slots' directory without the symbolic links that lead to it.
    fn slots_as_the_kernel_says(&self) -> Option<PathBuf> {
        let link = format!("/proc/self/fd/{}", self.root().as_raw_fd());
        Some(std::fs::read_link(link).ok()?.join("slots"))
    }
}

/// Calls `look` with everything that a process has as executable, map or working directory, as far as we may see it.
fn each_path_of_live_processes(look: &mut dyn FnMut(&[u8])) {
    for process in std::fs::read_dir("/proc").into_iter().flatten().flatten() {
        if !process.file_name().as_bytes().iter().all(u8::is_ascii_digit) {
            continue;
        }
        for link in ["exe", "cwd"] {
            if let Ok(target) = std::fs::read_link(process.path().join(link)) {
                look(target.as_os_str().as_bytes());
            }
        }
        let maps = std::fs::read(process.path().join("maps")).unwrap_or_default();
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
    Sha256::from_hex(std::str::from_utf8(rest.get(..64)?).ok()?)
}

/// Bytes on disk below a directory.
pub(super) fn disk_usage(parent: impl AsFd, name: impl rustix::path::Arg) -> u64 {
    let Ok(directory) = open_directory(parent, name) else { return 0 };
    let Ok(entries) = Dir::read_from(&directory) else { return 0 };
    let mut bytes = 0;
    for entry in entries.flatten() {
        if entry.file_name() == c"." || entry.file_name() == c".." {
            continue;
        }
        let Ok(stat) = rustix::fs::statat(&directory, entry.file_name(), AtFlags::SYMLINK_NOFOLLOW) else { continue };
        bytes += u64::try_from(stat.st_blocks).unwrap_or(0) * 512;
        if rustix::fs::FileType::from_raw_mode(stat.st_mode) == rustix::fs::FileType::Directory {
            bytes += disk_usage(&directory, entry.file_name());
        }
    }
    bytes
}

/// Removes a directory of this process alone, by its parent and name.
pub(crate) fn remove_directory(parent: &Path, name: &std::ffi::OsStr) {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    if let Ok(parent) = rustix::fs::open(parent, flags, Mode::empty()) {
        let _ = remove_tree(parent.as_fd(), name.as_bytes());
    }
}
