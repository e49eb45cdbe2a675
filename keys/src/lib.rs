//! Ed25519 keys and signatures of the Progressive Secure Package Format.
//!
//! Bytes in, bytes out: this crate opens no file, reads no clock and no environment, and has no randomness of its own.
//! A [`PublicKey`] that exists is canonical and not weak; a signature is accepted by the strict rules alone. What is
//! signed, and under which domain string, is the format's business, not this crate's.
//!
//! Key files (PKCS#8, OpenSSH, minisign) come with the feature `files`, which the launcher does not enable. Without it
//! the crate needs neither the standard library nor an allocator.

#![cfg_attr(not(feature = "files"), no_std)]

mod error;
#[cfg(feature = "files")]
mod files;
mod fingerprint;
mod hex;
mod public;
mod secret;
mod signature;

pub use error::{KeyError, SignatureMismatch};
#[cfg(feature = "files")]
pub use files::{
    EncryptedKey, MAX_BCRYPT_ROUNDS, MAX_FILE_LEN, MAX_PBKDF2_ITERATIONS, MAX_SCRYPT_MEMORY, MAX_SCRYPT_WORK,
    SecretKeyFile,
};
pub use fingerprint::Fingerprint;
pub use public::PublicKey;
pub use secret::SecretKey;
pub use signature::Signature;
/// A wrapper that wipes its content when dropped, from the `zeroize` crate.
#[cfg(feature = "files")]
pub use zeroize::Zeroizing;
