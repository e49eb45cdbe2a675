//! Packing where the system gives few threads or little memory.

use std::fs;

use pspf_tests::tree_files::noise;
use pspf_tests::{Run, Sandbox, Who, need};

use crate::as_both;
use crate::build_cache::{at_level, packing};

/// A tree of several frames.
fn project(sandbox: &Sandbox) {
    (0..4).for_each(|number| drop(sandbox.write(format!("tree/{number}"), noise(number, 3 << 20))));
    sandbox.write_program("tree/tool", b"#!/bin/sh\n");
    let manifest = "[package]\nname = 'p'\nversion = '1'\n[run]\ncommand = ['{slot:tree}/tool']\n\
        [[slot]]\nid = 'tree'\nsource = 'tree'\n";
    sandbox.write("pspf.toml", manifest);
}

/// Lets the first few threads start and no other; `rule` is another one of strace's.
fn with_threads<'s>(run: Run<'s>, threads: u32, rule: &str) -> Run<'s> {
    need("strace");
    let refused = format!("inject=clone,clone3:error=EAGAIN:when={}+", threads + 1);
    let trace = ["-e", "trace=clone,clone3,/^rename", "-e", &refused, "-e", rule];
    run.under([&["strace", "-f", "-qq", "-o", "/dev/null"], &trace[..]].concat())
}

fn as_many_threads_as_there_are_give_the_same_package(who: Who) {
    let sandbox = Sandbox::new(who);
    project(&sandbox);
    packing(&sandbox, "first.psp").run();
    let first = fs::read(sandbox.work("first.psp")).unwrap();
    for (threads, cache) in [(1, "0"), (2, "0"), (3, "0"), (1, "1G"), (1, "1G")] {
        let run = with_threads(packing(&sandbox, "out.psp"), threads, "signal=none");
        run.env("PSPF_BUILD_CACHE_SIZE", cache).run();
        assert!(fs::read(sandbox.work("out.psp")).unwrap() == first, "{threads} threads");
        fs::remove_file(sandbox.work("out.psp")).unwrap();
    }
}

/// The one thread that there must be is that which removes what a signal would leave behind.
fn packing_can_always_be_interrupted(who: Who) {
    let sandbox = Sandbox::new(who);
    project(&sandbox);
    let before = pspf_tests::sandbox::names(&sandbox.work(""));
    let run = with_threads(packing(&sandbox, "out.psp"), 0, "signal=none");
    run.fails("IO").stdout("").stderr_part("waiting for signals").run();
    for number in [1, 2] {
        let rule = format!("inject=/^rename:signal=TERM:when={number}");
        with_threads(packing(&sandbox, "out.psp"), 1, &rule).signal(15).run();
    }
    let after = pspf_tests::sandbox::names(&sandbox.work(""));
    assert_eq!(
        after.iter().filter(|name| !name.ends_with(".key") && !name.ends_with(".pub")).collect::<Vec<_>>(),
        before.iter().collect::<Vec<_>>()
    );
}

fn too_little_memory_is_no_defect(who: Who) {
    let sandbox = Sandbox::new(who);
    project(&sandbox);
    for (level, limit) in [("22", 60_000), ("22", 120_000), ("19", 60_000), ("7", 30_000)] {
        let script = format!("ulimit -v {limit}; exec \"$@\"");
        let run = at_level(&sandbox, level, "out.psp").env("PSPF_BUILD_CACHE_SIZE", "0");
        run.under(["sh", "-c", &script, "sh"]).fails("IO").stdout("").run();
    }
}

as_both! {
    as_many_threads_as_there_are_give_the_same_package
    packing_can_always_be_interrupted
    too_little_memory_is_no_defect
}
