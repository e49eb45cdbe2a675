//! The fixed-layout records: little-endian, fixed-width integers, no padding (SPEC §2).
//!
//! The only user of bincode. A record holds integers and byte arrays and nothing of variable length,
//! so that its encoding is the concatenation of its fields; `tests/records.rs` pins every one by bytes.

use alloc::vec::Vec;

use bincode::config::{Configuration, Fixint, Limit, LittleEndian};
use bincode::de::read::Reader;
use bincode::enc::write::Writer;
use bincode::error::{DecodeError, EncodeError};

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
        let mut bytes = Vec::with_capacity(Self::LEN);
        // The writer takes everything, and no record is longer than the limit.
        let _ = bincode::encode_into_writer(self, Taken(&mut bytes), config());
        debug_assert_eq!(bytes.len(), Self::LEN);
        bytes
    }

    /// Decodes exactly [`Self::LEN`] bytes; any other length is `None`.
    fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let mut source = Given { rest: bytes, short: bytes.len() != Self::LEN };
        match bincode::decode_from_reader(&mut source, config()) {
            Ok(record) if !source.short && source.rest.is_empty() => Some(record),
            _ => None,
        }
    }
}

/// Bytes that are read from the front. Running out of them is noted instead of reported after every field, which
/// would be most of the code that a record costs.
struct Given<'a> {
    rest: &'a [u8],
    short: bool,
}

impl Reader for Given<'_> {
    #[inline(never)]
    fn read(&mut self, bytes: &mut [u8]) -> Result<(), DecodeError> {
        match self.rest.split_at_checked(bytes.len()) {
            Some((next, rest)) => {
                bytes.copy_from_slice(next);
                self.rest = rest;
            }
            None => self.short = true,
        }
        Ok(())
    }
}

struct Taken<'a>(&'a mut Vec<u8>);

impl Writer for Taken<'_> {
    #[inline(never)]
    fn write(&mut self, bytes: &[u8]) -> Result<(), EncodeError> {
        self.0.extend_from_slice(bytes);
        Ok(())
    }
}
