//! `pspf cache`: removal takes nothing that is in use, and a cache that was filled ahead holds in a copy.

use std::fs::{self, File, FileTimes};
use std::io::{BufRead, BufReader};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, SystemTime};

use pspf_tests::trace::Trace;
use pspf_tests::{Run, Sandbox, Who, forks, probe, probe_package, snapshot};

use crate::as_both;

/// Two packages that share a slot and have one each, both started.
fn two(sandbox: &Sandbox) -> [PathBuf; 2] {
    ["one", "two"].map(|name| {
        sandbox.write("shared/file", b"shared\n");
        sandbox.write_program(format!("{name}-tool"), format!("#!/bin/sh\necho {name}\n"));
        let manifest = format!(
            "[package]\nname = '{name}'\nversion = '1'\n[run]\ncommand = ['{{slot:t}}']\n\
             [[slot]]\nid = 't'\nsource = '{name}-tool'\n[[slot]]\nid = 's'\nsource = 'shared'\n"
        );
        sandbox.write(format!("{name}.toml"), manifest);
        Run::pspf(sandbox, ["pack", &format!("{name}.toml")]).any_stdout().run();
        let package = sandbox.work(format!("{name}.psp"));
        Run::new(sandbox, &package).stdout(format!("{name}\n")).run();
        package
    })
}

/// Makes everything in the cache look as if it had been used that long ago.
fn age(sandbox: &Sandbox, days: u64) {
    let then = SystemTime::now() - Duration::from_secs(days * 86400);
    for folder in ["slots", "receipts"] {
        for file in sandbox.cached(folder).iter().filter(|file| file.len() == 67 || folder == "receipts") {
            let path = sandbox.cache().join(folder).join(file);
            File::open(&path).unwrap().set_times(FileTimes::new().set_accessed(then)).unwrap();
        }
    }
}

fn counts(sandbox: &Sandbox) -> (usize, usize) {
    (sandbox.cached("receipts").len(), sandbox.slots().len())
}

fn prune_takes_what_is_old_and_unused(who: Who) {
    let sandbox = Sandbox::new(who);
    let packages = two(&sandbox);
    let prune = |args: &[&str]| Run::pspf(&sandbox, ["cache", "prune"]).args(args).any_stdout().run();
    prune(&[]);
    assert_eq!(counts(&sandbox), (2, 3), "used today");
    prune(&["--older-than", "0"]);
    assert_eq!(counts(&sandbox), (2, 3), "never what was used within a day");
    age(&sandbox, 20);
    // Looking is no use: neither this, nor a list, makes anything younger.
    prune(&[]);
    Run::pspf(&sandbox, ["cache", "list"]).any_stdout().run();
    assert_eq!(counts(&sandbox), (2, 3), "younger than thirty days");
    // A start notes the use, however the file system is mounted.
    Run::new(&sandbox, &packages[1]).stdout("two\n").run();
    prune(&["--older-than", "10"]);
    assert_eq!(counts(&sandbox), (1, 2), "the other package and its slot are gone, the shared slot stays");
    Run::new(&sandbox, &packages[1]).stdout("two\n").run();
    Run::new(&sandbox, &packages[0]).stdout("one\n").run();
    prune(&["--now"]);
    assert_eq!(counts(&sandbox), (0, 0));
    assert!(!sandbox.cached("slots").iter().any(|name| name.starts_with('.')));
    Run::new(&sandbox, &packages[0]).stdout("one\n").run();
}

fn prune_takes_what_is_old(who: Who) {
    let sandbox = Sandbox::new(who);
    two(&sandbox);
    age(&sandbox, 40);
    Run::pspf(&sandbox, ["cache", "prune"]).any_stdout().run();
    assert_eq!(counts(&sandbox), (0, 0));
}

fn remove_takes_one_package(who: Who) {
    let sandbox = Sandbox::new(who);
    let packages = two(&sandbox);
    let remove =
        |what: &Path, more: &[&str]| Run::pspf(&sandbox, ["cache", "remove"]).arg(what).args(more).any_stdout().run();
    remove(&packages[0], &[]);
    assert_eq!(counts(&sandbox), (2, 3), "used today");
    remove(&packages[0], &["--now"]);
    assert_eq!(counts(&sandbox), (1, 2));
    let id = sandbox.cached("receipts")[0].clone();
    remove(Path::new(&id), &["--now"]);
    assert_eq!(counts(&sandbox), (0, 0));
}

fn f23_a_running_program_keeps_its_slot(who: Who) {
    let sandbox = Sandbox::new(who);
    let mut child = Run::new(&sandbox, &probe_package().file).arg("wait").spawn();
    let mut line = String::new();
    BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
    age(&sandbox, 90);
    let prune = || Run::pspf(&sandbox, ["cache", "prune", "--now"]).any_stdout().run();
    prune();
    assert_eq!(counts(&sandbox), (1, 1), "it runs from there");
    Run::pspf(&sandbox, ["cache", "remove", "--now"]).arg(&probe_package().file).any_stdout().run();
    assert_eq!(counts(&sandbox), (1, 1));
    child.kill().unwrap();
    child.wait().unwrap();
    // As working directory, and as a map that is no program.
    let slot = sandbox.slots()[0].clone();
    let mut child = Run::new(&sandbox, "/bin/sleep").arg("60").cwd(&slot).spawn();
    prune();
    assert_eq!(counts(&sandbox), (1, 1), "its directory is there");
    child.kill().unwrap();
    child.wait().unwrap();
    prune();
    assert_eq!(counts(&sandbox), (0, 0));
}

fn list_and_info_say_what_is_there(who: Who) {
    let sandbox = Sandbox::new(who);
    Run::pspf(&sandbox, ["cache", "list"]).stdout_part("nothing in ").run();
    two(&sandbox);
    Run::pspf(&sandbox, ["cache", "list"]).stdout_part("one 1").stdout_part("two 1").run();
    Run::pspf(&sandbox, ["cache", "info"]).stdout_part("2 packages, 3 slots").run();
    let ran = Run::pspf(&sandbox, ["cache", "list", "--json"]).any_stdout().run();
    let json: serde_json::Value = serde_json::from_str(&ran.stdout).unwrap();
    assert_eq!(json["packages"].as_array().unwrap().len(), 2);
    assert_eq!(json["slots"].as_array().unwrap().len(), 3);
    assert_eq!(json["directory"], sandbox.cache().to_str().unwrap());
}

/// As in a container image: filled ahead, copied, other inodes, another boot.
fn a_cache_that_was_filled_ahead_holds_in_a_copy(who: Who) {
    let sandbox = Sandbox::new(who);
    let package = &probe_package().file;
    Run::pspf(&sandbox, ["cache", "warm"]).arg(package).any_stdout().run();
    let start = |place: &Path| Run::new(&sandbox, package).args(["exit", "5"]).status(5).env("PSPF_CACHE_DIR", place);
    let copy = |name: &str| {
        let to = sandbox.work(name);
        let cp = forks::output(Command::new("cp").arg("-a").arg(sandbox.home().join(".cache/pspf")).arg(&to));
        assert!(cp.status.success());
        let slot = to.join("v1/slots").join(sandbox.slots()[0].file_name().unwrap());
        (to, slot)
    };
    let (place, slot) = copy("copy");
    let identity = || fs::metadata(&slot).unwrap().ino();
    let first = identity();
    for _ in 0..2 {
        start(&place).run();
        assert_eq!(identity(), first, "the tree of the image is kept");
    }
    let trace = Trace::of(&sandbox, "all", start(&place));
    assert!(trace.of_launcher().len() <= 25, "not warm: {}", trace.of_launcher().join("\n"));

    // A copy that is not the same is found out at its first start.
    let (place, slot) = copy("damaged");
    let program = slot.join("probe");
    let sound = snapshot(&slot);
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
    forks::write(&program, b"#!/bin/sh\necho evil\n");
    fs::set_permissions(&program, fs::Permissions::from_mode(0o555)).unwrap();
    start(&place).run();
    assert_eq!(snapshot(&slot), sound);
}

/// A root file system that is read-only, as in a container: what was filled ahead is used as it is, also as a copy, which
/// is not compared at every start.
fn a_read_only_cache_that_was_filled_ahead(who: Who) {
    let sandbox = Sandbox::new(who);
    let (cache, copy) = (sandbox.home().join(".cache/pspf"), sandbox.work("copy"));
    sandbox.copy(probe(), "x");
    Run::pspf(&sandbox, ["cache", "warm"]).arg(&probe_package().file).any_stdout().run();
    assert!(forks::output(Command::new("cp").arg("-a").arg(&cache).arg(&copy)).status.success());
    for place in [&cache, &copy] {
        let script = format!("mount --bind '{0}' '{0}'\nmount -o remount,ro,bind '{0}'", place.display());
        let start = Run::new(&sandbox, &probe_package().file).args(["exit", "5"]).status(5).mounting(&script);
        let trace = Trace::of(&sandbox, "execve,getdents64", start.env("PSPF_CACHE_DIR", place));
        let told = trace.of_launcher().join("\n");
        assert!(!told.contains("getdents64"), "compared: {told}");
        assert!(trace.executed().last().is_some_and(|call| call.contains(&place.display().to_string())), "{told}");
    }
}

as_both! {
    prune_takes_what_is_old
    prune_takes_what_is_old_and_unused
    remove_takes_one_package
    f23_a_running_program_keeps_its_slot
    list_and_info_say_what_is_there
    a_cache_that_was_filled_ahead_holds_in_a_copy
    a_read_only_cache_that_was_filled_ahead
}
