//! Secret keys and signing.

use core::fmt;

use ed25519_dalek::{Signer, SigningKey};

use crate::{PublicKey, Signature};

/// An Ed25519 secret key: the 32-byte seed (RFC 8032, section 5.1.5) and the public half computed from it.
///
/// The public half never comes from outside: signing with a foreign one would give the seed away.
/// Wiped when dropped; `Debug` shows the public half, and there is no `Display`.
pub struct SecretKey(SigningKey);

impl SecretKey {
    /// Makes the key of a seed, which must come from a cryptographic random source. The caller wipes its own copy.
    pub fn from_seed(seed: &[u8; 32]) -> Self {
        Self(SigningKey::from_bytes(seed))
    }

    /// The public half.
    pub fn public_key(&self) -> PublicKey {
        PublicKey::from_computed(self.0.verifying_key())
    }

    /// Signs the message (RFC 8032, section 5.1.6): deterministic, no randomness is needed.
    pub fn sign(&self, message: &[u8]) -> Signature {
        Signature::from_bytes(&self.0.sign(message).to_bytes())
    }

    #[cfg(feature = "files")]
    pub(crate) fn seed(&self) -> &[u8; 32] {
        self.0.as_bytes()
    }
}

impl fmt::Debug for SecretKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SecretKey(redacted, of {:?})", self.public_key())
    }
}
