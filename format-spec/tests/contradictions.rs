//! Packages whose parts contradict each other, laid out and signed like sound ones by the test's own key: the signature
//! is valid, and they are refused all the same.

mod common;

use common::raw::{self, Parts, SEAL, put};
use common::{key, parse, sample, verify};
use pspf_format::{Class, Error};

/// Its error must be of this class, and must say this.
#[track_caller]
fn refused(bytes: &[u8], class: Class, text: &str) {
    let error = verify(bytes).expect_err(text);
    assert_eq!(error.class(), class, "{error}");
    assert!(error.to_string().contains(text), "`{error}` does not say `{text}`");
}

/// The sample with one number of its index changed, and signed anew.
fn with_number(at: usize, value: u64, len: usize) -> Vec<u8> {
    raw::resigned(&sample(), &key(1), |index| put(index, at, &value.to_le_bytes()[..len]))
}

fn number(at: usize) -> u64 {
    u64::from_le_bytes(raw::index(&sample())[at..at + 8].try_into().unwrap())
}

#[test]
fn a_signature_does_not_make_other_constants_right() {
    let fields: [(usize, usize); 26] = [
        (60, 4),
        (640, 1),
        (641, 1),
        (642, 1),
        (643, 1),
        (644, 4),
        (648, 8),
        (656, 8),
        (664, 8),
        (672, 8),
        (680, 8),
        (688, 4),
        (692, 12),
        (712, 32),
        (744, 32),
        (776, 32),
        (808, 16),
        (824, 8),
        (832, 8),
        (840, 8),
        (848, 8),
        (856, 4),
        (860, 4),
        (864, 512),
        (1440, 64),
        (1504, 64),
    ];
    for at in fields.iter().flat_map(|(at, len)| [*at, at + len - 1]) {
        refused(&raw::resigned(&sample(), &key(1), |index| index[at] ^= 0x40), Class::Format, "leaves unused");
    }
    // The two that are not constant and say nothing about the layout.
    assert!(verify(&with_timestamp(1_700_000_000)).is_ok());
    let fingerprint = |bytes: &[u8]| {
        let mut index = raw::index(&sample());
        put(&mut index, 1376, bytes);
        index[raw::ENTRIES..].fill(0);
        raw::put_entry(&mut index, 0, &key(1));
        raw::with_index(&sample(), index)
    };
    let sound = raw::hex(&raw::sha256(key(1).public_key().as_bytes()));
    assert!(verify(&fingerprint(sound.as_bytes())).is_ok());
    for wrong in [&[0; 64], sound.to_uppercase().as_bytes(), &[b'0'; 64]] {
        refused(&fingerprint(wrong), Class::Format, "attestation_key_fp");
    }
}

/// `build_timestamp` is the packer's; the base signature does not cover it.
fn with_timestamp(seconds: u64) -> Vec<u8> {
    with_number(704, seconds, 8)
}

#[test]
fn the_index_is_held_to_the_metadata() {
    let launcher = number(16);
    for (at, name, values) in [
        (16, "launcher_size", [0, 8, launcher - 8, launcher - 1]),
        (24, "metadata_offset", [launcher + 8, number(24) + 1, launcher - 8, 0]),
        (32, "", [0, 1, number(32) - 1, number(32) + 1]),
        (40, "slot_table_offset", [number(40) + 8, number(40) - 8, 0, launcher]),
        (48, "slot_table_size", [0, 64, 127, 192]),
        (8, "package_size", [0, 8200, number(8) - 8, number(8) + 8]),
    ] {
        for value in values {
            let bytes = with_number(at, value, 8);
            let error = verify(&bytes).expect_err(name);
            let right = matches!(error, Error::Digest { .. }) || error.to_string().contains(name);
            assert!(right, "{at} {value}: `{error}` does not say `{name}`");
        }
    }
    // One slot less and one more, with a table to match.
    for (count, size) in [(1, 64), (3, 192)] {
        let bytes = raw::resigned(&sample(), &key(1), |index| {
            put(index, 48, &u64::to_le_bytes(size));
            put(index, 56, &u32::to_le_bytes(count));
            let table = number(40) as usize;
            put(index, SEAL + 80, &raw::sha256(&sample()[table..table + size as usize]));
        });
        refused(&bytes, Class::Format, "slot_table_offset");
    }
}

#[test]
fn positions_outside_the_file_are_refused_before_anything_is_read() {
    let body = sample().len() as u64 - 8200;
    for (at, value) in [
        (24, body),
        (24, u64::MAX),
        (24, u64::MAX - number(32) + 1),
        (32, (1 << 20) + (1 << 16) + 1),
        (32, u64::MAX),
        (32, body),
        (40, body - 127),
        (40, u64::MAX - 63),
        (40, 0),
        (16, u64::MAX),
        (16, body),
    ] {
        let error = parse(&with_number(at, value, 8)).expect_err("outside");
        assert_eq!(error.class(), Class::Format, "{at} {value}: {error}");
    }
    for count in [0, 257, u32::MAX] {
        let bytes = raw::resigned(&sample(), &key(1), |index| {
            put(index, 56, &count.to_le_bytes());
            put(index, 48, &(u64::from(count) * 64).to_le_bytes());
        });
        assert!(matches!(parse(&bytes), Err(Error::Limit { .. })), "{count} slots");
    }
}

#[test]
fn the_largest_size_is_allowed_and_one_more_is_not() {
    let longest = (1 << 20) + (1 << 16);
    let limit = |bytes: &[u8]| matches!(parse(bytes), Err(Error::Limit { .. }));
    // Within the limit, and too long for this file.
    assert!(matches!(parse(&with_number(32, longest, 8)), Err(Error::Index { .. })));
    assert!(limit(&with_number(32, longest + 1, 8)) && limit(&with_number(32, longest + 2, 8)));
    let slots = |count: u32| {
        raw::resigned(&sample(), &key(1), |index| {
            put(index, 56, &count.to_le_bytes());
            put(index, 48, &(u64::from(count) * 64).to_le_bytes());
        })
    };
    assert!(!limit(&slots(256)) && limit(&slots(257)));
    // A part may end where the trailer begins.
    let last = sample().len() as u64 - 8200 - number(32);
    assert!(parse(&with_number(24, last, 8)).is_ok());
    assert!(matches!(parse(&with_number(24, last + 1, 8)), Err(Error::Index { field: "metadata_offset", .. })));
}

#[test]
fn digests_in_the_index_are_held_to_the_seal() {
    for (at, name) in [(96, "metadata"), (SEAL + 16, "launcher"), (SEAL + 48, "metadata"), (SEAL + 80, "slot table")] {
        refused(&raw::resigned(&sample(), &key(1), |index| index[at] ^= 1), Class::Integrity, name);
    }
    // Both of the metadata's digests.
    let both = raw::resigned(&sample(), &key(1), |index| {
        put(index, 96, &[7; 32]);
        put(index, SEAL + 48, &[7; 32]);
    });
    refused(&both, Class::Integrity, "metadata: SHA-256");
}

#[test]
fn every_field_of_the_slot_table_is_held_to_the_metadata() {
    let sound = Parts::of(&sample());
    for byte in (0..sound.table.len()).filter(|byte| !(16..24).contains(&(byte % 64))) {
        let mut parts = Parts::of(&sample());
        parts.table[byte] ^= 0x01;
        // The writer takes offsets from the layout; lengths are the slots' own.
        refused(&parts.seal(&key(1)), Class::Format, "slot table");
    }
    let mut swapped = Parts::of(&sample());
    swapped.table.rotate_left(64);
    refused(&swapped.seal(&key(1)), Class::Format, "slot table");
}

#[test]
fn overlapping_and_moved_slots_are_refused() {
    let bytes = sample();
    let table = number(40) as usize;
    for (row, offset) in [(0, 0), (0, number(24)), (0, number(40)), (1, 0), (0, u64::MAX), (0, bytes.len() as u64)] {
        let mut moved = bytes.clone();
        put(&mut moved, table + row * 64 + 16, &offset.to_le_bytes());
        let digest = raw::sha256(&moved[table..table + 128]);
        let moved = raw::resigned(&moved, &key(1), |index| put(index, SEAL + 80, &digest));
        refused(&moved, Class::Format, "slot table");
    }
}

#[test]
fn a_gap_between_parts_is_refused() {
    let bytes = sample();
    for (part, at) in [("metadata_offset", 24), ("slot_table_offset", 40)] {
        // Eight zero bytes before the part, and all offsets after it right.
        let start = number(at) as usize;
        let mut gap = bytes.clone();
        gap.splice(start..start, [0; 8]);
        let gap = raw::resigned(&gap, &key(1), |index| {
            for field in [8, 24, 40].into_iter().filter(|field| *field == 8 || *field >= at) {
                let value = number(field) + 8;
                put(index, field, &value.to_le_bytes());
            }
        });
        refused(&gap, Class::Format, part);
    }
    let end = bytes.len() - 8200;
    let mut gap = bytes.clone();
    gap.splice(end..end, [0; 8]);
    let gap = raw::resigned(&gap, &key(1), |index| put(index, 8, &(number(8) + 8).to_le_bytes()));
    refused(&gap, Class::Format, "package_size");
}

#[test]
fn a_slot_that_is_longer_or_shorter_than_signed_is_refused() {
    for (position, len) in [(0, 5), (0, 9), (1, 0)] {
        let mut parts = Parts::of(&sample());
        parts.slots[position].resize(len, 0);
        let bytes = parts.seal(&key(1));
        assert!(verify(&bytes).is_err(), "slot {position} of {len} bytes");
    }
    let mut parts = Parts::of(&sample());
    parts.slots[1][100] ^= 1;
    refused(&parts.seal(&key(1)), Class::Integrity, "slot `app`: SHA-256");
    let mut parts = Parts::of(&sample());
    parts.launcher.push(0);
    refused(&parts.seal(&key(1)), Class::Integrity, "launcher");
}

/// The sample around a changed JSON text.
fn with_json(from: &str, to: &str) -> Vec<u8> {
    let parts = Parts::of(&sample());
    let json = String::from_utf8(raw::gunzip(&parts.metadata)).unwrap();
    assert!(json.contains(from), "{from}");
    parts.with_json(&json.replacen(from, to, 1), &key(1))
}

#[test]
fn json_that_is_not_canonical_is_refused() {
    assert!(verify(&with_json("sample", "sample")).is_ok());
    for (from, to) in [
        // White space.
        ("{\"format\":", " {\"format\":"),
        ("{\"format\":", "{\"format\": "),
        ("\"seal\":1,", "\"seal\":1,\n"),
        // Order.
        ("\"seal\":1,\"tool_version\":\"0.1.0\"", "\"tool_version\":\"0.1.0\",\"seal\":1"),
        // Other spellings of the same.
        ("\"sample\"", "\"\\u0073ample\""),
        ("\"PSPF/2025\"", "\"PSPF\\/2025\""),
        ("\"argv0\"", "\"argv\\u0030\""),
        // The rendering says something else than `pspf`.
        ("\"PSPF/2025\"", "\"PSPF/2026\""),
        ("\"format_version\":\"1.0.0\"", "\"format_version\":\"1.0.1\""),
        ("\"slot\":0", "\"slot\":1"),
        ("\"source\":\"\"", "\"source\":\"$SELF\""),
        ("\"target\":\"hello\"", "\"target\":\"other\""),
        ("\"size\":6", "\"size\":7"),
        ("\"purpose\":\"payload\"", "\"purpose\":\"tool\""),
        ("\"permissions\":\"0755\"", "\"permissions\":\"4755\""),
        ("\"command\":\"'{slot:0}'\"", "\"command\":\"/bin/sh\""),
        ("\"env\":{}", "\"env\":{\"LD_PRELOAD\":\"x\"}"),
        ("\"capabilities\":[]", "\"capabilities\":[\"mmap\"]"),
        ("\"tool_version\":\"\"", "\"tool_version\":\"1\""),
        ("\"tool\":\"pspf-launcher\"", "\"tool\":\"launcher\""),
        ("\"checksum\":\"sha256:", "\"checksum\":\"sha256:sha256:"),
        // What is left out when it is empty.
        ("\"version\":\"1.0\"}", "\"version\":\"1.0\",\"description\":null}"),
        ("\"run\":{\"command\"", "\"run\":{\"env\":{},\"command\""),
    ] {
        let from = if from == "\"argv0\"" { "\"command\":[" } else { from };
        let to = if to == "\"argv\\u0030\"" { "\"comman\\u0064\":[" } else { to };
        let bytes = with_json(from, to);
        assert!(matches!(verify(&bytes), Err(Error::NotCanonical)), "{from} -> {to}: {:?}", verify(&bytes));
    }
}

#[test]
fn duplicate_unknown_and_missing_keys_are_refused() {
    for (from, to) in [
        ("\"seal\":1,", "\"seal\":1,\"seal\":1,"),
        ("\"seal\":1,", "\"seal\":1,\"more\":1,"),
        ("\"seal\":1,", ""),
        ("\"name\":\"sample\",", "\"name\":\"other\",\"name\":\"sample\","),
        ("\"name\":\"sample\",", "\"name\":\"sample\",\"more\":[],"),
        ("\"format\":\"PSPF/2025\",", "\"format\":\"PSPF/2025\",\"policy\":{},"),
        ("\"format\":\"PSPF/2025\",", "\"format\":\"PSPF/2025\",\"format\":\"PSPF/2025\","),
        ("\"command\":[", "\"shell\":true,\"command\":["),
        ("\"mode\":\"0755\",", "\"mode\":\"0755\",\"mode\":\"0755\","),
        ("\"mode\":\"0755\",", ""),
        ("\"entries\":", "\"more\":0,\"entries\":"),
        ("\"pspf\":{", "\"pspf\":null,\"pspf\":{"),
    ] {
        refused(&with_json(from, to), Class::Format, "metadata: ");
    }
    // A struct written as an array, numbers in other forms, and what is no JSON.
    for (from, to) in [
        ("{\"name\":\"sample\",\"version\":\"1.0\"}", "[\"sample\",\"1.0\"]"),
        ("\"seal\":1,", "\"seal\":1.0,"),
        ("\"seal\":1,", "\"seal\":01,"),
        ("\"seal\":1,", "\"seal\":-1,"),
        ("\"seal\":1,", "\"seal\":\"1\","),
        ("\"stored_size\":6", "\"stored_size\":18446744073709551616"),
        ("{\"format\"", "\u{feff}{\"format\""),
    ] {
        assert_eq!(verify(&with_json(from, to)).expect_err(to).class(), Class::Format);
    }
    refused(&with_json("\"seal\":1,", "\"seal\":2,"), Class::Format, "the seal has version 2");
}

#[test]
fn metadata_that_is_not_one_gzip_member_is_refused() {
    let parts = Parts::of(&sample());
    let json = raw::gunzip(&parts.metadata);
    let member = raw::gzip(&json);
    let half = json.len() / 2;
    let mut crc = member.clone();
    let at = crc.len() - 8;
    crc[at] ^= 1;
    let bomb = |len: u64| {
        let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
        std::io::copy(&mut std::io::Read::take(std::io::repeat(b' '), len), &mut gzip).unwrap();
        gzip.finish().unwrap()
    };
    for (metadata, text) in [
        (json.clone(), "gzip"),
        (Vec::new(), "gzip"),
        (member[..member.len() - 1].to_vec(), "gzip"),
        ([&member[..], &[0]].concat(), "gzip"),
        ([raw::gzip(&json[..half]), raw::gzip(&json[half..])].concat(), "gzip"),
        ([raw::gzip(&json), raw::gzip(b"")].concat(), "gzip"),
        (crc, "gzip"),
        (bomb((1 << 20) + 1), "at most 1048576"),
        (bomb(1 << 28), "at most 1048576"),
        (bomb(1 << 20), "metadata: "),
    ] {
        let bytes = Parts { metadata, ..Parts::of(&sample()) }.seal(&key(1));
        refused(&bytes, Class::Format, text);
    }
}
