//! OpenSSH's public key line: algorithm, base64 blob, comment (RFC 8709, section 4 inside).

use base64ct::{Base64, Encoding};

use super::text;
use super::wire::{SSH_ED25519, Wire, other_algorithm};
use crate::{KeyError, PublicKey};

const FORMAT: &str = "OpenSSH public key";

/// Whether the first word of the text names an SSH key algorithm.
pub(super) fn looks_like_line(text: &[u8]) -> bool {
    [b"ssh-".as_slice(), b"sk-ssh-", b"ecdsa-", b"sk-ecdsa-"].iter().any(|prefix| text.starts_with(prefix))
}

/// Reads the only line of the text. The comment is ignored, in whatever encoding it is.
pub(super) fn parse(text: &[u8]) -> Result<PublicKey, KeyError> {
    let mut lines = text::lines(text).filter(|line| !line.is_empty());
    let line = lines.next().unwrap_or_default();
    if let Some(next) = lines.next() {
        return Err(if looks_like_line(next) {
            KeyError::SeveralKeys
        } else {
            KeyError::TrailingData { format: FORMAT }
        });
    }
    let mut words = line.split(u8::is_ascii_whitespace).filter(|word| !word.is_empty());
    let algorithm = words.next().unwrap_or_default();
    if algorithm != SSH_ED25519 {
        return Err(other_algorithm(algorithm));
    }
    let blob = words.next().and_then(|word| str::from_utf8(word).ok());
    let blob = blob.and_then(|word| Base64::decode_vec(word).ok());
    let blob = blob.ok_or(KeyError::BadBase64 { format: FORMAT })?;
    PublicKey::from_bytes(blob_key(FORMAT, &blob)?)
}

/// The 32 key bytes of an `ssh-ed25519` blob.
pub(super) fn blob_key<'a>(format: &'static str, blob: &'a [u8]) -> Result<&'a [u8; 32], KeyError> {
    let mut wire = Wire::new(format, blob);
    wire.ed25519_name("key type")?;
    let key = wire.string_array("public key")?;
    wire.end()?;
    Ok(key)
}

impl PublicKey {
    /// The line that OpenSSH and `pspf` read: `ssh-ed25519`, the key, the comment. Without a line end.
    ///
    /// Control characters of the comment become spaces, so that it cannot add a line.
    pub fn to_openssh(&self, comment: &str) -> String {
        let mut blob = Vec::with_capacity(51);
        for field in [SSH_ED25519, self.as_bytes()] {
            // Both lengths fit into a byte.
            blob.extend_from_slice(&[0, 0, 0, field.len() as u8]);
            blob.extend_from_slice(field);
        }
        let comment = comment.replace(char::is_control, " ");
        let line = format!("ssh-ed25519 {} {comment}", Base64::encode_string(&blob));
        line.trim_end().to_owned()
    }
}
