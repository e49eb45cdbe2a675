//! Packages without a seal, as the reference tools make them (SPEC §8.4): what their signature covers, and what not.

use pspf_keys::{PublicKey, Signature};
use serde::Deserialize;
use serde::de::IgnoredAny;

use crate::index::{IndexBlock, index_bytes};
use crate::metadata::gunzip;
use crate::{Error, MAX_METADATA, MAX_SLOTS, Record, Sha256, SlotDescriptor, Span};

#[derive(Deserialize)]
struct LenientMetadata {
    package: LenientPackage,
    slots: Vec<LenientSlot>,
    pspf: Option<IgnoredAny>,
}

#[derive(Deserialize)]
struct LenientPackage {
    name: String,
    version: String,
}

#[derive(Deserialize)]
struct LenientSlot {
    id: String,
    checksum: String,
}

/// A trailer without a seal.
#[derive(Debug)]
pub struct UnsealedIndex(Box<IndexBlock>);

/// A slot of a package without a seal.
#[derive(Clone, Debug)]
pub struct UnsealedSlot {
    /// Its id, as the metadata has it.
    pub id: String,
    /// Its stored bytes, as the unsigned slot table places them.
    pub span: Span,
    /// The signed digest of its stored bytes.
    pub sha256: Sha256,
}

/// A package without a seal whose metadata is what its embedded key signed.
#[derive(Clone, Debug)]
pub struct UnsealedPackage {
    /// Name, as signed.
    pub name: String,
    /// Version, as signed.
    pub version: String,
    /// The embedded key.
    pub signer: PublicKey,
    /// The slots.
    pub slots: Vec<UnsealedSlot>,
}

impl UnsealedIndex {
    /// Reads a trailer that [`crate::UnverifiedPackage::parse`] found without a seal.
    ///
    /// # Errors
    /// What makes even the base index unusable.
    pub fn parse(trailer: &[u8], file_len: u64) -> Result<Self, Error> {
        let index = IndexBlock::from_bytes(index_bytes(trailer)?).ok_or(Error::NotAPackage)?;
        if index.package_size != file_len {
            return Err(Error::FileLength { expected: index.package_size, found: file_len });
        }
        if index.metadata_size > MAX_METADATA {
            return Err(Error::Limit {
                what: "bytes of stored metadata",
                most: MAX_METADATA,
                found: index.metadata_size,
            });
        }
        if index.slot_count as usize > MAX_SLOTS {
            return Err(Error::Limit { what: "slots", most: MAX_SLOTS as u64, found: u64::from(index.slot_count) });
        }
        let index = Self(Box::new(index));
        for (field, span) in
            [("metadata_offset", index.metadata_span()), ("slot_table_offset", index.slot_table_span())]
        {
            if span.end().is_none_or(|end| end > file_len) {
                return Err(Error::Index { field, expected: "a part inside the file" });
            }
        }
        Ok(index)
    }

    /// Where the stored metadata is.
    pub fn metadata_span(&self) -> Span {
        self.0.metadata_span()
    }

    /// Where the slot table is: 64 bytes a slot, whatever `slot_table_size` says.
    pub fn slot_table_span(&self) -> Span {
        let len = u64::from(self.0.slot_count).saturating_mul(SlotDescriptor::LEN as u64);
        Span { offset: self.0.slot_table_offset, len }
    }

    /// Verifies the base signature and takes each slot's digest from the signed metadata.
    ///
    /// # Errors
    /// [`Error::SealRemoved`] where the metadata says that the package is sealed; otherwise what does not hold.
    pub fn open(&self, metadata: &[u8], slot_table: &[u8], file_len: u64) -> Result<UnsealedPackage, Error> {
        let found = Sha256::of(metadata);
        if found.0 != self.0.metadata_checksum {
            return Err(Error::Digest { part: "metadata", expected: Sha256(self.0.metadata_checksum), found });
        }
        let json = gunzip(metadata)?;
        let parsed: LenientMetadata =
            serde_json::from_slice(&json).map_err(|error| Error::Json { reason: error.to_string() })?;
        if parsed.pspf.is_some() {
            return Err(Error::SealRemoved);
        }
        let signer = PublicKey::from_bytes(&self.0.public_key).map_err(|_| Error::SignerKey { position: 0 })?;
        let signature: [u8; 64] = self.0.integrity_signature.first_chunk().copied().unwrap_or([0; 64]);
        if signer.verify(&json, &Signature::from_bytes(&signature)).is_err() {
            return Err(Error::Signature { position: 0, signer: signer.fingerprint() });
        }
        let rows: Vec<_> = slot_table.chunks(SlotDescriptor::LEN).filter_map(SlotDescriptor::from_bytes).collect();
        if rows.len() != parsed.slots.len() {
            return Err(Error::Layout { part: "slot table" });
        }
        let slots = rows.iter().zip(parsed.slots).map(|(row, slot)| {
            let span = Span { offset: row.offset, len: row.size };
            let digest = slot.checksum.strip_prefix("sha256:").and_then(Sha256::from_hex);
            match (span.end().filter(|&end| end <= file_len), digest) {
                (None, _) => Err(Error::Layout { part: "slot table" }),
                (_, None) => Err(Error::Json { reason: format!("slot `{}` has no full SHA-256", slot.id) }),
                (Some(_), Some(sha256)) => Ok(UnsealedSlot { id: slot.id, span, sha256 }),
            }
        });
        let slots = slots.collect::<Result<_, _>>()?;
        Ok(UnsealedPackage { name: parsed.package.name, version: parsed.package.version, signer, slots })
    }
}
