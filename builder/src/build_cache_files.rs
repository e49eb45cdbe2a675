//! Where the build cache is, and its files: one a frame, named by its key, dated by its last use.

use std::fs::{self, DirBuilder, DirEntry, File, Metadata};
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use pspf_format::Sha256;
use pspf_launcher::Environment;
use pspf_launcher::cache::candidates;
use pspf_launcher::sys::process::euid;
use rustix::fs::{Mode, OFlags};

use crate::failure::{At, Failure};
use crate::paths;

/// The folder, beside that of the extracted slots. Its number rises when an entry has another form.
const NAME: &str = "build-v1";
/// What an entry is called before it is complete.
pub(crate) const PREFIX: &str = ".tmp-";
/// After this time nobody writes an entry any more.
const ABANDONED: Duration = Duration::from_secs(60 * 60);
/// Most files take whole blocks of this many bytes on disk.
const BLOCK: u64 = 4096;

/// The variable that limits the build cache.
const LIMIT: &str = "PSPF_BUILD_CACHE_SIZE";
const DEFAULT_LIMIT: u64 = 2_000_000_000;

/// How many bytes the build cache may hold; none turns it off.
pub(crate) fn limit() -> anyhow::Result<u64> {
    let Some(value) = std::env::var_os(LIMIT).filter(|value| !value.is_empty()) else { return Ok(DEFAULT_LIMIT) };
    match value.to_str().and_then(bytes) {
        Some(limit) => Ok(limit),
        None => Failure::usage(format!("{LIMIT} is `{}`", value.to_string_lossy().escape_debug()))
            .hint("it is a number of bytes such as 500M or 2G, where K, M, G and T are powers of 1000; 0 turns the build cache off")
            .err(),
    }
}

fn bytes(text: &str) -> Option<u64> {
    let (digits, power) = match text.strip_suffix(['K', 'M', 'G', 'T']) {
        Some(digits) if text.ends_with('K') => (digits, 1),
        Some(digits) if text.ends_with('M') => (digits, 2),
        Some(digits) if text.ends_with('G') => (digits, 3),
        Some(digits) => (digits, 4),
        None => (text, 0),
    };
    // `parse` would take a sign too.
    let number: u64 = digits.parse().ok().filter(|_| digits.bytes().all(|digit| digit.is_ascii_digit()))?;
    number.checked_mul(1000_u64.pow(power))
}

/// What a file of this length takes on disk.
pub(crate) fn space(len: u64) -> u64 {
    len.checked_next_multiple_of(BLOCK).unwrap_or(len)
}

/// The folder of the build cache.
#[derive(Debug)]
pub(crate) struct Folder(PathBuf);

/// What is in the build cache.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Usage {
    pub(crate) frames: u64,
    pub(crate) bytes: u64,
    /// In seconds since 1970.
    pub(crate) last_used: Option<i64>,
}

/// What has the name of an entry; only a regular file is one.
struct Entry {
    path: PathBuf,
    is_directory: bool,
    bytes: u64,
    used: SystemTime,
}

impl Entry {
    /// Removes it, a directory only where it is empty. One that another program removed meanwhile is gone too.
    fn remove(&self) -> anyhow::Result<()> {
        let removed = if self.is_directory { fs::remove_dir(&self.path) } else { fs::remove_file(&self.path) };
        match removed {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            removed => removed.at("removing", &self.path),
        }
    }
}

impl Folder {
    /// The folder, made where it is missing; where none of `sources` holds it, and it can be used.
    pub(crate) fn make(sources: &[PathBuf]) -> Option<Self> {
        let path = place().filter(|path| !sources.iter().any(|source| lies_in(path, source)))?;
        // Whoever could change its parent could put another one there.
        if !path.ancestors().find(|ancestor| ancestor.exists()).is_some_and(is_safe) {
            return None;
        }
        let _ = DirBuilder::new().recursive(true).mode(0o700).create(&path);
        Self::existing(path)
    }

    /// The folder, where there is one that can be used.
    pub(crate) fn find() -> Option<Self> {
        place().and_then(Self::existing)
    }

    fn existing(path: PathBuf) -> Option<Self> {
        let own = |path: &Path| path.symlink_metadata().is_ok_and(|found| is_own(&found));
        (own(&path) && path.parent().is_some_and(is_safe)).then_some(Self(path))
    }

    /// Its path.
    pub(crate) fn path(&self) -> &Path {
        &self.0
    }

    /// Where the frame with this key is.
    pub(crate) fn entry(&self, key: &Sha256) -> PathBuf {
        self.0.join(key.to_string())
    }

    /// Opens the frame with this key, and says how long it is. It never waits, whatever has that name.
    pub(crate) fn open(&self, key: &Sha256) -> Option<(File, u64)> {
        let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NOFOLLOW | OFlags::NONBLOCK;
        let file = File::from(rustix::fs::open(self.entry(key), flags, Mode::empty()).ok()?);
        let metadata = file.metadata().ok().filter(Metadata::is_file)?;
        Some((file, metadata.len()))
    }

    /// What is in it.
    pub(crate) fn usage(&self) -> anyhow::Result<Usage> {
        let mut usage = Usage::default();
        for entry in self.entries()? {
            usage.frames += 1;
            usage.bytes += entry.bytes;
            let used = entry.used.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs();
            usage.last_used = usage.last_used.max(i64::try_from(used).ok());
        }
        Ok(usage)
    }

    /// Removes what was not used for this long. Says how much that was, and the first thing that failed; what can be
    /// removed is removed all the same.
    pub(crate) fn prune(&self, unused_for: Duration) -> (Usage, anyhow::Result<()>) {
        let (mut removed, mut outcome) = (Usage::default(), Ok(()));
        let entries = match self.entries() {
            Ok(entries) => entries,
            Err(error) => return (removed, Err(error)),
        };
        let now = SystemTime::now();
        // One from the future was used just now.
        let unused = |entry: &Entry| now.duration_since(entry.used).unwrap_or_default() >= unused_for;
        for entry in entries.iter().filter(|entry| unused(entry)) {
            match entry.remove() {
                Ok(()) => {
                    removed.frames += 1;
                    removed.bytes += entry.bytes;
                }
                Err(error) => outcome = outcome.and(Err(error)),
            }
        }
        (removed, outcome)
    }

    /// Removes what was not used for the longest time, until the rest is no more than this, as far as that can be done.
    pub(crate) fn shrink(&self, limit: u64) {
        let Ok(mut entries) = self.entries() else { return };
        let mut bytes: u64 = entries.iter().map(|entry| entry.bytes).sum();
        if bytes <= limit {
            return;
        }
        entries.sort_unstable_by_key(|entry| entry.used);
        for entry in entries {
            if bytes <= limit {
                return;
            }
            if entry.remove().is_ok() {
                bytes = bytes.saturating_sub(entry.bytes);
            }
        }
    }

    /// All entries. What a killed program left is removed on the way.
    fn entries(&self) -> anyhow::Result<Vec<Entry>> {
        let listed = fs::read_dir(&self.0).and_then(Iterator::collect::<io::Result<Vec<_>>>).at("reading", &self.0)?;
        let entries = listed.iter().filter_map(|found| entry(found).transpose());
        entries.collect::<io::Result<_>>().at("reading", &self.0)
    }

    #[cfg(test)]
    pub(crate) fn at(path: PathBuf) -> Self {
        Self(path)
    }
}

fn entry(found: &DirEntry) -> io::Result<Option<Entry>> {
    let name = found.file_name();
    let name = name.to_str().unwrap_or_default();
    let is_entry = Sha256::from_hex(name).is_some();
    if !is_entry && !name.starts_with(PREFIX) {
        return Ok(None);
    }
    let metadata = match found.metadata() {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        metadata => metadata?,
    };
    let used = metadata.modified()?;
    if is_entry {
        let bytes = if metadata.is_file() { space(metadata.len()) } else { 0 };
        return Ok(Some(Entry { path: found.path(), is_directory: metadata.is_dir(), bytes, used }));
    }
    if SystemTime::now().duration_since(used).unwrap_or_default() > ABANDONED {
        let _ = fs::remove_file(found.path());
    }
    Ok(None)
}

/// Where the folder is: in the first place for caches, and in no other. So `pspf cache` works on the one that `pspf pack`
/// uses, and nothing is put into a home that the caller did not name.
fn place() -> Option<PathBuf> {
    let first = candidates(&Environment::of_process()).next()?;
    Some(paths::path(&first.path).join(NAME)).filter(|path| path.is_absolute())
}

/// Whether this is a directory that nobody but us (or root) can change.
fn is_own(found: &Metadata) -> bool {
    found.is_dir() && is_ours(found) && found.mode() & 0o022 == 0
}

/// Whether nobody but us and root can replace what is in this directory, or the directory: the rule for the cache of
/// extracted slots (SPEC §10.1).
fn is_safe(directory: &Path) -> bool {
    let link = |path: &Path| path.symlink_metadata().is_ok_and(|found| found.is_symlink() && !is_ours(&found));
    let Ok(real) = directory.canonicalize() else { return false };
    let sticky = |found: &Metadata| is_ours(found) && found.mode() & 0o1000 != 0;
    let safe = |path: &Path| path.metadata().is_ok_and(|found| is_own(&found) || sticky(&found));
    real.ancestors().all(safe) && !directory.ancestors().any(link)
}

fn is_ours(found: &Metadata) -> bool {
    found.uid() == euid() || found.uid() == 0
}

/// Whether a path, the end of which may be missing, leads into this directory.
fn lies_in(path: &Path, directory: &Path) -> bool {
    let Ok(directory) = directory.canonicalize() else { return false };
    let existing = path.ancestors().find_map(|ancestor| ancestor.canonicalize().ok());
    existing.is_some_and(|existing| existing.starts_with(&directory))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn limits_are_numbers_with_a_power_of_a_thousand() {
        for (text, expected) in [
            ("0", Some(0)),
            ("4096", Some(4096)),
            ("3K", Some(3000)),
            ("500M", Some(500_000_000)),
            ("2G", Some(2_000_000_000)),
            ("1T", Some(1_000_000_000_000)),
            ("", None),
            ("G", None),
            ("+1", None),
            ("-1", None),
            ("1.5G", None),
            ("1g", None),
            ("1GG", None),
            ("1 G", None),
            ("99999999999T", None),
        ] {
            assert_eq!(bytes(text), expected, "{text}");
        }
    }

    /// A folder with an entry for each of these lengths, used one second after the other; the last one just now.
    fn folder(lengths: &[usize]) -> (tempfile::TempDir, Folder) {
        let directory = tempfile::tempdir().unwrap();
        let folder = Folder::at(directory.path().to_owned());
        for (number, len) in lengths.iter().enumerate() {
            let path = folder.entry(&Sha256::of(&[number as u8]));
            fs::write(&path, vec![0; *len]).unwrap();
            let age = Duration::from_secs((lengths.len() - 1 - number) as u64 * 100);
            let file = fs::File::options().write(true).open(path).unwrap();
            file.set_modified(SystemTime::now() - age).unwrap();
        }
        (directory, folder)
    }

    fn left(folder: &Folder) -> Vec<usize> {
        (0..9).filter(|number| folder.entry(&Sha256::of(&[*number as u8])).exists()).collect()
    }

    #[test]
    fn the_oldest_go_until_the_rest_is_within_the_limit() {
        for (limit, expected) in
            [(24_576, &[0, 1, 2, 3][..]), (24_575, &[1, 2, 3]), (12_288, &[3]), (12_287, &[]), (0, &[])]
        {
            let (_directory, folder) = folder(&[1, 4096, 4000, 8193]);
            assert_eq!(folder.usage().unwrap().bytes, 4096 * 6);
            folder.shrink(limit);
            assert_eq!(left(&folder), expected, "{limit}");
            assert!(folder.usage().unwrap().bytes <= limit);
        }
    }

    #[test]
    fn what_was_not_used_for_long_is_removed() {
        let (_directory, folder) = folder(&[1, 1, 1]);
        assert_eq!(folder.prune(Duration::from_secs(1000)).0.frames, 0);
        assert_eq!(folder.prune(Duration::from_secs(150)).0.frames, 1);
        assert_eq!(left(&folder), [1, 2]);
        assert_eq!(folder.prune(Duration::ZERO).0.bytes, 8192);
        assert_eq!(folder.usage().unwrap().frames, 0);
    }

    #[test]
    fn what_is_no_entry_stays_unless_a_killed_program_left_it() {
        let (directory, folder) = folder(&[1]);
        for name in [".tmp-old", ".tmp-new", "note"] {
            fs::write(directory.path().join(name), "x").unwrap();
        }
        fs::create_dir_all(directory.path().join("0".repeat(64)).join("inner")).unwrap();
        for name in [".tmp-old", "note"] {
            let file = fs::File::options().write(true).open(directory.path().join(name)).unwrap();
            file.set_modified(SystemTime::now() - 2 * ABANDONED).unwrap();
        }
        assert_eq!(folder.usage().unwrap().bytes, 4096);
        folder.shrink(0);
        let mut names: Vec<_> = fs::read_dir(directory.path())
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        assert_eq!(names, [".tmp-new".to_owned(), "0".repeat(64), "note".to_owned()]);
    }

    #[test]
    fn a_folder_that_others_can_change_is_not_used() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("build");
        fs::create_dir(&path).unwrap();
        for (mode, used) in [(0o700, true), (0o755, true), (0o775, false), (0o757, false), (0o1777, false)] {
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
            assert_eq!(Folder::existing(path.clone()).is_some(), used, "{mode:o}");
        }
        fs::set_permissions(&path, fs::Permissions::from_mode(0o700)).unwrap();
        let link = directory.path().join("link");
        std::os::unix::fs::symlink(&path, &link).unwrap();
        assert!(Folder::existing(link.clone()).is_none());
        assert!(lies_in(&link.join("not/there/yet"), directory.path()));
        assert!(!lies_in(directory.path(), &path));
    }
}
