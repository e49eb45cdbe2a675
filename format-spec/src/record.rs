//! The fixed-layout records: little-endian, fixed-width integers, no padding (SPEC §2).
//!
//! The only user of bincode. A record holds integers and byte arrays and nothing of variable length,
//! so that its encoding is the concatenation of its fields; `tests/records.rs` pins every one by bytes.

use bincode::config::{Configuration, Fixint, Limit, LittleEndian};

/// No record is longer than the index.
const LONGEST: usize = 8192;

fn config() -> Configuration<LittleEndian, Fixint, Limit<LONGEST>> {
    bincode::config::standard().with_fixed_int_encoding().with_limit::<LONGEST>()
}

/// A structure whose encoding has one fixed length.
pub trait Record: bincode::Encode + bincode::Decode<()> {
    /// Encoded length in bytes.
    const LEN: usize;

    /// The encoding, [`Self::LEN`] bytes.
    fn to_bytes(&self) -> Vec<u8> {
        let bytes = bincode::encode_to_vec(self, config()).unwrap_or_default();
        debug_assert_eq!(bytes.len(), Self::LEN);
        bytes
    }

    /// Decodes exactly [`Self::LEN`] bytes; any other length is `None`.
    fn from_bytes(bytes: &[u8]) -> Option<Self> {
        if bytes.len() != Self::LEN {
            return None;
        }
        match bincode::decode_from_slice(bytes, config()) {
            Ok((record, used)) if used == Self::LEN => Some(record),
            _ => None,
        }
    }
}
