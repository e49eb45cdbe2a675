//! The folder of one provider in a mirror.
//!
//! Archives that are there stay, and what is written about them is computed from the archives themselves. Everything is
//! complete beside its final name before the first file gets it; archives get theirs before the documents that name them.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use serde::Serialize;

use super::address::Address;
use super::archive::Hashes;
use super::place::{Place, document, json};
use super::release::Release;
use crate::failure::{At, Failure, shown};
use crate::interrupt;
use crate::output::Staged;

/// What is in the mirror now.
#[derive(Debug)]
pub(super) struct Mirrored {
    pub(super) folder: PathBuf,
    /// Those of the packages.
    pub(super) versions: Vec<Version>,
}

/// A version, with all its platforms.
#[derive(Debug, Serialize)]
pub(super) struct Version {
    pub(super) version: String,
    pub(super) protocols: Vec<String>,
    pub(super) archives: Vec<Archive>,
    /// File names in the folder.
    pub(super) shasums: String,
    pub(super) manifest: String,
    /// A signature that was made for another list.
    pub(super) stale_signature: Option<String>,
}

/// An archive.
#[derive(Debug, Serialize)]
pub(super) struct Archive {
    pub(super) platform: String,
    pub(super) file: String,
    pub(super) size: u64,
    /// Whether this command put it there.
    pub(super) added: bool,
    #[serde(flatten)]
    pub(super) hashes: Hashes,
}

/// `index.json` of the network mirror protocol.
#[derive(Serialize)]
struct Index {
    versions: BTreeMap<String, Empty>,
}

#[derive(Serialize)]
struct Empty {}

/// Puts these packages into the mirror.
pub(super) fn write(
    dir: &Path,
    address: &Address,
    releases: &[Release],
    protocols: &[String],
) -> anyhow::Result<Mirrored> {
    let mut above = Made::default();
    above.directory(dir)?;
    // Whoever changes the same mirror waits here: what it holds is read below, and then described.
    let lock = File::open(dir).at("opening", dir)?;
    lock.lock().at("locking", dir)?;
    let folder = dir.join(address.folder());
    // Goes away before the lock does.
    let mut below = Made::default();
    below.directory(&folder)?;
    let place = Place { folder, address };
    let present = place.archives()?;

    let (mut programs, mut documents, mut versions) = (Vec::new(), Vec::new(), Vec::new());
    let wanted: BTreeSet<&str> = releases.iter().map(|release| release.version.as_str()).collect();
    for version in wanted {
        let mut archives = BTreeMap::new();
        for (platform, name) in present.get(version).into_iter().flatten() {
            archives.insert(platform.clone(), place.archive(platform, name)?);
        }
        for release in releases.iter().filter(|release| release.version == version) {
            let (archive, staged) = place.stage_archive(release)?;
            match archives.get(&release.platform) {
                Some(there) if there.hashes == archive.hashes => continue,
                Some(there) => {
                    let there = place.folder.join(&there.file);
                    return Failure::usage(format!("{} is there, with another content", shown(&there)))
                        .hint("a version does not change: pack a new one, or, if nobody has this one, remove the file")
                        .err();
                }
                None => {}
            }
            archives.insert(release.platform.clone(), archive);
            programs.push(staged);
        }
        let (version, changed) = place.describe(version, archives.into_values().collect(), protocols)?;
        documents.extend(changed);
        versions.push(version);
    }
    // What others have put there without its document is not named: nobody could install it by the index.
    let is_described = |version: &&String| place.folder.join(document(version)).is_file();
    let others = present.keys().filter(is_described).cloned();
    let all = others.chain(versions.iter().map(|version| version.version.clone()));
    let index = Index { versions: all.map(|version| (version, Empty {})).collect() };
    documents.extend(place.stage("index.json", &json(&index)?)?);

    programs.into_iter().chain(documents).try_for_each(Staged::commit)?;
    Ok(Mirrored { folder: place.folder, versions })
}

/// Directories that go away again unless something comes into them.
#[derive(Default)]
struct Made(Vec<PathBuf>);

impl Made {
    /// Makes a directory, and those above it.
    fn directory(&mut self, path: &Path) -> anyhow::Result<()> {
        let is_missing = |path: &&Path| !path.as_os_str().is_empty() && !path.exists();
        let missing: Vec<&Path> = path.ancestors().take_while(is_missing).collect();
        for path in missing.into_iter().rev() {
            match interrupt::create_directory(path) {
                // Somebody else was first.
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                made => {
                    made.at("creating", path)?;
                    self.0.push(path.to_owned());
                }
            }
        }
        Ok(())
    }
}

impl Drop for Made {
    fn drop(&mut self) {
        interrupt::settle(&self.0, || {
            for path in self.0.iter().rev() {
                let _ = fs::remove_dir(path);
            }
        });
    }
}
