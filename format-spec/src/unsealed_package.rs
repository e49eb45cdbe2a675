//! Packages without a seal, as the reference tools make them (SPEC §8.4): what their signature covers, and what not.

use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;

use pspf_keys::{PublicKey, Signature};
use serde::Deserialize;

use crate::unsealed::says_sealed;
use crate::{Error, Record, Sha256, SlotDescriptor, Span, UnsealedIndex, gzip};

#[derive(Deserialize)]
struct LenientMetadata {
    package: LenientPackage,
    slots: Vec<LenientSlot>,
    /// However the key is spelled.
    pspf: Option<serde::de::IgnoredAny>,
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
    /// Verifies the base signature and takes each slot's digest from the signed metadata.
    ///
    /// # Errors
    /// [`Error::SealRemoved`] where the metadata says that the package is sealed; otherwise what does not hold.
    pub fn open(&self, metadata: &[u8], slot_table: &[u8], file_len: u64) -> Result<UnsealedPackage, Error> {
        let head = &self.0.head;
        let found = Sha256::of(metadata);
        if found.0 != head.metadata_checksum {
            return Err(Error::Digest { part: "metadata", expected: Sha256(head.metadata_checksum), found });
        }
        let json = gzip::expand(metadata)?;
        if says_sealed(&json) {
            return Err(Error::SealRemoved);
        }
        let parsed: LenientMetadata =
            serde_json::from_slice(&json).map_err(|error| Error::Json { reason: error.to_string() })?;
        if parsed.pspf.is_some() {
            return Err(Error::SealRemoved);
        }
        let signer = PublicKey::from_bytes(&head.public_key).map_err(|_| Error::SignerKey { position: 0 })?;
        if signer.verify(&json, &Signature::from_bytes(&self.0.base_signature())).is_err() {
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
