//! Small packages for the tests of `pspf verify` and `pspf inspect`.

use std::io::Write;

use pspf_format::tree::{EntryKind, SkippableHeader, SlotIndex};
use pspf_format::{
    Draft, IndexBlock, LauncherMetadata, Layout, Lifecycle, Metadata, Mode, Operations, Package, PackageWord, Part,
    Platform, Pspf, Record, Run, Sha256, SlotDescriptor, SlotId, SlotIndexMetadata, SlotMetadata, TreePath, tar,
};
use pspf_keys::SecretKey;

/// A key from a seed of one repeated byte.
pub(crate) fn key(byte: u8) -> SecretKey {
    SecretKey::from_seed(&[byte; 32])
}

/// A launcher that starts nothing, of a length that padding follows.
fn launcher() -> Vec<u8> {
    (0..1021_u32).map(|i| (i % 251) as u8).collect()
}

fn raw_slot() -> (SlotMetadata, Vec<u8>) {
    let content = b"hello\n".to_vec();
    let slot = SlotMetadata {
        id: SlotId::try_from("bin").unwrap(),
        target: "hello".try_into().unwrap(),
        operations: Operations::Raw,
        lifecycle: Lifecycle::Runtime,
        platform: None,
        mode: Mode::Executable,
        stored_size: content.len() as u64,
        sha256: Sha256::of(&content),
        expanded_size: content.len() as u64,
        index: None,
    };
    (slot, content)
}

fn tree_slot() -> (SlotMetadata, Vec<u8>) {
    let path = |text: &str| TreePath::try_from(text).unwrap();
    let file = |mode, content: &[u8]| EntryKind::File { mode, size: content.len() as u64, sha256: Sha256::of(content) };
    let contents: [&[u8]; 2] = [b"#!/bin/sh\n", &[7; 700]];
    let entries = vec![
        (path("bin"), EntryKind::Directory),
        (path("bin/start"), file(Mode::Executable, contents[0])),
        (path("data"), file(Mode::Data, contents[1])),
        (path("again"), EntryKind::HardLink { file: 2, target: path("data") }),
        (path("bin/link"), EntryKind::SymLink { target: "../data".to_owned() }),
    ];
    let mut index = SlotIndex::of_tree(entries, 0).unwrap();
    let mut stream = Vec::new();
    let mut contents = contents.iter();
    for entry in &index.entries {
        tar::write_header(entry, index.mtime, &mut stream);
        if matches!(entry.kind, EntryKind::File { .. }) {
            stream.extend(*contents.next().unwrap());
            stream.resize(stream.len().next_multiple_of(512), 0);
        }
    }
    stream.resize(index.expanded_size as usize, 0);
    let mut stored = zstd::bulk::compress(&stream, 3).unwrap();
    index.set_frames([(stored.len() as u32, stream.len() as u32, Sha256::of(&stored))]).unwrap();
    let encoded = index.encode();
    let stored_index = zstd::bulk::compress(&encoded, 3).unwrap();
    stored.extend(SkippableHeader::new(stored_index.len() as u32).to_bytes());
    stored.extend(&stored_index);
    let slot = SlotMetadata {
        id: SlotId::try_from("app").unwrap(),
        target: "tree".try_into().unwrap(),
        operations: Operations::TarZstd,
        stored_size: stored.len() as u64,
        sha256: Sha256::of(&stored),
        expanded_size: index.expanded_size,
        index: Some(SlotIndexMetadata {
            stored_size: stored_index.len() as u64,
            sha256: Sha256::of(&stored_index),
            expanded_size: encoded.len() as u64,
            entries: index.entries.len() as u32,
            frames: index.frames.len() as u32,
        }),
        ..raw_slot().0
    };
    (slot, stored)
}

/// A package and where its parts are.
pub(crate) struct Sample {
    pub(crate) bytes: Vec<u8>,
    pub(crate) layout: Layout,
}

/// A sealed package of a raw slot `bin` and a tree `app`, signed by each key, the first one first.
pub(crate) fn sealed(signers: &[&SecretKey]) -> Sample {
    of_slots([raw_slot(), tree_slot()], signers)
}

/// The same, and the digest that its metadata give of the whole tree is that of nothing.
pub(crate) fn untrue(signer: &SecretKey) -> Sample {
    let (tree, stored) = tree_slot();
    of_slots([raw_slot(), (SlotMetadata { sha256: Sha256([7; 32]), ..tree }, stored)], &[signer])
}

fn of_slots(slots: [(SlotMetadata, Vec<u8>); 2], signers: &[&SecretKey]) -> Sample {
    let word = |text| PackageWord::try_from(text).unwrap();
    let run = Run {
        command: vec!["{slot:bin}".to_owned(), "it's".to_owned()],
        argv0: None,
        cwd: None,
        env: Default::default(),
        setup: Vec::new(),
        shutdown: Vec::new(),
    };
    let metadata = Metadata {
        package: Package { name: word("sample"), version: word("1.0"), description: Some("a\u{1b}[2Jb".to_owned()) },
        launcher: LauncherMetadata { size: launcher().len() as u64, sha256: Sha256::of(&launcher()) },
        pspf: Pspf {
            seal: 1,
            tool_version: word("0.1.0"),
            platform: Platform::try_from("linux_amd64").unwrap(),
            run,
            slots: slots.iter().map(|(slot, _)| slot.clone()).collect(),
        },
    };
    let stored = metadata.to_stored().unwrap();
    let layout = Layout::new(metadata.launcher.size, stored.len() as u64, &metadata.pspf).unwrap();
    let mut draft = Draft::new(&layout, &metadata.launcher, &stored, 0);
    draft.set_signer(&signers[0].public_key(), Some(signers[0].sign(&metadata.to_json())));
    for signer in signers {
        draft.add(&signer.public_key(), signer.sign(&draft.message())).unwrap();
    }
    let mut bytes = Vec::new();
    for (part, span) in layout.parts() {
        match part {
            None => bytes.resize(bytes.len() + span.len as usize, 0),
            Some(Part::Launcher) => bytes.extend(launcher()),
            Some(Part::Metadata) => bytes.extend(&stored),
            Some(Part::SlotTable) => bytes.extend(&layout.table),
            Some(Part::Slot(position)) => bytes.extend(&slots[position].1),
            Some(Part::Trailer) => bytes.extend(draft.trailer().unwrap()),
        }
    }
    assert_eq!(bytes.len() as u64, layout.package_size());
    Sample { bytes, layout }
}

/// A package as the reference builder in Rust makes it: no seal; slots of these bytes, 3 bytes after the table; 5 bytes
/// of nothing before the trailer.
pub(crate) fn unsealed(signer: &SecretKey, slots: &[&[u8]]) -> Vec<u8> {
    let id = |number: usize| format!("s{number}\u{1b}");
    let described = slots.iter().enumerate().map(|(number, content)| {
        serde_json::json!({
            "slot": number, "id": id(number), "target": format!("t{number}"), "size": content.len(),
            "checksum": format!("sha256:{}", Sha256::of(content)), "operations": "raw", "purpose": "data",
            "lifecycle": "runtime",
        })
    });
    let json = serde_json::json!({
        "package": { "name": "foreign\u{1b}", "version": "2" }, "slots": described.collect::<Vec<_>>(), "other": [1],
        "build": { "tool": "flavor-rs" },
    });
    let json = serde_json::to_vec(&json).unwrap();
    let stored = gzip(&json);

    let mut bytes = launcher();
    let mut index = IndexBlock::empty();
    index.launcher_size = bytes.len() as u64;
    index.metadata_offset = bytes.len() as u64;
    index.metadata_size = stored.len() as u64;
    index.metadata_checksum = Sha256::of(&stored).0;
    bytes.extend(&stored);
    index.slot_table_offset = bytes.len() as u64;
    index.slot_count = slots.len() as u32;
    index.slot_table_size = 64 * slots.len() as u64;
    let mut offset = index.slot_table_offset + index.slot_table_size + 3;
    for (number, slot) in slots.iter().enumerate() {
        let mut row = SlotDescriptor::from_bytes(&[0; 64]).unwrap();
        (row.id, row.name_hash) = (number as u64, Sha256::of(id(number).as_bytes()).short());
        (row.offset, row.size, row.original_size) = (offset, slot.len() as u64, slot.len() as u64);
        (row.checksum, row.lifecycle, row.priority) = (Sha256::of(slot).short(), 2, 1);
        row.permissions = 0o600;
        offset += row.size;
        bytes.extend(row.to_bytes());
    }
    bytes.extend([0; 3]);
    slots.iter().for_each(|slot| bytes.extend(*slot));
    bytes.extend([0; 5]);
    index.package_size = bytes.len() as u64 + 8200;
    index.public_key = *signer.public_key().as_bytes();
    index.integrity_signature[..64].copy_from_slice(&signer.sign(&json).to_bytes());
    bytes.extend(pspf_format::START_MAGIC);
    let mut index = index.to_bytes();
    let checksum = pspf_format::index_checksum(&index);
    index[4..8].copy_from_slice(&checksum.to_le_bytes());
    bytes.extend(index);
    bytes.extend(pspf_format::END_MAGIC);
    bytes
}

/// The sealed package with its seal zeroed and the checksum made right.
pub(crate) fn stripped(sealed: &[u8]) -> Vec<u8> {
    let mut bytes = sealed.to_vec();
    let start = bytes.len() - 8196;
    bytes[start + pspf_format::SEAL_OFFSET..start + 8192].fill(0);
    let checksum = pspf_format::index_checksum(&bytes[start..start + 8192]);
    bytes[start + 4..start + 8].copy_from_slice(&checksum.to_le_bytes());
    bytes
}

/// One gzip member with one stored block.
fn gzip(content: &[u8]) -> Vec<u8> {
    let len = u16::try_from(content.len()).unwrap();
    let mut crc = !0_u32;
    for byte in content {
        crc ^= u32::from(*byte);
        for _ in 0..8 {
            crc = (crc >> 1) ^ (0xedb8_8320 & (crc & 1).wrapping_neg());
        }
    }
    let mut member = vec![0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 0xff, 1];
    for part in
        [&len.to_le_bytes()[..], &(!len).to_le_bytes(), content, &(!crc).to_le_bytes(), &u32::from(len).to_le_bytes()]
    {
        member.write_all(part).unwrap();
    }
    member
}
