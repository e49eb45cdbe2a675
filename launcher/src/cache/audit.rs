//! Checking slots without their packages (SPEC §10.6): each slot keeps its own metadata and index beside it, and its
//! key commits to both.

use alloc::vec::Vec;

use pspf_format::tree::SlotIndex;
use pspf_format::{Sha256, Slot, SlotMetadata, Span};
use rustix::fd::AsFd;
use rustix::fs::AtFlags;
use zstd_safe::DCtx;

use super::slots::read_small;
use super::staging::write_record;
use super::{Cache, Verdict, names};
use crate::slot_reader::{index_in_tail, stored_tail};
use crate::{Error, PackageFile};

/// A slot's metadata in JSON is shorter than this.
const MAX_METADATA: usize = 4096;

impl Cache {
    /// Keeps the metadata and the stored index of a slot beside it. Where that fails, only [`Self::audit`] misses it.
    pub(super) fn keep_index(&self, package: &PackageFile, slot: Slot<'_>, key: &Sha256) {
        if let Ok(tail) = stored_tail(package, slot) {
            let bytes = [slot.metadata.to_json().as_slice(), b"\n", &tail].concat();
            let _ = write_record(self, "slots", &names::index(key), &bytes);
        }
    }

    /// Compares every slot on disk with its own index, in full. What is damaged loses its records, so that the next
    /// start of a package that needs it looks closely and replaces it.
    ///
    /// # Errors
    /// [`Error::Io`] where the cache cannot be read.
    pub fn audit(&self) -> Result<Vec<(Sha256, Option<Verdict>)>, Error> {
        let mut verdicts = Vec::new();
        let mut keys = self.slot_keys()?;
        keys.sort_unstable();
        for key in keys {
            let verdict = self.audit_slot(&key)?;
            if matches!(verdict, Some(Verdict::Damaged(_))) {
                self.forget(&key);
            }
            verdicts.push((key, verdict));
        }
        Ok(verdicts)
    }

    /// `None` where nothing beside the slot says what it should be.
    fn audit_slot(&self, key: &Sha256) -> Result<Option<Verdict>, Error> {
        let Some((metadata, index)) = self.kept_index(key) else { return Ok(None) };
        let slot = Slot { metadata: &metadata, span: Span { offset: 0, len: metadata.stored_size } };
        if slot.key() != *key {
            return Ok(None);
        }
        match self.open_slot(key)? {
            Ok(directory) => self.compare_with(key, directory.as_fd(), &index).map(Some),
            Err(verdict) => Ok(Some(verdict)),
        }
    }

    /// What stands beside a slot, not yet compared with its key.
    fn kept_index(&self, key: &Sha256) -> Option<(SlotMetadata, SlotIndex)> {
        let file = self.open_record(&names::index(key)).ok()?;
        let limit = usize::try_from(pspf_format::tree::MAX_INDEX).ok()? + MAX_METADATA;
        let (bytes, _) = read_small(&file, limit)?;
        let (json, tail) = bytes.split_at_checked(bytes.iter().position(|&byte| byte == b'\n')?)?;
        let metadata = SlotMetadata::from_json(json).ok()?;
        let index = index_in_tail(tail.get(1..)?, &metadata, &mut DCtx::try_create()?).ok()?;
        Some((metadata, index))
    }

    /// Removes a slot's record and the receipts that name it.
    ///
    /// What one of them said of every copy must not come back after a crash, when another tree may have the name: then
    /// their removal is on disk when this returns.
    pub(super) fn forget(&self, key: &Sha256) {
        let mut portable = self.read_record(key).is_some_and(|(_, validity, ..)| validity.portable == 1);
        let _ = rustix::fs::unlinkat(self.root(), names::record(key).as_c_str(), AtFlags::empty());
        for (id, receipt, _) in self.receipts().unwrap_or_default() {
            if receipt.as_ref().is_none_or(|receipt| receipt.slots.iter().any(|stamp| stamp.key == key.0)) {
                portable |= receipt.is_some_and(|receipt| receipt.validity.portable == 1);
                let _ = rustix::fs::unlinkat(self.root(), names::receipt(&id).as_c_str(), AtFlags::empty());
            }
        }
        if portable {
            let _ = rustix::fs::syncfs(self.root());
        }
    }
}
