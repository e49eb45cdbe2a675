//! Trees: made from bytes, and looked at by a second model of what a file system does with paths and links.

use std::collections::BTreeMap;

use pspf_format::tree::{Entry, EntryKind, SlotIndex};
use pspf_format::{Mode, Sha256, TreePath};

use crate::common;
use crate::input::Input;

/// A name of one component: short from the bytes, or long enough to need an extended header.
fn component(input: &mut Input<'_>) -> String {
    let len = input.byte();
    if len >= 128 {
        return char::from(b'a' + len % 26).to_string().repeat(usize::from(input.byte()));
    }
    let text = String::from_utf8_lossy(input.bytes(usize::from(len % 12)));
    let text: String = text.chars().map(|c| if c == '/' || c.is_control() { '_' } else { c }).collect();
    if matches!(text.as_str(), "" | "." | "..") { format!("{len}") } else { text }
}

fn name(input: &mut Input<'_>, directories: &[String]) -> String {
    let place = usize::from(input.byte());
    let own = component(input);
    match directories.get(place % (directories.len() + 1)) {
        Some(directory) => format!("{directory}/{own}"),
        None => own,
    }
}

/// A tree and the contents of its files, as some packer might make it; `None` for what the format refuses.
pub fn from_input(input: &mut Input<'_>) -> Option<(SlotIndex, Vec<Vec<u8>>)> {
    let counts = [input.byte() % 5, input.byte() % 6, input.byte() % 3, input.byte() % 4];
    let mtime = if input.byte() & 1 == 0 { 0 } else { input.number() >> 31 };
    let mut directories = Vec::new();
    for _ in 0..counts[0] {
        let directory = name(input, &directories);
        directories.push(directory);
    }
    directories.sort();
    let mut entries: Vec<(TreePath, EntryKind)> = Vec::new();
    let add = |entries: &mut Vec<_>, name: String, kind| match TreePath::try_from(name) {
        // A name that is there already is left out.
        Ok(path) if entries.iter().all(|(other, _)| *other != path) => {
            entries.push((path, kind));
            true
        }
        _ => false,
    };
    for directory in &directories {
        add(&mut entries, directory.clone(), EntryKind::Directory);
    }
    let mut contents = Vec::new();
    let first = entries.len();
    for _ in 0..counts[1] {
        let name = name(input, &directories);
        let mode = if input.byte() & 1 == 0 { Mode::Data } else { Mode::Executable };
        let len = match input.byte() {
            len @ 0..64 => usize::from(len),
            len => 512 * usize::from(1 + (len & 3)) + usize::from(len >> 5) - 4,
        };
        let content: Vec<u8> = input.bytes(8).iter().copied().chain([7]).cycle().take(len).collect();
        if add(&mut entries, name, EntryKind::File { mode, size: len as u64, sha256: Sha256::of(&content) }) {
            contents.push(content);
        }
    }
    for _ in 0..counts[2].min(u8::try_from(contents.len()).unwrap_or(0)) {
        let file = first + usize::from(input.byte()) % contents.len();
        let target = entries.get(file)?.0.clone();
        add(&mut entries, name(input, &directories), EntryKind::HardLink { file: u32::try_from(file).ok()?, target });
    }
    for _ in 0..counts[3] {
        let target = match input.byte() {
            0..32 => name(input, &directories),
            up => format!("{}{}", "../".repeat(usize::from(up % 4)), component(input)),
        };
        add(&mut entries, name(input, &directories), EntryKind::SymLink { target });
    }
    let index = SlotIndex::of_tree(entries, mtime).ok()?;
    Some((index, contents))
}

/// The stream of a tree.
pub fn stream(index: &SlotIndex, contents: &[Vec<u8>]) -> Vec<u8> {
    common::stream(index, &contents.iter().map(Vec::as_slice).collect::<Vec<_>>())
}

/// Nothing in an accepted tree lies outside it or leads out of it, and everything has one meaning.
pub fn hold_together(index: &SlotIndex) {
    let mut known: BTreeMap<&str, &Entry> = BTreeMap::new();
    for entry in &index.entries {
        let text = entry.path.as_str();
        assert!(!text.is_empty() && text.len() <= 4095 && !text.contains('\0'));
        assert!(text.split('/').all(|name| !matches!(name, "" | "." | "..") && name.len() <= 255), "{text:?}");
        if let Some((parent, _)) = text.rsplit_once('/') {
            assert!(known.get(parent).is_some_and(|entry| entry.kind == EntryKind::Directory), "{text:?}");
        }
        assert!(known.insert(text, entry).is_none(), "{text:?} twice");
        if let EntryKind::HardLink { file, target } = &entry.kind {
            let named = &index.entries[*file as usize];
            assert!(named.path == *target && matches!(named.kind, EntryKind::File { .. }));
        }
    }
    for entry in &index.entries {
        if let EntryKind::SymLink { target } = &entry.kind {
            let mut at: Vec<&str> = entry.path.as_str().split('/').collect();
            at.pop();
            follow(&known, at, target, &mut 0);
        }
    }
}

/// Walks a link's text as a kernel does, through other links too, and never above the top.
fn follow<'t>(
    known: &BTreeMap<&'t str, &'t Entry>,
    mut at: Vec<&'t str>,
    target: &'t str,
    hops: &mut u32,
) -> Option<Vec<&'t str>> {
    // The kernel gives up there, and so nothing is reached.
    *hops += 1;
    if *hops > 40 {
        return None;
    }
    assert!(!target.starts_with('/'), "a link to {target:?}");
    for name in target.split('/') {
        match name {
            "" | "." => {}
            ".." => assert!(at.pop().is_some(), "a link leaves the tree: {target:?}"),
            name => {
                at.push(name);
                match known.get(at.join("/").as_str()).map(|entry| &entry.kind) {
                    Some(EntryKind::SymLink { target }) => {
                        at.pop();
                        at = follow(known, at, target, hops)?;
                    }
                    Some(EntryKind::Directory) => {}
                    // A file, or nothing: no walk goes on from there.
                    _ => return None,
                }
            }
        }
    }
    Some(at)
}
