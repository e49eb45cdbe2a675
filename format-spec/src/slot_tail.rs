//! The end of a slot: a skippable frame (RFC 8878 §3.1.2) that holds the compressed slot index (SPEC §7.2).

use alloc::string::ToString;

use crate::{Error, Sha256, SlotId, SlotIndexMetadata};

/// Length of the header of the skippable frame.
pub const SKIPPABLE_HEADER: u64 = 8;
/// Magic number of that frame.
pub const SKIPPABLE_MAGIC: u32 = 0x184D_2A5C;

/// Finds the slot index at the end of a slot: its compressed bytes inside `stored_tail`, which are the last
/// `8 + index.stored_size` bytes of the slot, compared with the signed digest.
///
/// # Errors
/// [`Error::Tree`] for a wrong frame header, [`Error::SlotDigest`] for other bytes than the signed ones.
pub fn stored_index<'a>(stored_tail: &'a [u8], slot: &SlotId, index: &SlotIndexMetadata) -> Result<&'a [u8], Error> {
    let expected = SkippableHeader { magic: SKIPPABLE_MAGIC, len: u32::try_from(index.stored_size).unwrap_or(0) };
    let split = stored_tail.split_first_chunk::<{ SKIPPABLE_HEADER as usize }>();
    match split {
        Some((header, bytes)) if *header == expected.to_bytes() && bytes.len() as u64 == index.stored_size => {
            let found = Sha256::of(bytes);
            if found == index.sha256 {
                Ok(bytes)
            } else {
                Err(Error::SlotDigest { slot: slot.clone(), expected: index.sha256, found })
            }
        }
        _ => Err(Error::Content {
            reason: "the skippable frame before its slot index is not the one that was signed",
            at: slot.to_string(),
        }),
    }
}

/// Header of the skippable frame that holds the slot index.
#[derive(Clone, Copy, Debug)]
pub struct SkippableHeader {
    magic: u32,
    len: u32,
}

impl SkippableHeader {
    /// The header of a slot index of this compressed length.
    pub fn new(len: u32) -> Self {
        Self { magic: SKIPPABLE_MAGIC, len }
    }

    /// The eight bytes.
    pub fn to_bytes(self) -> [u8; 8] {
        let [a, b, c, d] = self.magic.to_le_bytes();
        let [e, f, g, h] = self.len.to_le_bytes();
        [a, b, c, d, e, f, g, h]
    }
}
