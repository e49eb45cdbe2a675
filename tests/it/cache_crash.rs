//! A start that dies or fails at any point: the next one works, and nothing half-made is ever used.

use std::fs;
use std::io::Read;
use std::os::unix::fs::symlink;
use std::os::unix::process::ExitStatusExt;
use std::path::PathBuf;
use std::time::Duration;

use pspf_tests::sandbox::names;
use pspf_tests::{Run, Sandbox, Snapshot, Who, need, snapshot};

use crate::as_both;

/// A package of everything that takes a step of its own to extract.
fn package(sandbox: &Sandbox) -> (PathBuf, Snapshot) {
    sandbox.write_program("tree/bin/tool", b"#!/bin/sh\necho started\n");
    sandbox.write("tree/data", b"data\n");
    fs::hard_link(sandbox.work("tree/data"), sandbox.work("tree/bin/data")).unwrap();
    symlink("../data", sandbox.work("tree/bin/link")).unwrap();
    sandbox.give_all(&sandbox.work("tree"));
    Run::pspf(sandbox, ["pack", "tree", "--exec", "bin/tool", "-o", "t.psp"]).any_stdout().run();
    (sandbox.work("t.psp"), snapshot(&sandbox.work("tree")))
}

/// System calls of a cold start that change something or that something depends on.
const CALLS: [&str; 14] = [
    "openat",
    "open",
    "mkdirat",
    "flock",
    "pread64",
    "pwrite64",
    "write",
    "linkat",
    "symlinkat",
    "fchmodat",
    "fchmod",
    "renameat",
    "umask",
    "close",
];

/// What every slot in the cache must be at any moment: the whole tree.
#[track_caller]
fn only_whole_slots(sandbox: &Sandbox, tree: &Snapshot, told: &str) {
    for slot in sandbox.slots() {
        assert_eq!(&snapshot(&slot), tree, "a slot in the cache is not whole, {told}");
    }
}

/// Runs a cold start with this injection at the first, second, … such call until it happens no more.
fn sweep(who: Who, inject: &str, calls: &[&str], mut ended: impl FnMut(&std::process::Output, &str)) {
    need("strace");
    let sandbox = Sandbox::new(who);
    let (package, tree) = package(&sandbox);
    let mut points = 0;
    let mut left = Vec::new();
    for call in calls {
        for number in 1..60 {
            let told = format!("{inject} at {call} number {number}");
            pspf_tests::sandbox::remove_tree(&sandbox.cache());
            let rule = format!("inject={call}:{inject}:when={number}");
            let filter = format!("trace={call},execve");
            let log = sandbox.root().join("tmp/log");
            let words = ["strace", "-f", "-e", &filter, "-e", &rule, "-o", log.to_str().unwrap()];
            let output = Run::new(&sandbox, &package).under(words).spawn().wait_with_output().unwrap();
            let happened = fs::read_to_string(&log).unwrap();
            let end = happened.find("(INJECTED)").or_else(|| happened.find("+++ killed by SIGKILL"));
            let Some(end) = end else { break };
            // What happens to the application is its own business.
            if happened[..end].matches("execve(").count() > 1 {
                break;
            }
            points += 1;
            ended(&output, &told);
            only_whole_slots(&sandbox, &tree, &told);
            let ran = Run::new(&sandbox, &package).spawn().wait_with_output().unwrap();
            let said = String::from_utf8_lossy(&ran.stderr).into_owned();
            assert_eq!(
                (&ran.stdout[..], said.as_str(), ran.status.code()),
                (&b"started\n"[..], "", Some(0)),
                "the start after {told}"
            );
            only_whole_slots(&sandbox, &tree, &told);
            let names = ["slots", "receipts"].iter().flat_map(|folder| sandbox.cached(folder));
            left.extend(names.filter(|name| name.starts_with('.')).map(|name| format!("{name} after {told}")));
        }
    }
    assert_eq!(left, [""; 0], "what the dead left is reclaimed by the next start");
    assert!(points > 40, "only {points} points were met: the list of system calls is not that of the launcher");
}

fn killed_at_any_point(who: Who) {
    sweep(who, "signal=KILL", &CALLS, |output, told| {
        assert!(output.status.signal() == Some(9) || output.status.code() == Some(137), "{told}: {output:?}");
    });
}

/// The system refuses once: an error of class IO and nothing else, or the start goes on.
fn refused_at_any_point(who: Who) {
    // Without the last one, `close`: what is not closed by force stays open, and no error of the system does that.
    let calls = &CALLS[..CALLS.len() - 1];
    for error in ["ENOSPC", "EIO"] {
        sweep(who, &format!("error={error}"), calls, |output, told| {
            let said = String::from_utf8_lossy(&output.stderr).into_owned();
            match output.status.code() {
                Some(0) => assert_eq!(output.stdout, b"started\n", "{told}"),
                Some(123) => {
                    assert!(said.starts_with("pspf: error[IO]: ") && output.stdout.is_empty(), "{told}: {said}")
                }
                code => panic!("{told}: {code:?} {said}"),
            }
            assert!(!said.contains("panicked") && output.status.signal().is_none(), "{told}: {said}");
        });
    }
}

fn terminated_while_it_extracts(who: Who) {
    need("strace");
    let sandbox = Sandbox::new(who);
    let (package, _) = package(&sandbox);
    let slots = sandbox.cache().join("slots");
    let staged = || names(&slots).iter().any(|name| name.starts_with(".tmp-"));
    // It is held in the middle of its work. With `-D` the process that is started is the launcher itself.
    let rule = "inject=symlinkat:delay_enter=2000000:when=1";
    let words = ["strace", "-D", "-f", "-qq", "-e", "trace=symlinkat", "-e", rule, "-o", "/dev/null"];
    let mut child = Run::new(&sandbox, &package).under(words).spawn();
    while !staged() && child.try_wait().unwrap().is_none() {
        std::thread::sleep(Duration::from_millis(1));
    }
    rustix::process::kill_process(rustix::process::Pid::from_child(&child), rustix::process::Signal::TERM).unwrap();
    let status = child.wait().unwrap();
    let mut said = String::new();
    child.stdout.take().unwrap().read_to_string(&mut said).unwrap();
    assert_eq!((status.signal(), said.as_str()), (Some(15), ""));
    assert!(sandbox.slots().is_empty());
    Run::new(&sandbox, &package).stdout("started\n").run();
    assert!(!staged(), "what the dead process left is reclaimed");
}

fn what_others_are_working_on_is_left_alone(who: Who) {
    let sandbox = Sandbox::new(who);
    let (package, _) = package(&sandbox);
    fs::create_dir_all(sandbox.cache().join("slots/.tmp-1-dead")).unwrap();
    let busy = sandbox.cache().join("slots/.tmp-2-busy");
    fs::create_dir_all(&busy).unwrap();
    sandbox.give_all(&sandbox.home());
    for folder in ["", ".cache", ".cache/pspf", ".cache/pspf/v1"] {
        use std::os::unix::fs::PermissionsExt;
        fs::set_permissions(sandbox.home().join(folder), fs::Permissions::from_mode(0o755)).unwrap();
    }
    let held = fs::File::open(&busy).unwrap();
    rustix::fs::flock(&held, rustix::fs::FlockOperation::LockExclusive).unwrap();
    Run::new(&sandbox, package).stdout("started\n").run();
    let left: Vec<_> = sandbox.cached("slots").into_iter().filter(|name| name.starts_with('.')).collect();
    assert_eq!(left, [".tmp-2-busy"]);
}

as_both! {
    killed_at_any_point
    refused_at_any_point
    terminated_while_it_extracts
    what_others_are_working_on_is_left_alone
}
