//! What must happen to a file that is no good package, by `pspf verify` and by its own start.

use std::fs;
use std::path::PathBuf;

use pspf_tests::snapshot::leftovers;
use pspf_tests::{Run, Sandbox, Who, need, probe};

/// Memory that no hostile file may take, in kB.
const MEMORY: u64 = 128 << 10;

/// A file, and what is expected of it.
pub(crate) struct Case {
    pub(crate) name: String,
    pub(crate) bytes: Vec<u8>,
    /// The class that `pspf verify --deep` reports; empty where the file is as good as it looks.
    pub(crate) verify: &'static str,
    /// The class that a start reports; empty where it starts, because it does not look at what is wrong.
    pub(crate) start: &'static str,
}

impl Case {
    /// Refused by both, with one class.
    pub(crate) fn new(name: impl Into<String>, bytes: Vec<u8>, class: &'static str) -> Self {
        Self::apart(name, bytes, class, class)
    }

    /// With a class each.
    pub(crate) fn apart(name: impl Into<String>, bytes: Vec<u8>, verify: &'static str, start: &'static str) -> Self {
        Self { name: name.into(), bytes, verify, start }
    }
}

/// A place to judge files in; the key of seed 1 is the one that `verify` is given.
struct Judge {
    sandbox: Sandbox,
    key: PathBuf,
}

/// Holds every file to what is expected of it, and tells all that fail.
#[track_caller]
pub(crate) fn judge(cases: impl IntoIterator<Item = Case>) {
    need("strace");
    let sandbox = Sandbox::new(Who::Caller);
    let judge = Judge { key: sandbox.key(1).1, sandbox };
    let mut failures = Vec::new();
    let mut count = 0;
    for case in cases {
        count += 1;
        let file = judge.sandbox.write_program("case.psp", &case.bytes);
        let verified = judge.verify(&case, &file).and_then(|()| judge.start(&case, &file));
        if let Err(failure) = verified {
            let text: String = failure.chars().take(700).collect();
            failures.push(format!("{}: {text}", case.name));
        }
        fs::remove_file(file).unwrap();
    }
    assert!(count > 0, "no case");
    assert!(failures.is_empty(), "{} of {count} cases:\n{}", failures.len(), failures.join("\n"));
}

impl Judge {
    /// Runs a program with its memory measured: exit code, standard output, standard error.
    fn measured(&self, words: &[&str], env: Option<(&str, &str)>) -> Result<(i32, String, String), String> {
        let report = self.sandbox.root().join("tmp/memory");
        let mut run = Run::new(&self.sandbox, probe()).arg("measure").arg(&report).args(words);
        if let Some((name, value)) = env {
            run = run.env(name, value);
        }
        let output = run.spawn().wait_with_output().unwrap();
        let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
        let (stdout, stderr) = (text(output.stdout), text(output.stderr));
        let peak: u64 = fs::read_to_string(report).unwrap().parse().unwrap();
        if peak > MEMORY {
            return Err(format!("{words:?} took {peak} kB of memory"));
        }
        if stderr.contains("panicked") || stderr.contains("RUST_BACKTRACE") {
            return Err(format!("a panic text: {stderr}"));
        }
        let harmless = |text: &str| !text.chars().any(|c| c.is_control() && c != '\n');
        if !harmless(&stderr) || !harmless(&stdout) {
            return Err(format!("control characters are shown: {stderr:?} {stdout:?}"));
        }
        let code = output.status.code().ok_or_else(|| format!("ended by {}: {stderr}", output.status))?;
        Ok((code, stdout, stderr))
    }

    fn verify(&self, case: &Case, file: &std::path::Path) -> Result<(), String> {
        let (pspf, file, key) =
            (pspf_tests::pspf().to_str().unwrap(), file.to_str().unwrap(), self.key.to_str().unwrap());
        let (code, stdout, stderr) = self.measured(&[pspf, "verify", "--deep", "--json", "--key", key, file], None)?;
        let told = format!("verify: exit code {code}, {stdout}{stderr}");
        let json: serde_json::Value = serde_json::from_str(&stdout).map_err(|error| format!("{error}: {told}"))?;
        let class = json["files"][0]["class"].as_str().unwrap_or("");
        let expected = i32::from(!case.verify.is_empty());
        if (class, code) != (case.verify, expected) {
            let message = &json["files"][0]["message"];
            return Err(format!(
                "verify: expected {:?}, found {class:?} with exit code {code}: {message} {stderr}",
                case.verify
            ));
        }
        Ok(())
    }

    fn start(&self, case: &Case, file: &std::path::Path) -> Result<(), String> {
        let cache = self.sandbox.cache();
        let before = leftovers(&cache);
        let log = self.sandbox.root().join("tmp/exec");
        let words = ["strace", "-f", "-qq", "-e", "trace=execve,execveat", "-e", "signal=none", "-o"];
        let words = [&words[..], &[log.to_str().unwrap(), file.to_str().unwrap(), "an argument"]].concat();
        let (code, stdout, stderr) = self.measured(&words, None)?;
        let told = format!("start: exit code {code}, {stdout}{stderr}");
        if case.start.is_empty() {
            return if code == 0 && stderr.is_empty() { Ok(()) } else { Err(format!("it should start; {told}")) };
        }
        let expected = match case.start {
            "FORMAT" => 120,
            "INTEGRITY" => 121,
            "IO" => 123,
            other => panic!("no such class: {other}"),
        };
        let lines: Vec<&str> = stderr.lines().collect();
        let first = lines.first().is_some_and(|line| line.starts_with(&format!("pspf: error[{}]: ", case.start)));
        if code != expected || !first || !stdout.is_empty() {
            return Err(format!("expected {}; {told}", case.start));
        }
        if lines.len() > 2 || lines.get(1).is_some_and(|line| !line.starts_with("  hint: ")) {
            return Err(format!("more than an error and a hint; {told}"));
        }
        let executed = fs::read_to_string(&log).unwrap();
        if executed.lines().filter(|line| line.contains("exec")).count() != 1 {
            return Err(format!("something was executed: {executed}"));
        }
        if leftovers(&cache) != before {
            return Err(format!("something was left: {:?}; {told}", leftovers(&cache)));
        }
        Ok(())
    }
}
