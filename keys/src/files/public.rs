//! Public key files, told apart by how they start.

use super::{minisign, openssh_public, pem, pkcs8, text};
use crate::{KeyError, PublicKey};

impl PublicKey {
    /// Reads the content of a public key file: OpenSSH's line, PEM `PUBLIC KEY` (RFC 8410), minisign's one or two lines,
    /// or 64 hex digits of either case.
    ///
    /// At most 64 KiB. A UTF-8 byte order mark, CRLF and white space around the key are accepted.
    ///
    /// # Errors
    /// Any [`KeyError`] but those about passphrases; [`KeyError::PrivateGivenAsPublic`] for a private key.
    pub fn parse(bytes: &[u8]) -> Result<Self, KeyError> {
        let text = text::clean(bytes)?;
        if pem::looks_like_pem(text) {
            return from_pem(text);
        }
        if openssh_public::looks_like_line(text) {
            return openssh_public::parse(text);
        }
        if minisign::looks_like_minisign(text) {
            return minisign::parse_public(text);
        }
        if let Some(key) = text::hex(text) {
            return Self::from_bytes(&key);
        }
        Err(unrecognized(bytes, text))
    }
}

fn from_pem(text: &[u8]) -> Result<PublicKey, KeyError> {
    // Before all else: its owner must learn of it even if the block is damaged or one of several.
    if pem::announces_private(text) {
        return Err(KeyError::PrivateGivenAsPublic);
    }
    let block = pem::parse(text)?;
    match block.label.as_str() {
        "PUBLIC KEY" => pkcs8::parse_public(&block.content),
        "CERTIFICATE" => Err(KeyError::Certificate),
        other => Err(unsupported_label(other)),
    }
}

/// The error for a PEM block that is neither a public nor a private key in a form that is read.
pub(super) fn unsupported_label(label: &str) -> KeyError {
    KeyError::UnsupportedFormat { found: format!("PEM `{}`", super::wire::printable(label.as_bytes())) }
}

/// The error for text that starts like none of the forms, as precise as its look allows.
pub(super) fn unrecognized(bytes: &[u8], text: &[u8]) -> KeyError {
    let found = if text.starts_with(b"ed25519:") || text.starts_with(b"SHA256:") {
        return KeyError::FingerprintGivenAsKey;
    } else if text.starts_with(b"---- BEGIN SSH2") {
        "an SSH2 public key (RFC 4716)"
    } else if text.starts_with(b"PuTTY-User-Key-File") {
        "a PuTTY key"
    } else if bytes.starts_with(b"\x30") && !text.is_ascii() {
        "DER"
    } else {
        return KeyError::Unrecognized;
    };
    KeyError::UnsupportedFormat { found: found.to_owned() }
}
