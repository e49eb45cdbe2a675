//! Packages whose seal was removed, and those that never had one (SPEC §8.4).

use super::Set;
use super::sample::{altered, changed, changed_in, number, sound};
use super::seal::signer;
use crate::forge::key;
use crate::raw::{self, SEAL, put};
use crate::unsealed::{self, UnsealedSlot};

/// The slot of these packages.
fn slot() -> Vec<UnsealedSlot> {
    vec![UnsealedSlot::program("hello", b"hello\n")]
}

/// The metadata, as the builder in Go of the reference release writes them.
fn older() -> String {
    unsealed::metadata("{workenv}/hello", &slot(), serde_json::json!({})).to_string()
}

/// A package with this JSON, without a seal, the signature by this key.
fn unsealed(json: &str, seed: u8) -> Vec<u8> {
    let bytes = unsealed::package(b"launcher", &serde_json::from_str(&older()).expect("JSON"), &slot(), &key());
    let mut index = raw::index(&bytes);
    let stored = raw::gzip(json.as_bytes());
    let (at, old) = (number(&index, 24), number(&index, 32));
    let mut bytes = bytes;
    if json != older() {
        // Behind the slot, where there is room for it.
        bytes[at..at + old].fill(0);
        let end = bytes.len() - 8200;
        bytes.splice(end..end, stored.iter().copied());
        put(&mut index, 24, &(end as u64).to_le_bytes());
        put(&mut index, 32, &(stored.len() as u64).to_le_bytes());
        put(&mut index, 96, &raw::sha256(&stored));
    }
    put(&mut index, 8, &(bytes.len() as u64).to_le_bytes());
    put(&mut index, 128, &signer(seed).sign(json.as_bytes()).to_bytes());
    raw::with_index(&bytes, index)
}

pub(super) fn add(set: &mut Set) {
    set.section("8.4");
    let json = older();
    set.format("no-seal", "it never had a seal, and the verifier was not told to accept that", unsealed(&json, 1));
    set.integrity("seal-removed", "the seal was taken away", changed(|index| index[SEAL..].fill(0)));
    let mut lenient = |result, name: &str, what, bytes| set.add(result, name, what, bytes).allow_unsealed = true;
    lenient("OK", "unsealed", "it never had a seal; its base signature and its slot are right", unsealed(&json, 1));
    let unknown = json.replacen("{\"build\":", "{\"unknown\":{\"pspf\":1},\"build\":", 1);
    lenient("OK", "unsealed-unknown-key", "without a seal, with a key that nobody knows", unsealed(&unknown, 1));
    let removed = changed(|index| {
        index[SEAL..].fill(0);
        put(index, 128, &key().sign(&raw::gunzip(&raw::Parts::of(&sound()).metadata)).to_bytes());
    });
    lenient("INTEGRITY", "unsealed-seal-removed", "the seal was taken away, the base signature is right", removed);
    let bytes = changed_in(&unsealed(&json, 1), |index| index[128] ^= 1);
    lenient("INTEGRITY", "unsealed-signature", "without a seal, and the base signature is wrong", bytes);
    let bytes = unsealed(&json, 2);
    lenient("INTEGRITY", "unsealed-other-signer", "without a seal, signed by another key than it names", bytes);
    let bytes = altered(&unsealed(&json, 1), |bytes| {
        let slot = bytes.windows(6).position(|window| window == b"hello\n").expect("the slot");
        bytes[slot] ^= 1;
    });
    lenient("INTEGRITY", "unsealed-slot", "without a seal, and a slot was changed", bytes);
    let short = json.replacen("\"checksum\":\"sha256:", "\"checksum\":\"adler32:", 1);
    lenient("FORMAT", "unsealed-short-checksum", "without a seal, and a slot has no full SHA-256", unsealed(&short, 1));
    let bytes = changed_in(&unsealed(&json, 1), |index| index[96] ^= 1);
    lenient("INTEGRITY", "unsealed-metadata-checksum", "without a seal, `metadata_checksum` is wrong", bytes);
    let null = json.replacen("{\"build\":", "{\"pspf\":null,\"build\":", 1);
    lenient("INTEGRITY", "unsealed-null", "without a seal, with `pspf` as null", unsealed(&null, 1));
    let escaped = null.replacen("pspf", "\\u0070spf", 1).replacen("null", "1", 1);
    let bytes = unsealed(&escaped, 1);
    lenient("INTEGRITY", "unsealed-escaped", "without a seal, with `pspf` written with an escape", bytes);
    let bytes = changed_in(&unsealed(&json, 1), |index| (index[48], index[56]) = (0, 0));
    lenient("FORMAT", "unsealed-slot-count", "without a seal, with fewer slots in the table than in the JSON", bytes);
    let bytes = changed_in(&unsealed(&json, 1), |index| index[8] ^= 8);
    lenient("FORMAT", "unsealed-package-size", "without a seal, and `package_size` is another one", bytes);
    let bytes = changed_in(&unsealed(&json, 1), |index| put(index, 40, &u64::MAX.to_le_bytes()));
    lenient("FORMAT", "unsealed-table-outside", "without a seal, and the slot table is outside the file", bytes);
    let bytes = altered(&unsealed(&json, 1), |bytes| {
        let table = number(&raw::index(bytes), 40);
        put(bytes, table + 16, &u64::MAX.to_le_bytes());
    });
    lenient("FORMAT", "unsealed-slot-outside", "without a seal, and a slot is outside the file", bytes);
    unsigned_fields(set, &json);
    signed_words(set, &json);
}

/// What follows from the signed metadata, and nobody signs.
fn unsigned_fields(set: &mut Set, json: &str) {
    let mut lenient = |name: &str, what, bytes| set.add("INTEGRITY", name, what, bytes).allow_unsealed = true;
    for (name, at, what) in [
        ("flags", 60, "without a seal, and `flags` is not zero"),
        ("page-size", 644, "without a seal, and `page_size` is one that this tool does not write"),
        ("timestamp", 704, "without a seal, and `build_timestamp` is not zero"),
        ("capabilities", 832, "without a seal, and `capabilities` are others than this tool writes"),
        ("future-crypto", 900, "without a seal, and `future_crypto` is not zero"),
        ("fingerprint", 1380, "without a seal, and `attestation_key_fp` is that of another key"),
        ("sbom-digest", 1440, "without a seal and an attestation, and `attestation_sbom_digest` is not zero"),
    ] {
        let bytes = changed_in(&unsealed(json, 1), |index| index[at] ^= 1);
        lenient(&format!("unsealed-{name}"), what, bytes);
    }
    for (name, at, what) in [
        ("row-name", 8, "without a seal, and `name_hash` is another one"),
        ("row-operations", 40, "without a seal, and the slot table has other operations than the metadata"),
        ("row-checksum", 48, "without a seal, and the short `checksum` is another one"),
        ("row-lifecycle", 57, "without a seal, and the slot table has another lifecycle than the metadata"),
        ("row-permissions", 63, "without a seal, and the slot table has other permissions than the metadata"),
    ] {
        let bytes = altered(&unsealed(json, 1), |bytes| {
            let table = number(&raw::index(bytes), 40);
            bytes[table + at] ^= 0x10;
        });
        lenient(&format!("unsealed-{name}"), what, bytes);
    }
    let bytes = altered(&unsealed(json, 1), |bytes| {
        let slot = bytes.windows(6).position(|window| window == b"hello\n").expect("the slot");
        bytes.splice(slot + 6..slot + 6, *b"12345678");
        let (size, at) = ((bytes.len() as u64).to_le_bytes(), bytes.len() - 8196);
        put(bytes, at + 8, &size);
    });
    let index = raw::index(&bytes);
    lenient(
        "unsealed-padding",
        "without a seal, and what is between the parts is not zero",
        raw::with_index(&bytes, index),
    );
}

/// Signed metadata that no builder writes so, or that nobody can follow.
fn signed_words(set: &mut Set, json: &str) {
    let mut refused = |class, name: &str, what, from: &str, to: &str| {
        assert!(json.contains(from), "{from} in {json}");
        set.add(class, name, what, unsealed(&json.replacen(from, to, 1), 1)).allow_unsealed = true;
    };
    refused("FORMAT", "unsealed-tool", "without a seal, by a tool that nobody knows", "flavor-go", "flavor-xx");
    refused(
        "INTEGRITY",
        "unsealed-other-tool",
        "without a seal, by a tool that writes it otherwise",
        "flavor-go",
        "flavor-rs",
    );
    let target = "\"target\":\"hello\"";
    refused(
        "INTEGRITY",
        "unsealed-target",
        "without a seal, and `name_hash` is that of another target",
        target,
        "\"target\":\"hullo\"",
    );
    refused(
        "INTEGRITY",
        "unsealed-size",
        "without a seal, and a slot has another length than the metadata say",
        "\"size\":6",
        "\"size\":7",
    );
    refused(
        "INTEGRITY",
        "unsealed-position",
        "without a seal, and a slot is in another place",
        "\"slot\":0",
        "\"slot\":1",
    );
    let launcher = format!("{{\"launcher\":{{\"size\":8,\"checksum\":\"sha256:{}\"}},\"build\":", "0".repeat(64));
    refused(
        "INTEGRITY",
        "unsealed-launcher",
        "without a seal, and the launcher is another one",
        "{\"build\":",
        &launcher,
    );
}
