//! One store for all packages: what is the same is extracted once, and nobody fills another's slot.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use pspf_tests::snapshot::leftovers;
use pspf_tests::trace::Trace;
use pspf_tests::{Run, Sandbox, Who, probe, probe_package};

use crate::as_both;
use crate::forge::{self, ForgedEntry, ForgedSlot, ForgedTree};
use crate::raw::sha256;

/// A package with a slot of its own and one that all of them have.
fn package(sandbox: &Sandbox, name: &str, shared_id: &str) -> PathBuf {
    let tool = format!("#!/bin/sh\necho {name}; cat \"$1/lib/shared\"\n");
    sandbox.write_program(format!("{name}-tool"), tool);
    sandbox.write("runtime/lib/shared", b"shared\n");
    let manifest = format!(
        "[package]\nname = '{name}'\nversion = '1'\n[run]\ncommand = ['{{slot:tool}}', '{{slot:{shared_id}}}']\n\
         [[slot]]\nid = 'tool'\nsource = '{name}-tool'\n\
         [[slot]]\nid = '{shared_id}'\nsource = 'runtime'\nlifecycle = 'eager'\n"
    );
    sandbox.write(format!("{name}.toml"), manifest);
    Run::pspf(sandbox, ["pack", &format!("{name}.toml")]).any_stdout().run();
    sandbox.work(format!("{name}.psp"))
}

fn two_packages_share_a_slot(who: Who) {
    let sandbox = Sandbox::new(who);
    let (one, two) = (package(&sandbox, "one", "python"), package(&sandbox, "two", "runtime"));
    Run::new(&sandbox, one).stdout("one\nshared\n").run();
    let slots = sandbox.slots();
    assert_eq!(slots.len(), 2);
    let stamps = || {
        slots
            .iter()
            .map(|slot| fs::metadata(slot).map(|stat| (stat.ino(), stat.ctime_nsec())).unwrap())
            .collect::<Vec<_>>()
    };
    let before = stamps();
    let trace = Trace::of(&sandbox, "mkdirat,mkdir", Run::new(&sandbox, two).stdout("two\nshared\n"));
    let staged = trace.calls.iter().filter(|call| call.contains(".tmp-")).count();
    assert_eq!(staged, 1, "only its own slot: {:?}", trace.calls);
    assert_eq!((stamps(), sandbox.slots().len(), sandbox.cached("receipts").len()), (before, 3, 2));
}

/// Under strace, to count how often there was an extraction.
fn f20_cold_starts_at_once_extract_once(who: Who) {
    let sandbox = Sandbox::new(who);
    let script =
        format!("for i in 1 2 3 4 5 6 7 8 9 10 11 12; do '{}' exit 0 & done; wait", probe_package().file.display());
    let trace = Trace::of(&sandbox, "mkdirat,mkdir", Run::new(&sandbox, "sh").args(["-c", &script]));
    // Of calls that run at the same time, strace tells the end apart from the beginning. Whoever reclaims may take a
    // directory in the moment before it is locked; its maker begins anew then, so processes are counted.
    let staged = trace.calls.iter().filter_map(|call| call.split("slots/.tmp-").nth(1)?.split('-').next());
    let staged: std::collections::BTreeSet<_> = staged.collect();
    assert_eq!(staged.len(), 1, "{staged:?}");
}

/// The same moment, held open: the directory is there and not yet locked, and somebody takes it for left over.
fn a_directory_that_is_being_removed_is_not_filled(who: Who) {
    let sandbox = Sandbox::new(who);
    let log = sandbox.root().join("tmp/log");
    // The first lock is that of the slot, the second that of the new directory.
    let slow = ["strace", "-f", "-e", "trace=mkdirat,flock", "-e", "inject=flock:delay_enter=3000000:when=2", "-o"];
    let words: Vec<&str> = slow.into_iter().chain([log.to_str().unwrap()]).collect();
    let start = Run::new(&sandbox, &probe_package().file).args(["exit", "5"]).under(words).spawn();
    std::thread::sleep(Duration::from_millis(1500));
    let slow = ["strace", "-f", "-e", "inject=unlinkat:delay_enter=3000000:when=1", "-o", "/dev/null"];
    let prune = Run::pspf(&sandbox, ["cache", "prune"]).under(slow).spawn();
    for (child, code) in [(start, 5), (prune, 0)] {
        let output = child.wait_with_output().unwrap();
        assert_eq!(output.status.code(), Some(code), "{}", String::from_utf8_lossy(&output.stderr));
    }
    let made = fs::read_to_string(log).unwrap().lines().filter(|line| line.contains("slots/.tmp-")).count();
    assert_eq!(made, 2, "the start began anew under another name");
    assert_eq!(leftovers(&sandbox.cache()).keys().find(|name| name.contains(".tmp-")), None);
}

/// Whoever reclaims what the dead left never takes what somebody is about to fill: every start sees its whole tree.
fn starts_beside_those_who_reclaim(who: Who) {
    let sandbox = Sandbox::new(who);
    for file in 0..100 {
        sandbox.write(format!("shared/{file}"), format!("{file}"));
    }
    let packages: Vec<_> = (0..6)
        .map(|number| {
            sandbox.copy(probe(), format!("tool-{number}"));
            sandbox.write_program(format!("own-{number}/tool"), "#!/bin/sh\nset -- \"$1\"/*; echo $#\n");
            let manifest = format!(
                "[package]\nname = 'p{number}'\nversion = '1'\n\
                 [run]\ncommand = ['{{slot:own}}/tool', '{{slot:shared}}']\n\
                 [[slot]]\nid = 'own'\nsource = 'own-{number}'\n[[slot]]\nid = 'shared'\nsource = 'shared'\n\
                 [[slot]]\nid = 'tool'\nsource = 'tool-{number}'\noperations = 'raw'\n"
            );
            sandbox.write(format!("p{number}.toml"), manifest);
            Run::pspf(&sandbox, ["pack", &format!("p{number}.toml")]).any_stdout().run();
            sandbox.work(format!("p{number}.psp"))
        })
        .collect();
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        for _ in 0..3 {
            scope.spawn(|| {
                while !stop.load(Ordering::Relaxed) {
                    let output = Run::pspf(&sandbox, ["cache", "prune"]).spawn().wait_with_output().unwrap();
                    assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
                }
            });
        }
        for _ in 0..5 {
            pspf_tests::sandbox::remove_tree(&sandbox.cache());
            let children: Vec<_> = packages.iter().map(|package| Run::new(&sandbox, package).spawn()).collect();
            for child in children {
                let output = child.wait_with_output().unwrap();
                let said = String::from_utf8_lossy(&output.stderr).into_owned();
                assert_eq!((&output.stdout[..], said.as_str()), (&b"100\n"[..], ""));
            }
        }
        stop.store(true, Ordering::Relaxed);
    });
}

/// What somebody has locked is being worked on; what nobody has is left over.
fn what_others_are_working_on_is_left_alone(who: Who) {
    let sandbox = Sandbox::new(who);
    fs::create_dir_all(sandbox.cache().join("slots/.tmp-1-dead")).unwrap();
    let busy = sandbox.cache().join("slots/.tmp-2-busy");
    fs::create_dir_all(&busy).unwrap();
    sandbox.give_all(&sandbox.home());
    for folder in ["", ".cache", ".cache/pspf", ".cache/pspf/v1"] {
        fs::set_permissions(sandbox.home().join(folder), fs::Permissions::from_mode(0o755)).unwrap();
    }
    let held = fs::File::open(&busy).unwrap();
    rustix::fs::flock(&held, rustix::fs::FlockOperation::LockExclusive).unwrap();
    Run::new(&sandbox, &probe_package().file).args(["exit", "5"]).status(5).run();
    let left: Vec<_> = sandbox.cached("slots").into_iter().filter(|name| name.starts_with('.')).collect();
    assert_eq!(left, [".tmp-2-busy"]);
}

/// Two signed slots that a start would look for under one key, and hold different bytes.
fn liars() -> Vec<(&'static str, ForgedSlot, ForgedSlot)> {
    let (good, evil) = (b"#!/bin/sh\necho good\n", b"#!/bin/sh\necho evil\n");
    let honest = ForgedSlot::raw("app", good);
    let liar = ForgedSlot { sha256: honest.sha256, ..ForgedSlot::raw("app", evil) };
    let mut cases = vec![("raw", honest, liar)];
    let entries = |content: &[u8]| vec![ForgedEntry::directory("bin"), ForgedEntry::file("bin/tool", content)];
    let (tree, other) = (ForgedTree::new(&entries(good)), ForgedTree::new(&entries(evil)));
    let honest = tree.slot();
    let frame = crate::raw::zstd_frame(&other.stream);
    // The index is the honest one, the frame is not; all that is signed beside is true of the stored bytes.
    let at = frame.len();
    let mut stored = frame.clone();
    stored.extend(&honest.stored[crate::raw::zstd_frame(&tree.stream).len()..]);
    assert_eq!(honest.stored.len(), stored.len());
    assert!(at > 0);
    let liar = ForgedSlot { sha256: sha256(&stored), stored, ..honest.clone() };
    cases.push(("a frame", honest.clone(), liar));
    // The frame and an index of its own agree; the digest of the index is the honest one's.
    let liar = ForgedSlot { index: honest.index.clone(), ..other.slot() };
    cases.push(("the index", honest, liar));
    cases
}

fn a49_w11_nobody_fills_the_slot_of_another(who: Who) {
    for (name, honest, liar) in liars() {
        let sandbox = Sandbox::new(who);
        let program = if honest.index.is_some() { "/bin/tool" } else { "" };
        let evil = sandbox.write_program("evil.psp", forge::package(program, &[liar]));
        let good = sandbox.write_program("good.psp", forge::package(program, &[honest]));
        Run::new(&sandbox, &evil).fails("INTEGRITY").run();
        assert_eq!(leftovers(&sandbox.cache()), pspf_tests::Snapshot::new(), "{name}: nothing is left");
        Run::new(&sandbox, &good).stdout("good\n").run();
        let slots = sandbox.slots();
        // What the key stands for is there now, and it is the honest content that the liar starts, if anything.
        let output = Run::new(&sandbox, &evil).spawn().wait_with_output().unwrap();
        assert!(!String::from_utf8_lossy(&output.stdout).contains("evil"), "{name}");
        assert_eq!(sandbox.slots(), slots, "{name}");
        Run::new(&sandbox, &good).stdout("good\n").run();
    }
}

/// Mode and file name are in the key of a single file: the same bytes as data do not stand in for a program.
fn the_same_bytes_under_another_name_or_mode_are_another_slot(who: Who) {
    let sandbox = Sandbox::new(who);
    let content = b"#!/bin/sh\necho \"${0##*/}\"\n";
    let named = |target: &str, mode| ForgedSlot { target: target.to_owned(), mode, ..ForgedSlot::raw("app", content) };
    for (number, (target, mode)) in [("a", "0755"), ("b", "0755"), ("a", "0644")].into_iter().enumerate() {
        let package = sandbox.write_program(format!("{number}.psp"), forge::package("", &[named(target, mode)]));
        let run = Run::new(&sandbox, package);
        if mode == "0755" { run.stdout(format!("{target}\n")) } else { run.fails("EXEC") }.run();
        assert_eq!(sandbox.slots().len(), number + 1);
    }
}

/// A signer whose own index is untrue of a file: the start takes what was signed, and whoever compares says so.
fn untrue() -> Vec<u8> {
    let entries = [ForgedEntry::file("tool", b"#!/bin/sh\necho ran\n"), ForgedEntry::file("data", b"data\n")];
    let tree = ForgedTree::new(&entries);
    let slot = tree.slot_with(crate::raw::zstd_frame(&tree.stream), |index| *index.last_mut().unwrap() ^= 1);
    forge::package("/tool", &[slot])
}

fn an_untrue_index_is_no_defect_of_the_cache(who: Who) {
    let sandbox = Sandbox::new(who);
    let package = sandbox.write_program("untrue.psp", untrue());
    let warm = || {
        let run = Run::pspf(&sandbox, ["cache", "warm", "untrue.psp"]).fails("INTEGRITY");
        run.stderr_part("`data`: its content is not what the slot index says").run();
        assert_eq!(leftovers(&sandbox.cache()), pspf_tests::Snapshot::new());
    };
    warm();
    Run::new(&sandbox, &package).stdout("ran\n").run();
    assert_eq!(sandbox.slots().len(), 1);
    warm();
}

/// Whoever comes second compares; that all of them come at the same moment needs a slow rename and no locks.
fn an_untrue_index_at_once_without_locks(who: Who) {
    let sandbox = Sandbox::new(who);
    let package = sandbox.write_program("untrue.psp", untrue());
    let words = ["strace", "-f", "-qq", "-e", "trace=flock,renameat", "-e", "inject=flock:error=ENOLCK"];
    let words = [&words[..], &["-e", "inject=renameat:delay_enter=3000000:when=1", "-o", "/dev/null"]].concat();
    let start = || Run::new(&sandbox, &package).under(&words).spawn();
    let children: Vec<_> = (0..4).map(|_| start()).collect();
    let mut codes: Vec<_> = Vec::new();
    for child in children {
        let output = child.wait_with_output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        codes.push(output.status.code());
        let untrue = said.contains("its content is not what the slot index says");
        assert_eq!(untrue, output.status.code() == Some(121), "{said}");
    }
    assert!(codes.contains(&Some(0)) && codes.contains(&Some(121)), "{codes:?}");
    assert!(codes.iter().all(|code| matches!(code, Some(0 | 121))), "{codes:?}");
}

as_both! {
    an_untrue_index_is_no_defect_of_the_cache
    an_untrue_index_at_once_without_locks
    two_packages_share_a_slot
    f20_cold_starts_at_once_extract_once
    what_others_are_working_on_is_left_alone
    a_directory_that_is_being_removed_is_not_filled
    starts_beside_those_who_reclaim
    a49_w11_nobody_fills_the_slot_of_another
    the_same_bytes_under_another_name_or_mode_are_another_slot
}
