//! What can go wrong with a package without a seal, beyond what its format says.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use pspf_format::{Class, Shown};

/// An error, with what and where.
#[derive(Debug)]
#[non_exhaustive]
pub enum Error {
    /// The package, its work environment, or the system underneath.
    Workenv(pspf_workenv::Error),
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
        move |source| pspf_workenv::Error::io(action, path)(source).into()
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
            Self::Workenv(error) => error.class(),
            Self::Content { .. } | Self::Metadata { .. } => Class::Format,
            Self::Policy { .. } => Class::Trust,
            Self::Usage { .. } => Class::Usage,
            Self::EntryMissing { .. } => Class::Entry,
        }
    }

    /// What to do next, where there is something to do.
    pub fn hint(&self) -> Option<&'static str> {
        match self {
            Self::Workenv(error) => error.hint(),
            Self::Usage { .. } => Some("use verify, info or version"),
            Self::EntryMissing { .. } => Some("a package runs its own programs; only a bare name is looked up in PATH"),
            _ => None,
        }
    }
}

impl From<pspf_workenv::Error> for Error {
    fn from(error: pspf_workenv::Error) -> Self {
        Self::Workenv(error)
    }
}

impl From<pspf_launcher::Error> for Error {
    fn from(error: pspf_launcher::Error) -> Self {
        Self::Workenv(error.into())
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shown = |path: &Path| path.to_string_lossy().escape_debug().to_string();
        match self {
            Self::Workenv(error) => error.fmt(f),
            Self::Content { slot, reason } => write!(f, "slot `{}`: {}", Shown(slot), Shown(reason)),
            Self::Metadata { reason } => write!(f, "metadata: {}", Shown(reason)),
            Self::Policy { reason } => write!(f, "the package's policy: {}", Shown(reason)),
            Self::Usage { reason } => f.write_str(reason),
            Self::EntryMissing { program } => write!(f, "program `{}` is not there", shown(program)),
        }
    }
}

impl std::error::Error for Error {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_error_says_whose_matter_it_is_and_what_to_do() {
        let wrapped = pspf_launcher::Error::ElevatedRights;
        let (class, hint, text) = (wrapped.class(), wrapped.hint(), wrapped.to_string());
        let reason = || "a\nb".to_owned();
        for (error, expected, hinted, shown) in [
            (Error::from(wrapped), class, hint, &*text),
            (Error::content("s\n", "a\nb"), Class::Format, None, "slot `s\\n`: a\\nb"),
            (Error::metadata(reason()), Class::Format, None, "metadata: a\\nb"),
            (Error::Policy { reason: reason() }, Class::Trust, None, "the package's policy: a\\nb"),
            (Error::Usage { reason: "wrong".to_owned() }, Class::Usage, Some("use verify"), "wrong"),
            (
                Error::EntryMissing { program: "/a\nb".into() },
                Class::Entry,
                Some("a package runs its own"),
                "program `/a\\nb` is not there",
            ),
            (Error::io("writing", Path::new("/a"))(io::Error::other("odd")), Class::Io, None, "writing `/a`: odd"),
        ] {
            assert_eq!(error.to_string(), shown);
            assert_eq!(error.class(), expected, "{error}");
            match (error.hint(), hinted) {
                (Some(found), Some(text)) => assert!(found.starts_with(text), "{found}"),
                (found, expected) => assert_eq!(found, expected, "{error}"),
            }
        }
    }
}
