//! `pspf provider`: packed providers, in the files that Terraform and OpenTofu install them from.

mod address;
mod archive;
mod mirror;
mod place;
mod release;
mod report;

use std::io::Write;
use std::path::PathBuf;

use clap::{Args, Subcommand};

pub(crate) use address::{Address, hold_to_version};
use release::Release;

use crate::verify_check::Anchors;

/// Bring packed providers to Terraform and OpenTofu
#[derive(Args, Debug)]
#[command(after_help = "\
A provider is packed with `pspf pack PATH --provider NAMESPACE/NAME --package-version V`.")]
pub(crate) struct ProviderArgs {
    #[command(subcommand)]
    command: ProviderCommand,
}

#[derive(Debug, Subcommand)]
enum ProviderCommand {
    Mirror(MirrorArgs),
}

/// Lay out packed providers as a mirror that Terraform and OpenTofu install from
///
/// DIR becomes a filesystem mirror, or stays one with what it holds of other versions and platforms:
/// HOST/NAMESPACE/NAME/terraform-provider-NAME_V_OS_ARCH.zip. Beside the archives stand the documents of the network mirror
/// protocol (`index.json`, `V.json`), so that DIR can be served as it is, and what a registry asks for: `SHA256SUMS` and the
/// manifest. Name, version and platform are those of the package, of which every byte is checked first.
///
/// An archive holds the package as it is, stored, as it is compressed already: the same package gives the same archive. What
/// a registry asks for beyond that, the GPG signature of `SHA256SUMS`, is the publisher's own step.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  pspf pack ./demo --provider acme/demo --package-version 1.2.3 --key release.key
  pspf provider mirror ./mirror terraform-provider-demo_v1.2.3 \\
      --provider acme/demo --protocol 6.0 --key release.pub

Where a configuration names no host, Terraform asks for registry.terraform.io/acme/demo, OpenTofu
for registry.opentofu.org/acme/demo. A mirror for both holds the provider twice, unless the
configuration names the host:
  pspf provider mirror ./mirror terraform-provider-demo_v1.2.3 \\
      --provider registry.opentofu.org/acme/demo --protocol 6.0 --key release.pub

They use the mirror by their configuration (~/.terraformrc, ~/.tofurc or the file in
TF_CLI_CONFIG_FILE):
  provider_installation {
    filesystem_mirror {
      path = \"/srv/mirror\"
    }
  }

For a registry, sign the list with the key that it knows:
  cd ./mirror/registry.terraform.io/acme/demo
  gpg --detach-sign terraform-provider-demo_1.2.3_SHA256SUMS")]
struct MirrorArgs {
    /// The mirror's directory; it is made where it is not there
    dir: PathBuf,
    /// Packages of this provider, of any versions and platforms
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,
    /// Address of the provider; without a host it is that of registry.terraform.io
    #[arg(long, required = true, value_name = "[HOST/]NAMESPACE/NAME")]
    provider: Address,
    /// Public key of a signer that you trust; take nothing that none of these keys signed
    #[arg(short, long, value_name = "PUB")]
    key: Vec<PathBuf>,
    /// Version of the plugin protocol that the provider speaks, for the manifest; may be given several times [default:
    /// what a registry takes it to be without a manifest, 5.0]
    #[arg(long, value_name = "N.N", value_parser = protocol)]
    protocol: Vec<String>,
    /// Print the report as JSON
    #[arg(long)]
    json: bool,
}

/// Runs `pspf provider …` and prints its report to `out`.
pub(crate) fn run(args: &ProviderArgs, out: &mut dyn Write) -> anyhow::Result<()> {
    let ProviderCommand::Mirror(args) = &args.command;
    let anchors = Anchors::read(&args.key)?;
    let releases: Vec<Release> =
        args.files.iter().map(|file| Release::open(file, &args.provider, &anchors)).collect::<anyhow::Result<_>>()?;
    Release::hold_apart(&releases)?;
    let mirrored = mirror::write(&args.dir, &args.provider, &releases, &args.protocol)?;
    report::print(args, &mirrored, out)
}

/// A version of the plugin protocol.
fn protocol(text: &str) -> Result<String, String> {
    let is_number = |number: &str| number.parse::<u8>().is_ok_and(|value| value.to_string() == number);
    match text.split_once('.') {
        Some((major, minor)) if is_number(major) && is_number(minor) => Ok(text.to_owned()),
        _ => Err("it is two numbers, such as `6.0`".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_of_the_protocol_have_two_numbers() {
        assert_eq!(protocol("6.0"), Ok("6.0".to_owned()));
        for text in ["6", "6.0.1", "v6.0", "6.", ".0", "06.0", "6.0 ", "300.0"] {
            assert!(protocol(text).is_err(), "{text}");
        }
    }
}
