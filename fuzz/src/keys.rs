//! Key files: what is accepted is written again in every form there is, and read as the same key.

use base64ct::{Base64, Encoding as _};
use pspf_keys::{PublicKey, SecretKeyFile};

use crate::input::Input;

/// The first byte decides whether the rest is a file, or what is inside the armour of one.
pub fn target(data: &[u8]) {
    let mut input = Input(data);
    let form = input.byte();
    let base64 = Base64::encode_string(input.0);
    let pem = |label: &str| format!("-----BEGIN {label}-----\n{base64}\n-----END {label}-----\n").into_bytes();
    let file = match form % 8 {
        0 => input.0.to_vec(),
        1 => pem("PUBLIC KEY"),
        2 => pem("PRIVATE KEY"),
        3 => pem("ENCRYPTED PRIVATE KEY"),
        4 => pem("OPENSSH PRIVATE KEY"),
        5 => format!("ssh-ed25519 {base64} somebody\n").into_bytes(),
        6 => format!("untrusted comment: minisign public key\n{base64}\n").into_bytes(),
        _ => base64.into_bytes(),
    };
    if let Ok(key) = PublicKey::parse(&file) {
        assert!(SecretKeyFile::parse(&file).is_err(), "both a public and a private key");
        again(&key);
    }
    if let Ok(SecretKeyFile::Plain(key)) = SecretKeyFile::parse(&file) {
        let public = key.public_key();
        again(&public);
        assert!(public.verify(b"message", &key.sign(b"message")).is_ok());
        match SecretKeyFile::parse(key.to_pkcs8_pem().as_bytes()) {
            Ok(SecretKeyFile::Plain(same)) => assert_eq!(same.public_key(), public),
            other => panic!("{other:?}"),
        }
    }
    // A key with a passphrase is not opened here: within the limits that may take a second.
}

fn again(key: &PublicKey) {
    let hex: String = key.as_bytes().iter().map(|byte| format!("{byte:02x}")).collect();
    let line = key.to_openssh("somebody");
    for text in [hex, line] {
        assert_eq!(PublicKey::parse(text.as_bytes()).as_ref(), Ok(key), "{text}");
    }
    assert_eq!(PublicKey::from_bytes(key.as_bytes()).as_ref(), Ok(key));
}
