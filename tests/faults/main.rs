//! What goes wrong on real machines, one test for each kind, and what must hold then: no partial tree ever runs, the
//! next start works unaided, what is left over is bounded and goes, and every end is an exit code that is documented.
//!
//! A test is named after its row in the project's list of faults. Sweeps take a sample of their points;
//! `PSPF_TEST_SWEEP=full` takes all of them.

mod builder;
mod crowd;
mod disk_log;
mod file;
mod killed;
mod places;
mod power;
mod refused;
mod subject;
mod tracer;
mod unsealed;
mod workenv;

/// Says that something was not looked at, and why. Not by the macro: what that prints is kept from whoever reads.
fn not_run(what: &str) {
    use std::io::Write;
    let _ = writeln!(std::io::stderr(), "NOT RUN: {what}");
}

/// Whether every point of a sweep is to be tried.
fn full() -> bool {
    std::env::var_os("PSPF_TEST_SWEEP").is_some_and(|value| value == "full")
}

/// The numbers from 1 to `count`, or about `wanted` of them, evenly.
fn sample(count: usize, wanted: usize) -> Vec<usize> {
    let step = if full() { 1 } else { count.div_ceil(wanted).max(1) };
    (1..=count).step_by(step).collect()
}
