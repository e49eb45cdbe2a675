//! Signals: the application is the process that the caller started.

use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::os::unix::process::ExitStatusExt;

use pspf_tests::{Run, Sandbox, Who, probe_package};
use rustix::process::{Pid, Signal, kill_process};

#[test]
fn w21_killed_by_a_signal_shows_as_killed_by_a_signal() {
    let sandbox = Sandbox::new(Who::Caller);
    for signal in [1, 2, 6, 9, 11, 13, 15] {
        Run::new(&sandbox, &probe_package().file).args(["kill", &signal.to_string()]).signal(signal).run();
    }
}

#[test]
fn w21_signals_reach_the_application() {
    let sandbox = Sandbox::new(Who::Caller);
    for (signal, number) in [(Signal::TERM, 15), (Signal::INT, 2), (Signal::HUP, 1), (Signal::USR1, 10)] {
        let mut child = Run::new(&sandbox, &probe_package().file).arg("wait").spawn();
        let mut out = BufReader::new(child.stdout.take().unwrap());
        let mut line = String::new();
        out.read_line(&mut line).unwrap();
        assert_eq!(line, "ready\n");
        // The process that was started is the application itself.
        let exe = fs::read_link(format!("/proc/{}/exe", child.id())).unwrap();
        assert_eq!(exe, sandbox.slots()[0].join("probe"));
        kill_process(Pid::from_child(&child), signal).unwrap();
        let mut rest = String::new();
        out.read_to_string(&mut rest).unwrap();
        assert_eq!(rest, format!("signal {number}\n"));
        assert_eq!(child.wait().unwrap().code(), Some(40 + number));
    }
}

#[test]
fn f52_a_reader_that_goes_away_ends_the_application() {
    let sandbox = Sandbox::new(Who::Caller);
    for start in ["cold", "warm"] {
        let mut child = Run::new(&sandbox, &probe_package().file).args(["run", "/bin/cat", "/dev/zero"]).spawn();
        let mut some = [0; 10];
        child.stdout.as_mut().unwrap().read_exact(&mut some).unwrap();
        drop(child.stdout.take());
        // As a shell's pipeline expects it: by SIGPIPE, not with a message about a broken pipe. The probe's own start
        // of a program by the standard library puts SIGPIPE to its default; the package must not undo it before.
        let status = child.wait().unwrap();
        assert_eq!((status.signal(), status.code()), (Some(13), None), "{start}");
    }
}
