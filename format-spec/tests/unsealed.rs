//! Packages without a seal (SPEC §8.4): read when asked to, held to what their signature does cover.

mod common;

use common::raw::{self, Parts, SEAL, gunzip, put};
use common::{key, part, sample};
use pspf_format::{Class, Error, UnsealedIndex, UnsealedPackage};

/// The JSON that another tool could have written, around the slots of the sample.
fn json() -> String {
    let text: serde_json::Value = serde_json::from_slice(&gunzip(&Parts::of(&sample()).metadata)).unwrap();
    let slots = &text["slots"];
    let build = r#"{"tool":"flavor-python"}"#;
    format!(
        r#"{{"package": {{"name":"other","version":"2"}}, "slots": {slots}, "build": {build}, "unknown": {{"a": [1, 2]}}}}"#
    )
}

/// What the builder in Python writes into an index, where that differs from a sealed package.
fn as_python(index: &mut [u8; 8192]) {
    put(index, 640, &[2, 1]);
    put(index, 648, &(128_u64 << 20).to_le_bytes());
    put(index, 656, &(8_u64 << 20).to_le_bytes());
    put(index, 688, &(1_u32 << 16).to_le_bytes());
}

/// A package without a seal around this JSON, with `edit` made to its index before the checksum.
fn package(json: &str, edit: impl FnOnce(&mut [u8; 8192])) -> Vec<u8> {
    let bytes = Parts::of(&sample()).with_json(json, &key(5));
    let mut index = raw::index(&bytes);
    index[SEAL..].fill(0);
    put(&mut index, 128, &key(5).sign(json.as_bytes()).to_bytes());
    as_python(&mut index);
    edit(&mut index);
    raw::with_index(&bytes, index)
}

fn open(bytes: &[u8]) -> Result<UnsealedPackage, Error> {
    let len = bytes.len() as u64;
    assert_eq!(common::parse(bytes).expect_err("no seal"), Error::NoSeal);
    let index = UnsealedIndex::parse(&*common::trailer(bytes)?, len)?;
    index.open(part(bytes, index.metadata_span()), part(bytes, index.slot_table_span()), len)
}

#[track_caller]
fn refused(bytes: &[u8], class: Class, text: &str) {
    let error = open(bytes).expect_err(text);
    assert_eq!(error.class(), class, "{error}");
    assert!(error.to_string().contains(text), "`{error}` does not say `{text}`");
}

#[test]
fn a_sound_one_is_read() {
    let bytes = package(&json(), |_| {});
    let package = open(&bytes).unwrap();
    let identity = &package.metadata.package;
    assert_eq!((identity.name.as_str(), identity.version.as_str()), ("other", "2"));
    assert_eq!(package.signer, key(5).public_key());
    assert_eq!(package.slots.iter().map(|slot| slot.id.as_str()).collect::<Vec<_>>(), ["bin", "app"]);
    for slot in &package.slots {
        assert_eq!(raw::sha256(part(&bytes, slot.span)), slot.sha256.0);
    }
}

#[test]
fn what_its_signature_covers_is_held_to_it() {
    let sound = json();
    refused(&package(&sound, |index| index[128] ^= 1), Class::Integrity, "signature 0");
    refused(&package(&sound, |index| index[128..192].fill(0)), Class::Integrity, "signature 0");
    refused(&package(&sound, |index| index[96] ^= 1), Class::Integrity, "metadata: SHA-256");
    refused(&package(&sound, |index| put(index, 64, &[0; 32])), Class::Integrity, "weak");
    refused(&package(&sound, |index| put(index, 64, key(6).public_key().as_bytes())), Class::Integrity, "signature 0");
    for key in ["pspf", "\\u0070spf"] {
        let named = sound.replace("\"unknown\"", &format!("\"{key}\""));
        refused(&package(&named, |_| {}), Class::Integrity, "the seal was removed");
    }
    for (from, to) in [("\"sha256:", "\"sha256:sha256:"), ("\"sha256:", "\""), ("\"checksum\"", "\"checksums\"")] {
        refused(&package(&sound.replacen(from, to, 1), |_| {}), Class::Format, "metadata: ");
    }
    let first = sound.find("\"slots\": [{").unwrap() + 10;
    let end = first + sound[first..].find("},").unwrap() + 2;
    let more = [&sound[..end], &sound[first..]].concat();
    refused(&package(&more, |_| {}), Class::Format, "slot table");
}

#[test]
fn positions_outside_the_file_are_refused() {
    let len = package(&json(), |_| {}).len() as u64;
    for (at, value) in [(24, len), (24, u64::MAX), (32, 1 << 21), (40, len - 127), (40, u64::MAX), (8, len + 1)] {
        let bytes = package(&json(), |index| put(index, at, &u64::to_le_bytes(value)));
        assert!(UnsealedIndex::parse(&common::trailer(&bytes).unwrap(), len).is_err(), "{at} {value}");
    }
    let many = package(&json(), |index| put(index, 56, &u32::MAX.to_le_bytes()));
    assert!(UnsealedIndex::parse(&common::trailer(&many).unwrap(), len).is_err());
    // A row of the table, which nothing signs.
    let table = |bytes: &[u8]| u64::from_le_bytes(raw::index(bytes)[40..48].try_into().unwrap()) as usize;
    for (at, value) in [(16, len), (16, u64::MAX), (24, len), (24, u64::MAX)] {
        let mut bytes = package(&json(), |_| {});
        let row = table(&bytes);
        put(&mut bytes, row + at, &u64::to_le_bytes(value));
        refused(&bytes, Class::Format, "slot table");
    }
}

#[test]
fn a_package_that_lost_its_seal_is_told_by_one_key() {
    let why = |json: &str| {
        let bytes = package(json, |_| {});
        let index = UnsealedIndex::parse(&common::trailer(&bytes).unwrap(), bytes.len() as u64).unwrap();
        index.why(part(&bytes, index.metadata_span()))
    };
    let sealed = String::from_utf8(gunzip(&Parts::of(&sample()).metadata)).unwrap();
    for text in [
        sealed.as_str(),
        r#"{"pspf":{}}"#,
        "{ \"a\" : [{\"b\": \"}\\\"\"}, 1.5e-3, true] ,\"c\":{\"d\":{}},\n\t\"pspf\" : null }",
        // Nothing after the key is looked at.
        r#"{"pspf":1,"#,
    ] {
        assert_eq!(why(text), Error::SealRemoved, "{text}");
    }
    for text in [
        json().as_str(),
        "",
        "{}",
        "[]",
        "null",
        r#""pspf""#,
        r#"["pspf",1]"#,
        r#"{"x":"pspf"}"#,
        r#"{"x":{"pspf":1}}"#,
        r#"{"x":[{"pspf":1}],"pspfx":1}"#,
        r#"{"\"pspf":1}"#,
        r#"{"x" "pspf":1}"#,
        r#"{"x":"\"#,
    ] {
        assert_eq!(why(text), Error::NoSeal, "{text}");
    }
    let bytes = package(&json(), |_| {});
    let index = UnsealedIndex::parse(&common::trailer(&bytes).unwrap(), bytes.len() as u64).unwrap();
    assert_eq!(index.why(b"no gzip"), Error::NoSeal);
}

#[test]
fn the_largest_size_is_allowed_and_one_more_is_not() {
    let limit = |at: usize, value: &[u8]| {
        let bytes = package(&json(), |index| put(index, at, value));
        let parsed = UnsealedIndex::parse(&common::trailer(&bytes).unwrap(), bytes.len() as u64);
        matches!(parsed, Err(Error::Limit { .. }))
    };
    let longest = (1_u64 << 20) + (1 << 16);
    assert_eq!([0, 1, 2].map(|more| limit(32, &(longest + more).to_le_bytes())), [false, true, true]);
    assert_eq!([256_u32, 257].map(|count| limit(56, &count.to_le_bytes())), [false, true]);
    // A part may end where the file does, and no later.
    let inside = |past: u64| {
        let bytes = package(&json(), |index| {
            let (file, size) = (number(index, 8), number(index, 32));
            put(index, 24, &(file - size + past).to_le_bytes());
        });
        UnsealedIndex::parse(&common::trailer(&bytes).unwrap(), bytes.len() as u64).is_ok()
    };
    assert_eq!([inside(0), inside(1)], [true, false]);
}

fn number(index: &[u8; 8192], at: usize) -> u64 {
    u64::from_le_bytes(index[at..at + 8].try_into().unwrap())
}

/// What nobody signs follows from what is signed: every changed byte of index and slot table is refused, but where a part
/// lies, and what length the builder in Python gives to content.
#[test]
fn every_changed_byte_of_index_and_slot_table_is_refused() {
    let sound = package(&json(), |_| {});
    let len = sound.len() as u64;
    let opens = |bytes: &[u8]| {
        let Ok(index) = UnsealedIndex::parse(&common::trailer(bytes).unwrap(), len) else { return false };
        let inside = |span: pspf_format::Span| span.end().is_some_and(|end| end <= len);
        if !inside(index.metadata_span()) || !inside(index.slot_table_span()) {
            return false;
        }
        index.open(part(bytes, index.metadata_span()), part(bytes, index.slot_table_span()), len).is_ok()
    };
    assert!(opens(&sound));
    let mut accepted = Vec::new();
    for at in (0..SEAL).filter(|at| !(4..8).contains(at)) {
        for flip in [1, 0x80] {
            let mut index = raw::index(&sound);
            index[at] ^= flip;
            if opens(&raw::with_index(&sound, index)) {
                accepted.push(at);
            }
        }
    }
    // The length of the launcher, which these metadata do not give; the bits for two options of that builder.
    accepted.retain(|at| !(16..24).contains(at));
    assert_eq!(accepted, [832]);
    let table = usize::try_from(number(&raw::index(&sound), 40)).unwrap();
    for at in 0..128 {
        let mut bytes = sound.clone();
        bytes[table + at] ^= 1;
        let is_free = (32..40).contains(&(at % 64));
        // Place and length may be any inside the file: it is the digest that holds them.
        assert!((16..32).contains(&(at % 64)) || opens(&bytes) == is_free, "byte {at} of the slot table");
    }
}

#[test]
fn targets_lead_into_the_work_environment() {
    use pspf_format::UnsealedSlot;
    for (target, expected) in [
        ("a", "a"),
        ("{workenv}/a/b", "a/b"),
        ("./a/", "a"),
        ("a//./b", "a/b"),
        ("{workenv}", ""),
        ("{workenv}/", ""),
        (".", ""),
        ("", ""),
    ] {
        let found = UnsealedSlot::target_of(target).unwrap();
        assert_eq!(found.as_ref().map_or("", |path| path.as_str()), expected, "{target}");
    }
    for target in ["/a", "../a", "a/../b", "{workenv}/..", "a\nb"] {
        assert!(UnsealedSlot::target_of(target).is_err(), "{target}");
    }
}
