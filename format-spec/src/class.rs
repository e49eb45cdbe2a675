//! Error classes and the exit codes that belong to them (SPEC §11).

use core::fmt;

/// What kind of failure an error is; decides the exit code of the launcher and of `pspf verify`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Class {
    /// Not a package, or a malformed or unsupported one.
    Format,
    /// A signature or a digest does not match.
    Integrity,
    /// The signer is not one that is trusted.
    Trust,
    /// The file system, the cache or the machine refused something.
    Io,
    /// A defect of this program.
    Internal,
    /// The program was found and cannot be executed.
    Exec,
    /// The program is not in the package.
    Entry,
    /// The command line, or a variable that steers, is wrong.
    Usage,
}

impl Class {
    /// Exit code of the launcher and of `pspf run`.
    pub fn exit_code(self) -> u8 {
        match self {
            Self::Format => 120,
            Self::Integrity => 121,
            Self::Trust => 122,
            Self::Io => 123,
            Self::Internal => 125,
            Self::Exec => 126,
            Self::Entry => 127,
            Self::Usage => 2,
        }
    }

    /// Exit code of `pspf verify`: 1 where the file is bad, 2 where nothing could be decided.
    pub fn verify_code(self) -> u8 {
        match self {
            Self::Format | Self::Integrity | Self::Trust => 1,
            _ => 2,
        }
    }
}

impl fmt::Display for Class {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Format => "FORMAT",
            Self::Integrity => "INTEGRITY",
            Self::Trust => "TRUST",
            Self::Io => "IO",
            Self::Internal => "INTERNAL",
            Self::Exec => "EXEC",
            Self::Entry => "ENTRY",
            Self::Usage => "USAGE",
        })
    }
}
