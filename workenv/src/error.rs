//! What can go wrong with a work environment.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use pspf_format::{Class, Shown};

/// How many lines of a failed command's output are shown.
const LINES: usize = 20;

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
    /// A command of the package failed.
    Command {
        /// What it is for.
        purpose: Purpose,
        /// The command.
        command: String,
        /// How it ended.
        end: String,
        /// What it printed.
        output: String,
    },
    /// A setup command starts the package that it sets up.
    Nested,
    /// The program, or its directory, is no longer in the work environment.
    Gone {
        /// Where it was.
        path: PathBuf,
    },
}

/// What a command of the package is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// To make the work environment ready.
    Setup,
    /// To do something after the application's end.
    Shutdown,
}

impl Error {
    /// For what the file system says of this path.
    pub fn io(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
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

    /// The class, which decides the exit code.
    pub fn class(&self) -> Class {
        match self {
            Self::Launcher(error) => error.class(),
            Self::Io { .. } => Class::Io,
            Self::Command { .. } => Class::Exec,
            Self::Nested => Class::Format,
            Self::Gone { .. } => Class::Entry,
        }
    }

    /// What to do next, where there is something to do.
    pub fn hint(&self) -> Option<&'static str> {
        match self {
            Self::Launcher(error) => error.hint(),
            Self::Io { source, .. } if source.kind() == io::ErrorKind::StorageFull => {
                Some("free some space, or name a directory with more (PSPF_CACHE_DIR for the cache)")
            }
            Self::Command { purpose: Purpose::Setup, .. } => Some("nothing was started; the next start tries it again"),
            Self::Gone { .. } => Some("`pspf cache remove --now FILE` lets the next start set it up anew"),
            Self::Nested => Some("PSPF_SETUP names what is being set up; unset it where that is over"),
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
        match self {
            Self::Launcher(error) => error.fmt(f),
            Self::Io { action, path, source } => {
                write!(f, "{action} `{}`: {source}", path.to_string_lossy().escape_debug())
            }
            Self::Command { purpose, command, end, output } => {
                let purpose = if *purpose == Purpose::Setup { "setup" } else { "shutdown" };
                write!(f, "{purpose} command `{}` {end}", Shown(command))?;
                let lines: Vec<&str> = output.lines().collect();
                let last = lines.get(lines.len().saturating_sub(LINES)..).unwrap_or_default();
                last.iter().try_for_each(|line| write!(f, "\n  | {}", Shown(line)))
            }
            Self::Gone { path } => {
                write!(f, "`{}` is not in the work environment", path.to_string_lossy().escape_debug())
            }
            Self::Nested => f.write_str("metadata: a setup command of the package starts the package itself"),
        }
    }
}

impl std::error::Error for Error {}
