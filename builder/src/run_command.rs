//! `pspf run`: checks every byte of a package, then becomes its application.

use std::borrow::Cow;
use std::ffi::{CString, OsString};
use std::os::unix::ffi::OsStringExt;
use std::path::PathBuf;

use clap::Args;
use pspf_format::{Class, Error as FormatError};
use pspf_keys::PublicKey;
use pspf_launcher::{Environment, Error, Invocation, PackageFile, Thorough, check};
use pspf_unsealed::Opened;
use pspf_workenv::run_package;

use crate::failure::{At, Failure};
use crate::paths::c_path;
use crate::verify_check::Anchors;

/// Check a package as a whole, then start it
///
/// Unlike a start of the file itself, which trusts its own launcher, this checks every byte before anything of the
/// package runs. It does not need the file to be executable.
///
/// A package without a seal, as other tools of this format make them, is started with `--allow-unsealed`: its slots,
/// and what is done with them, are held to what its own key signed.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  pspf run tool.psp
  pspf run tool.psp -- --help
  pspf run --key release.pub tool.psp            only if this key signed it
  pspf run --allow-unsealed old.psp              a package of another tool")]
pub(crate) struct RunArgs {
    /// The package
    pub(crate) file: PathBuf,
    /// Public key of a signer that you trust; start nothing that none of these keys signed
    #[arg(short, long, value_name = "PUB")]
    pub(crate) key: Vec<PathBuf>,
    /// Start packages without a seal, of which the signature covers only a part
    #[arg(long)]
    pub(crate) allow_unsealed: bool,
    /// Arguments for the application
    #[arg(last = true, value_name = "ARGS")]
    pub(crate) args: Vec<OsString>,
}

/// Does not return where the application starts.
pub(crate) fn run(args: RunArgs) -> anyhow::Result<()> {
    let anchors = Anchors::read(&args.key)?;
    // As a start of the file itself would find it.
    let path = args.file.canonicalize().at("opening", &args.file)?;
    let file = PackageFile::open(&c_path(&path))?;
    let name = std::iter::once(args.file.into_os_string());
    let argv = name.chain(args.args).map(|arg| CString::new(arg.into_vec()).map(Cow::Owned));
    let argv = argv.collect::<Result<Vec<_>, _>>()?;
    let invocation = Invocation { argv, environment: Environment::of_process() };
    match file.unverified() {
        Err(Error::Package { source: FormatError::NoSeal, .. }) if args.allow_unsealed => {
            let opened = Opened::open(&file)?;
            hold_to_keys(&anchors, &[*opened.signer()])?;
            opened.check(&file)?;
            pspf_launcher::sys::signals::reset_pipe();
            match pspf_unsealed::run(&file, &opened, &invocation)? {}
        }
        unverified => {
            let sealed = unverified?.verify_all().map_err(|error| file.wrong(error))?;
            hold_to_keys(&anchors, sealed.signers())?;
            let package = file.opened(sealed)?;
            check(&file, &package, Thorough::default())?;
            // Rust's start-up ignores SIGPIPE; applications expect what a shell gives them.
            pspf_launcher::sys::signals::reset_pipe();
            match run_package(&file, &package, &invocation)? {}
        }
    }
}

/// Fails where keys were named and none of them signed.
pub(crate) fn hold_to_keys(anchors: &Anchors, signers: &[PublicKey]) -> anyhow::Result<()> {
    let is_trusted = |signer: &PublicKey| anchors.file_of(signer).is_some();
    if anchors.iter().next().is_none() || signers.iter().any(is_trusted) {
        return Ok(());
    }
    let who: Vec<_> = signers.iter().map(|signer| format!("ed25519:{}", signer.fingerprint())).collect();
    Failure::new(
        Class::Trust,
        format!("none of the keys that were given signed it; its signers are {}", who.join(", ")),
    )
    .hint("do not use it, unless one of its signers is known to you: then name that key")
    .err()
}
