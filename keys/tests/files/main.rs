//! Key files as the real programs make and read them. Needs `openssl` (3.0 or later) and `ssh-keygen`.

mod hostile;
mod openssh;
mod private;
mod public;
mod tools;
mod write;
