//! The trailer, with its checksum and its signature made right: only the rules of the format are left to refuse it.
//!
//! What is accepted encodes to the same bytes, and places its parts inside the file.

use pspf_format::{Draft, Error, IndexBlock, Record as _, Trailer, UnverifiedPackage};

use crate::common::{key, raw, sample};
use crate::input::Input;

/// The first byte decides whether the rest is a trailer, or changes to a sound one.
pub fn target(data: &[u8]) {
    let mut input = Input(data);
    let seed = sample();
    let mode = input.byte();
    let mut index = raw::index(&seed).to_vec();
    if mode & 1 == 0 {
        input.edit(&mut index, true);
    } else {
        let bytes = input.bytes(raw::INDEX);
        index[..bytes.len()].copy_from_slice(bytes);
    }
    let mut index: [u8; raw::INDEX] = index.try_into().unwrap();
    if mode & 2 == 0 {
        raw::sign(&mut index, &key(1));
    }
    let package = raw::with_index(&seed, index);
    let trailer: Trailer = *package.last_chunk().unwrap();
    let len = package.len() as u64;
    let Ok(unverified) = UnverifiedPackage::parse(&trailer, len) else { return };
    let block = IndexBlock::from_bytes(&trailer[4..trailer.len() - 4]).unwrap();
    assert_eq!(block.to_bytes(), trailer[4..trailer.len() - 4]);
    assert_eq!(block.package_size, len);
    for span in [block.metadata_span(), block.slot_table_span()] {
        assert!(span.offset >= block.launcher_size && span.end().unwrap() <= len - trailer.len() as u64);
    }
    assert_eq!(unverified.claimed_public_key(), block.public_key);
    let first = unverified.clone().verify();
    match unverified.verify_all() {
        Err(Error::Signature { .. } | Error::SignerKey { .. }) => {}
        Err(error) => assert!(first.is_err(), "every signature is right, and the first alone is not: {error}"),
        Ok(sealed) => {
            assert_eq!(first.unwrap().package_id(), sealed.package_id());
            assert_eq!(sealed.signers()[0].as_bytes(), &block.public_key);
            assert_eq!(Draft::of(&sealed).trailer().unwrap(), trailer);
        }
    }
}
