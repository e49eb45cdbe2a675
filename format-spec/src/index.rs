//! The trailer and the index block (SPEC §3): the last 8,200 bytes of a package.

use alloc::boxed::Box;
use core::ops::Range;

use bincode::{Decode, Encode};

use crate::{ENTRIES_OFFSET, Error, Record, Span};

/// Length of the index in bytes.
pub const INDEX_LEN: usize = 8192;
/// Length of the trailer in bytes: start magic, index, end magic.
pub const TRAILER_LEN: usize = 8200;
/// The last bytes of a package.
pub type Trailer = [u8; TRAILER_LEN];
/// The index up to the entries of the seal, which are three quarters of it and are kept otherwise.
type BeforeEntries = [u8; ENTRIES_OFFSET];
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
/// What a sealed package leaves unused: zero in these places, and these words of 32 bits between them.
const ZERO: [Range<usize>; 7] = [60..64, 640..644, 648..704, 712..832, 836..856, 864..1376, 1440..1568];
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

/// What is kept of an index. Only its head is taken apart: a start needs no more.
#[derive(Clone, Debug)]
pub(crate) struct Index {
    pub(crate) head: IndexHead,
    bytes: Box<BeforeEntries>,
}

impl Index {
    /// Reads the index inside a trailer, as [`index_bytes`] does; also tells where all of it is.
    pub(crate) fn parse(trailer: &Trailer) -> Result<(Self, &[u8; INDEX_LEN]), Error> {
        let all = index_bytes(trailer)?;
        let head = all.get(..IndexHead::LEN).and_then(IndexHead::from_bytes).ok_or(Error::NotAPackage)?;
        let bytes: &BeforeEntries = all.first_chunk().ok_or(Error::NotAPackage)?;
        Ok((Self { head, bytes: Box::new(*bytes) }, all))
    }

    /// Everything before the entries of the seal.
    pub(crate) fn bytes(&self) -> &BeforeEntries {
        &self.bytes
    }

    /// All its fields, without the entries of the seal.
    pub(crate) fn block(&self) -> Box<IndexBlock> {
        let mut bytes = self.bytes.to_vec();
        bytes.resize(INDEX_LEN, 0);
        Box::new(IndexBlock::from_bytes(&bytes).unwrap_or_else(IndexBlock::empty))
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
        self.bytes().get(BASE_SIGNATURE).and_then(|bytes| bytes.try_into().ok()).unwrap_or([0; 64])
    }

    /// `attestation_key_fp`.
    pub(crate) fn fingerprint(&self) -> &[u8] {
        self.bytes().get(FINGERPRINT).unwrap_or_default()
    }

    /// Fails if a field that a sealed package does not use differs from its constant, or if the unused
    /// bytes of `integrity_signature` are not zero (SPEC §3).
    pub(crate) fn hold_to_constants(&self) -> Result<(), Error> {
        let zero = |range| self.bytes.get(range).is_some_and(is_zero);
        let constant = |(at, value)| word(&*self.bytes, at) == value;
        if !ZERO.into_iter().all(zero) || !CONSTANTS.into_iter().all(constant) {
            return Err(Error::Index {
                field: "a field that a sealed package leaves unused",
                expected: "its constant",
            });
        }
        if !zero(AFTER_BASE_SIGNATURE) {
            return Err(Error::Index { field: "integrity_signature", expected: "zero after byte 64" });
        }
        Ok(())
    }
}

/// Adler-32 (RFC 1950 §8.2) of the index bytes with `index_checksum` taken as zero.
pub fn index_checksum(index: &[u8]) -> u32 {
    const BASE: u32 = 65_521;
    // So few bytes cannot overflow the sums.
    const PIECE: usize = 64;
    // Most of an index is zero, above all its end.
    let (rest, words) = index.as_rchunks::<{ size_of::<u128>() }>();
    let used = words.iter().rposition(|word| u128::from_ne_bytes(*word) != 0).map_or(0, |last| last + 1);
    let (used, zeros) = index.split_at(rest.len() + used * size_of::<u128>());
    let (mut a, mut b) = (1_u32, 0_u32);
    for piece in used.chunks(PIECE) {
        if is_zero(piece) {
            b += a * piece.len() as u32;
        } else {
            for byte in piece {
                a += u32::from(*byte);
                b += a;
            }
        }
        (a, b) = (a % BASE, b % BASE);
    }
    b = (b + a * (zeros.len() as u32 % BASE)) % BASE;
    // Without the bytes of the checksum itself: each counts once in `a`, and in `b` as often as bytes follow, and once.
    for (at, byte) in index.iter().enumerate().take(CHECKSUM.end).skip(CHECKSUM.start) {
        let times = (index.len() - at) as u32 % BASE;
        (a, b) = ((a + BASE - u32::from(*byte)) % BASE, (b + BASE - u32::from(*byte) * times % BASE) % BASE);
    }
    b << 16 | a
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

/// Whether all bytes are zero, sixteen at a time: most of an index is.
#[inline(never)]
pub(crate) fn is_zero(bytes: &[u8]) -> bool {
    let (words, rest) = bytes.as_chunks();
    words.iter().all(|word| u128::from_ne_bytes(*word) == 0) && rest.iter().all(|&byte| byte == 0)
}

fn word(index: &[u8], at: usize) -> u32 {
    index.get(at..).and_then(<[u8]>::first_chunk).map_or(0, |bytes| u32::from_le_bytes(*bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_read_of_an_index_are_the_fields_of_its_record() {
        let mut bytes: [u8; INDEX_LEN] = core::array::from_fn(|at| (at % 251) as u8);
        for (at, value) in [(0, FORMAT_VERSION), (CHECKSUM.start, 0)] {
            bytes[at..at + 4].copy_from_slice(&value.to_le_bytes());
        }
        let checksum = index_checksum(&bytes);
        bytes[CHECKSUM].copy_from_slice(&checksum.to_le_bytes());
        let trailer = [&START_MAGIC[..], &bytes, &END_MAGIC].concat();
        let trailer: Trailer = trailer.try_into().unwrap();
        let (index, all) = Index::parse(&trailer).unwrap();
        assert_eq!(all, &bytes);
        let IndexHead {
            format_version,
            index_checksum,
            package_size,
            launcher_size,
            metadata_offset,
            metadata_size,
            slot_table_offset,
            slot_table_size,
            slot_count,
            flags,
            public_key,
            metadata_checksum,
        } = index.head.clone();
        let block = index.block();
        let mut expected = (*block).clone();
        expected.format_version = format_version;
        expected.index_checksum = index_checksum;
        expected.package_size = package_size;
        expected.launcher_size = launcher_size;
        expected.metadata_offset = metadata_offset;
        expected.metadata_size = metadata_size;
        expected.slot_table_offset = slot_table_offset;
        expected.slot_table_size = slot_table_size;
        expected.slot_count = slot_count;
        expected.flags = flags;
        expected.public_key = public_key;
        expected.metadata_checksum = metadata_checksum;
        expected.seal = block.seal;
        assert_eq!(*block, expected);
        let mut without_entries = bytes;
        without_entries[ENTRIES_OFFSET..].fill(0);
        assert_eq!(block.to_bytes(), without_entries);
        assert_eq!(index.base_signature(), block.integrity_signature[..64]);
        assert_eq!(index.fingerprint(), block.attestation_key_fp);
        assert_eq!((index.metadata_span(), index.slot_table_span()), (block.metadata_span(), block.slot_table_span()));
    }

    #[test]
    fn the_checksum_is_that_of_another_implementation() {
        for (kind, bytes) in
            [[0; INDEX_LEN], [0xFF; INDEX_LEN], core::array::from_fn(|at| (at * at / 7) as u8)].iter().enumerate()
        {
            let mut bytes = *bytes;
            for zeros in [0, 1, 63, 64, 100, 5000] {
                bytes[200..200 + zeros].fill(0);
                let mut expected = bytes;
                expected[CHECKSUM].fill(0);
                assert_eq!(index_checksum(&bytes), adler2::adler32_slice(&expected), "{kind} {zeros}");
            }
        }
    }

    #[test]
    fn without_either_magic_it_is_no_package_and_with_one_it_is_damaged() {
        let bytes = |start: [u8; 4], end: [u8; 4]| [&start[..], &[0; INDEX_LEN], &end].concat();
        assert_eq!(index_bytes(&bytes([0; 4], [0; 4])), Err(Error::NotAPackage));
        for damaged in [bytes(START_MAGIC, [0; 4]), bytes([0; 4], END_MAGIC), bytes(START_MAGIC, END_MAGIC)] {
            assert!(matches!(index_bytes(&damaged), Err(Error::DamagedTrailer { .. })));
        }
    }

    #[test]
    fn an_empty_index_holds_its_constants_and_every_unused_byte_counts() {
        let hold = |bytes: &[u8]| {
            let mut bytes: [u8; INDEX_LEN] = bytes.try_into().unwrap();
            let checksum = index_checksum(&bytes);
            bytes[CHECKSUM].copy_from_slice(&checksum.to_le_bytes());
            let trailer = [&START_MAGIC[..], &bytes, &END_MAGIC].concat();
            Index::parse(&trailer.try_into().unwrap()).unwrap().0.hold_to_constants()
        };
        let empty = IndexBlock::empty().to_bytes();
        assert_eq!(hold(&empty), Ok(()));
        // What the packer fills in, and the seal.
        let free = [8..60, 64..192, 704..712, 1376..1440, 1568..INDEX_LEN];
        for at in (8..INDEX_LEN).filter(|at| *at < 1600 || *at == INDEX_LEN - 1) {
            let mut changed = empty.clone();
            changed[at] ^= 0x10;
            assert_eq!(hold(&changed).is_ok(), free.iter().any(|range| range.contains(&at)), "byte {at}");
        }
    }
}
