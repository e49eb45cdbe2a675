//! The files in `tests/vectors`: they are those that the generator writes, and `pspf` judges them as their list says.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use pspf_tests::sandbox::names;
use pspf_tests::vectors::{Vector, all, files};
use pspf_tests::{Run, Sandbox, Who, probe, raw};

/// The package in a stored file.
fn unpacked(name: &str) -> Vec<u8> {
    raw::gunzip(&fs::read(folder().join(format!("{name}.gz"))).unwrap())
}

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("vectors")
}

#[test]
fn the_files_are_those_that_the_generator_writes() {
    let files = files();
    let mut expected: BTreeSet<String> = files.keys().cloned().collect();
    expected.insert("README.md".to_owned());
    assert_eq!(names(&folder()).into_iter().collect::<BTreeSet<_>>(), expected);
    for name in ["index.json", "key.pub"] {
        assert!(fs::read(folder().join(name)).unwrap() == files[name], "{name}: run the generator again");
    }
    // Another compressor may make other bytes of the same content.
    for vector in all() {
        assert!(unpacked(&vector.name) == vector.bytes, "{}: run the generator again", vector.name);
    }
    let list: serde_json::Value = serde_json::from_slice(&files["index.json"]).unwrap();
    let rows = list["vectors"].as_array().unwrap();
    let count = |result: &str| rows.iter().filter(|row| (row["result"] == "OK") == (result == "OK")).count();
    assert!(count("OK") >= 20 && count("others") >= 150, "{} and {}", count("OK"), count("others"));
    // Every file but those that are alike by their nature is another one.
    let different: BTreeSet<&str> = rows.iter().filter_map(|row| row["sha256"].as_str()).collect();
    assert!(different.len() + 3 >= rows.len(), "{} of {} files differ", different.len(), rows.len());
}

/// Memory that no file may take, in kB.
const MEMORY: u64 = 64 << 10;

/// What `verify` says of a file: its class, and the exit code.
fn verified(sandbox: &Sandbox, vector: &Vector, options: &[&str]) -> (String, i32) {
    let mut run = Run::pspf(sandbox, ["verify", "--json", "--key"]).arg(folder().join("key.pub")).args(options);
    run = if vector.allow_unsealed { run.arg("--allow-unsealed") } else { run };
    let memory = sandbox.root().join("tmp/memory");
    let run = run.under([probe().as_os_str(), "measure".as_ref(), memory.as_os_str()]);
    let output = run.arg(&vector.name).spawn().wait_with_output().unwrap();
    let peak: u64 = fs::read_to_string(memory).unwrap().parse().unwrap();
    assert!(peak < MEMORY, "{}: {peak} kB of memory", vector.name);
    let report: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap_or_default();
    let class = match &report["files"][0] {
        file if file["result"] == "verified" => "OK",
        file => file["class"].as_str().unwrap_or("no report"),
    };
    (class.to_owned(), output.status.code().unwrap_or(-1))
}

/// The class with which `pspf run` refuses a file, by its exit code.
fn refused(sandbox: &Sandbox, vector: &Vector) -> (String, i32) {
    let output = Run::pspf(sandbox, ["run"]).arg(&vector.name).spawn().wait_with_output().unwrap();
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    let class = text.strip_prefix("pspf: error[").and_then(|text| text.split(']').next()).unwrap_or(&text);
    (class.to_owned(), output.status.code().unwrap_or(-1))
}

/// Everything that is not as the list says.
fn judged(sandbox: &Sandbox, vector: &Vector) -> Vec<String> {
    sandbox.write_program(&vector.name, unpacked(&vector.name));
    let mut wrong = Vec::new();
    let mut expect = |what: &str, found: (String, i32), class: &str, code: i32| {
        if found != (class.to_owned(), code) {
            wrong.push(format!("{}, {what}: expected {class} {code}, found {found:?}", vector.name));
        }
    };
    let exit = i32::from(vector.exit());
    let shallow = if vector.deep { ("OK", 0) } else { (vector.result, exit) };
    expect("verify", verified(sandbox, vector, &[]), shallow.0, shallow.1);
    if vector.deep || vector.result == "OK" {
        expect("verify --deep", verified(sandbox, vector, &["--deep"]), vector.result, exit);
    }
    let launcher = match vector.result {
        "FORMAT" => 120,
        "INTEGRITY" => 121,
        _ => return wrong,
    };
    if !vector.deep && !vector.allow_unsealed {
        // To accept packages that never had a seal loosens nothing for others.
        if vector.name != "format-no-seal.psp" {
            expect("verify --allow-unsealed", verified(sandbox, vector, &["--allow-unsealed"]), vector.result, exit);
        }
        expect("run", refused(sandbox, vector), vector.result, launcher);
    }
    wrong
}

#[test]
fn each_file_is_judged_as_its_line_says() {
    let vectors = all();
    let half = vectors.len() / 2;
    let wrong: Vec<String> = std::thread::scope(|scope| {
        let judge = |part: &'_ [Vector]| {
            let sandbox = Sandbox::new(Who::Caller);
            let wrong: Vec<String> = part.iter().flat_map(|vector| judged(&sandbox, vector)).collect();
            assert!(sandbox.slots().is_empty(), "a file that must fail was extracted");
            wrong
        };
        let handles = [&vectors[..half], &vectors[half..]].map(|part| scope.spawn(move || judge(part)));
        handles.into_iter().flat_map(|handle| handle.join().unwrap()).collect()
    });
    assert!(wrong.is_empty(), "{} of {}:\n{}", wrong.len(), vectors.len(), wrong.join("\n"));
}

/// Whatever a file is, no command takes it for a defect of its own, and what refuses it has a class that fits.
/// `PSPF_TEST_SWEEP=full` takes every file in place of every eighth.
#[test]
fn every_command_ends_with_a_documented_code() {
    let step = if std::env::var_os("PSPF_TEST_SWEEP").is_some_and(|value| value == "full") { 1 } else { 8 };
    let sandbox = Sandbox::new(Who::Caller);
    let (private, _) = sandbox.key(3);
    let private = private.to_str().unwrap();
    for vector in all().iter().step_by(step) {
        let file = vector.name.as_str();
        for words in [
            &["inspect", "--files", "--layout", "--json", file][..],
            &["extract", "-C", "to", file],
            &["cache", "warm", file],
            &["sign", "--key", private, file],
        ] {
            // Its tree is read-only and could not be removed afterwards.
            if words[0] == "cache" && file == "ok-tree-longest-path.psp" {
                continue;
            }
            sandbox.write_program(file, &vector.bytes);
            let output = Run::pspf(&sandbox, words).spawn().wait_with_output().unwrap();
            let said = String::from_utf8_lossy(&output.stderr);
            // Several slots of one target are a matter of how the command was called.
            let expected = match (words[0], vector.result) {
                ("inspect", _) | (_, "OK" | "TRUST") => &[0, 2, 120, 121][..],
                _ if vector.deep => &[0, 121],
                (_, "FORMAT") => &[120],
                // Without a seal there is no sense in looking any further.
                _ if vector.allow_unsealed => &[120, 121],
                _ => &[121],
            };
            let code = output.status.code().unwrap_or(-1);
            assert!(expected.contains(&code) && !said.contains("panicked"), "{words:?}: {code} {said}");
            assert!(
                words[0] == "sign" && code == 0 || fs::read(sandbox.work(file)).unwrap() == vector.bytes,
                "{words:?}"
            );
            // Paths that are longer than the system takes at once are removed directory by directory.
            let _ = fs::remove_dir_all(sandbox.work("to"));
        }
    }
}
