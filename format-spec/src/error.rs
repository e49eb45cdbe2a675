//! Everything that can be wrong with a package.

use alloc::string::String;
use core::fmt;

use pspf_keys::Fingerprint;

use crate::{Class, Sha256, Shown, SlotId};

/// What is wrong with a package, precisely. [`Error::class`] gives the kind, [`Error::hint`] what to do next.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
#[expect(missing_docs, reason = "the fields say what was expected and found")]
pub enum Error {
    /// Neither magic stands where a trailer has them (SPEC §3).
    NotAPackage,
    /// A trailer that was changed (SPEC §3).
    DamagedTrailer { what: &'static str },
    /// Another `format_version` (SPEC §3).
    FormatVersion { found: u32 },
    /// The file is longer or shorter than `package_size` (SPEC §3).
    FileLength { expected: u64, found: u64 },
    /// A field of the index is not what it must be (SPEC §3).
    Index { field: &'static str, expected: &'static str },
    /// No seal (SPEC §5).
    NoSeal,
    /// Bytes in the seal's place that are no seal (SPEC §5).
    Seal { what: &'static str },
    /// A seal of another version (SPEC §5).
    SealVersion { found: u32 },
    /// The metadata says that the package is sealed, and there is no seal (SPEC §5).
    SealRemoved,
    /// A signer's key is not a sound Ed25519 key (SPEC §5.2).
    SignerKey { position: usize },
    /// A signature is not one of its key over this index (SPEC §5.2).
    Signature { position: usize, signer: Fingerprint },
    /// The key has signed already.
    SignedTwice { signer: Fingerprint },
    /// The base signature is not what the seal says of it (SPEC §5.4).
    BaseSignature,
    /// A part's SHA-256 is not the signed one.
    Digest { part: &'static str, expected: Sha256, found: Sha256 },
    /// A slot's bytes are not the signed ones.
    SlotDigest { slot: SlotId, expected: Sha256, found: Sha256 },
    /// The bytes of a slot without a seal are not the signed ones (SPEC §8.5).
    #[cfg(feature = "tools")]
    UnsealedSlot { slot: String, expected: Sha256, found: Sha256 },
    /// A field of a slot descriptor is not what follows from the signed metadata (SPEC §8.5).
    #[cfg(feature = "tools")]
    UnsealedField { slot: String, field: &'static str },
    /// A field of the index is not what follows from the signed metadata (SPEC §8.5).
    #[cfg(feature = "tools")]
    UnsealedIndex { field: &'static str },
    /// Two parts of a package without a seal overlap (SPEC §8.5).
    #[cfg(feature = "tools")]
    Overlap { offset: u64 },
    /// Padding that is not zero (SPEC §2).
    Padding { offset: u64 },
    /// More of something than the format allows (SPEC §9).
    Limit { what: &'static str, most: u64, found: u64 },
    /// The metadata is not one gzip member.
    Gzip,
    /// The metadata is not the JSON that SPEC §6 describes.
    Json { reason: String },
    /// The metadata is not in its canonical encoding (SPEC §6.1).
    NotCanonical,
    /// The signed parts contradict each other (SPEC §2).
    Layout { part: &'static str },
    /// A slot's metadata contradict themselves (SPEC §6.2).
    Slot { slot: SlotId, reason: &'static str },
    /// A name or path that is not allowed.
    Name { name: String, reason: &'static str },
    /// A symbolic link that is not allowed (SPEC §7.3).
    LinkTarget { path: String, target: String, reason: &'static str },
    /// A template that is not allowed (SPEC §6.4).
    Template { template: String, reason: &'static str },
    /// A slot index that is not well formed (SPEC §7).
    Tree { reason: &'static str, at: String },
    /// Decoded content that is not what the slot index says (SPEC §7.4).
    Content { at: String, reason: &'static str },
    /// The file became shorter while it was read.
    Shortened,
    /// The file changed while it was read.
    Changed,
    /// A position exceeds 64 bits.
    TooLarge,
}

impl Error {
    /// The class.
    pub fn class(&self) -> Class {
        match self {
            Self::DamagedTrailer { .. }
            | Self::SealRemoved
            | Self::SignerKey { .. }
            | Self::Signature { .. }
            | Self::BaseSignature
            | Self::Digest { .. }
            | Self::SlotDigest { .. }
            | Self::Padding { .. }
            | Self::Shortened
            | Self::Changed
            | Self::Content { .. } => Class::Integrity,
            #[cfg(feature = "tools")]
            Self::UnsealedSlot { .. } | Self::UnsealedField { .. } | Self::UnsealedIndex { .. } => Class::Integrity,
            Self::SignedTwice { .. } => Class::Usage,
            _ => Class::Format,
        }
    }

    /// What to do next, where there is something to do.
    pub fn hint(&self) -> Option<&'static str> {
        Some(match self {
            Self::Changed => "let nobody write to it, and try again",
            Self::NotAPackage => "was the file stripped, compressed with UPX or cut short? get a fresh copy",
            Self::Shortened
            | Self::DamagedTrailer { .. }
            | Self::Digest { .. }
            | Self::SlotDigest { .. }
            | Self::Padding { .. } => "the file was changed after it was signed; get a fresh copy",
            #[cfg(feature = "tools")]
            Self::UnsealedSlot { .. } | Self::UnsealedField { .. } | Self::UnsealedIndex { .. } => {
                "the file was changed after it was signed; get a fresh copy"
            }
            Self::FileLength { expected, found } if found < expected => "the file was cut short; get a fresh copy",
            Self::FileLength { .. } => "something was appended to the file; get a fresh copy",
            Self::FormatVersion { .. } | Self::SealVersion { .. } => "a newer pspf may be able to read it",
            Self::NoSeal => {
                "it was made by another tool; `pspf verify --allow-unsealed` says what its signature covers"
            }
            Self::SealRemoved => "the file was changed so that less of it is checked; do not use it",
            Self::Signature { .. } | Self::SignerKey { .. } | Self::BaseSignature => {
                "the file was changed after signing, or was not signed with that key"
            }
            _ => return None,
        })
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotAPackage => write!(f, "not a package: no trailer at the end of the file"),
            Self::DamagedTrailer { what } => write!(f, "damaged trailer: {what}"),
            Self::FormatVersion { found } => write!(f, "`format_version` is {found:#x}, expected 0x20250001"),
            Self::FileLength { expected, found } => {
                write!(f, "`package_size` is {expected} bytes, the file has {found}")
            }
            Self::Index { field, expected } => write!(f, "index: `{field}` is wrong, expected {expected}"),
            Self::NoSeal => write!(f, "the package has no seal"),
            Self::Seal { what } => write!(f, "malformed seal: {what}"),
            Self::SealVersion { found } => write!(f, "the seal has version {found}, expected 1"),
            Self::SealRemoved => write!(f, "the seal was removed: the metadata says that the package is sealed"),
            Self::SignerKey { position } => write!(f, "signature {position}: its public key is malformed or weak"),
            Self::Signature { position, signer } => {
                write!(f, "signature {position} does not match key ed25519:{signer}")
            }
            Self::SignedTwice { signer } => write!(f, "the package is signed by ed25519:{signer} already"),
            Self::BaseSignature => write!(f, "`integrity_signature` is not what the seal says of it"),
            Self::Digest { part, expected, found } => write!(f, "{part}: SHA-256 is {found}, signed is {expected}"),
            Self::SlotDigest { slot, expected, found } => {
                write!(f, "slot `{slot}`: SHA-256 is {found}, signed is {expected}")
            }
            #[cfg(feature = "tools")]
            Self::UnsealedSlot { slot, expected, found } => {
                write!(f, "slot `{}`: SHA-256 is {found}, signed is {expected}", Shown(slot))
            }
            #[cfg(feature = "tools")]
            Self::UnsealedField { slot, field } => {
                write!(f, "slot `{}`: `{field}` in the slot table is not what the signed metadata give", Shown(slot))
            }
            #[cfg(feature = "tools")]
            Self::UnsealedIndex { field } => {
                write!(f, "index: `{field}` is not what the tool writes that signed the metadata")
            }
            #[cfg(feature = "tools")]
            Self::Overlap { offset } => write!(f, "two parts of the package overlap at {offset:#x}"),
            Self::Padding { offset } => write!(f, "padding at {offset:#x} is not zero"),
            Self::Limit { what, most, found } => write!(f, "{found} {what}, at most {most} are allowed"),
            Self::Gzip => write!(f, "the metadata is not one sound gzip member"),
            Self::Json { reason } => write!(f, "metadata: {}", Shown(reason)),
            Self::NotCanonical => write!(f, "the metadata is not in its canonical encoding"),
            Self::Layout { part } => write!(f, "the {part} contradicts the signed metadata"),
            Self::Slot { slot, reason } => write!(f, "slot `{slot}`: {reason}"),
            Self::Name { name, reason } => write!(f, "name `{}`: {reason}", Shown(name)),
            Self::LinkTarget { path, target, reason } => {
                write!(f, "symbolic link `{}` -> `{}`: {reason}", Shown(path), Shown(target))
            }
            Self::Template { template, reason } => write!(f, "`{}`: {reason}", Shown(template)),
            Self::Tree { reason, at } => write!(f, "slot index: `{}`: {reason}", Shown(at)),
            Self::Content { at, reason } => write!(f, "`{}`: {reason}", Shown(at)),
            Self::Shortened => write!(f, "the file became shorter while it was read"),
            Self::Changed => write!(f, "the file changed while it was read"),
            Self::TooLarge => write!(f, "the package is larger than 64 bits can say"),
        }
    }
}

impl core::error::Error for Error {}

/// Inside this crate errors go by pointer: moving all their fields would be much of the code of every function.
impl From<alloc::boxed::Box<Error>> for Error {
    fn from(error: alloc::boxed::Box<Error>) -> Self {
        *error
    }
}
