//! The tar stream, as other programs read it. Needs `tar`, `zstd` and `python3`; without one of them a test fails.

mod common;

use std::fmt::Write as _;
use std::io::Write as _;
use std::process::{Command, Stdio};

use common::{file, path, sample_slots, spec, stream};
use pspf_format::tree::{Entry, EntryKind, SlotIndex};
use pspf_format::{Mode, Sha256, TreePath, tar};

/// Whether a program succeeds and what it prints when it is fed `input`.
fn run(program: &str, arguments: &[&str], input: &[u8]) -> (bool, String) {
    let mut command = Command::new(program);
    command.args(arguments).env("LC_ALL", "C.UTF-8").env("TZ", "UTC");
    let spawned = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::inherit()).spawn();
    let mut child = spawned.unwrap_or_else(|error| panic!("this test needs {program}: {error}"));
    let mut stdin = child.stdin.take().unwrap();
    let input = input.to_vec();
    let writer = std::thread::spawn(move || stdin.write_all(&input));
    let output = child.wait_with_output().unwrap();
    let _ = writer.join();
    (output.status.success(), String::from_utf8(output.stdout).unwrap())
}

/// Every member as Python's tarfile sees it, one a line.
const LIST: &str = "
import sys, tarfile
with tarfile.open(fileobj=sys.stdin.buffer, mode='r|') as archive:
    for m in archive:
        print(m.name, m.type.decode(), oct(m.mode), m.uid, m.gid, m.size, m.mtime, m.linkname, repr(m.uname), sep='|')
";

/// The first member alone.
const FIRST: &str = "
import sys, tarfile
m = tarfile.open(fileobj=sys.stdin.buffer, mode='r|').next()
print(m.name, m.size)
";

/// A tree with everything that a header must carry.
fn awkward() -> (SlotIndex, Vec<&'static [u8]>) {
    let long = |start: &str, len: usize| format!("{start}{}", "n".repeat(len - start.len()));
    let deep = (0..30).map(|n| format!("directory {n:02}")).collect::<Vec<_>>();
    let mut entries: Vec<(TreePath, EntryKind)> = Vec::new();
    for depth in 1..=deep.len() {
        entries.push((path(&deep[..depth].join("/")), EntryKind::Directory));
    }
    entries.push((path(&long("e", 99)), EntryKind::Directory));
    entries.push((path(&long("f", 100)), EntryKind::Directory));
    entries.push((path("größe"), EntryKind::Directory));
    let files = entries.len() as u32;
    let contents: Vec<&'static [u8]> = vec![b"one", b"", &[b'x'; 513], b"four", b"five"];
    let deepest = format!("{}/{}", deep.join("/"), long("file", 255));
    let names = [deepest.as_str(), "empty", "größe/日本語 ☃", &long("g", 100), &long("h", 101)].map(str::to_owned);
    for (name, content) in names.iter().zip(&contents) {
        entries.push(file(name, if name == "empty" { Mode::Executable } else { Mode::Data }, content));
    }
    entries.push((path("hard"), EntryKind::HardLink { file: files, target: path(&names[0]) }));
    entries.push((path("größe/hard"), EntryKind::HardLink { file: files + 2, target: path(&names[2]) }));
    for target in ["empty", "größe/日本語 ☃", &names[3], &names[4], &deep.join("/")] {
        let count = entries.len();
        entries.push((path(&format!("link {count}")), EntryKind::SymLink { target: target.to_owned() }));
    }
    entries.push((path("größe/up"), EntryKind::SymLink { target: "..".to_owned() }));
    (SlotIndex::of_tree(entries, 1_700_000_000).unwrap(), contents)
}

fn expected(entry: &Entry, index: &SlotIndex) -> String {
    let (kind, mode, link) = match &entry.kind {
        EntryKind::Directory => (5, 0o755, ""),
        EntryKind::File { mode, .. } => (0, mode.bits(), ""),
        EntryKind::HardLink { target, .. } => (1, 0o644, target.as_str()),
        EntryKind::SymLink { target } => (2, 0o777, target.as_str()),
    };
    format!("{}|{kind}|0o{mode:o}|0|0|{}|{}|{link}|''\n", entry.path, entry.size(), index.mtime)
}

#[test]
fn a23_python_reads_every_header_as_it_is_meant() {
    let (index, contents) = awkward();
    let mut text = String::new();
    index.entries.iter().for_each(|entry| text.push_str(&expected(entry, &index)));
    let (success, found) = run("python3", &["-c", LIST], &stream(&index, &contents));
    assert!(success);
    for (found, expected) in found.lines().zip(text.lines()) {
        assert_eq!(found, expected);
    }
    assert_eq!(found.lines().count(), index.entries.len());
}

#[test]
fn a23_gnu_tar_lists_every_name() {
    let (index, contents) = awkward();
    let bytes = stream(&index, &contents);
    let (success, names) = run("tar", &["-tf", "-", "--quoting-style=literal"], &bytes);
    assert!(success);
    let mut expected = String::new();
    for entry in &index.entries {
        let slash = if entry.kind == EntryKind::Directory { "/" } else { "" };
        writeln!(expected, "{}{slash}", entry.path).unwrap();
    }
    assert_eq!(names, expected);
    let long = ["-tvf", "-", "--quoting-style=literal", "--numeric-owner", "--full-time"];
    let (success, lines) = run("tar", &long, &bytes);
    assert!(success);
    for (entry, line) in index.entries.iter().zip(lines.lines()) {
        let (start, end) = match &entry.kind {
            EntryKind::Directory => ("drwxr-xr-x 0/0", "/".to_owned()),
            EntryKind::File { mode: Mode::Executable, .. } => ("-rwxr-xr-x 0/0", entry.path.to_string()),
            EntryKind::File { .. } => ("-rw-r--r-- 0/0", entry.path.to_string()),
            EntryKind::HardLink { target, .. } => ("hrw-r--r-- 0/0", format!(" link to {target}")),
            EntryKind::SymLink { target } => ("lrwxrwxrwx 0/0", format!(" -> {target}")),
        };
        assert!(line.starts_with(start) && line.ends_with(&end), "{line}");
        assert!(line.contains(&format!(" {} 2023-11-14 22:13:20 ", entry.size())), "{line}");
    }
}

#[test]
fn a_content_over_8_gib_has_its_size_in_the_extended_header() {
    for size in [0o777_7777_7777_u64, 0o1_0000_0000_0000, 1 << 40] {
        let entries = vec![(path("big"), EntryKind::File { mode: Mode::Data, size, sha256: Sha256([0; 32]) })];
        let index = SlotIndex::of_tree(entries, 1).unwrap();
        let mut header = Vec::new();
        tar::write_header(&index.entries[0], 1, &mut header);
        assert_eq!(header.len() as u64, index.entries[0].content);
        assert_eq!(header.len(), if size > 0o777_7777_7777 { 1536 } else { 512 });
        let (_, found) = run("python3", &["-c", FIRST], &[&header[..], &[0; 10240]].concat());
        assert_eq!(found, format!("big {size}\n"));
        // The content is missing, and tar complains in the end; what it prints first is the header.
        let (_, line) = run("tar", &["-tvf", "-"], &header);
        assert!(line.contains(&format!(" {size} ")), "{line}");
    }
}

#[test]
fn a23_common_tools_unpack_a_stored_slot() {
    let (_, stored) = sample_slots().remove(1);
    let directory = std::path::Path::new(env!("CARGO_TARGET_TMPDIR")).join("unpacked");
    let _ = std::fs::remove_dir_all(&directory);
    std::fs::create_dir_all(&directory).unwrap();
    std::fs::write(directory.join("stored"), &stored).unwrap();
    let script = "zstd -qdc stored > tree.tar && mkdir t && tar -xf tree.tar -C t && rm stored tree.tar";
    let status = Command::new("sh").args(["-c", script]).current_dir(&directory).status().unwrap();
    assert!(status.success());
    let tree = directory.join("t");
    assert_eq!(std::fs::read(tree.join("bin/start")).unwrap(), b"#!/bin/sh\n");
    assert_eq!(std::fs::read(tree.join("again")).unwrap(), [7; 700]);
    assert_eq!(std::fs::read(tree.join("bin/link")).unwrap(), [7; 700]);
    assert_eq!(std::fs::read_link(tree.join("bin/link")).unwrap(), std::path::Path::new("../data"));
    assert_eq!(std::fs::read_dir(&tree).unwrap().count(), 3);
    std::fs::remove_dir_all(&directory).unwrap();
}

#[test]
fn a_header_has_the_fields_of_the_table() {
    let entries = vec![
        (path("d"), EntryKind::Directory),
        file("d/file", Mode::Executable, &[1; 9]),
        (path("d/hard"), EntryKind::HardLink { file: 1, target: path("d/file") }),
        (path("link"), EntryKind::SymLink { target: "d/file".to_owned() }),
    ];
    let index = SlotIndex::of_tree(entries, 0o1234).unwrap();
    type Fields = (&'static [u8], &'static str, &'static [u8], &'static str, &'static str);
    let fields: [Fields; 4] = [
        (b"d/", "0000755", b"5", "00000000000", ""),
        (b"d/file", "0000755", b"0", "00000000011", ""),
        (b"d/hard", "0000644", b"1", "00000000000", "d/file"),
        (b"link", "0000777", b"2", "00000000000", "d/file"),
    ];
    let rows = spec::table("§7.5", "");
    for (entry, (name, mode, kind, size, link)) in index.entries.iter().zip(fields) {
        let mut header = Vec::new();
        tar::write_header(entry, index.mtime, &mut header);
        let mut rest = header.clone();
        rest[148..156].fill(b' ');
        let sum = format!("{:06o}\0 ", rest.iter().map(|&byte| u32::from(byte)).sum::<u32>());
        rest.copy_from_slice(&header);
        for row in &rows {
            let expected: &[u8] = match row.field.as_str() {
                "name" => name,
                "mode" => mode.as_bytes(),
                "uid" | "gid" | "devmajor" | "devminor" => b"0000000",
                "size" => size.as_bytes(),
                "mtime" => b"00000001234",
                "chksum" => sum.as_bytes(),
                "typeflag" => kind,
                "linkname" => link.as_bytes(),
                "magic, version" => b"ustar\x0000",
                other => panic!("SPEC §7.5: `{other}`"),
            };
            let mut padded = expected.to_vec();
            padded.resize(row.size, 0);
            assert_eq!(header[row.offset..row.offset + row.size], padded, "`{}`", row.field);
            rest[row.offset..row.offset + row.size].fill(0);
        }
        assert!(rest.iter().all(|&byte| byte == 0));
    }
}

#[test]
fn a_record_counts_its_own_digits() {
    // Around every length at which the count of digits grows.
    for len in (101..=120).chain(970..=1010).chain(4060..=4095) {
        let mut name = "d/".repeat(len / 2);
        name.truncate(len - 1);
        name = name.trim_end_matches('/').to_owned();
        name.push_str(&"x".repeat(len - name.len()));
        let target = name.clone();
        let link = Entry { path: path("l"), kind: EntryKind::SymLink { target }, start: 0, content: 0 };
        let mut header = Vec::new();
        tar::write_header(&link, 0, &mut header);
        let records = &header[512..header.len() - 512];
        let end = records.iter().position(|&byte| byte == b'\n').unwrap() + 1;
        assert_eq!(std::str::from_utf8(&records[..end]).unwrap(), format!("{end} linkpath={name}\n"));
        assert!(records[end..].iter().all(|&byte| byte == 0));
        assert_eq!(&header[124..136], format!("{end:011o}\0").as_bytes());
    }
}
