//! OpenSSH's private key file, `openssh-key-v1` (PROTOCOL.key in OpenSSH's sources).

use bcrypt_pbkdf::bcrypt_pbkdf;
use ssh_cipher::Cipher;
use zeroize::Zeroizing;

use super::limits::{MAX_BCRYPT_ROUNDS, at_most};
use super::openssh_public::blob_key;
use super::wire::{Wire, printable};
use crate::{KeyError, SecretKey};

const FORMAT: &str = "OpenSSH private key";
const MAGIC: &[u8; 15] = b"openssh-key-v1\0";

/// A file whose outer fields are right and whose derivation is affordable.
pub(super) struct OpenSsh<'a> {
    /// The public half as the unencrypted part tells it.
    claimed_public: &'a [u8; 32],
    encryption: Option<Encryption<'a>>,
    private: &'a [u8],
}

struct Encryption<'a> {
    cipher: Cipher,
    salt: &'a [u8],
    rounds: u32,
    tag: Option<ssh_cipher::Tag>,
}

/// Reads the outer fields.
pub(super) fn parse(content: &[u8]) -> Result<OpenSsh<'_>, KeyError> {
    let mut wire = Wire::new(FORMAT, content);
    if wire.array("magic")? != MAGIC {
        return Err(wire.invalid("magic"));
    }
    let cipher = cipher(wire.string("ciphername")?)?;
    let kdf = wire.string("kdfname")?;
    let kdf_options = wire.string("kdfoptions")?;
    match wire.uint32("number of keys")? {
        1 => {}
        0 => return Err(wire.invalid("number of keys")),
        _ => return Err(KeyError::SeveralKeys),
    }
    let claimed_public = blob_key(FORMAT, wire.string("public key")?)?;
    let private = wire.string("private keys")?;
    if private.is_empty() || !private.len().is_multiple_of(cipher.block_size()) {
        return Err(wire.invalid("private keys"));
    }
    let encryption = match (cipher, kdf) {
        (Cipher::None, b"none") if kdf_options.is_empty() => None,
        (Cipher::None, _) | (_, b"none") => return Err(wire.invalid("kdfname")),
        (_, b"bcrypt") => {
            let tag = if cipher.has_tag() { Some(*wire.array("authentication tag")?) } else { None };
            let (salt, rounds) = bcrypt_options(kdf_options)?;
            Some(Encryption { cipher, salt, rounds, tag })
        }
        (_, other) => {
            return Err(KeyError::UnsupportedEncryption { found: printable(other) });
        }
    };
    wire.end()?;
    Ok(OpenSsh { claimed_public, encryption, private })
}

fn cipher(name: &[u8]) -> Result<Cipher, KeyError> {
    let cipher = str::from_utf8(name).ok();
    let cipher = cipher.and_then(|name| name.parse().ok());
    match cipher {
        None | Some(Cipher::TDesCbc) => Err(KeyError::UnsupportedEncryption { found: printable(name) }),
        Some(cipher) => Ok(cipher),
    }
}

fn bcrypt_options(options: &[u8]) -> Result<(&[u8], u32), KeyError> {
    let mut wire = Wire::new(FORMAT, options);
    let salt = wire.string("bcrypt salt")?;
    let rounds = wire.uint32("bcrypt rounds")?;
    if salt.is_empty() {
        return Err(wire.invalid("bcrypt salt"));
    }
    if rounds == 0 {
        return Err(wire.invalid("bcrypt rounds"));
    }
    wire.end()?;
    at_most("bcrypt round count", MAX_BCRYPT_ROUNDS.into(), rounds.into())?;
    Ok((salt, rounds))
}

impl OpenSsh<'_> {
    pub(super) fn is_encrypted(&self) -> bool {
        self.encryption.is_some()
    }

    /// Reads the private part. The passphrase is not looked at if the file is not encrypted.
    pub(super) fn open(&self, passphrase: &[u8]) -> Result<SecretKey, KeyError> {
        let Some(encryption) = &self.encryption else {
            return self.parse_private(self.private, Cipher::None, None);
        };
        let mut buffer = Zeroizing::new(self.private.to_vec());
        encryption.decrypt(passphrase, &mut buffer)?;
        let unequal = Some(KeyError::WrongPassphrase);
        self.parse_private(&buffer, encryption.cipher, unequal)
    }

    /// Reads the decrypted part. `unequal` is the error for check numbers that differ.
    fn parse_private(&self, bytes: &[u8], cipher: Cipher, unequal: Option<KeyError>) -> Result<SecretKey, KeyError> {
        let mut wire = Wire::new(FORMAT, bytes);
        if wire.uint32("checkint")? != wire.uint32("checkint")? {
            return Err(unequal.unwrap_or_else(|| wire.invalid("checkint")));
        }
        wire.ed25519_name("private key type")?;
        let public = wire.string_array::<32>("private key: public half")?;
        let private = wire.string_array::<64>("private key")?;
        wire.string("comment")?;
        let padding = wire.rest();
        let in_order = padding.iter().zip(1..).all(|(byte, count)| *byte == count);
        if padding.len() >= cipher.block_size() || !in_order {
            return Err(KeyError::Malformed { format: FORMAT, field: "padding" });
        }

        let (seed, half) =
            private.split_first_chunk().ok_or(KeyError::Malformed { format: FORMAT, field: "private key" })?;
        let key = SecretKey::from_seed(seed);
        let computed = key.public_key();
        let halves = [self.claimed_public.as_slice(), public, half];
        if halves.iter().any(|half| half != computed.as_bytes()) {
            return Err(KeyError::PublicHalfMismatch);
        }
        Ok(key)
    }
}

impl Encryption<'_> {
    fn decrypt(&self, passphrase: &[u8], buffer: &mut [u8]) -> Result<(), KeyError> {
        let (key_len, iv_len) = self.cipher.key_and_iv_size().unwrap_or_default();
        let mut derived = Zeroizing::new(vec![0; key_len + iv_len]);
        // Salt and rounds were looked at; what is left to fail is an empty passphrase.
        bcrypt_pbkdf(passphrase, self.salt, self.rounds, &mut derived).map_err(|_| KeyError::WrongPassphrase)?;
        let (key, iv) = derived.split_at(key_len);
        self.cipher.decrypt(key, iv, buffer, self.tag).map_err(|_| KeyError::WrongPassphrase)
    }
}
