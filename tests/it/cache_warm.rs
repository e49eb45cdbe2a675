//! The second start: nothing is extracted, and the work does not grow with the package.

use std::fs;
use std::os::unix::fs::MetadataExt;

use pspf_tests::trace::Trace;
use pspf_tests::tree_files::rich_tree;
use pspf_tests::{Run, Sandbox, Who, probe, probe_package};

use crate::as_both;

/// What a warm start may ask the kernel for at most, between its own execve and the application's.
const BUDGET: usize = 25;

fn w22_a_warm_start_is_a_handful_of_system_calls(who: Who) {
    let sandbox = Sandbox::new(who);
    rich_tree(&sandbox.work("tree"));
    sandbox.give_all(&sandbox.work("tree"));
    sandbox.copy(probe(), "tree/bin/probe");
    Run::pspf(&sandbox, ["pack", "-o", "tree.psp", "--level", "1", "--exec", "bin/probe"])
        .arg(sandbox.work("tree"))
        .any_stdout()
        .run();
    let mut counts = Vec::new();
    for package in [&probe_package().file, &sandbox.work("tree.psp")] {
        Run::new(&sandbox, package).args(["exit", "0"]).run();
        let trace = Trace::of(&sandbox, "all", Run::new(&sandbox, package).args(["exit", "0"]));
        let calls = trace.of_launcher();
        let told = calls.join("\n");
        assert_eq!(trace.executed().len(), 2, "{told}");
        assert!(calls.len() <= BUDGET, "{} system calls, at most {BUDGET} are allowed:\n{told}", calls.len());
        for never in ["getdents", "O_CREAT", "mkdir", "rename", "clone", "fsync"] {
            assert!(!told.contains(never), "`{never}` in a warm start:\n{told}");
        }
        // The trailer, and the metadata with the slot table; of the slots nothing.
        let opened = calls.iter().find(|call| call.contains("/proc/self/exe")).and_then(|call| call.rsplit_once("= "));
        let package = format!("pread64({},", opened.map_or("?", |(_, descriptor)| descriptor));
        let reads = calls.iter().filter(|call| call.starts_with(&package)).count();
        assert_eq!(reads, 2, "{told}");
        counts.push(calls.len());
    }
    // One extracted file or four hundred.
    assert_eq!(counts[0], counts[1]);
}

fn a_second_start_keeps_what_the_first_made(who: Who) {
    let sandbox = Sandbox::new(who);
    let state = || {
        let slot = &sandbox.slots()[0];
        let stat = fs::metadata(slot).unwrap();
        (slot.clone(), stat.ino(), stat.ctime_nsec(), sandbox.cached("slots"), sandbox.cached("receipts"))
    };
    Run::new(&sandbox, &probe_package().file).args(["exit", "0"]).run();
    let first = state();
    assert_eq!(first.4.len(), 1);
    for _ in 0..3 {
        Run::new(&sandbox, &probe_package().file).args(["exit", "0"]).run();
        assert_eq!(state(), first);
    }
}

/// `pspf run` uses the same cache as the package itself.
fn run_and_start_share_the_cache(who: Who) {
    let sandbox = Sandbox::new(who);
    Run::pspf(&sandbox, ["run"]).arg(&probe_package().file).args(["--", "exit", "4"]).status(4).run();
    let slots = sandbox.slots();
    let trace =
        Trace::of(&sandbox, "mkdirat,mkdir", Run::new(&sandbox, &probe_package().file).args(["exit", "5"]).status(5));
    assert_eq!((trace.calls, sandbox.slots()), (Vec::new(), slots));
}

as_both! {
    w22_a_warm_start_is_a_handful_of_system_calls
    a_second_start_keeps_what_the_first_made
    run_and_start_share_the_cache
}
