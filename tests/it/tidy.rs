//! The house is in order: dependencies, directions, and what the README promises.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use pspf_tests::{Run, Sandbox, Who, forks};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

fn cargo(args: &[&str]) -> String {
    let program = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let output = forks::output(Command::new(program).args(args).arg("--locked").current_dir(root()));
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

/// All that is linked into the stub, or makes its code while it is compiled. A new name here is a decision.
const LAUNCHER_TREE: [&str; 34] = [
    "adler2",
    "bincode",
    "bincode_derive",
    "bitflags",
    "block-buffer",
    "cfg-if",
    "cpufeatures",
    "crypto-common",
    "curve25519-dalek",
    "curve25519-dalek-derive",
    "digest",
    "ed25519",
    "ed25519-dalek",
    "generic-array",
    "libc",
    "linux-raw-sys",
    "miniz_oxide",
    "proc-macro2",
    "pspf-format",
    "pspf-keys",
    "pspf-launcher",
    "quote",
    "rustix",
    "sha2",
    "signature",
    "subtle",
    "syn",
    "typenum",
    "unicode-ident",
    "unty",
    "virtue",
    "zeroize",
    "zstd-safe",
    "zstd-sys",
];

#[test]
fn the_launcher_depends_on_these_crates_alone() {
    let tree = cargo(&[
        "tree",
        "-p",
        "pspf-launcher",
        "-e",
        "normal",
        "--prefix",
        "none",
        "--target",
        "x86_64-unknown-linux-musl",
    ]);
    let mut found: Vec<&str> =
        tree.lines().filter_map(|line| line.split(' ').next()).filter(|name| !name.is_empty()).collect();
    found.sort_unstable();
    found.dedup();
    assert_eq!(found, LAUNCHER_TREE);
}

#[test]
fn dependencies_point_one_way() {
    let metadata: serde_json::Value =
        serde_json::from_str(&cargo(&["metadata", "--no-deps", "--format-version", "1"])).unwrap();
    let mut found = BTreeMap::new();
    for package in metadata["packages"].as_array().unwrap() {
        let own = |dependency: &&serde_json::Value| dependency["kind"].is_null() && dependency["path"].is_string();
        let names = package["dependencies"].as_array().unwrap().iter().filter(own);
        let mut names: Vec<&str> = names.map(|dependency| dependency["name"].as_str().unwrap()).collect();
        names.sort_unstable();
        found.insert(package["name"].as_str().unwrap(), names);
    }
    let expected = BTreeMap::from([
        ("cpufeatures", vec![]),
        ("pspf-keys", vec![]),
        ("pspf-format", vec!["pspf-keys"]),
        ("pspf-launcher", vec!["pspf-format"]),
        ("pspf-workenv", vec!["pspf-format", "pspf-launcher"]),
        ("pspf-unsealed", vec!["pspf-format", "pspf-launcher", "pspf-workenv"]),
        ("pspf-builder", vec!["pspf-format", "pspf-keys", "pspf-launcher", "pspf-unsealed", "pspf-workenv"]),
        ("pspf-tests", vec!["pspf-format", "pspf-keys"]),
    ]);
    assert_eq!(found, expected);
}

/// Every Rust file below these folders, with its text.
fn sources(folders: &[&str]) -> Vec<(String, String)> {
    fn walk(directory: &Path, found: &mut Vec<PathBuf>) {
        for entry in fs::read_dir(directory).unwrap().flatten() {
            if entry.path().is_dir() {
                walk(&entry.path(), found);
            } else if entry.path().extension().is_some_and(|extension| extension == "rs") {
                found.push(entry.path());
            }
        }
    }
    let mut found = Vec::new();
    folders.iter().for_each(|folder| walk(&root().join(folder), &mut found));
    assert!(!found.is_empty());
    let name = |path: &Path| path.strip_prefix(root()).unwrap().to_string_lossy().into_owned();
    found.iter().map(|path| (name(path), fs::read_to_string(path).unwrap())).collect()
}

/// Lines of code that hold one of these words: no comments, and nothing from the tests at a file's end.
fn lines_with(folders: &[&str], words: &[&str]) -> Vec<String> {
    let mut found = Vec::new();
    for (name, text) in &sources(folders) {
        let code = text.split("#[cfg(test)]").next().unwrap_or_default();
        for (number, line) in code.lines().enumerate().filter(|(_, line)| !line.trim_start().starts_with("//")) {
            if words.iter().any(|word| line.contains(word)) {
                found.push(format!("{name}:{}: {}", number + 1, line.trim()));
            }
        }
    }
    found
}

#[test]
fn formats_and_keys_touch_no_system() {
    let system = [
        "std::fs",
        "std::env",
        "std::process",
        "std::net",
        "SystemTime",
        "Instant",
        "println!",
        "eprintln!",
        "File::open",
        "File::create",
    ];
    assert_eq!(lines_with(&["format-spec/src", "keys/src"], &system), [""; 0]);
}

#[test]
fn unsafe_code_is_where_it_may_be() {
    let words = ["unsafe {", "unsafe fn", "unsafe impl", "unsafe extern", "#[unsafe"];
    let folders =
        ["cpufeatures/src", "keys/src", "format-spec/src", "launcher/src", "unsealed/src", "builder/src", "tests/src"];
    let mut found = lines_with(&folders, &words);
    // One folder, the processor's registers, the entry points that the C library or the kernel calls, and what only the bench asks of the system.
    let allowed = [
        "cpufeatures/src/lib.rs:",
        "launcher/src/sys/",
        "launcher/src/main.rs:",
        "launcher/src/memcmp.rs:",
        "unsealed/src/main.rs:",
        "tests/src/bin/probe.rs:",
        "tests/src/bench/programs/",
        "tests/src/bench/spawn.rs:",
        "tests/src/bench/steps.rs:",
    ];
    found.retain(|line| !allowed.iter().any(|place| line.starts_with(place)));
    assert_eq!(found, [""; 0]);
}

#[test]
fn files_are_small() {
    let long =
        sources(&["cpufeatures", "keys", "format-spec", "launcher", "unsealed", "builder/src", "tests"]).into_iter();
    let long = long.map(|(name, text)| (name, text.lines().count())).filter(|(_, lines)| *lines > 500);
    assert_eq!(long.collect::<Vec<_>>(), []);
}

/// The fenced blocks of one language in the README.
fn readme(language: &str) -> Vec<String> {
    let text = fs::read_to_string(root().join("README.md")).unwrap();
    let fence = format!("```{language}\n");
    let blocks: Vec<String> =
        text.split(&fence).skip(1).map(|rest| rest.split("```").next().unwrap().to_owned()).collect();
    assert!(!blocks.is_empty(), "no block of {language}");
    blocks
}

#[test]
fn the_commands_of_the_readme_exist() {
    let sandbox = Sandbox::new(Who::Caller);
    let text = readme("sh").concat();
    let lines: Vec<&str> = text.lines().map(|line| line.split(" #").next().unwrap().trim()).collect();
    assert_eq!(lines[0], "cargo run --release -- pack examples/quickstart --run");
    assert_eq!(lines[1], "cargo test --workspace");
    let mut count = 0;
    for words in lines.iter().filter_map(|line| line.strip_prefix("pspf ")) {
        let words: Vec<&str> = words.split(' ').collect();
        let depth = if matches!(words[0], "key" | "cache" | "provider") { 2 } else { 1 };
        let help = Run::pspf(&sandbox, &words[..depth]).arg("--help").any_stdout().run().stdout;
        for option in words.iter().take_while(|word| **word != "--").filter(|word| word.starts_with("--")) {
            assert!(help.contains(option), "`{option}` of `pspf {}`", words.join(" "));
        }
        count += 1;
    }
    assert!(count > 3);
}

#[test]
fn the_manifest_of_the_readme_packs() {
    let sandbox = Sandbox::new(Who::Caller);
    sandbox.write_program("build/python/bin/python3", b"#!/bin/sh\necho \"$1 ${2##*/} $APP_MODE\"\n");
    sandbox.write("src/main.py", b"");
    sandbox.write_program("bin/tool", b"#!/bin/sh\n");
    sandbox.write("pspf.toml", &readme("toml")[0]);
    Run::pspf(&sandbox, ["pack", "--run"]).stdout_part("-I main.py prod").run();
}

#[test]
fn the_example_of_the_readme_runs() {
    let sandbox = Sandbox::new(Who::Caller);
    let example = root().join("examples/quickstart");
    let out = sandbox.work("out.psp");
    let ran = Run::pspf(&sandbox, ["pack", "--run", "-o"]).arg(&out).arg(example).any_stdout().run();
    assert!(ran.stdout.starts_with("packed "), "{ran}");
    let again = Run::new(&sandbox, &out).any_stdout().run();
    // The rest of what it says are times.
    let greeting = again.stdout.lines().next().unwrap();
    assert!(!greeting.is_empty() && ran.stdout.contains(greeting), "{ran}\n{again}");
}
