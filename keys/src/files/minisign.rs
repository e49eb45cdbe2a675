//! minisign's public key: an optional comment line, then base64 of `Ed`, an 8-byte key id and the key.

use base64ct::{Base64, Encoding};

use super::text;
use super::wire::Wire;
use crate::{KeyError, PublicKey};

const FORMAT: &str = "minisign public key";
const COMMENT: &[u8] = b"untrusted comment:";

/// Whether the text starts as minisign's files do: with the comment, or with base64 of `Ed`.
pub(super) fn looks_like_minisign(text: &[u8]) -> bool {
    text.starts_with(COMMENT) || (text.starts_with(b"RW") && text.len() == 56)
}

/// Reads a public key file. The key id is an unauthenticated hint and is ignored.
pub(super) fn parse_public(text: &[u8]) -> Result<PublicKey, KeyError> {
    let mut lines = text::lines(text).filter(|line| !line.is_empty());
    let mut line = lines.next().unwrap_or_default();
    if line.starts_with(COMMENT) {
        line = lines.next().unwrap_or_default();
    }
    let blob = str::from_utf8(line).ok();
    let blob = blob.and_then(|line| Base64::decode_vec(line).ok());
    let blob = blob.ok_or(KeyError::BadBase64 { format: FORMAT })?;
    // Told apart by length: a signature is followed by more lines, and should not be called several keys.
    match blob.len() {
        42 => {}
        74 => return Err(unsupported("a minisign signature")),
        158 => return Err(KeyError::PrivateGivenAsPublic),
        _ => return Err(invalid("length")),
    }
    if let Some(next) = lines.next() {
        return Err(if next.starts_with(COMMENT) || next.starts_with(b"RW") {
            KeyError::SeveralKeys
        } else {
            KeyError::TrailingData { format: FORMAT }
        });
    }
    let mut wire = Wire::new(FORMAT, &blob);
    if wire.bytes("algorithm", 2)? != b"Ed" {
        return Err(invalid("algorithm"));
    }
    wire.bytes("key id", 8)?;
    let key = wire.array("public key")?;
    wire.end()?;
    PublicKey::from_bytes(key)
}

/// The error for any minisign file where a private key is expected.
pub(super) fn refuse_as_private(text: &[u8]) -> KeyError {
    match parse_public(text) {
        Ok(_) => KeyError::PublicGivenAsPrivate,
        Err(KeyError::PrivateGivenAsPublic) => unsupported("a minisign secret key"),
        Err(other) => other,
    }
}

fn invalid(field: &'static str) -> KeyError {
    KeyError::Malformed { format: FORMAT, field }
}

fn unsupported(found: &str) -> KeyError {
    KeyError::UnsupportedFormat { found: found.to_owned() }
}
