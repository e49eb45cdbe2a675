//! Packages whose seal was removed, and those that never had one (SPEC §8.4).

use super::Set;
use super::sample::{altered, changed, changed_in, number, one, parts, sound, words};
use super::seal::signer;
use crate::forge::key;
use crate::raw::{self, SEAL, put};

/// The JSON without the key that says that the package is sealed.
fn older() -> String {
    let json = String::from_utf8(raw::gunzip(&raw::Parts::of(&sound()).metadata)).expect("JSON is UTF-8");
    json.split(",\"pspf\":").next().expect("the part before").to_owned() + "}"
}

/// A package with this JSON, its seal taken away, the base signature by this key.
fn unsealed(json: &str, seed: u8) -> Vec<u8> {
    let sealed = parts(&words(), &one()).with_json(json, &key());
    changed_in(&sealed, |index| {
        index[SEAL..].fill(0);
        put(index, 128, &signer(seed).sign(json.as_bytes()).to_bytes());
    })
}

pub(super) fn add(set: &mut Set) {
    set.section("8.4");
    let json = older();
    set.format("no-seal", "it never had a seal, and the verifier was not told to accept that", unsealed(&json, 1));
    set.integrity("seal-removed", "the seal was taken away", changed(|index| index[SEAL..].fill(0)));
    let mut lenient = |result, name: &str, what, bytes| set.add(result, name, what, bytes).allow_unsealed = true;
    lenient("OK", "unsealed", "it never had a seal; its base signature and its slot are right", unsealed(&json, 1));
    let unknown = json.replacen("\"package\":", "\"unknown\":{\"pspf\":1},\"package\":", 1);
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
        let slot = bytes.len() - 8200 - 10;
        bytes[slot] ^= 1;
    });
    lenient("INTEGRITY", "unsealed-slot", "without a seal, and a slot was changed", bytes);
    let short = json.replacen("\"checksum\":\"sha256:", "\"checksum\":\"adler32:", 1);
    lenient("FORMAT", "unsealed-short-checksum", "without a seal, and a slot has no full SHA-256", unsealed(&short, 1));
    let bytes = changed_in(&unsealed(&json, 1), |index| index[96] ^= 1);
    lenient("INTEGRITY", "unsealed-metadata-checksum", "without a seal, `metadata_checksum` is wrong", bytes);
    let null = json.replacen("{\"format\":", "{\"pspf\":null,\"format\":", 1);
    lenient("INTEGRITY", "unsealed-null", "without a seal, with `pspf` as null", unsealed(&null, 1));
    let escaped = null.replacen("pspf", "\\u0070spf", 1).replacen("null", "1", 1);
    let bytes = unsealed(&escaped, 1);
    lenient("INTEGRITY", "unsealed-escaped", "without a seal, with `pspf` written with an escape", bytes);
    let bytes = changed_in(&unsealed(&json, 1), |index| index[56] = 0);
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
}
