//! The name of a slot's content in the cache (SPEC §10.2).

use crate::{Hasher, Sha256, Slot};

const DOMAIN: &[u8] = b"pspf-slot-v1";

impl Slot<'_> {
    /// The key under which the extracted slot is shared by all packages.
    ///
    /// It commits to the stored bytes: by their own SHA-256 for a raw slot, by that of the slot index for others,
    /// which lists the length and SHA-256 of every frame. Whoever fills the key has read all those bytes and
    /// compared them, so nothing else can ever stand under it.
    pub fn key(&self) -> Sha256 {
        let slot = self.metadata;
        let mut hasher = Hasher::new();
        hasher.update(DOMAIN);
        hasher.update(&[u8::from(slot.operations.is_tree())]);
        hasher.update(&slot.operations.code().to_le_bytes());
        if !slot.operations.is_tree() {
            hasher.update(&slot.mode.bits().to_le_bytes());
            hasher.update(&(slot.target.as_str().len() as u64).to_le_bytes());
            hasher.update(slot.target.as_str().as_bytes());
        }
        hasher.update(&slot.stored_size.to_le_bytes());
        hasher.update(&slot.index.map_or(slot.sha256, |index| index.sha256).0);
        hasher.finish()
    }
}
