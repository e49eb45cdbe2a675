//! What the figures depend on: the machine, its load, and the versions of the programs.

use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::Context;
use serde_json::{Value, json};

/// The machine.
#[derive(Clone, Debug)]
pub(super) struct Machine {
    pub(super) cores: usize,
    pub(super) cpu: String,
    pub(super) kernel: String,
    pub(super) memory_bytes: u64,
    /// When the bench started, in UTC.
    pub(super) date: String,
    /// What is measured: the commit, marked where files were changed since.
    pub(super) commit: String,
    /// First lines of `--version`, by program.
    pub(super) versions: Vec<(String, String)>,
}

impl Machine {
    pub(super) fn look() -> anyhow::Result<Self> {
        let cpuinfo = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
        let meminfo = fs::read_to_string("/proc/meminfo").unwrap_or_default();
        let kilobytes = field(&meminfo, "MemTotal").and_then(|text| text.trim_end_matches(" kB").parse::<u64>().ok());
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).display().to_string();
        let versions = ["rustc", "tar", "zstd", "sha256sum"].into_iter();
        Ok(Self {
            cores: std::thread::available_parallelism()?.get(),
            cpu: field(&cpuinfo, "model name").unwrap_or("unknown processor").to_owned(),
            kernel: fs::read_to_string("/proc/sys/kernel/osrelease").context("the kernel's version")?.trim().to_owned(),
            memory_bytes: kilobytes.unwrap_or_default() * 1024,
            date: first_line("date", &["-u", "+%Y-%m-%dT%H:%M:%SZ"]),
            commit: first_line("git", &["-C", &source, "describe", "--always", "--dirty", "--abbrev=12"]),
            versions: versions.map(|name| (name.to_owned(), first_line(name, &["--version"]))).collect(),
        })
    }

    pub(super) fn json(&self) -> Value {
        json!({
            "cores": self.cores,
            "cpu": self.cpu,
            "kernel": self.kernel,
            "memory_bytes": self.memory_bytes,
            "date": self.date,
            "commit": self.commit,
            "versions": self.versions.iter().cloned().collect::<std::collections::BTreeMap<_, _>>(),
        })
    }
}

/// The mean number of programs that wanted to run in the last minute.
pub(super) fn load() -> anyhow::Result<f64> {
    let text = fs::read_to_string("/proc/loadavg").context("/proc/loadavg")?;
    text.split(' ').next().and_then(|number| number.parse().ok()).context("/proc/loadavg holds no number")
}

fn field<'t>(text: &'t str, name: &str) -> Option<&'t str> {
    let of_name = |line: &'t str| line.strip_prefix(name)?.trim_start().strip_prefix(':').map(str::trim);
    text.lines().find_map(of_name)
}

fn first_line(program: &str, args: &[&str]) -> String {
    let output = Command::new(program).args(args).output();
    let text = output.map(|output| String::from_utf8_lossy(&output.stdout).into_owned()).unwrap_or_default();
    text.lines().next().map_or_else(|| "unknown".to_owned(), str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_found_by_their_whole_name() {
        let text = "processor\t: 0\nmodel name suffix: x\nmodel name\t: A CPU\nMemTotal:       1024 kB\n";
        assert_eq!((field(text, "model name"), field(text, "MemTotal")), (Some("A CPU"), Some("1024 kB")));
        assert_eq!(field(text, "nothing"), None);
    }
}
