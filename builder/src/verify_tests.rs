//! `pspf verify` on small packages: each kind of file, its verdict and its exit code.

use std::path::{Path, PathBuf};

use clap::Parser;
use pspf_format::{Part, Sha256};
use pspf_keys::SecretKey;
use serde_json::Value;
use tempfile::TempDir;

use super::*;
use crate::verify_sample::{key, sealed, stripped, unsealed, untrue};

#[derive(Parser)]
struct Cli {
    #[command(flatten)]
    verify: VerifyArgs,
}

/// A folder with files, and keys with their names.
struct Folder(TempDir);

impl Folder {
    fn new() -> Self {
        let folder = Self(tempfile::tempdir().unwrap());
        for byte in 1..=3 {
            let line = key(byte).public_key().to_openssh("");
            folder.write(&format!("{byte}.pub"), line.as_bytes());
        }
        folder
    }

    fn at(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn write(&self, name: &str, bytes: &[u8]) -> PathBuf {
        std::fs::write(self.at(name), bytes).unwrap();
        self.at(name)
    }

    /// Exit code and output of `pspf verify`, where `@` stands for the folder.
    fn verify(&self, arguments: &str) -> (u8, String) {
        let root = format!("{}/", self.0.path().display());
        let arguments = arguments.split(' ').map(|argument| argument.replace('@', &root));
        let cli = Cli::try_parse_from(["verify".to_owned()].into_iter().chain(arguments)).unwrap();
        let mut out = Vec::new();
        let code = run(&cli.verify, &mut out);
        (code, String::from_utf8(out).unwrap())
    }

    fn json(&self, arguments: &str) -> (u8, Value) {
        let (code, text) = self.verify(&format!("--json {arguments}"));
        let json: Value = serde_json::from_str(&text).unwrap();
        assert_eq!(json["exit_code"], code);
        assert_eq!(json["schema"], 2);
        (code, json)
    }
}

fn fingerprint(key: &SecretKey) -> String {
    format!("ed25519:{}", key.public_key().fingerprint())
}

#[test]
fn bad_beats_undecided_beats_verified() {
    let (verified, bad, undecided) = (Verdict::VERIFIED, Verdict::BAD, Verdict::UNDECIDED);
    for (codes, expected) in [
        (&[][..], undecided),
        (&[verified], verified),
        (&[verified, undecided, verified], undecided),
        (&[undecided, bad, verified], bad),
        (&[bad, undecided], bad),
        (&[verified, 77], 77),
    ] {
        assert_eq!(worst(codes), expected, "{codes:?}");
    }
}

#[test]
fn an_intact_package_needs_a_key_that_signed_it() {
    let folder = Folder::new();
    let sample = sealed(&[&key(1), &key(2)]);
    folder.write("a.psp", &sample.bytes);
    for arguments in ["@a.psp --key @1.pub", "@a.psp --key @2.pub", "@a.psp --key @3.pub --key @2.pub --deep"] {
        let (code, text) = folder.verify(arguments);
        assert_eq!(code, 0, "{text}");
        assert!(
            text.contains("a.psp: verified\n") && text.contains("package        sample 1.0 for linux_amd64\n"),
            "{text}"
        );
    }
    let (code, text) = folder.verify("@a.psp");
    assert_eq!(code, 2);
    assert!(text.contains("a.psp: undecided [USAGE]: the file is intact, but no key"), "{text}");
    assert!(text.contains(&format!("  self-signed by {} (untrusted)\n", fingerprint(&key(1)))), "{text}");
    assert!(!text.contains("valid"), "{text}");
    let (code, text) = folder.verify("@a.psp --key @3.pub");
    assert_eq!(code, 1);
    assert!(text.contains("a.psp: bad [TRUST]: "), "{text}");
}

#[test]
fn the_document_says_all_of_it() {
    let folder = Folder::new();
    let sample = sealed(&[&key(1), &key(2)]);
    folder.write("a.psp", &sample.bytes);
    let (code, json) = folder.json("@a.psp --key @2.pub --deep");
    assert_eq!(code, 0);
    assert_eq!(json["tool"]["name"], "pspf");
    assert_eq!(json["keys"][0]["fingerprint"], fingerprint(&key(2)));
    let file = &json["files"][0];
    assert_eq!((&file["result"], &file["class"], &file["message"]), (&"verified".into(), &Value::Null, &Value::Null));
    assert_eq!(file["file"]["sha256"], Sha256::of(&sample.bytes).to_string());
    assert_eq!(file["file"]["size"], sample.bytes.len());
    assert_eq!(file["identity"]["platform"], "linux_amd64");
    assert_eq!(file["identity"]["package_id"].as_str().unwrap().len(), 64);
    let trusted =
        |position: usize| (&file["signatures"][position]["fingerprint"], &file["signatures"][position]["trusted"]);
    assert_eq!(trusted(0), (&fingerprint(&key(1)).into(), &false.into()));
    assert_eq!(trusted(1), (&fingerprint(&key(2)).into(), &true.into()));
    let expected =
        serde_json::json!({ "bytes_total": sample.bytes.len(), "bytes_covered": sample.bytes.len(), "uncovered": [] });
    assert_eq!(file["coverage"], expected);
    let slot = &file["slots"][1];
    assert_eq!(
        (&slot["id"], &slot["operations"], &slot["status"]),
        (&"app".into(), &"tar|zstd".into(), &"match".into())
    );
    assert_eq!((&slot["lifecycle"], &slot["decoded"]), (&"runtime".into(), &true.into()));
    assert_eq!(file["launcher"]["size"], sample.layout.launcher.len);
    assert_eq!(file["skipped"], serde_json::json!([]));
}

#[test]
fn people_are_told_who_signed_and_what_became_of_each_slot() {
    let folder = Folder::new();
    let sample = sealed(&[&key(1), &key(2)]);
    folder.write("good.psp", &sample.bytes);
    let changed = |bytes: &[u8], at: usize| {
        let mut bytes = bytes.to_vec();
        bytes[at] ^= 1;
        bytes
    };
    folder.write("bad.psp", &changed(&sample.bytes, sample.layout.slots[1].offset as usize));
    let foreign = unsealed(&key(1), &[b"hello", b"world!"]);
    folder.write("foreign.psp", &changed(&foreign, foreign.len() - 8200 - 6));
    let [one, two] = [1, 2].map(|byte| fingerprint(&key(byte)));
    let trusted = format!("  signed by      {one} (trusted, {})\n", folder.at("1.pub").display());
    for (arguments, expected) in [
        ("@good.psp --key @1.pub", &["slots          2 of 2 as signed\n", &trusted, "and by         ", &two][..]),
        ("@good.psp --key @1.pub --deep", &["  2 of 2 as signed, decoded and compared with their index\n"]),
        ("@bad.psp --key @1.pub", &[" 0 of 2 as signed, 1 not checked\n", "   app is not what was signed\n"]),
        ("@bad.psp", &[&format!("  self-signed by {one} (untrusted)\n")]),
        ("@foreign.psp --key @1.pub --allow-unsealed", &[" 1 of 2 as signed\n", " s1\\u{1b} is not what was signed\n"]),
    ] {
        let (_, text) = folder.verify(arguments);
        for part in expected {
            assert!(text.contains(part), "{arguments}: no `{part}` in\n{text}");
        }
        assert_eq!(text.matches(" is not what was signed").count(), usize::from(!arguments.contains("good")), "{text}");
    }
}

/// A digest that was not compared is not shown; every digest that `pack` publishes is compared before.
#[test]
fn what_is_said_of_a_slot_was_compared() {
    let folder = Folder::new();
    let sample = sealed(&[&key(1)]);
    folder.write("good.psp", &sample.bytes);
    let untrue = folder.write("untrue.psp", &untrue(&key(1)).bytes);
    let said = |json: &Value, slot: usize| {
        let slot = &json["files"][0]["slots"][slot];
        (slot["status"].as_str().unwrap().to_owned(), slot["stored_sha256"].as_str().map(str::to_owned))
    };
    let digest = |slot: usize| {
        let span = sample.layout.slots[slot];
        Sha256::of(&sample.bytes[span.offset as usize..(span.offset + span.len) as usize]).to_string()
    };
    for name in ["good.psp", "untrue.psp"] {
        let (code, json) = folder.json(&format!("@{name} --key @1.pub"));
        assert_eq!((code, said(&json, 1)), (0, ("frames-match".to_owned(), None)), "{name}");
        assert_eq!(said(&json, 0), ("match".to_owned(), Some(digest(0))), "{name}");
    }
    let (code, json) = folder.json("@good.psp --key @1.pub --deep");
    assert_eq!((code, said(&json, 1)), (0, ("match".to_owned(), Some(digest(1)))));
    let (code, json) = folder.json("@untrue.psp --key @1.pub --deep");
    assert_eq!((code, &json["files"][0]["class"]), (1, &"INTEGRITY".into()));
    assert_eq!(said(&json, 1), ("mismatch".to_owned(), None));
    let read_back =
        crate::readback::verify(&std::fs::File::open(&untrue).unwrap(), &untrue, &[key(1).public_key()], false);
    let error = read_back.map(drop).unwrap_err();
    assert!(
        failure::lines(&error).contains("error[INTEGRITY]") && format!("{error:#}").contains("slot `app`"),
        "{error:#}"
    );
}

#[test]
fn a01_a_flipped_byte_of_every_part_is_found_with_and_without_a_key() {
    let folder = Folder::new();
    let sample = sealed(&[&key(1), &key(2)]);
    let mut cases: Vec<(u64, &str)> = Vec::new();
    for (part, span) in sample.layout.parts() {
        let name = match part {
            None => "padding",
            Some(Part::Launcher) => "launcher",
            Some(Part::Metadata) => "metadata",
            Some(Part::SlotTable) => "slot table",
            Some(Part::Slot(_)) => "slot `",
            // Magics, checksum, base signature, both signatures, the unused rest.
            Some(Part::Trailer) => {
                cases.extend(
                    [0, 10, 4 + 130, 4 + 2048 + 40, 4 + 2048 + 96 + 40, 4 + 8000, 8199]
                        .map(|at| (span.offset + at, "")),
                );
                continue;
            }
        };
        cases.push((span.offset, name));
        cases.push((span.offset + span.len - 1, name));
    }
    assert!(cases.iter().any(|(_, name)| *name == "padding"));
    for (at, name) in cases {
        let mut bytes = sample.bytes.clone();
        bytes[at as usize] ^= 0x10;
        folder.write("bad.psp", &bytes);
        for arguments in ["@bad.psp --key @1.pub", "@bad.psp", "@bad.psp --allow-unsealed", "@bad.psp --key @3.pub"] {
            let (code, json) = folder.json(arguments);
            let file = &json["files"][0];
            assert_eq!((code, &file["result"]), (1, &"bad".into()), "{at} {name} {file}");
            assert!(
                file["class"] == "INTEGRITY" || (name.is_empty() && file["class"] == "FORMAT"),
                "{at} {name} {file}"
            );
            assert!(file["message"].as_str().unwrap().contains(name), "{at} {name} {file}");
            assert_eq!(file["file"]["sha256"], Sha256::of(&bytes).to_string());
            assert_eq!(file["coverage"], Value::Null);
            let mismatch = file["slots"].as_array().unwrap().iter().any(|slot| slot["status"] == "mismatch");
            assert_eq!(mismatch, name == "slot `", "{file}");
        }
    }
}

#[test]
fn what_was_cut_grown_or_is_no_package_is_bad() {
    let folder = Folder::new();
    let bytes = sealed(&[&key(1)]).bytes;
    let longer = [&bytes[..], &[0]].concat();
    let doubled = [&bytes[..], &bytes[..]].concat();
    for (name, content, class) in [
        ("cut", &bytes[..bytes.len() - 1], "FORMAT"),
        ("short", &bytes[..100], "FORMAT"),
        ("empty", &[], "FORMAT"),
        ("longer", &longer, "FORMAT"),
        ("doubled", &doubled, "FORMAT"),
        ("headless", &bytes[8..], "FORMAT"),
    ] {
        folder.write(name, content);
        for arguments in [format!("@{name}"), format!("@{name} --key @1.pub --allow-unsealed")] {
            let (code, json) = folder.json(&arguments);
            assert_eq!((code, &json["files"][0]["class"]), (1, &class.into()), "{arguments} {json}");
            // It may be of any length, and is not read.
            assert_eq!(json["files"][0]["file"]["sha256"], Value::Null, "{arguments}");
        }
    }
}

#[test]
fn a_package_without_a_seal_is_accepted_on_demand_only() {
    let folder = Folder::new();
    let bytes = unsealed(&key(1), &[b"hello", b"world!"]);
    folder.write("u.psp", &bytes);
    for arguments in ["@u.psp --key @1.pub", "@u.psp"] {
        let (code, text) = folder.verify(arguments);
        assert_eq!(code, 1);
        assert!(
            text.contains("u.psp: bad [FORMAT]: the package has no seal\n") && text.contains("--allow-unsealed"),
            "{text}"
        );
    }
    assert_eq!(folder.verify("@u.psp --allow-unsealed").0, 2);
    assert_eq!(folder.json("@u.psp --allow-unsealed --key @3.pub").1["files"][0]["class"], "TRUST");

    let (code, json) = folder.json("@u.psp --allow-unsealed --key @1.pub");
    let file = &json["files"][0];
    assert_eq!(code, 0, "{json}");
    assert_eq!(file["file"]["sha256"], Sha256::of(&bytes).to_string());
    assert_eq!(file["identity"]["package_id"], Value::Null);
    let uncovered: Vec<_> =
        file["coverage"]["uncovered"].as_array().unwrap().iter().map(|part| part["what"].as_str().unwrap()).collect();
    assert_eq!(uncovered, ["launcher", "slot table", "gap", "gap", "index"]);
    assert_eq!(file["coverage"]["uncovered"][4]["len"], 8192);
    assert_eq!(file["slots"][1]["status"], "match");
    assert_eq!(file["launcher"]["size"], 1021);

    let (code, text) = folder.verify("@u.psp --allow-unsealed --key @1.pub");
    assert_eq!(code, 0);
    assert!(text.contains("u.psp: verified in part, it has no seal\n"), "{text}");
    assert!(text.contains("foreign\\u{1b} 2\n") && text.contains("0x0..0x3fd  launcher"), "{text}");
    assert!(!text.contains('\u{1b}'));
}

/// What is longer than the buffer it is read into is read in pieces, up to its last byte.
#[test]
fn a_large_package_without_a_seal_is_digested_to_its_end() {
    let folder = Folder::new();
    let mut bytes = unsealed(&key(1), &[b"hello", &vec![3; (2 << 20) + 5]]);
    for (code, result, status) in [(0, "verified", "match"), (1, "bad", "mismatch")] {
        folder.write("u.psp", &bytes);
        let (found, json) = folder.json("@u.psp --allow-unsealed --key @1.pub");
        let file = &json["files"][0];
        assert_eq!((found, &file["result"]), (code, &result.into()), "{json}");
        assert_eq!(file["file"]["sha256"], Sha256::of(&bytes).to_string());
        assert_eq!(file["slots"][1]["status"], status);
        // The slot's last byte, before five of nothing and the trailer.
        let last = bytes.len() - 8200 - 6;
        bytes[last] ^= 1;
    }
}

#[test]
fn a_package_without_a_seal_is_held_to_what_was_signed() {
    let folder = Folder::new();
    let bytes = unsealed(&key(1), &[b"hello", b"world!"]);
    let at = bytes.windows(6).position(|window| window == b"world!").unwrap();
    let mut changed = bytes.clone();
    changed[at] ^= 1;
    folder.write("changed.psp", &changed);
    let (code, json) = folder.json("@changed.psp --allow-unsealed --key @1.pub");
    assert_eq!((code, &json["files"][0]["class"]), (1, &"INTEGRITY".into()));
    assert_eq!(json["files"][0]["slots"][0]["status"], "match");
    assert_eq!(json["files"][0]["slots"][1]["status"], "mismatch");

    // What was asked for and could not be done is never a success.
    folder.write("u.psp", &bytes);
    let (code, json) = folder.json("@u.psp --allow-unsealed --key @1.pub --deep");
    assert_eq!((code, &json["files"][0]["slots"][1]["decoded"]), (0, &true.into()), "{json}");
    folder.write("none.psp", &unsealed(&key(1), &[]));
    let (code, json) = folder.json("@none.psp --allow-unsealed --key @1.pub");
    assert_eq!((code, json["files"][0]["skipped"].as_array().unwrap().len()), (2, 1), "{json}");

    // A seal that was taken away does not buy the weaker rules.
    folder.write("stripped.psp", &stripped(&sealed(&[&key(1)]).bytes));
    for arguments in ["@stripped.psp --allow-unsealed --key @1.pub", "@stripped.psp --key @1.pub", "@stripped.psp"] {
        let (code, json) = folder.json(arguments);
        assert_eq!((code, &json["files"][0]["class"]), (1, &"INTEGRITY".into()), "{arguments} {json}");
        assert!(json["files"][0]["message"].as_str().unwrap().contains("seal was removed"));
    }
}

#[test]
fn every_file_is_reported() {
    let folder = Folder::new();
    let sample = sealed(&[&key(1)]);
    folder.write("good.psp", &sample.bytes);
    folder.write("bad.psp", &sample.bytes[1..]);
    let results = |arguments: &str| {
        let (code, json) = folder.json(arguments);
        let results = json["files"].as_array().unwrap().iter().map(|file| file["result"].as_str().unwrap().to_owned());
        (code, results.collect::<Vec<_>>().join(" "))
    };
    assert_eq!(results("@none.psp @good.psp --key @1.pub"), (2, "undecided verified".to_owned()));
    assert_eq!(results("@none.psp @bad.psp @good.psp --key @1.pub"), (1, "undecided bad verified".to_owned()));
    let (code, json) = folder.json("@none.psp --key @1.pub");
    assert_eq!((code, &json["files"][0]["class"]), (2, &"IO".into()));
    assert_eq!(json["files"][0]["file"]["size"], Value::Null);
}

#[test]
fn what_is_no_file_is_refused_at_once() {
    let folder = Folder::new();
    std::fs::create_dir(folder.at("dir")).unwrap();
    let (code, text) = folder.verify("@dir --key @1.pub");
    assert!(code == 2 && text.contains("it is a directory"), "{text}");
    let made = std::process::Command::new("mkfifo").arg(folder.at("fifo")).status();
    if made.is_ok_and(|status| status.success()) {
        let (code, text) = folder.verify("@fifo --key @1.pub");
        assert!(code == 2 && text.contains("not a regular file"), "{text}");
    }
}

#[test]
fn a_bad_key_file_stops_before_any_file() {
    let folder = Folder::new();
    folder.write("good.psp", &sealed(&[&key(1)]).bytes);
    folder.write("private", key(1).to_pkcs8_pem().as_bytes());
    folder.write("text", b"no key");
    for name in ["private", "text", "missing", ""] {
        let (code, out) = folder.verify(&format!("@good.psp --key @1.pub --key @{name}"));
        assert_eq!((code, out.as_str()), (2, ""), "{name}");
    }
    let error = Anchors::read(&[folder.at("private")]).unwrap_err();
    assert!(failure::lines(&error).contains("this is a private key, a public key is expected"), "{error:#}");
}

/// Fails after a few bytes, as a reader that goes away or a full disk.
struct Broken(io::ErrorKind);

impl Write for Broken {
    fn write(&mut self, _: &[u8]) -> io::Result<usize> {
        Err(self.0.into())
    }
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[test]
fn the_code_does_not_depend_on_the_reader() {
    let folder = Folder::new();
    let sample = sealed(&[&key(1)]);
    let good = folder.write("good.psp", &sample.bytes);
    let bad = folder.write("bad.psp", &sample.bytes[1..]);
    let run = |file: &Path, kind, json| {
        let key = vec![folder.at("1.pub")];
        let args = VerifyArgs { files: vec![file.to_owned()], key, json, deep: false, allow_unsealed: false };
        run(&args, &mut Broken(kind))
    };
    for json in [false, true] {
        assert_eq!(run(&good, io::ErrorKind::BrokenPipe, json), 0);
        assert_eq!(run(&bad, io::ErrorKind::BrokenPipe, json), 1);
        assert_eq!(run(&good, io::ErrorKind::StorageFull, json), 2);
        assert_eq!(run(&bad, io::ErrorKind::StorageFull, json), 1);
    }
}
