//! What `pspf pack` and `pspf sign` say about the package that they made.

use std::io::Write;
use std::path::Path;

use serde::Serialize;

use crate::readback::ReadBack;
use crate::signers::Signers;
use crate::slot::StoredSlot;
use crate::stub::Launcher;
use crate::voice::{print_json, size};

/// Version of the JSON report. It rises when a field changes its meaning or goes away.
const SCHEMA: u32 = 1;

/// The report; its fields are those of the JSON.
#[derive(Debug, Serialize)]
pub(crate) struct PackReport {
    schema: u32,
    file: FileReport,
    name: String,
    version: String,
    platform: String,
    package_id: String,
    /// Length of all file content that was packed.
    content_size: u64,
    slots: Vec<SlotReport>,
    /// Directory of the build cache; `null` where none was used.
    pub(crate) build_cache: Option<String>,
    launcher: LauncherReport,
    /// `ed25519:` and 64 hex digits each; the first is the signer in the index.
    signers: Vec<String>,
    /// The key was made for this package and is gone.
    throw_away_key: bool,
    pub(crate) seconds: f64,
    pub(crate) warnings: Vec<String>,
}

#[derive(Debug, Serialize)]
pub(crate) struct FileReport {
    /// Characters that are not UTF-8 are replaced: JSON cannot hold them.
    pub(crate) path: String,
    pub(crate) size: u64,
    /// Always there in the JSON; nobody else asks for it.
    pub(crate) sha256: Option<String>,
}

#[derive(Debug, Serialize)]
struct SlotReport {
    id: String,
    /// `directory` or `file`.
    kind: &'static str,
    operations: String,
    lifecycle: &'static str,
    files: usize,
    content_size: u64,
    stored_size: u64,
    /// Frames of the stored slot; none for `raw`.
    frames: usize,
    /// How many of them were not compressed, but found in the build cache.
    frames_reused: usize,
}

#[derive(Debug, Serialize)]
struct LauncherReport {
    kind: String,
    size: u64,
    sha256: String,
}

impl PackReport {
    pub(crate) fn new(
        path: &Path,
        read_back: &ReadBack,
        launcher: &Launcher,
        stored: &[StoredSlot],
        signers: &Signers,
    ) -> Self {
        let metadata = read_back.package.metadata();
        let slots = stored.iter().map(|slot| SlotReport {
            id: slot.metadata.id.to_string(),
            kind: if slot.metadata.operations.is_tree() { "directory" } else { "file" },
            operations: slot.metadata.operations.to_string(),
            lifecycle: slot.metadata.lifecycle.as_str(),
            files: slot.files,
            content_size: slot.content_size,
            stored_size: slot.metadata.stored_size,
            frames: slot.frames.all,
            frames_reused: slot.frames.reused,
        });
        Self {
            schema: SCHEMA,
            file: FileReport::new(path, read_back),
            name: metadata.package.name.to_string(),
            version: metadata.package.version.to_string(),
            platform: metadata.pspf.platform.to_string(),
            package_id: read_back.package.package_id().to_string(),
            content_size: stored.iter().map(|slot| slot.content_size).sum(),
            slots: slots.collect(),
            build_cache: None,
            launcher: LauncherReport {
                kind: launcher.kind.clone(),
                size: metadata.launcher.size,
                sha256: metadata.launcher.sha256.to_string(),
            },
            signers: fingerprints(read_back),
            throw_away_key: signers.throw_away,
            seconds: 0.0,
            warnings: Vec::new(),
        }
    }

    /// Says what is worth knowing, then prints the report.
    pub(crate) fn finish(&self, json: bool, out: &mut dyn Write) -> anyhow::Result<()> {
        for warning in &self.warnings {
            crate::voice::warn(warning);
        }
        self.print(json, out)?;
        Ok(out.flush()?)
    }

    /// Prints it, for people or as JSON.
    fn print(&self, json: bool, out: &mut dyn Write) -> anyhow::Result<()> {
        if json {
            return Ok(print_json(self, out)?);
        }
        let Self { file, name, version, platform, package_id, seconds, .. } = self;
        let path = file.path.escape_debug();
        writeln!(out, "packed {path} ({}) in {seconds:.2} s, read back and verified", size(file.size))?;
        writeln!(out, "  package    {name} {version} for {platform}")?;
        writeln!(out, "  id         {package_id}")?;
        let width = self.slots.iter().map(|slot| slot.id.len()).max().unwrap_or(0);
        for (number, slot) in self.slots.iter().enumerate() {
            let label = if number == 0 { "slots" } else { "" };
            let files = if slot.files == 1 { "1 file".to_owned() } else { format!("{} files", slot.files) };
            let lifecycle = if slot.lifecycle == "runtime" { String::new() } else { format!(", {}", slot.lifecycle) };
            let ratio = ratio(slot.stored_size, slot.content_size);
            let (content, stored) = (size(slot.content_size), size(slot.stored_size));
            let (id, kind) = (&slot.id, slot.kind);
            writeln!(out, "  {label:10} {id:width$}  {kind}{lifecycle}, {files}, {content} -> {stored}{ratio}")?;
        }
        let count = |of: fn(&SlotReport) -> usize| self.slots.iter().map(of).sum::<usize>();
        let (frames, reused) = (count(|slot| slot.frames), count(|slot| slot.frames_reused));
        if reused > 0 {
            writeln!(out, "  reused     {reused} of {frames} frames, from the build cache")?;
        }
        writeln!(out, "  launcher   {} ({})", size(self.launcher.size), self.launcher.kind)?;
        write_signers(&self.signers, out)?;
        if self.throw_away_key {
            writeln!(
                out,
                "             with a throw-away key: it shows any change, but nobody can tell who made this"
            )?;
            writeln!(out, "             make a key: `pspf key new NAME`, then `pspf pack --key NAME.key`")?;
        }
        Ok(())
    }
}

impl FileReport {
    pub(crate) fn new(path: &Path, read_back: &ReadBack) -> Self {
        let sha256 = read_back.sha256.map(|sha256| sha256.to_string());
        Self { path: path.to_string_lossy().into_owned(), size: read_back.size, sha256 }
    }
}

/// The signers of a package, as they are shown.
pub(crate) fn fingerprints(read_back: &ReadBack) -> Vec<String> {
    read_back.package.sealed().signers().iter().map(|key| format!("ed25519:{}", key.fingerprint())).collect()
}

/// The lines that name the signers.
pub(crate) fn write_signers(signers: &[String], out: &mut dyn Write) -> anyhow::Result<()> {
    for (number, signer) in signers.iter().enumerate() {
        writeln!(out, "  {:10} {signer}", if number == 0 { "signed by" } else { "and by" })?;
    }
    Ok(())
}

fn ratio(stored: u64, content: u64) -> String {
    // Of a few kilobytes it says nothing: the index is most of them.
    if content < 100_000 { String::new() } else { format!(" ({:.0} %)", stored as f64 * 100.0 / content as f64) }
}
