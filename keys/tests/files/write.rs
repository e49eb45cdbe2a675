//! The files that we write, read by others.

use pspf_keys::{KeyError, PublicKey, SecretKey};

use crate::tools::{Dir, PASSPHRASE, open, plain};

fn key() -> SecretKey {
    SecretKey::from_seed(&[9; 32])
}

#[test]
fn openssl_reads_our_plain_file() {
    let dir = Dir::new();
    let pem = key().to_pkcs8_pem();
    assert_eq!(plain(pem.as_bytes()).public_key(), key().public_key());
    let public = dir.openssl_with_input("pkey -pubout", pem.as_bytes());
    assert_eq!(PublicKey::parse(&public), Ok(key().public_key()));
    let again = dir.openssl_with_input("pkey", pem.as_bytes());
    assert_eq!(again, pem.as_bytes(), "openssl writes the same bytes");
}

#[test]
fn openssl_reads_our_encrypted_file() {
    let dir = Dir::new();
    let random = std::array::from_fn(|at| at as u8);
    let pem = key().to_encrypted_pkcs8_pem(PASSPHRASE.as_bytes(), &random).unwrap();
    let opened = open(pem.as_bytes(), PASSPHRASE).unwrap();
    assert_eq!(opened.public_key(), key().public_key());
    assert_eq!(open(pem.as_bytes(), "wrong").unwrap_err(), KeyError::WrongPassphrase);
    std::fs::write(dir.path("passphrase"), PASSPHRASE).unwrap();
    let arguments = "pkey -passin file:passphrase -pubout";
    let public = dir.openssl_with_input(arguments, pem.as_bytes());
    assert_eq!(PublicKey::parse(&public), Ok(key().public_key()));
}

#[test]
fn an_empty_passphrase_is_refused() {
    let error = key().to_encrypted_pkcs8_pem(b"", &[1; 32]).unwrap_err();
    assert_eq!(error, KeyError::EmptyPassphrase);
}
