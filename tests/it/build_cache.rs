//! The build cache: what did not change is not compressed again, and the package is the same as without it.

use std::fs::{self, File, FileTimes};
use std::os::unix::fs::{PermissionsExt, chown, symlink};
use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use pspf_tests::sandbox::{STRANGER, names};
use pspf_tests::tree_files::noise;
use pspf_tests::{Run, Sandbox, Who, forks, need};
use serde_json::Value;

use crate::as_both;

/// A runtime of several frames, one file of it in three; and a small application.
fn project(sandbox: &Sandbox) {
    for (number, name) in ["lib/a", "lib/b", "lib/c", "lib/d"].iter().enumerate() {
        sandbox.write(format!("runtime/{name}"), noise(number as u64, 3 << 20));
    }
    sandbox.write("runtime/lib/large", noise(9, 10 << 20));
    sandbox.write_program("runtime/tool", b"#!/bin/sh\n");
    sandbox.write("app/main", b"one\n");
    let manifest = "[package]\nname = 'p'\nversion = '1'\n[run]\ncommand = ['{slot:runtime}/tool']\n\
        [[slot]]\nid = 'runtime'\nsource = 'runtime'\n[[slot]]\nid = 'app'\nsource = 'app'\n";
    sandbox.write("pspf.toml", manifest);
}

/// Packs what is in the work directory, at a level that takes no time.
fn packing<'s>(sandbox: &'s Sandbox, out: &str) -> Run<'s> {
    at_level(sandbox, "1", out)
}

fn at_level<'s>(sandbox: &'s Sandbox, level: &str, out: &str) -> Run<'s> {
    Run::pspf(sandbox, ["pack", "--json", "--level", level, "-o", out, "--key"]).arg(sandbox.key(1).0).any_stdout()
}

/// The bytes of a package that was packed like this, and the report.
fn packed(sandbox: &Sandbox, adjust: impl Fn(Run<'_>) -> Run<'_>) -> (Vec<u8>, Value) {
    let ran = adjust(packing(sandbox, "out.psp")).run();
    (fs::read(sandbox.work("out.psp")).unwrap(), serde_json::from_str(&ran.stdout).unwrap())
}

fn as_is(run: Run<'_>) -> Run<'_> {
    run
}

/// The bytes that a clean build gives.
fn clean(sandbox: &Sandbox) -> Vec<u8> {
    let (bytes, report) = packed(sandbox, |run| run.env("PSPF_BUILD_CACHE_SIZE", "0"));
    assert_eq!((counts(&report)[0].1, &report["build_cache"]), (0, &Value::Null));
    bytes
}

/// Frames of each slot, and how many of them were reused.
fn counts(report: &Value) -> Vec<(u64, u64)> {
    let of = |slot: &Value| (slot["frames"].as_u64().unwrap(), slot["frames_reused"].as_u64().unwrap());
    report["slots"].as_array().unwrap().iter().map(of).collect()
}

fn folder(sandbox: &Sandbox) -> PathBuf {
    sandbox.cache().with_file_name("build-v1")
}

fn entries(sandbox: &Sandbox) -> Vec<PathBuf> {
    let folder = folder(sandbox);
    names(&folder).iter().map(|name| folder.join(name)).collect()
}

fn size(sandbox: &Sandbox) -> u64 {
    entries(sandbox).iter().map(|path| fs::metadata(path).unwrap().len()).sum()
}

fn only_what_changed_is_compressed_again(who: Who) {
    let sandbox = Sandbox::new(who);
    project(&sandbox);
    let first = clean(&sandbox);
    assert!(!folder(&sandbox).exists());
    let (bytes, report) = packed(&sandbox, as_is);
    let [(runtime, 0), (1, 0)] = counts(&report)[..] else { panic!("{report}") };
    assert!(runtime >= 6 && bytes == first);
    assert_eq!(report["build_cache"], folder(&sandbox).to_str().unwrap());
    assert_eq!(entries(&sandbox).len() as u64, runtime + 1);
    let (bytes, report) = packed(&sandbox, as_is);
    assert_eq!(counts(&report), [(runtime, runtime), (1, 1)]);
    assert!(bytes == first);
    // The small slot.
    sandbox.write("app/main", b"two\n");
    let (bytes, report) = packed(&sandbox, as_is);
    assert_eq!(counts(&report), [(runtime, runtime), (1, 0)]);
    assert!(bytes != first && bytes == clean(&sandbox));
    // One file of the large one, of three MiB and so in four frames: these alone.
    sandbox.write("runtime/lib/b", noise(77, 3 << 20));
    let (bytes, report) = packed(&sandbox, as_is);
    assert_eq!(counts(&report), [(runtime, runtime - 4), (1, 1)]);
    assert!(bytes == clean(&sandbox));
    // The end of the file that lies in three frames.
    let mut large = noise(9, 10 << 20);
    *large.last_mut().unwrap() ^= 1;
    sandbox.write("runtime/lib/large", large);
    let (bytes, report) = packed(&sandbox, as_is);
    assert_eq!(counts(&report), [(runtime, runtime - 1), (1, 1)]);
    assert!(bytes == clean(&sandbox));
    // What it was before is still there.
    sandbox.write("app/main", b"one\n");
    sandbox.write("runtime/lib/b", noise(1, 3 << 20));
    sandbox.write("runtime/lib/large", noise(9, 10 << 20));
    let (bytes, report) = packed(&sandbox, as_is);
    assert_eq!(counts(&report), [(runtime, runtime), (1, 1)]);
    assert!(bytes == first);
    // Another level and another time in every header are other frames; the slot's name is in none.
    let report = serde_json::from_str(&at_level(&sandbox, "2", "out.psp").run().stdout).unwrap();
    assert_eq!(counts(&report), [(runtime, 0), (1, 0)]);
    let (_, report) = packed(&sandbox, |run| run.env("SOURCE_DATE_EPOCH", "1700000000"));
    assert_eq!(counts(&report)[1], (1, 0));
    let manifest = fs::read_to_string(sandbox.work("pspf.toml")).unwrap().replace("runtime'\ns", "other'\ns");
    sandbox.write("pspf.toml", manifest.replace("{slot:runtime}", "{slot:other}"));
    let (bytes, report) = packed(&sandbox, as_is);
    assert_eq!(counts(&report), [(runtime, runtime), (1, 1)]);
    assert!(bytes != first && bytes == clean(&sandbox));
    // For people: nothing where nothing was reused.
    let told =
        Run::pspf(&sandbox, ["pack", "--level", "1"]).stdout_part(format!("reused     {0} of {0} frames", runtime + 1));
    told.run();
    let ran = Run::pspf(&sandbox, ["pack", "--level", "1"]).env("PSPF_BUILD_CACHE_SIZE", "0").any_stdout().run();
    assert!(!ran.stdout.contains("reused"), "{ran}");
}

fn a_damaged_or_foreign_entry_changes_nothing(who: Who) {
    let sandbox = Sandbox::new(who);
    project(&sandbox);
    let (first, report) = packed(&sandbox, as_is);
    let all = counts(&report).iter().map(|(frames, _)| frames).sum::<u64>();
    let reused = |report: &Value| counts(report).iter().map(|(_, reused)| reused).sum::<u64>();
    let entries = entries(&sandbox);
    let sound: Vec<Vec<u8>> = entries.iter().map(|path| fs::read(path).unwrap()).collect();
    let put = |what: &dyn Fn(usize) -> Vec<u8>| {
        for (number, path) in entries.iter().enumerate() {
            sandbox.give(path);
            fs::write(path, what(number)).unwrap();
        }
    };
    type Damage<'a> = (&'a str, &'a dyn Fn(usize) -> Vec<u8>);
    let damages: [Damage<'_>; 6] = [
        ("one bit", &|number| {
            let mut bytes = sound[number].clone();
            let middle = bytes.len() / 2;
            bytes[middle] ^= 1;
            bytes
        }),
        ("cut", &|number| sound[number][..sound[number].len() / 2].to_vec()),
        ("empty", &|_| Vec::new()),
        ("zeros, as after a crash", &|number| vec![0; sound[number].len()]),
        // Sound frames with their own digests, whoever put them there: of another content, and of the same content
        // followed by another frame.
        ("another frame", &|number| sound[(number + 1) % sound.len()].clone()),
        ("two frames", &|number| {
            let stored = [&sound[number][32..], &sound[(number + 1) % sound.len()][32..]].concat();
            [crate::raw::sha256(&stored).to_vec(), stored].concat()
        }),
    ];
    for (name, damage) in damages {
        put(damage);
        let (bytes, report) = packed(&sandbox, as_is);
        assert_eq!(reused(&report), 0, "{name}");
        assert!(bytes == first, "{name}");
        let (bytes, report) = packed(&sandbox, as_is);
        assert_eq!(reused(&report), all, "{name}: replaced by sound ones");
        assert!(bytes == first, "{name}");
    }
    // Something else of that name.
    fs::remove_file(&entries[0]).unwrap();
    symlink("/dev/null", &entries[0]).unwrap();
    fs::remove_file(&entries[1]).unwrap();
    fs::create_dir(&entries[1]).unwrap();
    let (bytes, report) = packed(&sandbox, as_is);
    assert_eq!(reused(&report), all - 2);
    assert!(bytes == first);
}

fn two_at_once_share_it(who: Who) {
    let sandbox = Sandbox::new(who);
    project(&sandbox);
    let first = clean(&sandbox);
    for round in 0..3 {
        let outs = ["x.psp", "y.psp", "z.psp"];
        let runs = outs.map(|out| packing(&sandbox, out)).map(|run| run.spawn());
        for (run, out) in runs.into_iter().zip(outs) {
            let output = run.wait_with_output().unwrap();
            assert!(output.status.success(), "{round}: {}", String::from_utf8_lossy(&output.stderr));
            assert!(fs::read(sandbox.work(out)).unwrap() == first, "{round}: {out}");
        }
        assert!(
            entries(&sandbox).iter().all(|path| path.file_name().unwrap().len() == 64),
            "nothing half-made is left"
        );
        if round == 1 {
            fs::remove_dir_all(folder(&sandbox)).unwrap();
        }
    }
}

fn a_cache_that_cannot_be_written_is_read(who: Who) {
    let sandbox = Sandbox::new(who);
    project(&sandbox);
    let (first, report) = packed(&sandbox, as_is);
    let [(runtime, _), _] = counts(&report)[..] else { panic!("{report}") };
    sandbox.write("app/main", b"two\n");
    let before = names(&folder(&sandbox));
    let path = folder(&sandbox);
    let read_only = format!("mount --bind '{0}' '{0}'\nmount -o remount,ro,bind '{0}'", path.display());
    let (second, report) = packed(&sandbox, |run| run.mounting(&read_only));
    assert_eq!(counts(&report), [(runtime, runtime), (1, 0)]);
    assert!(second != first && second == clean(&sandbox));
    assert_eq!(names(&path), before);
    // Where none can be made there is none, and PSPF_CACHE_DIR names the only place.
    let sealed =
        format!("mount --bind '{0}' '{0}'\nmount -o remount,ro,bind '{0}'", sandbox.root().join("home").display());
    fs::remove_dir_all(sandbox.home().join(".cache")).unwrap();
    let (bytes, report) = packed(&sandbox, |run| run.mounting(&sealed));
    assert_eq!(report["build_cache"], Value::Null);
    assert!(bytes == second);
}

fn a_full_disk_keeps_nothing_half_made(who: Who) {
    let sandbox = Sandbox::new(who);
    project(&sandbox);
    let first = clean(&sandbox);
    packed(&sandbox, as_is);
    let path = folder(&sandbox);
    fs::remove_dir_all(&path).unwrap();
    fs::create_dir(&path).unwrap();
    sandbox.give(&path);
    let uid = if rustix::process::geteuid().is_root() && who == Who::Stranger { STRANGER } else { 0 };
    let full = format!("mount -t tmpfs -o size=6m,mode=0700,uid={uid},gid={uid} none '{}'", path.display());
    let listing = format!("\"$@\" >/dev/null; code=$?; ls -A '{}'; exit $code", path.display());
    let run = packing(&sandbox, "out.psp").mounting(full).under(["sh", "-c", &listing, "sh"]);
    let ran = run.run();
    // A few frames fit; with several threads some more were begun.
    let kept: Vec<&str> = ran.stdout.lines().collect();
    assert!(!kept.is_empty() && kept.len() <= 8 && kept.iter().all(|name| name.len() == 64), "{kept:?}");
    assert!(fs::read(sandbox.work("out.psp")).unwrap() == first);
}

fn the_limit_is_kept_and_the_oldest_go_first(who: Who) {
    let sandbox = Sandbox::new(who);
    sandbox.write_program("tool", b"#!/bin/sh\n");
    let manifest = "[package]\nname = 'p'\nversion = '1'\n[run]\ncommand = ['{slot:tool}']\n\
        [[slot]]\nid = 'tool'\nsource = 'tool'\noperations = 'raw'\n[[slot]]\nid = 'data'\nsource = 'data'\n";
    sandbox.write("pspf.toml", manifest);
    let pack = |number: u64, limit: &str| {
        sandbox.write("data", noise(number, 1 << 20));
        let (_, report) = packed(&sandbox, |run| run.env("PSPF_BUILD_CACHE_SIZE", limit));
        let [(0, 0), (1, reused)] = counts(&report)[..] else { panic!("a raw slot has no frames: {report}") };
        reused == 1
    };
    for number in 0..5 {
        assert!(!pack(number, "2500K"));
        let found = size(&sandbox);
        assert!(found <= 2_500_000, "{found} bytes");
    }
    assert_eq!(entries(&sandbox).len(), 2);
    // The last two are there; using one makes it the younger.
    assert!(pack(3, "2500K"));
    assert!(!pack(6, "2500K"));
    assert!(pack(3, "2500K"));
    assert!(!pack(4, "2500K"), "it was the older one");
    // A smaller limit holds from the next change on; what does not fit is not kept.
    assert!(!pack(7, "1100K"));
    assert_eq!(entries(&sandbox).len(), 1);
    assert!(pack(7, "1100K"));
    assert!(!pack(8, "1000K"));
    assert!(!pack(8, "1000K"));
    // Off: neither read nor written.
    assert!(!pack(7, "0"));
    for wrong in ["x", "-1", "1.5G", "2 G"] {
        Run::pspf(&sandbox, ["pack"])
            .env("PSPF_BUILD_CACHE_SIZE", wrong)
            .fails("USAGE")
            .stderr_part("PSPF_BUILD_CACHE_SIZE")
            .run();
    }
}

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

/// Whatever the moment in which packing is interrupted.
fn an_interrupted_packing_leaves_whole_frames_only(who: Who) {
    need("strace");
    need("taskset");
    let sandbox = Sandbox::new(who);
    project(&sandbox);
    let first = clean(&sandbox);
    for number in [1, 2, 5] {
        let inject = format!("inject=/^rename:signal=TERM:when={number}");
        // One thread, whose calls are counted.
        let words =
            ["taskset", "-c", "0", "strace", "-f", "-qq", "-e", "trace=/^rename", "-e", &inject, "-o", "/dev/null"];
        let run = packing(&sandbox, "out.psp").under(words);
        let output = forks::output(&mut run.command());
        assert!(!output.status.success(), "{number}");
        let left = names(&folder(&sandbox));
        assert!(left.iter().all(|name| name.len() == 64), "{number}: {left:?}");
        let (bytes, _) = packed(&sandbox, as_is);
        assert!(bytes == first, "{number}");
        fs::remove_dir_all(folder(&sandbox)).unwrap();
    }
}

as_both! {
    only_what_changed_is_compressed_again
    a_damaged_or_foreign_entry_changes_nothing
    two_at_once_share_it
    a_cache_that_cannot_be_written_is_read
    a_full_disk_keeps_nothing_half_made
    the_limit_is_kept_and_the_oldest_go_first
    an_unsafe_place_is_not_used
    a_cache_inside_what_is_packed_is_not_made
    it_is_listed_and_removed
    an_interrupted_packing_leaves_whole_frames_only
}

/// Peak memory of packing with one core in bytes, as the kernel counts it.
fn peak(sandbox: &Sandbox) -> u64 {
    let file = sandbox.work("peak");
    let code = "import resource,subprocess,sys\nsubprocess.check_call(sys.argv[2:])\n\
        open(sys.argv[1],'w').write(str(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss))";
    packing(sandbox, "out.psp").under(["taskset", "-c", "0", "python3", "-c", code, file.to_str().unwrap()]).run();
    fs::read_to_string(file).unwrap().parse::<u64>().unwrap() * 1024
}

#[test]
fn memory_does_not_grow_with_what_is_packed() {
    need("python3");
    need("taskset");
    let sandbox = Sandbox::new(Who::Caller);
    project(&sandbox);
    // What does not shrink: the most that can wait to be written.
    (0..10).for_each(|number| drop(sandbox.write(format!("runtime/more/{number}"), noise(100 + number, 20 << 20))));
    for (name, peak) in [("compressed", peak(&sandbox)), ("from the cache", peak(&sandbox))] {
        assert!(peak < 64 << 20, "{name}: {peak} bytes for 222 MiB");
    }
}
