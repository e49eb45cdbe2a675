//! What can go wrong at a start, and what to do about it.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use pspf_format::Class;

/// A failure of the launcher library.
#[derive(Debug)]
#[expect(missing_docs, reason = "the fields say what and where")]
pub enum Error {
    /// The package itself is wrong.
    Package { path: PathBuf, source: pspf_format::Error },
    /// The operating system refused an action on a path.
    Io { action: &'static str, path: PathBuf, source: io::Error },
    /// No candidate for the cache can be used; each with its reason.
    NoCache { tried: Vec<(PathBuf, String)> },
    /// The program is not where the package says.
    EntryMissing { program: PathBuf },
    /// The program cannot be executed.
    NotExecutable { program: PathBuf, source: io::Error },
    /// The program is there, and what it names to run it is not.
    InterpreterMissing { program: PathBuf },
    /// A slot for another platform is needed.
    ForeignSlot { slot: String },
    /// No slot of this id.
    UnknownSlot { slot: String },
    /// A value of `PSPF_SELF` that means nothing.
    SelfValue { value: String },
    /// The process runs with more rights than its caller.
    ElevatedRights,
    /// The destination of an extraction is there already.
    Exists { path: PathBuf },
    /// A defect of this program.
    Internal { what: &'static str },
}

impl Error {
    pub(crate) fn io(action: &'static str, path: &Path, source: impl Into<io::Error>) -> Self {
        Self::Io { action, path: path.to_owned(), source: source.into() }
    }

    /// The class, which decides the exit code.
    pub fn class(&self) -> Class {
        match self {
            Self::Package { source, .. } => source.class(),
            Self::Io { .. } | Self::NoCache { .. } | Self::Exists { .. } => Class::Io,
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
            Self::Io { source, .. } => match source.kind() {
                io::ErrorKind::StorageFull => {
                    "free some space, or use a directory with more (PSPF_CACHE_DIR for the cache)"
                }
                io::ErrorKind::NotFound => "is the path right?",
                _ => return None,
            },
            Self::NoCache { .. } => "set PSPF_CACHE_DIR to a directory of yours on a file system that allows programs",
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
            Self::Package { path, source } => write!(f, "{}: {source}", Shown(path)),
            Self::Io { action, path, source } => write!(f, "{action} {}: {source}", Shown(path)),
            Self::NoCache { tried } => {
                f.write_str("no directory for the cache can be used")?;
                tried.iter().try_for_each(|(path, reason)| write!(f, "; {}: {reason}", Shown(path)))
            }
            Self::EntryMissing { program } => write!(f, "program {} is not there", Shown(program)),
            Self::NotExecutable { program, source } => write!(f, "executing {}: {source}", Shown(program)),
            Self::InterpreterMissing { program } => {
                write!(f, "executing {}: the interpreter that it names is not on this machine", Shown(program))
            }
            Self::ForeignSlot { slot } => write!(f, "slot `{slot}` is for another platform"),
            Self::UnknownSlot { slot } => write!(f, "the package has no slot `{}`", slot.escape_debug()),
            Self::SelfValue { value } => write!(f, "PSPF_SELF is `{}`", value.escape_debug()),
            Self::ElevatedRights => f.write_str("the package was started with more rights than its caller has"),
            Self::Exists { path } => write!(f, "{} exists already", Shown(path)),
            Self::Internal { what } => write!(f, "internal error: {what}"),
        }
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        None
    }
}

/// A path in backticks, made harmless for a terminal.
struct Shown<'a>(&'a Path);

impl fmt::Display for Shown<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "`{}`", self.0.to_string_lossy().escape_debug())
    }
}

/// The lines that an error is printed as.
pub(crate) fn lines(error: &Error) -> String {
    let hint = error.hint().map(|hint| format!("  hint: {hint}\n")).unwrap_or_default();
    format!("pspf: error[{}]: {error}\n{hint}", error.class())
}

/// Prints a warning to standard error.
pub(crate) fn warn(text: &str) {
    let line = format!("pspf: warning: {}\n", text.escape_debug());
    let _ = rustix::io::write(rustix::stdio::stderr(), line.as_bytes());
}

/// Prints an error to standard error, whatever state that is in.
pub fn report(error: &Error) {
    let _ = rustix::io::write(rustix::stdio::stderr(), lines(error).as_bytes());
}
