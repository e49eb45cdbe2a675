//! What a person at the command line relies on: work is finished, inputs survive, leftovers stay out.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;

use pspf_tests::{Run, Sandbox, Who, need, pspf};

/// A package with three slots.
fn package(sandbox: &Sandbox) -> PathBuf {
    let mut manifest = "[package]\nname = 'p'\nversion = '1'\n[run]\ncommand = ['{slot:s0}']\n".to_owned();
    for number in 0..3 {
        sandbox.write_program(format!("s{number}"), format!("#!/bin/sh\necho {number}\n"));
        manifest += &format!("[[slot]]\nid = 's{number}'\nsource = 's{number}'\n");
    }
    sandbox.write("pspf.toml", manifest);
    Run::pspf(sandbox, ["pack"]).any_stdout().run();
    sandbox.work("p.psp")
}

/// Whoever reads the report may go away: the work is done all the same, and the exit code is that of the work.
#[test]
fn a_closed_reader_does_not_stop_the_work() {
    need("bash");
    let sandbox = Sandbox::new(Who::Caller);
    let package = package(&sandbox);
    let piped = |command: &str, code: u8| {
        let script = format!("set -o pipefail; '{}' {command} | sleep 0", pspf().display());
        Run::new(&sandbox, "bash").args(["-c", &script]).status(code).any_stderr().run();
    };
    piped("extract p.psp -C out", 0);
    assert_eq!(pspf_tests::sandbox::names(&sandbox.work("out")), ["s0", "s1", "s2"]);
    piped("cache warm p.psp", 0);
    assert_eq!(sandbox.slots().len(), 3);
    let slot = &sandbox.slots()[2];
    fs::set_permissions(slot, fs::Permissions::from_mode(0o755)).unwrap();
    fs::write(slot.join("added"), b"").unwrap();
    piped("cache verify", 121);
    assert!(package.exists());
}

/// Opening a pipe waits for its other end.
#[test]
fn a_pipe_in_place_of_a_package_is_refused_at_once() {
    let sandbox = Sandbox::new(Who::Caller);
    let (pipe, mode) = (sandbox.work("pipe"), rustix::fs::Mode::RWXU);
    rustix::fs::mknodat(rustix::fs::CWD, &pipe, rustix::fs::FileType::Fifo, mode, 0).unwrap();
    for words in [&["run"][..], &["extract", "-C", "to"], &["cache", "warm"], &["inspect"]] {
        Run::pspf(&sandbox, words).arg(&pipe).fails("IO").stderr_part("it is not a regular file").run();
    }
}

#[test]
fn an_input_is_never_replaced_by_the_output() {
    let sandbox = Sandbox::new(Who::Caller);
    package(&sandbox);
    let (key, _) = sandbox.key(1);
    let key = key.to_str().unwrap();
    let launcher = sandbox.write_program("launcher", pspf_tests::stub());
    let before = |name: &str| fs::read(sandbox.work(name)).unwrap();
    let (secret, manifest) = (before(key), before("pspf.toml"));
    for args in [
        ["pack", "--key", key, "-o", key],
        ["pack", "--key", key, "-o", "pspf.toml"],
        ["pack", "--key", key, "-o", "s1"],
    ] {
        Run::pspf(&sandbox, args).fails("USAGE").stderr_part("is the output and an input").run();
    }
    let args = ["pack", "--launcher", "launcher", "-o", "launcher"];
    Run::pspf(&sandbox, args).fails("USAGE").stderr_part("is the output and an input").run();
    assert_eq!((before(key), before("pspf.toml")), (secret, manifest));
    assert_eq!(fs::read(launcher).unwrap(), pspf_tests::stub());
}

/// A package that was never completed stays out of the next one, and the person is told.
#[test]
fn what_a_killed_pack_left_is_not_packed() {
    let sandbox = Sandbox::new(Who::Caller);
    sandbox.write_program("tree/tool", "#!/bin/sh\n");
    let pack = |name: &'static str| Run::pspf(&sandbox, ["pack", "tree", "--exec", "tool", "-o", name]).any_stdout();
    pack("clean.psp").run();
    sandbox.write("tree/.pspf-Ab3xYz.tmp", vec![7; 5000]);
    pack("after.psp").stderr_part("of an earlier `pspf pack` is left out").run();
    let slot = |name: &str| {
        let text = Run::pspf(&sandbox, ["inspect", "--files", name]).any_stdout().run().stdout;
        text.lines().filter(|line| line.trim_start().starts_with(['-', 'd'])).map(str::to_owned).collect::<Vec<_>>()
    };
    assert_eq!(slot("after.psp"), slot("clean.psp"));
    assert_eq!(slot("after.psp").len(), 1);
}

#[test]
fn targets_that_meet_are_told_before_anything_is_written() {
    let sandbox = Sandbox::new(Who::Caller);
    let manifest = "[package]\nname = 'p'\nversion = '1'\n[run]\ncommand = ['{slot:a}']\n\
        [[slot]]\nid = 'a'\nsource = 'x/tool'\n[[slot]]\nid = 'b'\nsource = 'y/tool'\n";
    sandbox.write_program("x/tool", "#!/bin/sh\n");
    sandbox.write_program("y/tool", "#!/bin/sh\necho\n");
    sandbox.write("pspf.toml", manifest);
    Run::pspf(&sandbox, ["pack"]).any_stdout().run();
    Run::pspf(&sandbox, ["extract", "p.psp", "-C", "out"]).fails("USAGE").stderr_part("would both be").run();
    assert!(!sandbox.work("out").exists());
    Run::pspf(&sandbox, ["extract", "p.psp", "b", "-C", "out"]).any_stdout().run();
    assert_eq!(fs::read(sandbox.work("out/tool")).unwrap(), b"#!/bin/sh\necho\n");
}

/// Every package carries it.
#[test]
fn the_launcher_is_small() {
    let output = pspf_tests::forks::output(std::process::Command::new(pspf_tests::pspf()).arg("--version"));
    let version = String::from_utf8(output.stdout).unwrap();
    let limit = match version.as_str() {
        release if release.contains("release recipe") => 350_000,
        musl if musl.contains("musl") => 650_000,
        _ => 1_600_000,
    };
    let stub = pspf_tests::stub();
    assert!(stub.len() < limit, "{} bytes, fewer than {limit} are allowed; {version}", stub.len());
    // A defect of the launcher ends with words, not with a signal.
    let words = b"the launcher panicked";
    assert!(stub.windows(words.len()).any(|found| found == words));
}
