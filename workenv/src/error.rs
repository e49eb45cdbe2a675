//! What can go wrong with a work environment.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use pspf_format::{Class, Shown};
use rustix::io::Errno;

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
        // What a library has wrapped has lost its number, by which another place is tried, and has kept its kind.
        let bare = |source: io::Error| {
            let errno = match source.kind() {
                io::ErrorKind::StorageFull => Errno::NOSPC,
                io::ErrorKind::QuotaExceeded => Errno::DQUOT,
                io::ErrorKind::ReadOnlyFilesystem => Errno::ROFS,
                _ => return source,
            };
            if source.raw_os_error().is_some() { source } else { errno.into() }
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

#[cfg(test)]
mod tests {
    use super::*;

    fn io(source: io::Error) -> Error {
        Error::io("writing", Path::new("/a\nb"))(source)
    }

    #[test]
    fn what_a_library_has_wrapped_is_told_as_the_system_said_it() {
        for errno in [Errno::NOSPC, Errno::DQUOT, Errno::ROFS] {
            let bare = io::Error::from(errno);
            let wrapped = io::Error::new(bare.kind(), format!("{bare} at path /a"));
            assert_eq!(io(wrapped).to_string(), format!("writing `/a\\nb`: {bare}"));
        }
        // What still has its number keeps it, and what never had one its words.
        assert!(matches!(io(Errno::PERM.into()), Error::Io { source, .. } if source.raw_os_error() == Some(1)));
        assert_eq!(io(io::Error::other("odd")).to_string(), "writing `/a\\nb`: odd");
    }

    #[test]
    fn each_error_says_what_to_do_where_there_is_something_to_do() {
        let command = |purpose| Error::Command {
            purpose,
            command: "a b".to_owned(),
            end: "ended".to_owned(),
            output: (1..=25).map(|number| format!("{number}\n")).collect(),
        };
        let launcher = |error: pspf_launcher::Error| (error.class(), error.hint(), Error::from(error));
        let (class, hint, elevated) = launcher(pspf_launcher::Error::ElevatedRights);
        assert!(hint.is_some());
        for (error, expected, hinted) in [
            (elevated, class, hint),
            (io(Errno::NOSPC.into()), Class::Io, Some("free some space")),
            (io(Errno::ROFS.into()), Class::Io, None),
            (command(Purpose::Setup), Class::Exec, Some("nothing was started")),
            (command(Purpose::Shutdown), Class::Exec, None),
            (Error::Nested, Class::Format, Some("PSPF_SETUP names")),
            (Error::Gone { path: "/a\nb".into() }, Class::Entry, Some("`pspf cache remove --now FILE`")),
        ] {
            assert_eq!(error.class(), expected, "{error}");
            match (error.hint(), hinted) {
                (Some(found), Some(text)) => assert!(found.starts_with(text), "{found}"),
                (found, expected) => assert_eq!(found, expected, "{error}"),
            }
        }
        // The last lines alone.
        let lines: String = (6..=25).map(|number| format!("\n  | {number}")).collect();
        assert_eq!(command(Purpose::Setup).to_string(), format!("setup command `a b` ended{lines}"));
        assert_eq!(command(Purpose::Shutdown).to_string(), format!("shutdown command `a b` ended{lines}"));
        assert!(Error::Nested.to_string().ends_with("starts the package itself"));
    }
}
