//! The bench: what a start costs, beside the bare program and beside the tools that people use otherwise.
//!
//! Every case runs once in every round, the bare program first, and the first round is dropped: what is compared was
//! measured within the same seconds. It makes its payloads itself, from the files of the machine that it runs on, and it
//! changes nothing outside its work directory.

mod args;
mod case;
mod compile;
mod counts;
mod figure;
mod group;
mod machine;
mod others;
mod payloads;
mod peers;
mod place;
mod report;
mod rounds;
mod scenarios;
mod session;
mod size;
mod spawn;
mod stats;
mod steps;
mod tools;
mod writing;

use std::io::Write;

use anyhow::Context;

pub use args::Args;
use session::Session;

/// Measures what was asked for, prints tables as they are ready, then the figures; writes all of it as JSON.
///
/// # Errors
/// What could not be made, started or written. Nothing is measured around a case that fails.
pub fn run(args: Args) -> anyhow::Result<()> {
    let mut session = Session::new(args)?;
    report::heading(&session)?;
    for payload in session.args.payloads() {
        scenarios::run(&mut session, payload)?;
    }
    let after = machine::load()?;
    report::closing(&session, &after)?;
    if let Some(file) = &session.args.json {
        let text = serde_json::to_string_pretty(&writing::all(&session, &after))?;
        std::fs::write(file, text + "\n").with_context(|| format!("writing {}", file.display()))?;
    }
    std::io::stdout().flush()?;
    Ok(())
}
