//! Private keys as files: PKCS#8 of version 1, which every reader of Ed25519 keys knows.

use pkcs8::EncryptedPrivateKeyInfo;
use pkcs8::der::Encode;
use pkcs8::pkcs5::pbes2::{EncryptionScheme, Kdf, Parameters, ScryptParams};
use zeroize::Zeroizing;

use super::pem;
use crate::{KeyError, SecretKey};

/// N = 2^14, r = 8, p = 5: of the choices that OWASP holds equal, the largest that OpenSSL reads without being told a
/// higher memory limit (its own is 32 MiB; this takes 16).
const SCRYPT_N: u64 = 1 << 14;
const SCRYPT_R: u16 = 8;
const SCRYPT_P: u16 = 5;

impl SecretKey {
    /// A PEM file `PRIVATE KEY` that is not encrypted (PKCS#8 version 1, RFC 8410).
    pub fn to_pkcs8_pem(&self) -> Zeroizing<String> {
        pem::write("PRIVATE KEY", self.to_pkcs8_der().as_slice())
    }

    /// A PEM file `ENCRYPTED PRIVATE KEY`: PBES2 with scrypt and AES-256-CBC, read by OpenSSL 1.1 and later.
    ///
    /// `random` must be 32 new bytes of a cryptographic random source for every file: 16 for the salt, 16 for the
    /// initialization vector.
    ///
    /// # Errors
    /// [`KeyError::EmptyPassphrase`].
    pub fn to_encrypted_pkcs8_pem(&self, passphrase: &[u8], random: &[u8; 32]) -> Result<Zeroizing<String>, KeyError> {
        if passphrase.is_empty() {
            return Err(KeyError::EmptyPassphrase);
        }
        let (salt, iv) = random.split_first_chunk::<16>().ok_or(INTERNAL)?;
        let parameters = Parameters {
            kdf: Kdf::Scrypt(ScryptParams {
                salt,
                cost_parameter: SCRYPT_N,
                block_size: SCRYPT_R,
                parallelization: SCRYPT_P,
                key_length: None,
            }),
            encryption: EncryptionScheme::Aes256Cbc { iv: iv.try_into().map_err(|_| INTERNAL)? },
        };
        let plain = self.to_pkcs8_der();
        let data = parameters.encrypt(passphrase, plain.as_slice()).map_err(|_| INTERNAL)?;
        let info = EncryptedPrivateKeyInfo { encryption_algorithm: parameters.into(), encrypted_data: &data };
        let der = info.to_der().map_err(|_| INTERNAL)?;
        Ok(pem::write("ENCRYPTED PRIVATE KEY", &der))
    }

    /// SEQUENCE { INTEGER 0, SEQUENCE { id-Ed25519 }, OCTET STRING { OCTET STRING { seed } } }: every length is fixed.
    fn to_pkcs8_der(&self) -> Zeroizing<[u8; 48]> {
        const HEAD: [u8; 16] =
            [0x30, 0x2e, 0x02, 0x01, 0x00, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x04, 0x22, 0x04, 0x20];
        let mut der = Zeroizing::new([0; 48]);
        for (to, from) in der.iter_mut().zip(HEAD.iter().chain(self.seed())) {
            *to = *from;
        }
        der
    }
}

/// Cannot happen: the parameters are the constants above, and all lengths are fixed.
const INTERNAL: KeyError = KeyError::Malformed { format: "PKCS#8", field: "scrypt parameters" };
