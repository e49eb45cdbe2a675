//! Work environments where something is in the way: others who remove, modes, daemons, signals, programs that are gone.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use pspf_tests::{Run, Sandbox, Who};

use crate::workenv::{line, pack, workenv, write_sources};

/// What keeps a start from removing what another one needs is its lock, not what its application tells of itself.
#[test]
fn what_is_started_is_not_removed() {
    let sandbox = Sandbox::new(Who::Stranger);
    let manifest = write_sources(&sandbox);
    sandbox.write_program("app", "#!/bin/sh\necho ready\nexec env -i /bin/cat\n");
    let package = pack(&sandbox, &manifest);
    let mut child = Run::new(&sandbox, &package).env("LOG", "/dev/null").spawn();
    assert_eq!(line(&mut child), "ready");
    let remove = || Run::pspf(&sandbox, ["cache", "remove", "--now", "own.psp"]);
    remove().stdout_part("kept 1 work environment").run();
    drop(child.stdin.take());
    assert!(child.wait().unwrap().success());
    remove().stdout_part("removed 1 work environment").run();
}

/// A place that others can change is no place, and nothing is set up anew in silence.
#[test]
fn an_unsafe_place_is_told() {
    let sandbox = Sandbox::new(Who::Stranger);
    let package = pack(&sandbox, &write_sources(&sandbox));
    let start = || Run::new(&sandbox, &package).env("LOG", "/dev/null");
    start().status(3).any_stdout().run();
    let env = sandbox.cache().join("env");
    let mode = |mode| fs::set_permissions(&env, fs::Permissions::from_mode(mode)).unwrap();
    mode(0o770);
    start().fails("IO").stderr_part("unsafe: others can write to it").run();
    mode(0o700);
    start().status(3).any_stdout().run();
    workenv(&sandbox);
    let elsewhere = sandbox.work("elsewhere");
    fs::rename(&env, &elsewhere).unwrap();
    std::os::unix::fs::symlink(&elsewhere, &env).unwrap();
    start().fails("IO").stderr_part("unsafe: it is no directory").run();
}

/// Whatever the caller's umask is, and whatever the application does to the mode of its directory.
#[test]
fn modes_do_not_lock_anybody_out() {
    let sandbox = Sandbox::new(Who::Stranger);
    let manifest = write_sources(&sandbox).replace("setup = [", "setup = [['/bin/true'], ");
    sandbox.write_program("app", "#!/bin/sh\ncat \"$PSPF_WORKENV/startup\"\nchmod 500 \"$PSPF_WORKENV\"\n");
    sandbox.write_program("setup", "#!/bin/sh\n");
    let package = pack(&sandbox, &manifest);
    for mask in ["777", "022", "277"] {
        let start = Run::new(&sandbox, "/bin/sh").args(["-c", &format!("umask {mask}; exec \"$0\"")]).arg(&package);
        start.env("LOG", "/dev/null").stdout("startup\n").run();
    }
    workenv(&sandbox);
}

/// A daemon that the setup leaves running keeps nobody waiting.
#[test]
fn what_a_setup_leaves_running_is_not_waited_for() {
    let sandbox = Sandbox::new(Who::Stranger);
    let manifest = write_sources(&sandbox);
    sandbox.write_program("setup", "#!/bin/sh\nsleep 60 >/dev/null 2>&1 &\necho $! >daemon\n");
    sandbox.write_program("app", "#!/bin/sh\ncat \"$PSPF_WORKENV/startup\"\n");
    let package = pack(&sandbox, &manifest);
    for _ in 0..2 {
        // Waiting would be told.
        Run::new(&sandbox, &package).env("LOG", "/dev/null").stdout("startup\n").run();
    }
    let daemon = fs::read_to_string(workenv(&sandbox).join("daemon")).unwrap();
    let daemon = rustix::process::Pid::from_raw(daemon.trim().parse().unwrap()).unwrap();
    rustix::process::kill_process(daemon, rustix::process::Signal::KILL).unwrap();
}

/// The end is that of the application, whoever wants the launcher to end meanwhile.
#[test]
fn a_signal_at_the_end_changes_no_exit_status() {
    let sandbox = Sandbox::new(Who::Stranger);
    let manifest = write_sources(&sandbox);
    sandbox.write_program("shutdown", "#!/bin/sh\nkill -TERM $PPID\nkill -INT $PPID\necho $1 >>\"$LOG\"\n");
    let package = pack(&sandbox, &manifest);
    let log = sandbox.write("log", b"");
    Run::new(&sandbox, &package).env("LOG", &log).status(3).any_stdout().run();
    assert_eq!(fs::read_to_string(&log).unwrap().lines().count(), 2);
    workenv(&sandbox);
}

/// Nothing follows an application that could not be started.
#[test]
fn nothing_is_shut_down_that_did_not_start() {
    let sandbox = Sandbox::new(Who::Stranger);
    let manifest = write_sources(&sandbox);
    sandbox.write_program("app", "#!/nowhere/interpreter\n");
    let package = pack(&sandbox, &manifest);
    let log = sandbox.write("log", b"");
    Run::new(&sandbox, &package).env("LOG", &log).fails("EXEC").run();
    assert_eq!(fs::read(&log).unwrap(), b"");
    workenv(&sandbox);
}

/// Where a file system cannot exchange two names, and where the application took its own program away.
#[test]
fn what_cannot_be_replaced_or_found_is_dealt_with() {
    pspf_tests::need("strace");
    let sandbox = Sandbox::new(Who::Caller);
    let manifest = write_sources(&sandbox).replace("target = 'startup'\n", "");
    sandbox.write_program("app", "#!/bin/sh\ncd \"$PSPF_WORKENV\"\ncat x.old\necho changed >x.old\n");
    let manifest = manifest + "[[slot]]\nid = 'old'\nsource = 'startup'\nlifecycle = 'startup'\ntarget = 'x.old'\n";
    let package = pack(&sandbox, &manifest);
    for _ in 0..2 {
        let inject =
            ["strace", "-qq", "-o", "/dev/null", "-e", "trace=renameat2", "-e", "inject=renameat2:error=EINVAL"];
        Run::new(&sandbox, &package).under(inject).env("LOG", "/dev/null").stdout("startup\n").run();
    }
    let own = "[package]\nname = 'own'\nversion = '1'\n[run]\ncommand = ['{slot:app}']\n\
        [[slot]]\nid = 'app'\nsource = 'app'\nlifecycle = 'config'\n";
    sandbox.write_program("app", "#!/bin/sh\nrm \"$0\"\n");
    let package = pack(&sandbox, own);
    Run::new(&sandbox, &package).run();
    Run::new(&sandbox, &package).fails("ENTRY").stderr_part("hint: `pspf cache remove --now FILE`").run();
    Run::pspf(&sandbox, ["cache", "remove", "--now", "own.psp"]).any_stdout().run();
    Run::new(&sandbox, &package).run();
}
