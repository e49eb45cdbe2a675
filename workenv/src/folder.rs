//! Work environments (SPEC §10.7): the directory that a package is unpacked and set up in, under its final path from
//! the beginning, and committed by the record that names it.

use std::ffi::{CString, OsStr};
use std::fs::{self, DirBuilder, File, FileTimes};
use std::io::{self, Read, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use pspf_format::Sha256;
use pspf_launcher::sys::stdio;
use pspf_launcher::{Environment, Umask};
use rustix::fs::{FlockOperation, OFlags, flock};
use rustix::io::Errno;
use tempfile::TempDir;

use crate::Error;
use crate::locks::Locks;
use crate::removal::is_used;

/// What tells a start that it is part of a setup: the work environments that are being made, the innermost first.
pub const SETUP: &str = "PSPF_SETUP";

const MAGIC: &str = "PSPF workenv 1";
/// What a record is longer than never.
const MAX_RECORD: u64 = 4096;
/// How old the note of the last use may be.
const NOTED: Duration = Duration::from_secs(3600);
/// How long a start waits for another one without a word, and how long at all.
const QUIET: Duration = Duration::from_secs(3);
const PATIENCE: Duration = Duration::from_secs(600);
/// How many files are synced one by one.
const FEW: usize = 128;
/// How often a new directory may be taken by somebody who reclaims.
const TRIES: usize = 10;

/// A work environment that is complete, and that nobody removes as long as this lives.
#[derive(Debug)]
pub struct Workenv {
    /// Where it is.
    pub path: PathBuf,
    _lock: File,
}

/// The work environment of a package, made where it is not there yet: `fill` makes a new, empty directory what the
/// package wants to start in, and the locks are for the commands that it runs.
///
/// # Errors
/// Those of `fill`; where the cache cannot be written. Nothing is left behind.
pub fn ready<E: From<Error>>(
    cache: &Path,
    id: Sha256,
    caller: &Environment,
    fill: impl FnOnce(&Path, &Locks<'_>) -> Result<(), E>,
) -> Result<Workenv, E> {
    let folder = Folder::new(cache, id);
    folder.make()?;
    if let Some(workenv) = folder.committed() {
        return Ok(workenv);
    }
    // It would wait for its own end.
    let own = folder.path.join(folder.prefix());
    let own = own.as_os_str().as_bytes();
    if caller.get(SETUP).is_some_and(|places| places.windows(own.len()).any(|place| place == own)) {
        return Err(Error::Nested.into());
    }
    // Whoever comes second waits, instead of doing the same.
    let turn = folder.turn()?;
    if let Some(workenv) = folder.committed() {
        return Ok(workenv);
    }
    folder.reclaim();
    let (made, directory) = folder.new_directory()?;
    let path = made.path();
    // Setup commands share the locks: where this process is killed, nobody takes their place as long as they run.
    let locks = Locks(turn.iter().chain([&directory]).collect());
    if let Err(error) = fill(path, &locks) {
        // Also what has no permission to be removed by others.
        remove_tree(path);
        return Err(error);
    }
    // Whatever became of it: nobody else enters.
    let closed = fs::set_permissions(path, fs::Permissions::from_mode(0o700));
    closed.map_err(Error::io("setting the mode of", path))?;
    // From now on it is the user's: it is not lost with the machine's memory.
    settle(&directory, path)?;
    folder.commit(path)?;
    // What the setup has left running, which is nobody's business, holds the same locks.
    let _ = flock(&directory, FlockOperation::LockShared);
    if let Some(turn) = &turn {
        let _ = flock(turn, FlockOperation::Unlock);
    }
    Ok(Workenv { path: made.keep(), _lock: directory })
}

/// What [`SETUP`] is for the commands that set up this work environment: the outer ones, where there are some, come after.
pub fn setup_value(caller: &Environment, workenv: &Path) -> Vec<u8> {
    let outer = caller.get(SETUP).filter(|outer| !outer.is_empty());
    let outer = outer.map(|outer| [b":", outer].concat()).unwrap_or_default();
    [workenv.as_os_str().as_bytes(), &outer].concat()
}

/// Removes a file or a directory; that it is not there is no error.
///
/// # Errors
/// Where it cannot be removed.
pub fn remove(path: &Path) -> Result<(), Error> {
    let removed = match fs::symlink_metadata(path) {
        Ok(found) if found.is_dir() => {
            remove_tree(path);
            if path.exists() { Err(io::ErrorKind::PermissionDenied.into()) } else { Ok(()) }
        }
        Ok(_) => fs::remove_file(path),
        Err(error) => Err(error),
    };
    match removed {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(Error::io("removing", path)(error)),
        _ => Ok(()),
    }
}

pub(crate) fn remove_tree(path: &Path) {
    let text = |path: &OsStr| CString::new(path.as_bytes()).unwrap_or_default();
    if let (Some(parent), Some(name)) = (path.parent(), path.file_name()) {
        pspf_launcher::cache::remove_directory(&text(parent.as_os_str()), &text(name));
    }
}

/// Where the work environments of a cache are, and what belongs to one package.
pub(crate) struct Folder {
    path: PathBuf,
    id: Sha256,
}

impl Folder {
    pub(crate) fn new(cache: &Path, id: Sha256) -> Self {
        Self { path: cache.join("env"), id }
    }

    /// Makes the folder of all work environments, and holds to it that nobody else puts something there.
    fn make(&self) -> Result<(), Error> {
        let _umask = Umask::none();
        match DirBuilder::new().mode(0o700).create(&self.path) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
                return Err(Error::io("creating", &self.path)(error));
            }
            _ => {}
        }
        let found = fs::symlink_metadata(&self.path).map_err(Error::io("reading", &self.path))?;
        let reason = match () {
            () if !found.is_dir() => "it is no directory",
            () if !is_ours(&found) => "it belongs to somebody else",
            () if found.mode() & 0o022 != 0 => "others can write to it",
            () => return Ok(()),
        };
        Err(Error::io("using", &self.path)(io::Error::new(
            io::ErrorKind::PermissionDenied,
            format!("unsafe: {reason}"),
        )))
    }

    /// A new directory of this package, which others leave alone as long as the file is open.
    pub(crate) fn new_directory(&self) -> Result<(TempDir, File), Error> {
        let _umask = Umask::none();
        let mut builder = tempfile::Builder::new();
        builder.rand_bytes(16).permissions(fs::Permissions::from_mode(0o700));
        let prefix = self.prefix();
        builder.prefix(&prefix);
        for _ in 0..TRIES {
            let made = builder.tempdir_in(&self.path).map_err(Error::io("creating a directory in", &self.path))?;
            // Whoever reclaims may have come first, in the moment before the lock, and holds it until the directory is gone.
            let Ok(directory) = File::open(made.path()) else { continue };
            if flock(&directory, FlockOperation::NonBlockingLockExclusive) != Err(Errno::WOULDBLOCK)
                && is_named(&directory, made.path())
            {
                return Ok((made, directory));
            }
        }
        Err(Error::io("creating a directory in", &self.path)(io::ErrorKind::ResourceBusy.into()))
    }

    fn prefix(&self) -> String {
        format!("{}-", self.id)
    }

    pub(crate) fn record(&self) -> PathBuf {
        self.path.join(format!("{}.ok", self.id))
    }

    pub(crate) fn lock(&self) -> PathBuf {
        self.path.join(format!("{}.lock", self.id))
    }

    /// The record, where it is a file.
    pub(crate) fn open_record(&self) -> Option<File> {
        let flags = (OFlags::NOFOLLOW | OFlags::NONBLOCK).bits() as i32;
        let file = File::options().read(true).custom_flags(flags).open(self.record()).ok()?;
        file.metadata().is_ok_and(|found| found.is_file()).then_some(file)
    }

    /// What the record names, where it is sound and nobody else's.
    pub(crate) fn named(&self) -> Option<PathBuf> {
        let mut file = self.open_record()?;
        let found = file.metadata().ok()?;
        let mut text = String::new();
        Read::by_ref(&mut file).take(MAX_RECORD).read_to_string(&mut text).ok()?;
        let (body, digest) = text.strip_suffix('\n')?.rsplit_once('\n')?;
        let name = body.strip_prefix(MAGIC)?.strip_prefix('\n')?;
        let is_whole = digest == Sha256::of(body.as_bytes()).to_string();
        let is_own = !name.contains(['/', '\n']) && name.starts_with(&self.prefix()) && is_ours(&found);
        (is_whole && is_own).then(|| self.path.join(name))
    }

    /// The work environment that the record names, where it is there and nobody else's too.
    fn committed(&self) -> Option<Workenv> {
        let path = self.named()?;
        let found = fs::symlink_metadata(&path).ok()?;
        if !found.is_dir() || !is_ours(&found) {
            return None;
        }
        // Its mode is the application's to change, as far as the next start can come in.
        if found.mode() & 0o700 != 0o700 {
            let _ = fs::set_permissions(&path, fs::Permissions::from_mode(found.mode() & 0o777 | 0o700));
        }
        let flags = (OFlags::NOFOLLOW | OFlags::DIRECTORY).bits() as i32;
        let lock = File::options().read(true).custom_flags(flags).open(&path).ok()?;
        // Whoever removes it has locked it first, and so either is seen here, or sees this.
        let is_taken = flock(&lock, FlockOperation::NonBlockingLockShared) == Err(Errno::WOULDBLOCK);
        if is_taken || !is_named(&lock, &path) || self.named().as_ref() != Some(&path) {
            return None;
        }
        let record = self.open_record()?;
        let age = record.metadata().and_then(|found| found.modified()).ok()?.elapsed().unwrap_or_default();
        if age > NOTED {
            // By the descriptor: an owner may do that to a file that is open for reading.
            let _ = record.set_times(FileTimes::new().set_modified(SystemTime::now()));
        }
        Some(Workenv { path, _lock: lock })
    }

    /// Writes the record: what it speaks of is on the disk.
    fn commit(&self, path: &Path) -> Result<(), Error> {
        let _umask = Umask::none();
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let body = format!("{MAGIC}\n{name}");
        let text = format!("{body}\n{}\n", Sha256::of(body.as_bytes()));
        let failed = |error| Error::io("writing", &self.record())(error);
        // Under a name that whoever comes next takes for something left over, unless it is locked.
        let record = tempfile::Builder::new().prefix(&self.prefix()).tempfile_in(&self.path);
        let mut record = record.map_err(failed)?;
        let _ = flock(record.as_file(), FlockOperation::NonBlockingLockExclusive);
        record.write_all(text.as_bytes()).map_err(failed)?;
        record.as_file().sync_all().map_err(failed)?;
        record.persist(self.record()).map_err(|error| failed(error.error))?;
        File::open(&self.path).and_then(|folder| folder.sync_all()).map_err(failed)
    }

    /// A lock that whoever makes this environment holds; none where there is none to be had. Waiting for long is told.
    pub(crate) fn turn(&self) -> Result<Option<File>, Error> {
        let lock = self.lock();
        let step = Duration::from_millis(50);
        for waited in 0..PATIENCE.as_millis() / step.as_millis() {
            match self.locked() {
                Ok(turn) => return Ok(Some(turn)),
                Err(Errno::WOULDBLOCK) => {}
                Err(_) => return Ok(None),
            }
            if waited == QUIET.as_millis() / step.as_millis() {
                let lock = lock.to_string_lossy().escape_debug().to_string();
                stdio::tell(&format!("pspf: another start sets this package up; waiting for it (`{lock}`)\n"));
            }
            std::thread::sleep(step);
        }
        Err(Error::io("waiting for another start, which sets this package up and holds", &lock)(
            io::ErrorKind::TimedOut.into(),
        ))
    }

    /// The same, unless somebody makes it now.
    pub(crate) fn turn_now(&self) -> Option<File> {
        self.locked().ok()
    }

    fn locked(&self) -> Result<File, Errno> {
        let _umask = Umask::none();
        let mut options = File::options();
        let flags = (OFlags::NOFOLLOW | OFlags::NONBLOCK).bits() as i32;
        options.create(true).write(true).truncate(false).mode(0o600).custom_flags(flags);
        for _ in 0..TRIES {
            let file = options.open(self.lock()).map_err(|_| Errno::ACCESS)?;
            flock(&file, FlockOperation::NonBlockingLockExclusive)?;
            // A removal takes the file with it.
            if is_named(&file, &self.lock()) {
                return Ok(file);
            }
        }
        Err(Errno::WOULDBLOCK)
    }

    /// Everything of this package but its record and its lock.
    pub(crate) fn leftovers(&self) -> Vec<PathBuf> {
        let entries = fs::read_dir(&self.path).into_iter().flatten().flatten();
        let of_package = |entry: &fs::DirEntry| entry.file_name().to_string_lossy().starts_with(&self.prefix());
        entries.filter(of_package).map(|entry| entry.path()).collect()
    }

    /// Removes what starts of this package left that were killed. What a record names may be in use, if not here then by
    /// another machine that shares the cache.
    pub(crate) fn reclaim(&self) {
        let named = self.named();
        for path in self.leftovers().into_iter().filter(|path| named.as_ref() != Some(path)) {
            let flags = (OFlags::NOFOLLOW | OFlags::NONBLOCK).bits() as i32;
            let opened = File::options().read(true).custom_flags(flags).open(&path);
            let lock = opened.ok().filter(|file| flock(file, FlockOperation::NonBlockingLockExclusive).is_ok());
            if lock.is_some() && !is_used(&path) {
                remove_tree(&path);
            }
        }
    }
}

/// Whether the file still has this name.
pub(crate) fn is_named(file: &File, path: &Path) -> bool {
    let (own, named) = (file.metadata(), path.symlink_metadata());
    matches!((own, named), (Ok(own), Ok(named)) if (own.dev(), own.ino()) == (named.dev(), named.ino()))
}

/// Waits until a new work environment is on the disk. A few files do not wait for what others write; for many it is less
/// work to wait for all.
fn settle(directory: &File, path: &Path) -> Result<(), Error> {
    let mut room = FEW;
    let done = match sync_each(path, &mut room) {
        Ok(true) => Ok(()),
        _ => rustix::fs::syncfs(directory).map_err(io::Error::from),
    };
    done.map_err(Error::io("syncing", path))
}

/// Syncs every file and directory, as long as there is room for more of them; says whether there was.
fn sync_each(path: &Path, room: &mut usize) -> io::Result<bool> {
    let found = fs::symlink_metadata(path)?;
    *room = room.saturating_sub(1);
    if *room == 0 {
        return Ok(false);
    }
    if found.is_dir() {
        for entry in fs::read_dir(path)? {
            if !sync_each(&entry?.path(), room)? {
                return Ok(false);
            }
        }
    }
    if found.is_dir() || found.is_file() {
        File::open(path)?.sync_all()?;
    }
    Ok(true)
}

/// Whether it belongs to us, or to root who may have made it ahead.
fn is_ours(found: &fs::Metadata) -> bool {
    found.uid() == 0 || found.uid() == rustix::process::geteuid().as_raw()
}

#[cfg(test)]
mod tests;
