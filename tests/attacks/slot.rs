//! Slots of a hostile signer: every digest is true, and what they say is not allowed.

use pspf_tests::Snapshot;

use crate::forge::{self, ForgedEntry, ForgedSlot, ForgedTree};
use crate::hostile::{Case, judge};
use crate::raw::{self, sha256};

const SCRIPT: &[u8] = b"#!/bin/sh\necho ran\n";

/// Entries of which one is the program.
fn with_program(more: &[ForgedEntry]) -> Vec<ForgedEntry> {
    let mut entries: Vec<ForgedEntry> = more.iter().filter(|entry| entry.kind == 0).cloned().collect();
    entries.push(ForgedEntry::file("tool", SCRIPT));
    entries.extend(more.iter().filter(|entry| entry.kind != 0).cloned());
    entries
}

fn package(slot: ForgedSlot) -> Vec<u8> {
    forge::package("/tool", &[slot])
}

/// A tree with these entries beside the program.
fn tree(name: &str, more: &[ForgedEntry], class: &'static str) -> Case {
    Case::new(name, package(ForgedTree::new(&with_program(more)).slot()), class)
}

/// Entries exactly as they are given.
fn exactly(name: &str, entries: &[ForgedEntry], class: &'static str) -> Case {
    Case::new(name, package(ForgedTree::new(entries).slot()), class)
}

#[test]
fn a20_hostile_paths() {
    let long_component = "x".repeat(256);
    let long_path = vec!["y".repeat(255); 16].join("/") + "/z";
    let paths: [&[u8]; 22] = [
        b"../evil",
        b"..",
        b".",
        b"",
        b"/etc/evil",
        b"/",
        b"a/../../evil",
        b"./evil",
        b"a//b",
        b"a/",
        b"a/./b",
        b"//evil",
        b"evil\0hidden",
        b"evil\nline",
        b"evil\x1b[2J",
        b"evil\x7f",
        "evil\u{85}".as_bytes(),
        b"\xff\xfe",
        b"\xc0\xae\xc0\xae/evil",
        b"\xed\xa0\x80",
        long_component.as_bytes(),
        long_path.as_bytes(),
    ];
    let mut cases = vec![tree(
        "sound",
        &[ForgedEntry::directory("a"), ForgedEntry::file("a/b", b"x"), ForgedEntry::link("l", "a/b")],
        "",
    )];
    for path in paths {
        let name = path[..path.len().min(30)].escape_ascii().to_string();
        cases.push(tree(&format!("file {name}"), &[ForgedEntry::file(path, b"evil\n")], "FORMAT"));
        cases.push(tree(&format!("directory {name}"), &[ForgedEntry::directory(path)], "FORMAT"));
        cases.push(tree(&format!("link {name}"), &[ForgedEntry::link(path, "tool")], "FORMAT"));
    }
    judge(cases);
}

#[test]
fn a21_a22_hostile_links() {
    let long = "../".repeat(1500);
    let targets: [&[u8]; 17] = [
        b"/etc/passwd",
        b"/",
        b"..",
        b"../outside",
        b"a/../../outside",
        b"a/..",
        b"./../x",
        b"",
        b"x\0y",
        b"x\ny",
        b"x\x1b]0;title\x07",
        b"\xff",
        b"tool/../../../etc",
        b"../../../../../../etc/passwd",
        long.as_bytes(),
        b"//etc",
        b"a/b/../../../x",
    ];
    let mut cases: Vec<Case> = Vec::new();
    for target in targets {
        let name = target[..target.len().min(30)].escape_ascii().to_string();
        cases.push(tree(
            &format!("-> {name}"),
            &[ForgedEntry::directory("a"), ForgedEntry::link("l", target)],
            "FORMAT",
        ));
    }
    let deep = [ForgedEntry::directory("a"), ForgedEntry::link("a/l", "../../x")];
    cases.push(tree("one level too far", &deep, "FORMAT"));
    // Through a link, with a directory, a file and a hard link; then each before and after the link in the list.
    let link = ForgedEntry::link("dir", "a");
    cases.push(tree(
        "a file below a link",
        &[ForgedEntry::directory("a"), ForgedEntry::file("dir/evil", b"x"), link.clone()],
        "FORMAT",
    ));
    cases.push(tree(
        "a link below a link",
        &[ForgedEntry::directory("a"), link.clone(), ForgedEntry::link("dir/x", "y")],
        "FORMAT",
    ));
    cases.push(tree("a link and a directory of one name", &[ForgedEntry::directory("dir"), link.clone()], "FORMAT"));
    cases.push(tree("a link and a file of one name", &[ForgedEntry::file("dir", b"x"), link.clone()], "FORMAT"));
    let program = ForgedEntry::file("tool", SCRIPT);
    cases.push(exactly("a link before a file", &[link.clone(), program.clone()], "FORMAT"));
    for (name, file) in
        [("a directory", 0), ("itself", 3), ("a later entry", 4), ("nothing", 77), ("the largest number", u32::MAX)]
    {
        let entries = [
            ForgedEntry::directory("a"),
            program.clone(),
            ForgedEntry::file("b", b"x"),
            ForgedEntry::hard_link("h", file),
            ForgedEntry::link("l", "b"),
        ];
        cases.push(exactly(&format!("a hard link to {name}"), &entries, "FORMAT"));
    }
    let twice = [program.clone(), ForgedEntry::hard_link("h", 0), ForgedEntry::hard_link("i", 1)];
    cases.push(exactly("a hard link to a hard link", &twice, "FORMAT"));
    // Circles are legal and harmless: nothing is followed.
    cases.push(tree("a circle of links", &[ForgedEntry::link("one", "two"), ForgedEntry::link("two", "one")], ""));
    judge(cases);
}

#[test]
fn a21_a24_order_parents_types_and_names_twice() {
    let file = |path: &str| ForgedEntry::file(path, b"x");
    let typed = |kind| ForgedEntry { kind, ..file("odd") };
    let mode = |executable| ForgedEntry { executable, ..file("odd") };
    judge([
        tree("a name twice", &[file("a"), file("a")], "FORMAT"),
        tree("a directory twice", &[ForgedEntry::directory("a"), ForgedEntry::directory("a")], "FORMAT"),
        tree("directories out of order", &[ForgedEntry::directory("b"), ForgedEntry::directory("a")], "FORMAT"),
        tree("a child before its parent", &[ForgedEntry::directory("a/b"), ForgedEntry::directory("a")], "FORMAT"),
        tree("no parent", &[file("a/b")], "FORMAT"),
        tree("a file as parent", &[file("a"), file("a/b")], "FORMAT"),
        tree("an executable directory", &[ForgedEntry { executable: 1, ..ForgedEntry::directory("a") }], "FORMAT"),
        tree("an unknown mode", &[mode(2)], "FORMAT"),
        tree("setuid for a mode", &[mode(0xff)], "FORMAT"),
        tree("a device", &[typed(4)], "FORMAT"),
        tree("an unknown type", &[typed(255)], "FORMAT"),
        exactly(
            "a directory after a file",
            &[ForgedEntry::file("tool", SCRIPT), ForgedEntry::directory("z")],
            "FORMAT",
        ),
    ]);
}

/// A slot whose index is edited after it was made; all digests are true of the edited one.
fn edited(name: &str, edit: impl FnOnce(&mut Vec<u8>), class: &'static str) -> Case {
    let tree = ForgedTree::new(&with_program(&[ForgedEntry::file("data", b"data\n")]));
    let frame = raw::zstd_frame(&tree.stream);
    Case::new(name, package(tree.slot_with(frame, edit)), class)
}

#[test]
fn a29_the_slot_index() {
    let number = |at: usize, value: u64, len: usize| {
        move |index: &mut Vec<u8>| index[at..at + len].copy_from_slice(&value.to_le_bytes()[..len])
    };
    let mut cases = vec![
        edited("as it is", |_| (), ""),
        edited("another magic", |index| index[0] ^= 1, "FORMAT"),
        edited("another version", number(8, 2, 4), "FORMAT"),
        edited("reserved bytes", number(20, 1, 4), "FORMAT"),
        edited("another time than in the headers", number(32, 7, 8), "INTEGRITY"),
        edited("bytes behind", |index| index.push(0), "FORMAT"),
        edited("cut short", |index| index.truncate(index.len() - 1), "FORMAT"),
        edited("the header alone", |index| index.truncate(40), "FORMAT"),
        edited("an expanded size of zero", number(24, 0, 8), "FORMAT"),
        edited("the largest expanded size", number(24, u64::MAX, 8), "FORMAT"),
        edited("a frame of no bytes", number(40, 0, 4), "FORMAT"),
        edited("a frame of too many bytes", number(40, u64::from(u32::MAX), 4), "FORMAT"),
        edited("a frame that decodes to nothing", number(44, 0, 4), "FORMAT"),
        edited("a frame that decodes to too much", number(44, 9 << 20, 4), "FORMAT"),
        edited("another digest of the frame", |index| index[50] ^= 1, "INTEGRITY"),
        Case {
            start: "",
            ..edited(
                "another digest of a file",
                |index| {
                    let at = index.len() - 20;
                    index[at] ^= 1;
                },
                "INTEGRITY",
            )
        },
    ];
    for (name, at) in [("frame_count", 12), ("entry_count", 16)] {
        for value in [0, 5, 1 << 20, u64::from(u32::MAX)] {
            cases.push(edited(&format!("{name} {value}"), number(at, value, 4), "FORMAT"));
        }
    }
    judge(cases);
}

#[test]
fn a23_a28_w28_frames_that_are_not_what_the_index_says() {
    let tree = ForgedTree::new(&with_program(&[ForgedEntry::file("data", b"data\n")]));
    let stream = |edit: &dyn Fn(&mut Vec<u8>)| {
        let mut stream = tree.stream.clone();
        edit(&mut stream);
        package(tree.slot_with(raw::zstd_frame(&stream), |_| ()))
    };
    let frame = raw::zstd_frame(&tree.stream);
    let with_frame = |edit: &dyn Fn(&mut Vec<u8>)| {
        let mut frame = frame.clone();
        edit(&mut frame);
        package(tree.slot_with(frame, |_| ()))
    };
    judge([
        Case::new("as it is", stream(&|_| ()), ""),
        Case::new("another name in a header", stream(&|stream| stream[0] = b'x'), "INTEGRITY"),
        Case::new("setuid in a header", stream(&|stream| stream[100 + 3] = b'4'), "INTEGRITY"),
        Case::new("a device in a header", stream(&|stream| stream[156] = b'3'), "INTEGRITY"),
        Case::new("an owner in a header", stream(&|stream| stream[114] = b'7'), "INTEGRITY"),
        // What was signed is what runs; that the signer's own list tells another digest is for the deep check.
        Case::apart("other content", stream(&|stream| stream[1536] ^= 1), "INTEGRITY", ""),
        Case::new("bytes in the padding", stream(&|stream| stream[1023] = 1), "INTEGRITY"),
        Case::new("bytes in the end", stream(&|stream| *stream.last_mut().unwrap() = 1), "INTEGRITY"),
        Case::new("more than it says", stream(&|stream| stream.extend([0; 512])), "INTEGRITY"),
        Case::new("less than it says", stream(&|stream| stream.truncate(stream.len() - 512)), "INTEGRITY"),
        Case::new("no frame", with_frame(&|frame| frame[0] ^= 1), "INTEGRITY"),
        Case::new("a frame that is cut", with_frame(&|frame| frame.truncate(frame.len() - 3)), "INTEGRITY"),
        Case::new("bytes behind the frame", with_frame(&|frame| frame.push(0)), "INTEGRITY"),
        Case::new("a second frame behind it", with_frame(&|frame| frame.extend(raw::zstd_frame(b"x"))), "INTEGRITY"),
        Case::new(
            "a skippable frame before it",
            with_frame(&|frame| drop(frame.splice(0..0, raw::skippable(b"x")))),
            "INTEGRITY",
        ),
        Case::new("a reserved bit in the frame's header", with_frame(&|frame| frame[4] |= 8), "INTEGRITY"),
        Case::new(
            "a dictionary",
            with_frame(&|frame| {
                frame[4] |= 1;
                frame.insert(5, 9);
            }),
            "INTEGRITY",
        ),
    ]);
}

/// One repeated byte, as the smallest frame can say it: 128 KiB for four bytes.
fn bomb(window: u8, size: u64) -> Vec<u8> {
    // No single segment, eight bytes of content size, a window.
    let mut frame = vec![0x28, 0xb5, 0x2f, 0xfd, 0xc0, window];
    frame.extend(size.to_le_bytes());
    let mut left = size;
    while left > 0 {
        let block = left.min(128 << 10);
        left -= block;
        let header = u32::try_from(block).unwrap() << 3 | 2 | u32::from(left == 0);
        frame.extend(&header.to_le_bytes()[..3]);
        frame.push(0);
    }
    frame
}

#[test]
fn a27_bombs() {
    // Window of 2^(10 + n >> 3): 31 is what the library takes at most, 23 what the format allows.
    let window = |log: u8| (log - 10) << 3;
    let tree = ForgedTree::new(&with_program(&[]));
    let slot = |frame: Vec<u8>| package(tree.slot_with(frame, |_| ()));
    // A frame whose index agrees with its size, in an index that is too large itself.
    let index = ForgedSlot::framed(
        "app",
        "tar|zstd",
        &[raw::zstd_frame(&tree.stream)],
        &tree.index(&[]),
        tree.stream.len() as u64,
    );
    let swollen = |expanded: u64, stored: Vec<u8>| {
        let mut slot = index.clone();
        let frame = raw::zstd_frame(&tree.stream);
        slot.stored = [frame, raw::skippable(&stored)].concat();
        slot.sha256 = sha256(&slot.stored);
        let claims = slot.index.as_mut().unwrap();
        claims.stored_size = stored.len() as u64;
        claims.sha256 = sha256(&stored);
        claims.expanded_size = expanded;
        package(slot)
    };
    judge([
        Case::new("a frame of 2 GiB", slot(bomb(window(23), 2 << 30)), "INTEGRITY"),
        Case::new("a window of 2 GiB", slot(bomb(window(31), tree.stream.len() as u64)), "INTEGRITY"),
        Case::new("a window of 128 MiB", slot(bomb(window(27), tree.stream.len() as u64)), "INTEGRITY"),
        Case::new(
            "a slot index of 1 GiB in 32 KiB, small by its own account",
            swollen(5000, bomb(window(20), 1 << 30)),
            "INTEGRITY",
        ),
        Case::new("a slot index that says 1 GiB", swollen(1 << 30, bomb(window(20), 1 << 30)), "FORMAT"),
        Case::new(
            "a slot index as large as is allowed, of nothing",
            swollen(128 << 20, b"nothing".to_vec()),
            "INTEGRITY",
        ),
        Case::new("a slot index one byte larger", swollen((128 << 20) + 1, b"nothing".to_vec()), "FORMAT"),
        Case::new("a slot index that says all there is", swollen(u64::MAX, b"nothing".to_vec()), "FORMAT"),
    ]);
}

/// An extraction by hand refuses the same, and leaves nothing either.
#[test]
fn a20_a21_extraction_by_hand() {
    let cases = [
        ForgedTree::new(&with_program(&[ForgedEntry::file("../evil", b"x")])).slot(),
        ForgedTree::new(&with_program(&[ForgedEntry::link("l", "/etc")])).slot(),
        ForgedTree::new(&with_program(&[])).slot_with(raw::zstd_frame(b"nothing"), |_| ()),
    ];
    for (slot, class) in cases.into_iter().zip(["FORMAT", "FORMAT", "INTEGRITY"]) {
        let sandbox = pspf_tests::Sandbox::new(pspf_tests::Who::Caller);
        sandbox.write("case.psp", package(slot));
        pspf_tests::Run::pspf(&sandbox, ["extract", "case.psp", "-C", "to"]).fails(class).run();
        assert_eq!(pspf_tests::snapshot(&sandbox.work("to")), Snapshot::new());
        assert!(!sandbox.work("evil").exists());
    }
}
