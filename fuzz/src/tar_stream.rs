//! The tar stream of a tree: another reader of tar sees in it what the slot index says, and no other stream is
//! accepted with that index.

use std::io::Read as _;

use pspf_format::tree::{EntryKind, SlotIndex};
use pspf_format::{Mode, Sha256};
use tar::{Archive, EntryType};

use crate::common::{self, key};
use crate::file;
use crate::input::Input;
use crate::tree;

/// The bytes decide on a tree, on where its stream is cut into frames, and on changes to it.
pub fn target(data: &[u8]) {
    let mut input = Input(data);
    let Some((mut index, contents)) = tree::from_input(&mut input) else { return };
    let stream = tree::stream(&index, &contents);
    another_reader_agrees(&index, &stream);
    let most = 400 + input.short() % 2048;
    let mut changed = stream.clone();
    input.edit(&mut changed, true);
    let slots = [common::stored_slot("app", &mut index, &changed, most)];
    let package = common::package(&common::metadata(&slots), &slots, &[&key(1)], false);
    let accepted = file::verify(&package, true);
    assert_eq!(accepted.is_ok(), changed == stream, "{:?}", accepted.err());
}

/// The tree that `data` decides on, with its stream: for readers that are programs of their own.
pub fn stream_of(data: &[u8]) -> Option<(SlotIndex, Vec<u8>)> {
    let (index, contents) = tree::from_input(&mut Input(data))?;
    let stream = tree::stream(&index, &contents);
    Some((index, stream))
}

fn another_reader_agrees(index: &SlotIndex, stream: &[u8]) {
    let mut archive = Archive::new(stream);
    let mut members = archive.entries().unwrap();
    for entry in &index.entries {
        let mut member = members.next().expect("the other reader sees fewer").unwrap();
        let slash = if entry.kind == EntryKind::Directory { "/" } else { "" };
        assert_eq!(member.path_bytes(), format!("{}{slash}", entry.path).as_bytes());
        assert_eq!((member.size(), member.header().mtime().unwrap()), (entry.size(), index.mtime));
        let (kind, mode, link) = match &entry.kind {
            EntryKind::Directory => (EntryType::Directory, 0o755, None),
            EntryKind::File { mode: Mode::Executable, .. } => (EntryType::Regular, 0o755, None),
            EntryKind::File { .. } => (EntryType::Regular, 0o644, None),
            EntryKind::HardLink { target, .. } => (EntryType::Link, 0o644, Some(target.as_str())),
            EntryKind::SymLink { target } => (EntryType::Symlink, 0o777, Some(target.as_str())),
        };
        assert_eq!((member.header().entry_type(), member.header().mode().unwrap()), (kind, mode));
        assert_eq!(member.link_name_bytes().as_deref(), link.map(str::as_bytes));
        if let EntryKind::File { sha256, .. } = &entry.kind {
            let mut content = Vec::new();
            member.read_to_end(&mut content).unwrap();
            assert_eq!(Sha256::of(&content), *sha256);
        }
    }
    assert!(members.next().is_none(), "the other reader sees more");
}
