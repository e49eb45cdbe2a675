//! A start that dies at any moment.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;

use pspf_format::{Validity, encode_slot_record, parse_slot_record};
use pspf_tests::Who;

use crate::sample;
use crate::subject::{Subject, is_slot, rewrite};
use crate::tracer::{Call, Do, name};

/// How often each call was met, for the sweeps to prove that they were where they claim to have been.
type Met = BTreeMap<String, usize>;

/// Runs a start once to its end, then again and again, each time until another moment. `prepare` makes the state that
/// it begins from.
fn sweep(subject: &Subject, wanted: usize, prepare: &dyn Fn(), end: &dyn Fn() -> Do) -> Met {
    let mut met = Met::new();
    prepare();
    // What was made damaged on purpose may still be there at the end.
    let all_whole = subject.sandbox.slots().is_empty();
    let count = subject.drive(|_| Do::Go).calls;
    for number in sample(count, wanted) {
        prepare();
        let mut call = String::new();
        let driven = subject.drive(|now| match now.result {
            None if now.number == number => {
                call = name(now.nr);
                end()
            }
            // The disk's own pace is not what is looked at.
            None if now.nr == libc::SYS_syncfs => Do::Return(0),
            _ => Do::Go,
        });
        let told = format!("its end before call {number} of {count}, {call}");
        *met.entry(call).or_default() += 1;
        subject.ran_whole_or_not(&driven.output, &told);
        if all_whole {
            subject.only_whole_slots(&told);
        }
        // One directory and one record of the dead, and what it was removing.
        assert!(subject.leftovers().len() <= 2, "{told}: {:?}", subject.leftovers());
        subject.starts_again(&told);
    }
    met
}

/// F01: killed at any system call of a first start, the next start works unaided.
#[test]
fn f01_killed_at_every_call_of_a_first_start() {
    for who in [Who::Stranger, Who::Caller] {
        let subject = Subject::new(who);
        let met = sweep(&subject, 160, &|| subject.forget(), &|| Do::Kill);
        for call in ["mkdirat", "openat", "pwrite64", "linkat", "symlinkat", "fchmodat", "fchmod", "renameat", "close"]
        {
            assert!(met.contains_key(call), "no start died at {call}: {met:?}");
        }
    }
}

/// F01, where several threads write.
#[test]
fn f01_killed_while_threads_extract() {
    let subject = Subject::with(Who::Stranger, 20 << 20);
    sweep(&subject, 25, &|| subject.forget(), &|| Do::Kill);
}

/// F01, where the start replaces a slot that was damaged, or looks at one that has survived another boot.
#[test]
fn f01_killed_at_every_call_of_a_repair() {
    let subject = Subject::new(Who::Stranger);
    let damaged = || {
        rewrite(&subject.slot().join("lib/data"), b"damaged");
        let _ = fs::remove_file(subject.record());
        fs::remove_file(subject.receipt()).unwrap();
    };
    sweep(&subject, 60, &damaged, &|| Do::Kill);
    let of_another_boot = || {
        let (stamp, _) = parse_slot_record(&fs::read(subject.record()).unwrap()).unwrap();
        let validity = Validity { boot_id: [7; 16], ..Validity::default() };
        fs::write(subject.record(), encode_slot_record(stamp, validity)).unwrap();
        fs::remove_file(subject.receipt()).unwrap();
    };
    let met = sweep(&subject, 60, &of_another_boot, &|| Do::Kill);
    assert!(met.contains_key("syncfs") || sample(100, 60).len() < 100, "{met:?}");
}

/// F02: ended by a signal that asks, as by one that does not: the exit shows the signal, nothing ran, and the next start
/// of the package removes what was begun.
#[test]
fn f02_ended_by_signals_during_extraction() {
    let subject = Subject::new(Who::Stranger);
    for signal in [libc::SIGTERM, libc::SIGINT, libc::SIGHUP] {
        for number in (signal.unsigned_abs() as usize % 7 + 1..130).step_by(12) {
            subject.forget();
            let driven = subject.drive(|now| match now.number == number && now.result.is_none() {
                true => Do::Signal(signal),
                false => Do::Go,
            });
            let told = format!("signal {signal} at call {number}");
            assert_eq!(driven.output.status.signal(), Some(signal), "{told}");
            assert_eq!(driven.output.stderr, b"", "{told}");
            subject.ran_whole_or_not(&driven.output, &told);
            subject.starts_again(&told);
        }
    }
}

/// F05: a crash between the renames that commit: the tree's, its index's, its record's, and the receipt's. The tree is
/// taken up after a full comparison and not made again.
#[test]
fn f05_killed_between_the_renames_that_commit() {
    let subject = Subject::new(Who::Stranger);
    let ends = |suffix: &'static str| move |to: &Path| to.to_string_lossy().ends_with(suffix);
    let receipt = |to: &Path| to.parent().is_some_and(|folder| folder.ends_with("receipts"));
    type Which<'w> = &'w dyn Fn(&Path) -> bool;
    let cases: [(&str, Which<'_>); 4] =
        [("tree", &is_slot), ("index", &ends(".index")), ("record", &ends(".ok")), ("receipt", &receipt)];
    for (what, which) in cases {
        subject.forget();
        let driven = subject.drive(|now| match renamed_to(now).is_some_and(|to| which(&to)) {
            true => Do::Kill,
            false => Do::Go,
        });
        assert_eq!(driven.output.status.signal(), Some(libc::SIGKILL), "after the rename of the {what}");
        let made = fs::metadata(subject.slot()).unwrap().ino();
        subject.starts_again(what);
        assert_eq!(fs::metadata(subject.slot()).unwrap().ino(), made, "{what}: the same tree");
        subject.starts_again(what);
    }
}

/// The new name, just after it was given.
fn renamed_to(call: &Call) -> Option<std::path::PathBuf> {
    (call.nr == libc::SYS_renameat && call.result == Some(0)).then(|| call.path(Some(2), 3))
}
