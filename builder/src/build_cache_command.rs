//! What `pspf cache` says of the build cache and does with it.

use std::io::Write;
use std::path::Path;
use std::time::Duration;

use serde::Serialize;

use crate::build_cache_files::{Folder, Usage, limit};
use crate::cache_command::{ago, count};
use crate::failure::shown;
use crate::voice::size;

/// The build cache in the JSON of `pspf cache list` and `info`.
#[derive(Debug, Serialize)]
pub(crate) struct BuildReport {
    /// `null` where there is none.
    directory: Option<String>,
    frames: u64,
    bytes: u64,
    /// The most that it may hold; none where it is turned off.
    limit: u64,
    last_used: Option<i64>,
}

impl BuildReport {
    /// Looks at it.
    pub(crate) fn new() -> anyhow::Result<Self> {
        let limit = limit()?;
        let folder = Folder::find();
        let Usage { frames, bytes, last_used } = folder.as_ref().map(Folder::usage).transpose()?.unwrap_or_default();
        let directory = folder.map(|folder| folder.path().to_string_lossy().into_owned());
        Ok(Self { directory, frames, bytes, limit, last_used })
    }

    /// One line; none where there is no build cache.
    pub(crate) fn print(&self, out: &mut dyn Write) -> anyhow::Result<()> {
        let Some(directory) = &self.directory else { return Ok(()) };
        let (frames, bytes, limit) = (count(self.frames, "frame"), size(self.bytes), size(self.limit));
        let used = self.last_used.map(|used| format!(", used {}", ago(used))).unwrap_or_default();
        let directory = shown(Path::new(directory));
        Ok(writeln!(out, "build cache {directory}: {frames}, {bytes} of at most {limit}{used}")?)
    }
}

/// Removes the frames that were not used for this long; says nothing where there are none.
pub(crate) fn prune(unused_for: Duration, out: &mut dyn Write) -> anyhow::Result<()> {
    let Some(folder) = Folder::find() else { return Ok(()) };
    let (removed, outcome) = folder.prune(unused_for);
    if removed.frames > 0 {
        told(removed, out)?;
    }
    outcome
}

/// Removes all frames. One that a packing uses now stays open for it.
pub(crate) fn remove(out: &mut dyn Write) -> anyhow::Result<()> {
    let Some(folder) = Folder::find() else { return told(Usage::default(), out) };
    let (removed, outcome) = folder.prune(Duration::ZERO);
    if outcome.is_ok() || removed.frames > 0 {
        told(removed, out)?;
    }
    outcome
}

fn told(removed: Usage, out: &mut dyn Write) -> anyhow::Result<()> {
    let (frames, bytes) = (count(removed.frames, "frame"), size(removed.bytes));
    Ok(writeln!(out, "removed {frames} of the build cache, {bytes}")?)
}
