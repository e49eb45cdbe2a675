//! A package of a provider, checked as a whole before anything is made of it.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use anyhow::Context;
use pspf_format::{Class, Sha256};
use pspf_launcher::{Thorough, check};

use super::address::{Address, hold_to_version};
use crate::failure::{At, Failure, shown};
use crate::run_command::hold_to_keys;
use crate::stub::elf_machine;
use crate::verify_check::{Anchors, open};

/// A verified package: these bytes of this open file.
#[derive(Debug)]
pub(super) struct Release {
    pub(super) path: PathBuf,
    pub(super) version: String,
    /// Such as `linux_amd64`, as the CLIs name it too.
    pub(super) platform: String,
    pub(super) sha256: Sha256,
    file: File,
}

impl Release {
    /// Checks every byte of a package, who signed it where keys are given, and that it is this provider.
    pub(super) fn open(path: &Path, address: &Address, anchors: &Anchors) -> anyhow::Result<Self> {
        let package_file = open(path)?;
        let sealed = package_file.unverified()?.verify_all().map_err(|error| package_file.wrong(error))?;
        hold_to_keys(anchors, sealed.signers()).with_context(|| shown(path))?;
        let package = package_file.opened(sealed)?;
        let checked = check(&package_file, &package, Thorough { digest: true, ..Thorough::default() })?;
        let metadata = package.metadata();
        let (name, version) = (metadata.package.name.to_string(), metadata.package.version.to_string());
        let platform = metadata.pspf.platform.to_string();
        if name != address.program() {
            let wanted = address.program();
            return Failure::usage(format!("{} is `{name}`, and the program of {address} is `{wanted}`", shown(path)))
                .hint("pack it with `--provider NAMESPACE/NAME`, and name the same provider here")
                .err();
        }
        hold_to_version(&version).with_context(|| shown(path))?;
        let mut file = File::from(package_file.file().try_clone_to_owned().at("opening", path)?);
        let mut head = [0; 64];
        file.read_exact(&mut head).at("reading", path)?;
        let machine = elf_machine(&head).map(|machine| format!("linux_{machine}"));
        if machine.as_deref() != Some(&platform) {
            let found = machine.unwrap_or_else(|| "no platform that is known".to_owned());
            let text = format!("{} says that it is for {platform}, and its launcher is for {found}", shown(path));
            return Failure::new(Class::Format, text).hint("pack it again").err();
        }
        let sha256 = checked.sha256.ok_or_else(|| {
            Failure::new(Class::Internal, format!("internal error: no digest of {} was computed", shown(path)))
        })?;
        Ok(Self { path: path.to_owned(), version, platform, sha256, file })
    }

    /// Fails where two of them would be the same archive.
    pub(super) fn hold_apart(releases: &[Self]) -> anyhow::Result<()> {
        for (number, one) in releases.iter().enumerate() {
            let same = |two: &&Self| (&two.version, &two.platform) == (&one.version, &one.platform);
            if let Some(two) = releases.iter().take(number).find(same) {
                let (version, platform) = (&one.version, &one.platform);
                let (one, two) = (shown(&one.path), shown(&two.path));
                return Failure::usage(format!("{two} and {one} are both version {version} for {platform}"))
                    .hint("name one of them")
                    .err();
            }
        }
        Ok(())
    }

    /// The open file.
    pub(super) fn file(&self) -> anyhow::Result<File> {
        self.file.try_clone().at("opening", &self.path)
    }
}
