//! The same input and key give the same bytes, wherever and whenever they are packed.

use std::collections::HashMap;
use std::fs::{self, FileTimes};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use pspf_tests::tree_files::{noise, rich_tree};
use pspf_tests::{Run, Sandbox, Who, need, snapshot};

/// A project of a large tree and a single file, below a directory of this name.
fn project(sandbox: &Sandbox, name: &str) {
    sandbox.write(format!("{name}/tool"), noise(5, 100_000));
    fs::create_dir_all(sandbox.work(name).join("tree")).unwrap();
    rich_tree(&sandbox.work(name).join("tree"));
    sandbox.write(format!("{name}/tree/large"), noise(6, 12 << 20));
    let manifest = "[package]\nname = 'p'\nversion = '1'\n[run]\ncommand = ['{slot:tree}/bin/tool']\nenv.set = { B = '1', A = '2' }\n\
        [[slot]]\nid = 'tree'\nsource = 'tree'\n[[slot]]\nid = 'tool'\nsource = 'tool'\n";
    sandbox.write(format!("{name}/pspf.toml"), manifest);
}

/// The bytes of the package of a project; `adjust` changes how `pspf` is called.
fn packed<'s>(sandbox: &'s Sandbox, name: &str, adjust: impl FnOnce(Run<'s>) -> Run<'s>) -> Vec<u8> {
    let out = sandbox.work("out.psp");
    let run = Run::pspf(sandbox, ["pack", "--level", "3", "--key"]).arg(sandbox.key(1).0).arg("-o").arg(&out);
    adjust(anew(run).arg(sandbox.work(name))).any_stdout().run();
    fs::read(out).unwrap()
}

/// Everything is compressed, whatever was packed before.
fn anew(run: Run<'_>) -> Run<'_> {
    run.env("PSPF_BUILD_CACHE_SIZE", "0")
}

/// A copy of a tree whose entries are made in the opposite order, at another time, with other modes for others.
fn remake(from: &Path, to: &Path, seen: &mut HashMap<u64, PathBuf>) {
    fs::create_dir(to).unwrap();
    let mut entries: Vec<_> = fs::read_dir(from).unwrap().flatten().collect();
    entries.sort_by_key(|entry| std::cmp::Reverse(entry.file_name()));
    for entry in entries {
        let (source, target) = (entry.path(), to.join(entry.file_name()));
        let metadata = entry.metadata().unwrap();
        if metadata.is_symlink() {
            std::os::unix::fs::symlink(fs::read_link(&source).unwrap(), &target).unwrap();
        } else if metadata.is_dir() {
            remake(&source, &target, seen);
        } else if let Some(first) = seen.get(&metadata.ino()) {
            fs::hard_link(first, &target).unwrap();
        } else {
            seen.insert(metadata.ino(), target.clone());
            fs::copy(&source, &target).unwrap();
            let then = SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000_007);
            fs::File::open(&target).unwrap().set_times(FileTimes::new().set_modified(then)).unwrap();
            let mode = metadata.permissions().mode();
            fs::set_permissions(&target, fs::Permissions::from_mode(mode & 0o700 | 0o040)).unwrap();
        }
    }
}

#[test]
fn f73_w30_neither_place_nor_time_nor_machine_is_in_a_package() {
    need("taskset");
    let sandbox = Sandbox::new(Who::Caller);
    project(&sandbox, "one");
    let first = packed(&sandbox, "one", |run| run);
    let same = |name: &str, what: &str, adjust: &dyn Fn(Run<'_>) -> Vec<u8>| {
        let out = adjust(
            Run::pspf(&sandbox, ["pack", "--level", "3", "--key"])
                .arg(sandbox.key(1).0)
                .args(["-o", "out.psp"])
                .arg(sandbox.work(name)),
        );
        assert!(out == first, "another package: {what}");
    };
    let finish = |run: Run<'_>| {
        anew(run).any_stdout().run();
        fs::read(sandbox.work("out.psp")).unwrap()
    };
    same("one", "a second time", &|run| finish(run));
    same("one", "umask 077", &|run| finish(run.under(["sh", "-c", "umask 077; exec \"$@\"", "sh"])));
    same("one", "umask 0", &|run| finish(run.under(["sh", "-c", "umask 0; exec \"$@\"", "sh"])));
    same("one", "one core", &|run| finish(run.under(["taskset", "-c", "0"])));
    for (name, value) in [
        ("TZ", "Asia/Kolkata"),
        ("TZ", "America/St_Johns"),
        ("LC_ALL", "C.UTF-8"),
        ("LC_ALL", "tr_TR.UTF-8"),
        ("LANG", "de_DE"),
        ("HOME", "/nonexistent"),
        ("USER", "x"),
    ] {
        same("one", &format!("{name}={value}"), &|run| finish(run.env(name, value)));
    }
    let other = Sandbox::named(Who::Caller, " elsewhere");
    fs::create_dir(other.work("deeper")).unwrap();
    remake(&sandbox.work("one"), &other.work("deeper/two"), &mut HashMap::new());
    assert!(
        packed(&other, "deeper/two", |run| run) == first,
        "another package: in another folder, made in another order, with other times and modes"
    );
    // From inside the folder, by a relative path.
    let relative = Run::pspf(&other, ["pack", "--level", "3", "--key"]).arg(other.key(1).0);
    anew(relative).args(["-o", "../../out.psp"]).cwd(other.work("deeper/two")).any_stdout().run();
    assert!(fs::read(other.work("out.psp")).unwrap() == first, "another package: from inside its folder");
}

#[test]
fn the_time_of_the_source_is_in_the_package_and_no_other() {
    let sandbox = Sandbox::new(Who::Caller);
    sandbox.write_program("tree/tool", b"#!/bin/sh\n");
    let at = |epoch: &str| {
        let run =
            Run::pspf(&sandbox, ["pack", "tree", "--exec", "tool", "-o", "out.psp", "--key"]).arg(sandbox.key(1).0);
        run.env("SOURCE_DATE_EPOCH", epoch).any_stdout().run();
        fs::read(sandbox.work("out.psp")).unwrap()
    };
    let first = at("1700000000");
    assert!(at("1700000000") == first);
    assert!(at("1700000001") != first);
    for wrong in ["", "x", "-1", "1e9", "99999999999999"] {
        Run::pspf(&sandbox, ["pack", "tree", "--exec", "tool"]).env("SOURCE_DATE_EPOCH", wrong).fails("USAGE").run();
    }
    assert!(snapshot(&sandbox.work("tree")).len() == 1, "the source is as it was");
}
