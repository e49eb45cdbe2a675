//! A system that refuses: once, from some moment on, or always.

use std::process::Output;

use pspf_tests::Who;

use crate::subject::Subject;
use crate::tracer::{Call, Do, name};
use crate::{full, sample};

/// Calls that fail for no reason that a disk, a quota or a limit has.
const NEVER: [&str; 12] = [
    "arch_prctl",
    "brk",
    "clock_gettime",
    "exit_group",
    "getpid",
    "madvise",
    "munmap",
    "rt_sigaction",
    "sched_getaffinity",
    "set_tid_address",
    "umask",
    "exit",
];

/// Success with the whole tree, or one error of a class that is meant for this, and nothing of the application.
#[track_caller]
fn succeeds_or_says_why(subject: &Subject, output: &Output, classes: &[&str], told: &str) {
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    subject.ran_whole_or_not(output, told);
    subject.only_whole_slots(told);
    match output.status.code() {
        Some(0) => assert!(output.stdout == subject.said, "{told}: {said}"),
        Some(code @ (123 | 126)) => {
            let class = if code == 123 { "IO" } else { "EXEC" };
            assert!(classes.contains(&class), "{told}: {said}");
            assert!(said.contains(&format!("pspf: error[{class}]: ")) && output.stdout.is_empty(), "{told}: {said}");
        }
        _ => panic!("{told}: {} {said}", output.status),
    }
    assert!(!said.contains("panicked"), "{told}: {said}");
}

/// Refuses, with `errno`, what `refuses` says of each call that is about to happen.
fn refused(subject: &Subject, errno: i32, told: &str, mut refuses: impl FnMut(&Call) -> bool) -> bool {
    subject.forget();
    let (mut happened, mut executed) = (false, false);
    let driven = subject.drive(|now| {
        if now.result.is_some() || NEVER.contains(&name(now.nr).as_str()) || !refuses(now) {
            return Do::Go;
        }
        happened = true;
        executed |= now.nr == libc::SYS_execve;
        // Whatever it reports, the kernel closes the descriptor.
        if now.nr == libc::SYS_close { Do::Claim(-i64::from(errno)) } else { Do::fail(errno) }
    });
    if happened {
        succeeds_or_says_why(subject, &driven.output, if executed { &["EXEC", "IO"] } else { &["IO"] }, told);
        assert!(subject.leftovers().len() <= 2, "{told}: {:?}", subject.leftovers());
        subject.starts_again(told);
    }
    happened
}

/// F08, F10: each call fails once: the disk, descriptors, memory, space.
#[test]
fn f08_every_call_fails_once() {
    let subject = Subject::new(Who::Stranger);
    subject.forget();
    let count = subject.drive(|_| Do::Go).calls;
    let errors = [libc::EIO, libc::ENOSPC, libc::ENOMEM, libc::EMFILE, libc::EDQUOT, libc::EACCES];
    let mut met = 0;
    for (index, errno) in errors.into_iter().enumerate() {
        for number in 1..=count {
            if full() || number % errors.len() == index {
                let told = format!("error {errno} at call {number}");
                met += usize::from(refused(&subject, errno, &told, |now| now.number == number));
            }
        }
    }
    assert!(met > count / 2, "only {met} calls were refused");
}

/// From every moment on, calls of one kind fail.
fn refused_from_a_moment_on(large: usize, errors: &[i32], which: &dyn Fn(&Call) -> bool) {
    let subject = Subject::with(Who::Stranger, large);
    subject.forget();
    let count = subject.drive(|_| Do::Go).calls;
    for &errno in errors {
        for number in sample(count, 16) {
            let told = format!("error {errno} from call {number} on");
            refused(&subject, errno, &told, |now| now.number >= number && which(now));
        }
    }
}

/// F06, F07: the disk is full, or the quota used up, from some moment on.
#[test]
fn f06_f07_no_space_and_no_quota() {
    refused_from_a_moment_on(0, &[libc::ENOSPC, libc::EDQUOT], &|now| match name(now.nr).as_str() {
        "mkdirat" | "pwrite64" | "linkat" | "symlinkat" | "renameat" => true,
        "openat" => now.args[2] & libc::O_CREAT as u64 != 0,
        _ => false,
    });
}

/// F10: there are no descriptors, in this process or in the whole system.
#[test]
fn f10_no_descriptors() {
    let opening = |now: &Call| matches!(name(now.nr).as_str(), "openat" | "open" | "openat2");
    refused_from_a_moment_on(0, &[libc::EMFILE, libc::ENFILE], &opening);
}

/// F03, F10: there is no memory, and no thread. What the kernel does of itself, killing a process, is that of F01.
#[test]
fn f03_f10_no_memory_and_no_threads() {
    let memory = |now: &Call| matches!(name(now.nr).as_str(), "mmap" | "mremap" | "clone" | "clone3");
    refused_from_a_moment_on(20 << 20, &[libc::ENOMEM, libc::EAGAIN], &memory);
}

/// F50: a filter that denies one system call for ever. Those that only save work are done without.
#[test]
fn f50_calls_that_a_filter_denies() {
    let subject = Subject::new(Who::Stranger);
    subject.forget();
    let mut calls = std::collections::BTreeMap::new();
    subject.drive(|now| {
        calls.insert(name(now.nr), now.nr);
        Do::Go
    });
    // Names that the launcher need not use: where it does, it must have another way.
    let optional = [
        "openat2",
        "renameat2",
        "memfd_create",
        "statx",
        "copy_file_range",
        "flock",
        "execveat",
        "ioctl",
        "fstatfs",
        "faccessat",
        "utimensat",
        "getrandom",
        "membarrier",
    ];
    for (call, nr) in calls {
        for errno in [libc::ENOSYS, libc::EPERM] {
            let told = format!("{call} denied with {errno}");
            let refused = refused(&subject, errno, &told, |now| now.nr == nr);
            if refused && optional.contains(&call.as_str()) {
                subject.forget();
                let driven = subject.drive(|now| match now.nr == nr && now.result.is_none() {
                    true => Do::fail(errno),
                    false => Do::Go,
                });
                assert!(driven.output.status.success(), "{told}: {}", String::from_utf8_lossy(&driven.output.stderr));
            }
        }
    }
}

/// F09: every transfer is a short one.
#[test]
fn f09_short_reads_and_writes() {
    let subject = Subject::new(Who::Stranger);
    for calls in [&["pread64", "pwrite64", "read", "write"][..], &["pread64"], &["pwrite64"], &["write"]] {
        subject.forget();
        let driven = subject.drive(|now| match now.result.is_none() && calls.contains(&name(now.nr).as_str()) {
            true => Do::Short,
            false => Do::Go,
        });
        let told = format!("short {calls:?}");
        assert!(driven.output.stderr.is_empty(), "{told}: {}", String::from_utf8_lossy(&driven.output.stderr));
        assert!(driven.output.stdout == subject.said, "{told}");
        subject.starts_again(&told);
    }
}

/// F09: every call that a signal can interrupt is interrupted, twice each time.
#[test]
fn f09_interrupted_calls() {
    let subject = Subject::new(Who::Stranger);
    let interruptible = ["openat", "open", "pread64", "pwrite64", "read", "write", "flock", "syncfs", "nanosleep"];
    for call in interruptible {
        subject.forget();
        let mut times = 0;
        let driven = subject.drive(|now| {
            if now.result.is_some() || name(now.nr) != call {
                return Do::Go;
            }
            times += 1;
            if times % 3 == 0 { Do::Go } else { Do::fail(libc::EINTR) }
        });
        let told = format!("{call} interrupted");
        assert!(driven.output.stderr.is_empty(), "{told}: {}", String::from_utf8_lossy(&driven.output.stderr));
        assert!(driven.output.stdout == subject.said, "{told}");
        subject.starts_again(&told);
    }
}
