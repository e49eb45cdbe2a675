//! Applications that change files of their own: work environments of sealed packages (SPEC §6.8).

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Child;

use pspf_tests::forge::{ForgedSlot, ForgedWords, key};
use pspf_tests::sandbox::names;
use pspf_tests::unsealed::{self, UnsealedSlot};
use pspf_tests::{Run, Sandbox, Who};

use crate::as_both;

/// Says what it finds, changes what it may, and ends with 3.
const APP: &str = r#"#!/bin/sh
cd "$PSPF_WORKENV"
echo "args $*"
echo "setup ${PSPF_SETUP-none}, self ${PSPF_SELF-none}, called ${PSPF_ARGV0##*/}"
for name in init config/file cache startup shutdown; do
    if test -e $name; then echo "$name: $(cat $name)"; else echo "$name: none"; fi
done
echo "temporary: $(cat "$TEMPORARY")"
cat made
test "$2" = gone && { rm cache; chmod 555 startup.d; }
for name in config/file startup "$TEMPORARY" startup.d/file; do echo changed >>"$name"; done
exit 3
"#;
const SETUP: &str = r#"#!/bin/sh
set -e
test "$PWD" = "$PSPF_WORKENV" && test "$PSPF_SETUP" = "$PSPF_WORKENV"
test "$CONFIG" = "$PWD/config" && test "${PWD%/*}" = "$CACHE/env"
echo "nobody reads this"; echo "nor this" >&2
echo "setup $*: $(cat init config/file cache | tr '\n' ' ')in $(echo *), ${TEMPORARY-no directory}, ${PSPF_ARGV0-no name}" >made
if read line; then echo "and input" >>made; fi
"#;
const SHUTDOWN: &str = r#"#!/bin/sh
cd "$PSPF_WORKENV"
test "$CONFIG" = "$PWD/config" || exit 5
echo "${1##*/} $(cat "$1" | tr '\n' ' ')${PSPF_SETUP-none}" >>"$LOG"
echo "nobody reads this"
exit "${END-0}"
"#;
const MANIFEST: &str = r#"
[package]
name = "own"
version = "1"
[run]
command = ["{slot:app}", "{workenv}/a b"]
setup = [["{slot:setup}", "one", "two words"], ["{slot:setup}", "twice"]]
shutdown = [["{slot:shutdown}", "{slot:temporary}"], ["{slot:shutdown}", "{slot:cache}"]]
env.set = { TEMPORARY = "{slot:temporary}", CONFIG = "{slot:config}", CACHE = "{cache}" }
"#;
const LIFECYCLES: [&str; 6] = ["init", "config", "cache", "startup", "temporary", "shutdown"];

pub(crate) fn write_sources(sandbox: &Sandbox) -> String {
    sandbox.write_program("app", APP);
    sandbox.write_program("setup", SETUP);
    sandbox.write_program("shutdown", SHUTDOWN);
    sandbox.write("config/file", b"config\n");
    sandbox.write("startup.d/file", b"startup\n");
    for name in ["init", "cache", "startup", "temporary"] {
        sandbox.write(name, format!("{name}\n"));
    }
    let mut manifest = MANIFEST.to_owned();
    manifest += "[[slot]]\nid = 'app'\nsource = 'app'\n[[slot]]\nid = 'setup'\nsource = 'setup'\n";
    manifest += "[[slot]]\nid = 'tree'\nsource = 'startup.d'\nlifecycle = 'startup'\ntarget = 'startup.d'\n";
    for word in LIFECYCLES {
        manifest += &format!("[[slot]]\nid = '{word}'\nsource = '{word}'\nlifecycle = '{word}'\n");
    }
    manifest
}

pub(crate) fn pack(sandbox: &Sandbox, manifest: &str) -> PathBuf {
    sandbox.write("pspf.toml", manifest);
    Run::pspf(sandbox, ["pack", "--key"]).arg(sandbox.key(1).0).args(["-o", "own.psp"]).any_stdout().run();
    sandbox.work("own.psp")
}

/// What is left in the cache beside the slots: one work environment, its record and its lock.
#[track_caller]
pub(crate) fn workenv(sandbox: &Sandbox) -> PathBuf {
    let env = sandbox.cache().join("env");
    let left = names(&env);
    let count = |end: &str| left.iter().filter(|name| name.ends_with(end)).count();
    assert_eq!((left.len(), count(".ok"), count(".lock")), (3, 1, 1), "{left:?}");
    left.into_iter().map(|name| env.join(name)).find(|path| path.is_dir()).unwrap()
}

fn each_lifecycle_has_its_moment(who: Who) {
    let sandbox = Sandbox::named(who, " with a space");
    let package = pack(&sandbox, &write_sources(&sandbox));
    let log = sandbox.write("log", b"");
    for (number, start) in
        [Run::new(&sandbox, &package), Run::pspf(&sandbox, ["run", "own.psp", "--"])].into_iter().enumerate()
    {
        let ran = start.arg("gone").env("LOG", &log).env("PSPF_ARGV0", "outer").status(3).any_stdout().run();
        let place = workenv(&sandbox);
        let made = "setup twice: init config cache in cache config init made, no directory, no name\n";
        let changed = if number == 0 { "config" } else { "config\nchanged" };
        let expected = format!(
            "args {}/a b gone\nsetup none, self none, called own.psp\ninit: none\nconfig/file: {changed}\n\
             cache: cache\nstartup: startup\nshutdown: none\ntemporary: temporary\n{made}",
            place.display()
        );
        assert_eq!(ran.stdout, expected);
        assert_eq!(names(&place), ["config", "made", "startup", "startup.d"]);
        assert_eq!(fs::metadata(&place).unwrap().permissions().mode() & 0o7777, 0o700);
    }
    let place = workenv(&sandbox);
    assert_eq!(fs::read_to_string(place.join("config/file")).unwrap(), "config\nchanged\nchanged\n");
    assert_eq!(fs::read_to_string(place.join("startup")).unwrap(), "startup\nchanged\n");
    // The second command is given although `cache`, which it is told of, is gone.
    let each = "temporary temporary changed none\ncache none\n";
    assert_eq!(fs::read_to_string(&log).unwrap(), each.repeat(2));
}
as_both! { each_lifecycle_has_its_moment }

/// A failed command at the end is told, and the application's status stays.
#[test]
fn what_follows_the_end_changes_no_exit_status() {
    let sandbox = Sandbox::new(Who::Stranger);
    let package = pack(&sandbox, &write_sources(&sandbox));
    let run = Run::new(&sandbox, &package).env("LOG", sandbox.write("log", b"")).env("END", "4");
    let ran = run.status(3).any_stdout().any_stderr().run();
    let lines: Vec<&str> = ran.stderr.lines().collect();
    assert_eq!(lines.len(), 4, "{}", ran.stderr);
    assert!(
        lines[0].starts_with(
            "pspf: warning: shutdown command `{slot:shutdown} {slot:temporary}` ended with exit status: 4"
        )
    );
    assert_eq!(lines[1], "  | nobody reads this");
    workenv(&sandbox);
}

/// Nothing starts where a setup command failed; the next start begins anew.
#[test]
fn a_setup_that_failed_starts_nothing() {
    let sandbox = Sandbox::new(Who::Stranger);
    sandbox.write_program("app", "#!/bin/sh\ncat \"$PSPF_WORKENV/made\"\n");
    sandbox.write_program(
        "setup",
        "#!/bin/sh\necho half >made\necho told\ntest -e \"$READY\" || exit 7\necho whole >made\n",
    );
    let manifest = "[package]\nname = 'own'\nversion = '1'\n[run]\ncommand = ['{slot:app}']\n\
        setup = [['{slot:setup}', 'an argument'], ['/bin/sh', '-c', 'echo more >>made']]\n\
        [[slot]]\nid = 'app'\nsource = 'app'\n[[slot]]\nid = 'setup'\nsource = 'setup'\nlifecycle = 'init'\n";
    let package = pack(&sandbox, manifest);
    let ready = sandbox.work("ready");
    for _ in 0..2 {
        let start = Run::new(&sandbox, &package).env("READY", &ready);
        let ran =
            start.fails("EXEC").stderr_part("`{slot:setup} an argument` ended with exit status: 7\n  | told\n").run();
        assert!(ran.stderr.contains("the next start tries it again"), "{}", ran.stderr);
        assert_eq!(names(&sandbox.cache().join("env")).len(), 1, "the lock alone");
    }
    sandbox.write("ready", b"");
    Run::new(&sandbox, &package).env("READY", &ready).stdout("whole\nmore\n").run();
    // Once.
    fs::remove_file(&ready).unwrap();
    Run::new(&sandbox, &package).env("READY", &ready).stdout("whole\nmore\n").run();
    workenv(&sandbox);
}

/// It would wait for its own end.
#[test]
fn a_setup_does_not_start_its_own_package() {
    let sandbox = Sandbox::new(Who::Caller);
    sandbox.write_program("app", "#!/bin/sh\necho started\n");
    let manifest = "[package]\nname = 'own'\nversion = '1'\n[run]\ncommand = ['{slot:app}']\n\
        setup = [['{package_dir}/own.psp']]\n[[slot]]\nid = 'app'\nsource = 'app'\n";
    let package = pack(&sandbox, manifest);
    Run::new(&sandbox, &package)
        .fails("EXEC")
        .stderr_part("a setup command of the package starts the package itself")
        .run();
}

/// What cannot be meant is told when packing, with the slot or the template.
#[test]
fn what_is_not_there_at_its_moment_is_told() {
    let sandbox = Sandbox::new(Who::Caller);
    sandbox.write_program("app", "#!/bin/sh\n");
    let stub = sandbox.work("small");
    Run::pspf(&sandbox, ["launcher", "-o"]).arg(&stub).any_stdout().run();
    let small = format!("--launcher={}", stub.display());
    let slot = |id: &str, more: &str| format!("[[slot]]\nid = '{id}'\nsource = 'app'\n{more}\n");
    let of = |lifecycle: &str| slot("a", &format!("lifecycle = '{lifecycle}'\ntarget = 'a'"));
    let setup = |argument: &str| format!("setup = [['{{slot:app}}', '{argument}']]\n");
    let shutdown = |argument: &str| format!("shutdown = [['{{slot:app}}', '{argument}']]\n");
    for (run, slots, option, expected) in [
        (setup(""), slot("a", "lifecycle = 'volatile'"), "", "lifecycle `volatile` is unknown"),
        (setup("{slot:a}"), of("startup"), "", "not there before a start"),
        (setup("{slot:a}"), of("temporary"), "", "not there before a start"),
        (setup("{slot:a}") + &shutdown(""), of("shutdown"), "", "not there before the end"),
        (setup("") + "cwd = '{slot:a}'\n", of("init"), "", "there for the setup alone"),
        (setup("") + &shutdown("{slot:a}"), of("init"), "", "there for the setup alone"),
        (shutdown("") + "env.set = { A = '{slot:a}' }\n", of("shutdown"), "", "not there before the end"),
        (String::new(), of("init"), "", "there is no `run.setup`"),
        (String::new(), of("shutdown"), "", "there is no `run.shutdown`"),
        (
            String::new(),
            of("config") + &slot("b", "lifecycle = 'cache'\ntarget = 'a'"),
            "",
            "slot `b`: another slot has the same",
        ),
        ("setup = [['sh']]\n".to_owned(), String::new(), "", "nothing is looked up in PATH"),
        ("setup = [[]]\n".to_owned(), String::new(), "", "nothing is looked up in PATH"),
        ("setup = ['sh']\n".to_owned(), String::new(), "", "expected a sequence"),
        ("shutdown = [['{slot:none}']]\n".to_owned(), String::new(), "", "the slots are `app`"),
        ("setup = [['{slot:app}/x']]\n".to_owned(), String::new(), "", "program `x` is not in slot `app`"),
        (setup(""), String::new(), small.as_str(), "makes no work environments"),
        (setup(""), String::new(), "--compat=pspf2025", "`run.setup` cannot be said to it"),
        (shutdown(""), String::new(), "--compat=pspf2025", "`run.shutdown` cannot be said to it"),
        (String::new(), of("cache"), "--compat=pspf2025", "lifecycle `cache` means something else"),
        ("env.set = { A = '{workenv}' }\n".to_owned(), String::new(), "--compat=pspf2025", "does not know `{workenv}`"),
    ] {
        let head = "[package]\nname = 'own'\nversion = '1'\n[run]\ncommand = ['{slot:app}']\n";
        sandbox.write("pspf.toml", format!("{head}{run}{}{slots}", slot("app", "")));
        let pack = Run::pspf(&sandbox, ["pack", "-o", "own.psp"]);
        let pack = if option.is_empty() { pack } else { pack.arg(option) };
        let code = if expected.starts_with("program") { "ENTRY" } else { "USAGE" };
        pack.fails(code).stderr_part(expected).run();
        assert!(!sandbox.work("own.psp").exists());
    }
}

/// The usual launcher says that it cannot, and nothing is started.
#[test]
fn the_usual_launcher_refuses_what_it_does_not_know() {
    let sandbox = Sandbox::new(Who::Caller);
    let package = pack(&sandbox, &write_sources(&sandbox));
    // The same metadata behind it: the seal of a hostile builder would be as good.
    let slots = [ForgedSlot::raw("app", b"#!/bin/sh\necho started\n")];
    let forged = |run: &str| {
        let words = ForgedWords { run: run.to_owned(), ..ForgedWords::starting("app", "") };
        words.parts(pspf_tests::programs::stub(), &slots).seal(&key())
    };
    for run in
        [r#"{"command":["{slot:app}"],"setup":[["/bin/sh"]]}"#, r#"{"command":["{slot:app}"],"cwd":"{workenv}"}"#]
    {
        let package = sandbox.write_program("forged.psp", forged(run));
        Run::new(&sandbox, &package).fails("FORMAT").run();
        assert_eq!(names(&sandbox.cache()), [""; 0]);
    }
    // The full one has everything else too, and no weaker reading of a package whose seal was taken away.
    Run::new(&sandbox, &package).env("PSPF_SELF", "info").stdout_part("slot temporary: temporary").run();
    Run::new(&sandbox, &package).env("PSPF_SELF", "check").stdout_part("no damage").run();
    let full = sandbox.work("full");
    Run::pspf(&sandbox, ["launcher", "--full", "-o"]).arg(&full).any_stdout().run();
    let slots = [UnsealedSlot::program("tool", b"#!/bin/sh\necho started\n")];
    let json = unsealed::metadata("{workenv}/tool", &slots, serde_json::json!({"pspf": {"seal": 1}}));
    let bare = unsealed::package(&fs::read(full).unwrap(), &json, &slots, &key());
    Run::new(&sandbox, sandbox.write_program("bare.psp", bare)).fails("INTEGRITY").run();
}

/// Waits for a line of its output.
pub(crate) fn line(child: &mut Child) -> String {
    let mut text = String::new();
    BufReader::with_capacity(1, child.stdout.as_mut().unwrap()).read_line(&mut text).unwrap();
    text.trim_end().to_owned()
}

const WAITS: &str = "#!/bin/sh\necho $$ $PSPF_TEMPORARY/temporary\nread line\ncat \"$PSPF_TEMPORARY/temporary\"\n";

fn waiting(sandbox: &Sandbox) -> PathBuf {
    let manifest = write_sources(sandbox);
    sandbox.write_program("app", WAITS);
    pack(sandbox, &manifest.replace("TEMPORARY = \"{slot:temporary}\", ", ""))
}

/// A signal reaches the application, the end is done, and the launcher ends by the same signal.
#[test]
fn signals_reach_the_application_and_the_end_comes_after_it() {
    let sandbox = Sandbox::new(Who::Stranger);
    let package = waiting(&sandbox);
    let log = sandbox.write("log", b"");
    let mut child = Run::new(&sandbox, &package).env("LOG", &log).spawn();
    let said = line(&mut child);
    let (pid, own) = said.split_once(' ').unwrap();
    assert_ne!(pid, child.id().to_string());
    assert!(Path::new(own).exists());
    let id = rustix::process::Pid::from_raw(child.id() as i32).unwrap();
    // Waiting would close its input, and the application might end by that.
    let _stdin = child.stdin.take();
    rustix::process::kill_process(id, rustix::process::Signal::TERM).unwrap();
    let end = child.wait().unwrap();
    assert_eq!(std::os::unix::process::ExitStatusExt::signal(&end), Some(15));
    assert!(!Path::new(own).exists());
    assert_eq!(fs::read_to_string(&log).unwrap().lines().count(), 2);
    workenv(&sandbox);
}

/// A launcher that is killed leaves the directory to its application, and the next start removes it afterwards.
#[test]
fn an_application_keeps_its_directory_when_the_launcher_is_killed() {
    let sandbox = Sandbox::new(Who::Stranger);
    let package = waiting(&sandbox);
    let start = || Run::new(&sandbox, &package).env("LOG", sandbox.work("log"));
    let mut child = start().spawn();
    let said = line(&mut child);
    let own = PathBuf::from(said.split_once(' ').unwrap().1);
    // Waiting would close it.
    let mut stdin = child.stdin.take().unwrap();
    child.kill().unwrap();
    child.wait().unwrap();
    start().stdin("go\n").any_stdout().run();
    assert_eq!(fs::read_to_string(&own).unwrap(), "temporary\n", "its application lives");
    stdin.write_all(b"go\n").unwrap();
    let mut rest = String::new();
    child.stdout.take().unwrap().read_to_string(&mut rest).unwrap();
    assert_eq!(rest, "temporary\n");
    start().stdin("go\n").any_stdout().run();
    assert!(!own.exists());
    workenv(&sandbox);
}

/// Many starts at once: one setup, and each finds all that it needs.
#[test]
fn starts_at_once_do_not_disturb_each_other() {
    let sandbox = Sandbox::new(Who::Stranger);
    let manifest = write_sources(&sandbox);
    let app = "#!/bin/sh\nset -e\ncd \"$PSPF_WORKENV\"\nfor i in 1 2 3 4 5 6 7 8; do cat startup startup.d/file; done >/dev/null\n\
        cat \"$TEMPORARY\" config/file\nrm -f cache\n";
    sandbox.write_program("app", app);
    let package = pack(&sandbox, &manifest);
    let starts: Vec<_> = (0..8).map(|_| Run::new(&sandbox, &package).env("LOG", "/dev/null").spawn()).collect();
    for start in starts {
        let output = start.wait_with_output().unwrap();
        let said = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        assert_eq!((said.0.as_ref(), said.1.as_ref()), ("temporary\nconfig\n", ""));
    }
    workenv(&sandbox);
}

/// `pspf cache` shows a work environment, keeps what is used, and removes it with its package.
#[test]
fn the_cache_knows_them() {
    let sandbox = Sandbox::new(Who::Stranger);
    let package = waiting(&sandbox);
    let cache = |args: &[&str]| Run::pspf(&sandbox, ["cache"]).args(args);
    let mut child = Run::new(&sandbox, &package).env("LOG", sandbox.work("log")).spawn();
    line(&mut child);
    cache(&["list"]).stdout_part("work environment ").run();
    cache(&["remove", "--now", "own.psp"]).stdout_part("kept 1 work environment").run();
    child.stdin.take().unwrap().write_all(b"go\n").unwrap();
    assert!(child.wait().unwrap().success());
    cache(&["remove", "--now", "own.psp"]).stdout_part("removed 1 work environment").run();
    assert_eq!(names(&sandbox.cache().join("env")), [""; 0]);
    Run::new(&sandbox, &package).env("LOG", sandbox.work("log")).stdin("go\n").any_stdout().run();
    workenv(&sandbox);
}

/// A slot that was damaged behind the records is extracted anew, also for a package with a work environment: where it is
/// seen by its directory, and where it is seen by the program alone.
#[test]
fn a_program_that_went_away_comes_back() {
    let sandbox = Sandbox::new(Who::Stranger);
    sandbox.write_program("app", "#!/bin/sh\necho started\n");
    sandbox.write_program("tree/bin/app", "#!/bin/sh\necho started\n");
    for (source, program, file) in [("app", "", "app"), ("tree", "/bin/app", "bin/app")] {
        let manifest = format!(
            "[package]\nname = 'own'\nversion = '1'\n[run]\ncommand = ['{{slot:app}}{program}', '{{workenv}}']\n\
             [[slot]]\nid = 'app'\nsource = '{source}'\ntarget = '{source}'\n"
        );
        let package = pack(&sandbox, &manifest);
        for _ in 0..2 {
            Run::new(&sandbox, &package).stdout("started\n").run();
            let file = sandbox.slots().iter().map(|slot| slot.join(file)).find(|file| file.exists()).unwrap();
            fs::set_permissions(file.parent().unwrap(), fs::Permissions::from_mode(0o755)).unwrap();
            fs::remove_file(file).unwrap();
        }
        Run::new(&sandbox, &package).stdout("started\n").run();
    }
}
