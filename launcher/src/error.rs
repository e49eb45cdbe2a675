//! What can go wrong at a start, and what to do about it.

use alloc::ffi::CString;
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use core::ffi::CStr;
use core::fmt;

use pspf_format::{Class, Shown};
use rustix::io::Errno;

use crate::path::{is_below, shown};
use crate::sys::{stdio, strerror};

/// An error of the operating system; its text is the C library's, with the number.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct OsError(Errno);

impl OsError {
    /// The number.
    pub fn code(self) -> i32 {
        self.0.raw_os_error()
    }

    /// Whether the machine, or a limit of the process, lacks what no path can give.
    pub(crate) fn is_lack(self) -> bool {
        matches!(self.0, Errno::NOMEM | Errno::MFILE | Errno::NFILE)
    }
}

impl From<Errno> for OsError {
    fn from(errno: Errno) -> Self {
        Self(errno)
    }
}

impl fmt::Display for OsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} (os error {})", strerror::words(self.0, &mut [0; 128]), self.code())
    }
}

impl fmt::Debug for OsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// A failure of the launcher library.
#[derive(Debug)]
#[expect(missing_docs, reason = "the fields say what and where")]
pub enum Error {
    /// The package itself is wrong.
    Package { path: CString, source: pspf_format::Error },
    /// The operating system refused an action on a path.
    Io { action: &'static str, path: CString, source: OsError },
    /// There is no room for a slot.
    Full { action: &'static str, path: CString, source: OsError, slot: String, needed: u64, free: u64 },
    /// A package is a regular file.
    NotAFile { path: CString, what: &'static str },
    /// A directory cannot be used for the cache.
    Unfit { reason: String },
    /// No candidate for the cache can be used; each with its reason.
    NoCache { tried: Vec<(CString, String)> },
    /// The program is not where the package says.
    EntryMissing { program: CString },
    /// The program cannot be executed.
    NotExecutable { program: CString, source: OsError },
    /// The program is there, and what it names to run it is not.
    InterpreterMissing { program: CString },
    /// A slot for another platform is needed.
    ForeignSlot { slot: String },
    /// No slot of this id.
    UnknownSlot { slot: String },
    /// A value of `PSPF_SELF` that means nothing.
    SelfValue { value: String },
    /// The process runs with more rights than its caller.
    ElevatedRights,
    /// The destination of an extraction is there already.
    Exists { path: CString },
    /// A defect of this program.
    Internal { what: &'static str },
}

impl Error {
    /// An error of the system at a path.
    #[cold]
    pub fn io(action: &'static str, path: &CStr, source: Errno) -> Self {
        Self::Io { action, path: path.into(), source: source.into() }
    }

    /// Whether another place for the cache may do better than this one: not where the package itself cannot be read, nor
    /// where there is no memory or no descriptor.
    pub(crate) fn is_of_the_place(&self, place: &CStr) -> bool {
        match self {
            Self::Unfit { .. } | Self::Full { .. } => true,
            Self::Io { path, source, .. } => !source.is_lack() && is_below(path, place),
            _ => false,
        }
    }

    /// The class, which decides the exit code.
    pub fn class(&self) -> Class {
        match self {
            Self::Package { source, .. } => source.class(),
            Self::Io { .. }
            | Self::Full { .. }
            | Self::NotAFile { .. }
            | Self::Unfit { .. }
            | Self::NoCache { .. }
            | Self::Exists { .. } => Class::Io,
            Self::EntryMissing { .. } | Self::ForeignSlot { .. } => Class::Entry,
            Self::NotExecutable { .. } | Self::InterpreterMissing { .. } | Self::ElevatedRights => Class::Exec,
            Self::UnknownSlot { .. } | Self::SelfValue { .. } => Class::Usage,
            Self::Internal { .. } => Class::Internal,
        }
    }

    /// What to do next, where there is something to do.
    pub fn hint(&self) -> Option<&'static str> {
        Some(match self {
            Self::Package { source, .. } => return source.hint(),
            Self::Io { source: OsError(Errno::NOSPC), .. } | Self::Full { .. } => {
                "free some space, or use a directory with more (PSPF_CACHE_DIR for the cache)"
            }
            Self::Io { source: OsError(Errno::NOENT), .. } => "is the path right?",
            Self::Io { source: OsError(Errno::NOMEM), .. } => "is there a limit (ulimit -v, a container)?",
            Self::Io { source: OsError(Errno::MFILE | Errno::NFILE), .. } => "allow more open files (ulimit -n)",
            Self::Io { .. } | Self::NotAFile { .. } => return None,
            Self::Unfit { .. } | Self::NoCache { .. } => {
                "set PSPF_CACHE_DIR to a directory of yours on a file system that allows programs"
            }
            Self::EntryMissing { .. } => "`pspf cache verify` repairs what was removed from the cache",
            Self::NotExecutable { .. } => "was it packed for another machine?",
            Self::InterpreterMissing { .. } => {
                "a script needs its interpreter and a dynamic program its loader: pack them too, or a static program"
            }
            Self::ForeignSlot { .. } => "the package was not made for this machine",
            Self::UnknownSlot { .. } => "PSPF_SELF=info lists the slots",
            Self::SelfValue { .. } => "use info, check, extract:SLOT or cache",
            Self::ElevatedRights => "packages do not run setuid, setgid or with file capabilities; use sudo instead",
            Self::Exists { .. } => "remove it first, or choose another directory",
            Self::Internal { .. } => "please report this with the command that led to it",
        })
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Package { path, source } => write!(f, "{}: {source}", shown(path)),
            Self::Io { action, path, source } => write!(f, "{action} {}: {source}", shown(path)),
            Self::Full { action, path, source, slot, needed, free } => {
                let path = shown(path);
                write!(f, "{action} {path}: {source}: slot `{slot}` needs {needed} bytes, {free} are free")
            }
            Self::NotAFile { path, what } => write!(f, "reading {}: {what}", shown(path)),
            Self::Unfit { reason } => f.write_str(reason),
            Self::NoCache { tried } => {
                f.write_str("no directory for the cache can be used")?;
                tried.iter().try_for_each(|(path, reason)| write!(f, "; {}: {reason}", shown(path)))
            }
            Self::EntryMissing { program } => write!(f, "program {} is not there", shown(program)),
            Self::NotExecutable { program, source } => write!(f, "executing {}: {source}", shown(program)),
            Self::InterpreterMissing { program } => {
                write!(f, "executing {}: the interpreter that it names is not on this machine", shown(program))
            }
            Self::ForeignSlot { slot } => write!(f, "slot `{slot}` is for another platform"),
            Self::UnknownSlot { slot } => write!(f, "the package has no slot `{}`", Shown(slot)),
            Self::SelfValue { value } => write!(f, "PSPF_SELF is `{}`", Shown(value)),
            Self::ElevatedRights => f.write_str("the package was started with more rights than its caller has"),
            Self::Exists { path } => write!(f, "{} exists already", shown(path)),
            Self::Internal { what } => write!(f, "internal error: {what}"),
        }
    }
}

impl core::error::Error for Error {}

/// The lines that an error is printed as.
fn lines(error: &Error) -> String {
    let hint = error.hint().map(|hint| format!("  hint: {hint}\n")).unwrap_or_default();
    format!("pspf: error[{}]: {error}\n{hint}", error.class())
}

/// Prints a warning to standard error; what comes from outside was made harmless in it.
pub(crate) fn warn(text: &str) {
    stdio::tell(&format!("pspf: warning: {text}\n"));
}

/// Prints an error to standard error, whatever state that is in.
pub fn report(error: &Error) {
    stdio::tell(&lines(error));
}
