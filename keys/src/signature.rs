//! Ed25519 signatures as bytes.

use core::fmt;

use crate::hex::Hex;

/// The 64 bytes of an Ed25519 signature (RFC 8032, section 5.1.6): R, then S.
///
/// Any 64 bytes can be held; [`PublicKey::verify`](crate::PublicKey::verify) judges them.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Signature([u8; 64]);

impl Signature {
    /// Takes the bytes as they stand in a file.
    pub fn from_bytes(bytes: &[u8; 64]) -> Self {
        Self(*bytes)
    }

    /// The 64 bytes.
    pub fn as_bytes(&self) -> &[u8; 64] {
        &self.0
    }

    /// The 64 bytes, by value.
    pub fn to_bytes(self) -> [u8; 64] {
        self.0
    }
}

impl fmt::Debug for Signature {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Signature({})", Hex(&self.0))
    }
}
