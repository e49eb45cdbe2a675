//! Getting a slot into the cache, whatever state the cache is in (SPEC §10.4).

use alloc::borrow::ToOwned;
use alloc::format;
use alloc::string::ToString;
use alloc::vec;
use alloc::vec::Vec;
use core::ffi::CStr;
use core::time::Duration;

use pspf_format::tree::SlotIndex;
use pspf_format::{Sha256, Shown, Slot, SlotStamp, Validity, encode_slot_record, parse_slot_record};
use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::fs::{Access, AtFlags, FileType, Mode, OFlags, Stat, Timespec, Timestamps};
use rustix::io::{Errno, retry_on_intr};

use super::lock::Lock;
use super::staging::{Staging, fresh_name, write_record};
use super::{Cache, names};
use crate::compare::{self, Difference, Stop};
use crate::disk;
use crate::extract::Umask;
use crate::path::join;
use crate::slot_reader::untrue;
use crate::sys::clock;
use crate::sys::process::euid;
use crate::sys::signals::Ignored;
use crate::{Error, Modes, PackageFile, Progress, extract_slot, slot_index};

/// A use is noted when the last note is older than this.
const NOTE_INTERVAL: Duration = Duration::from_secs(3600);
/// A slot record is this long, or it is none.
const MAX_RECORD: usize = 256;

/// What a full comparison of a slot found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It is what the package says.
    Sound,
    /// It is not there.
    Missing,
    /// It differs.
    Damaged(Difference),
}

impl Cache {
    /// Makes sure that `slot` is extracted and sound, and says how it stands on disk.
    ///
    /// # Errors
    /// [`Error::Package`] where the slot is not what was signed, [`Error::Io`] where the cache cannot hold it.
    pub(crate) fn ensure(
        &self,
        package: &PackageFile,
        slot: Slot<'_>,
        progress: &Progress,
    ) -> Result<(SlotStamp, Validity), Error> {
        let key = slot.key();
        if let Some(known) = self.recorded(&key) {
            return Ok(known);
        }
        let _lock = Lock::of_slot(self, &key);
        if let Some(known) = self.recorded(&key) {
            return Ok(known);
        }
        match self.compare(package, slot)? {
            // It has survived something, a crash perhaps: sync once, then never ask again.
            Verdict::Sound => {
                let portable = self.read_record(&key).is_some_and(|(_, validity, ..)| validity.portable == 1);
                let durability = if portable { Durability::Portable } else { Durability::Synced };
                return self.settle(package, slot, durability);
            }
            Verdict::Damaged(_) => self.set_aside(&key)?,
            // Somebody took it away, and what is said of it is not said of the next one.
            Verdict::Missing => self.forget(&key),
        }
        self.extract(package, slot, &key, progress)
    }

    /// Makes sure of one slot that somebody asked for.
    ///
    /// # Errors
    /// As for a start.
    pub(crate) fn obtain(&self, package: &PackageFile, slot: Slot<'_>, progress: &Progress) -> Result<(), Error> {
        let _umask = Umask::none();
        let _limit = Ignored::file_size();
        self.ensure(package, slot, progress).map(drop)
    }

    /// Makes sure of a slot for a cache that is filled ahead: synced, compared in full, valid in every copy.
    ///
    /// # Errors
    /// As for a start; [`Error::Io`] also where the slot cannot be synced, and [`Error::Package`] where the content of a
    /// file is not what the signed index says of it.
    pub fn warm(
        &self,
        package: &PackageFile,
        slot: Slot<'_>,
        progress: &Progress,
    ) -> Result<(SlotStamp, Validity), Error> {
        self.ensure(package, slot, progress)?;
        let key = slot.key();
        let _lock = Lock::of_slot(self, &key);
        let mut verdict = self.compare_synced(package, slot)?;
        // What was there may have been changed behind its record; what is made here is as the package has it.
        if verdict != Verdict::Sound {
            self.set_aside(&key)?;
            self.extract(package, slot, &key, progress)?;
            verdict = self.compare_synced(package, slot)?;
        }
        match verdict {
            Verdict::Sound => self.settle(package, slot, Durability::Portable),
            Verdict::Missing => Err(self.failed("comparing", &names::slot(&key), Errno::NOENT)),
            Verdict::Damaged(difference) => {
                self.set_aside(&key)?;
                Err(unlike_its_index(package, difference))
            }
        }
    }

    fn compare_synced(&self, package: &PackageFile, slot: Slot<'_>) -> Result<Verdict, Error> {
        rustix::fs::syncfs(self.root()).map_err(|errno| self.failed("syncing", c"", errno))?;
        self.compare(package, slot)
    }

    /// Forgets what is known of these slots, so that the next look at them is a full comparison.
    pub fn doubt(&self, slots: &[Slot<'_>]) {
        slots.iter().for_each(|slot| self.forget(&slot.key()));
    }

    /// What the slot's record says, where it holds now.
    fn recorded(&self, key: &Sha256) -> Option<(SlotStamp, Validity)> {
        let (stamp, validity, file, stat) = self.read_record(key)?;
        let sound = note_use(&file, &stat) && self.holds(&stamp, &validity, &mut None);
        sound.then_some((stamp, validity))
    }

    /// Opens a record, whatever it may be, without waiting and without following a link.
    pub(super) fn open_record(&self, name: &CStr) -> rustix::io::Result<OwnedFd> {
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        disk::open_at(self.root(), name, flags, Mode::empty())
    }

    /// What the slot's record says, whether or not it holds.
    pub(super) fn read_record(&self, key: &Sha256) -> Option<(SlotStamp, Validity, OwnedFd, Stat)> {
        let file = self.open_record(&names::record(key)).ok()?;
        let (bytes, stat) = read_small(&file, MAX_RECORD)?;
        let (stamp, validity) = parse_slot_record(&bytes)?;
        (stamp.key == key.0).then_some((stamp, validity, file, stat))
    }

    /// Whether a claim about a slot holds: nothing happened since that the claim does not cover. `boot_id` is read
    /// at most once.
    pub(crate) fn holds(&self, stamp: &SlotStamp, validity: &Validity, boot_id: &mut Option<[u8; 16]>) -> bool {
        if validity.durable == 0 {
            let current = boot_id.get_or_insert_with(|| current_boot_id().unwrap_or_default());
            if *current == [0; 16] || validity.boot_id != *current {
                return false;
            }
        }
        match self.stamp(&Sha256(stamp.key)) {
            Some(found) if found == *stamp => true,
            // A copy of a cache that was filled ahead. Where it can be written, one full comparison comes first and is
            // recorded; where it cannot, nobody who runs as we do can have changed it either.
            Some(_) => validity.portable == 1 && validity.durable == 1 && !self.can_be_written(),
            None => false,
        }
    }

    fn can_be_written(&self) -> bool {
        rustix::fs::accessat(self.root(), c"slots", Access::WRITE_OK, AtFlags::empty()).is_ok()
    }

    /// How a slot's directory stands on disk now.
    fn stamp(&self, key: &Sha256) -> Option<SlotStamp> {
        let stat = rustix::fs::statat(self.root(), names::slot(key).as_c_str(), AtFlags::SYMLINK_NOFOLLOW).ok()?;
        let is_directory = FileType::from_raw_mode(stat.st_mode) == FileType::Directory;
        is_directory.then_some(SlotStamp {
            key: key.0,
            device: stat.st_dev,
            inode: stat.st_ino,
            ctime: stat.st_ctime,
            ctime_nsec: stat.st_ctime_nsec.try_into().unwrap_or_default(),
        })
    }

    /// Compares a slot on disk with the package, in full.
    ///
    /// # Errors
    /// [`Error::Package`] where the package's own index is wrong; [`Error::Io`] where the system does not let us look.
    pub fn compare(&self, package: &PackageFile, slot: Slot<'_>) -> Result<Verdict, Error> {
        let directory = match self.open_slot(&slot.key())? {
            Ok(directory) => directory,
            Err(verdict) => return Ok(verdict),
        };
        let index = slot_index(package, slot)?;
        self.compare_with(&slot.key(), directory.as_fd(), &index)
    }

    /// Compares the open directory of a slot with an index, in full.
    ///
    /// # Errors
    /// [`Error::Io`] where the system does not let us look.
    pub(super) fn compare_with(
        &self,
        key: &Sha256,
        directory: BorrowedFd<'_>,
        index: &SlotIndex,
    ) -> Result<Verdict, Error> {
        match compare::compare(directory, index) {
            Ok(()) => Ok(Verdict::Sound),
            Err(Stop::Differs(difference)) => Ok(Verdict::Damaged(difference)),
            Err(Stop::CannotTell(path, errno)) => {
                Err(self.failed("comparing", &join(&names::slot(key), path.to_bytes()), errno))
            }
        }
    }

    /// The directory of a slot, or what is to be said of it without one.
    ///
    /// # Errors
    /// [`Error::Io`] where the system does not let us look, which says nothing about the slot.
    pub(super) fn open_slot(&self, key: &Sha256) -> Result<Result<OwnedFd, Verdict>, Error> {
        let name = names::slot(key);
        match disk::open_directory(self.root(), &name) {
            Ok(directory) => Ok(Ok(directory)),
            Err(Errno::NOENT) => Ok(Err(Verdict::Missing)),
            Err(Errno::NOTDIR | Errno::LOOP | Errno::ACCESS) => {
                Ok(Err(Verdict::Damaged(Difference::Other("it cannot be opened as a directory".to_owned()))))
            }
            Err(errno) => Err(self.failed("comparing", &name, errno)),
        }
    }

    /// Moves a damaged slot out of the way and removes it.
    fn set_aside(&self, key: &Sha256) -> Result<(), Error> {
        let name = names::slot(key);
        let aside = names::below("slots", &fresh_name());
        self.forget(key);
        let _ = rustix::fs::unlinkat(self.root(), names::index(key).as_c_str(), AtFlags::empty());
        match rustix::fs::renameat(self.root(), name.as_c_str(), self.root(), aside.as_c_str()) {
            Ok(()) | Err(Errno::NOENT) => {}
            Err(errno) => return Err(self.failed("replacing", &name, errno)),
        }
        let _ = super::staging::remove_tree(self.root(), &aside);
        Ok(())
    }

    fn extract(
        &self,
        package: &PackageFile,
        slot: Slot<'_>,
        key: &Sha256,
        progress: &Progress,
    ) -> Result<(SlotStamp, Validity), Error> {
        let index = slot_index(package, slot)?;
        let name = names::slot(key);
        let unpublished = |errno| self.failed("publishing", &name, errno);
        let mut staging =
            Staging::new(self).map_err(|errno| self.failed("creating a directory in", c"slots", errno))?;
        let path = join(self.path(), staging.name().to_bytes());
        extract_slot(package, slot, &index, staging.directory(), &path, Modes::ReadOnly, progress)
            .map_err(|error| self.explain(error, slot))?;
        match staging.publish(&name) {
            Ok(()) => self.settle(package, slot, Durability::ThisBoot),
            // Somebody without a lock was faster. Theirs is as good as ours once it has been compared.
            Err(Errno::EXIST | Errno::NOTEMPTY) => match self.compare(package, slot)? {
                Verdict::Sound => self.settle(package, slot, Durability::ThisBoot),
                // Is it theirs alone, or can no tree of this package be equal to its index?
                Verdict::Missing | Verdict::Damaged(_) => match self.compare_with(key, staging.directory(), &index)? {
                    Verdict::Damaged(difference) => Err(unlike_its_index(package, difference)),
                    Verdict::Sound | Verdict::Missing => Err(unpublished(Errno::NOTEMPTY)),
                },
            },
            Err(errno) => Err(unpublished(errno)),
        }
    }

    /// Says how much room is needed where there was too little.
    fn explain(&self, error: Error, slot: Slot<'_>) -> Error {
        let Error::Io { action, source, .. } = error else { return error };
        if !matches!(source.code(), libc::ENOSPC | libc::EDQUOT) {
            return error;
        }
        let free = rustix::fs::fstatvfs(self.root()).map_or(0, |fs| fs.f_bavail.saturating_mul(fs.f_frsize));
        let (needed, slot) = (slot.metadata.expanded_size, slot.metadata.id.to_string());
        Error::Full { action, path: self.path().to_owned(), source, slot, needed, free }
    }

    /// Writes what is kept beside a slot that is known to be sound.
    fn settle(
        &self,
        package: &PackageFile,
        slot: Slot<'_>,
        durability: Durability,
    ) -> Result<(SlotStamp, Validity), Error> {
        let key = slot.key();
        self.keep_index(package, slot, &key);
        self.record(&key, durability)
    }

    /// Writes the record of a slot that is known to be sound. Where it cannot be written the slot is sound all the
    /// same, and will be compared again next time.
    fn record(&self, key: &Sha256, durability: Durability) -> Result<(SlotStamp, Validity), Error> {
        let stamp = self.stamp(key).ok_or_else(|| self.failed("reading", &names::slot(key), Errno::NOENT))?;
        let mut validity = Validity { boot_id: current_boot_id().unwrap_or_default(), ..Validity::default() };
        if durability != Durability::ThisBoot && rustix::fs::syncfs(self.root()).is_ok() {
            validity = Validity { durable: 1, ..Validity::default() };
            validity.portable = u32::from(durability == Durability::Portable);
        }
        let _ = write_record(self, "slots", &names::record(key), &encode_slot_record(stamp, validity));
        Ok((stamp, validity))
    }
}

/// The error of a tree that was extracted just now and is not what the index says that it was extracted by.
fn unlike_its_index(package: &PackageFile, difference: Difference) -> Error {
    match difference {
        Difference::Content(path) => untrue(package, &path),
        Difference::Other(words) => {
            Error::Unfit { reason: format!("it does not keep what is extracted there: {}", Shown(&words)) }
        }
    }
}

/// How long a record is to hold.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Durability {
    ThisBoot,
    Synced,
    Portable,
}

/// The whole of a small file that belongs to us or root, and how it stood; `None` where it is anything else.
pub(super) fn read_small(file: &OwnedFd, most: usize) -> Option<(Vec<u8>, Stat)> {
    let stat = rustix::fs::fstat(file).ok()?;
    let regular = FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile;
    let euid = euid();
    let len = usize::try_from(stat.st_size).ok().filter(|len| *len <= most)?;
    if !regular || (stat.st_uid != euid && stat.st_uid != 0) {
        return None;
    }
    let mut bytes = vec![0; len];
    let read = disk::read_at(file.as_fd(), &mut bytes, 0).ok()?;
    (read == len).then_some((bytes, stat))
}

/// Notes the use of a record in its access time, where the last note is old; false where it has been removed
/// meanwhile. Removal unlinks first and looks at the access time of its open descriptor afterwards, so either it
/// sees this note or we see that the file is gone.
pub(super) fn note_use(file: &OwnedFd, before: &Stat) -> bool {
    if !older_than(before.st_atime, NOTE_INTERVAL) {
        return before.st_nlink > 0;
    }
    let now = Timespec { tv_sec: 0, tv_nsec: rustix::fs::UTIME_NOW };
    let unchanged = Timespec { tv_sec: 0, tv_nsec: rustix::fs::UTIME_OMIT };
    let _ = rustix::fs::futimens(file, &Timestamps { last_access: now, last_modification: unchanged });
    rustix::fs::fstat(file).is_ok_and(|after| after.st_nlink > 0)
}

/// Whether a time in seconds since 1970 is further back than `age`. Only for notes of use: nothing that decides what
/// may be executed looks at a clock.
pub(super) fn older_than(seconds: i64, age: Duration) -> bool {
    clock::since_1970() > Duration::from_secs(u64::try_from(seconds).unwrap_or(0)).saturating_add(age)
}

/// The kernel's id of this boot; `None` where it cannot be read.
pub(crate) fn current_boot_id() -> Option<[u8; 16]> {
    let file = disk::open(c"/proc/sys/kernel/random/boot_id").ok()?;
    let mut text = [0; 64];
    let len = retry_on_intr(|| rustix::io::read(&file, &mut text)).ok()?;
    let mut digits = text.get(..len)?.iter().filter_map(|&byte| char::from(byte).to_digit(16));
    let mut id = [0; 16];
    for byte in &mut id {
        *byte = u8::try_from(digits.next()? * 16 + digits.next()?).ok()?;
    }
    Some(id)
}
