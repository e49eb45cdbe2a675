//! What to do about a key file that is refused.

use crate::KeyError;

impl KeyError {
    /// The part of [`KeyError::hint`] that concerns files.
    pub(crate) fn file_hint(&self) -> Option<&'static str> {
        match self {
            Self::TooLarge { .. } | Self::Empty => Some("check that this is the right file"),
            Self::Utf16 => Some("save the file as UTF-8 or ASCII text"),
            Self::Unrecognized => Some(
                "public keys: a line `ssh-ed25519 AAAA…`, PEM `PUBLIC KEY`, a minisign key or 64 hex digits; \
                 private keys: PKCS#8 PEM or the file that `ssh-keygen -t ed25519` writes",
            ),
            Self::UnsupportedFormat { .. } => Some(
                "convert it to PEM: `openssl pkey -inform DER` for DER, \
                 `ssh-keygen -p -f FILE` for older OpenSSH files, `ssh-keygen -i` for SSH2 public keys",
            ),
            Self::PrivateGivenAsPublic => {
                Some("give the `.pub` file; if this private key has been published, replace it")
            }
            Self::PublicGivenAsPrivate => Some("give the file without `.pub`"),
            Self::FingerprintGivenAsKey => Some("give the public key that the fingerprint was made of"),
            Self::RawSecret => Some(
                "a bare secret is easily pasted to the wrong place; \
                 make a key file with `pspf key new`, `openssl genpkey -algorithm ed25519` or `ssh-keygen -t ed25519`",
            ),
            Self::Certificate => Some("give the public key itself"),
            Self::OtherAlgorithm { .. } => Some(
                "make an Ed25519 key with `pspf key new`, `openssl genpkey -algorithm ed25519` or `ssh-keygen -t ed25519`",
            ),
            Self::SeveralKeys => Some("split the file, one key in each"),
            Self::LeadingText => Some("remove everything before `-----BEGIN`"),
            Self::TrailingData { .. } => Some("remove what follows the key"),
            Self::PemWithoutEnd { .. } | Self::BadBase64 { .. } | Self::Malformed { .. } => {
                Some("the file is damaged or was cut short; copy it again from its source")
            }
            Self::PublicHalfMismatch => Some("the file was damaged or tampered with; do not sign with it"),
            Self::UnsupportedEncryption { .. } => Some(
                "encrypt it again: `openssl pkcs8 -topk8 -v2 aes-256-cbc -in OLD -out NEW`, or `ssh-keygen -p -f FILE`",
            ),
            Self::KdfTooCostly { .. } => {
                Some("if the file is your own, encrypt it again with smaller parameters; otherwise do not use it")
            }
            Self::EmptyPassphrase => Some("give a passphrase, or ask for a file that is not encrypted"),
            _ => None,
        }
    }
}
