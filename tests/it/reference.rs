//! The reference release of PSPF/2025, flavorpack 0.5.4 from the package index: what we pack for it, it reads and runs.

use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use flate2::read::GzDecoder;
use pspf_tests::{Run, Sandbox, Who, need};

use crate::compat::{hold_arguments, pack, sources, stored};

const RELEASE: &str = "flavorpack==0.5.4";

/// An environment of Python with the release in it, made once for all later runs.
pub(crate) fn release() -> &'static Path {
    static RELEASED: OnceLock<PathBuf> = OnceLock::new();
    RELEASED.get_or_init(|| {
        need("python3");
        let made = Path::new(env!("CARGO_TARGET_TMPDIR")).join("flavorpack-0.5.4");
        if !made.join("complete").exists() {
            // Paths in it are absolute, so it is made in its place; one that was not completed is made again.
            let _ = fs::remove_dir_all(&made);
            step(Command::new("python3").args(["-m", "venv"]).arg(&made), "apt-get install python3-venv");
            let pip = made.join("bin/pip");
            let install = ["install", "--quiet", "--disable-pip-version-check", RELEASE];
            step(Command::new(pip).args(install), "the package index must be in reach");
            fs::write(made.join("complete"), b"").unwrap();
        }
        made
    })
}

pub(crate) fn step(command: &mut Command, hint: &str) {
    let output = command.output().unwrap_or_else(|error| panic!("{command:?}: {error}; {hint}"));
    assert!(output.status.success(), "{command:?}: {}; {hint}", String::from_utf8_lossy(&output.stderr));
}

/// One of its prebuilt programs.
pub(crate) fn helper(name: &str) -> PathBuf {
    let lib = fs::read_dir(release().join("lib")).unwrap().flatten().next().expect("one version of Python").path();
    let helper = lib.join("site-packages/flavor/helpers/bin").join(format!("{name}-0.5.4-linux_amd64"));
    assert!(helper.exists(), "{}", helper.display());
    helper
}

#[test]
fn its_launchers_run_what_is_packed_for_them() {
    let sandbox = Sandbox::new(Who::Caller);
    sources(&sandbox);
    for name in ["flavor-rs-launcher", "flavor-go-launcher"] {
        let launcher = sandbox.copy(&helper(name), name);
        let package = pack(&sandbox, &format!("{name}.psp"), &["--launcher", launcher.to_str().unwrap()]);
        // Cold, then warm, at the strictest level.
        // A home with a space in its name breaks the command line of many a package.
        let home = sandbox.work("John Smith");
        for _ in 0..2 {
            let run = Run::new(&sandbox, &package).arg("user").env("FLAVOR_VALIDATION", "strict").env("HOME", &home);
            let ran = run.env("FLAVOR_LOG_LEVEL", "error").any_stdout().any_stderr().run();
            hold_arguments(&ran.stdout, &format!("{name}.psp"));
        }
    }
}

#[test]
fn its_tools_verify_inspect_and_extract_what_is_packed_for_them() {
    let sandbox = Sandbox::new(Who::Caller);
    sources(&sandbox);
    let package = pack(&sandbox, "mixed.psp", &[]);
    let flavor = release().join("bin/flavor");
    let tool = |args: &[&str]| {
        let run = Run::new(&sandbox, &flavor).env("PATH", "/usr/bin:/bin").args(args);
        run.any_stdout().any_stderr().run().stdout
    };
    let file = package.to_str().unwrap();
    tool(&["verify", file]);
    let inspected = tool(&["inspect", file]);
    assert!(inspected.contains("mixed") && inspected.contains("Slots: 3"), "{inspected}");
    tool(&["extract-all", file, "out"]);
    for (slot, name) in ["00_tree.tar_gz", "01_data.gz"].into_iter().enumerate() {
        let mut expected = Vec::new();
        let stored = stored(&sandbox, "mixed.psp", slot);
        GzDecoder::new(&stored[..]).read_to_end(&mut expected).unwrap();
        assert!(fs::read(sandbox.work("out").join(name)).unwrap() == expected, "{name}");
    }
    // One byte of a slot, and its verdict is another one.
    let mut bytes = fs::read(&package).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    let broken = sandbox.write("broken.psp", bytes);
    let run = Run::new(&sandbox, &flavor).env("PATH", "/usr/bin:/bin").arg("verify").arg(broken);
    run.status(1).any_stdout().any_stderr().run();
}

#[test]
fn its_tools_read_other_packages_of_ours_and_its_launchers_do_not_start_them() {
    let sandbox = Sandbox::new(Who::Caller);
    sandbox.write_program("tool", b"#!/bin/sh\necho ran\n");
    let pack = |launcher: &Path, out: &str| {
        let run = Run::pspf(&sandbox, ["pack", "tool", "-o", out, "--launcher"]).arg(launcher);
        run.any_stdout().any_stderr().run();
        sandbox.work(out)
    };
    let theirs = sandbox.copy(&helper("flavor-rs-launcher"), "launcher");
    let package = pack(&theirs, "theirs.psp");
    Run::new(&sandbox, &package).status(104).stderr_part("Unknown operation 27").any_stdout().run();
    let flavor = release().join("bin/flavor");
    for args in [&["verify", "theirs.psp"][..], &["inspect", "theirs.psp"], &["extract-all", "theirs.psp", "out"]] {
        let run = Run::new(&sandbox, &flavor).env("PATH", "/usr/bin:/bin").args(args);
        run.any_stdout().any_stderr().run();
    }
    // The launcher for their builders starts sealed packages too, with the same strictness.
    let package = pack(&crate::unsealed::launcher(&sandbox), "ours.psp");
    Run::new(&sandbox, &package).stdout("ran\n").run();
    let mut bytes = fs::read(&package).unwrap();
    let end = bytes.len() - 8200;
    bytes[end - 30] ^= 1;
    let changed = sandbox.write_program("changed.psp", bytes);
    Run::pspf(&sandbox, ["cache", "prune", "--now"]).any_stdout().run();
    Run::new(&sandbox, &changed).fails("INTEGRITY").run();
}
