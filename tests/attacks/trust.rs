//! Who signed: signatures made for something else, keys that look like others, answers that say more than was checked.

use std::fs;
use std::path::PathBuf;

use pspf_format::keys::SecretKey;
use pspf_tests::unsealed::{self, UnsealedSlot};
use pspf_tests::{Run, Sandbox, Who};
use sha2::{Digest, Sha512};

use crate::forge::{self, ForgedSlot, key};
use crate::hostile::{Case, judge};
use crate::raw::{self, ENTRIES, SEAL, put};

fn signer(seed: u8) -> SecretKey {
    SecretKey::from_seed(&[seed; 32])
}

fn release(word: &str) -> Vec<u8> {
    forge::package("", &[ForgedSlot::raw("app", format!("#!/bin/sh\necho {word}\n").as_bytes())])
}

/// The package with this signature in the first entry.
fn signed_with(bytes: &[u8], signature: &[u8; 64]) -> Vec<u8> {
    let mut index = raw::index(bytes);
    put(&mut index, ENTRIES + 32, signature);
    raw::with_index(bytes, index)
}

/// The signer's key signs many kinds of thing; none of those signatures stands for a seal, nor a seal's for them.
#[test]
fn a09_signatures_made_for_something_else() {
    let bytes = release("ran");
    let index = raw::index(&bytes);
    let message = raw::message(&index);
    let json = raw::gunzip(&raw::Parts::of(&bytes).metadata);
    let length = |bytes: &[u8]| [&u32::try_from(bytes.len()).unwrap().to_be_bytes()[..], bytes].concat();
    let ssh = [
        &b"SSHSIG"[..],
        &length(b"file"),
        &length(b""),
        &length(b"sha512"),
        &length(Sha512::digest(&message).as_slice()),
    ]
    .concat();
    let contexts: [(&str, Vec<u8>); 10] = [
        ("the JSON, as older readers want it", json.clone()),
        ("the whole file, as minisign's first form does", bytes.clone()),
        ("the index", index.to_vec()),
        ("the digest of the index", raw::sha256(&index).to_vec()),
        ("the digest of the signed message, which is the package id", raw::sha256(&message).to_vec()),
        ("the signed message without its domain", message[20..].to_vec()),
        ("another version of the domain", [b"PSPF seal version 2\n", &message[20..]].concat()),
        ("the message with a line feed", [&message[..], b"\n"].concat()),
        ("an SSH signature of the message", ssh),
        ("nothing", Vec::new()),
    ];
    let mut cases = vec![Case::new("sound", bytes.clone(), "")];
    for (name, text) in contexts {
        cases.push(Case::new(name, signed_with(&bytes, &key().sign(&text).to_bytes()), "INTEGRITY"));
    }
    // The other way round: a seal's signature where one over the JSON belongs. A start does not use that field.
    let crossed = raw::resigned(&bytes, &key(), |index| {
        index[SEAL + 12] = 1;
        put(index, 128, &key().sign(&message).to_bytes());
    });
    cases.push(Case::apart("a seal's signature for that of the JSON", crossed, "INTEGRITY", ""));
    judge(cases);
}

/// Every switch of `verify`, alone and all together, over files that nobody may accept.
#[test]
fn a12_w03_w07_no_switch_accepts_what_is_bad() {
    let sandbox = Sandbox::new(Who::Caller);
    let help = Run::pspf(&sandbox, ["verify", "--help"]).any_stdout().run().stdout;
    let switches: Vec<&str> = help
        .lines()
        .filter_map(|line| line.trim_start().strip_prefix("--"))
        .filter(|line| !line.contains('<'))
        .map(|line| line.split(' ').next().unwrap())
        .collect();
    assert!(switches.contains(&"deep") && switches.contains(&"allow-unsealed"), "{help}");
    let bytes = release("ran");
    let mut stripped = raw::index(&bytes);
    stripped[SEAL..].fill(0);
    let mut swapped = bytes.clone();
    let at = swapped.windows(8).position(|window| window == b"echo ran").unwrap();
    swapped[at + 5] = b'x';
    let files = [
        ("zero-signature", signed_with(&bytes, &[0; 64])),
        ("no-seal", raw::with_index(&bytes, stripped)),
        ("swapped-payload", swapped),
        ("another-signer", raw::resigned(&bytes, &signer(2), |_| ())),
    ];
    let key = sandbox.key(1).1;
    for (name, bytes) in files {
        sandbox.write(name, bytes);
        let alone = switches.iter().map(|switch| vec![*switch]);
        for chosen in alone.chain([Vec::new(), switches.clone()]) {
            let chosen = chosen.iter().map(|switch| format!("--{switch}"));
            Run::pspf(&sandbox, ["verify", name, "--key"])
                .arg(&key)
                .args(chosen)
                .status(1)
                .any_stdout()
                .any_stderr()
                .run();
        }
    }
}

/// minisign's line: its algorithm, a key id that anybody can choose, the key.
fn minisign(id: [u8; 8], key: &SecretKey) -> String {
    let bytes = [b"Ed", &id[..], key.public_key().as_bytes()].concat();
    let alphabet = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let groups = bytes.chunks(3).flat_map(|group| {
        let bits = group.iter().fold(0_u32, |bits, &byte| bits << 8 | u32::from(byte));
        [18, 12, 6, 0].map(|shift| char::from(alphabet[(bits >> shift & 63) as usize]))
    });
    assert_eq!(bytes.len() % 3, 0);
    groups.collect()
}

/// Two keys with one key id: the id neither lets a wrong key in nor keeps the right one out.
#[test]
fn a15_a_key_id_decides_nothing() {
    let sandbox = Sandbox::new(Who::Caller);
    sandbox.write("tool.psp", release("ran"));
    let file = |name: &str, id, key: &SecretKey| sandbox.write(name, minisign(id, key));
    let right = file("right.pub", [7; 8], &key());
    let other_id = file("other-id.pub", [8; 8], &key());
    let wrong = file("wrong.pub", [7; 8], &signer(2));
    let verify = |keys: &[&PathBuf]| {
        let keys = keys.iter().flat_map(|key| ["--key".into(), key.as_os_str().to_owned()]);
        Run::pspf(&sandbox, ["verify", "tool.psp"]).args(keys).any_stdout().any_stderr()
    };
    verify(&[&right]).run();
    verify(&[&other_id]).run();
    verify(&[&wrong, &right]).run();
    verify(&[&wrong, &other_id]).run();
    verify(&[&wrong]).status(1).run();
}

/// What is not promised, asserted so that nobody believes it: an older release that was signed is as good as a newer one.
/// Whoever wants another answer compares the version, which is signed and in the report.
#[test]
fn a16_an_older_release_is_told_by_its_version_alone() {
    let sandbox = Sandbox::new(Who::Caller);
    sandbox.write_program("tool", b"#!/bin/sh\n");
    let (private, public) = sandbox.key(1);
    for version in ["1.0", "2.0"] {
        let run = Run::pspf(&sandbox, ["pack", "tool", "-o", "tool.psp", "--package-version", version, "--key"]);
        run.arg(&private).any_stdout().run();
        fs::rename(sandbox.work("tool.psp"), sandbox.work(version)).unwrap();
    }
    for version in ["2.0", "1.0"] {
        let ran = Run::pspf(&sandbox, ["verify", "--json", version, "--key"]).arg(&public).any_stdout().run();
        let json: serde_json::Value = serde_json::from_str(&ran.stdout).unwrap();
        assert_eq!(json["files"][0]["identity"]["version"], version);
    }
}

fn under<'s>(run: Run<'s>, variables: &[(&str, &str)]) -> Run<'s> {
    variables.iter().fold(run, |run, (name, value)| run.env(name, value))
}

/// Variables of this and of other implementations, and their configuration files, change no verdict.
#[test]
fn a17_w07_w08_w09_no_variable_and_no_file_makes_verify_accept() {
    let sandbox = Sandbox::new(Who::Caller);
    let mut bytes = release("ran");
    let at = bytes.len() - 8220;
    bytes[at] ^= 1;
    sandbox.write("damaged.psp", bytes);
    sandbox.write("foreign.psp", raw::resigned(&release("ran"), &signer(2), |_| ()));
    let lax = r#"{"version":1,"trust":{"require_trusted_key":false},"enforcement":{"default":"allow","untrusted_key":"allow"}}"#;
    for folder in [".config/flavor", ".config/pspf", "config"] {
        let folder = sandbox.home().join(folder);
        fs::create_dir_all(&folder).unwrap();
        fs::write(folder.join("policy.json"), lax).unwrap();
    }
    let config = sandbox.home().join("config");
    let (key, config) = (sandbox.key(1).1, config.to_str().unwrap());
    let variables = [
        ("FLAVOR_VALIDATION", "none"),
        ("PSPF_VALIDATION", "none"),
        ("PSPF_SKIP_VERIFY", "1"),
        ("PSPF_POLICY", config),
        ("FLAVOR_CONFIG_DIR", config),
        ("FLAVOR_TRUSTED_KEYS_DIR", config),
        ("XDG_CONFIG_HOME", config),
        ("PSPF_SELF", "check"),
    ];
    for file in ["damaged.psp", "foreign.psp"] {
        let verify = || Run::pspf(&sandbox, ["verify", file, "--key"]).arg(&key).status(1).any_stdout().any_stderr();
        under(verify(), &variables).run();
        for (name, value) in variables {
            verify().env(name, value).run();
        }
    }
    // The key that the attacker put on the package is not accepted because the package names it.
    under(Run::pspf(&sandbox, ["verify", "foreign.psp"]), &variables).status(2).any_stdout().any_stderr().run();
    under(Run::pspf(&sandbox, ["run", "damaged.psp"]), &variables[..7]).fails("INTEGRITY").run();
}

/// Between the check and the publication: the report names the bytes that were read, so another file does not match it.
#[test]
fn a83_the_report_names_the_bytes_that_were_checked() {
    let sandbox = Sandbox::new(Who::Caller);
    let (one, two) = (release("one"), release("two"));
    for bytes in [&one, &two] {
        sandbox.write("tool.psp", bytes);
        let run = Run::pspf(&sandbox, ["verify", "--json", "tool.psp", "--key"]).arg(sandbox.key(1).1);
        let json: serde_json::Value = serde_json::from_str(&run.any_stdout().run().stdout).unwrap();
        assert_eq!(json["files"][0]["file"]["sha256"], raw::hex(&raw::sha256(bytes)));
    }
}

/// Nothing to check and nobody to check against is never a success.
#[test]
fn a84_success_needs_a_check() {
    let sandbox = Sandbox::new(Who::Caller);
    sandbox.write("tool.psp", release("ran"));
    sandbox.write("empty.pub", b"");
    sandbox.write("comment.pub", b"untrusted comment: a key was here\n");
    fs::create_dir(sandbox.work("keys")).unwrap();
    let verify = |args: &[&str]| Run::pspf(&sandbox, ["verify"]).args(args).status(2).any_stdout().any_stderr();
    verify(&[]).run();
    verify(&["--key"]).run();
    verify(&["--key", "", "tool.psp"]).run();
    verify(&["tool.psp"]).run();
    verify(&["--deep", "tool.psp"]).run();
    for key in ["empty.pub", "comment.pub", "keys", "/dev/null", "missing.pub"] {
        verify(&["--key", key, "tool.psp"]).run();
    }
    // One key that can be read does not make up for one that cannot.
    let key = sandbox.key(1).1;
    verify(&["--key", key.to_str().unwrap(), "--key", "empty.pub", "tool.psp"]).run();
    verify(&["--key", key.to_str().unwrap(), "keys"]).run();
    let unknown = verify(&["--key", key.to_str().unwrap(), "--no-such-check", "tool.psp"]).run();
    assert_eq!(unknown.stdout, "");
}

/// A check that was asked for and cannot be made keeps the answer open, and is named.
#[test]
fn a85_what_was_skipped_is_told_and_decides_nothing() {
    let sandbox = Sandbox::new(Who::Caller);
    let slots = [UnsealedSlot::program("tool", b"x")];
    for (name, slots) in [("older.psp", &slots[..]), ("empty.psp", &[])] {
        let metadata = unsealed::metadata("{workenv}/tool", slots, serde_json::json!({}));
        sandbox.write(name, unsealed::package(b"launcher", &metadata, slots, &key()));
    }
    sandbox.write("sealed.psp", release("ran"));
    let public = sandbox.key(1).1;
    for (file, switches, code, skipped) in [
        ("sealed.psp", &[][..], 0, 0),
        ("sealed.psp", &["--deep"], 0, 0),
        ("sealed.psp", &["--allow-unsealed", "--deep"], 0, 0),
        ("older.psp", &["--allow-unsealed"], 0, 0),
        ("older.psp", &["--allow-unsealed", "--deep"], 0, 0),
        // There is nothing that it would run, and so nothing that could be compared.
        ("empty.psp", &["--allow-unsealed"], 2, 1),
    ] {
        let run = Run::pspf(&sandbox, ["verify", "--json", file, "--key"]).arg(&public).args(switches);
        let ran = run.status(code).any_stdout().any_stderr().run();
        let json: serde_json::Value = serde_json::from_str(&ran.stdout).unwrap();
        assert_eq!(json["files"][0]["skipped"].as_array().unwrap().len(), skipped, "{file} {switches:?}: {json}");
    }
}

/// The fields for a bill of materials and a policy are constant, and nothing that is signed beside them is theirs alone:
/// a slot that holds such a document is bound like every other.
#[test]
fn w27_no_digest_stands_outside_the_signature() {
    let slots = [ForgedSlot::raw("app", b"#!/bin/sh\necho ran\n"), ForgedSlot::raw("sbom", b"{\"components\":[]}\n")];
    let bytes = forge::package("", &slots);
    let digest = raw::hex(&raw::sha256(b"{\"components\":[]}\n"));
    let mut cases = Vec::new();
    for (name, at) in [("sbom digest", 1440), ("policy hash", 1504)] {
        let signed = raw::resigned(&bytes, &key(), |index| put(index, at, digest.as_bytes()));
        cases.push(Case::new(name, signed, "FORMAT"));
    }
    let mut edited = bytes.clone();
    let at = edited.windows(10).rposition(|window| window == b"components").unwrap();
    edited[at] = b'C';
    let table = u64::from_le_bytes(raw::index(&bytes)[40..48].try_into().unwrap()) as usize;
    put(&mut edited, table + 64 + 48, &raw::sha256(b"{\"Components\":[]}\n")[..8]);
    cases.push(Case::new("the document and its row in the table", edited, "INTEGRITY"));
    judge(cases);
}
