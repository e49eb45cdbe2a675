//! Reading a slot's index: the signed digest first, then the decoder, then the strict parser.

use alloc::string::ToString;
use alloc::vec;
use alloc::vec::Vec;

use pspf_format::tree::{SKIPPABLE_HEADER, SlotIndex, stored_index};
use pspf_format::{Error as FormatError, Slot, SlotMetadata, zstd_frame};
use rustix::io::Errno;
use zstd_safe::DCtx;

use crate::frames::is_one_frame;
use crate::sys::pages::Pages;
use crate::{Error, PackageFile};

/// Why there is no slot index to be had.
pub(crate) enum NoIndex {
    /// It is not the one that was signed, or breaks a rule.
    Wrong(FormatError),
    /// The system gives no memory for it, which says nothing about it.
    NoMemory,
}

impl From<FormatError> for NoIndex {
    fn from(error: FormatError) -> Self {
        Self::Wrong(error)
    }
}

/// The bytes at the end of a slot that hold its index, not yet compared with anything; empty for a raw slot.
pub(crate) fn stored_tail(package: &PackageFile, slot: Slot<'_>) -> Result<Vec<u8>, Error> {
    let Some(index) = &slot.metadata.index else { return Ok(Vec::new()) };
    let len = index.stored_size.saturating_add(SKIPPABLE_HEADER);
    let offset = slot.span.offset.saturating_add(slot.span.len.saturating_sub(len));
    // The metadata holds both lengths to the format's limits.
    let mut tail = vec![0; usize::try_from(len).unwrap_or(0)];
    package.read_at(&mut tail, offset)?;
    Ok(tail)
}

/// What a slot contains. A raw slot has no index in the file; its single entry follows from the metadata.
///
/// # Errors
/// [`Error::Package`] where the index is not the one that was signed or breaks a rule; [`Error::Io`] where it cannot be
/// read, or there is no memory for it.
pub fn slot_index(package: &PackageFile, slot: Slot<'_>) -> Result<SlotIndex, Error> {
    index_in_tail(stored_tail(package, slot)?, slot.metadata).map_err(|error| match error {
        NoIndex::Wrong(error) => package.wrong(error),
        NoIndex::NoMemory => Error::io("reading a slot index of", package.path(), Errno::NOMEM),
    })
}

/// The index in the last bytes of a slot, compared with its signed digest before it is decoded. The tail is given up
/// before the index is parsed, so that not all three forms of it are in memory at a time.
pub(crate) fn index_in_tail(tail: impl AsRef<[u8]>, slot: &SlotMetadata) -> Result<SlotIndex, NoIndex> {
    let Some(index) = &slot.index else {
        return Ok(SlotIndex::of_file(&slot.target, slot.mode, slot.expanded_size, slot.sha256)?);
    };
    let stored = stored_index(tail.as_ref(), &slot.id, index)?;
    let wrong = |reason| NoIndex::Wrong(FormatError::Content { at: slot.id.to_string(), reason });
    if !zstd_frame::declares_index(stored, index.expanded_size) || !is_one_frame(stored) {
        return Err(wrong("its slot index is not one frame of the signed size with a window of at most 8 MiB"));
    }
    let expanded = usize::try_from(index.expanded_size).map_err(|_| NoIndex::NoMemory)?;
    let mut bytes = Pages::new(expanded).map_err(|_| NoIndex::NoMemory)?;
    // Made here: a decoder that the library makes for itself fails with the same error for lack of memory as for damage.
    let mut decoder = DCtx::try_create().ok_or(NoIndex::NoMemory)?;
    if decoder.decompress(&mut *bytes, stored) != Ok(bytes.len()) {
        return Err(wrong("its slot index cannot be decoded"));
    }
    drop((tail, decoder));
    Ok(SlotIndex::parse(&bytes, slot)?)
}

/// The error of a file whose content was signed, and is not what the signed slot index says of it (SPEC §7.4).
pub(crate) fn untrue(package: &PackageFile, path: &str) -> Error {
    let reason = "its content is not what the slot index says";
    package.wrong(FormatError::Content { at: path.to_string(), reason })
}
