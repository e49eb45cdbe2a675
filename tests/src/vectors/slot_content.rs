//! Frames and streams that are not what the slot index says, with true digests of the stored bytes (SPEC §7).

use super::Set;
use super::sample::{SCRIPT, altered, blocks, file_slot, frame, number, tree, with_tree, worded, words};
use crate::forge::{ForgedEntry, ForgedSlot};
use crate::raw::{self, sha256};

pub(super) fn add(set: &mut Set) {
    stored(set);
    skippable(set);
    frame_headers(set);
    streams(set);
    content(set);
}

/// One file in one frame, whose decoded length is right.
fn file(stored: Vec<u8>) -> Vec<u8> {
    worded(&words(), &[file_slot(SCRIPT, &[(stored, SCRIPT.len())])])
}

/// A frame with this descriptor, and what stands between it and the blocks.
pub(super) fn with_header(descriptor: u8, header: &[u8], content: &[u8]) -> Vec<u8> {
    [&[0x28, 0xb5, 0x2f, 0xfd, descriptor], header, &blocks(content)].concat()
}

fn stored(set: &mut Set) {
    let bytes = file(frame(SCRIPT));
    let index = raw::index(&bytes);
    let slot = number(&bytes[number(&index, 40)..], 16);
    set.section("8.2");
    set.integrity("frame-bit", "a bit of a frame was flipped", altered(&bytes, |bytes| bytes[slot + 20] ^= 1));
    let at = bytes.len() - 8200 - 12;
    set.integrity("slot-index-bit", "a bit of the slot index was flipped", altered(&bytes, |bytes| bytes[at] ^= 1));
    set.section("7.4");
    let tree = tree(&[]);
    let slot = tree.slot_with(frame(&tree.stream), |index| index[48] ^= 1);
    set.integrity("frame-digest", "the slot index has another digest of a frame", with_tree(slot));
    let slot = ForgedSlot { sha256: sha256(b"other"), ..tree.slot_with(frame(&tree.stream), |_| ()) };
    set.deep("slot-whole-digest", "the signed digest of all stored bytes is another one", with_tree(slot));
}

/// The end of a slot, changed; the digest of its stored bytes is right.
fn skippable(set: &mut Set) {
    set.section("7.1");
    let slot = file_slot(SCRIPT, &[(frame(SCRIPT), SCRIPT.len())]);
    let header = frame(SCRIPT).len();
    let with = |edit: &dyn Fn(&mut Vec<u8>)| {
        let mut slot = slot.clone();
        edit(&mut slot.stored);
        slot.sha256 = sha256(&slot.stored);
        worded(&words(), &[slot])
    };
    set.integrity(
        "skippable-magic",
        "the index is in a skippable frame of another number",
        with(&|stored| stored[header] = 0x5d),
    );
    set.integrity(
        "skippable-length",
        "the skippable frame has another length",
        with(&|stored| stored[header + 4] ^= 1),
    );
    // The index itself, compressed otherwise than it may be.
    let reindexed = |edit: &dyn Fn(&[u8]) -> Vec<u8>| {
        let mut slot = slot.clone();
        let index = &slot.stored[header + 8..];
        // Its frame: 4 bytes of magic, the descriptor, 4 bytes of content size, one raw block.
        let content = index[12..].to_vec();
        let stored = edit(&content);
        let claims = slot.index.as_mut().expect("it has one");
        assert_eq!(content.len() as u64, claims.expanded_size);
        (claims.stored_size, claims.sha256) = (stored.len() as u64, sha256(&stored));
        slot.stored.truncate(header);
        slot.stored.extend(raw::skippable(&stored));
        slot.sha256 = sha256(&slot.stored);
        worded(&words(), &[slot])
    };
    let size = |content: &[u8]| u32::try_from(content.len()).expect("it is small").to_le_bytes();
    set.integrity("slot-index-no-frame", "the slot index is not compressed", reindexed(&<[u8]>::to_vec));
    let bytes = reindexed(&|content| [raw::zstd_frame(content), raw::zstd_frame(b"")].concat());
    set.integrity("slot-index-two-frames", "the slot index is followed by another frame", bytes);
    let bytes = reindexed(&|content| with_header(0x80, &[&[0x69], &size(content)[..]].concat(), content));
    set.integrity("slot-index-window", "the slot index has a window of 9 MiB", bytes);
    let bytes = reindexed(&|content| with_header(0xa1, &[&[9], &size(content)[..]].concat(), content));
    set.integrity("slot-index-dictionary", "the slot index needs a dictionary", bytes);
    let bytes = reindexed(&|content| with_header(0x00, &[0x58], content));
    set.integrity("slot-index-no-size", "the slot index does not declare its length", bytes);
}

fn frame_headers(set: &mut Set) {
    set.section("7.1");
    let size = (SCRIPT.len() as u32).to_le_bytes();
    let with = |more: &[u8]| [more, &size].concat();
    let header = |descriptor, header: &[u8]| file(with_header(descriptor, header, SCRIPT));
    set.deep("frame-magic", "a frame has another magic number", file(altered(&frame(SCRIPT), |frame| frame[0] ^= 1)));
    set.deep("frame-window", "a frame has a window of 9 MiB", header(0x80, &with(&[0x69])));
    set.deep("frame-window-2-gib", "a frame has a window of 2 GiB", header(0x80, &with(&[21 << 3])));
    set.deep("frame-no-size", "a frame does not declare its content size", header(0x00, &[0x58]));
    let other = [SCRIPT.len() as u8 + 1, 0, 0, 0];
    set.deep("frame-other-size", "a frame declares a byte more than it has", header(0xa0, &other));
    set.deep("frame-dictionary", "a frame names a dictionary", header(0xa1, &with(&[9])));
    set.deep("frame-reserved-bit", "the reserved bit of a frame's header is set", header(0xa8, &size));
    let reserved = altered(&frame(SCRIPT), |frame| frame[9] |= 6);
    set.deep("frame-block-type", "a block is of the reserved type", file(reserved));
    let unfinished = altered(&frame(SCRIPT), |frame| frame[9] &= !1);
    set.deep("frame-no-last-block", "no block is the last one", file(unfinished));
    let cut = altered(&frame(SCRIPT), |frame| frame.truncate(frame.len() - 1));
    set.deep("frame-cut", "the last byte of a frame is missing", file(cut));
    set.deep(
        "frame-byte-behind",
        "a byte follows a frame inside its stored bytes",
        file([&frame(SCRIPT)[..], b"\0"].concat()),
    );
    let second = [frame(SCRIPT), frame(b"")].concat();
    set.deep("frame-two", "an empty frame follows a frame inside its stored bytes", file(second));
    let skipped = [raw::skippable(b"x"), frame(SCRIPT)].concat();
    set.deep(
        "frame-skippable-before",
        "a skippable frame stands before a frame inside its stored bytes",
        file(skipped),
    );
    let wrong = [with_header(0xa4, &size, SCRIPT), vec![0; 4]].concat();
    set.deep("frame-checksum", "the checksum of a frame's content is wrong", file(wrong));
    let mut bomb = with_header(0xa0, &size, b"");
    bomb.truncate(9);
    bomb.extend([0x02, 0, 0x10, 0].repeat(63));
    bomb.extend([0x03, 0, 0x10, 0]);
    set.deep("frame-bomb", "a frame decodes to 8 MiB and declares 19 bytes", file(bomb));
}

fn streams(set: &mut Set) {
    let tree = tree(&[ForgedEntry::file("data", b"data\n"), ForgedEntry::link("l", "tool")]);
    let with = |edit: &dyn Fn(&mut Vec<u8>)| {
        let mut stream = tree.stream.clone();
        edit(&mut stream);
        with_tree(tree.slot_with(frame(&stream), |_| ()))
    };
    // The checksum of a header is right again, so that it is a sound one that says something else.
    let with_header = |header: usize, at: usize, byte: u8| {
        with(&|stream| {
            let block = &mut stream[header..header + 512];
            block[at] = byte;
            block[148..156].fill(b' ');
            let sum: u32 = block.iter().map(|&byte| u32::from(byte)).sum();
            block[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
        })
    };
    set.section("7.5");
    for (name, what, at, byte) in [
        ("tar-name", "a header has another name", 0, b'T'),
        ("tar-name-behind", "a header's name has a byte behind its NUL", 50, b'x'),
        ("tar-mode", "a header's mode is setuid", 103, b'4'),
        ("tar-uid", "a header has an owner", 114, b'7'),
        ("tar-gid", "a header has a group", 122, b'7'),
        ("tar-size", "a header has another size", 134, b'4'),
        ("tar-mtime", "a header has another time", 146, b'1'),
        ("tar-type", "a header is one of a device", 156, b'3'),
        ("tar-type-old", "a header has the older type of files", 156, 0),
        ("tar-link", "the header of a file names a link", 157, b'x'),
        ("tar-magic", "a header has the magic of another archive format", 262, b' '),
        ("tar-owner-name", "a header names its owner", 265, b'r'),
        ("tar-device", "a header has a device number", 335, b'1'),
        ("tar-prefix", "a header has a prefix", 345, b'x'),
        ("tar-reserved", "a header's last byte is not zero", 511, 1),
    ] {
        set.deep(name, what, with_header(0, at, byte));
    }
    set.deep("tar-checksum", "a header's checksum is wrong", with(&|stream| stream[153] ^= 1));
    set.deep("tar-link-target", "the header of a link has another target", with_header(2048, 157, b'T'));
    set.deep("tar-padding", "the padding after a file is not zero", with(&|stream| stream[1023] = 1));
    set.deep("tar-end", "the end of the stream is not zero", with(&|stream| *stream.last_mut().expect("bytes") = 1));
    let turned = with(&|stream| stream[..2048].rotate_left(1024));
    set.deep("tar-order", "two files changed places in the stream", turned);
    let short = super::sample::tree(&[ForgedEntry::file("p".repeat(101), b"x")]);
    let mut stream = short.stream.clone();
    let at = stream.windows(5).position(|window| window == b"path=").expect("an extended header");
    stream[at + 5] = b'q';
    let slot = short.slot_with(frame(&stream), |_| ());
    set.deep("tar-extended-path", "an extended header has another path", with_tree(slot));
}

fn content(set: &mut Set) {
    set.section("7.4");
    let tree = tree(&[]);
    let mut stream = tree.stream.clone();
    stream[512 + 15] ^= 1;
    let slot = tree.slot_with(frame(&stream), |_| ());
    set.deep("content-digest", "the slot index has another digest of a file", with_tree(slot));
}
