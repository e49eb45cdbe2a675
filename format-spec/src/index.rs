//! The trailer and the index block (SPEC §3): the last 8,200 bytes of a package.

use alloc::boxed::Box;
use core::ops::Range;

use bincode::{Decode, Encode};

use crate::{Error, Record, Span};

/// Length of the index in bytes.
pub const INDEX_LEN: usize = 8192;
/// Length of the trailer in bytes: start magic, index, end magic.
pub const TRAILER_LEN: usize = 8200;
/// First four bytes of the trailer.
pub const START_MAGIC: [u8; 4] = [0xF0, 0x9F, 0x93, 0xA6];
/// Last four bytes of the trailer, and so of the file.
pub const END_MAGIC: [u8; 4] = [0xF0, 0x9F, 0xAA, 0x84];
/// The only `format_version`.
pub const FORMAT_VERSION: u32 = 0x2025_0001;

/// Where `index_checksum` stands in the index.
const CHECKSUM: Range<usize> = 4..8;
/// Where `integrity_signature` holds the base signature, and what follows in it.
const BASE_SIGNATURE: Range<usize> = 128..192;
const AFTER_BASE_SIGNATURE: Range<usize> = 192..640;
/// Where `attestation_key_fp` stands.
const FINGERPRINT: Range<usize> = 1376..1440;
/// All that a sealed package leaves unused: zero, but for these words of 32 bits.
const UNUSED: [Range<usize>; 4] = [60..64, 640..704, 712..1376, 1440..1568];
const CONSTANTS: [(usize, u32); 4] = [(644, 4096), (832, 0x81), (856, FORMAT_VERSION), (860, 1)];

/// The index block, field by field as PSPF/2025 has it. Everything here is a claim until the seal is verified.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[expect(missing_docs, reason = "SPEC §3 describes each field under the same name")]
pub struct IndexBlock {
    pub format_version: u32,
    pub index_checksum: u32,
    pub package_size: u64,
    pub launcher_size: u64,
    pub metadata_offset: u64,
    pub metadata_size: u64,
    pub slot_table_offset: u64,
    pub slot_table_size: u64,
    pub slot_count: u32,
    pub flags: u32,
    pub public_key: [u8; 32],
    pub metadata_checksum: [u8; 32],
    pub integrity_signature: [u8; 512],
    pub access_mode: u8,
    pub cache_strategy: u8,
    pub encryption_type: u8,
    pub reserved_hint: u8,
    pub page_size: u32,
    pub max_memory: u64,
    pub min_memory: u64,
    pub cpu_features: u64,
    pub gpu_requirements: u64,
    pub numa_hints: u64,
    pub stream_chunk_size: u32,
    pub padding: [u8; 12],
    pub build_timestamp: u64,
    pub build_machine: [u8; 32],
    pub source_hash: [u8; 32],
    pub dependency_hash: [u8; 32],
    pub license_id: [u8; 16],
    pub provenance_uri: [u8; 8],
    pub capabilities: u64,
    pub requirements: u64,
    pub extensions: u64,
    pub compatibility: u32,
    pub protocol_version: u32,
    pub future_crypto: [u8; 512],
    pub attestation_key_fp: [u8; 64],
    pub attestation_sbom_digest: [u8; 64],
    pub attestation_policy_hash: [u8; 64],
    pub seal: [u8; 6624],
}

impl Record for IndexBlock {
    const LEN: usize = INDEX_LEN;
}

impl IndexBlock {
    /// An index with the constants of a sealed package and everything else zero.
    pub fn empty() -> Self {
        let mut bytes = [0; INDEX_LEN];
        for (at, value) in CONSTANTS.into_iter().chain([(0, FORMAT_VERSION)]) {
            for (byte, value) in bytes.iter_mut().skip(at).zip(value.to_le_bytes()) {
                *byte = value;
            }
        }
        Self::from_bytes(&bytes).unwrap_or_else(|| unreachable!("every byte has a meaning"))
    }

    /// Where the metadata is claimed to be.
    pub fn metadata_span(&self) -> Span {
        Span { offset: self.metadata_offset, len: self.metadata_size }
    }

    /// Where the slot table is claimed to be.
    pub fn slot_table_span(&self) -> Span {
        Span { offset: self.slot_table_offset, len: self.slot_table_size }
    }
}

/// The first fields of the index, those that place the parts, under the names that they have in [`IndexBlock`].
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub(crate) struct IndexHead {
    pub(crate) format_version: u32,
    pub(crate) index_checksum: u32,
    pub(crate) package_size: u64,
    pub(crate) launcher_size: u64,
    pub(crate) metadata_offset: u64,
    pub(crate) metadata_size: u64,
    pub(crate) slot_table_offset: u64,
    pub(crate) slot_table_size: u64,
    pub(crate) slot_count: u32,
    pub(crate) flags: u32,
    pub(crate) public_key: [u8; 32],
    pub(crate) metadata_checksum: [u8; 32],
}

impl Record for IndexHead {
    const LEN: usize = 128;
}

/// An index as it was read. Only its head is taken apart: a start needs no more.
#[derive(Clone, Debug)]
pub(crate) struct Index {
    pub(crate) head: IndexHead,
    bytes: Box<[u8; INDEX_LEN]>,
}

impl Index {
    /// Reads the index inside a trailer, as [`index_bytes`] does.
    pub(crate) fn parse(trailer: &[u8]) -> Result<Self, Error> {
        let bytes = index_bytes(trailer)?;
        let head = bytes.get(..IndexHead::LEN).and_then(IndexHead::from_bytes).ok_or(Error::NotAPackage)?;
        Ok(Self { head, bytes: Box::new(*bytes) })
    }

    /// All its bytes.
    pub(crate) fn bytes(&self) -> &[u8; INDEX_LEN] {
        &self.bytes
    }

    /// All its fields.
    pub(crate) fn block(&self) -> Box<IndexBlock> {
        Box::new(IndexBlock::from_bytes(self.bytes.as_slice()).unwrap_or_else(IndexBlock::empty))
    }

    /// Where the metadata is claimed to be.
    pub(crate) fn metadata_span(&self) -> Span {
        Span { offset: self.head.metadata_offset, len: self.head.metadata_size }
    }

    /// Where the slot table is claimed to be.
    pub(crate) fn slot_table_span(&self) -> Span {
        Span { offset: self.head.slot_table_offset, len: self.head.slot_table_size }
    }

    /// The first 64 bytes of `integrity_signature`.
    pub(crate) fn base_signature(&self) -> [u8; 64] {
        self.bytes.get(BASE_SIGNATURE).and_then(|bytes| bytes.try_into().ok()).unwrap_or([0; 64])
    }

    /// `attestation_key_fp`.
    pub(crate) fn fingerprint(&self) -> &[u8] {
        self.bytes.get(FINGERPRINT).unwrap_or_default()
    }

    /// Fails if a field that a sealed package does not use differs from its constant, or if the unused
    /// bytes of `integrity_signature` are not zero (SPEC §3).
    pub(crate) fn hold_to_constants(&self) -> Result<(), Error> {
        let expected = |at| CONSTANTS.iter().find(|(place, _)| *place == at).map_or(0, |(_, value)| *value);
        if UNUSED.into_iter().flat_map(|range| range.step_by(4)).any(|at| word(&self.bytes, at) != expected(at)) {
            return Err(Error::Index {
                field: "a field that a sealed package leaves unused",
                expected: "its constant",
            });
        }
        if self.bytes.get(AFTER_BASE_SIGNATURE).unwrap_or_default().iter().any(|&byte| byte != 0) {
            return Err(Error::Index { field: "integrity_signature", expected: "zero after byte 64" });
        }
        Ok(())
    }
}

/// Adler-32 (RFC 1950) of the index bytes with `index_checksum` taken as zero.
pub fn index_checksum(index: &[u8]) -> u32 {
    let mut adler = adler2::Adler32::new();
    adler.write_slice(index.get(..CHECKSUM.start).unwrap_or_default());
    adler.write_slice(&[0; 4]);
    adler.write_slice(index.get(CHECKSUM.end..).unwrap_or_default());
    adler.checksum()
}

/// The index bytes inside a trailer, after both magics and the checksum were found right.
///
/// # Errors
/// [`Error::NotAPackage`] without either magic, [`Error::DamagedTrailer`] with one of them or with a wrong
/// checksum, [`Error::FormatVersion`] for another version.
pub(crate) fn index_bytes(trailer: &[u8]) -> Result<&[u8; INDEX_LEN], Error> {
    let (start, rest) = trailer.split_first_chunk::<4>().ok_or(Error::NotAPackage)?;
    let (index, end) = rest.split_first_chunk::<INDEX_LEN>().ok_or(Error::NotAPackage)?;
    match (*start == START_MAGIC, end == END_MAGIC) {
        (true, true) => {}
        (false, false) => return Err(Error::NotAPackage),
        _ => return Err(Error::DamagedTrailer { what: "one of its two magics is wrong" }),
    }
    if word(index, CHECKSUM.start) != index_checksum(index) {
        return Err(Error::DamagedTrailer { what: "the index does not match its checksum" });
    }
    if word(index, 0) != FORMAT_VERSION {
        return Err(Error::FormatVersion { found: word(index, 0) });
    }
    Ok(index)
}

fn word(index: &[u8; INDEX_LEN], at: usize) -> u32 {
    index.get(at..).and_then(<[u8]>::first_chunk).map_or(0, |bytes| u32::from_le_bytes(*bytes))
}
