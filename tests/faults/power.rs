//! F04, power loss: what was not synced may be there, or not, or in part. After it the machine has another boot id.
//!
//! What programs do to a cache is recorded, and every state that a disk may hold after power loss is made from the
//! record: the steps up to any moment, without the content that was not synced or with zeros in its place, and without
//! any one change of a name or mode. Then the package is started as after a restart: it runs with its whole tree.

use std::collections::HashMap;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use pspf_format::{Receipt, SlotStamp, Validity, encode_slot_record, parse_slot_record};
use pspf_tests::{Run, Who, pspf};

use crate::disk_log::{Content, Loss, Step, losses, redo};
use crate::full;
use crate::subject::{Subject, is_slot};
use crate::tracer::{Call, Do, drive};

/// The directory whose changes are recorded.
fn root(subject: &Subject) -> PathBuf {
    subject.sandbox.home().join(".cache")
}

/// Runs a program to the moment that `end` names, and adds what it does to the cache.
fn record(subject: &Subject, command: Command, program: &Path, steps: &mut Vec<Step>, end: &dyn Fn(&Call) -> bool) {
    let root = root(subject);
    let driven = drive(command, program, |now| {
        steps.extend(Step::of(now, &root));
        match now.result {
            _ if end(now) => Do::Kill,
            // Only the replay knows a disk that loses something.
            None if now.nr == libc::SYS_syncfs => Do::Return(0),
            _ => Do::Go,
        }
    });
    assert!(driven.calls > 0);
}

fn start(subject: &Subject, steps: &mut Vec<Step>) {
    record(subject, subject.start().command(), &subject.package, steps, &|_| false);
}

/// Recorded from an empty directory.
fn begin(subject: &Subject) -> Vec<Step> {
    subject.forget();
    fs::create_dir(root(subject)).unwrap();
    subject.sandbox.give(&root(subject));
    Vec::new()
}

/// A first start.
fn first_start(subject: &Subject) -> Vec<Step> {
    let mut steps = begin(subject);
    start(subject, &mut steps);
    steps
}

/// A first start that was killed before it recorded its slot, and a second one that takes the slot up.
fn taken_up(subject: &Subject) -> Vec<Step> {
    let mut steps = begin(subject);
    let renamed = |now: &Call| now.nr == libc::SYS_renameat && now.result == Some(0) && is_slot(&now.path(Some(2), 3));
    record(subject, subject.start().command(), &subject.package, &mut steps, &renamed);
    start(subject, &mut steps);
    steps
}

/// A cache that is filled ahead for copies of it.
fn filled_ahead(subject: &Subject) -> Vec<Step> {
    let mut steps = begin(subject);
    let warm = Run::pspf(&subject.sandbox, ["cache", "warm", "t.psp"]).command();
    record(subject, warm, pspf(), &mut steps, &|_| false);
    steps
}

/// The same, and later a start that finds the whole slot gone.
fn removed(subject: &Subject) -> Vec<Step> {
    let mut steps = filled_ahead(subject);
    let (slot, aside) = (subject.slot(), root(subject).join("aside"));
    fs::rename(&slot, &aside).unwrap();
    let below = |path: &Path| path.strip_prefix(root(subject)).unwrap().to_owned();
    steps.extend([Step::Rename(below(&slot), below(&aside)), Step::Sync]);
    start(subject, &mut steps);
    steps
}

/// The same, and later a start that finds its program gone and replaces the slot.
fn replaced(subject: &Subject) -> Vec<Step> {
    let mut steps = filled_ahead(subject);
    let tool = subject.slot().join("bin/tool");
    Run::new(&subject.sandbox, "sh")
        .args(["-c", "chmod 700 \"${0%/*}\"; rm \"$0\"; chmod 555 \"${0%/*}\""])
        .arg(&tool)
        .run();
    steps.extend([Step::Remove(tool.strip_prefix(root(subject)).unwrap().to_owned()), Step::Sync]);
    start(subject, &mut steps);
    steps
}

/// Makes the state of a disk in the cache's place. Records of a directory name it as they would after a restart: the
/// same inode with the same time of change.
fn lose(subject: &Subject, steps: &[Step], loss: Loss) {
    begin(subject);
    let inodes = redo(steps, loss, &root(subject));
    subject.sandbox.give_all(&root(subject));
    let cache = subject.sandbox.cache();
    for name in subject.sandbox.cached("slots").iter().filter(|name| name.ends_with(".ok")) {
        let path = cache.join("slots").join(name);
        if let Some((stamp, validity)) = parse_slot_record(&fs::read(&path).unwrap()) {
            crate::subject::rewrite(&path, &encode_slot_record(renamed(stamp, &cache, &inodes), validity));
        }
    }
    for name in subject.sandbox.cached("receipts") {
        let path = cache.join("receipts").join(name);
        if let Some(mut receipt) = Receipt::parse(&fs::read(&path).unwrap()) {
            receipt.slots.iter_mut().for_each(|stamp| *stamp = renamed(*stamp, &cache, &inodes));
            crate::subject::rewrite(&path, &receipt.to_bytes());
        }
    }
}

fn renamed(stamp: SlotStamp, cache: &Path, inodes: &HashMap<u64, u64>) -> SlotStamp {
    let name: String = stamp.key.iter().map(|byte| format!("{byte:02x}")).collect();
    match fs::metadata(cache.join("slots").join(name)) {
        Ok(now) if inodes.get(&stamp.inode) == Some(&now.ino()) => {
            SlotStamp { device: now.dev(), inode: now.ino(), ctime: now.ctime(), ctime_nsec: now.ctime_nsec(), ..stamp }
        }
        _ => stamp,
    }
}

/// Starts the package as after a restart of the machine.
fn restarted(subject: &Subject, script: &str) -> std::process::Output {
    let id = subject.sandbox.write("boot_id", "00112233-4455-6677-8899-aabbccddeeff\n");
    let boot = format!("mount --bind '{}' /proc/sys/kernel/random/boot_id\n{script}", id.display());
    subject.start().mounting(boot).spawn().wait_with_output().unwrap()
}

/// Every state after the loss of power, or an even sample of them.
fn sweep(subject: &Subject, steps: &[Step], wanted: usize) {
    let losses = losses(steps);
    let step = if full() { 1 } else { losses.len().div_ceil(wanted) };
    // From the end: the last moments are those in which records exist.
    for loss in losses.iter().rev().step_by(step) {
        lose(subject, steps, *loss);
        let lost = loss.lost.map(|lost| &steps[lost]);
        let told =
            format!("power lost after step {} of {}, {:?}, without {lost:?}", loss.made, steps.len(), loss.content);
        let output = restarted(subject, "");
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!((said.as_str(), output.status.code()), ("", Some(0)), "{told}");
        assert!(output.stdout == subject.said, "a tree that is not whole ran: {told}");
        subject.only_whole_slots(&told);
        // A start that found its receipt whole looks no further; what is left goes with the next extraction.
        assert!(subject.leftovers().len() <= 1, "{told}: {:?}", subject.leftovers());
    }
}

#[test]
fn f04_power_lost_after_a_first_start() {
    let subject = Subject::new(Who::Stranger);
    let steps = first_start(&subject);
    sweep(&subject, &steps, 120);
}

#[test]
fn f04_power_lost_after_a_slot_was_taken_up() {
    let subject = Subject::new(Who::Stranger);
    let steps = taken_up(&subject);
    sweep(&subject, &steps, 80);
    // The replay would see it if nothing were synced before a record says that it is durable.
    let unsynced: Vec<Step> = steps.into_iter().filter(|step| !matches!(step, Step::Sync)).collect();
    let whole_names = Loss { made: unsynced.len(), content: Content::Kept, lost: None };
    lose(&subject, &unsynced, whole_names);
    let lost = |step: &Step| matches!(step, Step::Write(path, ..) if path.to_string_lossy().ends_with("bin/tool"));
    let tool = unsynced.iter().position(lost).expect("the tool was written");
    lose(&subject, &unsynced, Loss { lost: Some(tool), ..whole_names });
    assert!(restarted(&subject, "").stdout != subject.said, "the replay cannot lose content");
}

#[test]
fn f04_power_lost_after_a_cache_was_filled_ahead() {
    let subject = Subject::new(Who::Stranger);
    let steps = filled_ahead(&subject);
    sweep(&subject, &steps, 60);
}

/// Also where the cache cannot be written after the restart, and a record that holds in every copy is believed.
#[test]
fn f04_power_lost_after_a_slot_was_replaced() {
    let subject = Subject::new(Who::Stranger);
    sweep(&subject, &replaced(&subject), 60);
    read_only(&subject, &replaced(&subject));
    read_only(&subject, &removed(&subject));
}

fn read_only(subject: &Subject, steps: &[Step]) {
    let read_only = format!("mount --bind '{0}' '{0}'\nmount -o remount,bind,ro '{0}'", root(subject).display());
    let losses = losses(steps);
    let step = if full() { 1 } else { losses.len().div_ceil(80) };
    for loss in losses.iter().rev().step_by(step) {
        lose(subject, steps, *loss);
        let output = restarted(subject, &read_only);
        let lost = loss.lost.map(|lost| &steps[lost]);
        let told = format!("step {} of {}, {:?}, without {lost:?}", loss.made, steps.len(), loss.content);
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        match output.status.code() {
            Some(0) => assert!(output.stdout == subject.said, "a tree that is not whole ran: {told}"),
            // Nothing can be repaired there: that is an error of the place, or of the program that somebody removed.
            code => assert!(matches!(code, Some(123 | 127)) && output.stdout.is_empty(), "{told}: {code:?} {said}"),
        }
    }
}

/// F04: a record that says it is durable follows a sync of all that it speaks of; any other one names the boot in which
/// it was made, so that nothing unsynced is believed after another one.
#[test]
fn f04_records_follow_the_sync_of_their_tree_or_name_the_boot() {
    let subject = Subject::new(Who::Stranger);
    let boot = fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap();
    let boot: Vec<u8> = boot.bytes().filter(u8::is_ascii_hexdigit).collect();
    let (mut durable, mut other) = (0, 0);
    for steps in [first_start(&subject), taken_up(&subject), filled_ahead(&subject), replaced(&subject)] {
        let (mut unsynced, mut written) = (false, HashMap::new());
        for step in &steps {
            match step {
                Step::Sync => unsynced = false,
                Step::Write(path, _, bytes) => {
                    written.insert(path.clone(), bytes.clone());
                    unsynced |= is_in_a_tree(path);
                }
                Step::Rename(from, to) => {
                    let bytes = written.get(from).map(Vec::as_slice).unwrap_or_default();
                    let receipt = Receipt::parse(bytes).map(|receipt| receipt.validity);
                    if let Some(validity) = parse_slot_record(bytes).map(|(_, validity)| validity).or(receipt) {
                        check(validity, unsynced, &boot, step);
                        if validity.durable == 1 { durable += 1 } else { other += 1 }
                    }
                    unsynced |= is_slot(to);
                }
                Step::Directory(path, _) | Step::Mode(path, _) => {
                    unsynced |= is_in_a_tree(path) || path.parent().is_some_and(|above| above.ends_with("slots"));
                }
                Step::File(path, _) | Step::HardLink(_, path) | Step::SymLink(_, path) => {
                    unsynced |= is_in_a_tree(path);
                }
                Step::Remove(_) => {}
            }
        }
    }
    assert!(durable >= 4 && other >= 4, "{durable} durable records, {other} others");
}

/// Whether a path is in a directory that is or becomes a slot.
fn is_in_a_tree(path: &Path) -> bool {
    path.ancestors().skip(2).any(|above| above.ends_with("slots"))
}

fn check(validity: Validity, unsynced: bool, boot: &[u8], step: &Step) {
    let hex: String = validity.boot_id.iter().map(|byte| format!("{byte:02x}")).collect();
    match validity.durable {
        1 => assert!(!unsynced, "{step:?} is durable and its tree is not"),
        _ => assert_eq!(hex.as_bytes(), boot, "{step:?} holds in this boot alone"),
    }
}
