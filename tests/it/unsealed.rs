//! Packages of the reference builders under `pspf`, and under our launcher for packages without a seal: what they do is
//! compared with what the reference launcher in Rust makes of them.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use pspf_tests::{Run, Sandbox, Who, need, probe, raw, snapshot};

use crate::reference::{helper, release, step};

/// The builders of the reference release.
pub(crate) const BUILDERS: [&str; 3] = ["rs", "go", "python"];

/// Slots of every kind that its launchers know, setup commands of every kind, and rules for the environment.
const MANIFEST: &str = r#"{
"format": "PSPF/2025",
"package": {"name": "mixed", "version": "1.0", "description": "d"},
"execution": {
    "command": "{workenv}/bin/show args '{slot:2}' \"two words\" {package_name}-{version} {slot:9} {none}",
    "env": {"WHERE": "{workenv}/x", "SLOT": "{slot:2}", "HOME_TEXT": "$HOME"}
},
"setup_commands": [
    {"type": "write_file", "path": "{workenv}/made/deep/by", "content": "{package_name} {version}"},
    {"type": "execute", "command": "{workenv}/bin/show mark {workenv}/made/marked"},
    {"type": "enumerate_and_execute", "command": "{workenv}/bin/show mark",
     "enumerate": {"path": "{workenv}/lib", "pattern": "*.whl"}},
    {"type": "chmod", "path": "{workenv}/made/m*", "mode": "750"}
],
"runtime": {"env": {
    "unset": ["GONE_*", "MAPPED_AWAY"], "pass": ["GONE_BUT"], "set": {"LITERAL": "{workenv}"},
    "map": {"OLD": "NEW", "MAPPED_AWAY": "NEVER"}
}},
"workenv": {"directories": [{"path": "{workenv}/tmp", "mode": "0750"}], "env": {"TMPDIR": "{workenv}/tmp"}},
"cache_validation": {"check_file": "{workenv}/made/marked", "expected_content": "x"},
"slots": [
    {"slot": 0, "id": "tree", "source": "SOURCES/tree.tgz", "target": "{workenv}", "operations": "tgz"},
    {"slot": 1, "id": "more", "source": "SOURCES/more.tar", "target": "{workenv}", "operations": "tar",
     "lifecycle": "cache"},
    {"slot": 2, "id": "tool", "source": "SOURCES/tool.gz", "target": "sub/a tool", "operations": "gzip",
     "permissions": "0755", "purpose": "tool"},
    {"slot": 3, "id": "note", "source": "SOURCES/note", "target": "note", "operations": "raw", "lifecycle": "init"}
]}"#;

/// The files that the manifest packs.
pub(crate) fn sources(sandbox: &Sandbox) {
    ["tar", "gzip"].into_iter().for_each(need);
    sandbox.copy(probe(), "tree/bin/show");
    sandbox.write("tree/lib/one.whl", b"1");
    sandbox.write("tree/lib/two.whl", b"2");
    sandbox.write("tree/lib/other", b"3");
    sandbox.write("more/lib/other", b"three");
    sandbox.write("more/share/data", vec![7; 100_000]);
    fs::set_permissions(sandbox.work("tree/lib/other"), fs::Permissions::from_mode(0o640)).unwrap();
    sandbox.write("tool", b"#!/bin/sh\necho tool\n");
    sandbox.write("note", b"only for the setup\n");
    let tar = |options: &str, to: &str, from: &str, names: &[&str]| {
        let mut tar = Command::new("tar");
        step(tar.arg(options).arg(sandbox.work(to)).arg("-C").arg(sandbox.work(from)).args(names), "install tar");
    };
    tar("-czf", "tree.tgz", "tree", &["bin", "lib"]);
    tar("-cf", "more.tar", "more", &["lib", "share"]);
    step(Command::new("gzip").arg("-k").arg(sandbox.work("tool")), "install gzip");
    sandbox.write("manifest.json", MANIFEST.replace("SOURCES", sandbox.work("").to_str().unwrap()));
}

/// The builder in Python has no manifest: its programs call it.
const PYTHON: &str = "
import json, sys
from pathlib import Path
from flavor.psp.format_2025.pspf_builder import PSPFBuilder
manifest, launcher, out = json.load(open(sys.argv[1])), Path(sys.argv[2]), sys.argv[3]
keys = ['package', 'execution', 'setup_commands', 'runtime', 'workenv', 'cache_validation', 'policy']
builder = PSPFBuilder.create().metadata(**{key: manifest[key] for key in keys if key in manifest})
for slot in manifest['slots']:
    names = ['id', 'target', 'operations', 'purpose', 'lifecycle', 'permissions']
    builder = builder.add_slot(data=Path(slot['source']), **{name: slot[name] for name in names if name in slot})
result = builder.with_keys(seed='s').with_options(launcher_bin=launcher).build(out)
sys.exit(str(result.errors) if not result.success else 0)
";

/// Lets a reference builder make a package of `manifest.json`.
pub(crate) fn build(sandbox: &Sandbox, builder: &str, launcher: &Path, out: &str) -> PathBuf {
    let package = sandbox.work(out);
    fs::create_dir_all(package.parent().unwrap()).unwrap();
    let mut command = if builder == "python" {
        let mut command = Command::new(release().join("bin/python"));
        command.args(["-I", "-c", PYTHON]).arg(sandbox.work("manifest.json")).arg(launcher).arg(&package);
        command
    } else {
        let mut command = Command::new(helper(&format!("flavor-{builder}-builder")));
        command.arg("--manifest").arg(sandbox.work("manifest.json")).arg("--launcher-bin").arg(launcher);
        command.arg("--output").arg(&package).args(["--key-seed", "s"]);
        command
    };
    step(command.current_dir(sandbox.work("")).env("HOME", sandbox.home()), "the reference release builds");
    fs::set_permissions(&package, fs::Permissions::from_mode(0o755)).unwrap();
    package
}

/// The file of the key that all these packages are signed with.
pub(crate) fn public_key(sandbox: &Sandbox, package: &Path) -> PathBuf {
    let index = raw::index(&fs::read(package).unwrap());
    sandbox.write("signer.pub", raw::hex(&index[64..96]))
}

/// Our launcher for such packages, under a name by which the reference tools know that it runs here.
pub(crate) fn launcher(sandbox: &Sandbox) -> PathBuf {
    let path = sandbox.work("launcher-linux_amd64");
    Run::pspf(sandbox, ["launcher", "--full", "-o"]).arg(&path).any_stdout().run();
    path
}

/// The only directory in a folder.
fn only(folder: &Path) -> PathBuf {
    let entries = fs::read_dir(folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    let hidden = |path: &PathBuf| path.file_name().unwrap().to_string_lossy().starts_with('.');
    let mut found = entries.flatten().map(|entry| entry.path()).filter(|path| path.is_dir() && !hidden(path));
    let first = found.next().expect("one directory");
    assert_eq!(found.next(), None);
    first
}

/// What a start says, with the places that differ from start to start taken out.
fn said(stdout: &str, workenv: &Path, package: &Path, home: &Path) -> Vec<String> {
    let text = stdout.replace(workenv.to_str().unwrap(), "WORKENV").replace(package.to_str().unwrap(), "PACKAGE");
    let text = text.replace(home.to_str().unwrap(), "HOME");
    let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
    if lines.iter().any(|line| line.starts_with("FLAVOR_WORKENV=")) {
        // The order of variables means nothing. The one names its cache, the other has none; what is ours is ours.
        lines.sort();
        lines.retain(|line| !line.starts_with("FLAVOR_CACHE_DIR="));
    }
    lines
}

fn run<'s>(sandbox: &'s Sandbox, program: &Path, home: &Path) -> Run<'s> {
    let run = Run::new(sandbox, program).env("HOME", home).env("FLAVOR_LOG_LEVEL", "error").any_stderr().any_stdout();
    let run = run.env("FLAVOR_VALIDATION", "strict").env("PSPF_CACHE_DIR", home.join("pspf"));
    run.env("GONE_A", "1").env("GONE_BUT", "2").env("OLD", "3").env("MAPPED_AWAY", "4").cwd(sandbox.work("cwd"))
}

/// What a package does: its arguments, then its environment and directory as its program sees them; then what is in
/// the work environment.
fn behaviour(
    starts: &dyn Fn(&[&str]) -> String,
    workenv: &dyn Fn() -> PathBuf,
    package: &Path,
    home: &Path,
) -> Vec<String> {
    let mut all = Vec::new();
    // The second time nothing is unpacked any more.
    for arguments in [&["user", "a  b"][..], &["again"]] {
        all.extend(said(&starts(arguments), &workenv(), package, home));
    }
    let tree = snapshot(&workenv());
    for (path, what) in tree {
        let mode = fs::metadata(workenv().join(&path)).unwrap().permissions().mode() & 0o7777;
        all.push(format!("{path}: {mode:o} {what}"));
    }
    all
}

#[test]
fn packages_of_every_builder_do_what_they_do_under_the_reference_launcher() {
    let sandbox = Sandbox::new(Who::Caller);
    sources(&sandbox);
    fs::create_dir(sandbox.work("cwd")).unwrap();
    let reference = sandbox.copy(&helper("flavor-rs-launcher"), "reference-launcher");
    let ours = launcher(&sandbox);
    for (command, name) in [("{workenv}/bin/show args", "args"), ("{workenv}/bin/show env", "env"), ("show cwd", "cwd")]
    {
        let manifest = MANIFEST.replace("SOURCES", sandbox.work("").to_str().unwrap());
        let manifest = if name == "args" { manifest } else { manifest.replace("{workenv}/bin/show args", command) };
        sandbox.write("manifest.json", manifest);
        for builder in BUILDERS {
            let kind = format!("{builder}-{name}");
            let home = |who: &str| sandbox.work(format!("home-{kind}-{who}"));
            let package = build(&sandbox, builder, &reference, &format!("{kind}-1/a.psp"));
            let expected = {
                let home = home("reference");
                let starts = |arguments: &[&str]| run(&sandbox, &package, &home).args(arguments).run().stdout;
                let workenv = || only(&home.join(".cache/flavor/workenv"));
                behaviour(&starts, &workenv, &package, &home)
            };
            let found = {
                let home = home("pspf");
                let starts = |arguments: &[&str]| {
                    let run = run(&sandbox, pspf_tests::pspf(), &home).args(["run", "--allow-unsealed"]);
                    run.arg(&package).arg("--").args(arguments).stderr("").run().stdout
                };
                let workenv = || only(&home.join("pspf/v1/env"));
                behaviour(&starts, &workenv, &package, &home)
            };
            assert_same(&expected, &found, &kind);
            // The same package with our launcher in it starts by itself.
            let package = build(&sandbox, builder, &ours, &format!("{kind}-2/a.psp"));
            let home = home("launcher");
            let starts = |arguments: &[&str]| run(&sandbox, &package, &home).args(arguments).stderr("").run().stdout;
            let workenv = || only(&home.join("pspf/v1/env"));
            assert_same(&expected, &behaviour(&starts, &workenv, &package, &home), &kind);
        }
    }
}

#[track_caller]
fn assert_same(expected: &[String], found: &[String], kind: &str) {
    // The attestation of the builder in Python names a random id: its own file differs between two packages.
    let known = |line: &&String| !line.starts_with("_attestation: ");
    let (expected, found): (Vec<_>, Vec<_>) =
        (expected.iter().filter(known).collect(), found.iter().filter(known).collect());
    assert_eq!(expected, found, "{kind}");
}

#[test]
fn they_are_verified_inspected_and_extracted() {
    let sandbox = Sandbox::new(Who::Caller);
    sources(&sandbox);
    let reference = sandbox.copy(&helper("flavor-rs-launcher"), "reference-launcher");
    for builder in BUILDERS {
        let name = format!("{builder}.psp");
        let package = build(&sandbox, builder, &reference, &name);
        let key = public_key(&sandbox, &package);
        let verify = || Run::pspf(&sandbox, ["verify", &name, "--key"]).arg(&key);
        verify().status(1).stdout_part("the package has no seal").run();
        let verified = verify().args(["--allow-unsealed", "--deep"]);
        verified.stdout_part("verified in part, it has no seal").stdout_part("slot table (").run();
        let run = || Run::pspf(&sandbox, ["run", &name]);
        run().fails("FORMAT").stderr_part("--allow-unsealed").run();
        let (_, other) = sandbox.key(2);
        run().args(["--allow-unsealed", "--key"]).arg(other).fails("TRUST").run();
        let inspected = Run::pspf(&sandbox, ["inspect", &name]).stdout_part("show args '{slot:2}'");
        let inspected = inspected.stdout_part("4 commands").stdout_part("tar|gzip").stdout_part("sub/a tool");
        inspected.run();
        let to = format!("out-{builder}");
        Run::pspf(&sandbox, ["extract", "--allow-unsealed", &name, "-C", &to]).any_stdout().run();
        assert_eq!(snapshot(&sandbox.work(&to).join("tree")), snapshot(&sandbox.work("tree")));
        assert_eq!(snapshot(&sandbox.work(&to).join("more")), snapshot(&sandbox.work("more")));
        assert_eq!(fs::read(sandbox.work(&to).join("tool/sub/a tool")).unwrap(), b"#!/bin/sh\necho tool\n");
        Run::pspf(&sandbox, ["extract", &name, "-C", &to]).fails("FORMAT").run();
        Run::pspf(&sandbox, ["extract", "--allow-unsealed", &name, "-C", &to]).fails("IO").stderr_part("exists").run();
    }
}

#[test]
fn our_launcher_answers_what_their_builders_ask() {
    let sandbox = Sandbox::new(Who::Caller);
    sources(&sandbox);
    let launcher = launcher(&sandbox);
    Run::new(&sandbox, &launcher).arg("--version").stdout_part("pspf-launcher-full ").run();
    Run::new(&sandbox, &launcher).fails("FORMAT").run();
    let package = build(&sandbox, "go", &launcher, "a.psp");
    let ask = |word: &str| Run::new(&sandbox, &package).env("FLAVOR_LAUNCHER_CLI", "1").arg(word);
    ask("verify").stdout_part("intact as far as it is signed").run();
    ask("info").stdout("mixed 1.0\n").run();
    ask("extract").fails("USAGE").run();
    // A slot that was changed, before it is unpacked and after.
    let mut bytes = fs::read(&package).unwrap();
    let at = bytes.windows(8).position(|window| window == b"only for").unwrap();
    bytes[at] ^= 1;
    let changed = sandbox.write_program("changed.psp", bytes);
    Run::new(&sandbox, &changed).env("FLAVOR_LAUNCHER_CLI", "1").arg("verify").fails("INTEGRITY").run();
    // The same strictness at a first start: also what is between the parts.
    let gapped = build(&sandbox, "rs", &launcher, "rs.psp");
    let mut bytes = fs::read(&gapped).unwrap();
    let at = usize::try_from(u64::from_le_bytes(raw::index(&bytes)[24..32].try_into().unwrap())).unwrap() - 100;
    assert_eq!(bytes[at], 0, "the gap that the builder in Rust leaves");
    bytes[at] = 1;
    let padded = sandbox.write_program("padded.psp", bytes);
    Run::new(&sandbox, &padded).fails("INTEGRITY").stderr_part("padding").run();
    // It leaves signals and closed descriptors as they are, for sealed packages too.
    let sealed = sandbox.work("sealed.psp");
    Run::pspf(&sandbox, ["pack", "--launcher"])
        .arg(&launcher)
        .arg("-o")
        .arg(&sealed)
        .arg(probe())
        .any_stdout()
        .any_stderr()
        .run();
    let run = Run::new(&sandbox, probe()).args(["signals", "", "13"]).arg(&sealed).arg("process");
    let said = run.any_stdout().run().stdout;
    let ignored = said.lines().find_map(|line| line.strip_prefix("SigIgn:\t")).unwrap();
    assert_ne!(u64::from_str_radix(ignored, 16).unwrap() & 0x1000, 0, "SIGPIPE is ignored as before: {said}");
    Run::new(&sandbox, &changed).fails("INTEGRITY").run();
    assert!(
        !sandbox.cache().join("env").exists()
            || pspf_tests::sandbox::names(&sandbox.cache().join("env")).iter().all(|name| name.ends_with(".lock"))
    );
}

#[test]
fn our_launcher_answers_whoever_asks_and_starts_for_everybody_else() {
    use pspf_tests::unsealed::{UnsealedSlot, metadata, package};
    let sandbox = Sandbox::new(Who::Caller);
    let launcher = launcher(&sandbox);
    let slots = [UnsealedSlot::program("tool", b"#!/bin/sh\necho started \"$@\"\n")];
    let metadata = metadata("{workenv}/tool", &slots, serde_json::json!({}));
    let bytes = package(&fs::read(&launcher).unwrap(), &metadata, &slots, &pspf_tests::forge::key());
    let package = sandbox.write_program("a.psp", bytes);
    let start = || Run::new(&sandbox, &package);
    for value in ["1", "true", "TRUE"] {
        start().env("FLAVOR_LAUNCHER_CLI", value).stdout("forged 1\n").run();
    }
    for value in ["0", "", "yes", "11"] {
        start().env("FLAVOR_LAUNCHER_CLI", value).arg("version").stdout("started version\n").run();
    }
    start().arg("--version").stdout("started --version\n").run();
    let ask = |word: &str| start().env("FLAVOR_LAUNCHER_CLI", "1").arg(word);
    ask("info").stdout("forged 1\n").run();
    ask("verify").stdout_part("intact as far as it is signed").run();
    ask("other").fails("USAGE").stderr_part("`other`").run();
    let version = ask("version").any_stdout().run().stdout;
    assert!(version.starts_with("pspf-launcher-full ") && version.lines().count() == 1, "{version}");
    Run::new(&sandbox, &launcher).arg("--version").stdout(version).run();
    Run::new(&sandbox, &launcher).arg("--other").fails("FORMAT").run();
    // A sealed package answers in its own way, whatever launcher it starts with.
    let sealed = sandbox.work("sealed.psp");
    let pack = Run::pspf(&sandbox, ["pack", "--launcher"]).arg(&launcher).arg("-o").arg(&sealed).arg(probe());
    pack.any_stdout().any_stderr().run();
    let start = || Run::new(&sandbox, &sealed).args(["exit", "5"]);
    start().env("PSPF_SELF", "info").stdout_part("package id ").run();
    start().env("PSPF_SELF", "").status(5).run();
    start().env("PSPF_SELF", "").env("FLAVOR_LAUNCHER_CLI", "1").status(5).run();
}
