//! `pspf launcher`: the launchers that are inside this program, as files for other builders.

use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::PathBuf;

use clap::Args;

use crate::failure::{At, shown};
use crate::stub;
use crate::voice::size;

/// Write a launcher to a file, for other builders of this format
///
/// The usual launcher starts sealed packages that change nothing of their own. The full one starts every package: those
/// that need a work environment, for which `pspf pack` takes it by itself, and those without a seal, as the reference
/// builders make them.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  pspf launcher -o launcher                                      for `pspf pack --launcher`
  pspf launcher --full -o launcher                               for other builders:
  flavor-rs-builder --manifest m.json --output a.psp --launcher-bin launcher")]
pub(crate) struct LauncherArgs {
    /// Where the launcher goes; must not be there yet
    #[arg(short, long, value_name = "FILE")]
    pub(crate) output: PathBuf,
    /// The launcher that starts every package
    #[arg(long)]
    pub(crate) full: bool,
}

/// Writes the file and says what it is.
pub(crate) fn run(args: &LauncherArgs, out: &mut dyn Write) -> anyhow::Result<()> {
    let bytes = if args.full { stub::FULL } else { stub::BUILT_IN };
    let path = &args.output;
    let mut options = std::fs::OpenOptions::new();
    let mut file = options.write(true).create_new(true).mode(0o755).open(path).at("creating", path)?;
    if let Err(error) = file.write_all(bytes).at("writing", path) {
        let _ = std::fs::remove_file(path);
        return Err(error);
    }
    let kind = env!("PSPF_STUB_KIND");
    Ok(writeln!(
        out,
        "{}: launcher for {} ({kind}), {}",
        shown(path),
        env!("PSPF_STUB_TARGET"),
        size(bytes.len() as u64)
    )?)
}
