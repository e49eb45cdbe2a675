//! The content of a slot without a seal: whatever archive it holds and however it is stored, what is unpacked stays in
//! its directory, is file or directory, and carries no rights beyond those for reading, writing and executing.

use std::fs;
use std::io::Write as _;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use pspf_format::{Operation, Sha256, Span, UnsealedSlot};
use pspf_unsealed::{decode_all, unpack_slot};

use crate::file::{self, Directory};
use crate::input::Input;

/// An archive to begin with: directories, files, a long name.
fn archive() -> Vec<u8> {
    let mut archive = tar::Builder::new(Vec::new());
    let mut add = |path: &str, kind, mode, content: &[u8]| {
        let mut header = tar::Header::new_ustar();
        header.set_entry_type(kind);
        header.set_mode(mode);
        header.set_size(content.len() as u64);
        archive.append_data(&mut header, path, content).unwrap();
    };
    add("d/", tar::EntryType::Directory, 0o755, b"");
    add("d/file", tar::EntryType::Regular, 0o644, b"content");
    add(&"long/".repeat(30), tar::EntryType::Directory, 0o700, b"");
    add("program", tar::EntryType::Regular, 0o4755, b"#!/bin/sh\n");
    archive.into_inner().unwrap()
}

/// The first byte decides on the operations, the rest on changes: to the archive, then to what it is stored as.
pub fn target(data: &[u8]) {
    let mut input = Input(data);
    let kind = input.byte();
    let mut content = archive();
    input.edit(&mut content, false);
    let (operations, mut stored) = match kind % 6 {
        0 => (vec![Operation::Tar], content),
        1 => (vec![Operation::Tar, Operation::Gzip], gzip(&content)),
        2 => (vec![Operation::Tar, Operation::Zstd], zstd::encode_all(&*content, 1).unwrap()),
        3 => (vec![Operation::Tar, Operation::Bzip2], input.bytes(usize::MAX).to_vec()),
        4 => (vec![Operation::Xz], input.bytes(usize::MAX).to_vec()),
        _ => (vec![Operation::Gzip, Operation::Gzip], gzip(&gzip(&content))),
    };
    input.edit(&mut stored, false);
    let slot = UnsealedSlot {
        id: "s".to_owned(),
        span: Span { offset: 0, len: stored.len() as u64 },
        sha256: Sha256::of(&stored),
        is_short: false,
        operations,
        target: Some("a/target".try_into().unwrap()),
        permissions: 0o755,
        lifecycle: String::new(),
    };
    let file = file::in_memory(&stored);
    let outer = Directory::new();
    let inner = outer.0.join("in");
    fs::create_dir(&inner).unwrap();
    let unpacked = unpack_slot(&file, &slot, &inner);
    let names: Vec<_> = fs::read_dir(&outer.0).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(names, ["in"], "something outside");
    look(&inner);
    // What can be unpacked can be decoded; the other way round a name may be too long for this file system.
    assert!(unpacked.is_err() || decode_all(&file, &slot).is_ok());
    // Other bytes than the signed ones are never taken, however they decode.
    let other = UnsealedSlot { sha256: Sha256::of(b"other"), ..slot };
    assert!(decode_all(&file, &other).is_err());
}

fn gzip(content: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(content).unwrap();
    encoder.finish().unwrap()
}

fn look(folder: &Path) {
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let found = entry.path().symlink_metadata().unwrap();
        assert!(found.is_file() || found.is_dir(), "{}", entry.path().display());
        assert_eq!(found.mode() & 0o7000, 0, "{}", entry.path().display());
        if found.is_dir() {
            look(&entry.path());
        }
    }
}
