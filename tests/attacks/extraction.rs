//! What a signer can put into a slot to reach out of it, or to make whoever extracts it stop.

use std::fs;
use std::path::Path;

use pspf_tests::snapshot::leftovers;
use pspf_tests::trace::Trace;
use pspf_tests::{Run, Sandbox, Snapshot, Who, snapshot};

use crate::forge::{self, ForgedEntry, ForgedTree};
use crate::hostile::{Case, judge};
use crate::{not_run, raw};

const SCRIPT: &[u8] = b"#!/bin/sh\necho ran\n";

fn tool() -> ForgedEntry {
    ForgedEntry::file("tool", SCRIPT)
}

fn package(entries: &[ForgedEntry]) -> Vec<u8> {
    forge::package("/tool", &[ForgedTree::new(entries).slot()])
}

/// Entries that were published as attacks on other extractors. None of them changes anything outside the cache, whoever
/// extracts and wherever to; and none of them is refused only after something was written.
#[test]
fn a20_a21_nothing_outside_is_touched() {
    let sandbox = Sandbox::new(Who::Caller);
    let canary = sandbox.write("canary/file", b"as it was\n");
    let outside = canary.parent().unwrap().to_str().unwrap().to_owned();
    let above = format!("../../../..{}", outside.strip_prefix(sandbox.root().to_str().unwrap()).unwrap());
    let directory = |path: &str| ForgedEntry::directory(path);
    let file = |path: &str| ForgedEntry::file(path, b"evil\n");
    let link = |path: &str, target: &str| ForgedEntry::link(path, target);
    let cases: Vec<(&str, Vec<ForgedEntry>)> = vec![
        ("written through a link", vec![link("x", &outside), file("x/file"), tool()]),
        ("a directory over a link, then its mode", vec![link("x", &outside), directory("x"), tool()]),
        ("a link, then a directory below it", vec![tool(), link("x", &outside), directory("x/y")]),
        ("a link in two steps", vec![directory("a"), tool(), link("a/b", ".."), link("c", "a/b/../../canary")]),
        ("a hard link to a file outside", vec![tool(), ForgedEntry::hard_link("../canary/file", 0)]),
        ("a file over a link of its name", vec![tool(), link("f", &format!("{outside}/file")), file("f")]),
        ("above the tree", vec![tool(), file(&format!("{above}/file"))]),
        ("an absolute path", vec![tool(), file(&format!("{outside}/file"))]),
        ("a drive", vec![tool(), file("C:\\evil\0")]),
    ];
    let package_file = sandbox.work("case.psp");
    let before = snapshot(&sandbox.work("canary"));
    for (name, entries) in cases {
        sandbox.write_program("case.psp", package(&entries));
        Run::new(&sandbox, &package_file).fails("FORMAT").run();
        Run::pspf(&sandbox, ["cache", "warm", "case.psp"]).fails("FORMAT").run();
        Run::pspf(&sandbox, ["extract", "case.psp", "-C", "to"]).fails("FORMAT").run();
        assert_eq!(snapshot(&sandbox.work("canary")), before, "{name}");
        assert_eq!((leftovers(&sandbox.cache()), snapshot(&sandbox.work("to"))), (Snapshot::new(), Snapshot::new()));
    }
    // Names that mean something elsewhere are names here.
    let odd = ["C:\\evil", "\\\\?\\C:\\x", "a:b", "NUL", "~", "-rf", "$(x)"].map(file);
    judge([Case::new("names of other systems", package(&[vec![tool()], odd.to_vec()].concat()), "")]);
}

/// Directories and links whose resolved path is longer than the system resolves, and a link that climbs out at its end;
/// the same with circles and long chains, which are legal where no link climbs out, and are never followed.
#[test]
fn a22_chains_of_links() {
    let long = "d".repeat(247);
    let mut entries = Vec::new();
    let mut links = Vec::new();
    let mut path = String::new();
    for letter in "abcdefghijklmnop".chars() {
        entries.push(ForgedEntry::directory(format!("{path}{long}")));
        links.push(ForgedEntry::link(format!("{path}{letter}"), &long));
        path = format!("{path}{long}/");
        if path.len() + 250 > 4095 {
            break;
        }
    }
    let climb = |target: &str| {
        let last = ForgedEntry::link("escape", target);
        package(&[&entries[..], &[tool()], &links[..], &[last]].concat())
    };
    let hops: String = "abcdefghijklmnop".chars().flat_map(|letter| [letter, '/']).collect();
    let chain: Vec<ForgedEntry> =
        (0..60).map(|n| ForgedEntry::link(format!("l{n:02}"), format!("l{:02}", n + 1))).collect();
    judge([
        Case::new("a climb behind the longest path", climb(&format!("{hops}{}etc", "../".repeat(16))), "FORMAT"),
        Case::new("a climb behind one link", climb("a/../../etc"), "FORMAT"),
        Case::new("a climb alone", climb(&format!("{}etc", "../".repeat(16))), "FORMAT"),
        Case::new("the same without a climb", climb(&hops[..hops.len() - 1]), ""),
        Case::new("sixty links to each other", package(&[&[tool()], &chain[..]].concat()), ""),
        Case::new("a link to itself", package(&[tool(), ForgedEntry::link("l", "l")]), ""),
    ]);
    // The program itself behind a circle: nothing to start.
    let sandbox = Sandbox::new(Who::Caller);
    let circle = package(&[ForgedEntry::link("other", "tool"), ForgedEntry::link("tool", "other")]);
    let circle = sandbox.write_program("circle.psp", circle);
    Run::new(&sandbox, circle).status(126).stderr_part("pspf: error[EXEC]: ").run();
}

/// A block of a tar stream with this type and name, and its right checksum.
fn block(kind: u8, name: &str, size: usize) -> Vec<u8> {
    let mut block = vec![0; 512];
    let mut put = |at: usize, text: &[u8]| block[at..at + text.len()].copy_from_slice(text);
    put(0, name.as_bytes());
    put(100, format!("0000644\x000000000\x000000000\0{size:011o}\x0000000000000\0        ").as_bytes());
    put(156, &[kind]);
    put(257, b"ustar\x0000");
    let sum: u32 = block.iter().map(|&byte| u32::from(byte)).sum();
    block[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    block
}

/// Headers that make one reader see other entries than another: none of them may stand in a stream, wherever.
#[test]
fn a23_headers_on_which_readers_differ() {
    let tree = ForgedTree::new(&[tool(), ForgedEntry::file("data", b"data\n")]);
    let with = |at: usize, blocks: Vec<u8>| {
        let mut changed = ForgedTree { stream: tree.stream.clone(), ..tree.clone() };
        changed.stream.splice(at..at, blocks);
        // The index tells the length that the stream has, and another one than its entries add up to; or the latter.
        let long = forge::package("/tool", &[changed.slot()]);
        let short = forge::package("/tool", &[tree.slot_with(raw::zstd_frame(&changed.stream), |_| ())]);
        [long, short]
    };
    let extended = |kind: u8, records: &str| {
        let mut blocks = block(kind, "././@PaxHeader", records.len());
        blocks.extend(records.as_bytes());
        blocks.resize(1024, 0);
        blocks
    };
    let smuggled = [block(b'0', "smuggled", 5), [&b"evil\n"[..], &[0; 507]].concat()].concat();
    let cases = [
        ("a size that hides what follows", extended(b'x', "18 size=000001024\n")),
        ("another path", extended(b'x', "17 path=../../x\n\n")),
        ("a path for all that follow", extended(b'g', "16 path=smuggled")),
        ("a long name of GNU", extended(b'L', "../../../../tmp/evil\0")),
        ("a long link of GNU", extended(b'K', "/etc/passwd\0")),
        ("a sparse file of GNU", block(b'S', "tool", 0)),
        ("a volume's name", block(b'V', "volume", 0)),
        ("a continued file", block(b'M', "tool", 0)),
        ("an entry that the index does not have", smuggled),
        ("the end of an archive, with more behind", vec![0; 1024]),
    ];
    let end = tree.stream.len() - 1024;
    let mut all = Vec::new();
    for (name, blocks) in cases {
        for at in [0, 1024, end] {
            if at == end && blocks.iter().all(|&byte| byte == 0) {
                continue;
            }
            let [long, short] = with(at, blocks.clone());
            all.push(Case::new(format!("{name} at {at}, told"), long, "FORMAT"));
            all.push(Case::new(format!("{name} at {at}"), short, "INTEGRITY"));
        }
    }
    judge(all);
}

/// Bits that give a program more rights are neither packed nor said in a package, nor set by an extraction.
#[test]
fn a24_w28_no_rights_are_carried() {
    use std::os::unix::fs::{MetadataExt, PermissionsExt};
    let sandbox = Sandbox::new(Who::Caller);
    let tool = sandbox.write_program("tree/tool", SCRIPT);
    let sticky = sandbox.write("tree/open/data", b"x");
    fs::set_permissions(tool, fs::Permissions::from_mode(0o6777)).unwrap();
    fs::set_permissions(sticky.parent().unwrap(), fs::Permissions::from_mode(0o3777)).unwrap();
    fs::set_permissions(sticky, fs::Permissions::from_mode(0o666)).unwrap();
    Run::pspf(&sandbox, ["pack", "tree", "--exec", "tool", "-o", "t.psp"]).any_stdout().any_stderr().run();
    Run::new(&sandbox, sandbox.work("t.psp")).stdout("ran\n").under(["sh", "-c", "umask 0; exec \"$@\"", "sh"]).run();
    let mode = |name: &str| fs::metadata(sandbox.slots()[0].join(name)).unwrap().mode() & 0o7777;
    assert_eq!(["", "tool", "open", "open/data"].map(mode), [0o555, 0o555, 0o555, 0o444]);
    Run::pspf(&sandbox, ["extract", "t.psp", "-C", "to"])
        .any_stdout()
        .under(["sh", "-c", "umask 0; exec \"$@\"", "sh"])
        .run();
    let slot = pspf_tests::sandbox::names(&sandbox.work("to")).remove(0);
    let mode = |name: &str| fs::metadata(sandbox.work("to").join(&slot).join(name)).unwrap().mode() & 0o7000;
    assert_eq!(["", "tool", "open", "open/data"].map(mode), [0; 4]);
}

/// A file system that takes two names for one: the second file cannot be made, and nothing is left of the first.
/// Where the machine has none, the kernel is made to answer as one would.
#[test]
fn a25_names_that_a_file_system_takes_for_one() {
    let sandbox = Sandbox::new(Who::Caller);
    let entries = [tool(), ForgedEntry::file("Straße", b"1"), ForgedEntry::file("straße", b"2")];
    let package = sandbox.write_program("t.psp", package(&entries));
    let trace = Trace::of(&sandbox, "openat,execve", Run::new(&sandbox, &package).stdout("ran\n"));
    // Two names here, and both are extracted.
    assert_eq!(fs::read_dir(&sandbox.slots()[0]).unwrap().count(), 3);
    let made =
        trace.of_launcher().iter().position(|call| call.contains("\"stra\\303\\237e\", O_WRONLY|O_CREAT|O_EXCL"));
    let number = made.unwrap_or_else(|| panic!("it is made anew: {:?}", trace.calls)) + 1;
    pspf_tests::sandbox::remove_tree(&sandbox.cache());
    let rule = format!("inject=openat:error=EEXIST:when={number}");
    let log = sandbox.root().join("tmp/log");
    let words = ["strace", "-f", "-qq", "-e", "trace=openat", "-e", &rule, "-o", log.to_str().unwrap()];
    Run::new(&sandbox, &package).fails("IO").stderr_part("exists").under(words).run();
    assert!(fs::read_to_string(log).unwrap().contains("(INJECTED)"));
    assert_eq!(leftovers(&sandbox.cache()), Snapshot::new());
    folding(&sandbox, &package);
}

/// The same on a directory that folds.
fn folding(sandbox: &Sandbox, package: &Path) {
    let place = sandbox.work("folding");
    fs::create_dir(&place).unwrap();
    let path = place.display();
    let script = format!("mount -t tmpfs -o casefold none '{path}'\nmkdir '{path}/c'\nchattr +F '{path}/c'");
    let probe = Run::new(sandbox, "true").mounting(&script).any_stdout().any_stderr();
    if !probe.spawn().wait_with_output().unwrap().status.success() {
        not_run("this kernel has no tmpfs that folds case; the answer of one was injected instead");
        return;
    }
    let run = Run::new(sandbox, package).env("PSPF_CACHE_DIR", place.join("c")).mounting(script);
    run.fails("IO").stderr_part("exists").run();
}

/// What costs more the deeper or the longer it is: refused by counts, before anything is written.
#[test]
fn a29_deep_and_long_trees() {
    let depth = |levels: usize| {
        let mut entries = Vec::new();
        let mut path = String::new();
        for _ in 0..levels {
            path.push('d');
            entries.push(ForgedEntry::directory(&path));
            path.push('/');
        }
        entries.push(tool());
        package(&entries)
    };
    // A million entries and one more, in a signed list that agrees: 24 MB that would be as many files.
    let many = |count: u32| {
        let mut tree = ForgedTree::new(&[tool()]);
        let one = ForgedEntry::file("x", b"");
        let mut entries = tree.entries.clone();
        let encoded = ForgedTree::new(&[one]).entries;
        for _ in 1..count {
            entries.extend(&encoded);
        }
        tree.entries = entries;
        tree.count = count;
        forge::package("/tool", &[tree.slot()])
    };
    judge([
        Case::new("128 levels", depth(128), ""),
        Case::new("129 levels", depth(129), "FORMAT"),
        Case::new("2000 levels", depth(2000), "FORMAT"),
        Case::new("more entries than a slot may have", many((1 << 20) + 1), "FORMAT"),
        Case::new("a hundred thousand of one name", many(100_000), "FORMAT"),
    ]);
}
