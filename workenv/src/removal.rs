//! Work environments that are there, and their removal (SPEC §10.7): never one that is in use.

use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use pspf_format::Sha256;
use pspf_launcher::cache::is_used_below;
use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;

use crate::Error;
use crate::folder::{Folder, remove_tree};

/// A work environment that a record names.
#[derive(Clone, Debug)]
pub struct WorkenvListing {
    /// Id of its package (SPEC §10.7).
    pub id: Sha256,
    /// Where it is.
    pub path: PathBuf,
    /// Bytes on the disk.
    pub bytes: u64,
    /// When it was last noted to be used, to the hour.
    pub last_used: SystemTime,
}

/// What was removed.
#[derive(Clone, Copy, Debug, Default)]
pub struct RemovedWorkenvs {
    /// Work environments that are gone.
    pub workenvs: u64,
    /// Bytes that are free again.
    pub bytes: u64,
    /// Those that were left because they are in use, or were lately.
    pub kept: u64,
}

/// The work environments of a cache, in the order of their ids.
pub fn list_workenvs(cache: &Path) -> Vec<WorkenvListing> {
    let mut found = Vec::new();
    for id in ids(cache) {
        let folder = Folder::new(cache, id);
        let last_used = fs::metadata(folder.record()).and_then(|record| record.modified());
        if let (Some(path), Ok(last_used)) = (folder.named(), last_used) {
            found.push(WorkenvListing { id, bytes: disk_usage(&path), path, last_used });
        }
    }
    found
}

/// Removes the work environment of one package, or of all, that was not used for so long.
///
/// # Errors
/// Where the cache cannot be changed.
pub fn remove_workenvs(cache: &Path, only: Option<Sha256>, unused_for: Duration) -> Result<RemovedWorkenvs, Error> {
    let mut removed = RemovedWorkenvs::default();
    for id in ids(cache).into_iter().filter(|id| only.is_none_or(|only| only == *id)) {
        match remove(&Folder::new(cache, id), unused_for)? {
            Some(bytes) => {
                removed.workenvs += 1;
                removed.bytes += bytes;
            }
            None => removed.kept += 1,
        }
    }
    Ok(removed)
}

/// The packages that have something there.
fn ids(cache: &Path) -> Vec<Sha256> {
    let entries = fs::read_dir(cache.join("env")).into_iter().flatten().flatten();
    // Of records, locks, and what was left half made.
    let id = |entry: fs::DirEntry| Sha256::from_hex(entry.file_name().to_str()?.get(..64)?);
    let mut ids: Vec<Sha256> = entries.filter_map(id).collect();
    ids.sort();
    ids.dedup();
    ids
}

/// Removes it, unless it is used. A start locks it before it trusts the record, until its program is executed; this locks
/// it first and looks afterwards. So either the start is seen, or it finds nothing there and makes it anew.
fn remove(folder: &Folder, unused_for: Duration) -> Result<Option<u64>, Error> {
    let Some(_turn) = folder.turn_now() else { return Ok(None) };
    let record = folder.record();
    let Some(file) = folder.open_record() else {
        let before = disk_usage_of(folder);
        folder.reclaim();
        let _ = fs::remove_file(folder.lock());
        let freed = before.saturating_sub(disk_usage_of(folder));
        return Ok(Some(freed).filter(|_| disk_usage_of(folder) == 0));
    };
    let is_unused = || {
        let modified = file.metadata().and_then(|found| found.modified());
        unused_for.is_zero() || modified.is_ok_and(|then| then.elapsed().is_ok_and(|age| age > unused_for))
    };
    let mut bytes = 0;
    let mut aside = None;
    if let Some(path) = folder.named().filter(|path| path.is_dir()) {
        let lock = fs::File::open(&path).map_err(Error::io("opening", &path))?;
        let is_started = flock(&lock, FlockOperation::NonBlockingLockExclusive) == Err(Errno::WOULDBLOCK);
        if is_started || !is_unused() || is_used(&path) {
            return Ok(None);
        }
        bytes = disk_usage(&path);
        let away = path.with_extension("removed");
        fs::rename(&path, &away).map_err(Error::io("removing", &path))?;
        // What was executed in the moment after the lock was let go.
        if is_used(&away) || names_in_environment(&path) {
            fs::rename(&away, &path).map_err(Error::io("keeping", &path))?;
            return Ok(None);
        }
        aside = Some((away, lock));
    }
    fs::remove_file(&record).map_err(Error::io("removing", &record))?;
    if let Some((away, _lock)) = &aside {
        remove_tree(away);
    }
    folder.reclaim();
    let _ = fs::remove_file(folder.lock());
    Ok(Some(bytes))
}

/// Whether a live process runs from a work environment, as far as we may look: by its executable, what it maps, its
/// directory, or a variable that names it, as one does in every program of the package.
pub(crate) fn is_used(path: &Path) -> bool {
    let real = path.canonicalize().unwrap_or_else(|_| path.to_owned());
    is_used_below(real.as_os_str().as_bytes()) || names_in_environment(path)
}

fn names_in_environment(path: &Path) -> bool {
    let path = path.as_os_str().as_bytes();
    let processes = fs::read_dir("/proc").into_iter().flatten().flatten();
    let own = std::process::id().to_string();
    processes.filter(|process| process.file_name() != *own).any(|process| {
        let variables = fs::read(process.path().join("environ")).unwrap_or_default();
        // The name is long and random: what holds it speaks of this directory.
        variables.windows(path.len()).any(|window| window == path)
    })
}

/// Bytes of everything that a package has there.
fn disk_usage_of(folder: &Folder) -> u64 {
    folder.leftovers().iter().map(|path| disk_usage(path)).sum()
}

fn disk_usage(path: &Path) -> u64 {
    let Ok(found) = path.symlink_metadata() else { return 0 };
    let below = if found.is_dir() { fs::read_dir(path).ok() } else { None };
    let below: u64 = below.into_iter().flatten().flatten().map(|entry| disk_usage(&entry.path())).sum();
    found.blocks() * 512 + below
}
