//! The headers of Zstandard frames, which are read before a decoder sees the frame (SPEC §7.1).

mod common;

use common::raw;
use pspf_format::zstd_frame;

#[test]
fn a_frame_declares_its_size_and_a_small_window() {
    let frame = |descriptor: u8, rest: &[u8]| [&[0x28, 0xb5, 0x2f, 0xfd, descriptor], rest, &[1, 0, 0]].concat();
    // Of a slot index the same is asked, in a wider number.
    let declares = |stored: &[u8], size: u32| {
        let declared = zstd_frame::declares(stored, size);
        assert_eq!(zstd_frame::declares_index(stored, u64::from(size)), declared);
        declared
    };
    let eight = (8_u32 << 20).to_le_bytes();
    for (descriptor, rest, size) in [
        (0x20, &[7][..], 7),
        (0x60, &[1, 0], 257),
        (0xa0, &eight, 8 << 20),
        (0xa4, &eight, 8 << 20),
        (0xe0, &[7, 0, 0, 0, 0, 0, 0, 0], 7),
        (0x40, &[13 << 3, 1, 0], 257),
        (0x80, &[13 << 3, 7, 0, 0, 0], 7),
        // A window of 7.5 MiB.
        (0x80, &[12 << 3 | 7, 7, 0, 0, 0], 7),
    ] {
        assert!(declares(&frame(descriptor, rest), size), "{descriptor:#x}");
        assert!(!declares(&frame(descriptor, rest), size + 1), "{descriptor:#x}");
    }
    for (descriptor, rest, size) in [
        // No size; a window of 9 MiB and of 2 TiB; a dictionary; a reserved bit; more than 32 bits.
        (0x00, &[0][..], 0),
        (0x80, &[13 << 3 | 1, 7, 0, 0, 0], 7),
        (0x80, &[0xff, 7, 0, 0, 0], 7),
        (0x21, &[1, 7], 7),
        (0x23, &[0, 0, 0, 0, 7], 7),
        (0x28, &[7], 7),
        (0xe0, &[7, 0, 0, 0, 1, 0, 0, 0], 7),
        (0xa0, &[1, 0, 128, 0], (8 << 20) + 1),
    ] {
        assert!(!declares(&frame(descriptor, rest), size), "{descriptor:#x}");
    }
    let sound = frame(0xa0, &eight);
    for len in 0..9 {
        assert!(!declares(&sound[..len], 8 << 20), "{len} bytes");
    }
    assert!(!declares(&raw::skippable(&[0; 20]), 0));
}
