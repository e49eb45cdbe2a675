//! OpenSSH's private key files, with one field made wrong by hand.

use base64ct::{Base64, Encoding};
use pspf_keys::{KeyError, PublicKey, SecretKeyFile};

use crate::tools::{Dir, PASSPHRASE, pem, pem_content, private_error, public_error, replaced};

fn file(content: &[u8]) -> Vec<u8> {
    pem("OPENSSH PRIVATE KEY", content)
}

#[track_caller]
fn malformed(content: &[u8], wrong: &str) {
    match private_error(&file(content)) {
        KeyError::Malformed { field, .. } if field == wrong => {}
        other => panic!("{other:?} in place of {wrong}"),
    }
}

/// The content with another private part, whose length is right.
fn with_private(content: &[u8], private: &[u8]) -> Vec<u8> {
    // Three names, the number of keys, and the public key come before.
    let (head, _) = content.split_at("openssh-key-v1\0".len() + 8 + 8 + 4 + 4 + 4 + 51);
    [head, &u32::try_from(private.len()).unwrap().to_be_bytes(), private].concat()
}

/// A plain file's content and its private part, which ends in padding.
fn padded() -> (Vec<u8>, Vec<u8>) {
    for comment in ["", "a", "ab"] {
        let dir = Dir::new();
        let content = pem_content(&dir.new_ssh_key("", &["-C", comment]));
        let private = content["openssh-key-v1\0".len() + 79 + 4..].to_vec();
        assert_eq!(with_private(&content, &private), content);
        if private.last().is_some_and(|last| (2..8).contains(last)) {
            return (content, private);
        }
    }
    panic!("one of three comments needs padding");
}

#[test]
fn the_number_of_keys_is_one() {
    let (content, _) = padded();
    let with =
        |number: u8| replaced(&content, b"\0\0\0\0\0\0\0\x01\0\0\0\x33", &[0, 0, 0, 0, 0, 0, 0, number, 0, 0, 0, 0x33]);
    assert!(SecretKeyFile::parse(&file(&with(1))).is_ok());
    malformed(&with(0), "number of keys");
    assert_eq!(private_error(&file(&with(2))), KeyError::SeveralKeys);
}

#[test]
fn a_file_without_encryption_has_no_options_for_one() {
    let (content, _) = padded();
    let options = replaced(&content, b"none\0\0\0\0\0\0\0\x01", b"none\0\0\0\x01x\0\0\0\x01");
    malformed(&options, "kdfname");
}

#[test]
fn the_private_part_is_whole_blocks() {
    let (content, private) = padded();
    for len in [0, 1, 7, private.len() - 1] {
        malformed(&with_private(&content, &private[..len]), "private keys");
    }
    malformed(&with_private(&content, &private[..8]), "private key type");
}

#[test]
fn padding_is_short_and_counts() {
    let (content, private) = padded();
    let count = *private.last().unwrap();
    let longer: Vec<u8> = private.iter().copied().chain(count + 1..=count + 8).collect();
    malformed(&with_private(&content, &longer), "padding");
    let mut other = private.clone();
    *other.last_mut().unwrap() += 1;
    malformed(&with_private(&content, &other), "padding");
}

#[test]
fn nothing_follows_the_last_field_of_any_part() {
    let trailing = |error: KeyError| assert!(matches!(error, KeyError::TrailingData { .. }), "{error:?}");
    let (content, _) = padded();
    trailing(private_error(&file(&[&content[..], b"\0"].concat())));
    let dir = Dir::new();
    let mut content = pem_content(&dir.new_ssh_key(PASSPHRASE, &["-a", "1"]));
    let at = content.windows(10).position(|window| window == b"bcrypt\0\0\0\x18").unwrap() + 10;
    content[at - 1] += 1;
    content.insert(at + 24, 0);
    trailing(private_error(&file(&content)));
    let blob = |more: &[u8]| {
        let parts = [&b"\0\0\0\x0bssh-ed25519\0\0\0\x20"[..], dir.ssh_public().as_bytes(), more].concat();
        format!("ssh-ed25519 {}", Base64::encode_string(&parts)).into_bytes()
    };
    assert!(PublicKey::parse(&blob(b"")).is_ok());
    trailing(public_error(&blob(b"\0")));
}
