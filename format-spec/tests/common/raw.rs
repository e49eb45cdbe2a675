//! A second writer: bytes at offsets, nothing of the crate. The end-to-end tests have it in their library.
#![allow(dead_code, unreachable_pub, reason = "each test binary uses a part of it, and a library all")]

use pspf_format::keys::SecretKey;
use sha2::{Digest, Sha256};

/// Length of the index.
pub const INDEX: usize = 8192;
/// Where the seal starts in the index.
pub const SEAL: usize = 1568;
/// Where its entries start in the index.
pub const ENTRIES: usize = 2048;
/// Length of an entry.
pub const ENTRY: usize = 96;

/// SHA-256.
pub fn sha256(bytes: &[u8]) -> [u8; 32] {
    Sha256::digest(bytes).into()
}

/// Lowercase hexadecimal digits.
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Overwrites the bytes from `at`.
pub fn put(target: &mut [u8], at: usize, bytes: &[u8]) {
    target[at..at + bytes.len()].copy_from_slice(bytes);
}

/// One gzip member with one stored block: at most 65,535 bytes.
pub fn gzip(content: &[u8]) -> Vec<u8> {
    let len = u16::try_from(content.len()).unwrap();
    let mut crc = flate2::Crc::new();
    crc.update(content);
    let head = [0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 0xff, 1];
    [
        &head[..],
        &len.to_le_bytes(),
        &(!len).to_le_bytes(),
        content,
        &crc.sum().to_le_bytes(),
        &crc.amount().to_le_bytes(),
    ]
    .concat()
}

/// The text inside a gzip member.
pub fn gunzip(stored: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    std::io::Read::read_to_end(&mut flate2::bufread::GzDecoder::new(stored), &mut out).unwrap();
    out
}

/// One zstandard frame of raw blocks, with a single segment and its content size (RFC 8878).
pub fn zstd_frame(content: &[u8]) -> Vec<u8> {
    let mut frame = vec![0x28, 0xb5, 0x2f, 0xfd, 0xa0];
    frame.extend((content.len() as u32).to_le_bytes());
    let mut blocks = content.chunks(128 << 10).peekable();
    if blocks.peek().is_none() {
        frame.extend([1, 0, 0]);
    }
    while let Some(block) = blocks.next() {
        let header = (block.len() as u32) << 3 | u32::from(blocks.peek().is_none());
        frame.extend(&header.to_le_bytes()[..3]);
        frame.extend(block);
    }
    frame
}

/// The skippable frame around a stored slot index.
pub fn skippable(stored_index: &[u8]) -> Vec<u8> {
    [&[0x5c, 0x2a, 0x4d, 0x18], &(stored_index.len() as u32).to_le_bytes()[..], stored_index].concat()
}

/// The index of a package.
pub fn index(package: &[u8]) -> [u8; INDEX] {
    let end = package.len() - 4;
    package[end - INDEX..end].try_into().unwrap()
}

/// The package with another index, its Adler-32 made right.
pub fn with_index(package: &[u8], mut index: [u8; INDEX]) -> Vec<u8> {
    let checksum = adler(&index);
    put(&mut index, 4, &checksum.to_le_bytes());
    let mut package = package.to_vec();
    let start = package.len() - 4 - INDEX;
    put(&mut package, start, &index);
    package
}

fn adler(index: &[u8; INDEX]) -> u32 {
    let (mut a, mut b) = (1_u32, 0_u32);
    for (at, &byte) in index.iter().enumerate() {
        a = (a + if (4..8).contains(&at) { 0 } else { u32::from(byte) }) % 65521;
        b = (b + a) % 65521;
    }
    b << 16 | a
}

/// What is signed (SPEC §5.3).
pub fn message(index: &[u8; INDEX]) -> Vec<u8> {
    let mut zeroed = *index;
    zeroed[4..8].fill(0);
    zeroed[128..640].fill(0);
    zeroed[ENTRIES..].fill(0);
    [&b"PSPF seal version 1\n"[..], &sha256(&zeroed)].concat()
}

/// Makes `signer` the first and only signer, whatever the index says.
pub fn sign(index: &mut [u8; INDEX], signer: &SecretKey) {
    let public = *signer.public_key().as_bytes();
    put(index, 64, &public);
    put(index, 1376, hex(&sha256(&public)).as_bytes());
    index[ENTRIES..].fill(0);
    put_entry(index, 0, signer);
}

/// Writes one entry with a valid signature.
pub fn put_entry(index: &mut [u8; INDEX], position: usize, signer: &SecretKey) {
    let signature = signer.sign(&message(index)).to_bytes();
    put(index, ENTRIES + position * ENTRY, signer.public_key().as_bytes());
    put(index, ENTRIES + position * ENTRY + 32, &signature);
}

/// The package with another index, signed anew by `signer`.
pub fn resigned(package: &[u8], signer: &SecretKey, edit: impl FnOnce(&mut [u8; INDEX])) -> Vec<u8> {
    let mut index = index(package);
    edit(&mut index);
    sign(&mut index, signer);
    with_index(package, index)
}

/// The parts of a package, laid out and signed as SPEC §2 says whatever they hold. One row of the table for each slot.
#[derive(Clone, Debug)]
pub struct Parts {
    /// The launcher.
    pub launcher: Vec<u8>,
    /// The stored metadata.
    pub metadata: Vec<u8>,
    /// The slot table; offsets are filled in.
    pub table: Vec<u8>,
    /// The stored bytes of each slot.
    pub slots: Vec<Vec<u8>>,
}

impl Parts {
    /// The parts of a sound package.
    pub fn of(package: &[u8]) -> Self {
        let index = index(package);
        let number = |bytes: &[u8], at: usize| u64::from_le_bytes(bytes[at..at + 8].try_into().unwrap()) as usize;
        let part = |at: usize| package[number(&index, at)..][..number(&index, at + 8)].to_vec();
        let table = part(40);
        let slots = table.chunks(64).map(|row| package[number(row, 16)..][..number(row, 24)].to_vec()).collect();
        Self { launcher: package[..number(&index, 16)].to_vec(), metadata: part(24), table, slots }
    }

    /// The package, signed by `signer`, without a base signature.
    pub fn seal(&self, signer: &SecretKey) -> Vec<u8> {
        let mut bytes = self.launcher.clone();
        let mut index = [0; INDEX];
        let add = |bytes: &mut Vec<u8>, part: &[u8]| {
            bytes.resize(bytes.len().next_multiple_of(8), 0);
            let offset = bytes.len() as u64;
            bytes.extend(part);
            offset.to_le_bytes()
        };
        let metadata = add(&mut bytes, &self.metadata);
        let at = add(&mut bytes, &self.table);
        let table_at = u64::from_le_bytes(at) as usize;
        for (position, slot) in self.slots.iter().enumerate() {
            let offset = add(&mut bytes, slot);
            put(&mut bytes, table_at + position * 64 + 16, &offset);
        }
        let table = &bytes[table_at..][..self.table.len()];
        put(&mut index, SEAL + 80, &sha256(table));
        put(&mut index, 0, &0x2025_0001_u32.to_le_bytes());
        put(&mut index, 16, &(self.launcher.len() as u64).to_le_bytes());
        put(&mut index, 24, &metadata);
        put(&mut index, 32, &(self.metadata.len() as u64).to_le_bytes());
        put(&mut index, 40, &at);
        put(&mut index, 48, &(self.table.len() as u64).to_le_bytes());
        put(&mut index, 56, &(self.slots.len() as u32).to_le_bytes());
        put(&mut index, 96, &sha256(&self.metadata));
        put(&mut index, 644, &4096_u32.to_le_bytes());
        put(&mut index, 832, &0x81_u64.to_le_bytes());
        put(&mut index, 856, &0x2025_0001_u32.to_le_bytes());
        put(&mut index, 860, &1_u32.to_le_bytes());
        put(&mut index, SEAL, b"PSPFSEAL\x01\0\0\0");
        put(&mut index, SEAL + 16, &sha256(&self.launcher));
        put(&mut index, SEAL + 48, &sha256(&self.metadata));
        let size = bytes.len().next_multiple_of(8) + INDEX + 8;
        put(&mut index, 8, &(size as u64).to_le_bytes());
        sign(&mut index, signer);
        bytes.resize(size, 0);
        put(&mut bytes, size - 8200, &[0xf0, 0x9f, 0x93, 0xa6]);
        put(&mut bytes, size - 4, &[0xf0, 0x9f, 0xaa, 0x84]);
        with_index(&bytes, index)
    }

    /// The package around another JSON text.
    pub fn with_json(&self, json: &str, signer: &SecretKey) -> Vec<u8> {
        Self { metadata: gzip(json.as_bytes()), ..self.clone() }.seal(signer)
    }
}
