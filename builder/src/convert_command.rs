//! `pspf convert`: a package of other tools of this format, packed anew with a seal.

use std::io::Write;
use std::path::PathBuf;

use anyhow::Context;
use clap::Args;
use pspf_format::{Class, Error as FormatError};
use pspf_launcher::{Error, PackageFile};
use pspf_unsealed::Opened;

use crate::args::{PackArgs, PassphraseArgs};
use crate::failure::Failure;
use crate::pack_command::pack;
use crate::paths::c_path;
use crate::reference_package;
use crate::run_command::hold_to_keys;
use crate::verify_check::Anchors;

/// Pack a package of another tool anew, with a seal
///
/// OLD is a package without a seal, as the reference tools of this format make them. It is held to what its own key
/// signed, unpacked, and its setup commands are run, as at its first start: convert what you would start. The result
/// is packed with the launcher of pspf; what it cannot take over is named. Where the result works in one place alone, the
/// commands are kept, and run at the first start of the new package.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  pspf convert old.psp -o new.psp --key release.key
  pspf convert old.psp -o new.psp --key release.key --signer old.pub   only if this key signed it
  pspf convert old.psp -o new.psp --exclude bin/uv                     without what only the setup needed")]
pub(crate) struct ConvertArgs {
    /// The package
    #[arg(value_name = "OLD")]
    file: PathBuf,
    /// Where the new package goes
    #[arg(short, long, value_name = "FILE")]
    output: PathBuf,
    /// Private key to sign with; the first is the signer, each further one adds a signature
    #[arg(short, long, value_name = "FILE")]
    key: Vec<PathBuf>,
    #[command(flatten)]
    passphrase: PassphraseArgs,
    /// Public key that must have signed OLD; one of several is enough
    #[arg(long, value_name = "PUB")]
    signer: Vec<PathBuf>,
    /// Files to leave out, as globs relative to the work environment; not where setup commands are kept
    #[arg(long, value_name = "GLOB")]
    exclude: Vec<String>,
    /// Compression: 1 is fast, 22 is small
    #[arg(long, value_name = "N", default_value_t = crate::compress::DEFAULT_LEVEL,
          value_parser = clap::value_parser!(i32).range(1..=22))]
    level: i32,
    /// Print the report as JSON
    #[arg(long)]
    json: bool,
}

/// Prints the report of the new package.
pub(crate) fn run(args: ConvertArgs, out: &mut dyn Write) -> anyhow::Result<()> {
    let signers = Anchors::read(&args.signer)?;
    let file = PackageFile::open(&c_path(&args.file))?;
    match file.unverified() {
        Err(Error::Package { source: FormatError::NoSeal, .. }) => {}
        Ok(_) => {
            return Failure::new(Class::Usage, "the package has a seal already")
                .hint("`pspf sign` signs it anew")
                .err();
        }
        Err(error) => return Err(error.into()),
    }
    let opened = Opened::open(&file)?;
    hold_to_keys(&signers, &[*opened.signer()])?;
    opened.check(&file)?;
    crate::interrupt::prepare().context("preparing to be interrupted")?;
    let package = opened.package();
    let files = vec![&file; package.slots.len()];
    let input = reference_package::input(&package.metadata, &package.slots, &files, args.exclude)
        .map_err(|error| reference_package::named(error, &args.file))?;
    let args = PackArgs {
        path: args.file,
        output: Some(args.output),
        key: args.key,
        passphrase: args.passphrase,
        level: args.level,
        json: args.json,
        ..PackArgs::default()
    };
    let (_, report) = pack(&args, input)?;
    report.finish(args.json, out)
}
