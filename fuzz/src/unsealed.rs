//! Packages of other tools, without a seal: what is taken from one lies inside the file and was signed, and the
//! metadata of a sealed package are never taken for those of another.

use pspf_format::{Error, Sha256, Trailer, UnsealedIndex, UnverifiedPackage};
use serde_json::Value;

use crate::common::{key, raw};
use crate::input::Input;

const JSON: &str = r#"{"format":"PSPF/2025","package":{"name":"a","version":"1"},"build":{"tool":"flavor-go"},"slots":[{"slot":0,"id":"s","target":"t","size":19,"checksum":"sha256:CHECKSUM","operations":"raw","purpose":"","lifecycle":"init","permissions":"0755"}],"execution":{"command":"{workenv}/t 'a b'","env":{"A":"{slot:0}"}},"setup_commands":[{"type":"chmod","path":"{workenv}/*","mode":"700"}],"runtime":{"env":{"unset":["A*"],"map":{"B":"C"}}},"workenv":{"directories":[{"path":"{workenv}/tmp","mode":"0700"}]}}"#;

/// The first byte decides on the metadata; then come changes to table and index.
pub fn target(data: &[u8]) {
    let mut input = Input(data);
    let mode = input.byte();
    let slot = b"the bytes of a slot";
    let mut json = JSON.replace("CHECKSUM", &Sha256::of(slot).to_string()).into_bytes();
    if mode & 1 == 0 {
        input.edit(&mut json, false);
    } else {
        let len = input.short() % 2048;
        json = input.bytes(len).to_vec();
    }
    let metadata = raw::gzip(&json);
    let is_signed_as_written = json == JSON.replace("CHECKSUM", &Sha256::of(slot).to_string()).into_bytes();
    let mut table = vec![0; 64];
    // As the builder in Go writes it.
    raw::put(&mut table, 8, &raw::sha256(b"t")[..8]);
    raw::put(&mut table, 24, &(slot.len() as u64).to_le_bytes());
    raw::put(&mut table, 32, &(slot.len() as u64).to_le_bytes());
    raw::put(&mut table, 48, &raw::sha256(slot)[..8]);
    raw::put(&mut table, 58, &[128]);
    raw::put(&mut table, 62, &0o755_u16.to_le_bytes());
    let written = table.clone();
    input.edit(&mut table, true);
    let held = |table: &[u8]| [&table[..16], &table[24..]].concat();
    let is_other_table = held(&table) != held(&written);
    let mut file = [&slot[..], &metadata, &table].concat();
    let mut index = vec![0; raw::INDEX];
    let number = |index: &mut Vec<u8>, at: usize, value: usize| raw::put(index, at, &(value as u64).to_le_bytes());
    raw::put(&mut index, 0, &0x2025_0001_u32.to_le_bytes());
    number(&mut index, 8, file.len() + 8200);
    number(&mut index, 24, slot.len());
    number(&mut index, 32, metadata.len());
    number(&mut index, 40, slot.len() + metadata.len());
    number(&mut index, 48, 64);
    raw::put(&mut index, 56, &1_u32.to_le_bytes());
    raw::put(&mut index, 1376, raw::hex(&raw::sha256(key(1).public_key().as_bytes())).as_bytes());
    raw::put(&mut index, 64, key(1).public_key().as_bytes());
    raw::put(&mut index, 96, &raw::sha256(&metadata));
    raw::put(&mut index, 128, &key(1).sign(&json).to_bytes());
    input.edit(&mut index, true);
    file.extend([0xf0, 0x9f, 0x93, 0xa6]);
    file.extend(&index);
    file.extend([0xf0, 0x9f, 0xaa, 0x84]);
    let file = raw::with_index(&file, index.try_into().unwrap());
    let trailer: Trailer = *file.last_chunk().unwrap();
    let len = file.len() as u64;
    let sealed = UnverifiedPackage::parse(&trailer, len);
    assert!(sealed.is_err(), "a seal out of nothing");
    let Ok(index) = UnsealedIndex::parse(&trailer, len) else { return };
    let part = |offset: u64, len: u64| &file[usize::try_from(offset).unwrap()..][..usize::try_from(len).unwrap()];
    let stored = part(index.metadata_span().offset, index.metadata_span().len);
    let table = index.slot_table_span();
    // The table is as long as the count says, and may claim to lie where the file has ended.
    let Some(table) = table.end().filter(|&end| end <= len).map(|_| part(table.offset, table.len)) else { return };
    let opened = index.open(stored, table, len);
    let object = serde_json::from_slice::<Value>(&json).ok().filter(Value::is_object);
    if stored == metadata && object.is_some_and(|value| value.get("pspf").is_some()) && !json.contains(&b'\\') {
        assert_eq!(index.why(stored), Error::SealRemoved);
        assert!(opened.is_err());
    }
    if let Ok(package) = opened {
        // Everything of a descriptor but the place follows from what is signed.
        assert!(!(is_signed_as_written && is_other_table), "a slot table that nobody signed");
        assert_eq!(package.signer, key(1).public_key());
        for slot in &package.slots {
            assert!(slot.span.end().is_some_and(|end| end <= len));
        }
    }
}
