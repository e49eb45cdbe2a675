//! Slots that readers of the base format know: a tar stream as it is, and gzip members cut into frames (SPEC §7.1).

use super::Set;
use super::sample::{SCRIPT, altered, file_index, package, worded, words};
use crate::forge::{ForgedEntry, ForgedSlot, ForgedTree, ForgedWords};
use crate::raw;

const HEADER: [u8; 10] = [0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 2, 0xff];

/// Stored bytes and decoded length of a frame.
type Frame = (Vec<u8>, usize);

pub(super) fn add(set: &mut Set) {
    sound(set);
    frames(set);
    rules(set);
}

/// One stored block (RFC 1951 §3.2.4).
fn block(content: &[u8], last: bool) -> Vec<u8> {
    let len = u16::try_from(content.len()).expect("blocks are small");
    [&[u8::from(last)], &len.to_le_bytes()[..], &(!len).to_le_bytes(), content].concat()
}

/// The end of a member with this content.
fn end(content: &[u8]) -> Vec<u8> {
    let mut crc = flate2::Crc::new();
    crc.update(content);
    [crc.sum().to_le_bytes(), crc.amount().to_le_bytes()].concat()
}

/// A member of two frames, cut here.
fn member(content: &[u8], cut: usize) -> Vec<Frame> {
    let (first, second) = content.split_at(cut);
    vec![
        ([&HEADER[..], &block(first, false)].concat(), first.len()),
        ([block(second, true), end(content)].concat(), second.len()),
    ]
}

/// Bits from the lowest one, as DEFLATE has them.
fn bits(codes: &[(u32, u32)]) -> Vec<u8> {
    let all: Vec<bool> = codes.iter().flat_map(|&(code, len)| (0..len).map(move |at| code >> at & 1 == 1)).collect();
    all.chunks(8).map(|byte| byte.iter().rev().fold(0, |byte, &bit| byte << 1 | u8::from(bit))).collect()
}

fn followed(operations: &'static str, frames: &[Frame], index: &[u8], expanded: usize) -> ForgedSlot {
    let stored: Vec<Vec<u8>> = frames.iter().map(|(stored, _)| stored.clone()).collect();
    ForgedSlot::followed("app", operations, &stored, index, expanded as u64)
}

/// The package of a program in these frames.
fn gzip(frames: &[Frame]) -> Vec<u8> {
    let expanded = frames.iter().map(|(_, len)| len).sum();
    package(&[followed("gzip", frames, &file_index(SCRIPT, frames), expanded)])
}

/// A tree that is one directory with this name, and a program in it.
fn tree(top: &str) -> ForgedTree {
    ForgedTree::new(&[ForgedEntry::directory(top), ForgedEntry::file(format!("{top}/run"), SCRIPT)])
}

fn tree_slot(operations: &'static str, tree: &ForgedTree, frames: &[Frame]) -> ForgedSlot {
    let lengths: Vec<_> =
        frames.iter().map(|(stored, len)| (stored.len() as u32, *len as u32, raw::sha256(stored))).collect();
    followed(operations, frames, &tree.index(&lengths), tree.stream.len())
}

/// The package of a slot whose program is in the one directory of its tree, which the slot's target names.
fn with_tree(slot: &ForgedSlot) -> Vec<u8> {
    let execution = r#"{"command":"'{workenv}/tool/run'","env":{}}"#.to_owned();
    let starting = ForgedWords::starting("app", "/run");
    worded(&ForgedWords { platform: "linux_amd64".to_owned(), execution, ..starting }, std::slice::from_ref(slot))
}

fn sound(set: &mut Set) {
    set.section("7.1");
    set.ok("member", "a file in a gzip member of two frames", gzip(&member(SCRIPT, 7)));
    let coded = flate2_frames(SCRIPT);
    set.ok("member-compressed-blocks", "frames of a gzip member that are compressed", gzip(&coded));
    let tree = tree("tool");
    let slot = tree_slot("tar|gzip", &tree, &member(&tree.stream, 600));
    set.ok("tar-gzip", "a tree in a gzip member of two frames", with_tree(&slot));
    let (first, second) = tree.stream.split_at(700);
    let plain = [first, second].map(|part| (part.to_vec(), part.len()));
    set.ok("tar", "a tree as a tar stream, in two frames", with_tree(&tree_slot("tar", &tree, &plain)));
}

/// A member of two frames whose blocks are compressed by another hand.
fn flate2_frames(content: &[u8]) -> Vec<Frame> {
    let (first, second) = content.split_at(11);
    let coded = |part: &[u8], flush| {
        let mut coder = flate2::Compress::new(flate2::Compression::best(), false);
        let mut out = Vec::with_capacity(1024);
        coder.compress_vec(part, &mut out, flush).expect("it can be compressed");
        out
    };
    vec![
        ([&HEADER[..], &coded(first, flate2::FlushCompress::Sync)].concat(), first.len()),
        ([coded(second, flate2::FlushCompress::Finish), end(content)].concat(), second.len()),
    ]
}

fn frames(set: &mut Set) {
    set.section("7.1");
    let sound = member(SCRIPT, 7);
    let with = |position: usize, edit: &dyn Fn(&mut Vec<u8>)| {
        let mut frames = sound.clone();
        edit(&mut frames[position].0);
        gzip(&frames)
    };
    set.deep("member-time", "the header of a gzip member has a time", with(0, &|frame| frame[4] = 1));
    set.deep("member-magic", "a gzip member begins with another byte", with(0, &|frame| frame[0] = 0x1e));
    let ended = with(0, &|frame| frame[10] = 1);
    set.deep("member-ends-early", "the first of two frames has the final block", ended);
    let open = with(1, &|frame| frame[0] = 0);
    set.deep("member-no-final-block", "the last frame has no final block", open);
    let behind = with(0, &|frame| frame.push(0));
    set.deep("member-byte-behind", "a byte follows the last block of a frame", behind);
    let empty = with(0, &|frame| frame.extend(block(b"x", false)));
    set.deep("member-longer", "a frame holds a byte more than it says", empty);
    let cut = with(1, &|frame| frame.truncate(frame.len() - 1));
    set.deep("member-cut", "the last byte of a gzip member is missing", cut);
    let crc = with(1, &|frame| *frame.iter_mut().rev().nth(7).expect("its end is there") ^= 1);
    set.deep("member-crc", "the CRC-32 of a gzip member is wrong", crc);
    let length = with(1, &|frame| *frame.iter_mut().rev().nth(3).expect("its end is there") ^= 1);
    set.deep("member-length", "the length of a gzip member is wrong", length);
    let blocks = |count: usize| with(0, &|frame| frame.extend(block(b"", false).repeat(count - 1)));
    set.ok("member-most-blocks", "a frame of as many blocks as there may be", blocks(65_538));
    set.deep("member-more-blocks", "a frame of a block more than there may be", blocks(65_539));
    let (first, second) = SCRIPT.split_at(7);
    // A block of both parts, of which the frame ends in the middle.
    let begun = [&HEADER[..], &block(SCRIPT, true)[..5], first].concat();
    let frames = [(begun, first.len()), ([second, &end(SCRIPT)].concat(), second.len())];
    set.deep("member-inside-a-block", "a frame ends inside a block", gzip(&frames));
    // A block with fixed codes: two bits are left over, and no other block brings it to a byte.
    let literal = |&byte: &u8| ((0x30 + u32::from(byte)).reverse_bits() >> 24, 8);
    let codes: Vec<(u32, u32)> =
        [(0, 1), (1, 2)].into_iter().chain(first.iter().map(literal)).chain([(0, 7)]).collect();
    let bytes = [&HEADER[..], &bits(&codes)].concat();
    let frames = [(bytes, first.len()), ([block(second, true), end(SCRIPT)].concat(), second.len())];
    set.deep("member-inside-a-byte", "a frame ends inside a byte", gzip(&frames));
    // The second frame copies a byte of the first one: a length of 3 from a distance of 1.
    let copy = bits(&[(0, 1), (1, 2), (0b100_0000, 7), (0, 5), (0, 7)]);
    let content = b"aaaa";
    let frames =
        [([&HEADER[..], &block(b"a", false)].concat(), 1), ([copy, block(b"", true), end(content)].concat(), 3)];
    let index = file_index(content, &frames);
    set.deep(
        "member-refers-back",
        "a frame refers to the frame before",
        package(&[followed("gzip", &frames, &index, 4)]),
    );
    let bytes = gzip(&sound);
    let at = bytes.len() - 8200 - 12;
    set.integrity("member-index-bit", "a bit of the index behind a slot was flipped", altered(&bytes, |b| b[at] ^= 1));
    let slot = followed("gzip", &sound, &file_index(SCRIPT, &sound), SCRIPT.len());
    let mut number = slot.clone();
    number.behind[0] = 0x5d;
    let bytes = worded(&words(), &[number]);
    set.integrity("member-index-number", "the index behind a slot is in a frame of another number", bytes);
}

fn rules(set: &mut Set) {
    set.section("7.1");
    let none = followed("gzip", &[], &file_index(b"", &[]), 0);
    set.format("member-no-frame", "a gzip member without a frame", package(&[none]));
    let tree = tree("tool");
    let plain = [(tree.stream[..tree.stream.len() - 1].to_vec(), tree.stream.len())];
    let slot = tree_slot("tar", &tree, &plain);
    set.format("tar-frame-sizes", "a frame of a tar slot has two lengths", with_tree(&slot));
    set.section("7.2");
    let other = self::tree("other");
    let slot = tree_slot("tar|gzip", &other, &member(&other.stream, 600));
    set.format("tar-gzip-other-top", "the directory of a tree has another name than the target", with_tree(&slot));
    let entries = [ForgedEntry::directory("tool"), ForgedEntry::file("tool/run", SCRIPT), ForgedEntry::file("x", b"")];
    let two = ForgedTree::new(&entries);
    let slot = tree_slot("tar|gzip", &two, &member(&two.stream, 600));
    set.format("tar-gzip-two-tops", "a file stands beside the directory of a tree", with_tree(&slot));
    let file = ForgedTree::new(&[ForgedEntry::file("tool", SCRIPT)]);
    let slot = tree_slot("tar|gzip", &file, &member(&file.stream, 600));
    set.format("tar-gzip-file", "the target of a tree is a file", with_tree(&slot));
    let empty = ForgedTree::new(&[]);
    let slot = tree_slot("tar|gzip", &empty, &member(&empty.stream, 600));
    set.format("tar-gzip-empty", "a tree without its directory", with_tree(&slot));
}
