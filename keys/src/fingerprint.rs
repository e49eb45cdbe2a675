//! The short name of a public key.

use core::fmt;

use sha2::{Digest, Sha256};

use crate::hex::Hex;

/// SHA-256 (FIPS 180-4) of the 32 bytes of a public key.
///
/// Shown as 64 lower-case hex digits. It names a key; it is not a key, and nothing can be verified with it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Fingerprint([u8; 32]);

impl Fingerprint {
    pub(crate) fn of(key: &[u8; 32]) -> Self {
        Self(Sha256::digest(key).into())
    }

    /// The 32 bytes of the digest.
    pub fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        Hex(&self.0).fmt(f)
    }
}

impl fmt::Debug for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Fingerprint({self})")
    }
}
