//! Public keys and the verification of signatures.

use core::cmp::Ordering;
use core::fmt;
use core::hash::{Hash, Hasher};

use ed25519_dalek::VerifyingKey;

use crate::hex::Hex;
use crate::{Fingerprint, KeyError, Signature, SignatureMismatch};

/// An Ed25519 public key: 32 bytes (RFC 8032, section 5.1.5) that are canonical and not of small order.
///
/// Compared, ordered and hashed by its bytes: only the canonical encoding is accepted, so equal points have equal bytes.
#[derive(Clone, Copy)]
pub struct PublicKey(VerifyingKey);

impl PublicKey {
    /// Accepts 32 key bytes.
    ///
    /// # Errors
    /// [`KeyError::NonCanonical`], [`KeyError::NotOnCurve`] or [`KeyError::Weak`].
    pub fn from_bytes(bytes: &[u8; 32]) -> Result<Self, KeyError> {
        if !is_reduced(bytes) {
            return Err(KeyError::NonCanonical);
        }
        let key = VerifyingKey::from_bytes(bytes).map_err(|_| KeyError::NotOnCurve)?;
        // A key of small order has signatures that fit every message. The two remaining non-canonical
        // encodings, x = 0 with the sign bit set, are of small order too.
        if key.is_weak() {
            return Err(KeyError::Weak);
        }
        Ok(Self(key))
    }

    /// For a key that was computed from a secret scalar, which is never weak.
    pub(crate) fn from_computed(key: VerifyingKey) -> Self {
        Self(key)
    }

    /// The 32 key bytes.
    pub fn as_bytes(&self) -> &[u8; 32] {
        self.0.as_bytes()
    }

    /// SHA-256 of the 32 key bytes.
    pub fn fingerprint(&self) -> Fingerprint {
        Fingerprint::of(self.as_bytes())
    }

    /// Accepts the signature if it is this key's over exactly this message.
    ///
    /// Strict: S is reduced, R is canonical and not of small order, and the equation holds without the cofactor.
    ///
    /// # Errors
    /// [`SignatureMismatch`] for everything else; why is not told, since no caller may act on it.
    pub fn verify(&self, message: &[u8], signature: &Signature) -> Result<(), SignatureMismatch> {
        let signature = ed25519_dalek::Signature::from_bytes(signature.as_bytes());
        self.0.verify_strict(message, &signature).map_err(|_| SignatureMismatch)
    }
}

/// Whether the y coordinate, bits 0 to 254 little-endian, is below p = 2^255 - 19.
///
/// ed25519-dalek reduces instead, so that one key would have two encodings.
fn is_reduced(bytes: &[u8; 32]) -> bool {
    let [low, middle @ .., high] = bytes;
    *low < 0xed || middle.iter().any(|byte| *byte != 0xff) || *high & 0x7f != 0x7f
}

impl PartialEq for PublicKey {
    fn eq(&self, other: &Self) -> bool {
        self.as_bytes() == other.as_bytes()
    }
}

impl Eq for PublicKey {}

impl PartialOrd for PublicKey {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for PublicKey {
    fn cmp(&self, other: &Self) -> Ordering {
        self.as_bytes().cmp(other.as_bytes())
    }
}

impl Hash for PublicKey {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.as_bytes().hash(state);
    }
}

impl fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PublicKey({})", Hex(self.as_bytes()))
    }
}
