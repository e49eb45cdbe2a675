//! Key files: the forms that people have.
//!
//! Public: OpenSSH's line, PEM SPKI, minisign's line, 64 hex digits. Private: PKCS#8 PEM and OpenSSH's file, encrypted or
//! not. One key per file and nothing after it. White space around it, CRLF and a UTF-8 byte order mark are accepted:
//! editors and stores for secrets add them, and none of them can change which key is meant.

mod hints;
mod limits;
mod minisign;
mod openssh_private;
mod openssh_public;
mod pem;
mod pkcs8;
mod public;
mod secret;
mod text;
mod wire;
mod write;

pub use limits::{MAX_BCRYPT_ROUNDS, MAX_FILE_LEN, MAX_PBKDF2_ITERATIONS, MAX_SCRYPT_MEMORY, MAX_SCRYPT_WORK};
pub use secret::{EncryptedKey, SecretKeyFile};
