//! Slot descriptors (SPEC §4): the 64-byte rows of the slot table.

use bincode::{Decode, Encode};

use crate::{Record, Sha256, SlotMetadata};

/// One row of the slot table, field by field as PSPF/2025 has it.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[expect(missing_docs, reason = "SPEC §4 describes each field under the same name")]
pub struct SlotDescriptor {
    pub id: u64,
    pub name_hash: u64,
    pub offset: u64,
    pub size: u64,
    pub original_size: u64,
    pub operations: u64,
    pub checksum: u64,
    pub purpose: u8,
    pub lifecycle: u8,
    pub priority: u8,
    pub platform: u8,
    pub reserved: [u8; 2],
    pub permissions: u16,
}

impl Record for SlotDescriptor {
    const LEN: usize = 64;
}

impl SlotDescriptor {
    /// The one row that agrees with the signed metadata of the slot at `position`, stored at `offset`.
    pub(crate) fn of(position: u64, offset: u64, slot: &SlotMetadata) -> Self {
        Self {
            id: position,
            name_hash: Sha256::of(slot.id.as_str().as_bytes()).short(),
            offset,
            size: slot.stored_size,
            original_size: slot.expanded_size,
            operations: slot.operations.code(),
            checksum: slot.sha256.short(),
            purpose: 0,
            lifecycle: slot.lifecycle.code(),
            priority: 1,
            platform: 0,
            reserved: [0; 2],
            permissions: slot.mode.bits(),
        }
    }
}
