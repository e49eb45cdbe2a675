//! What can be wrong with keys, key files and signatures.

use core::error::Error;
use core::fmt;

/// The signature is not this key's over this message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SignatureMismatch;

impl fmt::Display for SignatureMismatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("signature does not match")
    }
}

impl Error for SignatureMismatch {}

/// Why bytes are not a usable key.
///
/// The text says what is wrong, [`KeyError::hint`] what to do about it. The path of the file is the caller's to add.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum KeyError {
    /// The y coordinate is not below 2^255 - 19 (RFC 8032, section 5.1.3).
    NonCanonical,
    /// No point of the curve has this encoding (RFC 8032, section 5.1.3).
    NotOnCurve,
    /// A point of small order, for which signatures can be made without a secret key.
    Weak,
    /// The file has more bytes than any key file needs.
    #[cfg(feature = "files")]
    TooLarge {
        /// Most bytes that are accepted.
        limit: usize,
        /// Bytes that were given.
        found: usize,
    },
    /// Nothing but white space.
    #[cfg(feature = "files")]
    Empty,
    /// UTF-16 text, as some editors and shells write.
    #[cfg(feature = "files")]
    Utf16,
    /// None of the known forms.
    #[cfg(feature = "files")]
    Unrecognized,
    /// A known form that is not read.
    #[cfg(feature = "files")]
    UnsupportedFormat {
        /// What the file is.
        found: String,
    },
    /// A private key where a public one is expected.
    #[cfg(feature = "files")]
    PrivateGivenAsPublic,
    /// A public key where a private one is expected.
    #[cfg(feature = "files")]
    PublicGivenAsPrivate,
    /// A fingerprint where a key is expected.
    #[cfg(feature = "files")]
    FingerprintGivenAsKey,
    /// A secret key as bare hex, base64 or 32 bytes.
    #[cfg(feature = "files")]
    RawSecret,
    /// A certificate, not a key.
    #[cfg(feature = "files")]
    Certificate,
    /// A key of another algorithm.
    #[cfg(feature = "files")]
    OtherAlgorithm {
        /// Its name, or its object identifier.
        found: String,
    },
    /// More than one key.
    #[cfg(feature = "files")]
    SeveralKeys,
    /// Text before the first line of a PEM block.
    #[cfg(feature = "files")]
    LeadingText,
    /// Bytes after the end of the key.
    #[cfg(feature = "files")]
    TrailingData {
        /// The form that should have ended.
        format: &'static str,
    },
    /// The BEGIN line has no END line of the same label.
    #[cfg(feature = "files")]
    PemWithoutEnd {
        /// The label of the BEGIN line.
        label: String,
    },
    /// The base64 text is damaged or not canonical (RFC 4648, section 3.5).
    #[cfg(feature = "files")]
    BadBase64 {
        /// The form that it stands in.
        format: &'static str,
    },
    /// A field is missing, cut short or has a value that is not allowed.
    #[cfg(feature = "files")]
    Malformed {
        /// The form that is being read.
        format: &'static str,
        /// The field, named as in its specification.
        field: &'static str,
    },
    /// The public half in the file is not the one of its secret half.
    #[cfg(feature = "files")]
    PublicHalfMismatch,
    /// An encryption of private keys that is not read.
    #[cfg(feature = "files")]
    UnsupportedEncryption {
        /// Its name, or its object identifier.
        found: String,
    },
    /// The file asks for more work or memory than is spent on a passphrase.
    #[cfg(feature = "files")]
    KdfTooCostly {
        /// Which cost.
        parameter: &'static str,
        /// Most that is accepted.
        limit: u64,
        /// What the file asks for; the largest number if it cannot be represented.
        found: u64,
    },
    /// The passphrase does not open the file.
    #[cfg(feature = "files")]
    WrongPassphrase,
    /// A file is to be encrypted with a passphrase of no characters.
    #[cfg(feature = "files")]
    EmptyPassphrase,
}

impl fmt::Display for KeyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NonCanonical => f.write_str("public key is not in its canonical encoding"),
            Self::NotOnCurve => f.write_str("public key is not a point of the Ed25519 curve"),
            Self::Weak => f.write_str("public key is weak (of small order)"),
            #[cfg(feature = "files")]
            Self::TooLarge { limit, found } => {
                write!(f, "key file has {found} bytes, at most {limit} are accepted")
            }
            #[cfg(feature = "files")]
            Self::Empty => f.write_str("key file is empty"),
            #[cfg(feature = "files")]
            Self::Utf16 => f.write_str("key file is UTF-16 text, expected ASCII or UTF-8"),
            #[cfg(feature = "files")]
            Self::Unrecognized => f.write_str("not a key in a known form"),
            #[cfg(feature = "files")]
            Self::UnsupportedFormat { found } => write!(f, "{found} is not supported as key file"),
            #[cfg(feature = "files")]
            Self::PrivateGivenAsPublic => f.write_str("this is a private key, a public key is expected"),
            #[cfg(feature = "files")]
            Self::PublicGivenAsPrivate => f.write_str("this is a public key, a private key is expected"),
            #[cfg(feature = "files")]
            Self::FingerprintGivenAsKey => f.write_str("this is a fingerprint, a key is expected"),
            #[cfg(feature = "files")]
            Self::RawSecret => f.write_str("a bare hex, base64 or binary secret is not accepted"),
            #[cfg(feature = "files")]
            Self::Certificate => f.write_str("this is a certificate, a key is expected"),
            #[cfg(feature = "files")]
            Self::OtherAlgorithm { found } => {
                write!(f, "key algorithm is `{found}`, expected Ed25519")
            }
            #[cfg(feature = "files")]
            Self::SeveralKeys => f.write_str("more than one key in the file, expected one"),
            #[cfg(feature = "files")]
            Self::LeadingText => f.write_str("text before the first `-----BEGIN` line"),
            #[cfg(feature = "files")]
            Self::TrailingData { format } => write!(f, "{format}: data after the end"),
            #[cfg(feature = "files")]
            Self::PemWithoutEnd { label } => write!(f, "no line `-----END {label}-----`"),
            #[cfg(feature = "files")]
            Self::BadBase64 { format } => write!(f, "{format}: invalid base64"),
            #[cfg(feature = "files")]
            Self::Malformed { format, field } => write!(f, "{format}: invalid `{field}`"),
            #[cfg(feature = "files")]
            Self::PublicHalfMismatch => f.write_str("public half in the file is not the one of its secret half"),
            #[cfg(feature = "files")]
            Self::UnsupportedEncryption { found } => {
                write!(f, "private key is encrypted with `{found}`, which is not supported")
            }
            #[cfg(feature = "files")]
            Self::KdfTooCostly { parameter, limit, found } => {
                write!(f, "passphrase derivation: {parameter} is {found}, at most {limit} is accepted")
            }
            #[cfg(feature = "files")]
            Self::WrongPassphrase => f.write_str("wrong passphrase, or the file is damaged"),
            #[cfg(feature = "files")]
            Self::EmptyPassphrase => f.write_str("passphrase is empty"),
        }
    }
}

impl Error for KeyError {}

impl KeyError {
    /// What the user can do, as one or two sentences without a final period; `None` if the text says it all.
    pub fn hint(&self) -> Option<&'static str> {
        match self {
            Self::NonCanonical | Self::NotOnCurve => {
                Some("the key is damaged, or not an Ed25519 key; ask its owner for it again")
            }
            Self::Weak => Some("do not trust this key: anyone can make signatures for it"),
            #[cfg(feature = "files")]
            other => other.file_hint(),
        }
    }
}
