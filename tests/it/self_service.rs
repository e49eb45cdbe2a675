//! What a package and a bare launcher say about themselves.

use std::fs;
use std::path::PathBuf;

use pspf_tests::programs::stub;
use pspf_tests::{Run, Sandbox, Who, need, probe, probe_package, snapshot};

use crate::as_both;

/// A package with a slot of each lifecycle, and the fingerprint of its signer.
fn package(sandbox: &Sandbox) -> PathBuf {
    sandbox.copy(probe(), "probe");
    sandbox.write("more/file", b"extra\n");
    let manifest = "[package]\nname = 'own'\nversion = '2.1'\n[run]\ncommand = ['{slot:app}']\n\
        [[slot]]\nid = 'app'\nsource = 'probe'\n\
        [[slot]]\nid = 'first'\nsource = 'more'\nlifecycle = 'eager'\n\
        [[slot]]\nid = 'later'\nsource = 'more/file'\nlifecycle = 'lazy'\n\
        [[slot]]\nid = 'for-people'\nsource = 'more/file'\nlifecycle = 'dev'\ntarget = 'dev'\n\
        [[slot]]\nid = 'elsewhere'\nsource = 'more/file'\nlifecycle = 'platform'\nplatform = 'linux_s390x'\ntarget = 'other'\n";
    sandbox.write("pspf.toml", manifest);
    Run::pspf(sandbox, ["pack", "--key"]).arg(sandbox.key(1).0).any_stdout().run();
    sandbox.work("own.psp")
}

fn info_check_cache_and_extract(who: Who) {
    let sandbox = Sandbox::new(who);
    let package = package(&sandbox);
    let key = pspf_format::keys::SecretKey::from_seed(&[1; 32]).public_key().fingerprint();
    let ask = |value: &str| Run::new(&sandbox, &package).args(["exit", "9"]).env("PSPF_SELF", value);
    let info = ask("info").stdout_part("own 2.1 for linux_").stdout_part(format!("self-signed by ed25519:{key}")).run();
    for line in [
        "slot app: runtime, zstd",
        "slot first: eager, tar|zstd",
        "slot later: lazy",
        "slot for-people: dev",
        "slot elsewhere: platform",
    ] {
        assert!(info.stdout.contains(line), "{line}: {}", info.stdout);
    }
    ask("check").stdout_part("no damage").stdout_part("not forgery").run();
    ask("cache").stdout_part(sandbox.home().join(".cache/pspf").to_str().unwrap()).run();
    assert!(!sandbox.cache().exists(), "telling changes nothing");

    let ran = ask("extract:later").any_stdout().run();
    assert_eq!(fs::read(ran.stdout.trim_end_matches('\n')).unwrap(), b"extra\n");
    assert_eq!(sandbox.slots().len(), 1, "only that slot");
    Run::new(&sandbox, &package).stdout("hello from the probe\n").run();
    // `later` and what a start needs: not `dev`, not another platform's.
    assert_eq!(sandbox.slots().len(), 3);
    ask("cache").stdout_part(sandbox.cache().to_str().unwrap()).stdout_part("the next start is warm").run();
    ask("extract:none").fails("USAGE").run();
}
as_both! { info_check_cache_and_extract }

#[test]
fn other_values_are_refused_and_start_nothing() {
    let sandbox = Sandbox::new(Who::Caller);
    for value in ["bad", "INFO", "info:", "info ", "extract", "extract:", "check:x", "1"] {
        let run = Run::new(&sandbox, &probe_package().file).env("PSPF_SELF", value);
        run.fails("USAGE").stderr_part("  hint: use info, check, extract:SLOT or cache").run();
    }
    assert!(snapshot(&sandbox.home()).is_empty());
    // An empty value is none.
    Run::new(&sandbox, &probe_package().file).env("PSPF_SELF", "").stdout("hello from the probe\n").run();
}

#[test]
fn check_finds_damage() {
    let sandbox = Sandbox::new(Who::Caller);
    let package = package(&sandbox);
    let mut bytes = fs::read(&package).unwrap();
    // In the stored bytes of the last slot, before the trailer.
    let at = bytes.len() - 8200 - 60;
    bytes[at] ^= 1;
    pspf_tests::forks::write(&package, bytes);
    Run::new(&sandbox, &package).env("PSPF_SELF", "check").fails("INTEGRITY").stderr_part("slot `elsewhere`").run();
}

#[test]
fn a_launcher_without_a_payload() {
    let sandbox = Sandbox::new(Who::Caller);
    let stub = sandbox.write_program("launcher", stub());
    Run::new(&sandbox, &stub).arg("--version").stdout("pspf-launcher 0.1.0\n").run();
    for args in [&[][..], &["--help"], &["x", "--version"]] {
        Run::new(&sandbox, &stub).args(args).fails("FORMAT").stderr_part("stripped").run();
    }
    // With a payload `--version` is the application's.
    Run::new(&sandbox, &probe_package().file).arg("--version").stdout("hello from the probe\n").run();
}

#[test]
fn a_stripped_package_says_so() {
    need("strip");
    let sandbox = Sandbox::new(Who::Caller);
    let package = sandbox.copy(&probe_package().file, "tool.psp");
    Run::new(&sandbox, "strip").arg(&package).run();
    assert!(fs::metadata(&package).unwrap().len() < fs::metadata(&probe_package().file).unwrap().len());
    Run::new(&sandbox, &package).arg("mark").fails("FORMAT").stderr_part("was the file stripped").run();
    Run::pspf(&sandbox, ["run", "tool.psp"]).fails("FORMAT").run();
}
