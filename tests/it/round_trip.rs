//! What goes in comes out: by a start, by `pspf extract`, and by tools that know nothing of packages.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use pspf_tests::forge::{ForgedEntry, ForgedTree};
use pspf_tests::programs::stub;
use pspf_tests::tree_files::{noise, rich_tree};
use pspf_tests::{Run, Sandbox, Who, forks, need, probe, snapshot};

use crate::{forge, raw};

/// Packs a path with a key; silence on standard error is expected.
fn pack(sandbox: &Sandbox, args: &[&str]) -> PathBuf {
    let (key, _) = sandbox.key(1);
    let out = sandbox.work("out.psp");
    Run::pspf(sandbox, ["pack", "-o", "out.psp", "--key"]).arg(key).args(args).any_stdout().run();
    out
}

/// Inside a header, of an empty file as well, between header and content, inside content, padding and end.
#[test]
fn a_frame_may_end_at_any_byte() {
    let sandbox = Sandbox::new(Who::Caller);
    let data = |path: &str, content: &[u8]| ForgedEntry { executable: 0, ..ForgedEntry::file(path, content) };
    let program = ForgedEntry::file("tool", b"#!/bin/sh\ncat \"${0%/*}/data\"\n");
    let tree = ForgedTree::new(&[program, data("none", b""), data("data", b"whole\n"), data("last", b"")]);
    let len = tree.stream.len();
    for cut in (40..len).step_by(97).chain([512, 1024, 1536, 2048, len - 1]) {
        let frames = [&tree.stream[..cut], &tree.stream[cut..]].map(|part| (raw::zstd_frame(part), part.len()));
        let package = sandbox.write_program("cut.psp", forge::package("/tool", &[tree.slot_of(&frames, |_| ())]));
        Run::new(&sandbox, &package).stdout("whole\n").run();
    }
}

#[test]
fn extracted_directories_and_files_are_as_open_as_the_umask_allows() {
    let sandbox = Sandbox::new(Who::Caller);
    sandbox.copy(probe(), "tree/bin/tool");
    sandbox.write("tree/bin/data", b"x");
    sandbox.give_all(&sandbox.work("tree"));
    pack(&sandbox, &["tree", "--exec", "bin/tool"]);
    for (umask, expected) in [("022", [0o755, 0o755, 0o755, 0o644]), ("077", [0o700, 0o700, 0o700, 0o600])] {
        let extract = Run::pspf(&sandbox, ["extract", "out.psp", "-C", umask]);
        extract.under(["sh", "-c", &format!("umask {umask}; exec \"$@\""), "sh"]).any_stdout().run();
        let mode = |path: &str| fs::metadata(sandbox.work(umask).join(path)).unwrap().mode() & 0o7777;
        assert_eq!(["app", "app/bin", "app/bin/tool", "app/bin/data"].map(mode), expected, "{umask}");
    }
}

#[test]
fn a_single_static_program() {
    let sandbox = Sandbox::new(Who::Caller);
    sandbox.write_program("static", stub());
    let package = pack(&sandbox, &["static"]);
    for _ in 0..2 {
        Run::new(&sandbox, &package).arg("--version").stdout("pspf-launcher 0.1.0\n").run();
    }
}

#[test]
fn a_single_file_raw_and_compressed() {
    let sandbox = Sandbox::new(Who::Caller);
    let data = noise(1, 3000);
    sandbox.write("data", &data);
    sandbox.write("none", b"");
    sandbox.copy(probe(), "probe");
    let manifest = "[package]\nname = 'a'\nversion = '1'\n[run]\ncommand = ['{slot:app}', 'run', '/bin/cat', '{slot:raw}', '{slot:zstd}', '{slot:none}', '{slot:none-raw}']\n\
        [[slot]]\nid = 'app'\nsource = 'probe'\n\
        [[slot]]\nid = 'raw'\nsource = 'data'\noperations = 'raw'\ntarget = 'other name'\n\
        [[slot]]\nid = 'zstd'\nsource = 'data'\n\
        [[slot]]\nid = 'none'\nsource = 'none'\n\
        [[slot]]\nid = 'none-raw'\nsource = 'none'\noperations = 'raw'\n";
    sandbox.write("pspf.toml", manifest);
    let package = pack(&sandbox, &[]);
    Run::new(&sandbox, &package).stdout([&data[..], &data].concat()).run();
    Run::pspf(&sandbox, ["extract", "out.psp", "raw", "-C", "to"]).any_stdout().run();
    let extracted = sandbox.work("to/other name");
    assert_eq!(fs::read(&extracted).unwrap(), data);
    assert_eq!(fs::metadata(&extracted).unwrap().mode() & 0o777, 0o644);
    // A raw slot is in the package as it is.
    let bytes = fs::read(&package).unwrap();
    assert!(bytes.windows(data.len()).any(|window| window == data), "the raw file is in the package");
}

/// A package of a rich tree, which starts `/bin/ls` in it.
fn tree_package(sandbox: &Sandbox) -> PathBuf {
    rich_tree(&sandbox.work("tree"));
    pack(sandbox, &["tree", "--exec", "bin/tool"])
}

#[test]
fn w18_a_tree_started_and_extracted() {
    let sandbox = Sandbox::new(Who::Caller);
    let package = tree_package(&sandbox);
    let before = snapshot(&sandbox.work("tree"));
    assert!(before.len() > 420, "the tree is rich");
    Run::new(&sandbox, &package).stdout("ran\n").run();
    let slots = sandbox.slots();
    assert_eq!(slots.len(), 1);
    assert_eq!(snapshot(&slots[0]), before);
    Run::pspf(&sandbox, ["extract", "out.psp", "-C", "to"]).any_stdout().run();
    assert_eq!(snapshot(&sandbox.work("to/app")), before);
    // Twice into one place is refused and changes nothing.
    Run::pspf(&sandbox, ["extract", "out.psp", "-C", "to"]).fails("IO").run();
    assert_eq!(pspf_tests::sandbox::names(&sandbox.work("to")), ["app"]);
}

#[test]
fn an_extracted_tree_is_read_only_and_complete() {
    let sandbox = Sandbox::new(Who::Caller);
    let package = tree_package(&sandbox);
    Run::new(&sandbox, &package).stdout("ran\n").run();
    fn look(directory: &Path) {
        assert_eq!(fs::symlink_metadata(directory).unwrap().mode() & 0o7777, 0o555, "{}", directory.display());
        for entry in fs::read_dir(directory).unwrap().flatten() {
            let metadata = entry.metadata().unwrap();
            if metadata.is_dir() {
                look(&entry.path());
            } else if metadata.is_file() {
                assert!(matches!(metadata.mode() & 0o7777, 0o444 | 0o555), "{}", entry.path().display());
            }
        }
    }
    look(&sandbox.slots()[0]);
}

/// The stored bytes of the only slot through `zstd` and `tar`, without a word of pspf.
#[test]
fn other_tools_read_a_slot() {
    ["zstd", "tar"].iter().for_each(|tool| need(tool));
    let sandbox = Sandbox::new(Who::Caller);
    let package = tree_package(&sandbox);
    let parts = raw::Parts::of(&fs::read(package).unwrap());
    sandbox.write("slot", &parts.slots[0]);
    let to = sandbox.work("by-tar");
    fs::create_dir(&to).unwrap();
    let mut zstd = Command::new("zstd");
    zstd.args(["-dc", "slot"]).current_dir(sandbox.work("")).stdout(Stdio::piped());
    let mut zstd = forks::spawn(&mut zstd).unwrap();
    let stream = zstd.stdout.take().unwrap();
    let tar = forks::output(Command::new("tar").args(["-x", "-p", "-f", "-", "-C"]).arg(&to).stdin(stream));
    assert!(tar.status.success() && tar.stderr.is_empty(), "{}", String::from_utf8_lossy(&tar.stderr));
    assert!(zstd.wait().unwrap().success());
    assert_eq!(snapshot(&to), snapshot(&sandbox.work("tree")));
}

#[test]
fn files_larger_than_a_frame() {
    let sandbox = Sandbox::new(Who::Caller);
    let large = noise(7, 20 << 20);
    sandbox.write("tree/large", &large);
    sandbox.write("tree/zeros", vec![0; 17 << 20]);
    sandbox.write("tree/after", b"small");
    sandbox.write_program("tree/tool", b"#!/bin/sh\ncmp \"$1\" \"${0%/*}/large\" && echo same\n");
    let package = pack(&sandbox, &["tree", "--exec", "tool", "--level", "1"]);
    Run::new(&sandbox, &package).arg(sandbox.work("tree/large")).stdout("same\n").run();
    assert_eq!(snapshot(&sandbox.slots()[0]), snapshot(&sandbox.work("tree")));
    // As a single file too.
    let single = pack(&sandbox, &["tree/tool"]);
    Run::new(&sandbox, single).arg("/dev/null").status(2).any_stderr().run();
    sandbox.write("pspf.toml", "[package]\nname = 'a'\nversion = '1'\n[run]\ncommand = ['/bin/cmp', '{slot:f}', 'tree/large']\n[[slot]]\nid = 'f'\nsource = 'tree/large'\n");
    let single = pack(&sandbox, &["--level", "1"]);
    Run::new(&sandbox, single).run();
}

/// At a high level frames are as long as readers take them; nothing may be added to a full one.
#[test]
fn frames_of_the_greatest_length() {
    let sandbox = Sandbox::new(Who::Caller);
    let content = (8 << 20) - 512;
    sandbox.write("tree/noise", noise(8, content));
    sandbox.write("tree/zeros", vec![0; content]);
    sandbox.write_program("tree/tool", b"#!/bin/sh\necho ran\n");
    let package = pack(&sandbox, &["tree", "--exec", "tool", "--level", "17"]);
    let inspected = Run::pspf(&sandbox, ["inspect", "--json", "out.psp"]).any_stdout().run();
    let report: serde_json::Value = serde_json::from_str(&inspected.stdout).unwrap();
    // Two full ones, the program between them, and the end of the stream.
    assert_eq!(report["slots"][0]["index"]["frames"], 4);
    Run::new(&sandbox, &package).stdout("ran\n").run();
    assert_eq!(snapshot(&sandbox.slots()[0]), snapshot(&sandbox.work("tree")));
}

#[test]
fn include_exclude_and_followed_links() {
    let sandbox = Sandbox::new(Who::Caller);
    for (name, content) in
        [("src/a.py", "a"), ("src/b.txt", "b"), ("src/sub/c.py", "c"), ("src/sub/no/d.py", "d"), ("outside", "o")]
    {
        sandbox.write(name, content);
    }
    std::os::unix::fs::symlink("../outside", sandbox.work("src/link.py")).unwrap();
    let manifest = |more: &str| {
        format!(
            "[package]\nname = 'a'\nversion = '1'\n[run]\ncommand = ['/bin/true']\n\
             [[slot]]\nid = 's'\nsource = 'src'\ntarget = 'T'\n{more}"
        )
    };
    // A link that leaves the tree is an error that names both ends, and no output appears.
    sandbox.write("pspf.toml", manifest(""));
    Run::pspf(&sandbox, ["pack", "-o", "no.psp"])
        .fails("USAGE")
        .stderr_part("src/link.py")
        .stderr_part("../outside")
        .run();
    assert!(!sandbox.work("no.psp").exists());
    sandbox.write("pspf.toml", manifest("links = 'follow'\ninclude = ['**/*.py']\nexclude = ['sub/no']\n"));
    pack(&sandbox, &[]);
    Run::pspf(&sandbox, ["extract", "out.psp", "-C", "to"]).any_stdout().run();
    let found = snapshot(&sandbox.work("to/T"));
    assert_eq!(found.keys().collect::<Vec<_>>(), ["a.py", "link.py", "sub", "sub/c.py"]);
    assert!(found["link.py"].starts_with("data, 1 bytes"));
}

#[test]
fn a_failed_pack_leaves_nothing() {
    let sandbox = Sandbox::new(Who::Stranger);
    sandbox.write_program("tree/tool", b"#!/bin/sh\n");
    let secret = sandbox.write("tree/unreadable", b"x");
    fs::set_permissions(&secret, fs::Permissions::from_mode(0o000)).unwrap();
    sandbox.give(&secret);
    let before = pspf_tests::sandbox::names(&sandbox.work(""));
    Run::pspf(&sandbox, ["pack", "tree", "--exec", "tool", "-o", "out.psp"])
        .fails("IO")
        .stderr_part("unreadable")
        .run();
    assert_eq!(pspf_tests::sandbox::names(&sandbox.work("")), before);
}
