//! The stub's main: finds its own file, then launches it.

use std::ffi::{CString, OsStr};
use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;

use pspf_format::{Class, Error as FormatError};
use rustix::fs::{Mode, OFlags};

use crate::sys::{map, process};
use crate::{Environment, Error, Invocation, PackageFile, error, launch, self_service};

/// What the builder knows a launcher by.
pub const MARKER: &[u8] = b"pspf launcher: starts the package behind it";

#[used]
static MARK: [u8; MARKER.len()] = *b"pspf launcher: starts the package behind it";

/// Runs the package that this program is the beginning of; returns the exit code where nothing was started.
///
/// The process is as the kernel made it: no runtime has touched its signals or descriptors.
pub fn stub(argv: Vec<CString>) -> i32 {
    std::panic::set_hook(Box::new(|_| {
        error::report(&Error::Internal { what: "the launcher panicked" });
        process::exit_now(125);
    }));
    match run(argv) {
        Ok(()) => 0,
        Err(error) => {
            error::report(&error);
            i32::from(error.class().exit_code())
        }
    }
}

fn run(argv: Vec<CString>) -> Result<(), Error> {
    if process::has_elevated_rights() {
        return Err(Error::ElevatedRights);
    }
    let (file, path) = own_file()?;
    let file = PackageFile::from_file(file, &path)?;
    map::exit_on_truncation(Class::Integrity.exit_code());
    let environment = Environment::of_process();
    if let Some(value) = environment.get("PSPF_SELF").filter(|value| !value.is_empty()) {
        let value = value.to_string_lossy();
        return self_service::answer(&value, &file, &environment, &mut RawStdout);
    }
    let error = match launch(&file, &Invocation { argv: argv.clone(), environment }) {
        Ok(never) => match never {},
        Err(error) => error,
    };
    let bare = matches!(error, Error::Package { source: FormatError::NotAPackage, .. });
    if bare && argv.get(1).is_some_and(|argument| argument.as_c_str() == c"--version") {
        let text = concat!("pspf-launcher ", env!("CARGO_PKG_VERSION"), "\n");
        let _ = rustix::io::write(rustix::stdio::stdout(), text.as_bytes());
        return Ok(());
    }
    Err(error)
}

/// Standard output without a buffer or a lock.
struct RawStdout;

impl io::Write for RawStdout {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        Ok(rustix::io::write(rustix::stdio::stdout(), bytes)?)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Opens the running file itself: never by a name that somebody chose, except where /proc is missing.
fn own_file() -> Result<(File, PathBuf), Error> {
    let own = PathBuf::from("/proc/self/exe");
    match open(&own) {
        Ok(file) => {
            let path = std::fs::read_link(&own).unwrap_or(own);
            Ok((above_standard_descriptors(file), undeleted(path)))
        }
        Err(source) if source.kind() == io::ErrorKind::NotFound => {
            let path = process::exec_path().ok_or_else(|| Error::io("opening", &own, source))?;
            let path = std::path::absolute(&path).unwrap_or(path);
            let file = open(&path).map_err(|source| Error::io("opening", &path, source))?;
            Ok((above_standard_descriptors(file), path))
        }
        Err(source) => Err(Error::io("reading the package's own file (it needs permission `r`)", &own, source)),
    }
}

/// Opens a file for reading with a single system call.
fn open(path: &std::path::Path) -> io::Result<File> {
    Ok(rustix::fs::open(path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())?.into())
}

/// A path as it was before its file was removed.
fn undeleted(path: PathBuf) -> PathBuf {
    match path.as_os_str().as_bytes().strip_suffix(b" (deleted)") {
        Some(bare) if !path.exists() => PathBuf::from(OsStr::from_bytes(bare)),
        _ => path,
    }
}

/// Moves the file out of the way of descriptors 0 to 2. Where the caller closed one of those, it stays taken while
/// the launcher works, so that nothing we open is mistaken for it, and closes again at execve.
fn above_standard_descriptors(mut file: File) -> File {
    while file.as_raw_fd() <= 2 {
        match rustix::io::fcntl_dupfd_cloexec(&file, 0) {
            Ok(next) => std::mem::forget(std::mem::replace(&mut file, next.into())),
            Err(_) => break,
        }
    }
    file
}
