//! What programs ask the kernel for, by `strace`.

use std::fs;
use std::path::PathBuf;

use crate::{Ran, Run, Sandbox};

/// The system calls of a run, in order.
#[derive(Debug)]
pub struct Trace {
    /// How the run went.
    pub ran: Ran,
    /// One call a line, without the pid in front.
    pub calls: Vec<String>,
}

impl Trace {
    /// Runs a program and all that it starts; `calls` names what to record, as `strace -e trace=` has it.
    #[track_caller]
    pub fn of(sandbox: &Sandbox, calls: &str, run: Run<'_>) -> Self {
        crate::need("strace");
        let log = log(sandbox);
        let filter = format!("trace={calls}");
        let words = ["strace", "-f", "-qq", "-s", "4096", "-e", &filter, "-e", "signal=none", "-o"];
        let ran = run.under(words.iter().map(AsRef::<std::ffi::OsStr>::as_ref).chain([log.as_os_str()])).run();
        let text = String::from_utf8_lossy(&fs::read(&log).expect("strace wrote its log")).into_owned();
        let without_pid = |line: &str| line.trim_start_matches(|c: char| c.is_ascii_digit() || c == ' ').to_owned();
        Self { ran, calls: text.lines().map(without_pid).collect() }
    }

    /// The programs that were executed, the traced one first.
    pub fn executed(&self) -> Vec<&str> {
        let executed = |call: &&String| call.starts_with("execve") && call.ends_with("= 0");
        self.calls.iter().filter(executed).map(|call| call.split('"').nth(1).unwrap_or_default()).collect()
    }

    /// What the traced program did between its own execve and the next one: the launcher's part of a start.
    pub fn of_launcher(&self) -> &[String] {
        let is_exec = |call: &String| call.starts_with("execve") && call.ends_with("= 0");
        let first = self.calls.iter().position(is_exec).expect("the program was executed") + 1;
        let rest = &self.calls[first..];
        &rest[..rest.iter().position(is_exec).unwrap_or(rest.len())]
    }
}

fn log(sandbox: &Sandbox) -> PathBuf {
    let log = sandbox.root().join("tmp/strace");
    let _ = fs::remove_file(&log);
    log
}
