//! `pspf verify`: is every byte of these files what was signed, and by a key that the caller named?
//!
//! The exit code is 0 only where every file has a [`Verified`](crate::verify_check::Verified) of its own. Nothing is
//! executed, extracted or written; whoever closes the output early changes nothing about the code.

use std::io::{self, Write};
use std::path::PathBuf;

use clap::Args;

use crate::failure;
use crate::verify_check::{Anchors, Checks, Verdict, examine};
use crate::verify_report::{print_document, print_file};
use crate::voice;

/// Check every byte of packages, and who signed them
///
/// A package names its own key, so an intact file proves nothing about who made it. Give the public key of the signer
/// that you expect with `--key`; of several keys, one that signed is enough. Nothing is executed or extracted.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  pspf verify --key release.pub tool.psp
  pspf verify --key release.pub --json dist/*.psp > report.json

Exit codes:
  0  every file is intact and signed by a key that was given
  1  a file is bad: malformed, changed, or signed by none of the keys
  2  not decided: no key was given, or a file or key cannot be read")]
pub(crate) struct VerifyArgs {
    /// Packages
    #[arg(required = true, value_name = "FILE")]
    pub(crate) files: Vec<PathBuf>,
    /// Public key of a signer that you trust; may be given several times
    #[arg(short, long, value_name = "PUB")]
    pub(crate) key: Vec<PathBuf>,
    /// Print one JSON document for all files
    #[arg(long)]
    pub(crate) json: bool,
    /// Compare the SHA-256 of every slot as a whole too, decode it, and compare its content with its index
    #[arg(long)]
    pub(crate) deep: bool,
    /// Accept packages without a seal, of which the signature covers only a part
    #[arg(long)]
    pub(crate) allow_unsealed: bool,
}

/// Prints a report on every file; the exit code of the process.
pub(crate) fn run(args: &VerifyArgs, out: &mut dyn Write) -> u8 {
    let anchors = match Anchors::read(&args.key) {
        Ok(anchors) => anchors,
        Err(error) => {
            voice::say(&failure::lines(&error));
            return Verdict::UNDECIDED;
        }
    };
    let checks = Checks { deep: args.deep, allow_unsealed: args.allow_unsealed, digest: args.json };
    let mut codes = Vec::new();
    let mut reports = Vec::new();
    let mut written = Ok(());
    for path in &args.files {
        let examined = examine(path, &anchors, checks);
        codes.push(examined.verdict.exit_code());
        if args.json {
            reports.push(examined);
        } else {
            // Even if nobody can read it, the rest is checked: the code must not depend on the reader.
            written = written.and_then(|()| print_file(&examined, &anchors, out));
        }
    }
    let code = worst(&codes);
    if args.json {
        written = print_document(&reports, &anchors, code, out);
    }
    match written.and_then(|()| out.flush()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            voice::say(&format!("pspf: error[IO]: writing the report: {error}\n"));
            worst(&[code, Verdict::UNDECIDED])
        }
        _ => code,
    }
}

/// The code for all files together: bad beats undecided beats verified; nothing at all is undecided.
fn worst(codes: &[u8]) -> u8 {
    let severity = |code: &u8| match *code {
        Verdict::VERIFIED => 0,
        Verdict::BAD => 2,
        _ => 1,
    };
    codes.iter().copied().max_by_key(severity).unwrap_or(Verdict::UNDECIDED)
}

#[cfg(test)]
#[path = "verify_tests.rs"]
mod tests;
