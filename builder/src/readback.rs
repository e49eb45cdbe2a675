//! Reads a written package again and verifies it as a whole, with the keys that will be published.

use std::fs::File;
use std::path::Path;

use pspf_format::{Class, Sha256, VerifiedPackage};
use pspf_keys::PublicKey;
use pspf_launcher::{Depth, PackageFile, Thorough};

use crate::failure::{At, Failure, shown};
use crate::paths::c_path;

/// A package that was read back.
#[derive(Debug)]
pub(crate) struct ReadBack {
    pub(crate) package: VerifiedPackage,
    /// Of the file, where it was wanted.
    pub(crate) sha256: Option<Sha256>,
    pub(crate) size: u64,
}

/// Verifies every byte of the file and every digest of a slot; `path` is for messages. The signers must be exactly these, the first one first.
pub(crate) fn verify(file: &File, path: &Path, signers: &[PublicKey], digest: bool) -> anyhow::Result<ReadBack> {
    let file = PackageFile::from_file(file.try_clone().at("reading", path)?.into(), &c_path(path))?;
    let sealed = file.unverified()?.verify_all().map_err(|error| file.wrong(error))?;
    let package = file.opened(sealed)?;
    let mut expected = signers.to_vec();
    if let Some((_, rest)) = expected.split_first_mut() {
        rest.sort_unstable();
    }
    if package.sealed().signers() != expected {
        let text = format!("internal error: {} was not signed with the keys that were given", shown(path));
        return Failure::new(Class::Internal, text).err();
    }
    // What is published says of every slot what its SHA-256 is, and other tools go by that.
    let checked = pspf_launcher::check(&file, &package, Thorough { digest, depth: Depth::Whole })?;
    Ok(ReadBack { package, sha256: checked.sha256, size: checked.size })
}
