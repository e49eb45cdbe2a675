//! Files that are no package any more, or never were: lengths, versions, positions, flipped bits.

use std::fs;
use std::process::Command;

use pspf_tests::tree_files::noise;
use pspf_tests::{Run, Sandbox, Who, forks, probe_package, pspf};

use crate::forge::{self, ForgedSlot, key};
use crate::full_sweep;
use crate::hostile::{Case, judge};
use crate::raw::{self, Parts, SEAL, put};

/// A small sound package of two slots; the first is a program that says that it ran.
fn sound() -> Vec<u8> {
    forge::package("", &[ForgedSlot::raw("app", b"#!/bin/sh\necho ran\n"), ForgedSlot::raw("more", b"x\n")])
}

fn number(bytes: &[u8], at: usize) -> usize {
    u64::from_le_bytes(bytes[at..at + 8].try_into().unwrap()) as usize
}

/// Otherwise every refusal below proves nothing.
#[test]
fn the_forged_package_itself_is_sound() {
    judge([Case::new("sound", sound(), "")]);
}

#[test]
fn a02_a03_every_length_but_the_right_one() {
    let bytes = sound();
    let index = raw::index(&bytes);
    let (len, launcher, metadata, table) = (bytes.len(), number(&index, 16), number(&index, 24), number(&index, 40));
    let boundaries = [launcher, metadata, table, table + 64, table + 128, len - 8200, len - 8196, len - 4, len];
    let mut lengths: Vec<usize> =
        boundaries.iter().flat_map(|&at| [at - 1, at, at + 1]).filter(|&at| at < len).collect();
    lengths.extend((0..12).map(|number| launcher + number * (len - launcher) / 12));
    // Something that ends like a package, and something that does not.
    judge(lengths.into_iter().map(|at| {
        let cut = bytes[..at].to_vec();
        // A magic at one end alone is a damaged trailer, as it happens to be with one of the lengths.
        let magic = |at: usize, magic: [u8; 4]| cut.get(at..at + 4) == Some(&magic[..]);
        let damaged = cut.len() >= 8200
            && (magic(cut.len() - 8200, [0xf0, 0x9f, 0x93, 0xa6]) || magic(cut.len() - 4, [0xf0, 0x9f, 0xaa, 0x84]));
        Case::new(format!("cut to {at} of {len}"), cut, if damaged { "INTEGRITY" } else { "FORMAT" })
    }));
    let appended = |more: &[u8]| [&bytes[..], more].concat();
    judge([
        Case::new("one byte more", appended(b"\0"), "FORMAT"),
        Case::new("a page more", appended(&[0; 4096]), "FORMAT"),
        Case::new("a line more", appended(b"\n"), "FORMAT"),
        Case::new("another package behind", appended(&bytes), "FORMAT"),
        Case::new("another trailer behind", appended(&bytes[len - 8200..]), "FORMAT"),
        Case::new("a trailer of zeros behind", appended(&[0; 8200]), "FORMAT"),
        Case::new("with line ends of another system", crlf(&bytes), "FORMAT"),
    ]);
}

/// What a transfer in text mode does, but to the launcher, which would not run.
fn crlf(bytes: &[u8]) -> Vec<u8> {
    let launcher = number(&raw::index(bytes), 16);
    let body = bytes[launcher..].iter().flat_map(|&byte| if byte == b'\n' { vec![b'\r', b'\n'] } else { vec![byte] });
    let mut out = bytes[..launcher].to_vec();
    out.extend(body);
    out.extend(b"\r\n");
    out
}

#[test]
fn a01_flipped_bits_have_their_class() {
    let bytes = sound();
    let index = raw::index(&bytes);
    let (len, metadata, table) = (bytes.len(), number(&index, 24), number(&index, 40));
    let trailer = len - 8200;
    let slot = number(&bytes[table..], 16);
    let other = number(&bytes[table + 64..], 16);
    let flipped = |at: usize, bit: usize| {
        let mut bytes = bytes.clone();
        bytes[at] ^= 1 << bit;
        bytes
    };
    let mut cases = Vec::new();
    for at in [metadata, metadata + 20, table - 9, table, table + 16, table + 127, slot, slot + 5] {
        cases.push(Case::new(format!("byte {at}"), flipped(at, at % 8), "INTEGRITY"));
    }
    // The trailer: magics, checksum, and each field of the index and the seal.
    for at in [0, 3, 8196, 8199].map(|at| trailer + at) {
        cases.push(Case::new(format!("magic at {at}"), flipped(at, 2), "INTEGRITY"));
    }
    for at in (0..8192).step_by(127) {
        cases.push(Case::new(format!("index at {at}"), flipped(trailer + 4 + at, at % 8), "INTEGRITY"));
    }
    // A start does not look at these.
    let padding = slot + 19;
    assert!(padding < other && bytes[padding] == 0);
    for (name, at) in [("padding", padding), ("the launcher's section headers", launcher_tail(&bytes))] {
        cases.push(Case::apart(name, flipped(at, 3), "INTEGRITY", ""));
    }
    judge(cases);
}

/// A byte of the launcher that the kernel does not load: in its last section header.
fn launcher_tail(bytes: &[u8]) -> usize {
    number(&raw::index(bytes), 16) - 20
}

/// Bits that a start reads, from the metadata to the end of the file, flipped before the real launcher: one in every
/// byte, in a full sweep every one.
#[test]
fn a01_a_start_finds_every_bit_it_reads() {
    let bytes = sound();
    let index = raw::index(&bytes);
    let (metadata, table) = (number(&index, 24), number(&index, 40));
    let padding = |at: usize| at >= metadata + number(&index, 32) && at < table;
    let read = (metadata..table + 128).filter(|&at| !padding(at)).chain(bytes.len() - 8200..bytes.len());
    let bits: Vec<(usize, usize)> = if full_sweep() {
        read.flat_map(|at| (0..8).map(move |bit| (at, bit))).collect()
    } else {
        read.map(|at| (at, at % 8)).collect()
    };
    let bytes = &bytes;
    std::thread::scope(|scope| {
        for part in bits.chunks(bits.len().div_ceil(2)) {
            scope.spawn(move || {
                let sandbox = Sandbox::new(Who::Caller);
                let package = sandbox.write_program("case.psp", bytes);
                for &(at, bit) in part {
                    forks::put(&package, at as u64, bytes[at] ^ 1 << bit);
                    let mut start = Command::new(&package);
                    let output = forks::output(start.env_clear().env("PSPF_CACHE_DIR", sandbox.work("cache")));
                    forks::put(&package, at as u64, bytes[at]);
                    let said = String::from_utf8_lossy(&output.stderr).into_owned();
                    assert_eq!(output.status.code(), Some(121), "bit {bit} of byte {at}: {} {said}", output.status);
                    assert!(
                        said.starts_with("pspf: error[INTEGRITY]: ") && output.stdout.is_empty(),
                        "bit {bit} of byte {at}: {said}"
                    );
                }
                assert!(!sandbox.work("cache").exists());
                Run::new(&sandbox, &package).stdout("ran\n").run();
            });
        }
    });
}

/// Bits of a package of 12 kB with a launcher of 1 KiB, before `pspf verify`, many files at a time: one in every eleventh
/// byte, in a full sweep every one.
#[test]
fn a01_verify_finds_every_bit_of_a_small_package() {
    const AT_A_TIME: usize = 256;
    let slots = [ForgedSlot::raw("app", b"#!/bin/sh\necho ran\n"), ForgedSlot::raw("more", b"x\n")];
    let launcher = noise(9, 1024);
    let json = forge::json(&launcher, "", &slots);
    let bytes = Parts { launcher, ..forge::parts("", &slots) }.with_json(&json, &key());
    assert!(bytes.len() < 16 << 10);
    let bits: Vec<usize> = (0..bytes.len() * 8).step_by(if full_sweep() { 1 } else { 89 }).collect();
    let sandbox = Sandbox::new(Who::Caller);
    let key = sandbox.key(1).1;
    let verify = || Run::pspf(&sandbox, ["verify", "--json", "--key"]).arg(&key);
    sandbox.write("sound", &bytes);
    verify().arg("sound").any_stdout().run();
    for bits in bits.chunks(AT_A_TIME) {
        for (number, bit) in bits.iter().enumerate() {
            let mut bytes = bytes.clone();
            bytes[bit / 8] ^= 1 << (bit % 8);
            sandbox.write(number.to_string(), bytes);
        }
        let files = (0..bits.len()).map(|number| number.to_string());
        let ran = verify().args(files).status(1).any_stdout().any_stderr().run();
        let json: serde_json::Value = serde_json::from_str(&ran.stdout).unwrap();
        for (file, bit) in json["files"].as_array().unwrap().iter().zip(bits) {
            assert_eq!((&file["result"], &file["class"]), (&"bad".into(), &"INTEGRITY".into()), "bit {bit}: {file}");
        }
    }
}

/// Random bits of a package of 50 MB, before `pspf verify`: 100, in a full sweep 10,000.
#[test]
fn a01_any_bit_of_a_large_package() {
    let content = noise(7, 50_000_000);
    let bytes = &forge::package("", &[ForgedSlot::raw("app", &content), ForgedSlot::raw("more", b"x\n")]);
    let random: Vec<u64> = noise(8, if full_sweep() { 80_000 } else { 800 })
        .chunks(8)
        .map(|chunk| u64::from_le_bytes(chunk.try_into().unwrap()))
        .collect();
    std::thread::scope(|scope| {
        for part in random.chunks(random.len() / 2) {
            scope.spawn(move || {
                let sandbox = Sandbox::new(Who::Caller);
                let key = sandbox.key(1).1;
                let package = sandbox.write("large.psp", bytes);
                let verify = || forks::output(Command::new(pspf()).args(["verify", "--key"]).args([&key, &package]));
                assert_eq!(verify().status.code(), Some(0));
                for bit in part.iter().map(|random| random % (bytes.len() as u64 * 8)) {
                    let at = bit as usize / 8;
                    forks::put(&package, at as u64, bytes[at] ^ 1 << (bit % 8));
                    let output = verify();
                    forks::put(&package, at as u64, bytes[at]);
                    let said = String::from_utf8_lossy(&output.stdout).into_owned();
                    assert_eq!(output.status.code(), Some(1), "bit {bit}: {said}");
                    assert!(said.contains("INTEGRITY"), "bit {bit}: {said}");
                }
            });
        }
    });
}

/// Flips with the Adler-32 made right, so that it does not stand before what proves something.
#[test]
fn a01_w05_w06_flipped_bits_with_a_right_checksum() {
    let bytes = sound();
    let index = raw::index(&bytes);
    let flip = |at: usize| {
        let mut index = index;
        index[at] ^= 0x20;
        raw::with_index(&bytes, index)
    };
    // Fields that are held to something before the signature is, and fields that only the signature holds.
    let early = [8, 56, 60, 640, 644, 700, 712, 840, 864, 1400 - 100, 1440, 1568, 1576, 1580, 1700, 2040];
    let late = [64 + 2048 - 64 + 32, 704, 1376, 1584, 1616, 1648, 2080];
    let mut cases: Vec<Case> =
        early.iter().map(|&at| Case::new(format!("index at {at}"), flip(at), "FORMAT")).collect();
    cases.extend(late.iter().map(|&at| Case::new(format!("index at {at}"), flip(at), "INTEGRITY")));
    judge(cases);
}

#[test]
fn a05_versions_positions_and_counts_that_are_signed() {
    let bytes = sound();
    let signed = |at: usize, value: &[u8]| raw::resigned(&bytes, &key(), |index| put(index, at, value));
    let mut cases = Vec::new();
    for version in [0_u32, 1, 0x2025_0000, 0x2025_0002, u32::MAX] {
        cases.push(Case::new(format!("format_version {version:#x}"), signed(0, &version.to_le_bytes()), "FORMAT"));
    }
    for version in [0_u32, 2, u32::MAX] {
        cases.push(Case::new(format!("seal version {version}"), signed(1576, &version.to_le_bytes()), "FORMAT"));
    }
    let len = bytes.len() as u64;
    let values = [0, 1, 8, len - 8200, len - 8, len, len + 1, 1 << 31, 1 << 32, 1 << 63, u64::MAX - 7, u64::MAX];
    for (field, at) in [
        ("package_size", 8),
        ("launcher_size", 16),
        ("metadata_offset", 24),
        ("metadata_size", 32),
        ("slot_table_offset", 40),
        ("slot_table_size", 48),
    ] {
        for value in values {
            if (field, value) == ("package_size", len) {
                continue;
            }
            // A part that starts elsewhere has other bytes: its digest is wrong before its place is.
            let bytes = signed(at, &value.to_le_bytes());
            let inside =
                field.contains("offset") && value >= number(&raw::index(&sound()), 16) as u64 && value < len - 8200;
            let short = (field, value) == ("metadata_size", 1)
                || (field, value) == ("metadata_size", 8)
                || (field, value) == ("metadata_size", 0);
            let class = if inside || short { "INTEGRITY" } else { "FORMAT" };
            cases.push(Case::new(format!("{field} {value:#x}"), bytes, class));
        }
    }
    for count in [0_u32, 1, 3, 257, 1 << 16, u32::MAX] {
        cases.push(Case::new(format!("slot_count {count}"), signed(56, &count.to_le_bytes()), "FORMAT"));
        let size = u64::from(count) * 64;
        let both = raw::resigned(&bytes, &key(), |index| {
            put(index, 56, &count.to_le_bytes());
            put(index, 48, &size.to_le_bytes());
        });
        let class = if count == 1 { "INTEGRITY" } else { "FORMAT" };
        cases.push(Case::new(format!("slot_count {count} and a table for it"), both, class));
    }
    judge(cases);
}

/// What lies between the metadata and the slot table is not read before the layout is refused, however much it is.
#[test]
fn a05_parts_far_apart_take_no_memory() {
    let bytes = sound();
    let (body, trailer) = bytes.split_at(bytes.len() - 8200);
    let table = number(&raw::index(&bytes), 40);
    let far = [body, &vec![0; 160 << 20], &bytes[table..table + 128], trailer].concat();
    let far = raw::resigned(&far, &key(), |index| {
        put(index, 8, &(far.len() as u64).to_le_bytes());
        put(index, 40, &(far.len() as u64 - 8200 - 128).to_le_bytes());
    });
    judge([Case::new("a slot table 160 MiB away", far, "FORMAT")]);
}

/// Parts that share bytes, in a signed layout.
#[test]
fn a05_overlapping_parts() {
    let slots = [ForgedSlot::raw("app", b"#!/bin/sh\necho ran\n"), ForgedSlot::raw("more", b"#!/bin/sh\necho ran\n")];
    let bytes = forge::package("", &slots);
    let index = raw::index(&bytes);
    let table = number(&index, 40);
    let relaid = |edit: &dyn Fn(&mut Vec<u8>)| {
        let mut bytes = bytes.clone();
        edit(&mut bytes);
        let digest = raw::sha256(&bytes[table..table + 128]);
        raw::resigned(&bytes, &key(), |index| put(index, 1568 + 80, &digest))
    };
    let first = bytes[table + 16..table + 24].to_vec();
    let second = bytes[table + 80..table + 88].to_vec();
    let offset = |value: usize| (value as u64).to_le_bytes();
    let at = |row: usize, value: &[u8]| relaid(&|bytes| put(bytes, table + row * 64 + 16, value));
    judge([
        Case::new("two slots in one place", at(1, &first), "FORMAT"),
        Case::new(
            "slots that change places",
            relaid(&|bytes| {
                put(bytes, table + 16, &second);
                put(bytes, table + 80, &first);
            }),
            "FORMAT",
        ),
        Case::new("a slot in the launcher", at(0, &offset(0)), "FORMAT"),
        Case::new("a slot in the metadata", at(0, &offset(number(&index, 24))), "FORMAT"),
        Case::new("a slot in the table", at(0, &offset(table)), "FORMAT"),
        Case::new("a slot in the trailer", at(1, &offset(bytes.len() - 8200)), "FORMAT"),
        Case::new("a slot behind the file", at(1, &offset(bytes.len())), "FORMAT"),
        Case::new("a slot at the end of all numbers", at(1, &u64::MAX.to_le_bytes()), "FORMAT"),
        Case::new(
            "the table in the metadata",
            raw::resigned(&bytes, &key(), |index| {
                let metadata = number(index, 24);
                put(index, 40, &offset(metadata));
                put(index, 1568 + 80, &raw::sha256(&bytes[metadata..metadata + 128]));
            }),
            "FORMAT",
        ),
    ]);
}

/// Three releases by one signer: another content, another version. No part of one fits another.
#[test]
fn a06_w01_w02_parts_of_another_package() {
    let release = |word: &str, version: &str| {
        let script = format!("#!/bin/sh\necho {word}\n");
        let slots = [ForgedSlot::raw("app", script.as_bytes()), ForgedSlot::raw("more", b"x\n")];
        let parts = forge::parts("", &slots);
        let json = String::from_utf8(raw::gunzip(&parts.metadata)).unwrap();
        parts.with_json(&json.replacen(r#""version":"1""#, &format!(r#""version":"{version}""#), 1), &key())
    };
    let releases = [release("one", "1"), release("two", "1"), release("one", "2")];
    let mut cases = Vec::new();
    for (own, other) in [(0, 1), (0, 2), (1, 0), (1, 2), (2, 0), (2, 1)] {
        let (own, other) = (&releases[own], &releases[other]);
        assert_eq!(own.len(), other.len());
        let index = raw::index(own);
        let (metadata, table, trailer) = (number(&index, 24), number(&index, 40), own.len() - 8200);
        let slot = number(&own[table..], 16);
        for (name, from, to) in [
            ("metadata", metadata, table),
            ("slot table", table, slot),
            ("slots", slot, trailer),
            ("slot table and slots", table, trailer),
            ("trailer", trailer, own.len()),
            ("all but the trailer", metadata, trailer),
        ] {
            if own[from..to] != other[from..to] {
                let bytes = [&own[..from], &other[from..to], &own[to..]].concat();
                cases.push(Case::new(name, bytes, "INTEGRITY"));
            }
        }
    }
    assert!(cases.len() > 24);
    // A program of another length, and a table that agrees with it; everything that is no signature is made right.
    let sound = sound();
    let trailer = sound.len() - 8200;
    let table = number(&raw::index(&sound), 40);
    let evil = b"#!/bin/sh\necho evil, and longer than before\n";
    let mut bytes = sound[..trailer].to_vec();
    put(&mut bytes, table + 16, &(trailer as u64).to_le_bytes());
    put(&mut bytes, table + 24, &(evil.len() as u64).to_le_bytes());
    put(&mut bytes, table + 48, &raw::sha256(evil)[..8]);
    bytes.extend(evil);
    bytes.resize(bytes.len().next_multiple_of(8), 0);
    bytes.extend(&sound[trailer..]);
    let mut index = raw::index(&sound);
    put(&mut index, 8, &(bytes.len() as u64).to_le_bytes());
    put(&mut index, SEAL + 80, &raw::sha256(&bytes[table..table + 128]));
    cases.push(Case::new("a longer program appended", raw::with_index(&bytes, index), "INTEGRITY"));
    judge(cases);
}

/// A package inside a package: the outer trailer alone counts.
#[test]
fn a04_a_trailer_inside_a_slot_is_never_found() {
    let sandbox = Sandbox::new(Who::Caller);
    let inner = sandbox.write_program("inner", sound());
    Run::pspf(&sandbox, ["pack", "--key"])
        .arg(sandbox.key(1).0)
        .args(["-o", "outer.psp"])
        .arg(&inner)
        .any_stdout()
        .run();
    let outer = fs::read(sandbox.work("outer.psp")).unwrap();
    let manifest = "[package]\nname = 'raw'\nversion = '1'\n[run]\ncommand = ['{slot:i}']\n[[slot]]\nid = 'i'\nsource = 'inner'\noperations = 'raw'\n";
    sandbox.write("pspf.toml", manifest);
    Run::pspf(&sandbox, ["pack", "--key"]).arg(sandbox.key(1).0).any_stdout().run();
    let raw_outer = fs::read(sandbox.work("raw.psp")).unwrap();
    let end = raw_outer.len() - 8200;
    // The inner package stands there whole, its trailer right before the outer one.
    let inner_end = raw_outer[..end].windows(4).rposition(|window| window == [0xf0, 0x9f, 0xaa, 0x84]).unwrap() + 4;
    assert!(raw_outer[..inner_end].ends_with(&sound()) && end - inner_end < 8);
    judge([
        Case::new("sound", raw_outer.clone(), ""),
        Case::new("without the outer trailer", outer[..outer.len() - 8200].to_vec(), "FORMAT"),
        // Now the file ends with the inner trailer, which says another length.
        Case::new("cut to the inner trailer", raw_outer[..inner_end].to_vec(), "FORMAT"),
        Case::new("with zeros for the outer trailer", [&raw_outer[..end], &[0; 8200]].concat(), "FORMAT"),
    ]);
}

#[test]
fn other_files() {
    let sandbox = Sandbox::new(Who::Caller);
    let verify = |file: &str| Run::pspf(&sandbox, ["verify", "--key"]).arg(&probe_package().key).arg(file).any_stdout();
    for (name, content) in [("empty", &b""[..]), ("text", b"hello\n"), ("zeros", &[0; 9000]), ("one", b"x")] {
        sandbox.write(name, content);
        verify(name).status(1).any_stderr().run();
        Run::pspf(&sandbox, ["run", name]).fails("FORMAT").run();
        Run::pspf(&sandbox, ["inspect", name]).fails("FORMAT").run();
        Run::pspf(&sandbox, ["extract", name, "-C", "to"]).fails("FORMAT").run();
        Run::pspf(&sandbox, ["sign", name, "--key"]).arg(sandbox.key(1).0).fails("FORMAT").run();
        Run::pspf(&sandbox, ["cache", "warm", name]).fails("FORMAT").run();
        assert!(!sandbox.work("to").join("app").exists());
        assert_eq!(fs::read(sandbox.work(name)).unwrap(), content);
    }
    for name in ["missing", "/", "/dev/null"] {
        verify(name).status(2).any_stderr().run();
        Run::pspf(&sandbox, ["run", name]).fails("IO").run();
    }
    let parts = Parts::of(&sound());
    // A package of nothing but a launcher and a trailer.
    let bare = Parts { table: Vec::new(), slots: Vec::new(), ..parts };
    judge([Case::new("no slots", bare.seal(&key()), "FORMAT")]);
}
