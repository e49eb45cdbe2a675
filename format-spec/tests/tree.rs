//! The slot index: round trips, every rule of SPEC §7 violated once, and hostile bytes.

mod common;

use common::raw;
use common::{file, path, raw_slot, sample_slots, stored_slot, stream};
use pspf_format::tree::{self, EntryKind, SlotIndex, stored_index};
use pspf_format::{Class, Error, Mode, Operations, Sha256, SlotIndexMetadata, SlotMetadata, TreePath, zstd_frame};

/// A slot index written by hand. Frames and lengths are made right for entries with short names.
#[derive(Clone)]
struct Hand {
    magic: [u8; 8],
    numbers: [u32; 2],
    mtime: u64,
    entries: Vec<Vec<u8>>,
    /// Stored and decoded length of each frame; one that holds all where there is none.
    frames: Vec<(u32, u32)>,
    tail: Vec<u8>,
    tree: bool,
}

fn text(bytes: &[u8]) -> Vec<u8> {
    [&(bytes.len() as u16).to_le_bytes()[..], bytes].concat()
}

fn entry(kind: u8, executable: u8, path: &[u8], rest: &[u8]) -> Vec<u8> {
    [&[kind, executable], &text(path)[..], rest].concat()
}

fn directory(path: &str) -> Vec<u8> {
    entry(0, 0, path.as_bytes(), &[])
}

fn plain(path: &str) -> Vec<u8> {
    entry(1, 0, path.as_bytes(), &[0; 40])
}

fn hard(path: &str, number: u32) -> Vec<u8> {
    entry(2, 0, path.as_bytes(), &number.to_le_bytes())
}

fn link(path: &str, target: &str) -> Vec<u8> {
    entry(3, 0, path.as_bytes(), &text(target.as_bytes()))
}

impl Hand {
    fn tree(entries: &[Vec<u8>]) -> Self {
        let (magic, entries) = (*b"PSPFTREE", entries.to_vec());
        Self { magic, numbers: [1, 0], mtime: 0, entries, frames: Vec::new(), tail: Vec::new(), tree: true }
    }

    /// Length of the stream where no file has content and no name is long.
    fn expanded(&self) -> u64 {
        if self.tree { self.entries.len() as u64 * 512 + 1024 } else { 0 }
    }

    fn frames(&self) -> Vec<(u32, u32)> {
        let whole = (77, u32::try_from(self.expanded()).unwrap());
        if self.frames.is_empty() && self.tree { vec![whole] } else { self.frames.clone() }
    }

    fn bytes(&self) -> Vec<u8> {
        let frames = self.frames();
        let mut bytes = self.magic.to_vec();
        for number in [self.numbers[0], frames.len() as u32, self.entries.len() as u32, self.numbers[1]] {
            bytes.extend(number.to_le_bytes());
        }
        bytes.extend(self.expanded().to_le_bytes());
        bytes.extend(self.mtime.to_le_bytes());
        for (stored, expanded) in frames {
            bytes.extend([stored.to_le_bytes(), expanded.to_le_bytes()].concat());
            bytes.extend([9; 32]);
        }
        bytes.extend(self.entries.concat());
        bytes.extend(&self.tail);
        bytes
    }

    /// Metadata that agree with it.
    fn slot(&self) -> SlotMetadata {
        let (mut slot, _) = raw_slot("tree", "tree", b"");
        let stored: u64 = self.frames().iter().map(|(stored, _)| u64::from(*stored)).sum();
        slot.operations = if self.tree { Operations::TarZstd } else { Operations::Zstd };
        slot.expanded_size = self.expanded();
        slot.stored_size = stored + 8 + 50;
        slot.index = Some(SlotIndexMetadata {
            stored_size: 50,
            sha256: Sha256([0; 32]),
            expanded_size: self.bytes().len() as u64,
            entries: self.entries.len() as u32,
            frames: self.frames().len() as u32,
        });
        slot
    }

    fn parse(&self) -> Result<SlotIndex, Error> {
        SlotIndex::parse(&self.bytes(), &self.slot())
    }
}

/// These entries must be refused, for this reason.
#[track_caller]
fn refused(entries: &[Vec<u8>], reason: &str) {
    let error = Hand::tree(entries).parse().expect_err(reason);
    assert_eq!(error.class(), Class::Format);
    assert!(error.to_string().contains(reason), "`{error}` does not say `{reason}`");
}

#[test]
fn a_slot_is_read_back_as_it_was_written() {
    for (metadata, stored) in sample_slots().into_iter().skip(1) {
        let declared = metadata.index.unwrap();
        let tail = &stored[stored.len() - 8 - declared.stored_size as usize..];
        let compressed = stored_index(tail, &metadata.id, &declared).unwrap();
        let encoded = &compressed[12..];
        let index = SlotIndex::parse(encoded, &metadata).unwrap();
        assert_eq!(index.encode(), encoded);
        assert_eq!(index.frames_len() as usize, stored.len() - tail.len());
        assert!(index.is_tree() && index.frames.len() > 1);
        for frame in &index.frames {
            let bytes = &stored[frame.offset as usize..][..frame.stored_size as usize];
            assert_eq!(Sha256::of(bytes), frame.sha256);
            assert!(zstd_frame::declares(bytes, frame.expanded_size));
        }
        let link = index.entries.iter().find(|entry| entry.path.as_str() == "again").unwrap();
        assert_eq!(link.kind, EntryKind::HardLink { file: 2, target: path("data") });
        // The tail is held to the metadata byte by byte.
        for at in 0..tail.len() {
            let mut changed = tail.to_vec();
            changed[at] ^= 1;
            let error = stored_index(&changed, &metadata.id, &declared).unwrap_err();
            assert_eq!(error.class(), Class::Integrity, "byte {at}: {error}");
        }
        assert!(stored_index(&tail[1..], &metadata.id, &declared).is_err());
        assert!(stored_index(&[], &metadata.id, &declared).is_err());
    }
}

#[test]
fn a_single_file_is_held_to_its_slot() {
    let content = [7; 3000];
    let name = "tool".try_into().unwrap();
    let mut index = SlotIndex::of_file(&name, Mode::Executable, 3000, Sha256::of(&content)).unwrap();
    let (slot, _) = stored_slot("tool", &mut index, &content, 1024);
    assert_eq!(SlotIndex::parse(&index.encode(), &slot).unwrap(), index);
    let changes: [fn(&mut SlotMetadata); 3] = [
        |slot| slot.target = "other".try_into().unwrap(),
        |slot| slot.mode = Mode::Data,
        |slot| slot.expanded_size += 1,
    ];
    for change in changes {
        let mut other = slot.clone();
        change(&mut other);
        assert!(SlotIndex::parse(&index.encode(), &other).is_err());
    }
    // An empty file has no frame; nothing but a file may stand for one; its time is zero.
    let mut empty = Hand { tree: false, ..Hand::tree(&[entry(1, 1, b"hello", &[&[0; 8][..], &[5; 32]].concat())]) };
    let mut slot = empty.slot();
    slot.target = "hello".try_into().unwrap();
    assert!(SlotIndex::parse(&empty.bytes(), &slot).unwrap().frames.is_empty());
    for kind in [directory("hello"), link("hello", "x")] {
        assert!(SlotIndex::parse(&Hand { entries: vec![kind], ..empty.clone() }.bytes(), &slot).is_err());
    }
    empty.mtime = 1;
    assert!(SlotIndex::parse(&empty.bytes(), &slot).is_err());
}

#[test]
fn the_empty_tree_is_a_tree() {
    let index = Hand::tree(&[]).parse().unwrap();
    assert_eq!((index.entries.len(), index.expanded_size), (0, 1024));
}

#[test]
fn entries_are_held_to_their_order_and_parents() {
    assert!(Hand::tree(&[directory("a"), directory("a/b"), plain("a/b/c"), plain("0"), hard("1", 2)]).parse().is_ok());
    refused(&[plain("f"), directory("a")], "order");
    refused(&[link("l", "f"), plain("f")], "order");
    refused(&[plain("f"), link("l", "f"), hard("h", 0)], "order");
    refused(&[directory("b"), directory("a")], "ascending");
    refused(&[directory("a"), directory("a")], "ascending");
    refused(&[directory("a/b"), directory("a/b/c")], "its parent");
    refused(&[directory("a"), plain("b/f")], "its parent");
    refused(&[plain("f"), plain("f/g")], "its parent");
    refused(&[directory("d"), plain("d/f"), link("l", "d"), link("l/x", "f")], "its parent");
    refused(&[plain("f"), plain("f")], "listed twice");
    refused(&[directory("a"), plain("a")], "listed twice");
    refused(&[plain("f"), hard("f", 0)], "listed twice");
    refused(&[plain("f"), link("f", "x")], "listed twice");
}

#[test]
fn a_tree_is_not_deeper_than_a_reader_can_walk() {
    let paths: Vec<String> = (1..=129).map(|depth| vec!["d"; depth].join("/")).collect();
    let of = |count: usize| {
        let entries = paths[..count].iter().map(|name| (path(name), EntryKind::Directory)).collect();
        SlotIndex::of_tree(entries, 0)
    };
    assert!(of(128).is_ok());
    let error = of(129).expect_err("129 components");
    assert!(matches!(error, Error::Tree { .. }), "{error}");
}

#[test]
fn types_modes_and_hard_links_are_held_to_their_values() {
    refused(&[entry(4, 0, b"x", &[])], "type is unknown");
    refused(&[entry(255, 0, b"x", &[])], "type is unknown");
    refused(&[entry(1, 2, b"x", &[0; 40])], "mode");
    refused(&[entry(0, 1, b"x", &[])], "mode");
    refused(&[entry(3, 1, b"x", &text(b"y"))], "mode");
    refused(&[plain("f"), hard("h", 1)], "earlier file");
    refused(&[plain("f"), hard("h", 2)], "earlier file");
    refused(&[plain("f"), hard("h", u32::MAX)], "earlier file");
    refused(&[directory("d"), hard("h", 0)], "earlier file");
    refused(&[plain("f"), hard("g", 0), hard("h", 1)], "earlier file");
}

#[test]
fn hostile_names_are_refused() {
    let long = "x".repeat(256);
    let deep = format!("{}x", "d/".repeat(2048));
    let dotted = format!("x{}", ".".repeat(255));
    for name in [
        "",
        ".",
        "..",
        "/",
        "/etc",
        "a/",
        "a//b",
        "./a",
        "a/.",
        "a/..",
        "../a",
        "a/../b",
        "a\0b",
        "a\nb",
        "\u{1b}[2J",
        "a\u{7f}",
        "\u{85}",
        "ä\u{1f}b",
        &long,
        &dotted,
        &deep,
    ] {
        assert!(TreePath::try_from(name).is_err(), "{name:?}");
        let error = Hand::tree(&[plain(name)]).parse().expect_err(name);
        assert_eq!(error.class(), Class::Format);
        assert!(!error.to_string().contains(char::is_control), "{error:?}");
    }
    refused(&[entry(1, 0, b"\xff\xfe", &[0; 40])], "not UTF-8");
    refused(&[entry(3, 0, b"l", &text(b"\xc3"))], "not UTF-8");
    for name in ["ä", "ä b", "日本", "a b", "-rf", "...", "a\\b", "CON", "~", "*", "\u{202e}x", &"x".repeat(100)] {
        assert!(Hand::tree(&[plain(name)]).parse().is_ok(), "{name:?}");
    }
    assert!(TreePath::try_from("x".repeat(255)).is_ok());
    assert!(TreePath::try_from(dotted.get(..255).unwrap()).is_ok());
    assert!(TreePath::try_from(format!("ä{}", "x".repeat(253))).is_ok());
    assert!(TreePath::try_from(format!("ä{}", "x".repeat(254))).is_err());
    let longest = format!("{}ä", "dd/".repeat(1364)) + "x";
    assert_eq!(longest.len(), 4095);
    assert!(TreePath::try_from(longest.as_str()).is_ok());
    assert!(TreePath::try_from(longest + "x").is_err());
    assert!(TreePath::try_from(format!("{}xx", "d/".repeat(2046) + "/").replace("//", "/")).is_ok());
    assert!(TreePath::try_from(deep.as_str()).is_err_and(|error| error.to_string().contains("4095")));
}

#[test]
fn paths_of_one_short_hash_are_two_paths() {
    // Both have the same sixteen bytes of state after the hash by which paths are compared first.
    let alike = ["abcdefghijklmnop", "eYf(Jd9Mvn_JC34O"];
    assert!(Hand::tree(&alike.map(plain)).parse().is_ok());
    let [one, other] = alike;
    refused(&[one, other, one].map(plain), "the path is listed twice");
}

#[test]
fn the_longest_frame_is_allowed_and_one_byte_more_is_not() {
    let file = |size| SlotIndex::of_file(&"f".try_into().unwrap(), Mode::Data, size, Sha256([0; 32])).unwrap();
    let frame =
        |stored: u32, expanded: u32| file(expanded.into()).set_frames([(stored, expanded, Sha256([0; 32]))]).is_ok();
    assert!(frame(tree::MAX_STORED_FRAME, tree::MAX_FRAME) && frame(1, 1));
    assert!(!frame(tree::MAX_STORED_FRAME + 1, tree::MAX_FRAME) && !frame(1, tree::MAX_FRAME + 1));
    assert!(!frame(0, 1) && !frame(1, 0));
}

#[test]
fn a_long_path_of_few_levels_is_not_a_deep_one() {
    let long = vec!["d".repeat(200); 3].join("/");
    let parents = [&long[..200], &long[..401]].map(|parent| (path(parent), EntryKind::Directory));
    let entries = parents.into_iter().chain([file(&long, Mode::Data, b"")]).collect();
    assert!(SlotIndex::of_tree(entries, 0).is_ok());
}

#[test]
fn a_link_cannot_leave_the_tree() {
    let at = |at: &str, target: &str| path(at).link_stays_inside(target);
    for (from, target) in [
        ("l", "x"),
        ("l", "."),
        ("l", "x/y"),
        ("l", "./x//y/"),
        ("d/l", ".."),
        ("d/l", "../x"),
        ("d/e/l", "../.././x"),
        ("d/l", "./../x"),
    ] {
        at(from, target).unwrap();
    }
    let long = "x/".repeat(2048);
    for (from, target) in [
        ("l", ""),
        ("l", "/"),
        ("l", "/etc/passwd"),
        ("l", ".."),
        ("l", "../x"),
        ("l", "./.."),
        ("d/l", "../.."),
        ("d/l", ".././../x"),
        ("d/l", "x/.."),
        ("d/l", "x/../y"),
        ("d/l", "../d/../x"),
        ("l", "a\0b"),
        ("l", "a\nb"),
        ("l", long.as_str()),
    ] {
        let error = at(from, target).expect_err(target);
        assert!(matches!(error, Error::LinkTarget { .. }), "{error}");
        assert!(error.to_string().contains(&format!("`{from}`")), "{error}");
    }
    assert!(at("l", &"x".repeat(4095)).is_ok());
    refused(&[link("l", "../x")], "leaves the slot");
    refused(&[directory("d"), link("d/l", "../../x")], "leaves the slot");
}

#[test]
fn counts_lengths_and_frames_are_held_to_the_metadata() {
    let sound = Hand::tree(&[directory("d"), plain("f")]);
    assert!(sound.parse().is_ok());
    let expanded = sound.expanded() as u32;
    let changed = |change: &dyn Fn(&mut Hand)| {
        let mut other = sound.clone();
        change(&mut other);
        other
    };
    for (other, reason) in [
        (changed(&|hand| hand.magic[0] ^= 1), "header"),
        (changed(&|hand| hand.numbers[0] = 2), "header"),
        (changed(&|hand| hand.numbers[1] = 1), "header"),
        (changed(&|hand| hand.tail.push(0)), "bytes follow"),
        (changed(&|hand| hand.frames = vec![(9, expanded - 1)]), "add up to the stream"),
        (changed(&|hand| hand.frames = vec![(9, expanded), (9, 1)]), "add up to the stream"),
        (changed(&|hand| hand.frames = vec![(9, expanded), (9, 0)]), "8 MiB"),
        (changed(&|hand| hand.frames = vec![(0, expanded)]), "8 MiB"),
        (changed(&|hand| hand.frames = vec![(9, (8 << 20) + 1)]), "8 MiB"),
        (changed(&|hand| hand.frames = vec![((8 << 20) + (64 << 10) + 1, expanded)]), "8 MiB"),
    ] {
        let error = other.parse().expect_err(reason);
        assert!(error.to_string().contains(reason), "`{error}` does not say `{reason}`");
    }
    let changes: [fn(&mut SlotMetadata); 7] = [
        |slot| slot.index.as_mut().unwrap().entries += 1,
        |slot| slot.index.as_mut().unwrap().entries = 0,
        |slot| slot.index.as_mut().unwrap().frames = u32::MAX,
        |slot| slot.index.as_mut().unwrap().stored_size += 1,
        |slot| slot.stored_size -= 1,
        |slot| slot.expanded_size += 512,
        |slot| slot.index = None,
    ];
    for change in changes {
        let mut slot = sound.slot();
        change(&mut slot);
        assert!(SlotIndex::parse(&sound.bytes(), &slot).is_err());
    }
    // A count that the bytes cannot hold costs no memory.
    let mut bytes = sound.bytes();
    let mut slot = sound.slot();
    slot.index.as_mut().unwrap().entries = u32::MAX;
    raw::put(&mut bytes, 16, &u32::MAX.to_le_bytes());
    assert!(SlotIndex::parse(&bytes, &slot).is_err());
    // A file longer than 64 bits can place.
    refused(&[entry(1, 0, b"f", &[&[0xff; 8][..], &[0; 32]].concat())], "64 bits");
}

#[test]
fn the_time_fits_its_field() {
    let most = Hand { mtime: 0o777_7777_7777, ..Hand::tree(&[plain("f")]) };
    assert!(most.parse().is_ok());
    for mtime in [0o1_0000_0000_0000, u64::MAX] {
        assert!(Hand { mtime, ..most.clone() }.parse().is_err(), "{mtime}");
        assert!(SlotIndex::of_tree(vec![file("f", Mode::Data, b"")], mtime).is_err(), "{mtime}");
    }
}

#[test]
fn changed_and_cut_bytes_never_panic_and_never_read_as_something_else() {
    let (slot, stored) = sample_slots().remove(1);
    let declared = slot.index.unwrap();
    let encoded = &stored[stored.len() - declared.stored_size as usize + 12..];
    assert!(SlotIndex::parse(encoded, &slot).is_ok());
    for len in 0..encoded.len() {
        assert!(SlotIndex::parse(&encoded[..len], &slot).is_err(), "{len} bytes");
    }
    for bit in 0..encoded.len() * 8 {
        let mut changed = encoded.to_vec();
        changed[bit / 8] ^= 1 << (bit % 8);
        // Whatever is accepted is written back as it was read: there is one encoding.
        if let Ok(index) = SlotIndex::parse(&changed, &slot) {
            assert_eq!(index.encode(), changed, "bit {bit}");
        }
    }
}

#[test]
fn the_expanded_digest_is_that_of_the_content() {
    let entries = || vec![file("f", Mode::Data, b"x")];
    let mut one = SlotIndex::of_tree(entries(), 1).unwrap();
    let mut two = SlotIndex::of_tree(entries(), 2).unwrap();
    let (a, b) = (stream(&one, &[b"x"]), stream(&two, &[b"x"]));
    stored_slot("a", &mut one, &a, 4096);
    stored_slot("b", &mut two, &b, 100);
    assert_eq!(one.expanded_digest(), two.expanded_digest());
    let other = SlotIndex::of_tree(vec![file("f", Mode::Executable, b"x")], 1).unwrap();
    assert_ne!(one.expanded_digest(), other.expanded_digest());
}

#[test]
fn the_limits_are_those_of_the_specification() {
    let limits =
        [tree::MAX_INDEX, tree::MAX_STORED_INDEX, u64::from(tree::MAX_FRAME), u64::from(tree::MAX_STORED_FRAME)];
    assert_eq!(limits, [134_217_728, 134_283_264, 8_388_608, 8_454_144]);
    assert_eq!((tree::MAX_ENTRIES, tree::MAX_FRAMES, tree::MAX_DEPTH), (1_048_576, 1_048_576, 128));
}
