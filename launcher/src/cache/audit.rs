//! Checking slots without their packages (SPEC §10.6): each slot keeps its own metadata and index beside it, and its
//! key commits to both.

use alloc::vec::Vec;

use pspf_format::tree::SlotIndex;
use pspf_format::{Sha256, Slot, SlotMetadata, Span};
use rustix::fd::AsFd;
use rustix::fs::AtFlags;
use rustix::io::Errno;

use super::lock::Lock;
use super::slots::read_small;
use super::staging::write_record;
use super::{Cache, Verdict, names};
use crate::slot_reader::{NoIndex, index_in_tail, stored_tail};
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

    /// Compares every slot on disk with its own index, in full. What is damaged, or cannot be compared because nothing
    /// sound beside it says what it should be (`None`), loses its records, so that the next start of a package that
    /// needs it looks closely, replaces what is damaged and writes what is missing.
    ///
    /// # Errors
    /// [`Error::Io`] where the cache cannot be read, or there is no memory for an index.
    pub fn audit(&self) -> Result<Vec<(Sha256, Option<Verdict>)>, Error> {
        let mut verdicts = Vec::new();
        let mut keys = self.slot_keys()?;
        keys.sort_unstable();
        for key in keys {
            let mut verdict = self.audit_slot(&key)?;
            if verdict.is_none() {
                // Whoever extracts it holds this lock until everything is written.
                let _lock = Lock::of_slot(self, &key);
                verdict = self.audit_slot(&key)?;
            }
            if matches!(verdict, None | Some(Verdict::Damaged(_))) {
                self.forget(&key);
            }
            verdicts.push((key, verdict));
        }
        Ok(verdicts)
    }

    fn audit_slot(&self, key: &Sha256) -> Result<Option<Verdict>, Error> {
        let directory = match self.open_slot(key)? {
            Ok(directory) => directory,
            Err(verdict) => return Ok(Some(verdict)),
        };
        match self.kept_index(key)? {
            Some(index) => self.compare_with(key, directory.as_fd(), &index).map(Some),
            None => Ok(None),
        }
    }

    /// The index that stands beside a slot, where its key commits to it.
    fn kept_index(&self, key: &Sha256) -> Result<Option<SlotIndex>, Error> {
        let Some((metadata, mut bytes)) = self.kept_metadata(key) else { return Ok(None) };
        let slot = Slot { metadata: &metadata, span: Span { offset: 0, len: metadata.stored_size } };
        if slot.key() != *key {
            return Ok(None);
        }
        let end = bytes.iter().position(|&byte| byte == b'\n').map_or(bytes.len(), |at| at.saturating_add(1));
        bytes.drain(..end);
        match index_in_tail(bytes, &metadata) {
            Ok(index) => Ok(Some(index)),
            Err(NoIndex::Wrong(_)) => Ok(None),
            Err(NoIndex::NoMemory) => Err(self.failed("reading", &names::index(key), Errno::NOMEM)),
        }
    }

    /// What stands beside a slot, not yet compared with its key: its metadata, and all bytes.
    fn kept_metadata(&self, key: &Sha256) -> Option<(SlotMetadata, Vec<u8>)> {
        let file = self.open_record(&names::index(key)).ok()?;
        let limit = usize::try_from(pspf_format::tree::MAX_STORED_INDEX).ok()? + MAX_METADATA;
        let (bytes, _) = read_small(&file, limit)?;
        let json = bytes.split(|&byte| byte == b'\n').next()?;
        Some((SlotMetadata::from_json(json).ok()?, bytes))
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
