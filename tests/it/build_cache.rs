//! The build cache: what did not change is not compressed again, and the package is the same as without it.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use pspf_tests::sandbox::{STRANGER, names};
use pspf_tests::tree_files::noise;
use pspf_tests::{Run, Sandbox, Who, forks, need};
use serde_json::Value;

use crate::as_both;

/// A runtime of several frames, one file of it in three; and a small application.
pub(crate) fn project(sandbox: &Sandbox) {
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
pub(crate) fn packing<'s>(sandbox: &'s Sandbox, out: &str) -> Run<'s> {
    at_level(sandbox, "1", out)
}

pub(crate) fn at_level<'s>(sandbox: &'s Sandbox, level: &str, out: &str) -> Run<'s> {
    Run::pspf(sandbox, ["pack", "--json", "--level", level, "-o", out, "--key"]).arg(sandbox.key(1).0).any_stdout()
}

/// The bytes of a package that was packed like this, and the report.
pub(crate) fn packed(sandbox: &Sandbox, adjust: impl Fn(Run<'_>) -> Run<'_>) -> (Vec<u8>, Value) {
    let ran = adjust(packing(sandbox, "out.psp")).run();
    (fs::read(sandbox.work("out.psp")).unwrap(), serde_json::from_str(&ran.stdout).unwrap())
}

pub(crate) fn as_is(run: Run<'_>) -> Run<'_> {
    run
}

/// The bytes that a clean build gives.
pub(crate) fn clean(sandbox: &Sandbox) -> Vec<u8> {
    let (bytes, report) = packed(sandbox, |run| run.env("PSPF_BUILD_CACHE_SIZE", "0"));
    assert_eq!((counts(&report)[0].1, &report["build_cache"]), (0, &Value::Null));
    bytes
}

/// Frames of each slot, and how many of them were reused.
pub(crate) fn counts(report: &Value) -> Vec<(u64, u64)> {
    let of = |slot: &Value| (slot["frames"].as_u64().unwrap(), slot["frames_reused"].as_u64().unwrap());
    report["slots"].as_array().unwrap().iter().map(of).collect()
}

pub(crate) fn folder(sandbox: &Sandbox) -> PathBuf {
    sandbox.cache().with_file_name("build-v1")
}

pub(crate) fn entries(sandbox: &Sandbox) -> Vec<PathBuf> {
    let folder = folder(sandbox);
    names(&folder).iter().map(|name| folder.join(name)).collect()
}

pub(crate) fn size(sandbox: &Sandbox) -> u64 {
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
}

/// How the content is compressed is taken from the cache, so whoever can write there decides it, and nothing else.
fn a_frame_of_another_compressor_is_taken_with_the_same_content(who: Who) {
    need("zstd");
    let sandbox = Sandbox::new(who);
    project(&sandbox);
    let (first, _) = packed(&sandbox, as_is);
    let by_size = |path: &PathBuf| fs::metadata(path).unwrap().len();
    let smallest = entries(&sandbox).into_iter().min_by_key(by_size).unwrap();
    sandbox.write("frame", &fs::read(&smallest).unwrap()[32..]);
    let decoded = forks::output(Command::new("zstd").arg("-dc").arg(sandbox.work("frame"))).stdout;
    let size = u32::try_from(decoded.len()).unwrap();
    // One segment, its size in four bytes, and all of it in one last block that is stored as it is (RFC 8878).
    let header = [&[0x28, 0xB5, 0x2F, 0xFD, 0xA0][..], &size.to_le_bytes(), &(size << 3 | 1).to_le_bytes()[..3]];
    let stored = [&header.concat()[..], &decoded].concat();
    fs::write(&smallest, [&crate::raw::sha256(&stored)[..], &stored].concat()).unwrap();
    let (bytes, report) = packed(&sandbox, as_is);
    let [(runtime, reused), (1, 1)] = counts(&report)[..] else { panic!("{report}") };
    assert!(runtime == reused && bytes != first);
    Run::pspf(&sandbox, ["verify", "--deep", "out.psp", "--key"]).arg(sandbox.key(1).1).any_stdout().run();
    Run::pspf(&sandbox, ["extract", "out.psp", "-C", "to"]).any_stdout().run();
    assert_eq!(fs::read(sandbox.work("to/app/main")).unwrap(), b"one\n");
    assert!(clean(&sandbox) == first, "without the cache");
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
    // A smaller limit holds from the next packing on, also where that keeps nothing; what does not fit is not kept.
    assert!(pack(4, "1100K"));
    assert_eq!(entries(&sandbox).len(), 1);
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

/// Whatever the moment in which packing is interrupted.
fn an_interrupted_packing_leaves_whole_frames_only(who: Who) {
    need("strace");
    need("taskset");
    let sandbox = Sandbox::new(who);
    project(&sandbox);
    let first = clean(&sandbox);
    // One thread, whose calls are counted.
    let words = |number: u32| {
        let inject = format!("inject=/^rename:signal=TERM:when={number}");
        let words =
            ["taskset", "-c", "0", "strace", "-f", "-qq", "-e", "trace=/^rename", "-e", &inject, "-o", "/dev/null"];
        words.map(str::to_owned)
    };
    for number in [1, 2, 5] {
        let run = packing(&sandbox, "out.psp").under(words(number));
        let output = forks::output(&mut run.command());
        assert!(!output.status.success(), "{number}");
        let left = names(&folder(&sandbox));
        assert!(left.iter().all(|name| name.len() == 64), "{number}: {left:?}");
        let (bytes, _) = packed(&sandbox, as_is);
        assert!(bytes == first, "{number}");
        // Also one that is interrupted holds the limit that it finds exceeded.
        sandbox.write("app/main", format!("{number}\n"));
        let run = packing(&sandbox, "out.psp").env("PSPF_BUILD_CACHE_SIZE", "5M").under(words(1));
        assert!(!forks::output(&mut run.command()).status.success());
        assert!(size(&sandbox) <= 5_000_000, "{number}: {} bytes", size(&sandbox));
        sandbox.write("app/main", b"one\n");
        fs::remove_dir_all(folder(&sandbox)).unwrap();
    }
}

as_both! {
    only_what_changed_is_compressed_again
    a_damaged_or_foreign_entry_changes_nothing
    a_frame_of_another_compressor_is_taken_with_the_same_content
    two_at_once_share_it
    a_cache_that_cannot_be_written_is_read
    a_full_disk_keeps_nothing_half_made
    the_limit_is_kept_and_the_oldest_go_first
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
