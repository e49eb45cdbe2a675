//! What the tests share: a small package made with the crate, and a second writer that can also make wrong ones.
//!
//! The second writer ([`raw`]) knows offsets and digests by number, as SPEC.md has them, and takes none of them from
//! the crate, so that a mistake in the crate is not repeated here.
#![allow(dead_code, reason = "each test binary uses a part of it")]

pub(crate) mod raw;
pub(crate) mod spec;

use pspf_format::keys::SecretKey;
use pspf_format::tree::{EntryKind, SlotIndex};
use pspf_format::{
    Draft, Error, LauncherMetadata, Layout, Lifecycle, Metadata, Mode, Operations, Package, PackageWord, Part,
    Platform, Pspf, Run, Sha256, SlotId, SlotIndexMetadata, SlotMetadata, Span, Trailer, TreePath, UnverifiedPackage,
    VerifiedPackage, tar,
};

/// A key from a seed of one repeated byte.
pub(crate) fn key(byte: u8) -> SecretKey {
    SecretKey::from_seed(&[byte; 32])
}

/// A launcher that starts nothing: 1,024 bytes.
pub(crate) fn launcher() -> Vec<u8> {
    (0..1024_u32).map(|i| (i % 251) as u8).collect()
}

pub(crate) fn path(text: &str) -> TreePath {
    TreePath::try_from(text).unwrap()
}

/// A slot's metadata and its stored bytes.
pub(crate) type StoredSlot = (SlotMetadata, Vec<u8>);

/// A raw slot.
pub(crate) fn raw_slot(id: &str, target: &str, content: &[u8]) -> StoredSlot {
    let slot = SlotMetadata {
        id: SlotId::try_from(id).unwrap(),
        target: target.try_into().unwrap(),
        operations: Operations::Raw,
        lifecycle: Lifecycle::Runtime,
        platform: None,
        mode: Mode::Executable,
        stored_size: content.len() as u64,
        sha256: Sha256::of(content),
        expanded_size: content.len() as u64,
        index: None,
    };
    (slot, content.to_vec())
}

/// A file entry with its content.
pub(crate) fn file(name: &str, mode: Mode, content: &[u8]) -> (TreePath, EntryKind) {
    (path(name), EntryKind::File { mode, size: content.len() as u64, sha256: Sha256::of(content) })
}

/// The stream of a tree whose files, in order, have these contents.
pub(crate) fn stream(index: &SlotIndex, contents: &[&[u8]]) -> Vec<u8> {
    let mut contents = contents.iter();
    let mut stream = Vec::new();
    for entry in &index.entries {
        assert_eq!(stream.len() as u64, entry.start);
        tar::write_header(entry, index.mtime, &mut stream);
        assert_eq!(stream.len() as u64, entry.content);
        if matches!(entry.kind, EntryKind::File { .. }) {
            stream.extend(*contents.next().unwrap());
            stream.resize(stream.len().next_multiple_of(512), 0);
        }
    }
    stream.resize(stream.len() + 1024, 0);
    assert_eq!(stream.len() as u64, index.expanded_size);
    stream
}

/// Cuts a stream into frames of at most `most` bytes and finishes the slot.
pub(crate) fn stored_slot(id: &str, index: &mut SlotIndex, stream: &[u8], most: usize) -> StoredSlot {
    let frames: Vec<(u32, Vec<u8>)> =
        stream.chunks(most).map(|part| (part.len() as u32, raw::zstd_frame(part))).collect();
    index.set_frames(frames.iter().map(|(len, frame)| (frame.len() as u32, *len, Sha256::of(frame)))).unwrap();
    let stored_index = raw::zstd_frame(&index.encode());
    let mut stored: Vec<u8> = frames.into_iter().flat_map(|(_, frame)| frame).collect();
    stored.extend(raw::skippable(&stored_index));
    let first = &index.entries.first();
    let (mut slot, _) = raw_slot(id, "tree", b"");
    if index.is_tree() {
        slot.operations = Operations::TarZstd;
    } else {
        slot.operations = Operations::Zstd;
        slot.target = first.unwrap().path.as_str().try_into().unwrap();
    }
    slot.stored_size = stored.len() as u64;
    slot.sha256 = Sha256::of(&stored);
    slot.expanded_size = index.expanded_size;
    slot.index = Some(SlotIndexMetadata {
        stored_size: stored_index.len() as u64,
        sha256: Sha256::of(&stored_index),
        expanded_size: index.encode().len() as u64,
        entries: index.entries.len() as u32,
        frames: index.frames.len() as u32,
    });
    (slot, stored)
}

/// Metadata over these slots.
pub(crate) fn metadata(slots: &[StoredSlot]) -> Metadata {
    let word = |text| PackageWord::try_from(text).unwrap();
    let first = slots.first().map_or("none", |(slot, _)| slot.id.as_str());
    let run = Run {
        command: vec![format!("{{slot:{first}}}")],
        argv0: None,
        cwd: None,
        env: Default::default(),
        setup: Vec::new(),
        shutdown: Vec::new(),
    };
    Metadata {
        package: Package { name: word("sample"), version: word("1.0"), description: None },
        launcher: LauncherMetadata { size: 1024, sha256: Sha256::of(&launcher()) },
        pspf: Pspf {
            seal: 1,
            tool_version: word("0.1.0"),
            platform: Platform::try_from("linux_amd64").unwrap(),
            run,
            slots: slots.iter().map(|(slot, _)| slot.clone()).collect(),
        },
    }
}

/// The two slots of the usual sample: a raw file and a tree.
pub(crate) fn sample_slots() -> Vec<StoredSlot> {
    let contents: [&[u8]; 2] = [b"#!/bin/sh\n", &[7; 700]];
    let entries = vec![
        (path("bin"), EntryKind::Directory),
        file("bin/start", Mode::Executable, contents[0]),
        file("data", Mode::Data, contents[1]),
        (path("again"), EntryKind::HardLink { file: 2, target: path("data") }),
        (path("bin/link"), EntryKind::SymLink { target: "../data".to_owned() }),
    ];
    let mut index = SlotIndex::of_tree(entries, 1_000_000_000).unwrap();
    let stream = stream(&index, &contents);
    vec![raw_slot("bin", "hello", b"hello\n"), stored_slot("app", &mut index, &stream, 2048)]
}

/// A package of these slots, signed by each key, the first one first.
pub(crate) fn package(metadata: &Metadata, slots: &[StoredSlot], signers: &[&SecretKey], base: bool) -> Vec<u8> {
    let stored = metadata.to_stored().unwrap();
    package_with(metadata, &stored, slots, signers, base)
}

/// As [`package`], with the stored metadata given.
pub(crate) fn package_with(
    metadata: &Metadata,
    stored: &[u8],
    slots: &[StoredSlot],
    signers: &[&SecretKey],
    base: bool,
) -> Vec<u8> {
    let layout = Layout::new(1024, stored.len() as u64, &metadata.pspf).unwrap();
    let mut draft = Draft::new(&layout, &metadata.launcher, stored, 0);
    let first = signers.first().unwrap();
    draft.set_signer(&first.public_key(), base.then(|| first.sign(&metadata.to_json())));
    for signer in signers {
        draft.add(&signer.public_key(), signer.sign(&draft.message())).unwrap();
    }
    let mut bytes = Vec::new();
    for (part, span) in layout.parts() {
        assert_eq!(span.offset, bytes.len() as u64);
        match part {
            None => bytes.resize(bytes.len() + span.len as usize, 0),
            Some(Part::Launcher) => bytes.extend(launcher()),
            Some(Part::Metadata) => bytes.extend(stored),
            Some(Part::SlotTable) => bytes.extend(&layout.table),
            Some(Part::Slot(position)) => bytes.extend(&slots[position].1),
            Some(Part::Trailer) => bytes.extend(draft.trailer().unwrap()),
        }
    }
    assert_eq!(bytes.len() as u64, layout.package_size());
    bytes
}

/// The usual sample, with two signatures and a base signature.
pub(crate) fn sample() -> Vec<u8> {
    let slots = sample_slots();
    package(&metadata(&slots), &slots, &[&key(1), &key(2)], true)
}

/// The last bytes of a file, as a reader takes them.
pub(crate) fn trailer(bytes: &[u8]) -> Result<Box<Trailer>, Error> {
    bytes.last_chunk().map(|trailer| Box::new(*trailer)).ok_or(Error::NotAPackage)
}

/// The trailer, read and well formed.
pub(crate) fn parse(bytes: &[u8]) -> Result<UnverifiedPackage, Error> {
    UnverifiedPackage::parse(&*trailer(bytes)?, bytes.len() as u64)
}

/// The bytes of a part.
pub(crate) fn part(bytes: &[u8], span: Span) -> &[u8] {
    &bytes[span.offset as usize..(span.offset + span.len) as usize]
}

/// What a verifier does (SPEC §8.2), everything but decoding.
pub(crate) fn verify(bytes: &[u8]) -> Result<VerifiedPackage, Error> {
    let sealed = parse(bytes)?.verify_all()?;
    let (metadata, table) = (sealed.metadata_span(), sealed.slot_table_span());
    let package = sealed.open(part(bytes, metadata), part(bytes, table))?;
    package.verify_base_signature()?;
    compare_parts(&package, bytes)?;
    Ok(package)
}

/// Compares the parts that a start does not read: launcher, padding, slots.
pub(crate) fn compare_parts(package: &VerifiedPackage, bytes: &[u8]) -> Result<(), Error> {
    for (name, span) in package.layout().parts() {
        let found = Sha256::of(part(bytes, span));
        match name {
            None if part(bytes, span).iter().any(|&byte| byte != 0) => {
                return Err(Error::Padding { offset: span.offset });
            }
            Some(Part::Launcher) if found != package.launcher_sha256() => {
                return Err(Error::Digest { part: "launcher", expected: package.launcher_sha256(), found });
            }
            Some(Part::Slot(position)) => {
                let slot = &package.metadata().pspf.slots[position];
                if found != slot.sha256 {
                    return Err(Error::SlotDigest { slot: slot.id.clone(), expected: slot.sha256, found });
                }
            }
            _ => {}
        }
    }
    Ok(())
}
