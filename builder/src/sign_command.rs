//! `pspf sign`: adds a signature to a package, or signs it anew.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::MetadataExt;

use anyhow::Context;
use pspf_format::{Class, Draft, VerifiedPackage};
use pspf_keys::PublicKey;
use pspf_launcher::{PackageFile, Thorough};
use serde::Serialize;

use crate::args::SignArgs;
use crate::failure::{At, Failure, shown};
use crate::output::Destination;
use crate::pack_report::{FileReport, fingerprints, write_signers};
use crate::paths::c_path;
use crate::readback::ReadBack;
use crate::signers::Signers;
use crate::voice::print_json;

/// Version of the JSON report. It rises when a field changes its meaning or goes away.
const SCHEMA: u32 = 1;

#[derive(Debug, Serialize)]
struct SignReport {
    schema: u32,
    file: FileReport,
    package_id: String,
    /// `ed25519:` and 64 hex digits each; the first is the signer in the index.
    signers: Vec<String>,
    /// How many of them this command added.
    added: usize,
}

/// Runs `pspf sign` and prints its report to `out`.
pub(crate) fn run(args: &SignArgs, out: &mut dyn Write) -> anyhow::Result<()> {
    // A link to a package is left as it is: what it points to is signed.
    let real = args.file.canonicalize().at("opening", &args.file)?;
    let file = PackageFile::open(&c_path(&real))?;
    // Whoever signs the same file at the same time waits here, and finds below that it was replaced.
    let mut source = File::from(file.file().try_clone_to_owned().at("opening", &args.file)?);
    source.lock().at("locking", &args.file)?;
    let now = real.metadata().at("reading", &args.file)?;
    let own = source.metadata().at("reading", &args.file)?;
    if (now.dev(), now.ino()) != (own.dev(), own.ino()) {
        return Failure::new(Class::Io, format!("{} was replaced meanwhile", shown(&args.file)))
            .hint("sign it again")
            .err();
    }
    let sealed = file.unverified()?.verify_all().map_err(|error| file.wrong(error))?;
    let package = file.opened(sealed)?;
    pspf_launcher::check(&file, &package, Thorough::default())?;
    let signers = Signers::load(&args.key, &args.passphrase)?;
    let (trailer, expected) = signed(&package, &signers, args.replace).with_context(|| shown(&args.file))?;

    let destination = Destination::new(real)?;
    let mut staged = destination.stage()?;
    let mode = own.mode();
    let mut write = || -> io::Result<()> {
        source.seek(SeekFrom::Start(0))?;
        let target = staged.file()?;
        io::copy(&mut (&source).take(package.layout().trailer.offset), target)?;
        target.write_all(&trailer)?;
        staged.set_mode(mode)
    };
    write().at("writing", &args.file)?;
    let read_back = crate::readback::verify(staged.file()?, &args.file, &expected, args.json)?;
    staged.commit()?;
    report(args, &read_back, signers.public_keys().len()).print(args.json, out)
}

/// The new trailer, and whose signatures it holds.
fn signed(package: &VerifiedPackage, signers: &Signers, replace: bool) -> anyhow::Result<(Vec<u8>, Vec<PublicKey>)> {
    let mut draft = Draft::of(package.sealed());
    let mut expected = package.sealed().signers().to_vec();
    if replace {
        signers.take_over(&mut draft, &package.metadata().to_json())?;
        expected.clear();
    }
    signers.sign(&mut draft)?;
    expected.extend(signers.public_keys());
    Ok((draft.trailer()?, expected))
}

fn report(args: &SignArgs, read_back: &ReadBack, added: usize) -> SignReport {
    SignReport {
        schema: SCHEMA,
        file: FileReport::new(&args.file, read_back),
        package_id: read_back.package.package_id().to_string(),
        signers: fingerprints(read_back),
        added,
    }
}

impl SignReport {
    fn print(&self, json: bool, out: &mut dyn Write) -> anyhow::Result<()> {
        if json {
            return Ok(print_json(self, out)?);
        }
        writeln!(out, "signed {}, read back and verified", self.file.path.escape_debug())?;
        writeln!(out, "  id         {}", self.package_id)?;
        write_signers(&self.signers, out)
    }
}
