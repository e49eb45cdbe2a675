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
use pspf_launcher::Environment;
use pspf_launcher::sys::stdio;
use rustix::fs::{FlockOperation, OFlags, flock};
use tempfile::TempDir;

use crate::Error;
use crate::locks::Locks;
use crate::removal::is_used;

/// What tells a start that it is part of a setup: its value is the work environment that is being made.
pub const SETUP: &str = "PSPF_SETUP";

const MAGIC: &str = "PSPF workenv 1";
/// What a record is longer than never.
const MAX_RECORD: u64 = 4096;
/// How old the note of the last use may be.
const NOTED: Duration = Duration::from_secs(3600);
/// What stands in the place of a boot in the record of an environment that is safe on the disk.
const DURABLE: &str = "durable";
/// How long a start waits for another one without a word.
const QUIET: Duration = Duration::from_secs(3);
/// A start that comes so long after the first makes it safe: by then the system has written most of it by itself.
const SETTLED: Duration = Duration::from_secs(60);
/// How often a new directory may be taken by somebody who reclaims.
const TRIES: usize = 10;

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
) -> Result<PathBuf, E> {
    let folder = Folder::new(cache, id);
    folder.make()?;
    if let Some(path) = folder.committed() {
        return Ok(path);
    }
    // It would wait for its own end.
    if caller.get(SETUP).is_some_and(|place| place.starts_with(folder.own_prefix().as_os_str().as_bytes())) {
        return Err(Error::Nested.into());
    }
    // Whoever comes second waits, instead of doing the same; nothing depends on it.
    let turn = folder.turn();
    if let Some(path) = folder.committed() {
        return Ok(path);
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
    // To wait for the disk, which others may keep busy, is for a later start.
    let boot = boot_id();
    if boot == DURABLE {
        sync(&directory, path)?;
    }
    folder.commit(path, &boot)?;
    Ok(made.keep())
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

    fn make(&self) -> Result<(), Error> {
        match DirBuilder::new().mode(0o700).create(&self.path) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => Err(Error::io("creating", &self.path)(error)),
            _ => Ok(()),
        }
    }

    /// A new directory of this package, which others leave alone as long as the file is open.
    pub(crate) fn new_directory(&self) -> Result<(TempDir, File), Error> {
        let mut builder = tempfile::Builder::new();
        builder.rand_bytes(16).permissions(fs::Permissions::from_mode(0o700));
        let prefix = self.prefix();
        builder.prefix(&prefix);
        for _ in 0..TRIES {
            let made = builder.tempdir_in(&self.path).map_err(Error::io("creating a directory in", &self.path))?;
            // Whoever reclaims may have come first, in the moment before the lock.
            let Ok(directory) = File::open(made.path()) else { continue };
            let _ = flock(&directory, FlockOperation::NonBlockingLockExclusive);
            let (own, named) = (directory.metadata(), made.path().symlink_metadata());
            if let (Ok(own), Ok(named)) = (own, named)
                && (own.dev(), own.ino()) == (named.dev(), named.ino())
            {
                return Ok((made, directory));
            }
        }
        Err(Error::io("creating a directory in", &self.path)(io::ErrorKind::ResourceBusy.into()))
    }

    /// How the path of every work environment of this package begins.
    fn own_prefix(&self) -> PathBuf {
        self.path.join(self.prefix())
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

    /// What the record names, and in which boot, where it is sound and nobody else's.
    pub(crate) fn named(&self) -> Option<(PathBuf, String)> {
        let mut file = self.open_record()?;
        let found = file.metadata().ok()?;
        let mut text = String::new();
        Read::by_ref(&mut file).take(MAX_RECORD).read_to_string(&mut text).ok()?;
        let (body, digest) = text.strip_suffix('\n')?.rsplit_once('\n')?;
        let [magic, boot, name] = body.split('\n').collect::<Vec<_>>().try_into().ok()?;
        let is_whole = magic == MAGIC && digest == Sha256::of(body.as_bytes()).to_string();
        if !is_whole || name.contains('/') || !name.starts_with(&self.prefix()) || !is_ours(&found) {
            return None;
        }
        Some((self.path.join(name), boot.to_owned()))
    }

    /// The work environment that the record names, where it is sound and nobody else's too.
    fn committed(&self) -> Option<PathBuf> {
        let (path, boot) = self.named()?;
        // What another boot left unwritten may be lacking.
        if boot != DURABLE && boot != boot_id() {
            return None;
        }
        let directory = fs::symlink_metadata(&path).ok()?;
        // Its own mode is the application's to change; nobody else enters the folder that it is in.
        let folder = fs::symlink_metadata(&self.path).ok()?;
        if !directory.is_dir() || !is_ours(&directory) || !is_ours(&folder) || folder.mode() & 0o022 != 0 {
            return None;
        }
        let record = self.open_record()?;
        let age = record.metadata().and_then(|found| found.modified()).ok()?.elapsed().unwrap_or_default();
        if boot != DURABLE && age > SETTLED {
            let directory = File::open(&path).ok()?;
            let _ = sync(&directory, &path).and_then(|()| self.commit(&path, DURABLE));
        } else if age > NOTED {
            // By the descriptor: an owner may do that to a file that is open for reading.
            let _ = record.set_times(FileTimes::new().set_modified(SystemTime::now()));
        }
        Some(path)
    }

    /// Writes the record: what it speaks of is on the disk, or in the memory of this boot of the machine.
    fn commit(&self, path: &Path, boot: &str) -> Result<(), Error> {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let body = format!("{MAGIC}\n{boot}\n{name}");
        let text = format!("{body}\n{}\n", Sha256::of(body.as_bytes()));
        let failed = |error| Error::io("writing", &self.record())(error);
        // Under a name that whoever comes next takes for something left over, unless it is locked.
        let record = tempfile::Builder::new().prefix(&self.prefix()).tempfile_in(&self.path);
        let mut record = record.map_err(failed)?;
        let _ = flock(record.as_file(), FlockOperation::NonBlockingLockExclusive);
        record.write_all(text.as_bytes()).map_err(failed)?;
        if boot == DURABLE {
            record.as_file().sync_all().map_err(failed)?;
        }
        record.persist(self.record()).map_err(|error| failed(error.error)).map(drop)
    }

    /// A lock that whoever makes this environment holds. Waiting for long is told.
    pub(crate) fn turn(&self) -> Option<File> {
        for _ in 0..QUIET.as_millis() / 50 {
            if let Some(turn) = self.turn_now() {
                return Some(turn);
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        let lock = self.lock().to_string_lossy().escape_debug().to_string();
        stdio::tell(&format!("pspf: another start sets this package up; waiting for it (`{lock}`)\n"));
        self.locked(FlockOperation::LockExclusive)
    }

    /// The same, unless somebody makes it now.
    pub(crate) fn turn_now(&self) -> Option<File> {
        self.locked(FlockOperation::NonBlockingLockExclusive)
    }

    fn locked(&self, operation: FlockOperation) -> Option<File> {
        let mut options = File::options();
        let flags = (OFlags::NOFOLLOW | OFlags::NONBLOCK).bits() as i32;
        options.create(true).write(true).truncate(false).mode(0o600).custom_flags(flags);
        options.open(self.lock()).ok().filter(|file| flock(file, operation).is_ok())
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
        let named = self.named().map(|(path, _)| path);
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

/// The boot of the machine; where it does not tell, everything has to be safe at once.
fn boot_id() -> String {
    let id = fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
    if id.trim().is_empty() { DURABLE.to_owned() } else { id.trim().to_owned() }
}

/// Waits until all of a file system is on its disk: for so many files this is less work than each by itself.
fn sync(directory: &File, path: &Path) -> Result<(), Error> {
    rustix::fs::syncfs(directory).map_err(|errno| Error::io("syncing", path)(errno.into()))
}

/// Whether it belongs to us, or to root who may have made it ahead.
fn is_ours(found: &fs::Metadata) -> bool {
    found.uid() == 0 || found.uid() == rustix::process::geteuid().as_raw()
}
