//! The command line: what can be typed, and the help that makes the README unnecessary.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};

use crate::cache_command::CacheArgs;
use crate::compat::Compat;
use crate::convert_command::ConvertArgs;
use crate::extract_command::ExtractArgs;
use crate::inspect_command::InspectArgs;
use crate::key_command::KeyArgs;
use crate::launcher_command::LauncherArgs;
use crate::node::NodeArgs;
use crate::provider::{Address, ProviderArgs};
use crate::python::PythonArgs;
use crate::run_command::RunArgs;
use crate::verify_command::VerifyArgs;

/// Two lines, the second about the launcher that this program puts in front of every package.
const LONG_VERSION: &str =
    concat!(env!("CARGO_PKG_VERSION"), "\nlauncher: ", env!("PSPF_STUB_TARGET"), " (", env!("PSPF_STUB_KIND"), ")");

/// Packs an application with its runtime into one signed file that runs
#[derive(Debug, Parser)]
#[command(
    name = "pspf",
    version,
    long_version = LONG_VERSION,
    max_term_width = 100,
    arg_required_else_help = true,
    after_help = "\
Examples:
  pspf pack ./dist --exec bin/tool        a directory and its program -> ./dist.psp
  pspf pack ./tool --key release.key      one executable, signed with your key
  pspf verify --key release.pub tool.psp  is it whole, and is it yours?
  ./tool.psp ARGS                         start it; nothing else needs to be installed

Start with `pspf pack --help`."
)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    Pack(Box<PackArgs>),
    Run(RunArgs),
    Verify(VerifyArgs),
    Inspect(InspectArgs),
    Extract(ExtractArgs),
    Sign(SignArgs),
    Key(KeyArgs),
    Cache(CacheArgs),
    Launcher(LauncherArgs),
    Provider(ProviderArgs),
    Convert(ConvertArgs),
}

/// Where passphrases come from.
#[derive(Args, Debug, Default)]
#[group(multiple = false)]
pub(crate) struct PassphraseArgs {
    /// File that holds the passphrase of the key files, on one line
    #[arg(long, value_name = "FILE")]
    pub(crate) passphrase_file: Option<PathBuf>,
    /// Open file descriptor to read the passphrase from
    #[arg(long, value_name = "N")]
    pub(crate) passphrase_fd: Option<i32>,
}

/// Pack an application into one signed file that runs
///
/// PATH is a manifest (`pspf.toml`, or the JSON manifest of the reference builders), a directory that holds one, a Python
/// project (`pyproject.toml`) or a file of requirements, a Node project (`package.json`), a bare directory (then `--exec`
/// names the program in it) or a bare executable. The package is written beside its destination, read back and verified, and then renamed: a failure leaves
/// nothing behind, and a package that was there before stays as it was.
#[derive(Args, Debug, Default)]
#[command(after_help = "\
Examples:
  pspf pack                                     the manifest ./pspf.toml
  pspf pack ./dist --exec bin/tool -o tool.psp  a directory; `bin/tool` in it is started
  pspf pack ./tool --key release.key            one executable, signed
  pspf pack ./tool --run -- --help              pack, then start it with `--help`
  pspf pack ./project --python-prefix ~/python  a Python project with its dependencies and a CPython
  pspf pack --python httpie --entry http        something on the package index
  pspf pack ./project --node 22                 a Node project with its dependencies and a Node
  pspf pack ./demo --provider acme/demo --package-version 1.2.3
                                                a provider -> terraform-provider-demo_v1.2.3

A manifest, every path relative to it:
  [package]
  name = \"greet\"
  version = \"1.2.0\"

  [run]
  command = [\"{slot:python}/bin/python3\", \"-I\", \"{slot:app}/main.py\"]
  env.set = { APP_MODE = \"prod\" }
  env.unset = [\"PYTHONPATH\"]

  [[slot]]
  id = \"python\"
  source = \"build/python\"         # a directory

  [[slot]]
  id = \"app\"
  source = \"src\"
  exclude = [\"**/__pycache__\"]

The same input and key give the same bytes. Times inside the package come from SOURCE_DATE_EPOCH where it is set.
What was compressed before comes from the build cache, see `pspf cache --help`. Turn that off for a release:
PSPF_BUILD_CACHE_SIZE=0.")]
pub(crate) struct PackArgs {
    /// Manifest, project, directory or executable
    #[arg(default_value = ".")]
    pub(crate) path: PathBuf,
    /// Where the package goes [default: NAME.psp, or terraform-provider-NAME_vV, in the current directory]
    #[arg(short, long, value_name = "FILE")]
    pub(crate) output: Option<PathBuf>,
    /// Private key to sign with; the first is the signer, each further one adds a signature
    #[arg(short, long, value_name = "FILE")]
    pub(crate) key: Vec<PathBuf>,
    #[command(flatten)]
    pub(crate) passphrase: PassphraseArgs,
    #[command(flatten)]
    pub(crate) python: PythonArgs,
    #[command(flatten)]
    pub(crate) node: NodeArgs,
    /// Program to start, relative to a bare directory
    #[arg(long, value_name = "REL")]
    pub(crate) exec: Option<String>,
    /// Name of the package [default: the manifest's, or that of the directory or executable]
    #[arg(long)]
    pub(crate) name: Option<String>,
    /// Version of the package [default: the manifest's, or 0.0.0]
    #[arg(long, value_name = "V")]
    pub(crate) package_version: Option<String>,
    /// Pack a provider of Terraform and OpenTofu: name and file name are those that they expect
    #[arg(long, value_name = "[HOST/]NAMESPACE/NAME", conflicts_with = "name")]
    pub(crate) provider: Option<Address>,
    /// Make a package that other tools of this format can read and run as well
    #[arg(long, value_name = "FORMAT")]
    pub(crate) compat: Option<Compat>,
    /// Launcher to use instead of the built-in one
    #[arg(long, value_name = "FILE")]
    pub(crate) launcher: Option<PathBuf>,
    /// Compression: 1 is fast, 22 is small
    #[arg(long, value_name = "N", default_value_t = crate::compress::DEFAULT_LEVEL,
          value_parser = clap::value_parser!(i32).range(1..=22))]
    pub(crate) level: i32,
    /// Print the report as JSON
    #[arg(long, conflicts_with = "run")]
    pub(crate) json: bool,
    /// Start the package after packing
    #[arg(long)]
    pub(crate) run: bool,
    /// Arguments for the program that `--run` starts
    #[arg(last = true, requires = "run", value_name = "ARGS")]
    pub(crate) args: Vec<OsString>,
}

/// Add a signature to a package, or sign it anew
///
/// The package is verified as a whole first, then written beside itself, verified again and renamed. Adding a signature
/// does not change the package id, unless `--replace` is given.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  pspf sign tool.psp --key second.key             another signature beside the first
  pspf sign tool.psp --key release.key --replace  drop all signatures, sign with this key")]
pub(crate) struct SignArgs {
    /// The package
    pub(crate) file: PathBuf,
    /// Private key to sign with
    #[arg(short, long, value_name = "FILE", required = true)]
    pub(crate) key: Vec<PathBuf>,
    #[command(flatten)]
    pub(crate) passphrase: PassphraseArgs,
    /// Drop all signatures first; the first key becomes the signer
    #[arg(long)]
    pub(crate) replace: bool,
    /// Print the report as JSON
    #[arg(long)]
    pub(crate) json: bool,
}
