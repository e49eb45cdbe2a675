//! How much a key file may cost before anything about it is known to be right.
//!
//! Everything above is refused before the derivation starts. The limits are several times what careful users choose,
//! and keep the worst accepted file to some seconds.

use crate::KeyError;

/// Most bytes of a key file. A file with one Ed25519 key has below 1 KiB, a long comment included.
pub const MAX_FILE_LEN: usize = 64 * 1024;

/// Most PBKDF2 iterations. OpenSSL's default is 2,048; advice for passwords goes to 600,000.
pub const MAX_PBKDF2_ITERATIONS: u32 = 10_000_000;

/// Most bytes of memory for scrypt, 128·r·(N + p): a little above 256 MiB, which N = 2^18 and r = 8 take.
/// OpenSSL's default takes 16 MiB, and it reads at most 32 MiB.
pub const MAX_SCRYPT_MEMORY: u64 = 257 * 1024 * 1024;

/// Most work for scrypt, N·r·p: N = 2^18, r = 8 and p = 4.
pub const MAX_SCRYPT_WORK: u64 = 8 * 1024 * 1024;

/// Most bcrypt rounds (`ssh-keygen -a`). The default is 16 or 24; advice goes to some hundreds.
pub const MAX_BCRYPT_ROUNDS: u32 = 1_000;

/// Refuses a cost above its limit.
pub(super) fn at_most(parameter: &'static str, limit: u64, found: u64) -> Result<(), KeyError> {
    if found > limit {
        return Err(KeyError::KdfTooCostly { parameter, limit, found });
    }
    Ok(())
}
