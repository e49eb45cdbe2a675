//! Slot indexes: what they say, with true digests of everything (SPEC §6.2, §7.2, §7.3).

use super::Set;
use super::sample::{SCRIPT, file_index, file_slot, frame, one, package, tree, with_tree, worded, words};
use crate::forge::{ForgedEntry, ForgedSlot, ForgedTree, ForgedWords};

pub(super) fn add(set: &mut Set) {
    declared(set);
    header(set);
    frames(set);
    entries(set);
    paths(set);
    links(set);
}

/// What the metadata say of a slot index.
fn declared(set: &mut Set) {
    set.section("6.2");
    let slot = tree(&[]).slot_with(frame(&tree(&[]).stream), |_| ());
    let claims = |edit: &dyn Fn(&mut ForgedSlot)| {
        let mut slot = slot.clone();
        edit(&mut slot);
        with_tree(slot)
    };
    let index = |edit: fn(&mut crate::forge::ForgedIndex)| claims(&|slot| edit(slot.index.as_mut().expect("a tree")));
    set.format("slot-without-index", "a tree without a slot index", claims(&|slot| slot.index = None));
    let raw = ForgedSlot { index: slot.index.clone(), ..one().remove(0) };
    set.format("slot-raw-with-index", "a raw slot with a slot index", package(&[raw]));
    set.format("slot-tree-mode", "the mode of a tree is 0644", claims(&|slot| slot.mode = "0644"));
    set.format("slot-index-too-long", "a slot index is longer than its slot", index(|index| index.stored_size += 4096));
    let bytes = index(|index| index.expanded_size = (128 << 20) + 1);
    set.format("slot-index-above-limit", "a slot index has 128 MiB and one byte", bytes);
    let bytes = index(|index| index.entries = (1 << 20) + 1);
    set.format("slot-entries-above-limit", "a slot has 1,048,577 entries", bytes);
    let bytes = index(|index| index.frames = (1 << 20) + 1);
    set.format("slot-frames-above-limit", "a slot has 1,048,577 frames", bytes);
    let bytes = index(|index| index.entries = 1 << 32);
    set.format("slot-entries-wrap", "the number of entries has 33 bits", bytes);
    set.section("7.2");
    set.format("slot-entries-more", "the metadata count an entry more", index(|index| index.entries += 1));
    set.format("slot-frames-less", "the metadata count no frame", index(|index| index.frames = 0));
    let bytes = claims(&|slot| slot.expanded_size += 512);
    set.format("slot-expanded-size", "the metadata have another length of the stream", bytes);
    set.section("7.1");
    let bytes = index(|index| index.sha256[0] ^= 1);
    set.integrity("slot-index-digest", "the signed digest of the slot index is another one", bytes);
    let bytes = index(|index| index.expanded_size += 1);
    set.integrity("slot-index-length", "the slot index decodes to less than is signed", bytes);
    let bytes = index(|index| index.expanded_size -= 1);
    set.integrity("slot-index-more", "the slot index decodes to more than is signed", bytes);
}

/// A tree whose slot index was edited after it was made.
fn edited(edit: impl FnOnce(&mut Vec<u8>)) -> Vec<u8> {
    let tree = tree(&[]);
    with_tree(tree.slot_with(frame(&tree.stream), edit))
}

fn with_byte(at: usize, byte: u8) -> Vec<u8> {
    edited(|index| index[at] = byte)
}

fn header(set: &mut Set) {
    set.section("7.2");
    set.format("tree-magic", "the magic is wrong", with_byte(0, b'p'));
    set.format("tree-version", "the version is 2", with_byte(8, 2));
    set.format("tree-reserved", "the reserved bytes are not zero", with_byte(20, 1));
    set.format("tree-expanded-size", "`expanded_size` is 512 less than the entries need", with_byte(25, 6));
    let bytes = edited(|index| index[32..40].copy_from_slice(&8_589_934_592_u64.to_le_bytes()));
    set.format("tree-mtime-above-limit", "`mtime` is 8,589,934,592", bytes);
    set.format("tree-byte-behind", "a byte behind the last entry", edited(|index| index.push(0)));
    set.format("tree-cut", "the last byte is missing", edited(|index| index.truncate(index.len() - 1)));
    set.section("7.4");
    set.deep("tree-mtime", "`mtime` is another time than in the headers", with_byte(32, 7));
}

fn frames(set: &mut Set) {
    set.section("7.2");
    let tree = tree(&[]);
    let bytes = edited(|index| index[40..44].fill(0));
    set.format("frame-stored-zero", "a frame has no stored bytes", bytes);
    let bytes = edited(|index| index[40] ^= 1);
    set.format("frame-stored-size", "the frames do not add up to the stored bytes", bytes);
    let bytes = edited(|index| index[40..44].copy_from_slice(&8_454_145_u32.to_le_bytes()));
    set.format("frame-stored-above-limit", "a frame has 8,454,145 stored bytes", bytes);
    let bytes = edited(|index| index[44..48].fill(0));
    set.format("frame-expanded-zero", "a frame decodes to nothing", bytes);
    let bytes = edited(|index| index[44..48].copy_from_slice(&8_388_609_u32.to_le_bytes()));
    set.format("frame-expanded-above-limit", "a frame decodes to 8,388,609 bytes", bytes);
    let longer = ForgedTree { stream: [&tree.stream[..], &[0; 512]].concat(), ..tree };
    let slot = longer.slot_with(frame(&longer.stream), |_| ());
    set.format("frames-beyond-stream", "the stream is a block longer than its entries", with_tree(slot));
}

/// Exactly these entries.
fn exactly(entries: &[ForgedEntry]) -> Vec<u8> {
    let tree = ForgedTree::new(entries);
    with_tree(tree.slot_with(frame(&tree.stream), |_| ()))
}

/// These entries beside the program.
fn beside(more: &[ForgedEntry]) -> Vec<u8> {
    let tree = tree(more);
    with_tree(tree.slot_with(frame(&tree.stream), |_| ()))
}

fn entries(set: &mut Set) {
    set.section("7.2");
    let program = || ForgedEntry::file("tool", SCRIPT);
    let directory = ForgedEntry::directory;
    let file = |path: &str| ForgedEntry::file(path, b"x");
    let odd = |kind, executable| beside(&[ForgedEntry { kind, executable, ..file("odd") }]);
    set.format("entry-type", "an entry's type is 4", odd(4, 0));
    set.format("entry-mode", "a file's `executable` is 2", odd(1, 2));
    let bytes = beside(&[ForgedEntry { executable: 1, ..directory("a") }]);
    set.format("entry-directory-mode", "a directory's `executable` is 1", bytes);
    set.format(
        "entry-link-mode",
        "a link's `executable` is 1",
        beside(&[ForgedEntry { executable: 1, ..ForgedEntry::link("l", "tool") }]),
    );
    set.format("entry-order", "a directory stands behind a file", exactly(&[program(), directory("a")]));
    let bytes = exactly(&[ForgedEntry::link("l", "tool"), program()]);
    set.format("entry-link-first", "a symbolic link stands before a file", bytes);
    set.format("directories-order", "directories do not ascend", beside(&[directory("b"), directory("a")]));
    let bytes = beside(&[directory("a"), directory("a/b"), directory("a!")]);
    set.format("directories-order-by-component", "directories ascend by components, not by bytes", bytes);
    set.format("path-twice", "two files have one path", beside(&[file("a"), file("a")]));
    let bytes = beside(&[directory("a"), ForgedEntry::link("a", "tool")]);
    set.format("path-twice-link", "a directory and a link have one path", bytes);
    set.format("parent-missing", "a file's directory is not listed", beside(&[file("a/b")]));
    set.format("parent-file", "a file lies below a file", beside(&[file("a"), file("a/b")]));
    let below = [directory("a"), file("l/b"), ForgedEntry::link("l", "a")];
    set.format("parent-link", "a file lies below a symbolic link", beside(&below));
    set.format("hard-link-later", "a hard link names itself", beside(&[ForgedEntry::hard_link("h", 1)]));
    let bytes = beside(&[directory("a"), ForgedEntry::hard_link("h", 0)]);
    set.format("hard-link-directory", "a hard link names a directory", bytes);
    let bytes = beside(&[ForgedEntry::hard_link("h", 0), ForgedEntry::hard_link("i", 1)]);
    set.format("hard-link-chain", "a hard link names a hard link", bytes);
    set.format("hard-link-nothing", "a hard link names no entry", beside(&[ForgedEntry::hard_link("h", u32::MAX)]));
    let slot = file_slot(SCRIPT, &[(frame(SCRIPT), SCRIPT.len())]);
    let single = |slot| worded(&words(), &[slot]);
    let bytes = single(ForgedSlot { target: "other".to_owned(), ..slot.clone() });
    set.format("single-file-name", "the index of a single file has another name than the slot", bytes);
    let bytes = single(ForgedSlot { mode: "0644", ..slot });
    set.format("single-file-mode", "the index of a single file has another mode than the slot", bytes);
    let reindexed = |edit: &dyn Fn(&mut Vec<u8>)| {
        let mut index = file_index(SCRIPT, &[(frame(SCRIPT), SCRIPT.len())]);
        edit(&mut index);
        single(ForgedSlot::framed("app", "zstd", &[frame(SCRIPT)], &index, SCRIPT.len() as u64))
    };
    set.format("single-file-mtime", "the index of a single file has a time", reindexed(&|index| index[32] = 1));
    let link = [&file_index(b"", &[])[..40], b"\x03\0\x04\0tool\x01\0x"].concat();
    let link = ForgedSlot::framed("app", "zstd", &[], &link, 0);
    set.format("single-file-link", "the one entry of a single file is a symbolic link", single(link));
    // The header and one frame have 80 bytes, what is before the size 8.
    let bytes = reindexed(&|index| index[88..96].fill(0xff));
    set.format("entry-size-wraps", "the size of a file is the largest number", bytes);
    let bytes = reindexed(&|index| index[88] += 1);
    set.format("entry-size", "a file is a byte longer than its stream", bytes);
    let two = ForgedTree::new(&[program(), file("more")]);
    let slot = ForgedSlot { operations: "zstd", ..two.slot_with(frame(&two.stream), |_| ()) };
    set.format("single-file-entries", "the index of a single file has two entries", single(slot));
}

fn paths(set: &mut Set) {
    set.section("7.3");
    let long = "x".repeat(256);
    let many: Vec<u8> = vec!["y".repeat(255); 16].join("/").into_bytes();
    for (name, what, path) in [
        ("path-parent", "a path holds `..`", &b"../evil"[..]),
        ("path-point", "a path holds `.`", b"./evil"),
        ("path-absolute", "a path is absolute", b"/etc/evil"),
        ("path-empty", "a path is empty", b""),
        ("path-two-slashes", "a path holds an empty component", b"a//b"),
        ("path-slash-behind", "a path ends with a slash", b"a/"),
        ("path-nul", "a path holds a NUL", b"a\0b"),
        ("path-escape", "a path holds an escape character", b"a\x1b[2J"),
        ("path-delete", "a path holds U+007F", b"a\x7f"),
        ("path-c1", "a path holds U+0085", "a\u{85}".as_bytes()),
        ("path-no-utf8", "a path is no UTF-8", b"a\xff"),
        ("path-overlong", "a path has a point in two bytes", b"\xc0\xae\xc0\xae"),
        ("path-surrogate", "a path holds a surrogate", b"\xed\xa0\x80"),
        ("path-component-long", "a component has 256 bytes", long.as_bytes()),
    ] {
        set.format(name, what, beside(&[ForgedEntry::file(path, b"x")]));
    }
    // The directories above are all there and legal.
    let mut ends: Vec<Vec<u8>> = (1..16).map(|count| many[..count * 256 - 1].to_vec()).collect();
    ends.push([&many[..15 * 256], &[b'z'; 254]].concat());
    let mut entries: Vec<ForgedEntry> = ends.iter().map(ForgedEntry::directory).collect();
    entries.push(ForgedEntry::file([&ends[15][..], b"/z"].concat(), b"x"));
    set.format("path-long", "a path has 4,096 bytes", beside(&entries));
    let deep: Vec<ForgedEntry> = (1..=129).map(|count| ForgedEntry::directory(vec!["d"; count].join("/"))).collect();
    set.format("path-deep", "a path has 129 components", beside(&deep));
}

fn links(set: &mut Set) {
    set.section("7.3");
    let long = "a/".repeat(2048);
    for (name, what, target) in [
        ("link-absolute", "a link's target is absolute", &b"/etc/passwd"[..]),
        ("link-leaves", "a link's target is above the tree", b"../outside"),
        ("link-through-name", "`..` follows a name in a link's target", b"a/../../outside"),
        ("link-back", "`..` follows a name in a link's target, and stays inside", b"a/.."),
        ("link-empty", "a link has no target", b""),
        ("link-nul", "a link's target holds a NUL", b"a\0b"),
        ("link-control", "a link's target holds a line feed", b"a\nb"),
        ("link-no-utf8", "a link's target is no UTF-8", b"\xff"),
        ("link-long", "a link's target has 4,096 bytes", long.as_bytes()),
    ] {
        set.format(name, what, beside(&[ForgedEntry::directory("a"), ForgedEntry::link("l", target)]));
    }
    let bytes = beside(&[ForgedEntry::directory("a"), ForgedEntry::link("a/l", "../../x")]);
    set.format("link-one-too-far", "a link in a directory climbs twice", bytes);
    let words = ForgedWords { platform: "linux_amd64".to_owned(), ..ForgedWords::starting("app", "/tool") };
    let nothing = ForgedSlot { stored: Vec::new(), sha256: crate::raw::sha256(b""), ..tree(&[]).slot() };
    set.section("6.2");
    set.format("slot-stored-empty", "a tree has no stored bytes", worded(&words, &[nothing]));
}
