//! What is in the folder of a provider: archives, and the documents about a version of them.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::PathBuf;

use anyhow::Context;
use pspf_format::{Class, Sha256};
use serde::{Deserialize, Serialize};

use super::address::Address;
use super::archive;
use super::mirror::{Archive, Version};
use super::release::Release;
use crate::failure::{At, Failure, shown};
use crate::output::{Destination, Staged};

/// Of everything in a mirror, as far as the umask lets it: it is read by others.
const FILE_MODE: u32 = 0o644;
/// What a registry takes for granted where there is no manifest.
const DEFAULT_PROTOCOL: &str = "5.0";

/// The registry manifest, version 1.
#[derive(Deserialize, Serialize)]
struct Manifest {
    version: u32,
    metadata: ManifestMetadata,
}

#[derive(Deserialize, Serialize)]
struct ManifestMetadata {
    protocol_versions: Vec<String>,
}

/// `V.json` of the network mirror protocol.
#[derive(Serialize)]
struct VersionIndex<'a> {
    archives: BTreeMap<&'a str, IndexArchive<'a>>,
}

#[derive(Serialize)]
struct IndexArchive<'a> {
    hashes: [&'a str; 2],
    /// Relative to the document.
    url: &'a str,
}

/// The folder, and whose it is.
pub(super) struct Place<'a> {
    pub(super) folder: PathBuf,
    pub(super) address: &'a Address,
}

impl Place<'_> {
    /// The names of the archives, by version and platform.
    pub(super) fn archives(&self) -> anyhow::Result<BTreeMap<String, BTreeMap<String, String>>> {
        let mut found: BTreeMap<String, BTreeMap<String, String>> = BTreeMap::new();
        for entry in fs::read_dir(&self.folder).at("reading", &self.folder)? {
            let name = entry.at("reading", &self.folder)?.file_name().to_string_lossy().into_owned();
            if let Some((version, platform)) = self.address.of_archive(&name) {
                found.entry(version.to_owned()).or_default().insert(platform.to_owned(), name.clone());
            }
        }
        Ok(found)
    }

    /// An archive that is there.
    pub(super) fn archive(&self, platform: &str, name: &str) -> anyhow::Result<Archive> {
        let path = self.folder.join(name);
        let file = File::open(&path).at("opening", &path)?;
        let size = file.metadata().at("reading", &path)?.len();
        let hashes = archive::hashes(&file).with_context(|| shown(&path))?;
        Ok(Archive { platform: platform.to_owned(), file: name.to_owned(), size, added: false, hashes })
    }

    /// The archive of a package, beside its place.
    pub(super) fn stage_archive(&self, release: &Release) -> anyhow::Result<(Archive, Staged)> {
        let name = self.address.archive(&release.version, &release.platform);
        let path = self.folder.join(&name);
        let program = self.address.program_of(&release.version);
        let mut staged = Destination::new(path.clone())?.stage_as(FILE_MODE)?;
        let file = staged.file().at("writing", &path)?;
        archive::write(file, &program, &mut release.file()?).at("writing", &path)?;
        // Read back: it holds the very bytes that were checked.
        let hashes = archive::hashes(file).with_context(|| shown(&path))?;
        if hashes.h1 != archive::h1(vec![(program, release.sha256)]) {
            return Failure::new(Class::Integrity, format!("{} was changed while it was read", shown(&release.path)))
                .hint("start again when nobody writes to it")
                .err();
        }
        let size = file.metadata().at("reading", &path)?.len();
        Ok((Archive { platform: release.platform.clone(), file: name, size, added: true, hashes }, staged))
    }

    /// A document, beside its place, unless it is there as it should be.
    pub(super) fn stage(&self, name: &str, content: &[u8]) -> anyhow::Result<Option<Staged>> {
        let path = self.folder.join(name);
        if self.read(name)?.is_some_and(|there| there == content) {
            return Ok(None);
        }
        let mut staged = Destination::new(path.clone())?.stage_as(FILE_MODE)?;
        staged.file().and_then(|file| file.write_all(content)).at("writing", &path)?;
        Ok(Some(staged))
    }

    fn read(&self, name: &str) -> anyhow::Result<Option<Vec<u8>>> {
        let path = self.folder.join(name);
        match fs::read(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            read => read.at("reading", &path).map(Some),
        }
    }

    /// What is written about a version with these archives.
    pub(super) fn describe(
        &self,
        version: &str,
        archives: Vec<Archive>,
        protocols: &[String],
    ) -> anyhow::Result<(Version, Vec<Staged>)> {
        let release = self.address.release(version);
        let manifest = format!("{release}_manifest.json");
        let (manifest_bytes, protocols) = self.manifest(&manifest, protocols)?;
        let mut lines: Vec<_> = archives.iter().map(|archive| (archive.file.as_str(), archive.sha256())).collect();
        let digest = Sha256::of(&manifest_bytes).to_string();
        lines.push((&manifest, &digest));
        lines.sort();
        let lines: Vec<String> = lines.iter().map(|(name, sha256)| format!("{sha256}  {name}\n")).collect();
        let shasums = format!("{release}_SHA256SUMS");
        let there = archives.iter().filter(|archive| !archive.added).map(|archive| archive.file.as_str());
        self.hold_to_list(&shasums, &lines, there)?;
        let index = VersionIndex {
            archives: archives
                .iter()
                .map(|Archive { platform, file, hashes, .. }| {
                    (platform.as_str(), IndexArchive { hashes: [&hashes.h1, &hashes.zh], url: file })
                })
                .collect(),
        };
        let staged_shasums = self.stage(&shasums, lines.concat().as_bytes())?;
        let signature = format!("{shasums}.sig");
        let is_stale = staged_shasums.is_some() && self.folder.join(&signature).exists();
        let staged =
            [self.stage(&manifest, &manifest_bytes)?, staged_shasums, self.stage(&document(version), &json(&index)?)?];
        let described = Version {
            version: version.to_owned(),
            protocols,
            archives,
            shasums,
            manifest,
            stale_signature: is_stale.then_some(signature),
        };
        Ok((described, staged.into_iter().flatten().collect()))
    }

    /// Fails where an archive that is there is not the one that the list names: what is listed now would be what somebody
    /// has put in its place.
    fn hold_to_list<'f>(
        &self,
        list: &str,
        lines: &[String],
        files: impl Iterator<Item = &'f str>,
    ) -> anyhow::Result<()> {
        let listed = self.read(list)?.map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).unwrap_or_default();
        for file in files {
            let of_file = |line: &&str| line.split_once("  ").is_some_and(|(_, name)| name == file);
            let was = listed.lines().find(of_file);
            if was.is_some() && was != lines.iter().map(|line| line.trim_end()).find(of_file) {
                let (file, list) = (shown(&self.folder.join(file)), list.escape_debug());
                return Failure::new(Class::Integrity, format!("{file} is not the file that `{list}` names"))
                    .hint("put back what was published")
                    .err();
            }
        }
        Ok(())
    }

    /// The manifest of a version, as it is there or as it should be, and the protocols that it names.
    fn manifest(&self, name: &str, protocols: &[String]) -> anyhow::Result<(Vec<u8>, Vec<String>)> {
        let Some(there) = self.read(name)? else {
            let default = [DEFAULT_PROTOCOL.to_owned()];
            let protocol_versions = if protocols.is_empty() { &default } else { protocols }.to_vec();
            let manifest = Manifest { version: 1, metadata: ManifestMetadata { protocol_versions } };
            return Ok((json(&manifest)?, manifest.metadata.protocol_versions));
        };
        let path = self.folder.join(name);
        let manifest: Manifest = serde_json::from_slice(&there).map_err(|error| {
            Failure::new(Class::Format, format!("{} is no manifest", shown(&path)))
                .because(error)
                .hint("remove it, and it is written anew")
        })?;
        let said = manifest.metadata.protocol_versions;
        if !protocols.is_empty() && protocols != said {
            return Failure::usage(format!("{} says {}", shown(&path), said.join(", ")))
                .hint("leave `--protocol` out; if that is wrong and nobody has this version, remove the manifest")
                .err();
        }
        Ok((there, said))
    }
}

impl Archive {
    fn sha256(&self) -> &str {
        self.hashes.zh.strip_prefix("zh:").unwrap_or_default()
    }
}

/// The name of the document about a version.
pub(super) fn document(version: &str) -> String {
    format!("{version}.json")
}

pub(super) fn json(document: &impl Serialize) -> anyhow::Result<Vec<u8>> {
    let mut text = serde_json::to_vec_pretty(document)?;
    text.push(b'\n');
    Ok(text)
}
