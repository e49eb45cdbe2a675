//! The sound packages that most vectors differ from in one way.

use crate::forge::{ForgedEntry, ForgedSlot, ForgedTree, ForgedWords, key};
use crate::raw::{self, INDEX, Parts, put};

/// The application.
pub(super) const SCRIPT: &[u8] = b"#!/bin/sh\necho ran\n";
/// What stands in front: nothing judges what it does. Its length is no multiple of 8, so padding follows.
pub(super) const LAUNCHER: &[u8] = b"#!/bin/sh\necho 'a launcher that starts nothing'\nexit 1\n";

/// What the metadata say beside the slots.
pub(super) fn words() -> ForgedWords {
    ForgedWords { platform: "linux_amd64".to_owned(), ..ForgedWords::starting("app", "") }
}

/// A package of these slots, whose first one is `app`.
pub(super) fn package(slots: &[ForgedSlot]) -> Vec<u8> {
    worded(&words(), slots)
}

/// The same with other words.
pub(super) fn worded(words: &ForgedWords, slots: &[ForgedSlot]) -> Vec<u8> {
    parts(words, slots).seal(&key())
}

pub(super) fn parts(words: &ForgedWords, slots: &[ForgedSlot]) -> Parts {
    words.parts(LAUNCHER.to_vec(), slots)
}

/// One raw slot.
pub(super) fn one() -> Vec<ForgedSlot> {
    vec![ForgedSlot::raw("app", SCRIPT)]
}

/// Two raw slots of one content, with padding between them.
pub(super) fn two() -> Vec<ForgedSlot> {
    vec![ForgedSlot::raw("app", SCRIPT), ForgedSlot::raw("more", SCRIPT)]
}

/// A package of one raw slot.
pub(super) fn sound() -> Vec<u8> {
    package(&one())
}

/// A sound package with its index changed and signed again.
pub(super) fn signed(edit: impl FnOnce(&mut [u8; INDEX])) -> Vec<u8> {
    raw::resigned(&sound(), &key(), edit)
}

/// A sound package with its index changed after it was signed; the Adler-32 is right.
pub(super) fn changed(edit: impl FnOnce(&mut [u8; INDEX])) -> Vec<u8> {
    changed_in(&sound(), edit)
}

/// The same with another package.
pub(super) fn changed_in(bytes: &[u8], edit: impl FnOnce(&mut [u8; INDEX])) -> Vec<u8> {
    let mut index = raw::index(bytes);
    edit(&mut index);
    raw::with_index(bytes, index)
}

/// A package with some bytes changed and nothing made right.
pub(super) fn altered(bytes: &[u8], edit: impl FnOnce(&mut Vec<u8>)) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    edit(&mut bytes);
    bytes
}

/// A number of the index, or of any bytes.
pub(super) fn number(bytes: &[u8], at: usize) -> usize {
    u64::from_le_bytes(bytes[at..at + 8].try_into().expect("eight bytes")) as usize
}

/// A package whose slot table was changed; its digest and the signature are right.
pub(super) fn retabled(bytes: &[u8], edit: impl FnOnce(&mut [u8])) -> Vec<u8> {
    let index = raw::index(bytes);
    let (at, len) = (number(&index, 40), number(&index, 48));
    let mut bytes = bytes.to_vec();
    edit(&mut bytes[at..at + len]);
    let digest = raw::sha256(&bytes[at..at + len]);
    raw::resigned(&bytes, &key(), |index| put(index, raw::SEAL + 80, &digest))
}

/// A frame that says runs of one byte in four bytes each, so that a tar stream takes little room.
pub(super) fn frame(content: &[u8]) -> Vec<u8> {
    let mut frame = vec![0x28, 0xb5, 0x2f, 0xfd, 0xa0];
    frame.extend(u32::try_from(content.len()).expect("frames are small").to_le_bytes());
    frame.extend(blocks(content));
    frame
}

/// The blocks of such a frame.
pub(super) fn blocks(content: &[u8]) -> Vec<u8> {
    const MOST: usize = 128 << 10;
    const RUN: usize = 16;
    let mut blocks: Vec<(bool, &[u8])> = Vec::new();
    let mut rest = content;
    let mut plain = 0;
    while plain < rest.len() {
        let byte = rest[plain];
        let run = rest[plain..].iter().take(MOST).take_while(|&&other| other == byte).count();
        if run >= RUN {
            blocks.push((false, &rest[..plain]));
            blocks.push((true, &rest[plain..plain + run]));
            (rest, plain) = (&rest[plain + run..], 0);
        } else {
            plain += run;
        }
    }
    blocks.push((false, rest));
    blocks.retain(|(_, bytes)| !bytes.is_empty());
    if blocks.is_empty() {
        return vec![1, 0, 0];
    }
    let last = blocks.len() - 1;
    let encode = |(number, (run, bytes)): (usize, &(bool, &[u8]))| {
        let len = u32::try_from(bytes.len()).expect("blocks are small");
        let header = (len << 3 | u32::from(*run) << 1 | u32::from(number == last)).to_le_bytes();
        [&header[..3], if *run { &bytes[..1] } else { bytes }].concat()
    };
    blocks.iter().enumerate().flat_map(encode).collect()
}

/// The tree that most vectors of slots have: a program, and what is given beside it.
pub(super) fn tree(more: &[ForgedEntry]) -> ForgedTree {
    let of = |wanted: fn(u8) -> bool| more.iter().filter(move |entry| wanted(entry.kind)).cloned();
    let program = ForgedEntry::file("tool", SCRIPT);
    let entries: Vec<ForgedEntry> = of(|kind| kind == 0).chain([program]).chain(of(|kind| kind != 0)).collect();
    ForgedTree::new(&entries)
}

/// The package of a slot whose program is `tool` in it.
pub(super) fn with_tree(slot: ForgedSlot) -> Vec<u8> {
    let words = ForgedWords { platform: "linux_amd64".to_owned(), ..ForgedWords::starting("app", "/tool") };
    worded(&words, &[slot])
}

/// The slot index of the file `tool` in these frames: stored bytes and decoded length of each.
pub(super) fn file_index(content: &[u8], frames: &[(Vec<u8>, usize)]) -> Vec<u8> {
    let length = |len: usize| u32::try_from(len).expect("frames are small").to_le_bytes();
    let mut index = b"PSPFTREE\x01\0\0\0".to_vec();
    index.extend(length(frames.len()));
    index.extend([1, 0, 0, 0, 0, 0, 0, 0]);
    index.extend((content.len() as u64).to_le_bytes());
    index.extend([0; 8]);
    for (stored, expanded) in frames {
        index.extend([length(stored.len()), length(*expanded)].concat());
        index.extend(raw::sha256(stored));
    }
    index.extend(b"\x01\x01\x04\0tool");
    index.extend((content.len() as u64).to_le_bytes());
    index.extend(raw::sha256(content));
    index
}

/// The slot of that file.
pub(super) fn file_slot(content: &[u8], frames: &[(Vec<u8>, usize)]) -> ForgedSlot {
    let stored: Vec<Vec<u8>> = frames.iter().map(|(stored, _)| stored.clone()).collect();
    ForgedSlot::framed("app", "zstd", &stored, &file_index(content, frames), content.len() as u64)
}
