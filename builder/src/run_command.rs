//! `pspf run`: checks every byte of a package, then becomes its application.

use std::borrow::Cow;
use std::ffi::{CString, OsString};
use std::os::unix::ffi::OsStringExt;
use std::path::PathBuf;

use crate::failure::At;
use crate::paths::c_path;
use clap::Args;
use pspf_launcher::{Environment, Invocation, PackageFile, Thorough, check, run_package};

/// Check a package as a whole, then start it
///
/// Unlike a start of the file itself, which trusts its own launcher, this checks every byte before anything of the
/// package runs. It does not need the file to be executable.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  pspf run tool.psp
  pspf run tool.psp -- --help")]
pub(crate) struct RunArgs {
    /// The package
    pub(crate) file: PathBuf,
    /// Arguments for the application
    #[arg(last = true, value_name = "ARGS")]
    pub(crate) args: Vec<OsString>,
}

/// Does not return where the application starts.
pub(crate) fn run(args: RunArgs) -> anyhow::Result<()> {
    // As a start of the file itself would find it.
    let path = args.file.canonicalize().at("opening", &args.file)?;
    let file = PackageFile::open(&c_path(&path))?;
    let sealed = file.unverified()?.verify_all().map_err(|error| file.wrong(error))?;
    let package = file.opened(sealed)?;
    check(&file, &package, Thorough::default())?;
    let name = std::iter::once(args.file.into_os_string());
    let argv = name.chain(args.args).map(|arg| CString::new(arg.into_vec()).map(Cow::Owned));
    let argv = argv.collect::<Result<Vec<_>, _>>()?;
    // Rust's start-up ignores SIGPIPE; applications expect what a shell gives them.
    pspf_launcher::sys::signals::reset_pipe();
    let invocation = Invocation { argv, environment: Environment::of_process() };
    match run_package(&file, &package, &invocation)? {}
}
