//! Seals that are gone, half there or somebody else's, and what `verify` says to each.

use std::fs;

use pspf_format::keys::SecretKey;
use pspf_tests::unsealed::{self, UnsealedSlot};
use pspf_tests::{Run, Sandbox, Who, probe_package};
use serde_json::{Value, json};

use crate::forge::{self, ForgedSlot, key};
use crate::hostile::{Case, judge};
use crate::raw::{self, ENTRIES, ENTRY, SEAL, put, put_entry};

fn signer(seed: u8) -> SecretKey {
    SecretKey::from_seed(&[seed; 32])
}

fn sound() -> Vec<u8> {
    forge::package("", &[ForgedSlot::raw("app", b"#!/bin/sh\necho ran\n")])
}

fn entry(position: usize) -> std::ops::Range<usize> {
    ENTRIES + position * ENTRY..ENTRIES + (position + 1) * ENTRY
}

/// The same package with another index, whose checksum is right.
fn with(bytes: &[u8], edit: impl FnOnce(&mut [u8; 8192])) -> Vec<u8> {
    let mut index = raw::index(bytes);
    edit(&mut index);
    raw::with_index(bytes, index)
}

/// A package with four signatures: that of seed 1, then others in the order of their keys.
fn four() -> Vec<u8> {
    let mut others = [2, 3, 4].map(signer);
    others.sort_by_key(|key| *key.public_key().as_bytes());
    with(&sound(), |index| {
        for (position, key) in others.iter().enumerate() {
            put_entry(index, position + 1, key);
        }
    })
}

#[test]
fn a12_a_seal_that_was_stripped() {
    let bytes = sound();
    let without = |from: usize, to: usize| with(&bytes, |index| index[from..to].fill(0));
    judge([
        // The metadata still say that there was one.
        Case::new("the whole seal", without(SEAL, 8192), "INTEGRITY"),
        Case::new("its magic", without(SEAL, SEAL + 8), "FORMAT"),
        Case::new("its version", without(SEAL + 8, SEAL + 12), "FORMAT"),
        Case::new("its fixed part", without(SEAL, ENTRIES), "FORMAT"),
        Case::new("its entries", without(ENTRIES, 8192), "FORMAT"),
        Case::new(
            "all but one byte",
            with(&bytes, |index| {
                index[SEAL..].fill(0);
                index[8191] = 1;
            }),
            "FORMAT",
        ),
        Case::new("half of its fixed part", without(SEAL + 48, ENTRIES), "INTEGRITY"),
        Case::new("reserved bytes", raw::resigned(&bytes, &key(), |index| index[SEAL + 112] = 1), "FORMAT"),
        Case::new("unknown flags", raw::resigned(&bytes, &key(), |index| index[SEAL + 12] = 2), "FORMAT"),
    ]);
}

#[test]
fn a14_signatures_dropped_added_swapped_and_doubled() {
    let bytes = four();
    let copy = |from: usize, to: usize| with(&bytes, |index| index.copy_within(entry(from), entry(to).start));
    let swap = |one: usize, two: usize| {
        with(&bytes, |index| {
            let kept = index[entry(one)].to_vec();
            index.copy_within(entry(two), entry(one).start);
            put(index, entry(two).start, &kept);
        })
    };
    judge([
        Case::new("all four", bytes.clone(), ""),
        // Possible by design, and SPEC §5.2 says so: only a demand for signers notices it.
        Case::new("the last one dropped", with(&bytes, |index| index[entry(3)].fill(0)), ""),
        Case::new("one dropped from the middle", with(&bytes, |index| index[entry(2)].fill(0)), "FORMAT"),
        Case::apart("the second dropped", with(&bytes, |index| index[entry(1)].fill(0)), "INTEGRITY", ""),
        Case::new("the first dropped", with(&bytes, |index| index[entry(0)].fill(0)), "FORMAT"),
        Case::new(
            "the first dropped, the others moved up",
            with(&bytes, |index| {
                index.copy_within(entry(1).start..8192, entry(0).start);
                index[entry(63)].fill(0);
            }),
            "FORMAT",
        ),
        Case::new("first and second swapped", swap(0, 1), "FORMAT"),
        Case::new("second and third swapped", swap(1, 2), "FORMAT"),
        Case::new("the first doubled at the end", copy(0, 4), "FORMAT"),
        Case::new("the first in place of the second", copy(0, 1), "FORMAT"),
        Case::new("the last doubled", copy(3, 4), "FORMAT"),
        Case::apart(
            "a signature of another package added",
            with(&bytes, |index| {
                let mut other = raw::index(&forge::package("", &[ForgedSlot::raw("app", b"#!/bin/sh\necho other\n")]));
                put_entry(&mut other, 1, &largest());
                let foreign = other[entry(1)].to_vec();
                put(index, entry(4).start, &foreign);
            }),
            "INTEGRITY",
            "",
        ),
        Case::apart(
            "a flipped bit in the last one",
            with(&bytes, |index| index[entry(3).start + 40] ^= 1),
            "INTEGRITY",
            "",
        ),
        Case::new("bytes behind the last one", with(&bytes, |index| index[8191] = 1), "FORMAT"),
    ]);
}

/// A key that sorts behind those of the seeds 2 to 4.
fn largest() -> SecretKey {
    let others = [2, 3, 4].map(|seed| *signer(seed).public_key().as_bytes());
    (5..=255).map(signer).find(|key| others.iter().all(|other| other < key.public_key().as_bytes())).unwrap()
}

#[test]
fn a12_a13_unsigned_wrongly_signed_and_signed_by_another() {
    let bytes = sound();
    let mut neutral = [0; 64];
    neutral[0] = 1;
    let weak = with(&bytes, |index| {
        put(index, 64, &neutral[..32]);
        put(index, ENTRIES, &neutral[..32]);
        put(index, ENTRIES + 32, &neutral);
        put(index, 1376, raw::hex(&raw::sha256(&neutral[..32])).as_bytes());
    });
    let over = |message: &dyn Fn(&[u8]) -> Vec<u8>| {
        with(&bytes, |index| {
            let signature = key().sign(&message(&raw::message(index))).to_bytes();
            put(index, ENTRIES + 32, &signature);
        })
    };
    judge([
        Case::new("a signature of zeros", with(&bytes, |index| index[ENTRIES + 32..ENTRIES + 96].fill(0)), "INTEGRITY"),
        Case::new(
            "a signature of ones",
            with(&bytes, |index| index[ENTRIES + 32..ENTRIES + 96].fill(0xff)),
            "INTEGRITY",
        ),
        Case::new("a key that fits every message", weak, "INTEGRITY"),
        Case::new("over the digest alone", over(&|message| message[20..].to_vec()), "INTEGRITY"),
        Case::new(
            "over another domain",
            over(&|message| [b"PSPF seal version 2\n", &message[20..]].concat()),
            "INTEGRITY",
        ),
        Case::new("over an SSH signature's text", over(&|message| [b"SSHSIG", message].concat()), "INTEGRITY"),
        // Whole, and by somebody else: a start cannot know, `verify` can.
        Case::apart("signed by another key", raw::resigned(&bytes, &signer(9), |_| ()), "TRUST", ""),
        Case::new(
            "another key named, the signature kept",
            with(&bytes, |index| {
                put(index, 64, signer(9).public_key().as_bytes());
            }),
            "FORMAT",
        ),
        Case::new(
            "another key in both places",
            with(&bytes, |index| {
                put(index, 64, signer(9).public_key().as_bytes());
                put(index, ENTRIES, signer(9).public_key().as_bytes());
            }),
            "INTEGRITY",
        ),
    ]);
}

#[test]
fn a12_the_signature_for_older_readers() {
    let bytes = sound();
    let json = raw::gunzip(&raw::Parts::of(&bytes).metadata);
    let flagged = |signature: [u8; 64]| {
        raw::resigned(&bytes, &key(), |index| {
            index[SEAL + 12] = 1;
            put(index, 128, &signature);
        })
    };
    judge([
        Case::new("there and right", flagged(key().sign(&json).to_bytes()), ""),
        Case::apart("there and another's", flagged(signer(2).sign(&json).to_bytes()), "INTEGRITY", ""),
        Case::apart("promised and not there", flagged([0; 64]), "INTEGRITY", ""),
        Case::apart(
            "there and not promised",
            with(&bytes, |index| {
                put(index, 128, &key().sign(&json).to_bytes());
            }),
            "INTEGRITY",
            "",
        ),
        Case::new("longer than a signature", with(&bytes, |index| index[300] = 1), "FORMAT"),
    ]);
}

/// A package as the tools before had it: no seal, a signature over the JSON, which knows nothing of seals.
#[test]
fn a12_a_package_that_never_had_a_seal() {
    let slots = [UnsealedSlot::program("tool", b"#!/bin/sh\necho ran\n")];
    let older = unsealed::metadata("{workenv}/tool", &slots, json!({}));
    let json = unsealed::metadata("{workenv}/tool", &slots, json!({"pspf": {"seal": 1}}));
    let unsealed = |json: &Value, signer: &SecretKey| unsealed::package(&pspf_tests::stub(), json, &slots, signer);
    judge([
        Case::new("without a seal", unsealed(&older, &key()), "FORMAT"),
        Case::new("without a seal and with its metadata", unsealed(&json, &key()), "INTEGRITY"),
    ]);
    let sandbox = Sandbox::new(Who::Caller);
    let public = sandbox.key(1).1;
    let verify = |bytes: Vec<u8>| {
        sandbox.write("older.psp", bytes);
        Run::pspf(&sandbox, ["verify", "--allow-unsealed", "older.psp", "--key"]).arg(&public).any_stdout().any_stderr()
    };
    let ran = verify(unsealed(&older, &key())).run();
    assert!(format!("{}{}", ran.stdout, ran.stderr).contains("seal"), "it says what is not covered: {ran}");
    // The lenient reading is for packages that never had one.
    verify(unsealed(&json, &key())).status(1).run();
    verify(unsealed(&older, &signer(2))).status(1).run();
    let mut damaged = unsealed(&older, &key());
    let slot = damaged.windows(9).position(|window| window == b"#!/bin/sh").unwrap();
    damaged[slot] ^= 1;
    verify(damaged).status(1).run();
    // However it is verified, it is never started.
    Run::pspf(&sandbox, ["run", "older.psp"]).fails("FORMAT").run();
}

/// No key, a wrong key, several keys: the three exit codes.
#[test]
fn a13_w04_verify_needs_a_key_and_says_what_it_found() {
    let sandbox = Sandbox::new(Who::Caller);
    let package = probe_package().file.to_str().unwrap();
    let right = probe_package().key.to_str().unwrap();
    let wrong = sandbox.key(2).1;
    let wrong = wrong.to_str().unwrap();
    let run = |args: &[&str]| Run::pspf(&sandbox, ["verify"]).args(args).any_stdout();
    let fingerprint = key().public_key().fingerprint().to_string();
    run(&["--key", right, package]).run();
    run(&["--key", wrong, "--key", right, package]).run();
    run(&["--key", wrong, package]).status(1).any_stderr().run();
    // Nobody was named: not decided, and the package's own key is a hint.
    let ran = run(&[package]).status(2).any_stderr().run();
    assert!(format!("{}{}", ran.stdout, ran.stderr).contains(&fingerprint), "{ran}");
    run(&["--key", "missing.pub", package]).status(2).any_stderr().run();
    // Damage is damage, whether a key was named or not.
    let mut bytes = fs::read(package).unwrap();
    let at = bytes.len() - 9000;
    bytes[at] ^= 1;
    let damaged = sandbox.write("damaged.psp", bytes);
    let damaged = damaged.to_str().unwrap();
    run(&[damaged]).status(1).any_stderr().run();
    // Over several files 1 beats 2 beats 0.
    run(&["--key", right, package, damaged]).status(1).any_stderr().run();
    run(&["--key", right, package, "missing.psp"]).status(2).any_stderr().run();
    run(&["--key", right, damaged, "missing.psp", package]).status(1).any_stderr().run();
    let ran = run(&["--key", right, "--json", package, damaged, "missing.psp"]).status(1).any_stderr().run();
    let json: serde_json::Value = serde_json::from_str(&ran.stdout).unwrap();
    let classes: Vec<_> =
        json["files"].as_array().unwrap().iter().map(|file| file["class"].as_str().unwrap_or("")).collect();
    assert_eq!(classes, ["", "INTEGRITY", "IO"]);
    assert!(json["schema"].is_number());
}

#[test]
fn signing_again() {
    let sandbox = Sandbox::new(Who::Caller);
    let package = sandbox.copy(&probe_package().file, "tool.psp");
    let (second, second_public) = sandbox.key(2);
    let id = |sandbox: &Sandbox| {
        let ran = Run::new(sandbox, sandbox.work("tool.psp")).env("PSPF_SELF", "info").any_stdout().run();
        ran.stdout.lines().find(|line| line.starts_with("package id")).unwrap().to_owned()
    };
    let before = id(&sandbox);
    Run::pspf(&sandbox, ["sign", "tool.psp", "--key"]).arg(&second).any_stdout().run();
    assert_eq!(id(&sandbox), before, "another signature is no other package");
    for key in [&probe_package().key, &second_public] {
        Run::pspf(&sandbox, ["verify", "tool.psp", "--key"]).arg(key).any_stdout().run();
    }
    Run::pspf(&sandbox, ["sign", "tool.psp", "--key"]).arg(&second).fails("USAGE").run();
    Run::pspf(&sandbox, ["sign", "tool.psp", "--replace", "--key"]).arg(&second).any_stdout().run();
    assert_ne!(id(&sandbox), before);
    Run::pspf(&sandbox, ["verify", "tool.psp", "--key"]).arg(&second_public).any_stdout().run();
    Run::pspf(&sandbox, ["verify", "tool.psp", "--key"])
        .arg(&probe_package().key)
        .status(1)
        .any_stdout()
        .any_stderr()
        .run();
    // A damaged package is never signed.
    let mut bytes = fs::read(&package).unwrap();
    bytes[100] ^= 1;
    pspf_tests::forks::write(&package, &bytes);
    Run::pspf(&sandbox, ["sign", "tool.psp", "--key"]).arg(sandbox.key(3).0).fails("INTEGRITY").run();
    assert_eq!(fs::read(&package).unwrap(), bytes);
}
