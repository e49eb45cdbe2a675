//! From bytes to a package that may be used (SPEC §8): each type says what has been proven.
//!
//! [`UnverifiedPackage`] is a trailer with sound checksums and a well-formed seal. [`SealedIndex`] comes from
//! verifying signatures and from nowhere else. [`VerifiedPackage`] is a sealed index with the metadata and the
//! slot table that it signs; only this one offers slots.

use alloc::boxed::Box;
use alloc::vec;
use alloc::vec::Vec;

use pspf_keys::{PublicKey, Signature};

use crate::index::{Index, TRAILER_LEN, Trailer, index_bytes};
use crate::layout::Layout;
use crate::seal::{
    ENTRIES_OFFSET, FLAG_BASE_SIGNATURE, SealEntry, SealHeader, encode_entries, package_id, parse_entries,
    signed_message,
};
use crate::{Error, MAX_METADATA, MAX_SLOTS, Metadata, Record, Sha256, SlotDescriptor, SlotMetadata, Span};

/// A trailer that is well formed. Nothing in it has been proven; what it says is called `claimed`.
#[derive(Clone, Debug)]
pub struct UnverifiedPackage {
    index: Index,
    seal: Box<SealHeader>,
    entries: Vec<SealEntry>,
    message: Vec<u8>,
}

impl UnverifiedPackage {
    /// Reads the last bytes of a file of `file_len` bytes.
    ///
    /// # Errors
    /// [`Error::NoSeal`] for a sound PSPF/2025 index without a seal; otherwise what is malformed.
    pub fn parse(trailer: &Trailer, file_len: u64) -> Result<Self, Error> {
        let (index, bytes) = Index::parse(trailer)?;
        let seal = SealHeader::parse(bytes)?.map(Box::new).ok_or(Error::NoSeal)?;
        let entries = parse_entries(bytes)?;
        if index.head.package_size != file_len {
            return Err(Error::FileLength { expected: index.head.package_size, found: file_len });
        }
        if entries.first().is_some_and(|first| first.public_key != index.head.public_key) {
            return Err(Error::Seal { what: "its first signature is not by the key in the index" });
        }
        index.hold_to_constants()?;
        hold_to_bounds(&index, file_len)?;
        let message = signed_message(bytes);
        Ok(Self { index, seal, entries, message })
    }

    /// The key that the file names as its signer.
    pub fn claimed_public_key(&self) -> [u8; 32] {
        self.index.head.public_key
    }

    /// Verifies the first signature: what the launcher does at every start.
    ///
    /// # Errors
    /// [`Error::Signature`] or [`Error::SignerKey`].
    pub fn verify(self) -> Result<SealedIndex, Error> {
        let first = self.entries.first().ok_or(Error::NoSeal)?;
        let signer = first.verify(0, &self.message)?;
        self.sealed(vec![signer])
    }

    /// Verifies every signature: what `pspf verify` does.
    ///
    /// # Errors
    /// [`Error::Signature`] or [`Error::SignerKey`] for the first one that is wrong.
    pub fn verify_all(self) -> Result<SealedIndex, Error> {
        let numbered = self.entries.iter().enumerate();
        let signers =
            numbered.map(|(position, entry)| entry.verify(position, &self.message)).collect::<Result<_, _>>()?;
        self.sealed(signers)
    }

    fn sealed(self, signers: Vec<PublicKey>) -> Result<SealedIndex, Error> {
        let fingerprint = Sha256::of(&self.index.head.public_key).to_hex();
        if self.index.fingerprint() != fingerprint {
            return Err(Error::Index { field: "attestation_key_fp", expected: "the fingerprint of `public_key`" });
        }
        let package_id = package_id(&self.message);
        Ok(SealedIndex { index: self.index, seal: self.seal, entries: self.entries, signers, package_id })
    }
}

/// Keeps every allocation that a claimed size causes small.
fn hold_to_bounds(index: &Index, file_len: u64) -> Result<(), Error> {
    let head = &index.head;
    if head.metadata_size > MAX_METADATA {
        return Err(Error::Limit { what: "bytes of stored metadata", most: MAX_METADATA, found: head.metadata_size });
    }
    if head.slot_count == 0 || head.slot_count as usize > MAX_SLOTS {
        let found = u64::from(head.slot_count);
        return Err(Error::Limit { what: "slots (at least one)", most: MAX_SLOTS as u64, found });
    }
    if head.slot_table_size != u64::from(head.slot_count).saturating_mul(SlotDescriptor::LEN as u64) {
        return Err(Error::Index { field: "slot_table_size", expected: "64 bytes a slot" });
    }
    let body = file_len.saturating_sub(TRAILER_LEN as u64);
    for (field, span) in [("metadata_offset", index.metadata_span()), ("slot_table_offset", index.slot_table_span())] {
        if span.offset < head.launcher_size || span.end().is_none_or(|end| end > body) {
            return Err(Error::Index { field, expected: "a part between the launcher and the trailer" });
        }
    }
    Ok(())
}

/// An index whose signature was verified.
#[derive(Clone, Debug)]
pub struct SealedIndex {
    index: Index,
    seal: Box<SealHeader>,
    entries: Vec<SealEntry>,
    signers: Vec<PublicKey>,
    package_id: Sha256,
}

impl SealedIndex {
    /// The package id: SHA-256 of the signed message.
    pub fn package_id(&self) -> Sha256 {
        self.package_id
    }

    /// The keys whose signatures were verified; the first is the one in the index.
    pub fn signers(&self) -> &[PublicKey] {
        &self.signers
    }

    /// Whether these are the bytes of the trailer that this index was read from.
    pub fn is_from(&self, trailer_bytes: &[u8]) -> bool {
        index_bytes(trailer_bytes).is_ok_and(|index| {
            let (before, entries) = index.split_at(ENTRIES_OFFSET);
            before == self.index.bytes() && entries == encode_entries(&self.entries)
        })
    }

    /// The signed digest of the stored metadata.
    pub fn metadata_sha256(&self) -> Sha256 {
        Sha256(self.seal.metadata_sha256)
    }

    /// The signed digest of the slot table.
    pub fn slot_table_sha256(&self) -> Sha256 {
        Sha256(self.seal.slot_table_sha256)
    }

    /// All entries of the seal, verified or not.
    pub(crate) fn entries(&self) -> &[SealEntry] {
        &self.entries
    }

    pub(crate) fn index(&self) -> &Index {
        &self.index
    }

    pub(crate) fn seal(&self) -> &SealHeader {
        &self.seal
    }

    /// Where the stored metadata is.
    pub fn metadata_span(&self) -> Span {
        self.index.metadata_span()
    }

    /// Where the slot table is.
    pub fn slot_table_span(&self) -> Span {
        self.index.slot_table_span()
    }

    /// Takes the metadata and the slot table that this index signs.
    ///
    /// # Errors
    /// [`Error::Digest`] where they are not those that were signed; [`Error::Layout`] and others where what was
    /// signed does not hold together.
    pub fn open(self, metadata: &[u8], slot_table: &[u8]) -> Result<VerifiedPackage, Error> {
        same("metadata", self.seal.metadata_sha256, Sha256::of(metadata))?;
        same("metadata", self.index.head.metadata_checksum, Sha256(self.seal.metadata_sha256))?;
        same("slot table", self.seal.slot_table_sha256, Sha256::of(slot_table))?;
        let metadata = Metadata::parse(metadata)?;
        let launcher = metadata.launcher;
        same("launcher, as the metadata has it", self.seal.launcher_sha256, launcher.sha256)?;
        let layout = Layout::new(self.index.head.launcher_size, self.index.head.metadata_size, &metadata.pspf)?;
        let parts = [
            ("launcher_size", launcher.size == self.index.head.launcher_size),
            ("metadata_offset", layout.metadata == self.metadata_span()),
            ("slot_table_offset", layout.slot_table == self.slot_table_span()),
            ("slot_count", metadata.pspf.slots.len() == self.index.head.slot_count as usize),
            ("package_size", layout.package_size() == self.index.head.package_size),
            ("slot table", layout.table == slot_table),
        ];
        match parts.iter().find(|(_, agrees)| !agrees) {
            Some((part, _)) => Err(Error::Layout { part }),
            None => Ok(VerifiedPackage { sealed: self, metadata, layout }),
        }
    }
}

fn same(part: &'static str, expected: [u8; 32], found: Sha256) -> Result<(), Error> {
    if expected == found.0 { Ok(()) } else { Err(Error::Digest { part, expected: Sha256(expected), found }) }
}

/// A package whose index, metadata and slot table are what its signer signed. The slots' bytes are still to be
/// read and compared, by whoever reads them.
#[derive(Clone, Debug)]
pub struct VerifiedPackage {
    sealed: SealedIndex,
    metadata: Metadata,
    layout: Layout,
}

/// A slot of a verified package.
#[derive(Clone, Copy, Debug)]
pub struct Slot<'p> {
    /// What the signer says of it.
    pub metadata: &'p SlotMetadata,
    /// Its stored bytes in the file.
    pub span: Span,
}

impl VerifiedPackage {
    /// The sealed index.
    pub fn sealed(&self) -> &SealedIndex {
        &self.sealed
    }

    /// The package id.
    pub fn package_id(&self) -> Sha256 {
        self.sealed.package_id()
    }

    /// The signed metadata.
    pub fn metadata(&self) -> &Metadata {
        &self.metadata
    }

    /// Where every part is.
    pub fn layout(&self) -> &Layout {
        &self.layout
    }

    /// The signed digest of the launcher.
    pub fn launcher_sha256(&self) -> Sha256 {
        Sha256(self.sealed.seal.launcher_sha256)
    }

    /// The slots, in the order of the table.
    pub fn slots(&self) -> impl Iterator<Item = Slot<'_>> {
        self.metadata.pspf.slots.iter().zip(&self.layout.slots).map(|(metadata, &span)| Slot { metadata, span })
    }

    /// The slot with this id.
    pub fn slot(&self, id: &str) -> Option<Slot<'_>> {
        self.slots().find(|slot| slot.metadata.id.as_str() == id)
    }

    /// Holds the base signature, which the seal does not cover, to the signed flag: there and valid, or zero.
    ///
    /// # Errors
    /// [`Error::BaseSignature`].
    pub fn verify_base_signature(&self) -> Result<(), Error> {
        let signature = self.sealed.index.base_signature();
        let sound = if self.sealed.seal.flags & FLAG_BASE_SIGNATURE == 0 {
            signature == [0; 64]
        } else {
            let json = self.metadata.to_json();
            self.sealed.signers.first().is_some_and(|key| key.verify(&json, &Signature::from_bytes(&signature)).is_ok())
        };
        if sound { Ok(()) } else { Err(Error::BaseSignature) }
    }
}
