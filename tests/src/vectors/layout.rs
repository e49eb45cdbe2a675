//! Layout, trailer and index (SPEC §2, §3).

use super::Set;
use super::sample::{LAUNCHER, altered, changed, number, package, retabled, signed, sound, two};
use crate::forge::key;
use crate::raw::{self, SEAL, put};

pub(super) fn add(set: &mut Set) {
    padding(set);
    places(set);
    length(set);
    trailer(set);
    fields(set);
    constants(set);
}

fn padding(set: &mut Set) {
    set.section("2");
    let bytes = package(&two());
    let index = raw::index(&bytes);
    let (metadata, table) = (number(&index, 24), number(&index, 40));
    let first = number(&bytes[table..], 16);
    for (name, what, at) in [
        ("padding-after-launcher", "the padding after the launcher is not zero", LAUNCHER.len()),
        ("padding-after-metadata", "the padding after the metadata is not zero", table - 1),
        ("padding-between-slots", "the padding between two slots is not zero", first + 23),
        ("padding-before-trailer", "the padding before the trailer is not zero", bytes.len() - 8201),
    ] {
        assert!(bytes[at] == 0 && metadata > LAUNCHER.len(), "there is padding: {name}");
        set.integrity(name, what, altered(&bytes, |bytes| bytes[at] = 1));
    }
}

/// The package with eight bytes more at `at`; everything behind says its new place.
fn with_gap(at: usize) -> Vec<u8> {
    let bytes = package(&two());
    let mut index = raw::index(&bytes);
    let moved = |value: usize| (value + if value >= at { 8 } else { 0 }) as u64;
    let table = number(&index, 40);
    let offsets = [0, 64].map(|row| moved(number(&bytes[table + row..], 16)));
    for field in [24, 40] {
        let value = moved(number(&index, field));
        put(&mut index, field, &value.to_le_bytes());
    }
    put(&mut index, 8, &(bytes.len() as u64 + 8).to_le_bytes());
    let gapped = [&bytes[..at], &[0; 8], &bytes[at..]].concat();
    let gapped = raw::with_index(&gapped, index);
    retabled(&gapped, |table| {
        put(table, 16, &offsets[0].to_le_bytes());
        put(table, 80, &offsets[1].to_le_bytes());
    })
}

fn places(set: &mut Set) {
    let bytes = package(&two());
    let index = raw::index(&bytes);
    let (metadata, len, table) = (number(&index, 24), number(&index, 32), number(&index, 40));
    let (first, second) = (number(&bytes[table..], 16), number(&bytes[table + 64..], 16));
    let trailer = bytes.len() - 8200;
    set.format("gap-before-metadata", "eight bytes too many between launcher and metadata", with_gap(metadata));
    set.format("gap-before-table", "eight bytes too many between metadata and slot table", with_gap(table));
    set.format("gap-before-slot", "eight bytes too many between slot table and slot", with_gap(first));
    set.format("gap-between-slots", "eight bytes too many between two slots", with_gap(second));
    set.format("gap-before-trailer", "eight bytes too many before the trailer", with_gap(trailer));
    let unaligned = altered(&bytes, |bytes| bytes[LAUNCHER.len()..table].rotate_left(metadata - LAUNCHER.len()));
    let unaligned = raw::resigned(&unaligned, &key(), |index| put(index, 24, &(LAUNCHER.len() as u64).to_le_bytes()));
    set.format("metadata-unaligned", "the metadata start right after the launcher, without padding", unaligned);
    // The slot table in front of the metadata.
    let turned = altered(&bytes, |bytes| bytes[metadata..first].rotate_left(table - metadata));
    let turned = raw::resigned(&turned, &key(), |index| {
        put(index, 40, &(metadata as u64).to_le_bytes());
        put(index, 24, &((metadata + 128) as u64).to_le_bytes());
    });
    assert!(metadata + 128 + len <= first, "the metadata end before the slot");
    set.format("table-before-metadata", "slot table and metadata changed places", turned);
    let overlapping = raw::resigned(&bytes, &key(), |index| {
        put(index, 40, &(metadata as u64).to_le_bytes());
        put(index, SEAL + 80, &raw::sha256(&bytes[metadata..metadata + 128]));
    });
    set.format("table-in-metadata", "the slot table is inside the metadata", overlapping);
    set.section("4.1");
    let at = |row: usize, value: usize| retabled(&bytes, |table| put(table, row + 16, &(value as u64).to_le_bytes()));
    set.format("slots-overlap", "two slots with the same content are in one place", at(64, first));
    set.format("slot-in-launcher", "a slot starts in the launcher", at(0, 0));
    set.format("slot-in-trailer", "a slot starts in the trailer", at(64, trailer));
    set.format("slot-beyond-file", "a slot starts at the end of all numbers", at(64, usize::MAX));
    let swapped = retabled(&bytes, |table| {
        put(table, 16, &(second as u64).to_le_bytes());
        put(table, 80, &(first as u64).to_le_bytes());
    });
    set.format("slots-swapped", "two slots with the same content changed places", swapped);
}

fn length(set: &mut Set) {
    let bytes = sound();
    let len = bytes.len();
    set.section("3.3");
    set.format("empty-file", "nothing", Vec::new());
    set.format("one-byte-less-than-a-trailer", "8,199 bytes", bytes[len - 8199..].to_vec());
    set.format("launcher-alone", "the launcher and nothing else, as strip leaves it", LAUNCHER.to_vec());
    set.format("trailer-alone", "the trailer and nothing else", bytes[len - 8200..].to_vec());
    set.format("cut-at-the-front", "the first eight bytes are missing", bytes[8..].to_vec());
    set.format("cut-by-one-byte", "the last byte is missing", bytes[1..].to_vec());
    let shorter = altered(&bytes, |bytes| bytes.truncate(len - 8200));
    set.format("without-trailer", "everything but the trailer", shorter);
    set.section("2");
    set.format("one-byte-behind", "a zero byte behind the trailer", [&bytes[..], b"\0"].concat());
    let twice = [&bytes[..], &bytes[len - 8200..]].concat();
    set.format("two-trailers", "the same trailer twice", twice);
    set.format("two-packages", "the same package twice", [&bytes[..], &bytes].concat());
}

fn trailer(set: &mut Set) {
    let bytes = sound();
    let start = bytes.len() - 8200;
    let end = bytes.len() - 4;
    set.section("3.1");
    set.integrity("start-magic", "the magic before the index is wrong", altered(&bytes, |bytes| bytes[start] ^= 1));
    set.integrity("end-magic", "the magic after the index is wrong", altered(&bytes, |bytes| bytes[end] ^= 1));
    let neither = altered(&bytes, |bytes| {
        bytes[start] ^= 1;
        bytes[end] ^= 1;
    });
    set.format("both-magics", "both magics are wrong", neither);
    set.section("3.2");
    set.integrity("checksum", "the Adler-32 is wrong", altered(&bytes, |bytes| bytes[start + 8] ^= 1));
    let flipped = altered(&bytes, |bytes| bytes[start + 4 + 704] ^= 1);
    set.integrity("index-bit", "a bit of the index was flipped", flipped);
    let flipped = changed(|index| index[704] ^= 1);
    set.integrity("index-bit-right-checksum", "a bit of the index was flipped, the Adler-32 is right", flipped);
}

fn fields(set: &mut Set) {
    let len = sound().len() as u64;
    let index = raw::index(&sound());
    let launcher = LAUNCHER.len() as u64;
    for (name, what, at, value) in [
        ("package-size-more", "`package_size` is larger than the file", 8, len + 8),
        ("package-size-less", "`package_size` is smaller than the file", 8, len - 8),
        ("launcher-size-zero", "`launcher_size` is zero", 16, 0),
        (
            "launcher-size-less",
            "`launcher_size` is one byte less, with the metadata in the same place",
            16,
            launcher - 1,
        ),
        ("launcher-size-more", "`launcher_size` reaches into the metadata", 16, launcher + 8),
        ("launcher-size-wraps", "`launcher_size` is the largest number", 16, u64::MAX),
        ("metadata-offset-wraps", "`metadata_offset` and `metadata_size` exceed 64 bits", 24, u64::MAX - 7),
        ("metadata-offset-in-launcher", "`metadata_offset` is in the launcher", 24, 0),
        ("metadata-offset-in-trailer", "`metadata_offset` is in the trailer", 24, len - 8200),
        ("metadata-size-above-limit", "`metadata_size` is 1,114,113", 32, 1_114_113),
        ("metadata-size-into-trailer", "`metadata_size` reaches into the trailer", 32, len - 8200),
        ("slot-table-offset-wraps", "`slot_table_offset` is the largest number", 40, u64::MAX),
        ("slot-table-size-more", "`slot_table_size` is that of two slots", 48, 128),
        ("slot-table-size-zero", "`slot_table_size` is zero", 48, 0),
    ] {
        set.format(name, what, signed(|index| put(index, at, &value.to_le_bytes())));
    }
    let version = signed(|index| put(index, 0, &0x2025_0002_u32.to_le_bytes()));
    set.format("format-version", "`format_version` is 0x20250002", version);
    for (name, what, count) in
        [("slot-count-zero", "`slot_count` is zero", 0_u32), ("slot-count-more", "`slot_count` is 257", 257)]
    {
        let bytes = signed(|index| {
            put(index, 56, &count.to_le_bytes());
            put(index, 48, &(u64::from(count) * 64).to_le_bytes());
        });
        set.format(name, what, bytes);
    }
    let other = altered(&index[96..128], |digest| digest[0] ^= 1);
    set.section("8.1");
    let bytes = signed(|index| put(index, 96, &other));
    set.integrity("metadata-checksum", "`metadata_checksum` is not the digest of the metadata", bytes);
    set.section("3.3");
    let bytes = changed(|index| index[1376] = b'x');
    set.integrity("fingerprint-unsigned", "`attestation_key_fp` was changed after signing", bytes);
    let mut index = raw::index(&sound());
    put(&mut index, 1376, raw::hex(&raw::sha256(b"another key")).as_bytes());
    raw::put_entry(&mut index, 0, &key());
    let bytes = raw::with_index(&sound(), index);
    set.format("fingerprint", "`attestation_key_fp` is that of another key", bytes);
}

/// Every field that a sealed package leaves unused, signed with another value.
fn constants(set: &mut Set) {
    set.section("3.2");
    for (name, what, at) in [
        ("flags", "`flags` is 1", 60),
        ("integrity-signature-tail", "`integrity_signature` is not zero after byte 64", 192),
        ("access-mode", "`access_mode` is 1", 640),
        ("cache-strategy", "`cache_strategy` is 1", 641),
        ("encryption-type", "`encryption_type` is 1", 642),
        ("reserved-hint", "`reserved_hint` is 1", 643),
        ("page-size", "`page_size` is 4097", 644),
        ("max-memory", "`max_memory` is 1", 648),
        ("min-memory", "`min_memory` is 1", 656),
        ("cpu-features", "`cpu_features` is 1", 664),
        ("gpu-requirements", "`gpu_requirements` is 1", 672),
        ("numa-hints", "`numa_hints` is 1", 680),
        ("stream-chunk-size", "`stream_chunk_size` is 1", 688),
        ("index-padding", "`padding` is not zero", 703),
        ("build-machine", "`build_machine` is not zero", 743),
        ("source-hash", "`source_hash` is not zero", 744),
        ("dependency-hash", "`dependency_hash` is not zero", 776),
        ("license-id", "`license_id` is not zero", 808),
        ("provenance-uri", "`provenance_uri` is not zero", 824),
        ("capabilities", "`capabilities` is 0x80", 832),
        ("requirements", "`requirements` is 1", 840),
        ("extensions", "`extensions` is 1", 848),
        ("compatibility", "`compatibility` is 0x20250000", 856),
        ("protocol-version", "`protocol_version` is 0", 860),
        ("future-crypto", "`future_crypto` is not zero", 1375),
        ("attestation-sbom", "`attestation_sbom_digest` is not zero", 1440),
        ("attestation-policy", "`attestation_policy_hash` is not zero", 1567),
    ] {
        set.format(name, what, signed(|index| index[at] ^= 1));
    }
}
