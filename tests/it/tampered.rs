//! Packages changed by somebody without the signer's key: what the reference release makes of them, and what we do.
//!
//! `cargo test -p pspf-tests --test it tampered::` prints the table.

use std::fmt::Write as _;
use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};

use pspf_tests::raw::{self, hex, put, sha256};
use pspf_tests::{Run, Sandbox, Who};
use serde_json::json;

use crate::reference::{helper, release};
use crate::unsealed::{build, public_key};

const GOOD: &[u8] = b"#!/bin/sh\necho good\n";
const EVIL: &[u8] = b"#!/bin/sh\necho evil\n";

/// A change to a package, and how it is started.
struct Case {
    /// Its number in the list of weaknesses of the reference release.
    row: &'static str,
    what: &'static str,
    builder: &'static str,
    change: fn(&mut Package),
    /// Variables of the start.
    variables: &'static [(&'static str, &'static str)],
    /// What the package says where the change is run; that of an unchanged one where it only goes unnoticed.
    says: &'static str,
    /// The class of our refusal.
    class: &'static str,
}

/// A package that is being changed.
struct Package(Vec<u8>);

impl Package {
    fn number(&self, at: usize) -> usize {
        let index = raw::index(&self.0);
        usize::try_from(u64::from_le_bytes(index[at..at + 8].try_into().unwrap())).unwrap()
    }

    fn index(&mut self, edit: impl FnOnce(&mut [u8; 8192])) {
        let mut index = raw::index(&self.0);
        edit(&mut index);
        self.0 = raw::with_index(&self.0, index);
    }

    /// Where a field of a slot's descriptor is.
    fn row(&self, slot: usize, field: usize) -> usize {
        self.number(40) + 64 * slot + field
    }

    fn row_number(&self, slot: usize, field: usize) -> usize {
        let at = self.row(slot, field);
        usize::try_from(u64::from_le_bytes(self.0[at..at + 8].try_into().unwrap())).unwrap()
    }

    /// Other bytes in the place of a slot's, with the checksum that nobody signs.
    fn replace(&mut self, slot: usize, bytes: &[u8]) {
        let (at, row) = (self.row_number(slot, 16), self.row(slot, 48));
        put(&mut self.0, at, bytes);
        put(&mut self.0, row, &sha256(bytes)[..8]);
    }

    fn metadata(&self) -> Vec<u8> {
        raw::gunzip(&self.0[self.number(24)..][..self.number(32)])
    }

    /// Other metadata, at the end of the slots; whoever has `signature` signs them.
    fn set_metadata(&mut self, json: &[u8], sign: impl FnOnce(&mut [u8; 8192])) {
        let stored = raw::gzip(json);
        // Nothing else may tell the changed package from a sound one.
        let old = self.number(24)..self.number(24) + self.number(32);
        self.0[old].fill(0);
        let at = self.0.len() - 8200;
        self.0.splice(at..at, stored.iter().copied());
        let len = self.0.len() as u64;
        self.index(|index| {
            put(index, 8, &len.to_le_bytes());
            put(index, 24, &(at as u64).to_le_bytes());
            put(index, 32, &(stored.len() as u64).to_le_bytes());
            put(index, 96, &sha256(&stored));
            sign(index);
        });
    }
}

/// Another payload of the same length.
fn payload(package: &mut Package) {
    package.replace(0, EVIL);
}

/// Another payload of another length, elsewhere in the file.
fn longer_payload(package: &mut Package) {
    let bytes = [EVIL, b"exit 0\n"].concat();
    let at = package.0.len() - 8200;
    package.0.splice(at..at, bytes.iter().copied());
    let row = package.row(0, 0);
    let old = package.row_number(0, 16);
    package.0[old..old + GOOD.len()].fill(0);
    for field in [24, 32] {
        put(&mut package.0, row + field, &(bytes.len() as u64).to_le_bytes());
    }
    put(&mut package.0, row + 16, &(at as u64).to_le_bytes());
    put(&mut package.0, row + 48, &sha256(&bytes)[..8]);
    let len = package.0.len() as u64;
    package.index(|index| put(index, 8, &len.to_le_bytes()));
}

/// Everything, signed anew with a key of the attacker's own.
fn other_signer(package: &mut Package) {
    payload(package);
    let json = String::from_utf8(package.metadata()).unwrap().replace(&hex(&sha256(GOOD)), &hex(&sha256(EVIL)));
    let key = pspf_tests::forge::key();
    package.set_metadata(json.as_bytes(), |index| {
        let public = *key.public_key().as_bytes();
        put(index, 64, &public);
        put(index, 1376, hex(&sha256(&public)).as_bytes());
        put(index, 128, &key.sign(json.as_bytes()).to_bytes());
    });
}

/// Metadata that nobody signed.
fn other_command(package: &mut Package) {
    let json = String::from_utf8(package.metadata()).unwrap();
    let json = json.replace("{workenv}/tool", "/bin/echo evil");
    package.set_metadata(json.as_bytes(), |_| {});
}

/// A byte of the launcher, in the text that its help prints.
fn launcher(package: &mut Package) {
    let at = package.0.windows(9).position(|window| window == b"PSPF/2025").unwrap();
    package.0[at] = b'Q';
}

fn gap(package: &mut Package) {
    let at = package.number(24) - 100;
    package.0[at] = 1;
}

fn index_fields(package: &mut Package) {
    package.index(|index| {
        put(index, 60, &[7]);
        put(index, 704, &1_000_000_000_u64.to_le_bytes());
        put(index, 832, &[0xff]);
        put(index, 864, b"whatever one likes");
    });
}

fn setuid(package: &mut Package) {
    let at = package.row(0, 62);
    put(&mut package.0, at, &0o4755_u16.to_le_bytes());
}

fn lifecycle(package: &mut Package) {
    let at = package.row(0, 57);
    package.0[at] = 8;
}

fn bill_of_materials(package: &mut Package) {
    let last = 1;
    let at = package.row_number(last, 16);
    let mut bytes = package.0[at..][..package.row_number(last, 24)].to_vec();
    let name = bytes.windows(9).position(|window| window == b"CycloneDX").unwrap();
    bytes[name] = b'X';
    package.replace(last, &bytes);
    package.index(|index| put(index, 1440, hex(&sha256(&bytes)).as_bytes()));
}

const STRICT: &[(&str, &str)] = &[("FLAVOR_VALIDATION", "strict")];
const NONE: &[(&str, &str)] = &[("FLAVOR_VALIDATION", "none")];
/// The policy and the trusted key lie in the folder `config` of the home.
const TRUSTED: &[(&str, &str)] = &[("FLAVOR_VALIDATION", "strict"), ("FLAVOR_CONFIG_DIR", "CONFIG")];

const fn case(row: &'static str, what: &'static str, builder: &'static str, change: fn(&mut Package)) -> Case {
    Case { row, what, builder, change, variables: STRICT, says: "evil\n", class: "INTEGRITY" }
}

const CASES: [Case; 14] = [
    case("W1", "another payload of the same length", "rs", payload),
    case("W1", "the same, made by the builder in Go", "go", payload),
    case("W1", "the same, made by the builder in Python", "python", payload),
    case("W2", "another payload of another length", "rs", longer_payload),
    Case { variables: TRUSTED, ..case("W3", "W1 where the policy demands the signer's key", "rs", payload) },
    Case { class: "TRUST", ..case("W4", "everything signed anew with another key", "rs", other_signer) },
    Case { says: "good\n", ..case("W5", "the launcher", "rs", launcher) },
    Case { says: "good\n", ..case("W5", "the gap behind the launcher", "rs", gap) },
    Case { says: "good\n", ..case("W5", "unused fields of the index", "rs", index_fields) },
    Case { says: "good\n", ..case("W5", "a descriptor: setuid", "rs", setuid) },
    Case { says: "good\n", ..case("W5", "a descriptor: lifecycle", "go", lifecycle) },
    Case { variables: NONE, ..case("W7", "metadata that nobody signed", "rs", other_command) },
    Case { variables: NONE, ..case("W7", "the same, under the launcher in Go", "go", other_command) },
    Case { says: "good\n", ..case("W27", "the bill of materials", "python", bill_of_materials) },
];

/// Makes what a package's start needs to find: a policy that demands trusted keys, and the signer among them.
fn trust(sandbox: &Sandbox, home: &Path, public: &[u8]) {
    let spki = [&[0x30, 0x2a, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x03, 0x21, 0x00], public].concat();
    let der = sandbox.write("signer.der", spki);
    let convert = ["pkey", "-pubin", "-inform", "DER", "-in", der.to_str().unwrap()];
    let pem = Run::new(sandbox, "openssl").args(convert).any_stdout().run().stdout;
    let config = home.join("config");
    fs::create_dir_all(config.join("trusted-keys")).unwrap();
    fs::write(config.join(format!("trusted-keys/{}.pub", &hex(&sha256(public))[..16])), pem).unwrap();
    let policy = json!({"version": 1, "trust": {"require_trusted_key": true}});
    fs::write(config.join("policy.json"), policy.to_string()).unwrap();
}

#[test]
fn what_the_reference_release_accepts_is_refused() {
    let sandbox = Sandbox::new(Who::Caller);
    let tool = sandbox.write("tool", GOOD);
    let slot =
        json!({"slot": 0, "id": "tool", "source": tool, "target": "tool", "operations": "raw", "permissions": "0755"});
    let manifest = json!({
        "package": {"name": "p", "version": "1"}, "execution": {"command": "{workenv}/tool", "env": {}}, "slots": [slot],
    });
    sandbox.write("manifest.json", manifest.to_string());
    let flavor = release().join("bin/flavor");
    let mut table = String::from(
        "\n     |                                              | reference    | reference | pspf      | pspf\nrow  | what was changed                             | verify       | start     | verify    | run\n",
    );
    for (number, case) in CASES.iter().enumerate() {
        let kind = if case.builder == "go" { "go" } else { "rs" };
        let launcher = sandbox.copy(&helper(&format!("flavor-{kind}-launcher")), format!("launcher-{kind}"));
        let folder = format!("{number}");
        let sound = build(&sandbox, case.builder, &launcher, &format!("{folder}/sound.psp"));
        let key = public_key(&sandbox, &sound);
        let mut package = Package(fs::read(&sound).unwrap());
        let public = raw::index(&package.0)[64..96].to_vec();
        (case.change)(&mut package);
        let changed = sandbox.write_program(format!("{folder}/changed.psp"), package.0);
        let home = sandbox.work(format!("{folder}/home"));
        trust(&sandbox, &home, &public);
        let start = |file: &PathBuf| {
            let run = Run::new(&sandbox, file).env("HOME", &home).env("FLAVOR_LOG_LEVEL", "error").any_stderr();
            case.variables.iter().fold(run, |run, (name, value)| match *value {
                "CONFIG" => run.env(name, home.join("config")),
                value => run.env(name, value),
            })
        };
        start(&sound).stdout("good\n").run();
        start(&changed).stdout(case.says).run();
        // Of metadata that nobody signed, its verifier says so: there it is the start that can be talked into it.
        let is_noticed = case.row == "W7";
        let verify = Run::new(&sandbox, &flavor).env("PATH", "/usr/bin:/bin").arg("verify").arg(&changed);
        verify.status(u8::from(is_noticed)).any_stdout().any_stderr().run();

        let verify = |file: &PathBuf| {
            let run = Run::pspf(&sandbox, ["verify", "--allow-unsealed", "--key"]).arg(&key).arg(file);
            run.env("FLAVOR_VALIDATION", "none")
        };
        verify(&sound).any_stdout().run();
        verify(&changed).status(1).stdout_part(format!("bad [{}]", case.class)).run();
        let run = |file: &PathBuf| {
            let run = Run::pspf(&sandbox, ["run", "--allow-unsealed", "--key"]).arg(&key).arg(file);
            run.env("FLAVOR_VALIDATION", "none")
        };
        run(&sound).stdout("good\n").run();
        run(&changed).fails(case.class).run();
        let verified = if is_noticed { "refuses" } else { "accepts" };
        let _ = writeln!(
            table,
            "{:4} | {:44} | {verified:12} | {:9} | {:9} | {}",
            case.row,
            case.what,
            if case.says == "evil\n" { "runs it" } else { "accepts" },
            case.class,
            case.class
        );
    }
    // Not by the macro: what that prints is kept from whoever reads.
    let _ = std::io::stderr().write_all(table.as_bytes());
}
