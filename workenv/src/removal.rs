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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::folder::ready;
    use crate::testing::alone;
    use pspf_launcher::Environment;
    use std::fs::File;
    use std::process::{Child, Command};

    const DAY: Duration = Duration::from_secs(24 * 3600);

    fn id(name: &str) -> Sha256 {
        Sha256::of(name.as_bytes())
    }

    /// A work environment with a file and a directory.
    fn made(cache: &Path, id: Sha256) -> PathBuf {
        let made = ready::<Error>(cache, id, &Environment::default(), |path, _| {
            fs::create_dir(path.join("folder")).unwrap();
            fs::write(path.join("folder/file"), [7; 50_000]).unwrap();
            fs::write(path.join("tool"), [7; 5000]).unwrap();
            Ok(())
        });
        made.unwrap().path
    }

    /// What `du` counts.
    fn bytes_of(workenv: &Path) -> u64 {
        let blocks = |name: &str| fs::metadata(workenv.join(name)).unwrap().blocks();
        512 * (blocks("") + blocks("folder") + blocks("folder/file") + blocks("tool"))
    }

    fn used_at(cache: &Path, id: Sha256, then: SystemTime) {
        let record = File::options().write(true).open(Folder::new(cache, id).record()).unwrap();
        record.set_modified(then).unwrap();
    }

    fn left(cache: &Path) -> usize {
        fs::read_dir(cache.join("env")).unwrap().count()
    }

    /// A program that runs for as long as it is let.
    struct Sleep(Child);

    impl Sleep {
        fn new(command: &mut Command) -> Self {
            Self(command.spawn().unwrap())
        }
    }

    impl Drop for Sleep {
        fn drop(&mut self) {
            let _ = self.0.kill();
            let _ = self.0.wait();
        }
    }

    fn sleep() -> Command {
        let mut command = Command::new("/bin/sleep");
        command.arg("60").env_clear().current_dir("/");
        command
    }

    #[test]
    fn work_environments_are_listed_with_what_they_take() {
        let _alone = alone();
        let cache = tempfile::tempdir().unwrap();
        assert!(list_workenvs(cache.path()).is_empty());
        let mut ids = [id("one"), id("two"), id("three")];
        ids.sort();
        let paths = ids.map(|id| made(cache.path(), id));
        let then = SystemTime::now() - DAY;
        used_at(cache.path(), ids[1], then);
        // One that was left half made is none.
        fs::create_dir(cache.path().join("env").join(format!("{}-dead", id("four")))).unwrap();
        fs::write(cache.path().join("env/other"), "").unwrap();
        let listed = list_workenvs(cache.path());
        let found: Vec<_> = listed.iter().map(|one| (one.id, one.path.clone(), one.bytes)).collect();
        let expected: Vec<_> =
            ids.into_iter().zip(paths).map(|(id, path)| (id, path.clone(), bytes_of(&path))).collect();
        assert_eq!(found, expected);
        assert!(bytes_of(&found[0].1) >= 55_000);
        assert_eq!(listed[1].last_used, then);
    }

    #[test]
    fn what_was_not_used_for_long_is_removed_and_nothing_else() {
        let _alone = alone();
        let cache = tempfile::tempdir().unwrap();
        let ids = ["one", "two", "three", "four"].map(id);
        let paths = ids.map(|id| made(cache.path(), id));
        let now = SystemTime::now();
        // One more was noted by a clock that went wrong.
        for (id, then) in ids.into_iter().zip([now - 3 * DAY, now - 2 * DAY, now, now + DAY]) {
            used_at(cache.path(), id, then);
        }
        let bytes = paths.each_ref().map(|path| bytes_of(path));
        let remove = |only, unused_for| {
            let removed = remove_workenvs(cache.path(), only, unused_for).unwrap();
            (removed.workenvs, removed.bytes, removed.kept)
        };
        assert_eq!(remove(Some(id("none")), DAY), (0, 0, 0));
        assert_eq!(remove(Some(ids[2]), DAY), (0, 0, 1));
        assert_eq!(remove(Some(ids[2]), Duration::ZERO), (1, bytes[2], 0));
        assert_eq!(remove(None, 4 * DAY), (0, 0, 3));
        assert_eq!(left(cache.path()), 9);
        assert_eq!(remove(None, DAY), (2, bytes[0] + bytes[1], 1));
        assert!(paths[3].join("tool").exists());
        assert_eq!(remove(None, Duration::ZERO), (1, bytes[3], 0));
        assert_eq!(left(cache.path()), 0);
    }

    #[test]
    fn what_a_program_runs_in_or_speaks_of_stays() {
        let _alone = alone();
        let cache = tempfile::tempdir().unwrap();
        let one = id("one");
        let path = made(cache.path(), one);
        let remove = || {
            let removed = remove_workenvs(cache.path(), None, Duration::ZERO).unwrap();
            (removed.workenvs, removed.kept)
        };
        for user in [sleep().current_dir(path.join("folder")), sleep().env("HERE", path.join("folder"))] {
            let _user = Sleep::new(user);
            assert!(is_used(&path));
            assert_eq!(remove(), (0, 1));
            assert!(path.join("tool").exists());
        }
        // Also where somebody sets it up at this moment.
        let turn = Folder::new(cache.path(), one).turn_now();
        assert_eq!(remove(), (0, 1));
        drop(turn);
        assert!(!is_used(&path));
        assert_eq!(remove(), (1, 0));
    }

    #[test]
    fn what_was_left_half_made_is_removed_unless_somebody_is_at_work() {
        let _alone = alone();
        let cache = tempfile::tempdir().unwrap();
        let folder = Folder::new(cache.path(), id("one"));
        let workenv = made(cache.path(), id("one"));
        fs::remove_file(folder.record()).unwrap();
        let bytes = bytes_of(&workenv);
        let remove = || {
            let removed = remove_workenvs(cache.path(), None, Duration::ZERO).unwrap();
            (removed.workenvs, removed.bytes, removed.kept)
        };
        let held = File::open(&workenv).unwrap();
        rustix::fs::flock(&held, rustix::fs::FlockOperation::NonBlockingLockExclusive).unwrap();
        assert_eq!(remove(), (0, 0, 1));
        drop(held);
        assert_eq!(remove(), (1, bytes, 0));
        assert_eq!(left(cache.path()), 0);
        // A record whose work environment is gone already.
        let workenv = made(cache.path(), id("one"));
        fs::remove_dir_all(workenv).unwrap();
        assert_eq!(remove(), (1, 0, 0));
        assert_eq!(left(cache.path()), 0);
    }
}
