//! Work environments, of packages without a seal and of sealed ones: made whole or not at all, whatever ends the start
//! that makes one.

use std::fs;
use std::path::PathBuf;

use pspf_tests::forge::key;
use pspf_tests::sandbox::{names, remove_tree};
use pspf_tests::trace::Trace;
use pspf_tests::tree_files::noise;
use pspf_tests::unsealed::{UnsealedSlot, metadata, package};
use pspf_tests::{Run, Sandbox, Who};
use serde_json::json;

use crate::sample;
use crate::tracer::{Do, drive, name};

/// What the setup makes, in several steps that show where one is missing.
const SETUP: &str =
    "#!/bin/sh\nset -e\necho half >state\nmkdir -p made\ncp data made/copy\necho x >>\"$COUNT\"\necho whole >state\n";
const TOOL: &str = "#!/bin/sh\ncd \"${0%/*}\"\ncat state note && cmp data made/copy && test ! -e setup && echo same\n";
pub(crate) const SAID: &str = "whole\nforged 1\nsame\n";

pub(crate) struct Subject {
    pub(crate) sandbox: Sandbox,
    pub(crate) package: PathBuf,
}

impl Subject {
    pub(crate) fn new(who: Who) -> Self {
        let sandbox = Sandbox::new(who);
        let launcher = sandbox.work("launcher");
        Run::pspf(&sandbox, ["launcher", "--full", "-o"]).arg(&launcher).any_stdout().run();
        let slots = [
            UnsealedSlot::program("tool", TOOL.as_bytes()),
            UnsealedSlot::new("setup", "setup", "raw", 0o755, SETUP.as_bytes().to_vec()),
            UnsealedSlot::new("data", "data", "raw", 0o600, noise(3, 200_000)),
        ];
        let commands = json!([
            {"type": "write_file", "path": "{workenv}/note", "content": "{package_name} {version}\n"},
            {"type": "execute", "command": "./setup"},
        ]);
        let mut metadata = metadata("{workenv}/tool", &slots, json!({ "setup_commands": commands }));
        metadata["slots"][1]["lifecycle"] = "init".into();
        let mut bytes = package(&fs::read(launcher).unwrap(), &metadata, &slots, &key());
        // The lifecycle's code stands in the slot table too.
        let table = pspf_tests::raw::index(&bytes)[40..48].try_into().map(u64::from_le_bytes).unwrap() as usize;
        bytes[table + 64 + 57] = 0;
        let package = sandbox.write_program("a.psp", bytes);
        Self { sandbox, package }
    }

    /// The same as a sealed package, with a slot of each lifecycle that has a work environment.
    fn sealed(who: Who) -> Self {
        let sandbox = Sandbox::new(who);
        let tool = TOOL.replace("cd \"${0%/*}\"", "cd \"$PSPF_WORKENV\"; cmp \"$T\" anew || exit 9");
        sandbox.write_program("tool", tool);
        sandbox.write_program("setup", SETUP);
        sandbox.write("data", noise(3, 200_000));
        sandbox.write("note", "forged 1\n");
        let mut manifest = "[package]\nname = 'a'\nversion = '1'\n[run]\ncommand = ['{slot:tool}']\n\
            setup = [['{slot:setup}']]\nshutdown = [['{slot:bye}']]\nenv.set = { T = '{slot:temporary}' }\n"
            .to_owned();
        for (id, source, lifecycle) in [
            ("tool", "tool", "runtime"),
            ("setup", "setup", "init"),
            ("data", "data", "config"),
            ("note", "note", "cache"),
            ("anew", "data", "startup"),
            ("temporary", "data", "temporary"),
            ("bye", "setup", "shutdown"),
        ] {
            let target = if lifecycle == "startup" { "anew" } else { source };
            manifest += &format!(
                "[[slot]]\nid = '{id}'\nsource = '{source}'\nlifecycle = '{lifecycle}'\ntarget = '{target}'\n"
            );
        }
        sandbox.write("pspf.toml", manifest);
        Run::pspf(&sandbox, ["pack", "-o", "a.psp"]).any_stdout().run();
        let package = sandbox.work("a.psp");
        Self { sandbox, package }
    }

    pub(crate) fn start(&self) -> Run<'_> {
        Run::new(&self.sandbox, &self.package).env("COUNT", self.sandbox.work("count"))
    }

    pub(crate) fn forget(&self) {
        remove_tree(&self.sandbox.home().join(".cache"));
        self.sandbox.write("count", b"");
    }

    /// Waits for what runs at the end of a start that was killed: as long as it does, the directory of that start stays.
    fn wait_for_the_end(&self) {
        let own = format!("PSPF_TEMPORARY={}", self.sandbox.cache().join("env").display());
        let runs_there = |process: fs::DirEntry| {
            let variables = fs::read(process.path().join("environ")).unwrap_or_default();
            variables.split(|byte| *byte == 0).any(|variable| variable.starts_with(own.as_bytes()))
        };
        while fs::read_dir("/proc").unwrap().flatten().any(runs_there) {
            std::thread::sleep(std::time::Duration::from_millis(1));
        }
    }

    /// The next start works unaided; after it there is one work environment and nothing of the dead.
    #[track_caller]
    pub(crate) fn starts_again(&self, told: &str) {
        let output = self.start().spawn().wait_with_output().unwrap();
        let said = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        assert_eq!((said.0.as_ref(), said.1.as_ref()), (SAID, ""), "the start after {told}");
        let left = names(&self.sandbox.cache().join("env"));
        let count = |end: &str| left.iter().filter(|name| name.ends_with(end)).count();
        assert_eq!((left.len(), count(".ok"), count(".lock")), (3, 1, 1), "after {told}: {left:?}");
    }
}

/// F01: killed at any system call of a first start.
#[test]
fn f01_killed_at_every_call_that_makes_a_work_environment() {
    for subject in [Subject::new(Who::Stranger), Subject::sealed(Who::Stranger)] {
        killed_at_every_call(&subject);
    }
}

fn killed_at_every_call(subject: &Subject) {
    subject.forget();
    let run =
        |visit: &mut dyn FnMut(&crate::tracer::Call) -> Do| drive(subject.start().command(), &subject.package, visit);
    let count = run(&mut |_| Do::Go).calls;
    let mut met = std::collections::BTreeSet::new();
    for number in sample(count, 90) {
        subject.forget();
        let mut call = String::new();
        let driven = run(&mut |now| match now.result {
            None if now.number == number => {
                call = name(now.nr);
                Do::Kill
            }
            _ => Do::Go,
        });
        let told = format!("its end before call {number} of {count}, {call}");
        let stdout = String::from_utf8_lossy(&driven.output.stdout).into_owned();
        assert!(stdout.is_empty() || stdout == SAID, "half of it was started, {told}: {stdout}");
        met.insert(call);
        subject.wait_for_the_end();
        subject.starts_again(&told);
    }
    for call in ["mkdir", "write"] {
        assert!(met.contains(call) || sample(1000, 90).len() < 1000, "no start died at {call}: {met:?}");
    }
}

/// F04: the record of a work environment is written when everything that it speaks of is on the disk.
#[test]
fn f04_a_work_environment_is_on_the_disk_before_its_record() {
    for subject in [Subject::new(Who::Caller), Subject::sealed(Who::Caller)] {
        subject.forget();
        let start = subject.start().stdout(SAID);
        let trace = Trace::of(&subject.sandbox, "syncfs,fsync,rename,renameat,renameat2,execve", start);
        let calls: Vec<&String> = trace.calls.iter().collect();
        let is_record = |call: &&String| call.starts_with("rename") && call.contains(".ok\"") && call.contains("/env/");
        let record = calls.iter().position(is_record);
        let record = record.unwrap_or_else(|| panic!("no record: {calls:#?}"));
        // Each file and directory of it, the directory itself, and the record.
        let syncs = calls[..record].iter().filter(|call| call.starts_with("fsync")).count();
        assert!(syncs >= 6, "{calls:#?}");
        assert!(calls[record..].iter().any(|call| call.starts_with("fsync")), "the name of the record: {calls:#?}");
        // A record that is not whole counts as none.
        let env = subject.sandbox.cache().join("env");
        let made = || names(&env).into_iter().find(|name| env.join(name).is_dir()).unwrap();
        let record = env.join(names(&env).into_iter().find(|name| name.ends_with(".ok")).unwrap());
        let first = made();
        fs::write(&record, "PSPF workenv 1\n").unwrap();
        subject.starts_again("a torn record");
        assert_ne!(made(), first);
    }
}

/// F40: many first starts at once set it up once, and none sees another's work.
#[test]
fn f40_first_starts_at_once_set_up_once() {
    for who in [Who::Caller, Who::Stranger] {
        let subject = Subject::new(who);
        subject.forget();
        subject.sandbox.give(&subject.sandbox.work("count"));
        let starts: Vec<_> = (0..8).map(|_| subject.start().spawn()).collect();
        for start in starts {
            let output = start.wait_with_output().unwrap();
            assert_eq!(String::from_utf8_lossy(&output.stdout), SAID, "{}", String::from_utf8_lossy(&output.stderr));
        }
        assert_eq!(fs::read_to_string(subject.sandbox.work("count")).unwrap(), "x\n");
        subject.starts_again("a crowd");
    }
}

/// What nobody uses is removed, on demand; what a program runs from is not.
#[test]
fn work_environments_are_listed_and_removed() {
    let subject = Subject::new(Who::Stranger);
    subject.forget();
    subject.starts_again("nothing");
    let cache = |args: &[&str]| Run::pspf(&subject.sandbox, ["cache"]).args(args);
    let left = || names(&subject.sandbox.cache().join("env"));
    cache(&["list"]).stdout_part("work environment ").stdout_part("used just now").run();
    // Used within a day.
    cache(&["prune"]).stdout_part("kept 1 work environment").run();
    cache(&["remove", "a.psp"]).stdout_part("kept 1 work environment").run();
    assert_eq!(left().len(), 3);
    // In use: something has it as its directory.
    let env = subject.sandbox.cache().join("env");
    let workenv = left().into_iter().map(|name| env.join(name)).find(|path| path.is_dir()).unwrap();
    let mut user = Run::new(&subject.sandbox, "/bin/sleep").arg("60").cwd(&workenv).spawn();
    cache(&["remove", "--now", "a.psp"]).stdout_part("kept 1 work environment").run();
    assert!(workenv.join("tool").exists());
    user.kill().unwrap();
    user.wait().unwrap();
    cache(&["remove", "--now", "a.psp"]).stdout_part("removed 1 work environment").run();
    assert_eq!(left(), [""; 0]);
    subject.starts_again("a removal");
    cache(&["prune", "--now"]).stdout_part("removed 1 work environment").run();
    assert_eq!(left(), [""; 0]);
}

/// What runs keeps its work environment, whatever its program does to it and whoever starts the package beside it.
#[test]
fn a_start_takes_nothing_from_one_that_runs() {
    let sandbox = Sandbox::new(Who::Stranger);
    let tool = "#!/bin/sh\ncd /\nchmod 777 \"$FLAVOR_WORKENV\"\necho ready\nread line\ncat \"$FLAVOR_WORKENV/data\"\n";
    let slots = [
        UnsealedSlot::program("tool", tool.as_bytes()),
        UnsealedSlot::new("d", "data", "raw", 0o644, b"still\n".to_vec()),
    ];
    let setup = json!({"setup_commands": [{"type": "chmod", "path": "{workenv}", "mode": "777"}]});
    sandbox.write("a.psp", package(b"launcher", &metadata("{workenv}/tool", &slots, setup), &slots, &key()));
    let start = || Run::pspf(&sandbox, ["run", "--allow-unsealed", "a.psp"]);
    let mut first = start().spawn();
    let mut ready = [0; 6];
    std::io::Read::read_exact(first.stdout.as_mut().unwrap(), &mut ready).unwrap();
    assert_eq!(&ready, b"ready\n");
    start().stdin("go\n").stdout("ready\nstill\n").run();
    // The record is gone, as after a crash; and somebody tidies up.
    let env = sandbox.cache().join("env");
    let record = names(&env).into_iter().find(|name| name.ends_with(".ok")).unwrap();
    fs::remove_file(env.join(record)).unwrap();
    start().stdin("go\n").stdout("ready\nstill\n").run();
    Run::pspf(&sandbox, ["cache", "prune", "--now"]).any_stdout().run();
    std::io::Write::write_all(first.stdin.as_mut().unwrap(), b"go\n").unwrap();
    let output = first.wait_with_output().unwrap();
    assert_eq!(String::from_utf8_lossy(&output.stdout), "still\n");
}

/// A setup command that outlives the start that began it has no other beside it.
#[test]
fn f01_a_setup_that_was_left_alone_is_waited_for() {
    let sandbox = Sandbox::new(Who::Caller);
    let log = sandbox.write("log", b"");
    let setup =
        "#!/bin/sh\necho begin >>\"$LOG\"\nsleep 1.5\ntest -e \"$FLAVOR_WORKENV/tool\" && echo end >>\"$LOG\"\n";
    let slots = [
        UnsealedSlot::program("tool", b"#!/bin/sh\necho started\n"),
        UnsealedSlot::new("setup", "setup", "raw", 0o755, setup.as_bytes().to_vec()),
    ];
    let commands = json!({"setup_commands": [{"type": "execute", "command": "./setup"}]});
    sandbox.write("a.psp", package(b"launcher", &metadata("{workenv}/tool", &slots, commands), &slots, &key()));
    let start = || Run::pspf(&sandbox, ["run", "--allow-unsealed", "a.psp"]).env("LOG", &log);
    let mut first = start().spawn();
    while fs::read_to_string(&log).unwrap().is_empty() {
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
    first.kill().unwrap();
    first.wait().unwrap();
    start().stdout("started\n").run();
    assert_eq!(fs::read_to_string(&log).unwrap(), "begin\nend\nbegin\nend\n");
    let left = names(&sandbox.cache().join("env"));
    assert_eq!(left.len(), 3, "{left:?}");
}

/// F04: what a record names is on the disk before it, and the record before the application.
#[test]
fn f04_what_a_record_names_was_written_to_the_disk_before() {
    let subject = Subject::new(Who::Stranger);
    let steps = || {
        let mut steps = Vec::new();
        let driven = drive(subject.start().command(), &subject.package, |call| {
            match call.nr {
                _ if call.result.is_some() => {}
                libc::SYS_syncfs | libc::SYS_fsync => steps.push("sync"),
                _ if name(call.nr).starts_with("rename") => steps.push("rename"),
                _ => {}
            }
            Do::Go
        });
        assert_eq!(String::from_utf8_lossy(&driven.output.stdout), SAID);
        steps
    };
    subject.forget();
    let first = steps();
    // Each file and directory, the record, and the folder that names it.
    let made = 7;
    assert_eq!(first.iter().position(|step| *step == "rename"), Some(made + 1), "{first:?}");
    assert_eq!(first[made + 2..], ["sync"]);
    assert_eq!(steps(), [""; 0]);
}

/// F51: a disk without room, for bytes or for names, is told as such, and left as it was; another place is tried
/// where the caller named none.
#[test]
fn f51_a_disk_without_room_is_told_and_another_place_tried() {
    let subject = Subject::new(Who::Stranger);
    let disk = subject.sandbox.root().join("disk");
    fs::create_dir(&disk).unwrap();
    let inodes = (2..=13).map(|count| format!("nr_inodes={count}"));
    for options in inodes.chain(["size=64k".to_owned()]) {
        subject.forget();
        let mount = format!("mount -t tmpfs -o {options},mode=1777 none '{}'", disk.display());
        let show = "\"$0\" || { code=$?; find \"$PSPF_CACHE_DIR\" -type f -not -name '*.lock'; exit $code; }";
        let run = Run::new(&subject.sandbox, "sh").args(["-c", show]).arg(&subject.package).mounting(&mount);
        let run = run.env("PSPF_CACHE_DIR", disk.join("c")).env("COUNT", subject.sandbox.work("count"));
        let output = run.spawn().wait_with_output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(said.starts_with("pspf: error["), "{options}: {said}");
        assert!(said.contains("No space left on device") && !said.contains("another start"), "{options}: {said}");
        assert!(said.contains("hint: "), "{options}: {said}");
        assert_eq!(String::from_utf8_lossy(&output.stdout), "", "{options}: something is left");
        // What the package's own commands fail with is a matter of the package, wherever it is.
        if said.contains("error[IO]") {
            let run = subject.start().without("PSPF_CACHE_DIR").env("XDG_CACHE_HOME", &disk).mounting(&mount);
            run.stdout(SAID).run();
            subject.starts_again(&options);
        }
    }
}

/// F54: a place that cannot be written to any more is no place for what is not there yet, and nobody waits for it.
#[test]
fn f54_a_cache_that_became_read_only_gives_way_to_another_place() {
    let subject = Subject::new(Who::Stranger);
    subject.forget();
    let place = subject.sandbox.work("place");
    fs::create_dir(&place).unwrap();
    subject.sandbox.give(&place);
    let start = || subject.start().without("PSPF_CACHE_DIR").env("XDG_CACHE_HOME", &place);
    start().stdout(SAID).run();
    let env = place.join("pspf/v1/env");
    names(&env)
        .iter()
        .map(|name| env.join(name))
        .filter(|path| !path.is_dir())
        .for_each(|path| fs::remove_file(path).unwrap());
    let read_only = format!("mount --bind '{0}' '{0}'\nmount -o remount,bind,ro '{0}'", place.display());
    start().mounting(read_only).stdout(SAID).run();
    subject.starts_again("a read-only place");
}

/// F40: who waits for long for another start learns for which.
#[test]
fn f40_a_start_that_waits_for_long_says_so() {
    use std::io::{BufRead, BufReader, Read};
    let subject = Subject::new(Who::Caller);
    subject.forget();
    subject.starts_again("nothing");
    let env = subject.sandbox.cache().join("env");
    let find = |end: &str| env.join(names(&env).into_iter().find(|name| name.ends_with(end)).unwrap());
    fs::remove_file(find(".ok")).unwrap();
    let lock = fs::File::options().write(true).open(find(".lock")).unwrap();
    lock.lock().unwrap();
    let mut start = subject.start().spawn();
    let mut stderr = BufReader::new(start.stderr.take().unwrap());
    let mut line = String::new();
    stderr.read_line(&mut line).unwrap();
    let path = find(".lock").display().to_string();
    assert_eq!(line, format!("pspf: another start sets this package up; waiting for it (`{path}`)\n"));
    lock.unlock().unwrap();
    let output = start.wait_with_output().unwrap();
    assert_eq!(String::from_utf8_lossy(&output.stdout), SAID);
    line.clear();
    stderr.read_to_string(&mut line).unwrap();
    assert_eq!(line, "");
}
