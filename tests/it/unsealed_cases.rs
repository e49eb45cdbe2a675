//! Every quirk of the reference builders that SPEC §8.5 lists, in packages that they made.

use pspf_tests::{Run, Sandbox, Who};
use serde_json::{Value, json};

use crate::reference::helper;
use crate::unsealed::{BUILDERS, build, public_key};

const C: &[&str] = &["rs", "go"];

/// Words for what a slot's content is, with the builders that take them.
const OPERATIONS: [(&str, &[&str]); 19] = [
    ("", &BUILDERS),
    ("none", &BUILDERS),
    ("raw", &BUILDERS),
    ("RAW", &BUILDERS),
    ("gzip", &BUILDERS),
    ("GZIP", &BUILDERS),
    ("zstd", &BUILDERS),
    ("xz", &BUILDERS),
    ("bzip2", &BUILDERS),
    ("tar.gz", &BUILDERS),
    ("tgz", &BUILDERS),
    ("tar", &BUILDERS),
    ("tar|gzip", &BUILDERS),
    ("tar.xz", &["python"]),
    ("TAR | ZSTD", &["python"]),
    ("tar,gzip", C),
    ("none,gzip", C),
    (" gzip, ", C),
    ("nonsense", C),
];
const PERMISSIONS: [&str; 14] =
    ["0755", "755", "0o755", "04755", "rwx", "", "0", "00", "1000755", "9", " 755", "7x", "0 755", "00o755"];
const PURPOSES: [(&str, &[&str]); 9] = [
    ("payload", &BUILDERS),
    ("runtime", &BUILDERS),
    ("tool", &BUILDERS),
    ("data", &BUILDERS),
    ("code", &BUILDERS),
    ("config", &BUILDERS),
    ("media", &BUILDERS),
    ("library", &BUILDERS),
    ("Tool", C),
];
const LIFECYCLES: [&str; 11] =
    ["init", "startup", "runtime", "shutdown", "cache", "temporary", "lazy", "eager", "dev", "config", "platform"];
const OTHER_LIFECYCLES: [&str; 5] = ["INIT", "temp", "volatile", "attestation", ""];

#[test]
fn what_the_builders_write_for_each_word_is_what_is_expected() {
    let sandbox = Sandbox::new(Who::Caller);
    // What the builders in Rust and Go get is stored as it is; the one in Python transforms it.
    let source = sandbox.write("a.txt", b"content\n");
    let launcher = sandbox.copy(&helper("flavor-rs-launcher"), "launcher");
    let mut cases: Vec<(Value, &[&str])> = Vec::new();
    cases.extend(OPERATIONS.map(|(word, builders)| (json!({ "operations": word }), builders)));
    cases.extend(PERMISSIONS.map(|text| (json!({ "permissions": text }), &BUILDERS[..])));
    cases.push((json!({"permissions": "+755"}), C));
    cases.push((json!({}), &BUILDERS));
    cases.extend(PURPOSES.map(|(word, builders)| (json!({ "purpose": word }), builders)));
    cases.extend(LIFECYCLES.map(|word| (json!({ "lifecycle": word }), &BUILDERS[..])));
    cases.extend(OTHER_LIFECYCLES.map(|word| (json!({ "lifecycle": word }), C)));
    for builder in BUILDERS {
        let mut slots: Vec<Value> = Vec::new();
        for (change, _) in cases.iter().filter(|(_, builders)| builders.contains(&builder)) {
            let (number, source) = (slots.len(), source.to_str().unwrap());
            let mut slot = json!({"slot": number, "id": format!("{number}: {change}"), "source": source,
                "target": format!("t{number}"), "operations": "raw"});
            slot.as_object_mut().unwrap().extend(change.as_object().unwrap().clone());
            slots.push(slot);
        }
        let manifest = json!({
            "package": {"name": "p", "version": "1"}, "execution": {"command": "{workenv}/t0"}, "slots": slots,
        });
        sandbox.write("manifest.json", manifest.to_string());
        let package = build(&sandbox, builder, &launcher, &format!("{builder}.psp"));
        let key = public_key(&sandbox, &package);
        Run::pspf(&sandbox, ["verify", "--allow-unsealed", "--key"]).arg(&key).arg(package).any_stdout().run();
    }
}

#[test]
fn every_code_is_decoded() {
    let sandbox = Sandbox::new(Who::Caller);
    let launcher = sandbox.copy(&helper("flavor-rs-launcher"), "launcher");
    let file = sandbox.write("a.txt", b"content\n");
    sandbox.write("tree/b.txt", b"in a tree\n");
    let tree = sandbox.work("tree");
    let words = ["raw", "gzip", "bzip2", "xz", "zstd", "tar", "tar.gz", "tar.bz2", "tar.xz", "tar.zst"];
    let slots: Vec<Value> = words
        .iter()
        .enumerate()
        .map(|(number, word)| {
            let source = if word.starts_with("tar") { &tree } else { &file };
            json!({"slot": number, "id": format!("s{number}"), "source": source, "target": "a", "operations": word})
        })
        .collect();
    let manifest = json!({
        "package": {"name": "p", "version": "1"}, "execution": {"command": "cat {workenv}/a"}, "slots": slots,
    });
    sandbox.write("manifest.json", manifest.to_string());
    let package = build(&sandbox, "python", &launcher, "a.psp");
    let key = public_key(&sandbox, &package);
    Run::pspf(&sandbox, ["verify", "--allow-unsealed", "--deep", "--key"]).arg(&key).arg(&package).any_stdout().run();
    Run::pspf(&sandbox, ["extract", "--allow-unsealed", "a.psp", "-C", "out"]).any_stdout().run();
    for (number, word) in words.iter().enumerate() {
        let (name, content) = if word.starts_with("tar") { ("b.txt", "in a tree\n") } else { ("a", "content\n") };
        let path = sandbox.work(format!("out/s{number}/{name}"));
        assert_eq!(std::fs::read_to_string(path).unwrap(), content, "{word}");
    }
}
