//! What a start believes of a cache: records and receipts (SPEC §10.3), and what happens when they are wrong.

use std::fs::{self, File, FileTimes};
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown, symlink};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use pspf_format::{Receipt, Validity, encode_slot_record, parse_slot_record};
use pspf_tests::trace::Trace;
use pspf_tests::{Run, Sandbox, Who, need, snapshot};

use crate::as_both;

/// A package of a small tree whose program prints a file of it.
struct Subject {
    sandbox: Sandbox,
    package: PathBuf,
}

impl Subject {
    /// Packed, and started once.
    fn started(who: Who) -> Self {
        let sandbox = Sandbox::new(who);
        sandbox.write_program("tree/bin/tool", b"#!/bin/sh\nread text < \"${0%/*}/../lib/data\"; echo \"$text\"\n");
        sandbox.write("tree/lib/data", b"sound\n");
        sandbox.write("tree/lib/other", b"other\n");
        symlink("data", sandbox.work("tree/lib/link")).unwrap();
        fs::hard_link(sandbox.work("tree/lib/other"), sandbox.work("tree/lib/same")).unwrap();
        sandbox.give_all(&sandbox.work("tree"));
        Run::pspf(&sandbox, ["pack", "tree", "--exec", "bin/tool", "-o", "t.psp"]).any_stdout().run();
        let subject = Self { package: sandbox.work("t.psp"), sandbox };
        subject.start();
        subject
    }

    #[track_caller]
    fn start(&self) {
        Run::new(&self.sandbox, &self.package).stdout("sound\n").run();
    }

    fn slot(&self) -> PathBuf {
        self.sandbox.slots()[0].clone()
    }

    fn record(&self) -> PathBuf {
        self.slot().with_extension("ok")
    }

    fn receipt(&self) -> PathBuf {
        self.sandbox.cache().join("receipts").join(&self.sandbox.cached("receipts")[0])
    }

    /// Identifies the extracted directory: another one after it was replaced.
    fn identity(&self) -> (u64, i64, i64) {
        let stat = fs::metadata(self.slot()).unwrap();
        (stat.ino(), stat.ctime(), stat.ctime_nsec())
    }

    /// Rewrites when record and receipt hold, digests made anew.
    fn set_validity(&self, validity: Validity) {
        let (stamp, _) = parse_slot_record(&fs::read(self.record()).unwrap()).unwrap();
        fs::write(self.record(), encode_slot_record(stamp, validity)).unwrap();
        let mut receipt = Receipt::parse(&fs::read(self.receipt()).unwrap()).unwrap();
        receipt.validity = validity;
        fs::write(self.receipt(), receipt.to_bytes()).unwrap();
    }

    fn validity(&self) -> Validity {
        parse_slot_record(&fs::read(self.record()).unwrap()).unwrap().1
    }

    /// Changes something inside the extracted tree, and puts the times and modes of its root back as they can be.
    fn damage(&self, edit: &dyn Fn(&Path)) {
        let slot = self.slot();
        for folder in ["", "bin", "lib"] {
            fs::set_permissions(slot.join(folder), fs::Permissions::from_mode(0o755)).unwrap();
        }
        edit(&slot);
        self.sandbox.give_all(&slot);
        for folder in ["bin", "lib", ""] {
            if slot.join(folder).is_dir() {
                fs::set_permissions(slot.join(folder), fs::Permissions::from_mode(0o555)).unwrap();
            }
        }
    }
}

const ANOTHER_BOOT: Validity = Validity { durable: 0, portable: 0, boot_id: [7; 16] };
const UNKNOWN_BOOT: Validity = Validity { durable: 0, portable: 0, boot_id: [0; 16] };

fn a_record_of_another_boot_is_looked_at_once(who: Who) {
    let this_boot = fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap().replace('-', "");
    for validity in [ANOTHER_BOOT, UNKNOWN_BOOT] {
        let subject = Subject::started(who);
        assert_eq!(subject.validity().durable, 0, "nothing is synced at the first start");
        let boot_id = subject.validity().boot_id.map(|byte| format!("{byte:02x}")).concat();
        assert_eq!(boot_id, this_boot.trim_end());
        let identity = subject.identity();
        subject.set_validity(validity);
        subject.start();
        assert_eq!(subject.identity(), identity, "the same tree was kept");
        assert_eq!(subject.validity(), Validity { durable: 1, portable: 0, boot_id: [0; 16] }, "and synced");
        let receipt = Receipt::parse(&fs::read(subject.receipt()).unwrap()).unwrap();
        assert_eq!(receipt.validity.durable, 1);
    }
}

/// Without a receipt the record decides. Its use is noted where the last note is older than an hour; and one that was
/// removed between its opening and the note says nothing any more, for then its slot is about to be.
fn a_record_that_holds_is_believed_while_it_is_there(who: Who) {
    need("strace");
    let ago = |minutes: u64| SystemTime::now() - Duration::from_secs(minutes * 60);
    for (minutes, removed) in [(30_u64, false), (120, false), (30, true), (120, true)] {
        let subject = Subject::started(who);
        let (record, identity) = (subject.record(), subject.identity());
        let before = fs::read(&record).unwrap();
        fs::remove_file(subject.receipt()).unwrap();
        File::open(&record).unwrap().set_times(FileTimes::new().set_accessed(ago(minutes))).unwrap();
        let run = Run::new(&subject.sandbox, &subject.package).stdout("sound\n");
        if removed {
            let name = format!("slots/{}", record.file_name().unwrap().display());
            let slow = "inject=openat:delay_exit=2000000:when=1";
            let start = run.under(["strace", "-f", "-qq", "-P", &name, "-e", slow, "-o", "/dev/null"]).spawn();
            std::thread::sleep(Duration::from_secs(1));
            fs::remove_file(&record).unwrap();
            assert_eq!(start.wait_with_output().unwrap().stdout, b"sound\n");
            assert!(record.exists(), "{minutes} minutes: the slot was compared and recorded anew");
        } else {
            let trace = Trace::of(&subject.sandbox, "execve,utimensat,flock", run);
            let calls = trace.of_launcher();
            assert_eq!(calls.len(), usize::from(minutes > 60), "{minutes} minutes, a note and no lock: {calls:?}");
            assert_eq!(fs::read(&record).unwrap(), before, "{minutes} minutes: believed as it was");
        }
        assert_eq!(subject.identity(), identity);
    }
}

type Damage = (&'static str, &'static dyn Fn(&Path));

/// Everything that makes a tree another one.
const DAMAGES: [Damage; 10] = [
    ("content", &|slot| {
        let file = slot.join("lib/data");
        fs::set_permissions(&file, fs::Permissions::from_mode(0o644)).unwrap();
        fs::write(&file, b"wrong\n").unwrap();
        fs::set_permissions(&file, fs::Permissions::from_mode(0o444)).unwrap();
    }),
    ("a missing file", &|slot| fs::remove_file(slot.join("lib/other")).unwrap()),
    ("an added file", &|slot| fs::write(slot.join("lib/sitecustomize.py"), b"evil").unwrap()),
    ("an added directory", &|slot| fs::create_dir(slot.join("empty")).unwrap()),
    ("a cut file", &|slot| {
        let file = slot.join("lib/data");
        fs::set_permissions(&file, fs::Permissions::from_mode(0o644)).unwrap();
        fs::File::options().write(true).open(&file).unwrap().set_len(0).unwrap();
        fs::set_permissions(&file, fs::Permissions::from_mode(0o444)).unwrap();
    }),
    ("a mode", &|slot| fs::set_permissions(slot.join("bin/tool"), fs::Permissions::from_mode(0o444)).unwrap()),
    ("a link's target", &|slot| {
        fs::remove_file(slot.join("lib/link")).unwrap();
        symlink("/etc/passwd", slot.join("lib/link")).unwrap();
    }),
    ("a file that became a link", &|slot| {
        fs::remove_file(slot.join("lib/data")).unwrap();
        symlink("other", slot.join("lib/data")).unwrap();
    }),
    ("a directory that became a link", &|slot| {
        fs::rename(slot.join("lib"), slot.join("bin/lib")).unwrap();
        symlink("bin/lib", slot.join("lib")).unwrap();
    }),
    ("a hard link that became a copy", &|slot| {
        fs::remove_file(slot.join("lib/same")).unwrap();
        fs::copy(slot.join("lib/other"), slot.join("lib/same")).unwrap();
    }),
];

/// What is said of each of them.
const WORDS: [&str; 10] = [
    "the content of `lib/data` changed",
    "`lib/other` is missing",
    "`lib/sitecustomize.py` was added",
    "`empty` was added",
    "type, size or mode of `lib/data` changed",
    "type, size or mode of `bin/tool` changed",
    "`lib/link` points elsewhere",
    "type, size or mode of `lib/data` changed",
    "type, size or mode of `lib` changed",
    "`lib/same` is no longer the same file as `lib/other`",
];

fn a_damaged_tree_without_a_valid_record_is_replaced(who: Who) {
    for (name, damage) in DAMAGES {
        let subject = Subject::started(who);
        let before = snapshot(&subject.slot());
        subject.damage(damage);
        let identity = subject.identity();
        subject.set_validity(ANOTHER_BOOT);
        subject.start();
        assert_eq!(snapshot(&subject.slot()), before, "{name}");
        assert_ne!(subject.identity(), identity, "{name}");
        assert!(!subject.sandbox.cached("slots").iter().any(|name| name.starts_with('.')), "{name}: leftovers");
    }
}

/// What a valid record does not find, said plainly; `pspf cache verify` finds it, and the next start repairs it.
fn a42_w10_damage_by_the_owner_is_found_by_verify_alone(who: Who) {
    let subject = Subject::started(who);
    // The directory of the slot itself stays as it was.
    DAMAGES[0].1(&subject.slot());
    Run::new(&subject.sandbox, &subject.package).stdout("wrong\n").run();
    Run::pspf(&subject.sandbox, ["cache", "verify"]).fails("INTEGRITY").stdout_part("lib/data").run();
    subject.start();
    Run::pspf(&subject.sandbox, ["cache", "verify"]).stdout_part("sound").run();
}

fn verify_says_what_is_damaged(who: Who) {
    let subject = Subject::started(who);
    for ((name, damage), words) in DAMAGES.iter().zip(WORDS) {
        subject.damage(damage);
        Run::pspf(&subject.sandbox, ["cache", "verify"]).fails("INTEGRITY").stdout_part(words).run();
        subject.start();
        assert!(fs::read(subject.slot().join("lib/same")).is_ok_and(|content| content == b"other\n"), "{name}");
    }
}

/// What was a file a moment ago and cannot be opened as one is no longer what was extracted.
fn a_file_that_cannot_be_opened_is_damage(who: Who) {
    need("strace");
    let subject = Subject::started(who);
    for error in ["EACCES", "ELOOP", "ENXIO"] {
        let rule = format!("inject=openat:error={error}");
        let words = ["strace", "-f", "-qq", "-P", "lib/data", "-e", &rule, "-o", "/dev/null"];
        let verify = Run::pspf(&subject.sandbox, ["cache", "verify"]).under(words);
        verify.fails("INTEGRITY").stdout_part("`lib/data` cannot be read: ").run();
    }
    subject.start();
    Run::pspf(&subject.sandbox, ["cache", "verify"]).stdout_part("sound").run();
}

fn f41_a_slot_whose_program_is_gone_is_repaired(who: Who) {
    let subject = Subject::started(who);
    subject.damage(&|slot| fs::remove_file(slot.join("bin/tool")).unwrap());
    subject.start();
    subject.start();
    // The directory of the slot itself stays as it was, and what is said of it holds, with a receipt and without one.
    for receipt_is_there in [true, false] {
        let folder = subject.slot().join("bin");
        fs::set_permissions(&folder, fs::Permissions::from_mode(0o755)).unwrap();
        fs::remove_file(folder.join("tool")).unwrap();
        fs::set_permissions(&folder, fs::Permissions::from_mode(0o555)).unwrap();
        if !receipt_is_there {
            fs::remove_file(subject.receipt()).unwrap();
        }
        subject.start();
        subject.start();
    }
}

/// The slot's own name: gone, another directory, a file, a link to a copy.
fn a43_a_slot_that_is_another_directory_is_compared(who: Who) {
    let kinds: [Damage; 5] = [
        ("gone", &|_| ()),
        ("a file", &|slot| fs::write(slot, b"x").unwrap()),
        ("an empty directory", &|slot| fs::create_dir(slot).unwrap()),
        ("a link", &|slot| symlink(slot.with_extension("moved"), slot).unwrap()),
        ("another tree", &|slot| {
            ["bin", "lib"].iter().for_each(|folder| fs::create_dir_all(slot.join(folder)).unwrap());
            fs::copy(slot.with_extension("moved").join("bin/tool"), slot.join("bin/tool")).unwrap();
            fs::write(slot.join("lib/data"), b"wrong\n").unwrap();
        }),
    ];
    for (name, kind) in kinds {
        let subject = Subject::started(who);
        let slot = subject.slot();
        fs::rename(&slot, slot.with_extension("moved")).unwrap();
        kind(&slot);
        if name != "gone" {
            subject.sandbox.give_all(&slot);
        }
        subject.start();
        assert!(fs::symlink_metadata(&slot).unwrap().is_dir(), "{name}");
        subject.start();
    }
}

/// A receipt and a record with each byte changed, cut, empty, too long, or no file at all: never a crash, never a hang,
/// and the tree stays, for it is sound.
fn a43_wrong_receipts_and_records_cost_a_look(who: Who) {
    let subject = Subject::started(who);
    let identity = subject.identity();
    let receipt = subject.receipt();
    for file in [receipt.clone(), subject.record()] {
        let sound = fs::read(&file).unwrap();
        let start = || {
            if file != receipt {
                fs::remove_file(&receipt).unwrap();
            }
            subject.start();
        };
        let mut wrong: Vec<Vec<u8>> =
            vec![Vec::new(), sound[1..].to_vec(), vec![0; 1 << 20], [&sound[..], b"\0"].concat()];
        wrong.extend((0..sound.len()).step_by(3).map(|at| {
            let mut bytes = sound.clone();
            bytes[at] ^= 0x10;
            bytes
        }));
        for bytes in wrong {
            fs::write(&file, bytes).unwrap();
            start();
        }
        for kind in ["a directory", "a link", "a pipe"] {
            let _ = fs::remove_file(&file);
            match kind {
                "a directory" => fs::create_dir(&file).unwrap(),
                "a link" => symlink("/etc/passwd", &file).unwrap(),
                _ => rustix::fs::mknodat(rustix::fs::CWD, &file, rustix::fs::FileType::Fifo, rustix::fs::Mode::RWXU, 0)
                    .unwrap(),
            }
            subject.sandbox.give_all(&file);
            start();
            let _ = fs::remove_dir(&file);
            start();
        }
    }
    assert_eq!(subject.identity(), identity);
    assert!(fs::read_to_string("/etc/passwd").unwrap().contains("root"));
}

/// What a link leads to is no record, even where it would hold; the slot is compared, and gets one of its own.
fn a43_a_record_behind_a_link_is_none(who: Who) {
    let subject = Subject::started(who);
    let (record, moved) = (subject.record(), subject.sandbox.work("moved"));
    fs::rename(&record, &moved).unwrap();
    symlink(&moved, &record).unwrap();
    subject.sandbox.give_all(&record);
    fs::remove_file(subject.receipt()).unwrap();
    subject.start();
    assert!(fs::symlink_metadata(&record).unwrap().is_file());
}

fn a43_a_receipt_of_another_package_is_no_receipt(who: Who) {
    let subject = Subject::started(who);
    let other = subject.sandbox.write_program("other.psp", fs::read(&pspf_tests::probe_package().file).unwrap());
    Run::new(&subject.sandbox, &other).args(["exit", "3"]).status(3).run();
    let folder = subject.sandbox.cache().join("receipts");
    let [one, two] = [0, 1].map(|at| folder.join(&subject.sandbox.cached("receipts")[at]));
    fs::rename(&one, folder.join("x")).unwrap();
    fs::rename(&two, &one).unwrap();
    fs::rename(folder.join("x"), &two).unwrap();
    subject.start();
    Run::new(&subject.sandbox, &other).args(["exit", "3"]).status(3).run();
}

/// Needs root's rights: files of another user.
fn a43_what_somebody_else_recorded_is_not_believed(who: Who) {
    assert!(rustix::process::geteuid().is_root(), "this test gives files to another user: run it as root");
    let subject = Subject::started(who);
    DAMAGES[0].1(&subject.slot());
    for file in [subject.receipt(), subject.record()] {
        chown(&file, Some(4343), Some(4343)).unwrap();
        fs::set_permissions(&file, fs::Permissions::from_mode(0o644)).unwrap();
    }
    subject.start();
}

/// A lock that somebody prepared: nothing of it is written to or waited for.
fn a44_locks_are_never_followed_or_written(who: Who) {
    let victim_content = b"precious\n";
    for kind in ["a link", "a pipe", "a hard link", "a directory"] {
        let subject = Subject::started(who);
        let victim = subject.sandbox.write("victim", victim_content);
        let name = subject.slot().file_name().unwrap().to_owned();
        let lock = subject.sandbox.cache().join("locks").join(name);
        let _ = fs::remove_file(&lock);
        match kind {
            "a link" => symlink(&victim, &lock).unwrap(),
            "a hard link" => fs::hard_link(&victim, &lock).unwrap(),
            "a directory" => fs::create_dir(&lock).unwrap(),
            _ => rustix::fs::mknodat(rustix::fs::CWD, &lock, rustix::fs::FileType::Fifo, rustix::fs::Mode::RWXU, 0)
                .unwrap(),
        }
        subject.damage(DAMAGES[0].1);
        subject.set_validity(ANOTHER_BOOT);
        let started = std::time::Instant::now();
        subject.start();
        assert!(started.elapsed().as_secs() < 10, "{kind}: it waited");
        assert_eq!(fs::read(&victim).unwrap(), victim_content, "{kind}");
    }
}

/// A start that was killed between the slot and what stands beside it: nothing says what the slot should be, which is
/// no success, and the next start says it.
fn what_could_not_be_checked_is_no_success(who: Who) {
    let subject = Subject::started(who);
    let index = subject.slot().with_extension("index");
    let verify = || Run::pspf(&subject.sandbox, ["cache", "verify"]);
    for record_is_there in [true, false] {
        fs::remove_file(&index).unwrap();
        if !record_is_there {
            fs::remove_file(subject.record()).unwrap();
            fs::remove_file(subject.receipt()).unwrap();
        }
        let identity = subject.identity();
        verify().fails("IO").stdout_part("not checked").stderr_part("1 slot").run();
        subject.start();
        assert_eq!(subject.identity(), identity, "it was sound");
        verify().stdout_part("sound").run();
    }
}

/// Filling ahead compares in full, and repairs what was changed behind a valid record.
fn warming_repairs(who: Who) {
    let subject = Subject::started(who);
    let before = snapshot(&subject.slot());
    // Inside a directory below, so that the record holds.
    DAMAGES[0].1(&subject.slot());
    Run::pspf(&subject.sandbox, ["cache", "warm", "t.psp"]).any_stdout().run();
    assert_eq!(snapshot(&subject.slot()), before);
    assert_eq!(subject.validity().portable, 1);
}

as_both! {
    what_could_not_be_checked_is_no_success
    warming_repairs
    a_record_of_another_boot_is_looked_at_once
    a_record_that_holds_is_believed_while_it_is_there
    a_damaged_tree_without_a_valid_record_is_replaced
    a42_w10_damage_by_the_owner_is_found_by_verify_alone
    verify_says_what_is_damaged
    a_file_that_cannot_be_opened_is_damage
    f41_a_slot_whose_program_is_gone_is_repaired
    a43_a_slot_that_is_another_directory_is_compared
    a43_wrong_receipts_and_records_cost_a_look
    a43_a_record_behind_a_link_is_none
    a43_a_receipt_of_another_package_is_no_receipt
    a43_what_somebody_else_recorded_is_not_believed
    a44_locks_are_never_followed_or_written
}
