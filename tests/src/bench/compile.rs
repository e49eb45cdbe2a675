//! The two programs that the bench compiles for itself, with the compiler that built it.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, bail};

/// Payload A.
pub(super) const HELLO: &str = include_str!("programs/hello.rs");
/// What payload A says.
pub(super) const GREETING: &[u8] = b"hello\n";
/// Tells how much memory a program needs.
pub(super) const METER: &str = include_str!("programs/meter.rs");

/// Compiles a program of the bench into a directory; it links nothing, and the same compiler gives the same bytes.
pub(super) fn compile(name: &str, text: &str, directory: &Path) -> anyhow::Result<PathBuf> {
    let (source, out) = (directory.join(format!("{name}.rs")), directory.join(name));
    std::fs::write(&source, text).with_context(|| source.display().to_string())?;
    let mut rustc = Command::new(std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into()));
    rustc.args(["--edition", "2024", "--crate-name", name]);
    for option in [
        "opt-level=3",
        "panic=abort",
        "relocation-model=static",
        "strip=symbols",
        "link-arg=-nostartfiles",
        "link-arg=-nostdlib",
        "link-arg=-static",
    ] {
        rustc.args(["-C", option]);
    }
    let output = rustc.arg("-o").arg(&out).arg(&source).output().context("starting rustc")?;
    if !output.status.success() {
        bail!("compiling {}:\n{}", source.display(), String::from_utf8_lossy(&output.stderr));
    }
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Sandbox, Who};

    #[test]
    fn the_meter_passes_on_what_a_program_says_and_adds_what_it_used() {
        let sandbox = Sandbox::new(Who::Caller);
        let hello = compile("hello", HELLO, &sandbox.work("")).unwrap();
        let meter = compile("meter", METER, &sandbox.work("")).unwrap();
        let said = |args: &[&str]| {
            let output = crate::forks::output(Command::new(&meter).args(args));
            let text = String::from_utf8(output.stdout).unwrap();
            let (said, peak) = text.rsplit_once("peak").unwrap();
            (said.to_owned(), peak.trim().parse::<u64>().unwrap(), output.status.code())
        };
        let (greeting, small, code) = said(&[hello.to_str().unwrap()]);
        assert_eq!((greeting.as_bytes(), code), (GREETING, Some(0)));
        // A shell that takes a megabyte of words needs more than a program without a library.
        let (nothing, large, code) = said(&["/bin/sh", "-c", &format!(": {}; exit 3", "x ".repeat(50_000))]);
        assert_eq!((nothing.as_str(), code), ("", Some(3)));
        assert!(small < 1000 && large > small, "{small} and {large} KiB");
        assert_eq!(said(&["/bin/sh", "-c", "kill -9 $$"]).2, Some(137));
    }
}
