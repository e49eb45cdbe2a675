//! Attacks: what somebody does on purpose, and what becomes of it. One module a place that is attacked.
//!
//! A test is named after the rows of two lists that it shows. `a01` to `a85` are attacks on packages of this format:
//! on the file and its encoding (from 01), by a signer on whoever extracts (from 20), on the cache (from 40), on the
//! process (from 60), on keys and the command line (from 80). `w01` to `w31` are weaknesses that a release of another
//! implementation of PSPF/2025 was seen to have; each test performs one against a package of ours. Rows that a test
//! elsewhere shows stand in that test's name: `cargo test --workspace a43` finds it.
//!
//! Sweeps take samples; `PSPF_TEST_SWEEP=full` makes them take everything.

mod cache;
mod extraction;
mod hostile;
mod keys;
mod metadata;
mod package;
mod process;
mod seal;
mod slot;
mod trust;
mod unsealed;

use std::io::Write;

use pspf_tests::{forge, raw};

/// Whether sweeps take everything instead of a sample.
fn full_sweep() -> bool {
    std::env::var_os("PSPF_TEST_SWEEP").is_some_and(|value| value == "full")
}

/// Says on the output of the tests, which keeps what a passing test prints to itself, that something was not tried.
fn not_run(why: &str) {
    let _ = writeln!(std::io::stderr(), "NOT RUN: {why}");
}
