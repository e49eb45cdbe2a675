//! What was done to a slot's content to give its stored bytes (SPEC §4.2).

use core::fmt;

use crate::json::words;

/// The chains that a sealed package can hold. Text form and code are those of PSPF/2025.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operations {
    /// The bytes as they are: a single file.
    Raw,
    /// A tar stream as it is: a directory.
    Tar,
    /// One gzip member (RFC 1952): a single file.
    Gzip,
    /// A tar stream in one gzip member: a directory.
    TarGzip,
    /// Zstandard frames (RFC 8878): a single file.
    Zstd,
    /// A tar stream in zstandard frames: a directory.
    TarZstd,
}

words!(Operations { Raw, Tar, Gzip, TarGzip, Zstd, TarZstd });

impl Operations {
    /// The packed chain: first operation in the lowest byte.
    pub fn code(self) -> u64 {
        match self {
            Self::Raw => 0,
            Self::Tar => 0x01,
            Self::Gzip => 0x10,
            Self::TarGzip => 0x1001,
            Self::Zstd => 0x1B,
            Self::TarZstd => 0x1B01,
        }
    }

    /// The text form.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Raw => "raw",
            Self::Tar => "tar",
            Self::Gzip => "gzip",
            Self::TarGzip => "tar|gzip",
            Self::Zstd => "zstd",
            Self::TarZstd => "tar|zstd",
        }
    }

    /// Whether the slot is a directory.
    pub fn is_tree(self) -> bool {
        matches!(self, Self::Tar | Self::TarGzip | Self::TarZstd)
    }

    /// Whether the slot has a slot index.
    pub fn has_index(self) -> bool {
        self != Self::Raw
    }

    /// Whether the slot index is a part of the stored bytes; otherwise it follows them (SPEC §7.2).
    pub fn stores_index(self) -> bool {
        matches!(self, Self::Zstd | Self::TarZstd)
    }

    /// Whether what is extracted is the slot's target inside a directory of its own: a file, and a tree whose stream
    /// says so, as readers need that unpack all slots into one place. Other trees are that directory.
    pub fn holds_target(self) -> bool {
        self != Self::TarZstd
    }

    /// How each frame is stored.
    pub fn coding(self) -> Coding {
        match self {
            Self::Raw | Self::Tar => Coding::Plain,
            Self::Gzip | Self::TarGzip => Coding::Deflate,
            Self::Zstd | Self::TarZstd => Coding::Zstd,
        }
    }
}

/// How a frame of the stream is stored (SPEC §7.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Coding {
    /// As it is.
    Plain,
    /// A part of one gzip member, see [`crate::deflate_frame`].
    Deflate,
    /// A Zstandard frame.
    Zstd,
}

impl fmt::Display for Operations {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
