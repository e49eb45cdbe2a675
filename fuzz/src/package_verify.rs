//! A whole package that was changed after it was signed: nothing but the package itself is ever accepted.
//!
//! It has one signature. With more, leaving one of the others out would be accepted, as SPEC §5.2 says.

use std::sync::OnceLock;

use crate::common::{self, key, raw};
use crate::file;
use crate::input::Input;

/// The package that was signed.
pub fn seed() -> &'static [u8] {
    static SEED: OnceLock<Vec<u8>> = OnceLock::new();
    SEED.get_or_init(|| {
        let slots = common::sample_slots();
        common::package(&common::metadata(&slots), &slots, &[&key(1)], true)
    })
}

/// The first byte decides whether the checksum of the index, which anybody can compute, is made right, and whether the
/// changes are anywhere or in the trailer.
pub fn target(data: &[u8]) {
    let mut input = Input(data);
    let mode = input.byte();
    let mut bytes = seed().to_vec();
    if mode & 2 == 0 {
        input.edit(&mut bytes, mode & 4 == 0);
    } else {
        let mut trailer = bytes.split_off(bytes.len() - 8200);
        input.edit(&mut trailer, true);
        bytes.extend(trailer);
    }
    if mode & 1 == 0 && bytes.len() >= 8200 {
        bytes = raw::with_index(&bytes, raw::index(&bytes));
    }
    let accepted = file::verify(&bytes, mode & 8 != 0);
    assert_eq!(accepted.is_ok(), bytes == seed(), "{:?}", accepted.err());
}
