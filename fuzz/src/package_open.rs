//! A whole package by a hostile signer: every part may say what it likes, and the signature is right.
//!
//! What is accepted is extracted to exactly what its slot index says; what is refused leaves nothing behind.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::Path;

use pspf_format::tree::{EntryKind, SlotIndex};
use pspf_format::{Layout, Lifecycle, Mode, Operations, Sha256, SlotMetadata, VerifiedPackage};
use pspf_launcher::{PackageFile, Progress, extract_to, slot_index};

use crate::common::raw::{self, Parts};
use crate::common::{self, StoredSlot, key};
use crate::file::{self, Directory};
use crate::input::Input;
use crate::tree;

/// The bytes decide on a tree, on what is changed where, and on how.
pub fn target(data: &[u8]) {
    let mut input = Input(data);
    let Some(bytes) = forge(&mut input) else { return };
    let package = file::in_memory(&bytes);
    let Ok(opened) = file::open(&package) else { return };
    let deep = file::verify(&bytes, true);
    for slot in 0..opened.slots().count() {
        extract(&package, &opened, slot, deep.is_ok());
    }
}

/// A signed package, or nothing where the writer itself cannot go on.
fn forge(input: &mut Input<'_>) -> Option<Vec<u8>> {
    let what = input.byte();
    let mut slots = vec![common::raw_slot("bin", "hello", b"hello\n")];
    let (mut index, contents) = tree::from_input(input)?;
    let mut stream = tree::stream(&index, &contents);
    if what & 1 != 0 {
        input.edit(&mut stream, true);
    }
    let most = 400 + input.short() % 4096;
    let mut tree = common::stored_slot("app", &mut index, &stream, most);
    if what & 2 != 0 {
        let mut bytes = index.encode();
        input.edit(&mut bytes, false);
        with_index(&mut tree, index.frames_len(), &bytes);
    }
    if what & 4 != 0 {
        input.edit(&mut tree.1, false);
        tree.0.stored_size = tree.1.len() as u64;
        tree.0.sha256 = Sha256::of(&tree.1);
    }
    slots.push(tree);
    if what & 8 != 0 {
        let slot = usize::from(input.byte() & 1);
        lie(&mut slots[slot].0, input);
    }
    let metadata = common::metadata(&slots);
    let mut json = metadata.to_json();
    if what & 16 != 0 {
        input.edit(&mut json, false);
    }
    // What the slots claim to be long does not fit into 64 bits: there is no table of it.
    let table = Layout::new(1024, json.len() as u64, &metadata.pspf).ok()?.table;
    let mut parts = Parts {
        launcher: common::launcher(),
        metadata: raw::gzip(&json),
        table,
        slots: slots.into_iter().map(|(_, stored)| stored).collect(),
    };
    if what & 32 != 0 {
        input.edit(&mut parts.table, true);
    }
    let bytes = parts.seal(&key(1));
    if what & 64 == 0 {
        return Some(bytes);
    }
    let mut index = raw::index(&bytes).to_vec();
    input.edit(&mut index, true);
    Some(raw::resigned(&bytes, &key(1), |place| place.copy_from_slice(&index)))
}

/// Puts another index behind the frames, with true digests.
fn with_index((slot, stored): &mut StoredSlot, frames_len: u64, bytes: &[u8]) {
    let compressed = raw::zstd_frame(bytes);
    stored.truncate(usize::try_from(frames_len).unwrap());
    stored.extend(raw::skippable(&compressed));
    let index = slot.index.as_mut().unwrap();
    index.stored_size = compressed.len() as u64;
    index.expanded_size = bytes.len() as u64;
    index.sha256 = Sha256::of(&compressed);
    let count = |at: usize| bytes.get(at..at + 4).map_or(0, |word| u32::from_le_bytes(word.try_into().unwrap()));
    (index.frames, index.entries) = (count(12), count(16));
    slot.expanded_size = bytes.get(24..32).map_or(0, |word| u64::from_le_bytes(word.try_into().unwrap()));
    slot.stored_size = stored.len() as u64;
    slot.sha256 = Sha256::of(stored);
}

/// Lets the metadata say something else of a slot, once in each of their renderings.
fn lie(slot: &mut SlotMetadata, input: &mut Input<'_>) {
    let Some(index) = &mut slot.index else {
        slot.expanded_size = input.number();
        return;
    };
    match input.byte() % 10 {
        0 => slot.stored_size = input.number(),
        1 => slot.expanded_size = input.number(),
        2 => slot.operations = Operations::Zstd,
        3 => slot.mode = Mode::Data,
        4 => slot.lifecycle = Lifecycle::Lazy,
        5 => index.stored_size = input.number(),
        6 => index.expanded_size = input.number(),
        7 => index.entries = u32::try_from(input.number()).unwrap_or(u32::MAX),
        8 => index.frames = u32::try_from(input.number()).unwrap_or(u32::MAX),
        _ => slot.index = None,
    }
}

fn extract(package: &PackageFile, opened: &VerifiedPackage, position: usize, sound: bool) {
    let slot = opened.slots().nth(position).unwrap();
    let directory = Directory::new();
    let extracted = extract_to(package, slot, &directory.c_path(), |_| (), &Progress::silent());
    let target = slot.metadata.target.as_str();
    let found: Vec<_> = fs::read_dir(&directory.0).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    match extracted {
        Err(error) => {
            assert!(!sound, "accepted as a whole, and not extracted: {error}");
            assert!(found.is_empty(), "left behind: {found:?}");
        }
        Ok(_) => {
            assert_eq!(found, [target]);
            let index = slot_index(package, slot).unwrap();
            tree::hold_together(&index);
            if index.is_tree() {
                compare(&directory.0.join(target), &index, sound);
            } else {
                let content = fs::read(directory.0.join(target)).unwrap();
                assert_eq!(content.len() as u64, index.entries[0].size());
            }
        }
    }
}

/// The tree on disk is the one in the index; where `sound`, the contents of its files too.
fn compare(root: &Path, index: &SlotIndex, sound: bool) {
    let mut found = BTreeMap::new();
    list(root, String::new(), &mut found);
    for entry in &index.entries {
        let path = entry.path.as_str();
        let stat = found.remove(path).unwrap_or_else(|| panic!("{path:?} is missing"));
        match &entry.kind {
            EntryKind::Directory => assert!(stat.is_dir()),
            EntryKind::File { mode, size, sha256 } => {
                assert!(stat.is_file() && stat.len() == *size, "{path:?}");
                let executable = stat.permissions().mode() & 0o111 != 0;
                assert_eq!(executable, *mode == Mode::Executable, "{path:?}");
                assert!(!sound || Sha256::of(&fs::read(root.join(path)).unwrap()) == *sha256, "{path:?}");
            }
            EntryKind::HardLink { target, .. } => {
                assert_eq!(stat.ino(), fs::symlink_metadata(root.join(target.as_str())).unwrap().ino());
            }
            EntryKind::SymLink { target } => {
                assert_eq!(fs::read_link(root.join(path)).unwrap(), Path::new(target));
            }
        }
    }
    assert!(found.is_empty(), "added: {found:?}");
}

fn list(directory: &Path, prefix: String, found: &mut BTreeMap<String, fs::Metadata>) {
    for entry in fs::read_dir(directory).unwrap() {
        let entry = entry.unwrap();
        let path = format!("{prefix}{}", entry.file_name().to_str().unwrap());
        let stat = fs::symlink_metadata(entry.path()).unwrap();
        if stat.is_dir() {
            list(&entry.path(), format!("{path}/"), found);
        }
        found.insert(path, stat);
    }
}
