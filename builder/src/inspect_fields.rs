//! The fields of the trailer, by the names and places that SPEC §3 and §5 give them.

use pspf_format::{
    ENTRIES_OFFSET, INDEX_LEN, MAX_SIGNATURES, Record, SEAL_OFFSET, SealEntry, SealHeader, TRAILER_LEN, signed_message,
};
use pspf_keys::{PublicKey, Signature};
use serde::Serialize;

/// How a field is shown.
#[derive(Clone, Copy, Debug)]
enum Kind {
    Number,
    Bytes,
    Text,
}
use Kind::{Bytes, Number, Text};

/// SPEC §3.2, up to the seal.
const INDEX: [(&str, usize, Kind); 40] = [
    ("format_version", 4, Number),
    ("index_checksum", 4, Number),
    ("package_size", 8, Number),
    ("launcher_size", 8, Number),
    ("metadata_offset", 8, Number),
    ("metadata_size", 8, Number),
    ("slot_table_offset", 8, Number),
    ("slot_table_size", 8, Number),
    ("slot_count", 4, Number),
    ("flags", 4, Number),
    ("public_key", 32, Bytes),
    ("metadata_checksum", 32, Bytes),
    ("integrity_signature", 512, Bytes),
    ("access_mode", 1, Number),
    ("cache_strategy", 1, Number),
    ("encryption_type", 1, Number),
    ("reserved_hint", 1, Number),
    ("page_size", 4, Number),
    ("max_memory", 8, Number),
    ("min_memory", 8, Number),
    ("cpu_features", 8, Number),
    ("gpu_requirements", 8, Number),
    ("numa_hints", 8, Number),
    ("stream_chunk_size", 4, Number),
    ("padding", 12, Bytes),
    ("build_timestamp", 8, Number),
    ("build_machine", 32, Bytes),
    ("source_hash", 32, Bytes),
    ("dependency_hash", 32, Bytes),
    ("license_id", 16, Bytes),
    ("provenance_uri", 8, Bytes),
    ("capabilities", 8, Number),
    ("requirements", 8, Number),
    ("extensions", 8, Number),
    ("compatibility", 4, Number),
    ("protocol_version", 4, Number),
    ("future_crypto", 512, Bytes),
    ("attestation_key_fp", 64, Text),
    ("attestation_sbom_digest", 64, Bytes),
    ("attestation_policy_hash", 64, Bytes),
];

/// SPEC §5.1.
const SEAL: [(&str, usize, Kind); 7] = [
    ("magic", 8, Text),
    ("version", 4, Number),
    ("flags", 4, Number),
    ("launcher_sha256", 32, Bytes),
    ("metadata_sha256", 32, Bytes),
    ("slot_table_sha256", 32, Bytes),
    ("reserved", 368, Bytes),
];

/// SPEC §5.2.
const ENTRY: [(&str, usize, Kind); 2] = [("public_key", 32, Bytes), ("signature", 64, Bytes)];

/// A field in the file.
#[derive(Debug, Serialize)]
pub(crate) struct Field {
    /// From the start of the file.
    pub(crate) offset: u64,
    pub(crate) size: usize,
    pub(crate) name: String,
    pub(crate) value: String,
}

/// A signature in the seal.
#[derive(Debug)]
pub(crate) struct Entry {
    /// The key as it is in the file, sound or not.
    pub(crate) public_key: [u8; 32],
    pub(crate) key: Option<PublicKey>,
    pub(crate) valid: bool,
}

/// Where the seal is shown field by field: its magic must be there.
fn seal(trailer: &[u8]) -> Option<SealHeader> {
    let area = trailer.get(4 + SEAL_OFFSET..4 + ENTRIES_OFFSET)?;
    SealHeader::from_bytes(area).filter(|seal| seal.magic == *b"PSPFSEAL")
}

/// The entries of a seal, whether it is well formed or not.
pub(crate) fn entries(trailer: &[u8]) -> Vec<Entry> {
    let index: Option<&[u8; INDEX_LEN]> = trailer.get(4..4 + INDEX_LEN).and_then(|bytes| bytes.try_into().ok());
    let Some(index) = index.filter(|_| seal(trailer).is_some()) else { return Vec::new() };
    let message = signed_message(index);
    let area = index.get(ENTRIES_OFFSET..).unwrap_or_default();
    let count = area.iter().rposition(|&byte| byte != 0).map_or(0, |last| last / SealEntry::LEN + 1);
    let entries = area.chunks_exact(SealEntry::LEN).take(count.min(MAX_SIGNATURES)).filter_map(SealEntry::from_bytes);
    let verified = entries.map(|entry| {
        let key = PublicKey::from_bytes(&entry.public_key).ok();
        let signature = Signature::from_bytes(&entry.signature);
        let valid = key.is_some_and(|key| key.verify(&message, &signature).is_ok());
        Entry { public_key: entry.public_key, key, valid }
    });
    verified.collect()
}

/// Every field of a trailer that starts at `offset` in its file.
pub(crate) fn fields(trailer: &[u8], offset: u64) -> Vec<Field> {
    let mut walk = Walk { trailer, offset, at: 0, fields: Vec::new() };
    walk.take("start_magic", 4, Bytes);
    walk.all("", &INDEX);
    if seal(trailer).is_some() {
        walk.all("seal.", &SEAL);
        for position in 0..entries(trailer).len() {
            walk.all(&format!("seal.entries[{position}]."), &ENTRY);
        }
        let rest = (4 + INDEX_LEN).saturating_sub(walk.at);
        if rest > 0 {
            walk.take("seal.entries, unused", rest, Bytes);
        }
    } else {
        walk.take("seal", INDEX_LEN - SEAL_OFFSET, Bytes);
    }
    walk.take("end_magic", TRAILER_LEN - walk.at.min(TRAILER_LEN), Bytes);
    walk.fields
}

struct Walk<'a> {
    trailer: &'a [u8],
    offset: u64,
    at: usize,
    fields: Vec<Field>,
}

impl Walk<'_> {
    fn all(&mut self, prefix: &str, fields: &[(&str, usize, Kind)]) {
        for (name, size, kind) in fields {
            self.take(&format!("{prefix}{name}"), *size, *kind);
        }
    }

    fn take(&mut self, name: &str, size: usize, kind: Kind) {
        let bytes = self.trailer.get(self.at..self.at.saturating_add(size)).unwrap_or_default();
        let offset = self.offset.saturating_add(self.at as u64);
        self.fields.push(Field { offset, size, name: name.to_owned(), value: shown(bytes, kind) });
        self.at = self.at.saturating_add(size);
    }
}

/// A value for people: numbers with their hexadecimal form, bytes without the zeros at their end.
fn shown(bytes: &[u8], kind: Kind) -> String {
    match kind {
        Number => match bytes.iter().rev().fold(0, |number: u64, byte| number << 8 | u64::from(*byte)) {
            number @ 0..10 => number.to_string(),
            number => format!("{number} ({number:#x})"),
        },
        Text if bytes.iter().all(u8::is_ascii_graphic) => String::from_utf8_lossy(bytes).into_owned(),
        _ => match bytes.iter().rposition(|&byte| byte != 0) {
            None => "zero".to_owned(),
            Some(last) => {
                let digits = bytes.iter().take(last + 1).map(|byte| format!("{byte:02x}")).collect::<String>();
                let zeros = bytes.len() - last - 1;
                // A few zeros at the end are part of a value, many are the room after it.
                if zeros < 16 { digits + &"00".repeat(zeros) } else { format!("{digits} and {zeros} zeros") }
            }
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::verify_sample::{key, sealed};

    const SPEC: &str = include_str!("../../format-spec/SPEC.md");

    /// Rows of the form `| offset | size | type | name |` from this heading on.
    fn holds_rows(heading: &str, fields: &[(&str, usize, Kind)]) -> usize {
        let mut at = 0;
        let text = &SPEC[SPEC.find(heading).unwrap()..];
        let rows: Vec<Vec<&str>> = text
            .lines()
            .filter(|line| line.starts_with("| "))
            .map(|line| line.split('|').map(|cell| cell.trim().trim_matches('`')).collect())
            .collect();
        for (name, size, _) in fields {
            let (offset, length) = (at.to_string(), size.to_string());
            assert!(
                rows.iter().any(|row| row[1] == offset && row[2] == length && row[4] == *name),
                "{at} {size} {name}"
            );
            at += size;
        }
        at
    }

    #[test]
    fn the_fields_are_those_of_the_specification() {
        assert_eq!(holds_rows("### 3.2 Index", &INDEX), SEAL_OFFSET);
        assert_eq!(holds_rows("### 5.1 Fixed part", &SEAL), SealHeader::LEN);
        assert_eq!(holds_rows("### 5.2 Entries", &ENTRY), SealEntry::LEN);
    }

    #[test]
    fn every_byte_of_a_trailer_is_in_one_field() {
        let sample = sealed(&[&key(1), &key(2)]);
        let start = sample.layout.trailer.offset;
        let mut trailer = sample.bytes[start as usize..].to_vec();
        for seal in [true, false] {
            let mut end = start;
            for field in fields(&trailer, start) {
                assert_eq!(field.offset, end, "{}", field.name);
                end += field.size as u64;
            }
            assert_eq!(end, sample.bytes.len() as u64);
            assert_eq!(entries(&trailer).iter().filter(|entry| entry.valid).count(), if seal { 2 } else { 0 });
            trailer[4 + SEAL_OFFSET..4 + INDEX_LEN].fill(0);
        }
    }

    #[test]
    fn values_are_short() {
        let mut long = [0; 512];
        long[0] = 0xab;
        for (bytes, kind, expected) in [
            (&[9_u8, 0][..], Number, "9"),
            (&[0, 1, 0, 0], Number, "256 (0x100)"),
            (&[0; 32], Bytes, "zero"),
            (&[1, 0], Bytes, "0100"),
            (&long, Bytes, "ab and 511 zeros"),
            (b"PSPFSEAL", Text, "PSPFSEAL"),
            (b"\x1b[2J", Text, "1b5b324a"),
        ] {
            assert_eq!(shown(bytes, kind), expected);
        }
    }
}
