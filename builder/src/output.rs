//! The file that is being made: written beside its destination, renamed when it is complete and verified.

use std::ffi::OsStr;
use std::fs::{File, Permissions};
use std::io::{self, Read, Seek, SeekFrom};
use std::os::unix::fs::{FileExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;

use pspf_format::{END_MAGIC, START_MAGIC, Span, TRAILER_LEN};
use tempfile::NamedTempFile;

use crate::failure::{At, Failure, shown};
use crate::interrupt;

/// How a file is called before it is complete, so that what a killed program left is never packed.
const STAGED_PREFIX: &str = ".pspf-";
const STAGED_SUFFIX: &str = ".tmp";

/// How much is copied at once.
const COPY: usize = 256 << 10;

/// Whether this is the name of a package that was never completed.
pub(crate) fn is_staged(name: &OsStr) -> bool {
    let name = name.as_encoded_bytes();
    name.starts_with(STAGED_PREFIX.as_bytes()) && name.ends_with(STAGED_SUFFIX.as_bytes())
}

/// Where a package goes. The directory exists, and what has that name now may be replaced.
#[derive(Clone, Debug)]
pub(crate) struct Destination {
    /// As it was asked for, for messages.
    pub(crate) path: PathBuf,
    /// Absolute, without links in its directory.
    pub(crate) real: PathBuf,
    directory: PathBuf,
}

impl Destination {
    /// Looks at the place of a new package.
    pub(crate) fn new(path: PathBuf) -> anyhow::Result<Self> {
        let Some(name) = path.file_name() else {
            return Failure::usage(format!("output {} names no file", shown(&path))).err();
        };
        if path.as_os_str().as_encoded_bytes().ends_with(b"/") {
            return Failure::usage(format!("output {} names a directory", shown(&path))).err();
        }
        let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let directory = parent.canonicalize().at("opening the output directory", parent)?;
        let real = directory.join(name);
        match real.symlink_metadata() {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error).at("reading", &path),
            Ok(metadata) if metadata.is_file() => {}
            Ok(metadata) => {
                let kind = if metadata.is_symlink() { "a symbolic link" } else { crate::tree::kind(&metadata) };
                return Failure::usage(format!("output {} is {kind}", shown(&path)))
                    .hint("only a regular file is replaced; choose another output with `-o`")
                    .err();
            }
        }
        Ok(Self { path, real, directory })
    }

    /// Fails where the destination is one of these files, which would be replaced after it was read.
    pub(crate) fn hold_apart<'a>(&self, inputs: impl IntoIterator<Item = &'a Path>) -> anyhow::Result<()> {
        let Ok(own) = self.real.metadata() else { return Ok(()) };
        let same =
            |input: &&Path| input.metadata().is_ok_and(|other| (other.dev(), other.ino()) == (own.dev(), own.ino()));
        match inputs.into_iter().find(same) {
            Some(input) => Failure::usage(format!("{} is the output and an input", shown(input)))
                .hint("choose another output with `-o`")
                .err(),
            None => Ok(()),
        }
    }

    /// A file without a name, on the same file system; the system removes it whatever happens.
    pub(crate) fn spool(&self) -> anyhow::Result<File> {
        tempfile::tempfile_in(&self.directory).at("creating a temporary file in", &self.directory)
    }

    /// A package beside the destination. It is a program: whoever may read it may run it, as far as the umask lets them.
    pub(crate) fn stage(&self) -> anyhow::Result<Staged> {
        self.stage_as(0o755)
    }

    /// A file beside the destination, with this mode as far as the umask lets it.
    pub(crate) fn stage_as(&self, mode: u32) -> anyhow::Result<Staged> {
        let mut builder = tempfile::Builder::new();
        builder.prefix(STAGED_PREFIX).suffix(STAGED_SUFFIX).permissions(Permissions::from_mode(mode));
        let file = interrupt::create(|| builder.tempfile_in(&self.directory), |file| file.path().to_owned());
        Ok(Staged { file: Some(file.at("creating a temporary file in", &self.directory)?), destination: self.clone() })
    }
}

/// Copies what `source` holds from `from` to its place in `target`, on two threads where there is another one: one reads
/// while the other writes.
pub(crate) fn copy(source: &File, from: u64, target: &File, to: Span) -> io::Result<()> {
    let next = AtomicU64::new(0);
    let work = || {
        let mut buffer = vec![0; COPY];
        loop {
            let done = next.fetch_add(COPY as u64, Ordering::Relaxed);
            let Some(left) = to.len.checked_sub(done).filter(|&left| left > 0) else { return Ok(()) };
            let len = usize::try_from(left).map_or(COPY, |left| left.min(COPY));
            let bytes = buffer.get_mut(..len).unwrap_or_default();
            source.read_exact_at(bytes, from + done)?;
            target.write_all_at(bytes, to.offset + done)?;
        }
    };
    thread::scope(|scope| {
        let other = thread::Builder::new().spawn_scoped(scope, work).ok();
        let own: io::Result<()> = work();
        let ended = |_| Err(io::Error::other("a thread that copies ended early"));
        own.and(other.map_or(Ok(()), |other| other.join().unwrap_or_else(ended)))
    })
}

/// A file on its way. Dropping it removes it.
#[derive(Debug)]
pub(crate) struct Staged {
    file: Option<NamedTempFile>,
    destination: Destination,
}

impl Staged {
    /// The file.
    pub(crate) fn file(&mut self) -> io::Result<&mut File> {
        self.file.as_mut().map(NamedTempFile::as_file_mut).ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    /// Gives the file these permission bits instead of those of a new one.
    pub(crate) fn set_mode(&mut self, mode: u32) -> io::Result<()> {
        self.file()?.set_permissions(Permissions::from_mode(mode & 0o777))
    }

    /// Gives it its name. An error of the disk that comes late comes here, and not after the name is there.
    pub(crate) fn commit(mut self) -> anyhow::Result<()> {
        let destination = self.destination.clone();
        self.file().and_then(|file| file.sync_all()).at("writing", &destination.path)?;
        let Some(file) = self.file.take() else { return Ok(()) };
        let temporary = file.path().to_owned();
        let renamed = interrupt::conclude(&temporary, || file.persist(&destination.real));
        renamed.map(drop).map_err(|error| error.error).at("renaming to", &destination.path)
    }
}

impl Drop for Staged {
    fn drop(&mut self) {
        if let Some(file) = self.file.take() {
            let path = file.path().to_owned();
            interrupt::conclude(&path, || drop(file));
        }
    }
}

/// The output lies inside the tree that is packed. An earlier package there is left out; anything else is not replaced.
pub(crate) fn refuse_foreign(path: &Path) -> anyhow::Result<()> {
    let mut file = File::open(path).at("opening", path)?;
    if is_package(&mut file).at("reading", path)? {
        return Ok(());
    }
    Failure::usage(format!("{} is the output, and a file of the directory that is packed", shown(path)))
        .hint("choose another output with `-o`")
        .err()
}

/// Whether the file ends as a package does.
pub(crate) fn is_package(file: &mut File) -> io::Result<bool> {
    let len = file.metadata()?.len();
    let trailer = TRAILER_LEN as u64;
    if len < trailer {
        return Ok(false);
    }
    let mut start = [0; 4];
    let mut end = [0; 4];
    file.seek(SeekFrom::Start(len - trailer))?;
    file.read_exact(&mut start)?;
    file.seek(SeekFrom::End(-4))?;
    file.read_exact(&mut end)?;
    Ok(start == START_MAGIC && end == END_MAGIC)
}
