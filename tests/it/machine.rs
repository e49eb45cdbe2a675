//! Machines and callers that are not as one expects: limits, a missing /proc, odd umasks, file systems without locks.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::process::Command;

use pspf_tests::forks::output;
use pspf_tests::tree_files::{noise, rich_tree};
use pspf_tests::{Run, Sandbox, Who, need, snapshot};

use crate::as_both;
use crate::forge::{self, ForgedEntry, ForgedSlot, ForgedTree};
use crate::raw;

/// A package of a rich tree with a file of several frames.
fn package(sandbox: &Sandbox) -> std::path::PathBuf {
    rich_tree(&sandbox.work("tree"));
    fs::set_permissions(sandbox.work("tree/bin/tool"), fs::Permissions::from_mode(0o755)).unwrap();
    fs::write(sandbox.work("tree/large"), noise(2, 18 << 20)).unwrap();
    sandbox.give_all(&sandbox.work("tree"));
    Run::pspf(sandbox, ["pack", "tree", "--exec", "bin/tool", "--level", "1", "-o", "t.psp"]).any_stdout().run();
    sandbox.work("t.psp")
}

/// Starts it cold and warm behind a line of shell.
#[track_caller]
fn starts_behind(who: Who, script: &str) {
    let sandbox = Sandbox::new(who);
    let package = package(&sandbox);
    for _ in 0..2 {
        Run::new(&sandbox, "sh").args(["-c", &format!("{script}; exec \"$0\"")]).arg(&package).stdout("ran\n").run();
    }
    assert_eq!(snapshot(&sandbox.slots()[0]), snapshot(&sandbox.work("tree")));
}

fn f53_little_memory(who: Who) {
    starts_behind(who, "ulimit -v 65536");
    starts_behind(who, "ulimit -s 128");
}

/// Runs a package behind a limit of its address space in kB: exit code and standard error.
fn limited(sandbox: &Sandbox, package: &std::path::Path, prefix: &[&str], limit: u32) -> (Option<i32>, String) {
    pspf_tests::sandbox::remove_tree(&sandbox.cache());
    let script = format!("ulimit -v {limit}; exec \"$@\"");
    let run = Run::new(sandbox, "sh").args(["-c", &script, "sh"]).args(prefix).arg(package);
    let output = run.spawn().wait_with_output().unwrap();
    (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
}

/// Wherever memory ends, that is said, and nothing else is blamed.
#[test]
fn lack_of_memory_is_no_damage() {
    let sandbox = Sandbox::new(Who::Caller);
    let mut enough = 0;
    for limit in (500..2000).step_by(20).chain((2000..8000).step_by(200)) {
        match limited(&sandbox, &pspf_tests::probe_package().file, &[], limit) {
            (Some(0), said) if said.is_empty() => enough += 1,
            (Some(123), said) => assert!(said.starts_with("pspf: error[IO]: "), "{limit} kB: {said}"),
            // The kernel does not even begin.
            (code, said) => assert!(!said.contains("pspf: "), "{limit} kB: {code:?} {said}"),
        }
    }
    assert!((1..100).contains(&enough), "{enough} of 105 starts had enough");
}

/// A second thread needs memory of its own. Where there is none, the first one does the work.
#[test]
fn what_one_core_can_do_several_can_too() {
    need("taskset");
    const FRAME: usize = 8 << 20;
    let sandbox = Sandbox::new(Who::Caller);
    let script = b"#!/bin/sh\n";
    let entries = [ForgedEntry::file("tool", script), ForgedEntry::file("large", &noise(3, 20 << 20))];
    let tree = ForgedTree::new(&entries);
    let frames: Vec<Vec<u8>> = tree.stream.chunks(FRAME).map(raw::zstd_frame).collect();
    let described = frames.iter().zip(tree.stream.chunks(FRAME));
    let described: Vec<_> =
        described.map(|(frame, content)| (frame.len() as u32, content.len() as u32, raw::sha256(frame))).collect();
    let slot = ForgedSlot::framed("app", "tar|zstd", &frames, &tree.index(&described), tree.stream.len() as u64);
    let package = sandbox.write_program("large.psp", forge::package("/tool", &[slot]));
    let cores = rustix::thread::sched_getaffinity(None).unwrap();
    let core = (0..rustix::thread::CpuSet::MAX_CPU).find(|core| cores.is_set(*core)).unwrap().to_string();
    let mut enough = 0;
    for limit in (12_000..40_000).step_by(2000) {
        let (one, said) = limited(&sandbox, &package, &["taskset", "-c", &core], limit);
        let (all, also) = limited(&sandbox, &package, &[], limit);
        assert_eq!(one, all, "{limit} kB: {said} {also}");
        assert!(one == Some(0) || said.contains("ulimit -v") && !said.contains("PSPF_CACHE_DIR"), "{limit} kB: {said}");
        enough += u32::from(one == Some(0));
    }
    assert!((3..14).contains(&enough), "{enough} of 14 starts had enough");
}

fn f10_few_descriptors(who: Who) {
    starts_behind(who, "ulimit -n 16");
}

/// A first start that has too few of them leaves little behind, and the next one removes that.
fn f10_too_few_descriptors_leave_little(who: Who) {
    let sandbox = Sandbox::new(who);
    let package = package(&sandbox);
    let work =
        || -> Vec<String> { sandbox.cached("slots").into_iter().filter(|name| name.starts_with(".tmp-")).collect() };
    let mut failed = 0;
    for limit in 4..16 {
        pspf_tests::sandbox::remove_tree(&sandbox.cache());
        let script = format!("ulimit -n {limit}; exec \"$0\"");
        let run = Run::new(&sandbox, "sh").args(["-c", &script]).arg(&package);
        failed += u32::from(run.spawn().wait_with_output().unwrap().status.code() == Some(123));
        // A tree that was begun takes descriptors to be removed.
        assert!(work().len() <= usize::from(limit > 7), "with {limit} descriptors: {:?}", work());
        Run::new(&sandbox, &package).stdout("ran\n").run();
        assert_eq!(work(), [""; 0], "after a start with {limit} descriptors");
    }
    assert!((3..12).contains(&failed), "{failed} of 12 starts had too few");
}

/// What cannot be looked at is not damaged: it stays, and the next start that can look finds it sound.
fn too_few_descriptors_take_nothing(who: Who) {
    let sandbox = Sandbox::new(who);
    let package = package(&sandbox);
    Run::new(&sandbox, &package).stdout("ran\n").run();
    let before = fs::metadata(&sandbox.slots()[0]).unwrap().ino();
    for limit in 4..9 {
        for folder in ["slots", "receipts"] {
            for name in sandbox.cached(folder).iter().filter(|name| folder == "receipts" || name.ends_with(".ok")) {
                fs::remove_file(sandbox.cache().join(folder).join(name)).unwrap();
            }
        }
        let script = format!("ulimit -n {limit}; exec \"$0\"");
        let run = Run::new(&sandbox, "sh").args(["-c", &script]).arg(&package);
        run.spawn().wait_with_output().unwrap();
        assert_eq!(fs::metadata(&sandbox.slots()[0]).unwrap().ino(), before, "with {limit} descriptors");
    }
    Run::new(&sandbox, &package).stdout("ran\n").run();
    assert_eq!(fs::metadata(&sandbox.slots()[0]).unwrap().ino(), before);
}

/// The modes in the cache are the same whatever the umask, and so is what the application gets.
fn f51_any_umask(who: Who) {
    let modes = |umask: &str| {
        let sandbox = Sandbox::new(who);
        let package = package(&sandbox);
        // The cache can be made with any umask; the directories above it are the caller's own business.
        let _ = fs::remove_dir_all(sandbox.home().join(".cache"));
        fs::create_dir(sandbox.home().join(".cache")).unwrap();
        sandbox.give(&sandbox.home().join(".cache"));
        Run::new(&sandbox, "sh")
            .args(["-c", &format!("umask {umask}; exec \"$0\"")])
            .arg(&package)
            .stdout("ran\n")
            .run();
        let mode =
            |name: &str| fs::symlink_metadata(sandbox.slots()[0].join(name)).unwrap().permissions().mode() & 0o7777;
        ["", "bin", "bin/tool", "none", "deep/small-7", "large"].map(mode)
    };
    for umask in ["0", "022", "077", "0777"] {
        assert_eq!(modes(umask), [0o555, 0o555, 0o555, 0o444, 0o444, 0o444], "umask {umask}");
    }
}

/// `/proc` gives a launcher its own file; without it the path that the kernel was given does.
fn f33_no_proc(who: Who) {
    let sandbox = Sandbox::new(who);
    let package = package(&sandbox);
    for _ in 0..2 {
        Run::new(&sandbox, &package).mounting("mount -t tmpfs none /proc").stdout("ran\n").run();
    }
    let relative = Run::new(&sandbox, "sh").args(["-c", "exec ./t.psp"]).mounting("mount -t tmpfs none /proc");
    relative.stdout("ran\n").run();
}

/// A file system that has no locks: a rename still decides, and everybody starts.
fn f16_no_locks(who: Who) {
    need("strace");
    for error in ["ENOLCK", "ENOSYS", "EBADF"] {
        let sandbox = Sandbox::new(who);
        let package = package(&sandbox);
        let script = "for i in 1 2 3 4 5 6; do \"$0\" & done; wait";
        let log = sandbox.root().join("tmp/log");
        let rule = format!("inject=flock:error={error}");
        let words = ["strace", "-f", "-qq", "-e", "trace=flock", "-e", &rule, "-o", log.to_str().unwrap()];
        Run::new(&sandbox, "sh").args(["-c", script]).arg(&package).under(words).stdout("ran\n".repeat(6)).run();
        assert!(fs::read_to_string(&log).unwrap().contains("(INJECTED)"));
        assert_eq!(sandbox.slots().len(), 1);
        assert!(!sandbox.cached("slots").iter().any(|name| name.starts_with('.')));
    }
}

as_both! {
    f53_little_memory
    f10_few_descriptors
    f10_too_few_descriptors_leave_little
    too_few_descriptors_take_nothing
    f51_any_umask
    f33_no_proc
    f16_no_locks
}

/// The kernel says that the process has rights its caller has not: nothing of the environment is believed.
#[test]
fn a60_raised_privileges_are_refused() {
    assert!(rustix::process::geteuid().is_root(), "this test makes a file setuid: run it as root");
    let sandbox = Sandbox::new(Who::Stranger);
    let package = sandbox.copy(&pspf_tests::probe_package().file, "tool.psp");
    chown(&package, Some(0), Some(0)).unwrap();
    fs::set_permissions(&package, fs::Permissions::from_mode(0o4755)).unwrap();
    let run = Run::new(&sandbox, &package).arg("process").env("PSPF_SELF", "info");
    run.fails("EXEC").stderr_part("more rights").run();
    assert!(snapshot(&sandbox.home()).is_empty());
}

/// What a start asks of the environment: nothing that could make it check less.
#[test]
fn a17_a62_w07_w08_no_variable_makes_a_start_check_less() {
    need("strings");
    let sandbox = Sandbox::new(Who::Caller);
    let stub = sandbox.write("stub", pspf_tests::programs::stub());
    let output = output(Command::new("strings").arg(stub));
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let is_name =
        |word: &str| word.starts_with("PSPF_") && word.bytes().all(|byte| byte.is_ascii_uppercase() || byte == b'_');
    let mut names: Vec<String> = text
        .split(|c: char| !c.is_ascii_alphanumeric() && c != '_')
        .filter(|word| is_name(word))
        .map(str::to_owned)
        .collect();
    names.extend(
        ["PSPF_VERIFY", "PSPF_VALIDATION", "PSPF_SKIP_VERIFY", "PSPF_TRUST", "FLAVOR_VALIDATION", "PSPF_WORKENV"]
            .map(str::to_owned),
    );
    names.retain(|name| !matches!(name.as_str(), "PSPF_SELF" | "PSPF_CACHE_DIR"));
    let mut bytes = fs::read(&pspf_tests::probe_package().file).unwrap();
    let at = bytes.len() - 9000;
    bytes[at] ^= 1;
    let at = bytes.len() - 8000;
    bytes[at] ^= 1;
    let package = sandbox.write_program("damaged.psp", bytes);
    for name in names {
        for value in ["0", "1", "none", "off", "false", "minimal", "skip", "/"] {
            Run::new(&sandbox, &package).env(&name, value).fails("INTEGRITY").run();
        }
    }
}
