//! What can go wrong with a package without a seal, beyond what its format says.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use pspf_format::{Class, Shown};

/// An error, with what and where.
#[derive(Debug)]
#[non_exhaustive]
pub enum Error {
    /// The package, the cache, or the system underneath.
    Launcher(pspf_launcher::Error),
    /// The file system refused something.
    Io {
        /// What was done.
        action: &'static str,
        /// To which path.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// A slot's content is not what its operations say, or cannot be unpacked.
    Content {
        /// Id of the slot.
        slot: String,
        /// What is wrong with it.
        reason: String,
    },
    /// The signed metadata ask for something that cannot be done.
    Metadata {
        /// What.
        reason: String,
    },
    /// A setup command failed.
    Setup {
        /// The command.
        command: String,
        /// How it ended.
        end: String,
        /// What it printed.
        output: String,
    },
    /// The package's own policy does not allow this start.
    Policy {
        /// Which rule.
        reason: String,
    },
    /// The command line, or a variable that steers, is wrong.
    Usage {
        /// What is wrong with it.
        reason: String,
    },
    /// The program is not there.
    EntryMissing {
        /// The program.
        program: PathBuf,
    },
}

impl Error {
    pub(crate) fn io(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        // What a library has wrapped says by itself no more than that something failed.
        let bare = |source: io::Error| match source.get_ref().and_then(|wrapped| wrapped.source()) {
            Some(inner) => match inner.downcast_ref::<io::Error>().and_then(io::Error::raw_os_error) {
                Some(number) => io::Error::from_raw_os_error(number),
                None => source,
            },
            None => source,
        };
        move |source| Self::Io { action, path: path.to_owned(), source: bare(source) }
    }

    pub(crate) fn content(slot: &str, reason: impl fmt::Display) -> Self {
        Self::Content { slot: slot.to_owned(), reason: reason.to_string() }
    }

    pub(crate) fn metadata(reason: impl Into<String>) -> Self {
        Self::Metadata { reason: reason.into() }
    }

    /// The class, which decides the exit code.
    pub fn class(&self) -> Class {
        match self {
            Self::Launcher(error) => error.class(),
            Self::Io { .. } => Class::Io,
            Self::Content { .. } | Self::Metadata { .. } => Class::Format,
            Self::Setup { .. } => Class::Exec,
            Self::Policy { .. } => Class::Trust,
            Self::Usage { .. } => Class::Usage,
            Self::EntryMissing { .. } => Class::Entry,
        }
    }

    /// What to do next, where there is something to do.
    pub fn hint(&self) -> Option<&'static str> {
        match self {
            Self::Launcher(error) => error.hint(),
            Self::Io { source, .. } if source.kind() == io::ErrorKind::StorageFull => {
                Some("free some space, or name a directory with more (PSPF_CACHE_DIR for the cache)")
            }
            Self::Setup { .. } => Some("nothing was started; the next start tries it again"),
            Self::Usage { .. } => Some("use verify, info or version"),
            Self::EntryMissing { .. } => Some("a package runs its own programs; only a bare name is looked up in PATH"),
            _ => None,
        }
    }
}

impl From<pspf_launcher::Error> for Error {
    fn from(error: pspf_launcher::Error) -> Self {
        Self::Launcher(error)
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shown = |path: &Path| path.to_string_lossy().escape_debug().to_string();
        match self {
            Self::Launcher(error) => error.fmt(f),
            Self::Io { action, path, source } => write!(f, "{action} `{}`: {source}", shown(path)),
            Self::Content { slot, reason } => write!(f, "slot `{}`: {}", Shown(slot), Shown(reason)),
            Self::Metadata { reason } => write!(f, "metadata: {}", Shown(reason)),
            Self::Setup { command, end, output } => {
                write!(f, "setup command `{}` {end}", Shown(command))?;
                output
                    .lines()
                    .rev()
                    .take(20)
                    .collect::<Vec<_>>()
                    .into_iter()
                    .rev()
                    .try_for_each(|line| write!(f, "\n  | {}", Shown(line)))
            }
            Self::Policy { reason } => write!(f, "the package's policy: {}", Shown(reason)),
            Self::Usage { reason } => f.write_str(reason),
            Self::EntryMissing { program } => write!(f, "program `{}` is not there", shown(program)),
        }
    }
}

impl std::error::Error for Error {}
