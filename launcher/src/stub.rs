//! The stub's main: finds its own file, then launches it.

use alloc::borrow::Cow;
use alloc::ffi::CString;
use alloc::vec::Vec;
use core::ffi::CStr;

use pspf_format::{Class, Error as FormatError};
use rustix::fd::{AsRawFd, OwnedFd};
use rustix::io::Errno;

use crate::sys::{process, stdio};
use crate::{Environment, Error, Invocation, PackageFile, disk, error, launch, path, self_service};

/// What the builder knows a launcher by.
pub const MARKER: &[u8] = b"pspf launcher: starts the package behind it";

#[used]
static MARK: [u8; MARKER.len()] = *b"pspf launcher: starts the package behind it";

/// What `--version` prints where there is no package.
const VERSION: &str = concat!("pspf-launcher ", env!("CARGO_PKG_VERSION"), "\n");

/// Runs the package that this program is the beginning of; returns the exit code where nothing was started.
///
/// The process is as the kernel made it: no runtime has touched its signals or descriptors.
pub fn stub(argv: Vec<Cow<'static, CStr>>) -> i32 {
    match run(argv) {
        Ok(()) => 0,
        Err(error) => {
            error::report(&error);
            i32::from(error.class().exit_code())
        }
    }
}

/// What the stub does where it would panic, which is a defect: says so and ends.
pub fn panicked() -> ! {
    error::report(&Error::Internal { what: "the launcher panicked" });
    process::exit_now(i32::from(Class::Internal.exit_code()))
}

fn run(argv: Vec<Cow<'static, CStr>>) -> Result<(), Error> {
    if process::has_elevated_rights() {
        return Err(Error::ElevatedRights);
    }
    let (file, path) = own_file()?;
    let file = PackageFile::from_file(file, &path)?;
    let environment = Environment::of_process();
    if let Some(value) = environment.get("PSPF_SELF").filter(|value| !value.is_empty()) {
        let text = self_service::answer(value, &file, &environment)?;
        return print(&text);
    }
    let asked = argv.get(1).is_some_and(|argument| argument.as_ref() == c"--version");
    match launch(&file, &Invocation { argv, environment }) {
        Ok(never) => match never {},
        Err(Error::Package { source: FormatError::NotAPackage, .. }) if asked => print(VERSION),
        Err(error) => Err(error),
    }
}

fn print(text: &str) -> Result<(), Error> {
    stdio::print(text.as_bytes()).map_err(|errno| Error::io("writing to", c"standard output", errno))
}

/// Opens the running file itself: never by a name that somebody chose, except where /proc is missing.
///
/// # Errors
/// [`Error::Io`] where it cannot be read.
#[inline(never)]
pub fn own_file() -> Result<(OwnedFd, CString), Error> {
    const OWN: &CStr = c"/proc/self/exe";
    match disk::open(OWN) {
        Ok(file) => {
            let path = disk::read_link(rustix::fs::CWD, OWN).unwrap_or_else(|_| OWN.into());
            Ok((above_standard_descriptors(file), undeleted(path)))
        }
        Err(Errno::NOENT) => {
            let path = process::exec_path().ok_or_else(|| Error::io("opening", OWN, Errno::NOENT))?;
            let path = absolute(path);
            let file = disk::open(&path).map_err(|errno| Error::io("opening", &path, errno))?;
            Ok((above_standard_descriptors(file), path))
        }
        Err(errno) => Err(Error::io("reading the package's own file (it needs permission `r`)", OWN, errno)),
    }
}

/// A path that means the same in every directory.
fn absolute(path: &CStr) -> CString {
    match rustix::process::getcwd(Vec::new()) {
        Ok(cwd) if !path::is_absolute(path.to_bytes()) => {
            let path = path.to_bytes();
            path::join(&cwd, path.strip_prefix(b"./").unwrap_or(path))
        }
        _ => path.into(),
    }
}

/// A path as it was before its file was removed.
fn undeleted(path: CString) -> CString {
    match path.to_bytes().strip_suffix(b" (deleted)") {
        Some(bare) if rustix::fs::stat(path.as_c_str()).is_err() => path::concat(&[bare]),
        _ => path,
    }
}

/// Moves the file out of the way of descriptors 0 to 2. Where the caller closed one of those, it stays taken while
/// the launcher works, so that nothing we open is mistaken for it, and closes again at execve.
fn above_standard_descriptors(mut file: OwnedFd) -> OwnedFd {
    while file.as_raw_fd() <= 2 {
        match rustix::io::fcntl_dupfd_cloexec(&file, 0) {
            Ok(next) => core::mem::forget(core::mem::replace(&mut file, next)),
            Err(_) => break,
        }
    }
    file
}
