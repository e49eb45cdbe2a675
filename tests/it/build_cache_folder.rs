//! The folder of the build cache: which one it is, what may lie in it, and how it is emptied.

use std::fs::{self, File, FileTimes};
use std::os::unix::fs::{PermissionsExt, chown, symlink};
use std::time::{Duration, SystemTime};

use pspf_tests::sandbox::{STRANGER, names};
use pspf_tests::{Run, Sandbox, Who};
use rustix::fs::{CWD, FileType, Mode, mknodat};
use serde_json::Value;

use crate::as_both;
use crate::build_cache::{as_is, clean, counts, entries, folder, packed, packing, project, size};

fn an_unsafe_place_is_not_used(who: Who) {
    let sandbox = Sandbox::new(who);
    project(&sandbox);
    let (first, _) = packed(&sandbox, as_is);
    let path = folder(&sandbox);
    let unused = |what: &str| {
        let before = names(&path);
        sandbox.write("app/main", what);
        let (bytes, report) = packed(&sandbox, as_is);
        assert_eq!(report["build_cache"], Value::Null, "{what}");
        assert_eq!(counts(&report)[0].1, 0, "{what}");
        assert!(bytes != first && bytes == clean(&sandbox), "{what}");
        assert_eq!(names(&path), before, "{what}");
        Run::pspf(&sandbox, ["cache", "remove", "--build"]).stdout("removed 0 frames of the build cache, 0 B\n").run();
        assert_eq!(names(&path), before, "{what}");
    };
    for mode in [0o777, 0o770, 0o707, 0o1777] {
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        unused(&format!("{mode:o}"));
    }
    fs::set_permissions(&path, fs::Permissions::from_mode(0o700)).unwrap();
    let aside = path.with_file_name("aside");
    fs::rename(&path, &aside).unwrap();
    symlink(&aside, &path).unwrap();
    unused("a link");
    fs::remove_file(&path).unwrap();
    fs::rename(&aside, &path).unwrap();
    fs::set_permissions(path.parent().unwrap(), fs::Permissions::from_mode(0o777)).unwrap();
    unused("a parent that others can change");
    fs::set_permissions(path.parent().unwrap(), fs::Permissions::from_mode(0o700)).unwrap();
    if rustix::process::geteuid().is_root() {
        chown(&path, Some(4343), Some(4343)).unwrap();
        unused("somebody else's");
    }
}

/// What is packed must not depend on what was packed before.
fn a_cache_inside_what_is_packed_is_not_made(who: Who) {
    let sandbox = Sandbox::new(who);
    sandbox.write_program("tree/tool", b"#!/bin/sh\n");
    sandbox.give(&sandbox.work("tree"));
    let out = sandbox.work("out.psp");
    let mut all = Vec::new();
    for place in ["tree/cache", "tree/deeper/cache"] {
        for _ in 0..2 {
            let run = Run::pspf(&sandbox, ["pack", "tree", "--exec", "tool", "--json", "--key"]).arg(sandbox.key(1).0);
            let ran = run.arg("-o").arg(&out).env("PSPF_CACHE_DIR", sandbox.work(place)).any_stdout().run();
            let report: Value = serde_json::from_str(&ran.stdout).unwrap();
            assert_eq!(report["build_cache"], Value::Null);
            all.push(fs::read(&out).unwrap());
            assert_eq!(names(&sandbox.work("tree")), ["tool"]);
        }
    }
    assert!(all.iter().all(|bytes| *bytes == all[0]));
}

/// A home that is in the user database alone.
fn passwd<'s>(sandbox: &'s Sandbox, run: Run<'s>) -> Run<'s> {
    let rooted = rustix::process::geteuid().is_root();
    let id = if rooted && sandbox.who() == Who::Stranger { STRANGER } else { 0 };
    let home = sandbox.work("registered").display().to_string();
    let database = sandbox.write("passwd", format!("somebody:x:{id}:{id}::{home}:/bin/sh\n"));
    let script = format!("mount --bind '{}' /etc/passwd", database.display());
    run.without("PSPF_CACHE_DIR").mounting(script).any_stdout()
}

/// Where the first place for caches cannot be used there is no build cache, and the commands look at no other either.
fn it_is_in_the_first_place_alone(who: Who) {
    let sandbox = Sandbox::new(who);
    project(&sandbox);
    let registered = sandbox.work("registered");
    fs::create_dir(&registered).unwrap();
    sandbox.give(&registered);
    let report = |run: Run<'_>| serde_json::from_str::<Value>(&passwd(&sandbox, run).run().stdout).unwrap();
    let list = || Run::pspf(&sandbox, ["cache", "list", "--json"]);
    // Below what is packed, and below a directory that others can change.
    let open = sandbox.work("open");
    fs::create_dir(&open).unwrap();
    sandbox.give(&open);
    fs::set_permissions(&open, fs::Permissions::from_mode(0o777)).unwrap();
    for home in [sandbox.work("runtime"), open] {
        let packed = report(packing(&sandbox, "out.psp").env("HOME", &home));
        assert_eq!(packed["build_cache"], Value::Null, "{}", home.display());
        assert!(names(&registered).is_empty() && !home.join(".cache").exists());
    }
    // Without HOME it is the home of the user database, and only then.
    let expected = registered.join(".cache/pspf/build-v1");
    let packed = report(packing(&sandbox, "out.psp").without("HOME"));
    assert_eq!(packed["build_cache"], expected.to_str().unwrap());
    assert_eq!(report(list().without("HOME"))["build"]["directory"], expected.to_str().unwrap());
    assert_eq!(report(list())["build"]["directory"], Value::Null);
}

/// Makes all entries look as if they had been used that long ago.
fn age(sandbox: &Sandbox, days: u64) {
    let then = SystemTime::now() - Duration::from_secs(days * 86400);
    for path in entries(sandbox) {
        File::open(path).unwrap().set_times(FileTimes::new().set_modified(then)).unwrap();
    }
}

fn it_is_listed_and_removed(who: Who) {
    let sandbox = Sandbox::new(who);
    let cache = |args: &[&str]| Run::pspf(&sandbox, ["cache"]).args(args).any_stdout().run().stdout;
    let build = || serde_json::from_str::<Value>(&cache(&["list", "--json"])).unwrap()["build"].clone();
    assert_eq!(
        (&build()["directory"], &build()["frames"], &build()["limit"]),
        (&Value::Null, &0.into(), &2_000_000_000_u64.into())
    );
    assert!(!cache(&["list"]).contains("build"));
    project(&sandbox);
    packed(&sandbox, as_is);
    let all = entries(&sandbox).len();
    assert_eq!((&build()["frames"], &build()["directory"]), (&all.into(), &folder(&sandbox).to_str().unwrap().into()));
    assert!(build()["bytes"].as_u64().unwrap() >= size(&sandbox));
    for command in ["list", "info"] {
        let told = cache(&[command]);
        assert!(
            told.contains(&format!("{all} frames, ")) && told.contains(" of at most 2.0 GB, used just now\n"),
            "{told}"
        );
    }
    // As with slots: never what was used within a day, unless it is asked for.
    cache(&["prune"]);
    cache(&["prune", "--older-than", "0"]);
    age(&sandbox, 20);
    assert!(!cache(&["prune"]).contains("build cache"));
    assert_eq!(entries(&sandbox).len(), all);
    // A use makes what is used young again.
    sandbox.write("app/main", b"two\n");
    packed(&sandbox, as_is);
    assert!(cache(&["prune", "--older-than", "10"]).contains("removed 1 frame of the build cache, "));
    assert_eq!(entries(&sandbox).len(), all);
    age(&sandbox, 31);
    assert!(cache(&["prune"]).contains(&format!("removed {all} frames of the build cache, ")));
    assert_eq!(entries(&sandbox).len(), 0);
    for empty in [&["prune", "--now"][..], &["remove", "--build"]] {
        packed(&sandbox, as_is);
        assert_eq!(entries(&sandbox).len(), all);
        assert!(cache(empty).contains(&format!("removed {all} frames of the build cache, ")));
        assert_eq!(entries(&sandbox).len(), 0);
    }
    Run::pspf(&sandbox, ["cache", "remove"]).fails("USAGE").run();
}

/// What has the name of an entry and is none: it is not waited for, stops nobody, and is removed with the others.
fn what_is_no_file_is_no_entry(who: Who) {
    let sandbox = Sandbox::new(who);
    project(&sandbox);
    let (first, report) = packed(&sandbox, as_is);
    let all = counts(&report).iter().map(|(frames, _)| frames).sum::<u64>();
    let before = entries(&sandbox);
    let [link, empty, full, pipe, ..] = before.as_slice() else { panic!("{report}") };
    before.iter().for_each(|path| fs::remove_file(path).unwrap());
    symlink("/dev/zero", link).unwrap();
    fs::create_dir_all(full.join("inner")).unwrap();
    fs::create_dir(empty).unwrap();
    [full, empty].iter().for_each(|path| sandbox.give_all(path));
    mknodat(CWD, pipe, FileType::Fifo, Mode::RWXU, 0).unwrap();
    sandbox.give(pipe);
    // Somebody who waits for the pipe ends here.
    let patiently = || packed(&sandbox, |run| run.under(["timeout", "120"]));
    let (bytes, report) = patiently();
    assert!(bytes == first);
    assert_eq!(counts(&report).iter().map(|(_, reused)| reused).sum::<u64>(), 0);
    // A file takes the place of what is no directory.
    assert!(pipe.is_file() && link.is_file() && !link.is_symlink());
    assert_eq!(entries(&sandbox), before);
    let (_, report) = patiently();
    assert_eq!(counts(&report).iter().map(|(_, reused)| reused).sum::<u64>(), all - 2);
    fs::remove_file(pipe).unwrap();
    mknodat(CWD, pipe, FileType::Fifo, Mode::RWXU, 0).unwrap();
    let run = Run::pspf(&sandbox, ["cache", "remove", "--build"]).fails("IO");
    let told = format!("removed {} frames of the build cache, ", all - 1);
    run.stdout_part(told).stderr_part(full.to_str().unwrap()).run();
    assert_eq!(entries(&sandbox), std::slice::from_ref(full));
}

as_both! {
    an_unsafe_place_is_not_used
    a_cache_inside_what_is_packed_is_not_made
    it_is_in_the_first_place_alone
    it_is_listed_and_removed
    what_is_no_file_is_no_entry
}

/// Root may do everything: this is about somebody else.
#[test]
fn what_cannot_be_removed_or_read_is_told() {
    let sandbox = Sandbox::new(Who::Stranger);
    project(&sandbox);
    packed(&sandbox, as_is);
    let before = entries(&sandbox);
    let cases: [(u32, &[&[&str]]); 2] = [
        (0o500, &[&["remove", "--build"], &["prune", "--now"]]),
        (0o300, &[&["remove", "--build"], &["prune", "--now"], &["list"], &["info"]]),
    ];
    for (mode, commands) in cases {
        fs::set_permissions(folder(&sandbox), fs::Permissions::from_mode(mode)).unwrap();
        for command in commands {
            let run = Run::pspf(&sandbox, ["cache"]).args(*command).fails("IO");
            // The slots are told of before.
            let run = if command[0] == "prune" { run.any_stdout() } else { run };
            run.stderr_part(folder(&sandbox).to_str().unwrap()).run();
        }
        fs::set_permissions(folder(&sandbox), fs::Permissions::from_mode(0o700)).unwrap();
        assert_eq!(entries(&sandbox), before, "{mode:o}");
    }
}
