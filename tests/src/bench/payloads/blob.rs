//! The large file of payload C: programs, libraries and text of this machine, as tar archives one after the other.

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::Context;

const MIB: u64 = 1 << 20;
/// How large it is.
pub(in crate::bench) const BYTES: u64 = 300 * MIB;

/// Makes it; shorter where the machine holds less. `stdlib` is a Python library: text.
pub(in crate::bench) fn make(to: &Path, stdlib: &Path) -> anyhow::Result<()> {
    let sources = [
        (compiler_libraries(), 120 * MIB),
        (Some(PathBuf::from("/usr/lib")), 100 * MIB),
        (Some(PathBuf::from("/usr/share")), 40 * MIB),
        (Some(stdlib.to_owned()), 40 * MIB),
        // What the others left.
        (Some(PathBuf::from("/usr/bin")), BYTES),
        (Some(PathBuf::from("/usr/lib")), BYTES),
    ];
    let mut file = File::create(to).with_context(|| to.display().to_string())?;
    let mut held = 0;
    for (source, share) in sources {
        let Some(source) = source.filter(|source| source.is_dir()) else { continue };
        held += archive(&source, share.min(BYTES - held), &mut file).with_context(|| source.display().to_string())?;
    }
    Ok(())
}

/// Where the compiler's own shared libraries are.
fn compiler_libraries() -> Option<PathBuf> {
    let output = Command::new(std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into()));
    let output = { output }.args(["--print", "sysroot"]).output().ok()?;
    Some(Path::new(String::from_utf8(output.stdout).ok()?.trim()).join("lib"))
}

/// Writes the first bytes of an archive of a directory: the same for the same files.
fn archive(source: &Path, at_most: u64, to: &mut File) -> anyhow::Result<u64> {
    let mut tar = Command::new("tar")
        .args(["--sort=name", "--owner=0", "--group=0", "--numeric-owner", "--mtime=@0", "--ignore-failed-read", "-C"])
        .arg(source)
        .args(["-cf", "-", "."])
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .context("starting tar")?;
    let copied = match tar.stdout.take() {
        Some(out) => io::copy(&mut out.take(at_most), to)?,
        None => 0,
    };
    // It may still have more to say.
    tar.kill()?;
    tar.wait()?;
    Ok(copied)
}
