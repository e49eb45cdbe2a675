//! A trailer on its way: the index is fixed, signatures come in, bytes come out (SPEC §5.3).

use alloc::boxed::Box;
use alloc::string::ToString;
use alloc::vec::Vec;

use pspf_keys::{PublicKey, Signature};

use crate::index::{END_MAGIC, INDEX_LEN, IndexBlock, START_MAGIC, index_checksum};
use crate::layout::Layout;
use crate::package::SealedIndex;
use crate::seal::{FLAG_BASE_SIGNATURE, SEAL_OFFSET, SealEntry, SealHeader, encode_entries, signed_message};
use crate::{Error, LauncherMetadata, MAX_SIGNATURES, Record, Sha256};

/// An index that waits for signatures.
#[derive(Clone, Debug)]
pub struct Draft {
    index: Box<IndexBlock>,
    seal: SealHeader,
    entries: Vec<SealEntry>,
}

impl Draft {
    /// The index of a new package. `build_timestamp` is in seconds since 1970, 0 where there is none to tell.
    pub fn new(layout: &Layout, launcher: &LauncherMetadata, stored_metadata: &[u8], build_timestamp: u64) -> Self {
        let metadata = Sha256::of(stored_metadata);
        let mut index = Box::new(IndexBlock::empty());
        index.package_size = layout.package_size();
        index.launcher_size = layout.launcher.len;
        index.metadata_offset = layout.metadata.offset;
        index.metadata_size = layout.metadata.len;
        index.slot_table_offset = layout.slot_table.offset;
        index.slot_table_size = layout.slot_table.len;
        index.slot_count = u32::try_from(layout.slots.len()).unwrap_or(u32::MAX);
        index.metadata_checksum = metadata.0;
        index.build_timestamp = build_timestamp;
        let seal = SealHeader::new(launcher.sha256, metadata, Sha256::of(&layout.table), 0);
        Self { index, seal, entries: Vec::new() }
    }

    /// The index of an existing package, with its signatures.
    pub fn of(sealed: &SealedIndex) -> Self {
        Self { index: sealed.index().block(), seal: sealed.seal().clone(), entries: sealed.entries().to_vec() }
    }

    /// Names the first signer and drops all signatures. `base_signature` is that key's over the metadata JSON,
    /// where the key is at hand (PSPF/2025 readers want it).
    pub fn set_signer(&mut self, key: &PublicKey, base_signature: Option<Signature>) {
        self.entries.clear();
        self.index.public_key = *key.as_bytes();
        let fingerprint = key.fingerprint().to_string();
        for (byte, digit) in self.index.attestation_key_fp.iter_mut().zip(fingerprint.bytes()) {
            *byte = digit;
        }
        self.index.integrity_signature = [0; 512];
        self.seal.flags = 0;
        if let Some(signature) = base_signature {
            self.seal.flags = FLAG_BASE_SIGNATURE;
            for (byte, value) in self.index.integrity_signature.iter_mut().zip(signature.to_bytes()) {
                *byte = value;
            }
        }
    }

    fn index_bytes(&self) -> [u8; INDEX_LEN] {
        let mut index = self.index.clone();
        index.index_checksum = 0;
        let seal = [self.seal.to_bytes(), encode_entries(&self.entries)].concat();
        index.seal = seal.try_into().unwrap_or([0; INDEX_LEN - SEAL_OFFSET]);
        let mut bytes: [u8; INDEX_LEN] = index.to_bytes().try_into().unwrap_or([0; INDEX_LEN]);
        let checksum = index_checksum(&bytes).to_le_bytes();
        for (byte, value) in bytes.iter_mut().skip(4).zip(checksum) {
            *byte = value;
        }
        bytes
    }

    /// What every signer signs.
    pub fn message(&self) -> Vec<u8> {
        signed_message(&self.index_bytes())
    }

    /// Adds a signature over [`Self::message`]; the first signer's comes first, the others in the order of their keys.
    ///
    /// # Errors
    /// [`Error::Signature`] for a signature that does not verify; [`Error::SignedTwice`] for a key that signed already;
    /// [`Error::Limit`] for the 65th.
    pub fn add(&mut self, key: &PublicKey, signature: Signature) -> Result<(), Error> {
        let entry = SealEntry { public_key: *key.as_bytes(), signature: signature.to_bytes() };
        entry.verify(self.entries.len(), &self.message())?;
        if self.entries.iter().any(|other| other.public_key == entry.public_key) {
            return Err(Error::SignedTwice { signer: key.fingerprint() });
        }
        if self.entries.len() >= MAX_SIGNATURES {
            let found = self.entries.len() as u64 + 1;
            return Err(Error::Limit { what: "signatures", most: MAX_SIGNATURES as u64, found });
        }
        self.entries.push(entry);
        let first = self.index.public_key;
        self.entries.sort_by_key(|entry| (entry.public_key != first, entry.public_key));
        Ok(())
    }

    /// The trailer.
    ///
    /// # Errors
    /// [`Error::Seal`] while the first signer's signature is missing.
    pub fn trailer(&self) -> Result<Vec<u8>, Error> {
        match self.entries.first() {
            Some(first) if first.public_key == self.index.public_key => {
                Ok([&START_MAGIC[..], &self.index_bytes(), &END_MAGIC].concat())
            }
            _ => Err(Error::Seal { what: "its first signature is not by the key in the index" }),
        }
    }
}
