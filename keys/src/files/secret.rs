//! Private key files: parsed first, opened with a passphrase if there is need.

use std::fmt;

use base64ct::{Base64, Encoding};
use zeroize::Zeroizing;

use super::public::{unrecognized, unsupported_label};
use super::{minisign, openssh_private, openssh_public, pem, pkcs8, text};
use crate::{KeyError, SecretKey};

/// What a private key file holds.
#[derive(Debug)]
pub enum SecretKeyFile {
    /// The key, readable by anyone who has the file.
    Plain(SecretKey),
    /// A key that needs a passphrase.
    Encrypted(EncryptedKey),
}

/// A key file whose structure is right and whose derivation is affordable, but which is not open yet.
pub struct EncryptedKey {
    form: Form,
    content: Zeroizing<Vec<u8>>,
}

#[derive(Clone, Copy, Debug)]
enum Form {
    Pkcs8,
    OpenSsh,
}

impl SecretKeyFile {
    /// Reads the content of a private key file: PKCS#8 PEM (RFC 5958), encrypted with PBES2 or not, or the file of
    /// `ssh-keygen -t ed25519`, encrypted or not.
    ///
    /// Nothing is derived here, so this is quick for any input. At most 64 KiB. A UTF-8 byte order mark, CRLF and white
    /// space around the key are accepted. Only the 32-byte seed is taken; the public half is computed, and one that the
    /// file tells must agree.
    ///
    /// # Errors
    /// Any [`KeyError`] but [`KeyError::WrongPassphrase`]; [`KeyError::KdfTooCostly`] for a derivation above the limits.
    pub fn parse(bytes: &[u8]) -> Result<Self, KeyError> {
        let text = text::clean(bytes)?;
        if pem::looks_like_pem(text) {
            let block = pem::parse(text)?;
            return from_block(block);
        }
        if openssh_public::looks_like_line(text) {
            return Err(KeyError::PublicGivenAsPrivate);
        }
        if minisign::looks_like_minisign(text) {
            return Err(minisign::refuse_as_private(text));
        }
        if is_raw(bytes, text) {
            return Err(KeyError::RawSecret);
        }
        Err(unrecognized(bytes, text))
    }
}

fn from_block(block: pem::Pem) -> Result<SecretKeyFile, KeyError> {
    let content = block.content;
    match block.label.as_str() {
        "PRIVATE KEY" => pkcs8::parse_private(&content).map(SecretKeyFile::Plain),
        "ENCRYPTED PRIVATE KEY" => {
            pkcs8::parse_encrypted(&content)?;
            Ok(SecretKeyFile::Encrypted(EncryptedKey { form: Form::Pkcs8, content }))
        }
        "OPENSSH PRIVATE KEY" => {
            let file = openssh_private::parse(&content)?;
            if !file.is_encrypted() {
                return file.open(b"").map(SecretKeyFile::Plain);
            }
            Ok(SecretKeyFile::Encrypted(EncryptedKey { form: Form::OpenSsh, content }))
        }
        "PUBLIC KEY" => Err(KeyError::PublicGivenAsPrivate),
        "CERTIFICATE" => Err(KeyError::Certificate),
        // The older files of OpenSSL, one label for each algorithm.
        label => match label.strip_suffix(" PRIVATE KEY") {
            Some(algorithm @ ("RSA" | "EC" | "DSA")) => Err(KeyError::OtherAlgorithm { found: algorithm.to_owned() }),
            _ => Err(unsupported_label(label)),
        },
    }
}

/// Whether this is most likely a seed or a seed with its public half, as 32 or 64 bytes, hex or base64.
fn is_raw(bytes: &[u8], text: &[u8]) -> bool {
    let base64_len = || {
        let decoded = Base64::decode_vec(str::from_utf8(text).ok()?).ok()?;
        Some(Zeroizing::new(decoded).len())
    };
    let hex = text.iter().all(u8::is_ascii_hexdigit);
    matches!(bytes.len(), 32 | 64) && !bytes.is_ascii()
        || matches!(text.len(), 64 | 128) && hex
        || matches!(base64_len(), Some(32 | 64))
}

impl EncryptedKey {
    /// Derives the key of the file from the passphrase and reads the secret key.
    ///
    /// Takes up to some seconds and 256 MiB, as the file asks, within the limits of this crate.
    ///
    /// # Errors
    /// [`KeyError::WrongPassphrase`]; or [`KeyError::PublicHalfMismatch`], [`KeyError::OtherAlgorithm`] or
    /// [`KeyError::Malformed`] for what shows only when the file is open.
    pub fn open(&self, passphrase: &[u8]) -> Result<SecretKey, KeyError> {
        match self.form {
            Form::Pkcs8 => pkcs8::parse_encrypted(&self.content)?.open(passphrase),
            Form::OpenSsh => openssh_private::parse(&self.content)?.open(passphrase),
        }
    }
}

impl fmt::Debug for EncryptedKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "EncryptedKey({:?})", self.form)
    }
}
