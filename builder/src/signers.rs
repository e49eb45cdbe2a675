//! The keys that sign a package.

use std::path::PathBuf;

use anyhow::Context;
use pspf_format::{Class, Draft, MAX_SIGNATURES};
use pspf_keys::{PublicKey, SecretKey, Zeroizing};

use crate::args::PassphraseArgs;
use crate::failure::{Failure, shown};
use crate::keyfile::{PassphraseSource, read_secret};

/// One key or more; the first is the signer that the index names.
#[derive(Debug)]
pub(crate) struct Signers {
    keys: Vec<SecretKey>,
    /// Made for this package alone and forgotten: the signature shows changes, and nobody.
    pub(crate) throw_away: bool,
}

impl Signers {
    /// Opens these key files.
    pub(crate) fn load(paths: &[PathBuf], passphrase: &PassphraseArgs) -> anyhow::Result<Self> {
        let source = PassphraseSource::new(passphrase)?;
        let mut keys: Vec<SecretKey> = Vec::new();
        for path in paths {
            let key = read_secret(path, &source)?;
            let same = keys.iter().position(|other| other.public_key() == key.public_key());
            if let Some(other) = same.and_then(|position| paths.get(position)) {
                let (path, other) = (shown(path), shown(other));
                return Failure::usage(format!("{path} and {other} hold the same key, which signs once")).err();
            }
            keys.push(key);
        }
        if keys.len() > MAX_SIGNATURES {
            return Failure::usage(format!("{} keys, a package has at most {MAX_SIGNATURES} signatures", keys.len()))
                .err();
        }
        Ok(Self { keys, throw_away: false })
    }

    /// Opens these key files, or makes a throw-away key where there are none.
    pub(crate) fn load_or_make(paths: &[PathBuf], passphrase: &PassphraseArgs) -> anyhow::Result<Self> {
        if !paths.is_empty() {
            return Self::load(paths, passphrase);
        }
        let mut seed = Zeroizing::new([0; 32]);
        getrandom::fill(seed.as_mut_slice())
            .map_err(std::io::Error::from)
            .context("random numbers of the operating system")?;
        Ok(Self { keys: vec![SecretKey::from_seed(&seed)], throw_away: true })
    }

    /// The public halves, in the order in which the files were given.
    pub(crate) fn public_keys(&self) -> Vec<PublicKey> {
        self.keys.iter().map(SecretKey::public_key).collect()
    }

    /// Makes the first key the signer of the index, and drops all signatures.
    pub(crate) fn take_over(&self, draft: &mut Draft, metadata_json: &[u8]) -> anyhow::Result<()> {
        let first = self.keys.first().ok_or_else(|| Failure::new(Class::Internal, "internal error: no key"))?;
        draft.set_signer(&first.public_key(), Some(first.sign(metadata_json)));
        Ok(())
    }

    /// Adds the signature of every key.
    pub(crate) fn sign(&self, draft: &mut Draft) -> anyhow::Result<()> {
        let message = draft.message();
        for key in &self.keys {
            draft.add(&key.public_key(), key.sign(&message))?;
        }
        Ok(())
    }
}
