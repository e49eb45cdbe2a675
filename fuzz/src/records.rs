//! The records of the cache: the slot's own, and the launch receipt. What is read is written again byte for byte.

use pspf_format::{
    MAX_RECEIPT, MAX_SLOTS, Receipt, Sha256, SlotStamp, Validity, encode_slot_record, parse_slot_record,
};

use crate::input::Input;

/// The first byte decides whether the rest is a record or changes to a sound one, and whether its digest, which
/// anybody can compute, is made right.
pub fn target(data: &[u8]) {
    let mut input = Input(data);
    let mode = input.byte();
    let mut bytes = if mode & 1 == 0 { input.0.to_vec() } else { changed(&mut input, mode) };
    if mode & 2 == 0 {
        bytes.extend(Sha256::of(&bytes).0);
    }
    if let Some((stamp, validity)) = parse_slot_record(&bytes) {
        assert_eq!(encode_slot_record(stamp, validity), bytes);
    }
    if let Some(receipt) = Receipt::parse(&bytes) {
        assert!(receipt.slots.len() <= MAX_SLOTS && bytes.len() <= MAX_RECEIPT);
        let again = receipt.to_bytes();
        assert_eq!(again.len(), bytes.len());
        let parsed = Receipt::parse(&again).unwrap();
        assert_eq!(
            (&parsed.slots, parsed.validity, parsed.package_id),
            (&receipt.slots, receipt.validity, receipt.package_id)
        );
        // The label is for people, and text that is none is shown as well as can be.
        let label = 48..48 + 128;
        let differ = |at: usize| bytes[at] != again[at] && !label.contains(&at) && at < bytes.len() - 32;
        assert!(!(0..bytes.len()).any(differ));
    }
}

fn changed(input: &mut Input<'_>, mode: u8) -> Vec<u8> {
    let stamp = SlotStamp { key: [1; 32], device: 2, inode: 3, ctime: -4, ctime_nsec: 5 };
    let validity = Validity { durable: 1, portable: 0, boot_id: [6; 16] };
    let mut bytes = if mode & 4 == 0 {
        encode_slot_record(stamp, validity)
    } else {
        let slots = vec![stamp; usize::from(input.byte() % 4)];
        Receipt { package_id: Sha256([7; 32]), label: "sample 1.0".to_owned(), validity, slots }.to_bytes()
    };
    bytes.truncate(bytes.len() - 32);
    input.edit(&mut bytes, false);
    bytes
}
