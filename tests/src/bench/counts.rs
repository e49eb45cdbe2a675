//! What a start asks of the kernel and of the processor. Counts are the same on a busy machine; times are not.

use std::path::Path;
use std::process::Command;

use anyhow::{Context, bail};
use serde_json::{Value, json};

use super::rounds::on_one_core;
use super::session::Session;
use super::{steps, tools};

/// Of one warm start: the launcher's part, from its own execve to that of the application.
#[derive(Clone, Debug)]
pub(super) struct Counts {
    pub(super) name: String,
    /// The names of the system calls in their order; the application's execve is not among them.
    pub(super) calls: Option<Vec<String>>,
    /// Executed in user mode.
    pub(super) instructions: Option<u64>,
}

impl Counts {
    /// Looks at one more start of a package whose cache is filled. What cannot be counted here is noted.
    pub(super) fn of(session: &mut Session, name: &str, package: &Path, cache: &Path) -> anyhow::Result<Self> {
        let calls = match tools::find("strace") {
            Ok(strace) => Some(calls(session, &strace, package, cache)?),
            Err(missing) => {
                session.note(format!("system calls were not counted: {missing}"));
                None
            }
        };
        let mut command = Command::new(package);
        command.env_clear().envs(session.env(cache));
        // Two processes that take turns do so faster on one core.
        let instructions = on_one_core(|| steps::until_exec(&mut command))?;
        if let Err(error) = &instructions {
            session.note(format!("instructions were not counted: {error}"));
        }
        Ok(Self { name: name.to_owned(), calls, instructions: instructions.ok() })
    }

    pub(super) fn json(&self) -> Value {
        json!({ "name": self.name, "system_calls": self.calls, "instructions": self.instructions })
    }
}

fn calls(session: &Session, strace: &Path, package: &Path, cache: &Path) -> anyhow::Result<Vec<String>> {
    let log = session.place.path("strace.log");
    let mut command = Command::new(strace);
    command.args(["-f", "-qq", "-e", "signal=none", "-o"]).arg(&log).arg(package);
    let output = command.env_clear().envs(session.env(cache)).output().context("starting strace")?;
    if !output.status.success() {
        bail!("strace: {}", String::from_utf8_lossy(&output.stderr));
    }
    let text = std::fs::read(&log)?;
    between_execs(&String::from_utf8_lossy(&text)).context("strace saw no second execve")
}

/// The names of the calls between the first execve and the next one.
fn between_execs(log: &str) -> Option<Vec<String>> {
    let lines = log.lines().map(|line| line.trim_start_matches(|c: char| c.is_ascii_digit() || c == ' '));
    let mut calls = lines.filter_map(|line| Some((line.split_once('(')?.0, line)));
    let executed = |(name, line): &(&str, &str)| *name == "execve" && line.ends_with("= 0");
    calls.find(executed)?;
    let mut names = Vec::new();
    for call in calls {
        if executed(&call) {
            return Some(names);
        }
        names.push(call.0.to_owned());
    }
    None
}

/// How many calls are in one sequence only, when as many as possible are taken as common to both.
pub(super) fn differing(one: &[String], other: &[String]) -> usize {
    // The longest common subsequence of `one` up to here and each beginning of `other`.
    let mut common = vec![0; other.len() + 1];
    for call in one {
        let mut diagonal = 0;
        for (at, candidate) in other.iter().enumerate() {
            let above = common[at + 1];
            common[at + 1] = if call == candidate { diagonal + 1 } else { above.max(common[at]) };
            diagonal = above;
        }
    }
    one.len() + other.len() - 2 * common[other.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_calls_of_the_launcher_are_between_two_execs() {
        let log = "\
12 execve(\"./a.psp\", [\"./a.psp\"], 0x7ff /* 2 vars */) = 0
12 open(\"/proc/self/exe\", O_RDONLY)   = 3
12 execve(\"/nowhere\", [\"x\"], 0x7ff) = -1 ENOENT (No such file or directory)
12 execve(\"/cache/hello\", [\"./a.psp\"], 0x7ff /* 2 vars */) = 0
12 write(1, \"hello\\n\", 6)             = 6
12 exit(0)                             = ?
";
        assert_eq!(between_execs(log).unwrap(), ["open", "execve"]);
        assert_eq!(between_execs("1 execve(\"x\", []) = 0\n1 exit(0) = ?\n"), None);
    }

    #[test]
    fn a_call_more_is_one_difference() {
        let words = |text: &str| -> Vec<String> { text.split_whitespace().map(str::to_owned).collect() };
        for (one, other, expected) in [
            ("a b c", "a b c", 0),
            ("a stat stat c", "a stat c", 1),
            ("", "a b", 2),
            ("a b c", "a x c", 2),
            ("a b", "b a", 2),
        ] {
            assert_eq!(differing(&words(one), &words(other)), expected, "{one} and {other}");
        }
    }
}
