//! Reading a slot's index: the signed digest first, then the decoder, then the strict parser.

use alloc::string::ToString;
use alloc::vec;
use alloc::vec::Vec;

use pspf_format::tree::{SKIPPABLE_HEADER, SlotIndex, stored_index};
use pspf_format::{Error as FormatError, Slot, SlotMetadata, zstd_frame};
use zstd_safe::DCtx;

use crate::frames::{decoder, is_one_frame};
use crate::{Error, PackageFile};

/// The bytes at the end of a slot that hold its index, not yet compared with anything; empty for a raw slot.
pub(crate) fn stored_tail(package: &PackageFile, slot: Slot<'_>) -> Result<Vec<u8>, Error> {
    let Some(index) = &slot.metadata.index else { return Ok(Vec::new()) };
    let len = index.stored_size.saturating_add(SKIPPABLE_HEADER);
    let offset = slot.span.offset.saturating_add(slot.metadata.stored_size.saturating_sub(len));
    // The metadata holds both lengths to the format's limits.
    let mut tail = vec![0; usize::try_from(len).unwrap_or(0)];
    package.read_at(&mut tail, offset)?;
    Ok(tail)
}

/// What a slot contains. A raw slot has no index in the file; its single entry follows from the metadata.
///
/// # Errors
/// [`Error::Package`] where the index is not the one that was signed or breaks a rule; [`Error::Io`] where it cannot be
/// read, or there is too little memory.
pub fn slot_index(package: &PackageFile, slot: Slot<'_>) -> Result<SlotIndex, Error> {
    let tail = stored_tail(package, slot)?;
    let mut decoder = decoder(package)?;
    index_in_tail(&tail, slot.metadata, &mut decoder).map_err(|error| package.wrong(error))
}

/// The index in the last bytes of a slot, compared with its signed digest before it is decoded.
pub(crate) fn index_in_tail(
    tail: &[u8],
    slot: &SlotMetadata,
    decoder: &mut DCtx<'_>,
) -> Result<SlotIndex, FormatError> {
    let Some(index) = &slot.index else {
        return SlotIndex::of_file(&slot.target, slot.mode, slot.expanded_size, slot.sha256);
    };
    let stored = stored_index(tail, &slot.id, index)?;
    let expanded = usize::try_from(index.expanded_size).unwrap_or(usize::MAX);
    if !zstd_frame::declares_index(stored, index.expanded_size) || !is_one_frame(stored) {
        let reason = "its slot index is not one frame of the signed size with a window of at most 8 MiB";
        return Err(FormatError::Content { at: slot.id.to_string(), reason });
    }
    let mut bytes = vec![0; expanded];
    if decoder.decompress(bytes.as_mut_slice(), stored) != Ok(expanded) {
        return Err(FormatError::Content { at: slot.id.to_string(), reason: "its slot index cannot be decoded" });
    }
    SlotIndex::parse(&bytes, slot)
}
