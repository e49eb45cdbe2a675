//! What is offered of a package without a seal, and the signed words that it comes from.

mod common;

use common::raw::{self, Parts, SEAL, gunzip, hex, put, sha256};
use common::{key, part, sample};
use pspf_format::{Error, UnsealedIndex, UnsealedPackage};
use serde_json::{Value, json};

/// The slots of the sample, as the builder in Python describes them: one raw, one a tree.
fn metadata() -> Value {
    let text: Value = serde_json::from_slice(&gunzip(&Parts::of(&sample()).metadata)).unwrap();
    json!({"package": {"name": "other", "version": "2"}, "slots": text["slots"], "build": {"tool": "flavor-python"}})
}

/// The package with these metadata, its slot table and index changed.
fn package(
    metadata: &Value,
    table: impl FnOnce(&mut [u8]),
    edit: impl FnOnce(&mut [u8; 8192]),
) -> Result<UnsealedPackage, Error> {
    let json = metadata.to_string();
    let mut bytes = Parts::of(&sample()).with_json(&json, &key(5));
    let mut index = raw::index(&bytes);
    index[SEAL..].fill(0);
    put(&mut index, 128, &key(5).sign(json.as_bytes()).to_bytes());
    put(&mut index, 640, &[2, 1]);
    put(&mut index, 648, &(128_u64 << 20).to_le_bytes());
    put(&mut index, 656, &(8_u64 << 20).to_le_bytes());
    put(&mut index, 688, &(1_u32 << 16).to_le_bytes());
    edit(&mut index);
    let at = usize::try_from(u64::from_le_bytes(index[40..48].try_into().unwrap())).unwrap();
    table(&mut bytes[at..at + 128]);
    let bytes = raw::with_index(&bytes, index);
    let len = bytes.len() as u64;
    let index = UnsealedIndex::parse(&common::trailer(&bytes).unwrap(), len)?;
    index.open(part(&bytes, index.metadata_span()), part(&bytes, index.slot_table_span()), len)
}

#[test]
fn slots_are_offered_as_they_are_signed() {
    let mut metadata = metadata();
    let sound = package(&metadata, |_| {}, |_| {}).unwrap();
    let told = |package: &UnsealedPackage| {
        let slots = package.slots.iter();
        slots.map(|slot| (slot.is_tree(), slot.operations_text(), slot.is_init(), slot.is_short)).collect::<Vec<_>>()
    };
    let expected = |init| vec![(false, "raw".to_owned(), init, false), (true, "tar|zstd".to_owned(), false, false)];
    assert_eq!(told(&sound), expected(false));
    assert_eq!((sound.slots[0].permissions, sound.launcher), (0o755, None));
    // An archive goes to the top, whatever its target is; a file has to have a name.
    metadata["slots"][0]["lifecycle"] = "init".into();
    metadata["slots"][0]["permissions"] = "04755".into();
    metadata["slots"][1]["target"] = "../x".into();
    let rows = |table: &mut [u8]| {
        table[57] = 0;
        put(table, 62, &0o4755_u16.to_le_bytes());
    };
    let changed = package(&metadata, rows, |_| {}).unwrap();
    assert_eq!(told(&changed), expected(true));
    assert_eq!((changed.slots[0].permissions, &changed.slots[1].target), (0o755, &None));
    assert!(changed.slots[0].target.is_some());
    for target in ["{workenv}", "../x", "/x"] {
        metadata["slots"][0]["target"] = target.into();
        assert!(matches!(package(&metadata, rows, |_| {}), Err(Error::Name { .. })), "{target}");
    }
}

#[test]
fn a_slot_may_end_where_the_file_ends_and_no_later() {
    let metadata = metadata();
    let ending = |past: u64| {
        let len = Parts::of(&sample()).with_json(&metadata.to_string(), &key(5)).len() as u64;
        let rows = |table: &mut [u8]| {
            let size = u64::from_le_bytes(table[24..32].try_into().unwrap());
            put(table, 16, &(len - size + past).to_le_bytes());
        };
        package(&metadata, rows, |_| {})
    };
    assert!(ending(0).is_ok());
    assert!(matches!(ending(1), Err(Error::Layout { .. })));
}

#[test]
fn operations_that_nobody_reads_are_refused_as_such() {
    let mut metadata = metadata();
    for operations in ["gzip|gzip", "gzip|tar", "tar|tar", "tar|gzip|xz"] {
        metadata["slots"][0]["operations"] = operations.into();
        let error = package(&metadata, |_| {}, |_| {}).unwrap_err();
        assert!(error.to_string().contains("no launcher reads"), "{operations}: {error}");
    }
}

#[test]
fn the_digest_of_an_attestation_begins_as_it_is_signed() {
    let mut metadata = metadata();
    let digest = metadata["slots"][0]["checksum"].as_str().unwrap().trim_start_matches("sha256:").to_owned();
    metadata["slots"][0]["id"] = "_attestation".into();
    metadata["slots"][0]["lifecycle"] = "attestation".into();
    metadata["slots"][0]["checksum"] = digest[..16].into();
    let rows = |table: &mut [u8]| {
        table[57] = 11;
        put(table, 8, &sha256(b"_attestation")[..8]);
    };
    let open = |metadata: &Value, digits: &str| package(metadata, rows, |index| put(index, 1440, digits.as_bytes()));
    let sound = open(&metadata, &digest).unwrap();
    assert!(sound.slots[0].is_short && hex(&sound.slots[0].sha256.0) == digest);
    assert!(open(&metadata, &hex(&sha256(b"another"))).is_err());
    // Digits, as many as there are signed, and of this slot alone.
    for (key, value) in [
        ("checksum", &digest[..15]),
        ("checksum", &digest[..]),
        ("checksum", ""),
        ("id", "attestation"),
        ("lifecycle", "runtime"),
    ] {
        let mut changed = metadata.clone();
        changed["slots"][0][key] = value.into();
        assert!(open(&changed, &digest).is_err(), "{key} {value}");
    }
    let mut without = metadata.clone();
    without["build"]["tool"] = "flavor-rs".into();
    assert!(open(&without, &digest).is_err());
}

#[test]
fn the_launcher_is_what_is_signed_of_it() {
    let mut metadata = metadata();
    let size = raw::index(&sample())[16..24].try_into().map(u64::from_le_bytes).unwrap();
    let digits = "0123456789abcdef".repeat(4);
    for (checksum, size, is_sound) in [
        (format!("sha256:{digits}"), json!(size), true),
        (format!("sha256:sha256:{digits}"), json!(size), true),
        (format!("sha256:sha256:sha256:{digits}"), json!(size), false),
        (digits.clone(), json!(size), false),
        (format!("sha256:{digits}"), json!(size + 1), false),
        (format!("sha256:{digits}"), Value::Null, false),
    ] {
        metadata["launcher"] = json!({"checksum": checksum, "size": size});
        let found = package(&metadata, |_| {}, |_| {});
        assert_eq!(found.is_ok(), is_sound, "{checksum}");
        if let Ok(package) = found {
            let (len, sha256) = package.launcher.unwrap();
            assert_eq!((json!(len), hex(&sha256.0)), (size, digits.clone()));
        }
    }
    metadata["launcher"] = json!({"size": size});
    assert_eq!(package(&metadata, |_| {}, |_| {}).unwrap().launcher, None);
}

#[test]
fn a_policy_has_the_digest_in_the_index() {
    let mut metadata = metadata();
    metadata["policy"] = json!({"refuse_root": false, "platforms": ["linux_amd64"]});
    let digest = hex(&sha256(br#"{"platforms":["linux_amd64"],"refuse_root":false}"#));
    let open = |metadata: &Value, digits: &[u8]| package(metadata, |_| {}, |index| put(index, 1504, digits));
    let policy = open(&metadata, digest.as_bytes()).unwrap().metadata.policy.unwrap();
    assert_eq!(
        (policy.platforms, policy.refuse_root, policy.require_env),
        (vec!["linux_amd64".to_owned()], false, vec![])
    );
    assert!(open(&metadata, &[0; 64]).is_err());
    metadata["policy"]["refuse_root"] = true.into();
    assert!(open(&metadata, digest.as_bytes()).is_err());
    metadata["policy"]["refuse_root"] = "true".into();
    assert!(matches!(open(&metadata, &[0; 64]), Err(Error::Json { .. })));
    metadata.as_object_mut().unwrap().remove("policy");
    assert!(open(&metadata, &[0; 64]).is_ok() && open(&metadata, digest.as_bytes()).is_err());
}
