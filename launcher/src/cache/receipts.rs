//! Launch receipts: what makes a start warm (SPEC §10.3).

use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

use pspf_format::{MAX_RECEIPT, Metadata, Receipt, Sha256, Slot, SlotStamp, Validity, VerifiedPackage};
use rustix::fd::OwnedFd;
use rustix::fs::Stat;

use super::slots::{note_use, read_small};
use super::staging::{reclaim, write_record};
use super::{Cache, names, needed, progress};
use crate::extract::Umask;
use crate::sys::signals::Ignored;
use crate::{Error, PackageFile};

impl Cache {
    /// The receipt of a package, where there is a sound one.
    pub(crate) fn receipt(&self, package_id: &Sha256) -> Option<(Receipt, OwnedFd, Stat)> {
        let file = self.open_record(&names::receipt(package_id)).ok()?;
        let (receipt, stat) = read_receipt(&file, package_id)?;
        Some((receipt, file, stat))
    }

    /// Whether a package can be started without looking at anything but its receipt and the slots' directories.
    pub fn is_warm(&self, package: &VerifiedPackage) -> bool {
        let Some((receipt, file, stat)) = self.receipt(&package.package_id()) else { return false };
        let needed = needed(package);
        let keys = needed.iter().map(|slot| slot.key().0);
        let mut boot_id = None;
        keys.eq(receipt.slots.iter().map(|stamp| stamp.key))
            && receipt.slots.iter().all(|stamp| self.holds(stamp, &receipt.validity, &mut boot_id))
            && note_use(&file, &stat)
    }

    /// Makes sure of all slots of a package that a start needs, and writes its receipt.
    ///
    /// # Errors
    /// As [`Cache::ensure`].
    pub fn make_ready(&self, file: &PackageFile, package: &VerifiedPackage) -> Result<(), Error> {
        let _umask = Umask::none();
        let _limit = Ignored::file_size();
        reclaim(self);
        let slots = needed(package);
        let progress = progress(package, &slots);
        let done = slots.iter().map(|slot| self.ensure(file, *slot, &progress)).collect::<Result<Vec<_>, _>>()?;
        self.write_receipt(package, &done);
        Ok(())
    }

    /// Fills the cache ahead: every slot that a start needs, synced, compared in full and valid in every copy.
    ///
    /// # Errors
    /// As [`Cache::warm`].
    pub fn warm_package(&self, file: &PackageFile, package: &VerifiedPackage) -> Result<Vec<SlotStamp>, Error> {
        let _umask = Umask::none();
        let _limit = Ignored::file_size();
        let slots: Vec<Slot<'_>> = needed(package);
        let progress = progress(package, &slots);
        let done = slots.iter().map(|slot| self.warm(file, *slot, &progress)).collect::<Result<Vec<_>, _>>()?;
        self.write_receipt(package, &done);
        Ok(done.into_iter().map(|(stamp, _)| stamp).collect())
    }

    /// A receipt holds as long as the weakest of its slots' records. Where it cannot be written, the next start looks
    /// at the slots' records again.
    fn write_receipt(&self, package: &VerifiedPackage, slots: &[(SlotStamp, Validity)]) {
        let weakest = slots.iter().map(|(_, validity)| *validity).min_by_key(|v| (v.durable, v.portable));
        // Without slots there is nothing that could be lost.
        let validity = weakest.unwrap_or(Validity { durable: 1, ..Validity::default() });
        let receipt = Receipt {
            package_id: package.package_id(),
            label: label(package.metadata()),
            validity,
            slots: slots.iter().map(|(stamp, _)| *stamp).collect(),
        };
        let _ = write_record(self, "receipts", &names::receipt(&package.package_id()), &receipt.to_bytes());
    }
}

/// What an open receipt says, and how its file stood before it was read.
pub(super) fn read_receipt(file: &OwnedFd, package_id: &Sha256) -> Option<(Receipt, Stat)> {
    let (bytes, stat) = read_small(file, MAX_RECEIPT)?;
    let receipt = Receipt::parse(&bytes)?;
    (receipt.package_id == *package_id).then_some((receipt, stat))
}

fn label(metadata: &Metadata) -> String {
    let mut label = format!("{} {}", metadata.package.name, metadata.package.version);
    label.truncate(128);
    label
}
