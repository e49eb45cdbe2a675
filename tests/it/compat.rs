//! `--compat pspf2025`: packages for readers of the base format, and what they are for our own.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use pspf_tests::tree_files::noise;
use pspf_tests::{Run, Sandbox, Who, need, probe, snapshot};
use serde_json::Value;

use crate::as_both;

/// Arguments that a line of text has trouble with.
pub(crate) const ARGUMENTS: [&str; 10] =
    ["a b", "it's", "q\"q", "'\"'", "back\\slash", "$HOME", "x;y|z", "*", "#c", "ünï x"];

/// A tree of several frames, a program in it, and two single files, one of them empty.
pub(crate) fn sources(sandbox: &Sandbox) {
    sandbox.copy(probe(), "tree/bin/show");
    sandbox.write("tree/lib/noise", noise(7, 3 << 20));
    sandbox.write("tree/lib/none", b"");
    sandbox.write(format!("tree/{}/file", "long".repeat(30)), b"content");
    fs::create_dir(sandbox.work("tree/empty")).unwrap();
    sandbox.give_all(&sandbox.work("tree"));
    sandbox.write("data", noise(8, 100_000));
    sandbox.write("nothing", b"");
    let quoted = ARGUMENTS.map(|argument| format!("{argument:?}")).join(", ");
    let manifest = format!(
        "[package]\nname = 'mixed'\nversion = '1'\n\
        [run]\ncommand = ['{{slot:tree}}/bin/show', 'args', '{{slot:data}}', {quoted}]\nenv.set = {{ MIXED = 'at {{slot:data}}' }}\n\
        [[slot]]\nid = 'tree'\nsource = 'tree'\ntarget = 'the tree'\n\
        [[slot]]\nid = 'data'\nsource = 'data'\ntarget = 'the data'\n\
        [[slot]]\nid = 'nothing'\nsource = 'nothing'\n"
    );
    sandbox.write("pspf.toml", manifest);
}

/// Packs them for readers of the base format.
pub(crate) fn pack(sandbox: &Sandbox, out: &str, more: &[&str]) -> PathBuf {
    let (key, _) = sandbox.key(1);
    let run = Run::pspf(sandbox, ["pack", "--compat", "pspf2025", "-o", out, "--key"]).arg(key).args(more);
    run.any_stdout().any_stderr().run();
    sandbox.work(out)
}

/// Fails unless the program says that it got exactly these, and the path of a slot before them; `program` is what
/// `argv[0]` ends with.
pub(crate) fn hold_arguments(said: &str, program: &str) {
    let escaped = |text: &str| text.as_bytes().escape_ascii().to_string();
    let mut lines = said.lines();
    assert!(lines.next().is_some_and(|argv0| argv0.ends_with(program)), "{said}");
    assert_eq!(lines.next(), Some("args"));
    let data = lines.next().unwrap_or_default();
    assert!(data.starts_with('/') && data.ends_with("/the data"), "{said}");
    let expected = ARGUMENTS.into_iter().chain(["user"]).map(escaped);
    assert_eq!(lines.collect::<Vec<_>>(), expected.collect::<Vec<_>>());
}

fn it_runs_is_verified_and_extracted(who: Who) {
    let sandbox = Sandbox::new(who);
    sources(&sandbox);
    let package = pack(&sandbox, "mixed.psp", &[]);
    let (_, public) = sandbox.key(1);
    for deep in [&[][..], &["--deep", "--json"]] {
        Run::pspf(&sandbox, ["verify", "--key"]).arg(&public).args(deep).arg(&package).any_stdout().run();
    }
    for _ in 0..2 {
        let ran = Run::new(&sandbox, &package).arg("user").any_stdout().run();
        hold_arguments(&ran.stdout, "/the tree/bin/show");
    }
    assert_eq!(sandbox.slots().len(), 3);
    Run::pspf(&sandbox, ["extract", "mixed.psp", "-C", "to"]).any_stdout().run();
    assert_eq!(snapshot(&sandbox.work("to/the tree")), snapshot(&sandbox.work("tree")));
    assert_eq!(fs::read(sandbox.work("to/the data")).unwrap(), fs::read(sandbox.work("data")).unwrap());
    assert_eq!(fs::read(sandbox.work("to/nothing")).unwrap(), b"");
    Run::pspf(&sandbox, ["run", "mixed.psp", "--", "user"]).any_stdout().run();
    Run::pspf(&sandbox, ["inspect", "--files", "mixed.psp"]).stdout_part("the tree/lib/noise").run();
}

as_both! { it_runs_is_verified_and_extracted }

/// The stored bytes of a slot, by the slot table.
pub(crate) fn stored(sandbox: &Sandbox, package: &str, slot: usize) -> Vec<u8> {
    let ran = Run::pspf(sandbox, ["inspect", "--json", package]).any_stdout().run();
    let report: Value = serde_json::from_str(&ran.stdout).unwrap();
    let slot = &report["slots"][slot];
    let number = |key: &str| usize::try_from(slot[key].as_u64().unwrap()).unwrap();
    fs::read(sandbox.work(package)).unwrap()[number("offset")..][..number("stored_size")].to_vec()
}

#[test]
fn gzip_and_tar_read_the_stored_bytes() {
    need("gzip");
    need("tar");
    let sandbox = Sandbox::new(Who::Caller);
    sources(&sandbox);
    pack(&sandbox, "mixed.psp", &[]);
    let tree = sandbox.write("tree.tar.gz", stored(&sandbox, "mixed.psp", 0));
    fs::create_dir(sandbox.work("out")).unwrap();
    let unpacked = Command::new("tar").arg("-xzf").arg(tree).arg("-C").arg(sandbox.work("out")).status().unwrap();
    assert!(unpacked.success());
    assert_eq!(snapshot(&sandbox.work("out/the tree")), snapshot(&sandbox.work("tree")));
    let data = sandbox.write("data.gz", stored(&sandbox, "mixed.psp", 1));
    let unpacked = Command::new("gzip").arg("-dc").arg(data).output().unwrap();
    assert!(unpacked.status.success(), "{}", String::from_utf8_lossy(&unpacked.stderr));
    assert_eq!(unpacked.stdout, fs::read(sandbox.work("data")).unwrap());
    assert_eq!(stored(&sandbox, "mixed.psp", 2), b"");
}

#[test]
fn operations_can_be_named_in_the_manifest() {
    let sandbox = Sandbox::new(Who::Caller);
    sources(&sandbox);
    let manifest = fs::read_to_string(sandbox.work("pspf.toml")).unwrap();
    let manifest = manifest.replace("target = 'the tree'\n", "target = 'the tree'\noperations = 'tar'\n");
    let manifest = manifest.replace("source = 'data'\n", "source = 'data'\noperations = 'raw'\n");
    sandbox.write("pspf.toml", &manifest);
    let package = pack(&sandbox, "plain.psp", &[]);
    Run::new(&sandbox, &package).any_stdout().run();
    let bytes = fs::read(&package).unwrap();
    for file in ["data", "tree/lib/noise"] {
        let content = fs::read(sandbox.work(file)).unwrap();
        assert!(bytes.windows(4096).any(|window| window == &content[..4096]), "{file} is stored as it is");
    }
    // Without `--compat` they may be mixed with others, and links are no matter.
    std::os::unix::fs::symlink("bin/show", sandbox.work("tree/link")).unwrap();
    fs::hard_link(sandbox.work("tree/bin/show"), sandbox.work("tree/lib/show")).unwrap();
    sandbox.write("pspf.toml", manifest.replace("'tar'", "'tar|gzip'").replace("operations = 'raw'\n", ""));
    let (key, _) = sandbox.key(1);
    Run::pspf(&sandbox, ["pack", "-o", "links.psp", "--key"]).arg(key).any_stdout().run();
    Run::pspf(&sandbox, ["extract", "links.psp", "tree", "-C", "links"]).any_stdout().run();
    assert_eq!(snapshot(&sandbox.work("links/the tree")), snapshot(&sandbox.work("tree")));
}

#[test]
fn the_directory_around_a_tree_counts_for_its_limits() {
    let sandbox = Sandbox::new(Who::Caller);
    let (deep, long) = (["d"; 127].join("/"), vec!["l".repeat(205); 19].join("/"));
    for (source, path, said) in [("deep", deep, "128 levels deep"), ("long", long, "more than 4095 bytes")] {
        sandbox.copy(probe(), format!("{source}/{path}/show"));
        let target = "t".repeat(255);
        let manifest = |operations: &str| {
            let slot = format!("id = 'app'\nsource = '{source}'\ntarget = '{target}'\noperations = '{operations}'\n");
            format!(
                "[package]\nname = 'p'\nversion = '1'\n[run]\ncommand = ['{{slot:app}}/{path}/show']\n[[slot]]\n{slot}"
            )
        };
        sandbox.write("pspf.toml", manifest("tar|zstd"));
        Run::pspf(&sandbox, ["pack", "-o", "out.psp"]).any_stdout().any_stderr().run();
        fs::remove_file(sandbox.work("out.psp")).unwrap();
        for operations in ["tar", "tar|gzip"] {
            sandbox.write("pspf.toml", manifest(operations));
            Run::pspf(&sandbox, ["pack", "-o", "out.psp"]).fails("USAGE").stderr_part(said).run();
        }
    }
}

#[test]
fn the_bytes_depend_on_the_input_alone() {
    need("taskset");
    let sandbox = Sandbox::new(Who::Caller);
    sources(&sandbox);
    let first = pack(&sandbox, "first.psp", &[]);
    let (key, _) = sandbox.key(1);
    let alone = Run::pspf(&sandbox, ["pack", "--compat", "pspf2025", "-o", "second.psp", "--key"]).arg(key);
    alone.under(["taskset", "-c", "0"]).any_stdout().run();
    assert_eq!(fs::read(first).unwrap(), fs::read(sandbox.work("second.psp")).unwrap());
}

#[test]
fn what_other_launchers_would_not_run_is_refused() {
    let sandbox = Sandbox::new(Who::Caller);
    sources(&sandbox);
    let sound = fs::read_to_string(sandbox.work("pspf.toml")).unwrap();
    sandbox.write("archive", [&[b'x'; 257][..], b"ustar\x0000"].concat());
    let pack = || Run::pspf(&sandbox, ["pack", "--compat", "pspf2025", "-o", "out.psp"]);
    let run = |line: &str| sound.replace("env.set", &format!("{line}\nenv.set"));
    let slot = |from: &str, to: &str| sound.replace(from, to);
    for (manifest, said) in [
        (run("argv0 = 'x'"), "`run.argv0` cannot be said"),
        (run("cwd = '/'"), "`run.cwd` cannot be said"),
        (run("env.unset = ['A']"), "`run.env.unset` cannot be said"),
        (run("env.pass = ['A']"), "`run.env.pass` cannot be said"),
        (run("env.map = { A = 'B' }"), "`run.env.map` cannot be said"),
        (slot("'args'", "'{package_dir}'"), "it does not know `{package_dir}`"),
        (slot("'args'", "'{cache}'"), "it does not know `{cache}`"),
        (slot("'args'", "'{{x}}'"), "the character `{`"),
        (slot("'args'", "\"a\\tb\""), "the character `\\t`"),
        (slot("'args'", "''"), "drop an empty argument"),
        (slot("at {slot:data}", "at {slot:tree}"), "where the directory `{slot:tree}` is"),
        (slot("source = 'data'\n", "source = 'data'\noperations = 'zstd'\n"), "operations `zstd` are unknown"),
        (slot("target = 'the data'", "target = 'nothing'"), "both have the target `nothing`"),
        (slot("target = 'the data'", "target = '{d}'"), "the target `{d}` would be read as something else"),
        (slot("target = 'the data'", "target = \"it's\""), "the target `it's` would be read as something else"),
        (slot("target = 'the tree'", "target = 'a\\b'"), "would be read as something else"),
        (slot("MIXED", "PATH"), "the variable `PATH` would get another value"),
        (slot("MIXED", "FLAVOR_X"), "the variable `FLAVOR_X` would get another value"),
        (slot("MIXED", "PSPF_ARGV0"), "the variable `PSPF_ARGV0` would get another value"),
        (slot("source = 'nothing'", "source = 'archive'"), "which is a tar archive"),
        (
            slot("source = 'nothing'\n", "source = 'nothing'\nlifecycle = 'platform'\nplatform = 'darwin_arm64'\n"),
            "unpack a slot of another platform",
        ),
    ] {
        sandbox.write("pspf.toml", manifest);
        pack().fails("USAGE").stderr_part("not for PSPF/2025").stderr_part(said).run();
    }
    sandbox.write("pspf.toml", slot("source = 'nothing'\n", "source = 'nothing'\noperations = 'gzip'\n"));
    pack().fails("USAGE").stderr_part("operations `gzip` do not fit an empty file").run();
    sandbox.write("pspf.toml", &sound);
    std::os::unix::fs::symlink("bin/show", sandbox.work("tree/link")).unwrap();
    pack().fails("USAGE").stderr_part("symbolic link `link` -> `bin/show`").run();
    fs::remove_file(sandbox.work("tree/link")).unwrap();
    fs::hard_link(sandbox.work("tree/bin/show"), sandbox.work("tree/lib/show")).unwrap();
    pack().fails("USAGE").stderr_part("hard link").run();
    assert!(!sandbox.work("out.psp").exists());
    // What the hint says helps with both.
    std::os::unix::fs::symlink("bin/show", sandbox.work("tree/link")).unwrap();
    sandbox.write("pspf.toml", slot("source = 'tree'\n", "source = 'tree'\nlinks = 'follow'\n"));
    pack().any_stdout().any_stderr().run();
    Run::pspf(&sandbox, ["extract", "out.psp", "tree", "-C", "to"]).any_stdout().run();
    let copies = snapshot(&sandbox.work("to/the tree"));
    assert!(copies["link"] == copies["bin/show"] && copies["lib/show"] == copies["bin/show"], "{copies:?}");
}
