//! Every record by its bytes: the tables of SPEC.md against records whose fields hold distinct values.

mod common;

use common::raw::{hex, sha256};
use common::{file, path, raw_slot, spec};
use pspf_format::tree::{EntryKind, SlotIndex};
use pspf_format::{
    IndexBlock, Mode, Receipt, Record, SealEntry, SealHeader, Sha256, SlotDescriptor, SlotStamp, Validity,
    encode_slot_record, index_checksum, parse_slot_record,
};

/// Little-endian bytes of a field.
trait Bytes {
    fn bytes(&self) -> Vec<u8>;
}

macro_rules! integers {
    ($($type:ty),*) => { $(impl Bytes for $type { fn bytes(&self) -> Vec<u8> { self.to_le_bytes().to_vec() } })* };
}
integers!(u8, u16, u32, u64, i64);

impl<const N: usize> Bytes for [u8; N] {
    fn bytes(&self) -> Vec<u8> {
        self.to_vec()
    }
}

/// Makes a record and lists its fields, with the name and the bytes of each.
macro_rules! record {
    ($type:ident { $($field:ident: $value:expr),* $(,)? }) => {{
        let record = $type { $($field: $value),* };
        let fields: Vec<(&str, Vec<u8>)> = vec![$((stringify!($field), record.$field.bytes())),*];
        (record, fields)
    }};
}

/// Every row of the table must stand in `bytes` as the field says, and every field must have its row.
#[track_caller]
fn assert_table(rows: &[spec::Row], bytes: &[u8], fields: &[(&str, Vec<u8>)]) {
    let names: Vec<&str> = rows.iter().map(|row| row.field.as_str()).collect();
    assert_eq!(names, fields.iter().map(|(name, _)| *name).collect::<Vec<_>>(), "names and order");
    for (row, (name, expected)) in rows.iter().zip(fields) {
        assert_eq!(row.size, expected.len(), "size of `{name}`");
        assert_eq!(&bytes[row.offset..row.offset + row.size], expected, "bytes of `{name}`");
    }
}

/// Encodes, compares with the table, decodes, and refuses every other length.
#[track_caller]
fn assert_record<R: Record + PartialEq + std::fmt::Debug>(
    section: &str,
    after: &str,
    (record, fields): (R, Vec<(&str, Vec<u8>)>),
) {
    let bytes = record.to_bytes();
    assert_eq!(bytes.len(), R::LEN);
    assert_table(&spec::record(section, after, R::LEN), &bytes, &fields);
    assert_eq!(R::from_bytes(&bytes).as_ref(), Some(&record));
    for len in 0..bytes.len() {
        assert_eq!(R::from_bytes(&bytes[..len]), None, "{len} bytes");
    }
    assert_eq!(R::from_bytes(&[&bytes[..], &[0]].concat()), None);
}

#[test]
fn the_index_has_the_fields_of_the_table() {
    let index = record!(IndexBlock {
        format_version: 0x0102_0304,
        index_checksum: 0x1112_1314,
        package_size: 0x2122_2324_2526_2728,
        launcher_size: 0x3132_3334_3536_3738,
        metadata_offset: 0x4142_4344_4546_4748,
        metadata_size: 0x5152_5354_5556_5758,
        slot_table_offset: 0x6162_6364_6566_6768,
        slot_table_size: 0x7172_7374_7576_7778,
        slot_count: 0x8182_8384,
        flags: 0x9192_9394,
        public_key: [1; 32],
        metadata_checksum: [2; 32],
        integrity_signature: [3; 512],
        access_mode: 4,
        cache_strategy: 5,
        encryption_type: 6,
        reserved_hint: 7,
        page_size: 0xa1a2_a3a4,
        max_memory: 0xb1b2_b3b4_b5b6_b7b8,
        min_memory: 0xc1c2_c3c4_c5c6_c7c8,
        cpu_features: 0xd1d2_d3d4_d5d6_d7d8,
        gpu_requirements: 0xe1e2_e3e4_e5e6_e7e8,
        numa_hints: 0xf1f2_f3f4_f5f6_f7f8,
        stream_chunk_size: 0x0a0b_0c0d,
        padding: [8; 12],
        build_timestamp: 0x1a1b_1c1d_1e1f_2021,
        build_machine: [9; 32],
        source_hash: [10; 32],
        dependency_hash: [11; 32],
        license_id: [12; 16],
        provenance_uri: [13; 8],
        capabilities: 0x2a2b_2c2d_2e2f_3031,
        requirements: 0x3a3b_3c3d_3e3f_4041,
        extensions: 0x4a4b_4c4d_4e4f_5051,
        compatibility: 0x5a5b_5c5d,
        protocol_version: 0x6a6b_6c6d,
        future_crypto: [14; 512],
        attestation_key_fp: [15; 64],
        attestation_sbom_digest: [16; 64],
        attestation_policy_hash: [17; 64],
        seal: [18; 6624],
    });
    assert_record("§3.2", "", index);
}

#[test]
fn an_empty_index_holds_the_constants_of_the_table() {
    let bytes = IndexBlock::empty().to_bytes();
    for row in spec::record("§3.2", "", 8192) {
        let constant = match row.value.strip_prefix("0x") {
            Some(digits) => u64::from_str_radix(digits, 16).ok(),
            None => row.value.parse().ok(),
        };
        let mut expected = constant.unwrap_or(0).to_le_bytes().to_vec();
        expected.resize(row.size.max(8), 0);
        assert_eq!(bytes[row.offset..row.offset + row.size], expected[..row.size], "`{}`", row.field);
    }
    // Computed by hand from RFC 1950: with the checksum itself taken as zero, whatever it holds.
    let mut other = bytes.clone();
    other[4..8].fill(0xee);
    assert_eq!(index_checksum(&bytes), index_checksum(&other));
    assert_eq!(index_checksum(&[0; 8192]), 0x2000_0001);
    assert_eq!(index_checksum(&[&[1][..], &[0; 8191]].concat()), 0x4000_0002);
}

#[test]
fn the_trailer_is_the_table() {
    let rows = spec::record("§3.1", "", pspf_format::TRAILER_LEN);
    let package = common::sample();
    let trailer = &package[package.len() - pspf_format::TRAILER_LEN..];
    for row in [&rows[0], &rows[2]] {
        let value: Vec<u8> = row.value.split(' ').map(|byte| u8::from_str_radix(byte, 16).unwrap()).collect();
        assert_eq!(&trailer[row.offset..row.offset + row.size], value, "`{}`", row.field);
    }
    assert_eq!((rows[1].offset, rows[1].size), (4, IndexBlock::LEN));
}

#[test]
fn a_slot_descriptor_has_the_fields_of_the_table() {
    let descriptor = record!(SlotDescriptor {
        id: 0x0102_0304_0506_0708,
        name_hash: 0x1112_1314_1516_1718,
        offset: 0x2122_2324_2526_2728,
        size: 0x3132_3334_3536_3738,
        original_size: 0x4142_4344_4546_4748,
        operations: 0x5152_5354_5556_5758,
        checksum: 0x6162_6364_6566_6768,
        purpose: 1,
        lifecycle: 2,
        priority: 3,
        platform: 4,
        reserved: [5, 6],
        permissions: 0x7172,
    });
    assert_record("§4.1", "", descriptor);
}

#[test]
fn a_slot_descriptor_follows_from_the_metadata() {
    let slots = [raw_slot("bin", "hello", b"hello\n")];
    let layout = pspf_format::Layout::new(1024, 100, &common::metadata(&slots).pspf).unwrap();
    let row = SlotDescriptor::from_bytes(&layout.table).unwrap();
    assert_eq!(row.name_hash, 0x2e34_5ef8_5af0_a151);
    assert!(spec::section("§14").contains("id `bin` is 2e345ef85af0a151"));
    assert_eq!(row.checksum.to_le_bytes(), sha256(b"hello\n")[..8]);
    assert_eq!((row.offset, row.size, row.original_size), (1192, 6, 6));
    assert_eq!((row.operations, row.lifecycle, row.priority, row.permissions), (0, 2, 1, 0o755));
}

#[test]
fn codes_are_those_of_the_tables() {
    use Operations::{Gzip, Raw, Tar, TarGzip, TarZstd, Zstd};
    use pspf_format::{Class, Lifecycle, Operations};
    for operations in [Raw, Tar, Gzip, TarGzip, Zstd, TarZstd] {
        let text = operations.to_string().replace('|', "\\|");
        assert!(
            spec::section("§4.2").contains(&format!("| `{text}` | {:#06X} |", operations.code()).replace("0X", "0x"))
        );
    }
    use Lifecycle::{Dev, Eager, Lazy, Platform, Runtime};
    for lifecycle in [Runtime, Lazy, Eager, Dev, Platform] {
        let row = format!("| `{}` | {} |", lifecycle.as_str(), lifecycle.code());
        assert!(spec::section("§6.6").contains(&row), "{row}");
    }
    use Class::{Entry, Exec, Format, Integrity, Internal, Io, Trust, Usage};
    for class in [Format, Integrity, Trust, Io, Internal, Exec, Entry, Usage] {
        let row = format!("| {class} | {} | {} |", class.exit_code(), class.verify_code());
        assert!(spec::section("§11").contains(&row), "{row}");
    }
}

#[test]
fn the_seal_has_the_fields_of_the_table() {
    let header = record!(SealHeader {
        magic: *b"PSPFSEAL",
        version: 0x0102_0304,
        flags: 0x1112_1314,
        launcher_sha256: [1; 32],
        metadata_sha256: [2; 32],
        slot_table_sha256: [3; 32],
        reserved: [4; 368],
    });
    assert_record("§5.1", "", header);
    let entry = record!(SealEntry { public_key: [1; 32], signature: [2; 64] });
    assert_record("§5.2", "", entry);
    let seal = SealHeader::new(Sha256([1; 32]), Sha256([2; 32]), Sha256([3; 32]), 1);
    assert_eq!(seal.to_bytes()[..16], *b"PSPFSEAL\x01\0\0\0\x01\0\0\0");
    assert_eq!(pspf_format::SEAL_OFFSET + SealHeader::LEN, pspf_format::ENTRIES_OFFSET);
    assert_eq!(pspf_format::ENTRIES_OFFSET + pspf_format::MAX_SIGNATURES * SealEntry::LEN, IndexBlock::LEN);
}

#[test]
fn the_slot_index_has_the_fields_of_the_tables() {
    let (frame_sha256, frame_size) = (Sha256([5; 32]), 0x0010_0203);
    let name = "file".try_into().unwrap();
    let mut index = SlotIndex::of_file(&name, Mode::Executable, 0x0004_0506, Sha256([6; 32])).unwrap();
    index.set_frames([(frame_size, 0x0004_0506, frame_sha256)]).unwrap();
    let bytes = index.encode();
    let header: [(&str, Vec<u8>); 7] = [
        ("magic", b"PSPFTREE".to_vec()),
        ("version", 1_u32.bytes()),
        ("frame_count", 1_u32.bytes()),
        ("entry_count", 1_u32.bytes()),
        ("reserved", 0_u32.bytes()),
        ("expanded_size", 0x0004_0506_u64.bytes()),
        ("mtime", 0_u64.bytes()),
    ];
    assert_table(&spec::record("§7.2", "Header:", 40), &bytes, &header);
    let frame: [(&str, Vec<u8>); 3] = [
        ("stored_size", frame_size.bytes()),
        ("expanded_size", 0x0004_0506_u32.bytes()),
        ("sha256", frame_sha256.0.to_vec()),
    ];
    assert_table(&spec::record("§7.2", "Frame:", 40), &bytes[40..], &frame);
    let entry = [&[1, 1, 4, 0][..], b"file", &0x0004_0506_u64.bytes(), &[6; 32]].concat();
    assert_eq!(bytes[80..], entry);
}

#[test]
fn the_slot_index_of_a_tree_is_the_vector() {
    let entries = vec![
        (path("d"), EntryKind::Directory),
        file("d/f", Mode::Executable, b"x"),
        (path("d/h"), EntryKind::HardLink { file: 1, target: path("d/f") }),
        (path("l"), EntryKind::SymLink { target: "d/f".to_owned() }),
    ];
    let mut index = SlotIndex::of_tree(entries, 1).unwrap();
    index.set_frames([(2, index.expanded_size as u32, Sha256([0; 32]))]).unwrap();
    let x = sha256(b"x");
    let expected = [
        &b"PSPFTREE\x01\0\0\0\x01\0\0\0\x04\0\0\0\0\0\0\0"[..],
        &3584_u64.bytes(),
        &1_u64.bytes(),
        &[2, 0, 0, 0, 0, 14, 0, 0],
        &[0; 32],
        b"\0\0\x01\0d",
        b"\x01\x01\x03\0d/f\x01\0\0\0\0\0\0\0",
        &x,
        b"\x02\0\x03\0d/h\x01\0\0\0",
        b"\x03\0\x01\0l\x03\0d/f",
    ]
    .concat();
    assert_eq!(hex(&index.encode()), hex(&expected));
    let stream = common::stream(&index, &[b"x"]);
    assert_eq!(spec::vector("slot index"), hex(&expected));
    assert_eq!(spec::vector("expanded digest"), index.expanded_digest().to_string());
    assert_eq!(index.expanded_digest().0, sha256(&expected[80..]));
    assert_eq!(spec::vector("SHA-256 of the stream"), hex(&sha256(&stream)));
    assert!(spec::section("§14").contains("`expanded_size` 3584 "));
}

#[test]
fn the_records_of_the_cache_have_the_fields_of_the_tables() {
    let stamp = record!(SlotStamp {
        key: [1; 32],
        device: 0x0102_0304_0506_0708,
        inode: 0x1112_1314_1516_1718,
        ctime: -2,
        ctime_nsec: 0x2122_2324_2526_2728,
    });
    let (slot, stamp_bytes) = (stamp.0, stamp.0.to_bytes());
    assert_record("§10.3", "A **stamp**", stamp);
    let validity = Validity { durable: 1, portable: 2, boot_id: [7; 16] };
    let bytes = encode_slot_record(slot, validity);
    let common = |magic: &[u8]| vec![("magic", magic.to_vec()), ("schema", 1_u32.bytes())];
    let validity_fields = [("durable", 1_u32.bytes()), ("portable", 2_u32.bytes()), ("boot_id", vec![7; 16])];
    let mut fields = common(b"PSPFSLOT");
    fields.push(("reserved", 0_u32.bytes()));
    fields.extend(validity_fields.clone());
    fields.push(("stamp", stamp_bytes.clone()));
    fields.push(("sha256", sha256(&bytes[..104]).to_vec()));
    assert_table(&spec::record("§10.3", "The **record**", bytes.len()), &bytes, &fields);
    assert_eq!(parse_slot_record(&bytes), Some((slot, validity)));

    let label = "sample 1.0".to_owned();
    let receipt = Receipt { package_id: Sha256([9; 32]), label, validity, slots: vec![slot, slot] };
    let bytes = receipt.to_bytes();
    let mut fields = common(b"PSPFRCPT");
    fields.extend([("slot_count", 2_u32.bytes()), ("package_id", vec![9; 32])]);
    fields.push(("label", [&b"sample 1.0"[..], &[0; 118]].concat()));
    fields.extend(validity_fields);
    assert_table(&spec::record("§10.3", "The **launch receipt**", 200), &bytes, &fields);
    assert_eq!(bytes[200..328], [&stamp_bytes[..], &stamp_bytes].concat());
    assert_eq!(bytes[328..], sha256(&bytes[..328]));
    assert_eq!(Receipt::parse(&bytes), Some(receipt));
    assert_eq!(pspf_format::MAX_RECEIPT, 16_616);
}

#[test]
fn a43_a_cache_record_with_any_bit_changed_is_absent() {
    let stamp = SlotStamp { key: [1; 32], device: 2, inode: 3, ctime: 4, ctime_nsec: 5 };
    let record = encode_slot_record(stamp, Validity::default());
    let (package_id, label) = (Sha256([9; 32]), String::new());
    let receipt = Receipt { package_id, label, validity: Validity::default(), slots: vec![stamp] }.to_bytes();
    for bit in 0..record.len() * 8 {
        let mut changed = record.clone();
        changed[bit / 8] ^= 1 << (bit % 8);
        assert_eq!(parse_slot_record(&changed), None, "bit {bit}");
    }
    for bit in 0..receipt.len() * 8 {
        let mut changed = receipt.clone();
        changed[bit / 8] ^= 1 << (bit % 8);
        assert_eq!(Receipt::parse(&changed), None, "bit {bit}");
    }
    for len in 0..record.len() {
        assert_eq!(parse_slot_record(&record[..len]), None, "{len} bytes");
    }
    for len in 0..receipt.len() {
        assert_eq!(Receipt::parse(&receipt[..len]), None, "{len} bytes");
    }
    // Sound digests around wrong contents.
    let resealed = |mut bytes: Vec<u8>, at: usize| {
        bytes.truncate(bytes.len() - 32);
        bytes[at] ^= 1;
        [&bytes[..], &sha256(&bytes)].concat()
    };
    for at in [0, 8, 12] {
        assert_eq!(parse_slot_record(&resealed(record.clone(), at)), None, "byte {at}");
        assert_eq!(Receipt::parse(&resealed(receipt.clone(), at)), None, "byte {at}");
    }
}

#[test]
fn the_limits_are_those_of_the_table() {
    let limits = spec::section("§9");
    let number = |n: u64| {
        let digits = n.to_string();
        let groups: Vec<_> = digits.as_bytes().rchunks(3).rev().map(|g| std::str::from_utf8(g).unwrap()).collect();
        groups.join(",")
    };
    for row in [
        format!("| metadata JSON | {} bytes |", number(pspf_format::MAX_JSON)),
        format!("| stored metadata | {} bytes |", number(pspf_format::MAX_METADATA)),
        format!("| slots | 1 to {} |", pspf_format::MAX_SLOTS),
        format!("| signatures | 1 to {} |", pspf_format::MAX_SIGNATURES),
        format!("| slot id | {} bytes |", pspf_format::MAX_ID),
        format!("| component of a path | {} bytes |", pspf_format::MAX_COMPONENT),
        format!("| path, link target | {} bytes |", number(pspf_format::MAX_PATH as u64)),
        format!("| slot index before compression | {} MiB |", pspf_format::tree::MAX_INDEX >> 20),
        format!("| entries of a slot, frames of a slot | {} each |", number(pspf_format::tree::MAX_ENTRIES.into())),
        format!("| components of a path | {} |", pspf_format::tree::MAX_DEPTH),
        format!("| frame, decoded, and its window | {} MiB |", pspf_format::tree::MAX_FRAME >> 20),
        format!("| launch receipt | {} bytes |", number(pspf_format::MAX_RECEIPT as u64)),
    ] {
        assert!(limits.contains(&row), "{row}");
    }
    assert_eq!(pspf_format::tree::MAX_FRAMES, pspf_format::tree::MAX_ENTRIES);
    assert_eq!(pspf_format::tree::MAX_STORED_FRAME, (8 << 20) + (64 << 10));
    assert!(spec::section("§7.1").contains(&number(pspf_format::tree::MAX_STORED_FRAME.into())));
}
