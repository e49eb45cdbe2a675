//! What a reader allocates is bounded by what it reads. Alone in its file, because it measures the process.
#![cfg(target_os = "linux")]

mod common;

use common::{path, raw_slot};
use pspf_format::tree::{EntryKind, SlotIndex};
use pspf_format::{Mode, Operations, Sha256, SlotIndexMetadata};

/// The most memory that this process has had, in KiB.
fn peak() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    line.trim().trim_end_matches(" kB").parse().unwrap()
}

/// Many hard links with short names to one file with a long one: each must not cost the length of the long one.
#[test]
fn hard_links_to_a_long_path_cost_no_more_than_they_are_long() {
    let count = 30_000_u32;
    let directories: Vec<String> = (1..16).map(|depth| vec!["d".repeat(250); depth].join("/")).collect();
    let mut entries: Vec<_> = directories.iter().map(|name| (path(name), EntryKind::Directory)).collect();
    let long = format!("{}/{}", directories[14], "f".repeat(250));
    entries.push((path(&long), EntryKind::File { mode: Mode::Data, size: 0, sha256: Sha256([0; 32]) }));
    let mut index = SlotIndex::of_tree(entries, 0).unwrap();
    let mut bytes = index.encode();
    // Each link has a block, and an extended header for the long path.
    let header = 512 + 512 + (long.len() as u64 + "4099 linkpath=\n".len() as u64).next_multiple_of(512);
    let expanded = index.expanded_size + u64::from(count) * header;
    let frames: Vec<(u32, u32)> = (0..expanded)
        .step_by(8 << 20)
        .map(|start| (1, u32::try_from((expanded - start).min(8 << 20)).unwrap()))
        .collect();
    index.expanded_size = expanded;
    index.set_frames(frames.iter().map(|(stored, len)| (*stored, *len, Sha256([0; 32])))).unwrap();
    bytes = [&index.encode()[..40 + 40 * frames.len()], &bytes.split_off(40)].concat();
    for number in 0..count {
        let name = number.to_string();
        bytes.extend([&[2, 0, name.len() as u8, 0], name.as_bytes(), &15_u32.to_le_bytes()].concat());
    }
    bytes[16..20].copy_from_slice(&(16 + count).to_le_bytes());
    let (mut slot, _) = raw_slot("tree", "tree", b"");
    slot.operations = Operations::TarZstd;
    slot.expanded_size = expanded;
    slot.stored_size = frames.len() as u64 + 8 + 50;
    slot.index = Some(SlotIndexMetadata {
        stored_size: 50,
        sha256: Sha256([0; 32]),
        expanded_size: bytes.len() as u64,
        entries: 16 + count,
        frames: frames.len() as u32,
    });
    let before = peak();
    let index = SlotIndex::parse(&bytes, &slot).unwrap();
    let grown = peak() - before;
    assert_eq!(index.entries.len(), 16 + count as usize);
    assert!(grown < 32 << 10, "{grown} KiB for an index of {} KiB", bytes.len() >> 10);
}
