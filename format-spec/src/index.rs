//! The trailer and the index block (SPEC §3): the last 8,200 bytes of a package.

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
const CHECKSUM: std::ops::Range<usize> = 4..8;

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
        let zero = [0; INDEX_LEN];
        let mut index = Self::from_bytes(&zero).unwrap_or_else(|| unreachable!("zeros decode"));
        index.format_version = FORMAT_VERSION;
        index.page_size = 4096;
        index.capabilities = 0x81;
        index.compatibility = FORMAT_VERSION;
        index.protocol_version = 1;
        index
    }

    /// Where the metadata is claimed to be.
    pub fn metadata_span(&self) -> Span {
        Span { offset: self.metadata_offset, len: self.metadata_size }
    }

    /// Where the slot table is claimed to be.
    pub fn slot_table_span(&self) -> Span {
        Span { offset: self.slot_table_offset, len: self.slot_table_size }
    }

    /// An empty index with every field of this one that a sealed package leaves to the packer.
    fn constants(&self) -> Box<Self> {
        let mut index = Box::new(Self::empty());
        index.index_checksum = self.index_checksum;
        index.package_size = self.package_size;
        index.launcher_size = self.launcher_size;
        index.metadata_offset = self.metadata_offset;
        index.metadata_size = self.metadata_size;
        index.slot_table_offset = self.slot_table_offset;
        index.slot_table_size = self.slot_table_size;
        index.slot_count = self.slot_count;
        index.public_key = self.public_key;
        index.metadata_checksum = self.metadata_checksum;
        index.integrity_signature = self.integrity_signature;
        index.build_timestamp = self.build_timestamp;
        index.attestation_key_fp = self.attestation_key_fp;
        index.seal = self.seal;
        index
    }

    /// Fails if a field that a sealed package does not use differs from its constant, or if the unused
    /// bytes of `integrity_signature` are not zero (SPEC §3).
    pub(crate) fn hold_to_constants(&self) -> Result<(), Error> {
        if *self != *self.constants() {
            return Err(Error::Index {
                field: "a field that a sealed package leaves unused",
                expected: "its constant",
            });
        }
        if self.integrity_signature.iter().skip(64).any(|&byte| byte != 0) {
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
    let word = |at: usize| index.get(at..at + 4).and_then(|b| b.try_into().ok()).map_or(0, u32::from_le_bytes);
    if word(CHECKSUM.start) != index_checksum(index) {
        return Err(Error::DamagedTrailer { what: "the index does not match its checksum" });
    }
    if word(0) != FORMAT_VERSION {
        return Err(Error::FormatVersion { found: word(0) });
    }
    Ok(index)
}
