//! Work environments where something is in the way: others who remove, modes, daemons, signals, programs that are gone.

use std::fs::{self, File};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::time::Duration;

use pspf_tests::sandbox::names;
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
    // Where it never was, a removal brings nothing back.
    let elsewhere = own.replace("{slot:app}", "/none/app");
    let ran = Run::new(&sandbox, pack(&sandbox, &elsewhere)).fails("ENTRY").run();
    assert!(!ran.stderr.contains("cache remove"), "{}", ran.stderr);
}

/// A start that finds everything makes nothing: it waits for nobody, and looks at no slot more closely than another one.
#[test]
fn a_start_that_misses_nothing_leaves_all_as_it_is() {
    let sandbox = Sandbox::new(Who::Stranger);
    sandbox
        .write_program("app", "#!/bin/sh\ncat \"$PSPF_WORKENV/data\"\ntest -z \"$1\" || rm \"$PSPF_WORKENV/data\"\n");
    sandbox.write("data", "data\n");
    let package = pack(
        &sandbox,
        "[package]\nname = 'own'\nversion = '1'\n[run]\ncommand = ['{slot:app}']\n\
        [[slot]]\nid = 'app'\nsource = 'app'\n[[slot]]\nid = 'data'\nsource = 'data'\nlifecycle = 'cache'\n",
    );
    let start = || Run::new(&sandbox, &package).stdout("data\n");
    start().run();
    // Every file that a slot is known by.
    let kept = || {
        let mut kept = Vec::new();
        for folder in names(&sandbox.cache()) {
            for file in sandbox.cached(&folder) {
                let path = sandbox.cache().join(&folder).join(file);
                kept.push((fs::metadata(&path).unwrap().ino(), path));
            }
        }
        kept
    };
    let before = kept();
    let env = sandbox.cache().join("env");
    let lock = names(&env).into_iter().find(|name| name.ends_with(".lock")).unwrap();
    let lock = File::options().write(true).open(env.join(lock)).unwrap();
    lock.lock().unwrap();
    // Waiting would be told after three seconds.
    let (done, wait) = std::sync::mpsc::channel::<()>();
    let unlock = std::thread::spawn(move || {
        let _ = wait.recv_timeout(Duration::from_secs(5));
        drop(lock);
    });
    start().arg("gone").run();
    assert_eq!(kept(), before);
    drop(done);
    unlock.join().unwrap();
    // And one that misses something makes that.
    start().run();
}

/// What the application put in the place of a slot is its own: a link is replaced, and not what it leads to; what
/// stands where the end would put something stays.
#[test]
fn what_an_application_made_in_the_place_of_a_slot_is_its_own() {
    let sandbox = Sandbox::new(Who::Stranger);
    let manifest = write_sources(&sandbox);
    let app = "#!/bin/sh\nset -e\ncat \"$PSPF_WORKENV/startup\"\nln -sf \"$OUTSIDE\" \"$PSPF_WORKENV/startup\"\n\
        printf '#!/bin/sh\\necho own >>\"$LOG\"\\n' >\"$PSPF_TEMPORARY/shutdown\"\nchmod 755 \"$PSPF_TEMPORARY/shutdown\"\n\
        mkdir \"$PSPF_TEMPORARY/closed\"\ntouch \"$PSPF_TEMPORARY/closed/file\"\nchmod 500 \"$PSPF_TEMPORARY/closed\"\n";
    sandbox.write_program("app", app);
    let package = pack(&sandbox, &manifest);
    let (log, outside) = (sandbox.write("log", b""), sandbox.write("outside", "outside\n"));
    fs::set_permissions(&outside, fs::Permissions::from_mode(0o440)).unwrap();
    for _ in 0..2 {
        Run::new(&sandbox, &package).env("LOG", &log).env("OUTSIDE", &outside).stdout("startup\n").run();
        // Also without the directory of the start, which holds a closed one.
        assert_eq!(fs::read_link(workenv(&sandbox).join("startup")).unwrap(), outside);
    }
    assert_eq!(fs::read_to_string(&log).unwrap(), "own\n".repeat(4));
    assert_eq!(fs::metadata(&outside).unwrap().permissions().mode() & 0o7777, 0o440);
}
