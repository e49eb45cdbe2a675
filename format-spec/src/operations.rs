//! What was done to a slot's content to give its stored bytes (SPEC §4.2).

use core::fmt;

use crate::json::words;

/// The chains that a sealed package can hold. Text form and code are those of PSPF/2025.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operations {
    /// The bytes as they are: a single file.
    Raw,
    /// Zstandard frames (RFC 8878): a single file.
    Zstd,
    /// A tar stream in zstandard frames: a directory.
    TarZstd,
}

words!(Operations { Raw, Zstd, TarZstd });

impl Operations {
    /// The packed chain: first operation in the lowest byte.
    pub fn code(self) -> u64 {
        match self {
            Self::Raw => 0,
            Self::Zstd => 0x1B,
            Self::TarZstd => 0x1B01,
        }
    }

    /// The text form.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Raw => "raw",
            Self::Zstd => "zstd",
            Self::TarZstd => "tar|zstd",
        }
    }

    /// Whether the slot is a directory.
    pub fn is_tree(self) -> bool {
        self == Self::TarZstd
    }

    /// Whether the stored bytes end with a slot index.
    pub fn has_index(self) -> bool {
        self != Self::Raw
    }
}

impl fmt::Display for Operations {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
