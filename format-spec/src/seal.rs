//! The seal (SPEC §5): what a signature covers, and the signatures.

use alloc::vec::Vec;
use core::ops::Range;

use bincode::{Decode, Encode};
use pspf_keys::{PublicKey, Signature};

use crate::index::is_zero;
use crate::{Error, Hasher, INDEX_LEN, Record, Sha256};

/// First byte of the seal in the index.
pub const SEAL_OFFSET: usize = 1568;
/// First byte of the entries area in the index.
pub const ENTRIES_OFFSET: usize = 2048;
/// The entries area holds this many entries.
pub const MAX_SIGNATURES: usize = 64;
/// The only seal version.
pub const SEAL_VERSION: u32 = 1;

/// Flag: `integrity_signature` holds the first signer's signature over the metadata JSON. Without it the field
/// is zero. The flag is signed, so that nobody can add or take away those bytes unnoticed.
pub const FLAG_BASE_SIGNATURE: u32 = 1;

const MAGIC: [u8; 8] = *b"PSPFSEAL";
const DOMAIN: &[u8] = b"PSPF seal version 1\n";
const ENTRY_LEN: usize = 96;
/// `index_checksum` and `integrity_signature`: written after signing, so not signed.
const UNSIGNED: [Range<usize>; 3] = [4..8, 128..640, ENTRIES_OFFSET..INDEX_LEN];

/// The fixed part of the seal.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[expect(missing_docs, reason = "SPEC §5 describes each field under the same name")]
pub struct SealHeader {
    pub magic: [u8; 8],
    pub version: u32,
    pub flags: u32,
    pub launcher_sha256: [u8; 32],
    pub metadata_sha256: [u8; 32],
    pub slot_table_sha256: [u8; 32],
    pub reserved: [u8; 368],
}

impl Record for SealHeader {
    const LEN: usize = ENTRIES_OFFSET - SEAL_OFFSET;
}

impl SealHeader {
    /// A version 1 seal over the three parts.
    pub fn new(launcher: Sha256, metadata: Sha256, slot_table: Sha256, flags: u32) -> Self {
        Self {
            magic: MAGIC,
            version: SEAL_VERSION,
            flags,
            launcher_sha256: launcher.0,
            metadata_sha256: metadata.0,
            slot_table_sha256: slot_table.0,
            reserved: [0; 368],
        }
    }

    /// Reads the seal of an index; `None` where all its bytes are zero: a package without a seal.
    pub(crate) fn parse(index: &[u8; INDEX_LEN]) -> Result<Option<Self>, Error> {
        let area = index.get(SEAL_OFFSET..).unwrap_or_default();
        if is_zero(area) {
            return Ok(None);
        }
        let seal = area.get(..Self::LEN).and_then(Self::from_bytes).ok_or(Error::Seal { what: "incomplete" })?;
        if seal.magic != MAGIC {
            return Err(Error::Seal { what: "its magic is wrong" });
        }
        if seal.version != SEAL_VERSION {
            return Err(Error::SealVersion { found: seal.version });
        }
        if seal.reserved != [0; 368] || seal.flags & !FLAG_BASE_SIGNATURE != 0 {
            return Err(Error::Seal { what: "its reserved bytes are not zero" });
        }
        Ok(Some(seal))
    }
}

/// One signature of the seal.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct SealEntry {
    /// The signer's Ed25519 key.
    pub public_key: [u8; 32],
    /// Signature over [`signed_message`].
    pub signature: [u8; 64],
}

impl Record for SealEntry {
    const LEN: usize = ENTRY_LEN;
}

impl SealEntry {
    /// Whether this signature is one of `message`; a malformed or weak key is an error too.
    pub(crate) fn verify(&self, position: usize, message: &[u8]) -> Result<PublicKey, Error> {
        let key = PublicKey::from_bytes(&self.public_key).map_err(|_| Error::SignerKey { position })?;
        match key.verify(message, &Signature::from_bytes(&self.signature)) {
            Ok(()) => Ok(key),
            Err(_) => Err(Error::Signature { position, signer: key.fingerprint() }),
        }
    }
}

/// Reads the entries: the first at least; from the second on strictly ascending by key, and none with the
/// first one's key; zero after the last.
pub(crate) fn parse_entries(index: &[u8; INDEX_LEN]) -> Result<Vec<SealEntry>, Error> {
    let area = index.get(ENTRIES_OFFSET..).unwrap_or_default();
    let mut entries = area.chunks_exact(ENTRY_LEN);
    let count = entries.clone().rposition(|entry| !is_zero(entry)).map_or(0, |last| last + 1);
    let entries: Vec<SealEntry> = entries.by_ref().take(count).filter_map(SealEntry::from_bytes).collect();
    let Some((first, rest)) = entries.split_first() else {
        return Err(Error::Seal { what: "it holds no signature" });
    };
    if rest.iter().any(|entry| entry.public_key == first.public_key)
        || !rest.is_sorted_by(|a, b| a.public_key < b.public_key)
    {
        return Err(Error::Seal { what: "its signatures are not in order, or one key signed twice" });
    }
    Ok(entries)
}

/// The entries area for `entries`, already in order.
pub(crate) fn encode_entries(entries: &[SealEntry]) -> Vec<u8> {
    let mut area: Vec<u8> = entries.iter().flat_map(Record::to_bytes).collect();
    area.resize(INDEX_LEN - ENTRIES_OFFSET, 0);
    area
}

/// What every signer signs: the domain, then SHA-256 of the index with the unsigned fields zeroed.
pub fn signed_message(index: &[u8; INDEX_LEN]) -> Vec<u8> {
    let zeros = [0; 512];
    let mut hasher = Hasher::new();
    let mut at = 0;
    for Range { start, end } in UNSIGNED {
        hasher.update(index.get(at..start).unwrap_or_default());
        let mut left = end - start;
        while let Some(piece) = zeros.get(..left.min(zeros.len())).filter(|piece| !piece.is_empty()) {
            hasher.update(piece);
            left -= piece.len();
        }
        at = end;
    }
    hasher.update(index.get(at..).unwrap_or_default());
    [DOMAIN, &hasher.finish().0].concat()
}

/// The package id: SHA-256 of the signed message.
pub(crate) fn package_id(message: &[u8]) -> Sha256 {
    Sha256::of(message)
}
