//! What the application inherits: arguments, environment, descriptors, directory. All as if nothing were in between.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;

use pspf_tests::{Run, Sandbox, Who, forks, probe, probe_package, pspf};

use crate::forge::{self, ForgedEntry, ForgedSlot, ForgedTree};

#[test]
fn the_exit_status_passes_through() {
    let sandbox = Sandbox::new(Who::Caller);
    for code in [0, 1, 42, 120, 127, 255_u8] {
        Run::new(&sandbox, &probe_package().file).args(["exit", &code.to_string()]).status(code).run();
    }
}

#[test]
fn standard_input_is_the_applications() {
    let sandbox = Sandbox::new(Who::Caller);
    let data = pspf_tests::tree_files::noise(3, 1 << 20);
    for _ in 0..2 {
        Run::new(&sandbox, &probe_package().file).arg("cat").stdin(&data).stdout(&data).run();
    }
}

#[test]
fn arguments_arrive_as_they_are() {
    let sandbox = Sandbox::new(Who::Caller);
    let odd: [&[u8]; 8] =
        [b"args", b"", b" ", b"--version", b"\xff\xfe\x80", b"{slot:app}", b"a\nb", "größe".as_bytes()];
    let odd = odd.map(OsStr::from_bytes);
    let ran = Run::new(&sandbox, &probe_package().file).args(odd).any_stdout().run();
    let direct = Run::new(&sandbox, probe()).args(odd).any_stdout().run();
    let rest = |text: &str| text.split_once('\n').unwrap().1.to_owned();
    assert_eq!(rest(&ran.stdout), rest(&direct.stdout));
    assert!(ran.stdout.contains("\\xff\\xfe\\x80"));
    // 200 kB in all, and one that is as long as the kernel takes.
    let many = vec!["x".repeat(999); 200];
    let program = sandbox.slots()[0].join("probe");
    let first = program.as_os_str().len();
    let total = first + "count".len() + 200 * 999;
    Run::new(&sandbox, &probe_package().file).arg("count").args(&many).stdout(format!("202 {total}\n")).run();
    let total = first + "count".len() + 131_071;
    Run::new(&sandbox, &probe_package().file)
        .arg("count")
        .arg("y".repeat(131_071))
        .stdout(format!("3 {total}\n"))
        .run();
}

#[test]
fn what_no_rule_names_is_as_the_caller_left_it() {
    let sandbox = Sandbox::new(Who::Caller);
    let odd = OsStr::from_bytes(b"\xff = \n");
    let run = |program| {
        Run::new(&sandbox, program)
            .arg("env")
            .env("ODD", odd)
            .env("EMPTY", "")
            .env("LD_LIBRARY_PATH", "/nowhere")
            .any_stdout()
    };
    let direct = run(probe()).run().stdout;
    let mut expected: Vec<&str> = direct.lines().collect();
    let ran = run(&probe_package().file).env("PSPF_PACKAGE", "/forged").env("PSPF_ARGV0", "forged").run().stdout;
    let mut found: Vec<&str> = ran.lines().collect();
    let package = format!("PSPF_PACKAGE={}", probe_package().file.display());
    let called = format!("PSPF_ARGV0={}", probe_package().file.display());
    expected.extend([package.as_str(), &called]);
    expected.sort_unstable();
    found.sort_unstable();
    assert_eq!(found, expected);
}

/// A package of the probe with this `[run]` table.
fn with_run(sandbox: &Sandbox, run: &str) -> PathBuf {
    sandbox.copy(probe(), "probe");
    let manifest = format!(
        "[package]\nname = 'p'\nversion = '1'\n[run]\n{run}\n[[slot]]\nid = 'app'\nsource = 'probe'\n[[slot]]\nid = 'dir'\nsource = 'data'\n"
    );
    sandbox.write("data/file", b"x");
    sandbox.write("data/below/deep/file", b"x");
    sandbox.write("pspf.toml", manifest);
    Run::pspf(sandbox, ["pack", "--key"]).arg(sandbox.key(1).0).any_stdout().run();
    sandbox.work("p.psp")
}

#[test]
fn environment_rules() {
    let sandbox = Sandbox::new(Who::Caller);
    let package = with_run(
        &sandbox,
        "command = ['{slot:app}', 'env']\n\
         env.unset = ['PY*', 'GONE', 'O?D', 'PATH', 'HOME', 'TMPDIR', 'LC_ALL', 'PSPF_CACHE_DIR']\n\
         env.pass = ['PYKEEP', 'HOME']\n\
         env.map = { OLD = 'NEW', PYKEEP = 'NOT', MISSING = 'ALSO_NOT' }\n\
         env.set = { SET = '{slot:dir}/file', BRACES = '{{x}}', PSPF_SELF = 'info', PSPF_PACKAGE = 'forged', PSPF_ARGV0 = 'forged', NEW_EMPTY = '' }",
    );
    let mut run = Run::new(&sandbox, &package);
    for name in ["PYTHONPATH", "PYKEEP", "GONE", "OLD", "OLDER", "SET"] {
        run = run.env(name, format!("was {name}"));
    }
    let text = run.any_stdout().run().stdout;
    let mut found: Vec<&str> = text.lines().collect();
    found.sort_unstable();
    let slot = sandbox.slots().into_iter().find(|slot| slot.join("file").exists()).unwrap();
    let mut expected = vec![
        "PYKEEP=was PYKEEP".to_owned(),
        format!("HOME={}", sandbox.home().display()),
        "NEW=was OLD".to_owned(),
        "OLDER=was OLDER".to_owned(),
        format!("SET={}/file", slot.display()),
        "BRACES={x}".to_owned(),
        "NEW_EMPTY=".to_owned(),
        format!("PSPF_PACKAGE={}", package.display()),
        format!("PSPF_ARGV0={}", package.display()),
    ];
    expected.sort_unstable();
    assert_eq!(found, expected);
}

#[test]
fn placeholders_and_argv0() {
    let sandbox = Sandbox::new(Who::Caller);
    let package = with_run(
        &sandbox,
        "command = ['{slot:app}', 'args', '{slot:dir}/a', '{package_dir}', '{cache}', 'a{{b}}', '']\nargv0 = '-{slot:app}'",
    );
    let ran = Run::new(&sandbox, &package).arg("{slot:dir}").any_stdout().run();
    let slot = sandbox.slots().into_iter().find(|slot| slot.join("file").exists()).unwrap();
    let expected = format!(
        "-{{slot:app}}\nargs\n{}/a\n{}\n{}\na{{b}}\n\n{{slot:dir}}\n",
        slot.display(),
        sandbox.root().join("work").display(),
        sandbox.cache().display()
    );
    assert_eq!(ran.stdout, expected);
}

#[test]
fn the_name_it_was_called_by() {
    let sandbox = Sandbox::new(Who::Caller);
    let package = &probe_package().file;
    for name in ["tool", "", "-sh", "two words"] {
        let output = forks::output(Run::new(&sandbox, package).arg("env").command().arg0(name));
        let text = String::from_utf8(output.stdout).unwrap();
        assert!(text.lines().any(|line| line == format!("PSPF_ARGV0={name}")), "{name}: {text}");
        let output = forks::output(Run::new(&sandbox, package).arg("args").command().arg0(name));
        let program = sandbox.slots()[0].join("probe");
        assert_eq!(String::from_utf8(output.stdout).unwrap(), format!("{}\nargs\n", program.display()));
    }
}

#[test]
fn the_directory_is_the_callers_or_that_of_the_manifest() {
    let sandbox = Sandbox::new(Who::Caller);
    Run::new(&sandbox, &probe_package().file).arg("cwd").cwd("/usr").stdout("/usr\n").run();
    let package = with_run(&sandbox, "command = ['{slot:app}', 'cwd']\ncwd = '{slot:dir}'");
    let ran = Run::new(&sandbox, package).any_stdout().run();
    assert!(fs::metadata(ran.stdout.trim_end()).unwrap().is_dir() && ran.stdout.contains("/slots/"));
    // One that was taken out of the cache is put back, any other is said to be missing.
    let package = with_run(&sandbox, "command = ['{slot:app}', 'cwd']\ncwd = '{slot:dir}/below/deep'");
    let deep = PathBuf::from(Run::new(&sandbox, &package).any_stdout().run().stdout.trim_end());
    let below = deep.parent().unwrap();
    fs::set_permissions(below, fs::Permissions::from_mode(0o755)).unwrap();
    pspf_tests::sandbox::remove_tree(&deep);
    fs::set_permissions(below, fs::Permissions::from_mode(0o555)).unwrap();
    Run::new(&sandbox, &package).stdout(format!("{}\n", deep.display())).run();
    let package = with_run(&sandbox, "command = ['{slot:app}', 'cwd']\ncwd = '/nonexistent'");
    Run::new(&sandbox, package).fails("IO").stderr_part("changing to directory `/nonexistent`").run();
}

#[test]
fn more_arguments_than_the_system_passes_on() {
    let sandbox = Sandbox::new(Who::Caller);
    let package = with_run(&sandbox, &format!("command = ['{{slot:app}}', 'exit', '{}']", "1".repeat(140_000)));
    Run::new(&sandbox, package).fails("IO").stderr_part("passing the arguments to").run();
}

/// The report of the probe when it is started at once, from a cold and from a warm cache: three times the same.
#[track_caller]
fn same_process(prefix: &[&str]) -> String {
    let package = &probe_package().file;
    let sandbox = Sandbox::new(Who::Caller);
    let direct = process(&sandbox, prefix, probe(), &[]);
    let (cold, warm) = (process(&sandbox, prefix, package, &[]), process(&sandbox, prefix, package, &[]));
    assert_eq!(cold, direct, "a cold start, under {prefix:?}");
    assert_eq!(warm, direct, "a warm start, under {prefix:?}");
    direct
}

/// What the probe says of its process when it is started like this.
fn process(sandbox: &Sandbox, prefix: &[&str], program: &std::path::Path, arguments: &[&str]) -> String {
    sandbox.write("file", b"x");
    let report = sandbox.work("report");
    let prefix = prefix.iter().map(|word| word.replace("PROBE", probe().to_str().unwrap()));
    let prefix: Vec<String> = prefix.collect();
    // What is written to a closed descriptor is nobody's.
    Run::new(sandbox, program).args(arguments).arg("process").arg(&report).under(&prefix).run();
    let text = fs::read_to_string(&report).unwrap();
    fs::remove_file(&report).unwrap();
    let words = text.split(' ').map(|word| if word.starts_with("pipe:[") { "pipe" } else { word });
    words.collect::<Vec<_>>().join(" ")
}

#[test]
fn a65_run_passes_no_descriptor_of_its_own() {
    let sandbox = Sandbox::new(Who::Caller);
    // What handlers a C library installs in a program with threads, signals that it keeps for itself among them, differs.
    let descriptors = |program: &std::path::Path, arguments: &[&str]| {
        let text = process(&sandbox, &[], program, arguments);
        text.lines().filter(|line| line.starts_with("fd ")).map(str::to_owned).collect::<Vec<_>>()
    };
    let direct = descriptors(probe(), &[]);
    for start in ["cold", "warm"] {
        let run = descriptors(pspf(), &["run", probe_package().file.to_str().unwrap(), "--"]);
        assert_eq!(run, direct, "{start}");
    }
}

#[test]
fn a65_descriptors_umask_and_limits_are_the_callers() {
    let text = same_process(&["sh", "-c", "exec 5<file 7>>other 9<>file; umask 0137; ulimit -n 77; exec \"$@\"", "sh"]);
    for part in ["fd 5 ", "fd 7 ", "fd 9 ", "Umask:\t0137", "Max open files            77"] {
        assert!(text.contains(part), "{part}: {text}");
    }
}

#[test]
fn a65_f52_closed_descriptors_stay_closed() {
    for closed in ["0", "1", "2", "0,1", "1,2", "0,2", "0,1,2"] {
        let text = same_process(&["PROBE", "closed", closed]);
        for number in closed.split(',') {
            assert!(!text.contains(&format!("fd {number} ")), "{number} of {closed}: {text}");
        }
    }
}

#[test]
fn a65_signals_stay_blocked_and_ignored() {
    // Blocked: INT, USR1, TERM. Ignored: HUP, QUIT, PIPE, CHLD, XFSZ.
    let text = same_process(&["PROBE", "signals", "2,10,15", "1,3,13,17,25"]);
    // The rest is as whoever runs the tests has it.
    assert!(text.contains("SigBlk:\t0000000000004202\n"), "{text}");
    let ignored = text.lines().find_map(|line| line.strip_prefix("SigIgn:\t")).unwrap();
    assert_eq!(u64::from_str_radix(ignored, 16).unwrap() & 0x0101_1005, 0x0101_1005);
    same_process(&["PROBE", "signals", "", ""]);
}

/// A signed package whose program cannot be started, in each way.
#[test]
fn programs_that_cannot_be_started() {
    let sandbox = Sandbox::new(Who::Caller);
    let tree = |entries: &[ForgedEntry]| forge::package("/tool", &[ForgedTree::new(entries).slot()]);
    let plain = ForgedEntry { executable: 0, ..ForgedEntry::file("tool", b"#!/bin/sh\n") };
    let foreign = b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0\x02\0\xf3\0\x01\0\0\0";
    let cases = [
        ("missing", "ENTRY", tree(&[ForgedEntry::file("other", b"x")])),
        ("a link to nothing", "ENTRY", tree(&[ForgedEntry::link("tool", "nothing")])),
        ("a directory", "EXEC", tree(&[ForgedEntry::directory("tool")])),
        ("not executable", "EXEC", tree(&[plain])),
        ("no program at all", "EXEC", forge::package("", &[ForgedSlot::raw("app", b"\x01\x02")])),
        ("empty", "EXEC", forge::package("", &[ForgedSlot::raw("app", b"")])),
        ("for another machine", "EXEC", forge::package("", &[ForgedSlot::raw("app", foreign)])),
        ("without its interpreter", "EXEC", forge::package("", &[ForgedSlot::raw("app", b"#!/nonexistent/sh\n")])),
    ];
    for (name, class, bytes) in cases {
        let package = sandbox.write_program(format!("{name}.psp"), bytes);
        // Cold and warm.
        let words = if name == "without its interpreter" { "the interpreter that it names is not" } else { "" };
        for _ in 0..2 {
            Run::new(&sandbox, &package).fails(class).stderr_part(words).run();
        }
    }
}

/// A slot for another platform is not extracted, and a program in it is said to be missing.
#[test]
fn a_program_for_another_platform() {
    let sandbox = Sandbox::new(Who::Caller);
    sandbox.copy(probe(), "probe");
    let manifest = |platform: &str| {
        format!(
            "[package]\nname = 'p'\nversion = '1'\n[run]\ncommand = ['{{slot:app}}', 'exit', '3']\n\
             [[slot]]\nid = 'app'\nsource = 'probe'\nlifecycle = 'platform'\nplatform = '{platform}'\n"
        )
    };
    sandbox.write("pspf.toml", manifest("linux_s390x"));
    Run::pspf(&sandbox, ["pack", "-o", "foreign.psp"]).fails("ENTRY").stderr_part("linux_s390x").run();
    // What is not the program shows at the start only.
    let argument = manifest("linux_s390x").replace("'{slot:app}', 'exit'", "'{slot:own}', '{slot:app}'")
        + "[[slot]]\nid = 'own'\nsource = 'probe'\n";
    sandbox.write("pspf.toml", argument);
    Run::pspf(&sandbox, ["pack", "-o", "foreign.psp"]).any_stdout().run();
    Run::new(&sandbox, sandbox.work("foreign.psp")).fails("ENTRY").stderr_part("another platform").run();
    assert_eq!(sandbox.slots().len(), 1);
    let own = if cfg!(target_arch = "aarch64") { "linux_arm64" } else { "linux_amd64" };
    sandbox.write("pspf.toml", manifest(own));
    Run::pspf(&sandbox, ["pack", "-o", "own.psp"]).any_stdout().run();
    Run::new(&sandbox, sandbox.work("own.psp")).status(3).run();
}
