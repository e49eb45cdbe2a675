//! The command line of the bench.

use std::path::PathBuf;

use anyhow::Context;
use clap::{Parser, ValueEnum};

/// Measure packed programs beside bare ones and beside other tools
///
/// Prints a table for each measurement, then every figure with its target, and whether it is met.
#[derive(Debug, Parser)]
#[command(
    name = "bench",
    max_term_width = 100,
    after_help = "\
Payloads:
  A  one static program that says hello
  B  a CPython of about 90 MB in 3,000 files: import json, ssl, asyncio
  C  the program of A, with 300 MiB of mixed data in a second slot
  D  B as ten packages that share the slot of the runtime
  E  45,000 files, 650 MB
  J  a program in JavaScript, with --peers only
  P  applications of the Python package index, which has to be in reach; only when named, or with --peers

Measure on a machine that does nothing else, with the work directory on tmpfs: a file system
that avoids inodes which were deleted a moment ago makes every tool look slow."
)]
pub struct Args {
    /// Payloads to measure, such as `A,C` [default: all]
    #[arg(long, value_enum, ignore_case = true, value_delimiter = ',')]
    pub(super) payload: Vec<Payload>,
    /// What to measure [default: all but sizes, which take minutes]
    #[arg(long, value_enum, value_delimiter = ',')]
    pub(super) phase: Vec<Phase>,
    /// Measure what other tools make of A, B, C and J too; those that are missing are named, with the commands that
    /// install them
    #[arg(long)]
    pub(super) peers: bool,
    /// Where the other tools are [default: pspf-bench/peers in the user's cache directory]
    #[arg(long, value_name = "DIR")]
    pub(super) peers_dir: Option<PathBuf>,
    /// Rounds of every measurement [default: from 5 for those of seconds to 200 for those of a millisecond]
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..))]
    pub(super) rounds: Option<u32>,
    /// File for everything that was measured, round by round
    #[arg(long, value_name = "FILE")]
    pub(super) json: Option<PathBuf>,
    /// Directory to work in; it and its payloads are kept [default: one on /dev/shm where there is room, else in the
    /// temporary directory, removed at the end]
    #[arg(long, value_name = "DIR")]
    pub(super) work: Option<PathBuf>,
    /// Launcher to pack with besides the one that is built into `pspf`, such as that of a release
    #[arg(long, value_name = "FILE")]
    pub(super) stub: Option<PathBuf>,
    /// CPython prefix that B, D and E are made of [default: that of python3]
    #[arg(long, value_name = "PREFIX")]
    pub(super) python: Option<PathBuf>,
    /// Further arguments of `pspf pack` to show sizes for, in one word; several times for a curve
    #[arg(long, value_name = "ARGS", allow_hyphen_values = true)]
    pub(super) pack_with: Vec<String>,
}

/// What is packed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, ValueEnum)]
#[value(rename_all = "UPPER")]
pub(super) enum Payload {
    A,
    B,
    C,
    D,
    E,
    J,
    P,
}

/// What is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum Phase {
    /// Starts with everything in place: A, B, C
    Warm,
    /// System calls and instructions of a start: A, C. Takes half a minute, as every instruction is stopped at
    Count,
    /// First starts: all payloads
    Cold,
    /// Packing: B
    Pack,
    /// Verifying: C
    Verify,
    /// Sizes at the default level and at level 19: B
    Sizes,
}

impl Args {
    /// The payloads in order, each once.
    pub(super) fn payloads(&self) -> Vec<Payload> {
        let all = Payload::value_variants().iter().copied();
        let is_wanted = |payload: &Payload| match payload {
            Payload::J => self.peers && (self.payload.is_empty() || self.payload.contains(payload)),
            // It fetches from the network, as the other tools do.
            Payload::P if self.payload.is_empty() => self.peers,
            _ => self.payload.is_empty() || self.payload.contains(payload),
        };
        all.filter(is_wanted).collect()
    }

    /// Where the other tools are.
    pub(super) fn peers_dir(&self) -> anyhow::Result<PathBuf> {
        if let Some(named) = &self.peers_dir {
            return Ok(std::path::absolute(named)?);
        }
        let absolute = |name: &str| std::env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
        let cache = absolute("XDG_CACHE_HOME").or_else(|| Some(absolute("HOME")?.join(".cache")));
        Ok(cache.context("there is no cache directory: name one with --peers-dir")?.join("pspf-bench/peers"))
    }

    /// Whether this is to be measured.
    pub(super) fn wants(&self, phase: Phase) -> bool {
        if self.phase.is_empty() { phase != Phase::Sizes } else { self.phase.contains(&phase) }
    }
}

impl std::fmt::Display for Payload {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{self:?}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(words: &[&str]) -> Args {
        Args::try_parse_from([&["bench"], words].concat()).unwrap()
    }

    #[test]
    fn payloads_come_in_order_and_once() {
        assert_eq!(parse(&[]).payloads().len(), 5);
        assert_eq!(parse(&["--payload", "c,A,C"]).payloads(), [Payload::A, Payload::C]);
        assert_eq!(parse(&["--peers"]).payloads().last(), Some(&Payload::P));
        assert_eq!(parse(&["--payload", "P"]).payloads(), [Payload::P]);
    }

    #[test]
    fn sizes_are_measured_when_asked_for() {
        assert!(parse(&[]).wants(Phase::Cold) && !parse(&[]).wants(Phase::Sizes));
        let sizes = parse(&["--phase", "sizes"]);
        assert!(sizes.wants(Phase::Sizes) && !sizes.wants(Phase::Warm));
    }
}
