//! `pspf key`: make key pairs, and say which key a file holds.

use std::io::Write;
use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};
use pspf_keys::PublicKey;
use serde::Serialize;

use crate::args::PassphraseArgs;
use crate::keyfile::{self, AnyKey, PassphraseSource};
use crate::voice::print_json;

/// Version of the JSON reports of this module. It rises when a field changes its meaning or goes away.
const SCHEMA: u32 = 1;

/// Make a key pair, or show which key a file holds
#[derive(Args, Debug)]
pub(crate) struct KeyArgs {
    #[command(subcommand)]
    command: KeyCommand,
}

#[derive(Debug, Subcommand)]
enum KeyCommand {
    New(NewArgs),
    Show(ShowArgs),
}

/// Make a new key pair: NAME.key to sign with, NAME.pub to give away
///
/// The private key is a PKCS#8 PEM file with mode 0600 that OpenSSL reads too, the public key a line in OpenSSH's form.
/// Files that exist are never overwritten.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  pspf key new release                           release.key and release.pub, here
  pspf key new release --dir ~/keys --passphrase encrypted; asks for a passphrase twice")]
struct NewArgs {
    /// Name of the two files, without an ending
    name: String,
    /// Folder to write them to
    #[arg(long, value_name = "DIR", default_value = ".")]
    dir: PathBuf,
    /// Encrypt the private key; asks twice, unless a file or descriptor is given
    #[arg(long)]
    passphrase: bool,
    #[command(flatten)]
    source: PassphraseArgs,
    /// Print the report as JSON
    #[arg(long)]
    json: bool,
}

/// Show the fingerprint and the public key of a key file
///
/// FILE may hold a public key (OpenSSH, PEM, minisign or hex) or a private one (PKCS#8 PEM or OpenSSH), of which the
/// public half is shown.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  pspf key show release.pub          compare its fingerprint with the published one
  pspf key show ~/.ssh/id_ed25519    the public half, as a line for release.pub")]
struct ShowArgs {
    /// The key file
    file: PathBuf,
    #[command(flatten)]
    source: PassphraseArgs,
    /// Print the report as JSON
    #[arg(long)]
    json: bool,
}

/// Runs `pspf key …` and prints its report to `out`.
pub(crate) fn run(args: &KeyArgs, out: &mut dyn Write) -> anyhow::Result<()> {
    match &args.command {
        KeyCommand::New(args) => new(args, out),
        KeyCommand::Show(args) => show(args, out),
    }
}

#[derive(Serialize)]
struct NewReport {
    schema: u32,
    private: String,
    public: String,
    encrypted: bool,
    #[serde(flatten)]
    key: KeyReport,
}

#[derive(Serialize)]
struct ShowReport {
    schema: u32,
    file: String,
    /// `public` or `private`: what the file holds.
    kind: &'static str,
    #[serde(flatten)]
    key: KeyReport,
}

#[derive(Serialize)]
struct KeyReport {
    /// `ed25519:` and 64 hex digits.
    fingerprint: String,
    /// OpenSSH's line, without a comment.
    openssh: String,
}

impl KeyReport {
    fn new(key: &PublicKey) -> Self {
        Self { fingerprint: format!("ed25519:{}", key.fingerprint()), openssh: key.to_openssh("") }
    }
}

fn new(args: &NewArgs, out: &mut dyn Write) -> anyhow::Result<()> {
    let source = PassphraseSource::new(&args.source)?;
    let encrypted = args.passphrase || matches!(source, PassphraseSource::Given(_));
    let passphrase = encrypted.then(|| source.for_new_key()).transpose()?;
    let passphrase = passphrase.as_ref().map(|passphrase| passphrase.as_slice());
    let pair = keyfile::write_new_pair(&args.dir, &args.name, passphrase)?;
    let key = KeyReport::new(&pair.key);
    if args.json {
        let report =
            NewReport { schema: SCHEMA, private: lossy(&pair.private), public: lossy(&pair.public), encrypted, key };
        return Ok(print_json(&report, out)?);
    }
    let protection = if encrypted { "encrypted" } else { "not encrypted" };
    writeln!(out, "private key  {} ({protection}; keep it to yourself)", lossy(&pair.private).escape_debug())?;
    writeln!(out, "public key   {} (give it to those who verify)", lossy(&pair.public).escape_debug())?;
    writeln!(out, "fingerprint  {}", key.fingerprint)?;
    Ok(())
}

fn show(args: &ShowArgs, out: &mut dyn Write) -> anyhow::Result<()> {
    let source = PassphraseSource::new(&args.source)?;
    let (kind, key) = match keyfile::read_any(&args.file, &source)? {
        AnyKey::Public(key) => ("public", key),
        AnyKey::Private(key) => ("private", key),
    };
    let key = KeyReport::new(&key);
    if args.json {
        return Ok(print_json(&ShowReport { schema: SCHEMA, file: lossy(&args.file), kind, key }, out)?);
    }
    writeln!(out, "{}", key.fingerprint)?;
    writeln!(out, "{}", key.openssh)?;
    Ok(())
}

/// A path as JSON can say it.
fn lossy(path: &Path) -> String {
    path.to_string_lossy().into_owned()
}

#[cfg(all(test, unix))]
mod tests {
    use clap::Parser;

    use super::*;
    use crate::failure::lines;

    #[derive(Parser)]
    struct Cli {
        #[command(flatten)]
        key: KeyArgs,
    }

    fn pspf_key(arguments: &[&str]) -> Result<String, String> {
        let cli = Cli::try_parse_from([&["key"], arguments].concat()).map_err(|error| error.to_string())?;
        let mut out = Vec::new();
        run(&cli.key, &mut out).map_err(|error| lines(&error))?;
        Ok(String::from_utf8(out).unwrap())
    }

    #[test]
    fn new_and_show_agree() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name).into_os_string().into_string().unwrap();
        let said = pspf_key(&["new", "a", "--dir", &at("")]).unwrap();
        assert!(said.starts_with("private key  ") && said.contains("(not encrypted;"), "{said}");
        let public = pspf_key(&["show", &at("a.pub")]).unwrap();
        assert_eq!(public, pspf_key(&["show", &at("a.key")]).unwrap());
        let (fingerprint, line) = public.trim_end().split_once('\n').unwrap();
        assert!(said.ends_with(&format!("fingerprint  {fingerprint}\n")));
        assert!(fingerprint.starts_with("ed25519:") && fingerprint.len() == 8 + 64);
        assert_eq!(std::fs::read_to_string(at("a.pub")).unwrap(), format!("{line} a\n"));

        let json = pspf_key(&["show", "--json", &at("a.key")]).unwrap();
        let json: serde_json::Value = serde_json::from_str(&json).unwrap();
        let expected = serde_json::json!({
            "schema": 1, "file": at("a.key"), "kind": "private", "fingerprint": fingerprint, "openssh": line,
        });
        assert_eq!(json, expected);
    }

    #[test]
    fn a_passphrase_file_encrypts_and_opens() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name).into_os_string().into_string().unwrap();
        std::fs::write(at("p"), "secret\n").unwrap();
        let said = pspf_key(&["new", "a", "--dir", &at(""), "--passphrase-file", &at("p"), "--json"]).unwrap();
        assert!(said.contains("\"encrypted\": true"), "{said}");
        assert!(std::fs::read_to_string(at("a.key")).unwrap().starts_with("-----BEGIN ENCRYPTED PRIVATE KEY-----"));
        let private = pspf_key(&["show", &at("a.key"), "--passphrase-file", &at("p")]).unwrap();
        assert_eq!(private, pspf_key(&["show", &at("a.pub")]).unwrap());
        std::fs::write(at("p"), "wrong\n").unwrap();
        let error = pspf_key(&["show", &at("a.key"), "--passphrase-file", &at("p")]).unwrap_err();
        assert!(error.contains("wrong passphrase"), "{error}");
    }

    #[test]
    fn a80_a_passphrase_is_never_an_argument() {
        assert!(pspf_key(&["new", "a", "--passphrase=secret"]).unwrap_err().contains("unexpected value"));
        assert!(pspf_key(&["new", "a", "--passphrase-file", "f", "--passphrase-fd", "3"]).is_err());
    }
}
