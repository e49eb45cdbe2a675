//! Measures packed programs beside bare ones and beside other tools; `--help` says how.

use std::process::ExitCode;

use clap::Parser;

fn main() -> ExitCode {
    match pspf_tests::bench::run(pspf_tests::bench::Args::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            use std::io::Write;
            let _ = writeln!(std::io::stderr(), "bench: {error:#}");
            ExitCode::FAILURE
        }
    }
}
