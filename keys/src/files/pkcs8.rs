//! PKCS#8 private keys and SPKI public keys (RFC 5958, RFC 5280) of Ed25519 (RFC 8410).

use pkcs8::der::{Decode, ErrorKind, Tag};
use pkcs8::pkcs5::EncryptionScheme;
use pkcs8::pkcs5::pbes2::{Kdf, Parameters, Pbkdf2Prf, ScryptParams};
use pkcs8::spki::{AlgorithmIdentifierRef, SubjectPublicKeyInfoRef};
use pkcs8::{EncryptedPrivateKeyInfo, ObjectIdentifier, PrivateKeyInfo};
use zeroize::Zeroizing;

use super::limits::{MAX_PBKDF2_ITERATIONS, MAX_SCRYPT_MEMORY, MAX_SCRYPT_WORK, at_most};
use crate::{KeyError, PublicKey, SecretKey};

/// id-Ed25519 (RFC 8410, section 3).
pub(super) const ED25519: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.101.112");

const PRIVATE: &str = "PKCS#8";
const PUBLIC: &str = "PEM public key";

/// Reads a SubjectPublicKeyInfo.
pub(super) fn parse_public(der: &[u8]) -> Result<PublicKey, KeyError> {
    let info =
        SubjectPublicKeyInfoRef::from_der(der).map_err(|error| malformed(PUBLIC, "SubjectPublicKeyInfo", &error))?;
    ed25519_only(PUBLIC, &info.algorithm)?;
    let key = info.subject_public_key.as_bytes();
    let key = key.and_then(|key| key.try_into().ok());
    PublicKey::from_bytes(key.ok_or(KeyError::Malformed { format: PUBLIC, field: "subjectPublicKey" })?)
}

/// Reads a OneAsymmetricKey of version 1 or 2. A public half must be the one of the private half.
pub(super) fn parse_private(der: &[u8]) -> Result<SecretKey, KeyError> {
    let info = PrivateKeyInfo::from_der(der).map_err(|error| malformed(PRIVATE, "OneAsymmetricKey", &error))?;
    ed25519_only(PRIVATE, &info.algorithm)?;
    // CurvePrivateKey, an OCTET STRING within the OCTET STRING (RFC 8410, section 7).
    let seed = match info.private_key {
        [0x04, 0x20, seed @ ..] => seed.try_into().ok(),
        _ => None,
    };
    let key = SecretKey::from_seed(seed.ok_or(KeyError::Malformed { format: PRIVATE, field: "privateKey" })?);
    match info.public_key {
        Some(half) if half != key.public_key().as_bytes() => Err(KeyError::PublicHalfMismatch),
        _ => Ok(key),
    }
}

/// Reads an EncryptedPrivateKeyInfo as far as is possible without the passphrase.
///
/// # Errors
/// Also for an encryption that is not supported, and one that costs too much.
pub(super) fn parse_encrypted(der: &[u8]) -> Result<Encrypted<'_>, KeyError> {
    let info = EncryptedPrivateKeyInfo::from_der(der)
        .map_err(|error| malformed(PRIVATE, "EncryptedPrivateKeyInfo", &error))?;
    let EncryptionScheme::Pbes2(parameters) = info.encryption_algorithm else {
        return Err(KeyError::UnsupportedEncryption { found: "PBES1".to_owned() });
    };
    affordable(&parameters)?;
    let key_len = usize::from(parameters.kdf.key_length().unwrap_or_default());
    if key_len != 0 && key_len != parameters.encryption.key_size() {
        return Err(KeyError::Malformed { format: PRIVATE, field: "keyLength" });
    }
    if info.encrypted_data.is_empty() || !info.encrypted_data.len().is_multiple_of(16) {
        return Err(KeyError::Malformed { format: PRIVATE, field: "encryptedData" });
    }
    Ok(Encrypted { parameters, data: info.encrypted_data })
}

/// An encrypted key whose parameters are supported and affordable.
pub(super) struct Encrypted<'a> {
    parameters: Parameters<'a>,
    data: &'a [u8],
}

impl Encrypted<'_> {
    pub(super) fn open(&self, passphrase: &[u8]) -> Result<SecretKey, KeyError> {
        let mut buffer = Zeroizing::new(self.data.to_vec());
        // CBC has no authentication: a wrong passphrase shows as wrong padding, and for one in 256 as wrong DER.
        let der = self.parameters.decrypt_in_place(passphrase, &mut buffer).map_err(|_| KeyError::WrongPassphrase)?;
        parse_private(der).map_err(|error| match error {
            KeyError::Malformed { .. } | KeyError::TrailingData { .. } => KeyError::WrongPassphrase,
            other => other,
        })
    }
}

fn affordable(parameters: &Parameters<'_>) -> Result<(), KeyError> {
    let invalid = |field| KeyError::Malformed { format: PRIVATE, field };
    match &parameters.kdf {
        Kdf::Pbkdf2(kdf) => {
            // SHA-1 would be safe here, but OpenSSL has not chosen it since it knows Ed25519.
            if kdf.prf == Pbkdf2Prf::HmacWithSha1 {
                return Err(KeyError::UnsupportedEncryption { found: "PBKDF2 with HMAC-SHA1".to_owned() });
            }
            if kdf.iteration_count == 0 {
                return Err(invalid("iterationCount"));
            }
            at_most("PBKDF2 iteration count", MAX_PBKDF2_ITERATIONS.into(), kdf.iteration_count.into())
        }
        Kdf::Scrypt(ScryptParams { cost_parameter: n, block_size: r, parallelization: p, .. }) => {
            // The scrypt crate takes the logarithm without looking for zero.
            if !n.is_power_of_two() || *n < 2 {
                return Err(invalid("costParameter"));
            }
            if *r == 0 {
                return Err(invalid("blockSize"));
            }
            if *p == 0 {
                return Err(invalid("parallelizationParameter"));
            }
            let (r, p) = (u64::from(*r), u64::from(*p));
            // RFC 7914, section 6: V has N blocks of 128·r bytes, B has p.
            let memory = n.saturating_add(p).saturating_mul(128 * r);
            at_most("scrypt memory in bytes", MAX_SCRYPT_MEMORY, memory)?;
            let work = n.saturating_mul(r * p);
            at_most("scrypt work N·r·p", MAX_SCRYPT_WORK, work)
        }
        other => Err(KeyError::UnsupportedEncryption { found: other.oid().to_string() }),
    }
}

fn ed25519_only(format: &'static str, found: &AlgorithmIdentifierRef<'_>) -> Result<(), KeyError> {
    if found.oid != ED25519 {
        return Err(KeyError::OtherAlgorithm { found: algorithm_name(found.oid) });
    }
    // "The parameters component MUST be absent" (RFC 8410, section 3).
    if found.parameters.is_some() {
        return Err(KeyError::Malformed { format, field: "AlgorithmIdentifier.parameters" });
    }
    Ok(())
}

fn algorithm_name(oid: ObjectIdentifier) -> String {
    let text = oid.to_string();
    match text.as_str() {
        "1.2.840.113549.1.1.1" => "RSA".to_owned(),
        "1.2.840.10045.2.1" => "EC".to_owned(),
        "1.2.840.10040.4.1" => "DSA".to_owned(),
        "1.3.101.110" => "X25519".to_owned(),
        "1.3.101.113" => "Ed448".to_owned(),
        _ => text,
    }
}

fn malformed(format: &'static str, field: &'static str, error: &pkcs8::der::Error) -> KeyError {
    match error.kind() {
        ErrorKind::OidUnknown { oid } => KeyError::UnsupportedEncryption { found: oid.to_string() },
        // What the pkcs5 crate answers to an encryption scheme that is neither PBES2 nor PBES1.
        ErrorKind::Value { tag: Tag::ObjectIdentifier } if field == "EncryptedPrivateKeyInfo" => {
            KeyError::UnsupportedEncryption { found: "an unknown scheme".to_owned() }
        }
        ErrorKind::TrailingData { .. } => KeyError::TrailingData { format },
        _ => KeyError::Malformed { format, field },
    }
}
