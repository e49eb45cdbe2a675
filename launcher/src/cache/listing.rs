//! What is in a cache, for people and scripts.

use alloc::collections::BTreeMap;
use alloc::string::String;
use alloc::vec::Vec;

use pspf_format::Sha256;
use rustix::fs::AtFlags;

use super::removal::disk_usage;
use super::{Cache, names};
use crate::Error;

/// Everything in a cache.
#[derive(Clone, Debug)]
pub struct Listing {
    /// The packages that have started from it, or were put into it ahead.
    pub packages: Vec<PackageListing>,
    /// The extracted slots.
    pub slots: Vec<SlotListing>,
}

/// A package in a cache.
#[derive(Clone, Debug)]
pub struct PackageListing {
    /// Package id.
    pub package_id: Sha256,
    /// Name and version; a note, not a proof.
    pub label: String,
    /// Keys of its slots.
    pub slots: Vec<Sha256>,
    /// Last use, in seconds since 1970.
    pub last_used: i64,
}

/// A slot in a cache.
#[derive(Clone, Debug)]
pub struct SlotListing {
    /// Its key.
    pub key: Sha256,
    /// Bytes on disk.
    pub bytes: u64,
    /// How many of the packages use it.
    pub packages: usize,
    /// Last time a package took it up, in seconds since 1970; `None` without a record.
    pub last_used: Option<i64>,
}

impl Cache {
    /// Lists the cache.
    ///
    /// # Errors
    /// [`Error::Io`] where it cannot be read.
    pub fn list(&self) -> Result<Listing, Error> {
        let mut packages = Vec::new();
        let mut users: BTreeMap<Sha256, usize> = BTreeMap::new();
        for (package_id, receipt, file) in self.receipts()? {
            let Some(receipt) = receipt else { continue };
            let slots: Vec<Sha256> = receipt.slots.iter().map(|stamp| Sha256(stamp.key)).collect();
            slots.iter().for_each(|key| *users.entry(*key).or_default() += 1);
            let last_used = rustix::fs::fstat(&file).map_or(0, |stat| stat.st_atime);
            packages.push(PackageListing { package_id, label: receipt.label, slots, last_used });
        }
        packages.sort_unstable_by_key(|package: &PackageListing| package.package_id);
        let mut keys = self.slot_keys()?;
        keys.sort_unstable();
        let slots = keys.into_iter().map(|key| {
            let record = rustix::fs::statat(self.root(), names::record(&key).as_c_str(), AtFlags::SYMLINK_NOFOLLOW);
            SlotListing {
                key,
                bytes: disk_usage(self.root(), &names::slot(&key)),
                packages: users.get(&key).copied().unwrap_or(0),
                last_used: record.ok().map(|stat| stat.st_atime),
            }
        });
        Ok(Listing { packages, slots: slots.collect() })
    }
}
