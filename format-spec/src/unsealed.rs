//! The trailer of a package without a seal (SPEC §8.4): where its parts are, and whether it had a seal.

use crate::index::{Index, Trailer};
use crate::{Error, MAX_METADATA, MAX_SLOTS, Record, SlotDescriptor, Span, gzip, json_scan};

/// A trailer without a seal.
#[derive(Debug)]
pub struct UnsealedIndex(pub(crate) Index);

impl UnsealedIndex {
    /// Reads a trailer that [`crate::UnverifiedPackage::parse`] found without a seal.
    ///
    /// # Errors
    /// What makes even the base index unusable.
    pub fn parse(trailer: &Trailer, file_len: u64) -> Result<Self, Error> {
        let (index, _) = Index::parse(trailer)?;
        let head = &index.head;
        if head.package_size != file_len {
            return Err(Error::FileLength { expected: head.package_size, found: file_len });
        }
        if head.metadata_size > MAX_METADATA {
            return Err(Error::Limit {
                what: "bytes of stored metadata",
                most: MAX_METADATA,
                found: head.metadata_size,
            });
        }
        if head.slot_count as usize > MAX_SLOTS {
            return Err(Error::Limit { what: "slots", most: MAX_SLOTS as u64, found: u64::from(head.slot_count) });
        }
        for (field, span) in
            [("metadata_offset", index.metadata_span()), ("slot_table_offset", index.slot_table_span())]
        {
            if span.end().is_none_or(|end| end > file_len) {
                return Err(Error::Index { field, expected: "a part inside the file" });
            }
        }
        Ok(Self(index))
    }

    /// Where the stored metadata is.
    pub fn metadata_span(&self) -> Span {
        self.0.metadata_span()
    }

    /// Where the slot table is: 64 bytes a slot.
    pub fn slot_table_span(&self) -> Span {
        let len = u64::from(self.0.head.slot_count).saturating_mul(SlotDescriptor::LEN as u64);
        Span { offset: self.0.head.slot_table_offset, len }
    }

    /// Why a package with this stored metadata has no seal: it never had one, or it lost it.
    pub fn why(&self, metadata: &[u8]) -> Error {
        if gzip::expand(metadata).is_ok_and(|json| says_sealed(&json)) { Error::SealRemoved } else { Error::NoSeal }
    }
}

/// Whether metadata are those of a sealed package (SPEC §6.2).
pub(crate) fn says_sealed(json: &[u8]) -> bool {
    json_scan::has_key(json, "pspf")
}
