//! Private key files.

use pspf_keys::{KeyError, SecretKey};

use crate::tools::{Dir, PASSPHRASE, open, pem, pem_content, plain, private_error, replaced};

#[test]
fn openssl_plain() {
    let dir = Dir::new();
    let file = dir.new_openssl_key();
    assert_eq!(plain(&file).public_key(), dir.openssl_public());
}

#[test]
fn openssl_signs_as_we_do() {
    let dir = Dir::new();
    let key = plain(&dir.new_openssl_key());
    std::fs::write(dir.path("message"), "message").unwrap();
    let made = dir.openssl("pkeyutl -sign -inkey plain.pem -rawin -in message");
    assert_eq!(made, key.sign(b"message").as_bytes());
}

#[test]
fn openssl_encrypted() {
    let dir = Dir::new();
    dir.new_openssl_key();
    for options in [
        "-v2 aes-256-cbc",
        "-v2 aes-128-cbc",
        "-v2 aes-192-cbc",
        "-v2 aes-256-cbc -iter 10000",
        "-v2 aes-256-cbc -v2prf hmacWithSHA512",
        "-scrypt",
        "-v2 aes-256-cbc -scrypt -scrypt_N 4096 -scrypt_r 16 -scrypt_p 2",
    ] {
        let file = dir.openssl_encrypted(options);
        let key = open(&file, PASSPHRASE).expect(options);
        assert_eq!(key.public_key(), dir.openssl_public(), "{options}");
        for wrong in ["", "Correct horse", "correct horse\n"] {
            let error = open(&file, wrong).unwrap_err();
            assert_eq!(error, KeyError::WrongPassphrase, "{options}, `{wrong}`");
        }
    }
}

/// A wrong passphrase gives correct padding once in 256 times, and must not be called a damaged file then.
#[test]
fn a_wrong_passphrase_is_called_so_whatever_it_decrypts_to() {
    let dir = Dir::new();
    dir.new_openssl_key();
    let file = dir.openssl_encrypted("-v2 aes-256-cbc -iter 1");
    for number in 0..2_000 {
        let error = open(&file, &format!("guess {number}")).unwrap_err();
        assert_eq!(error, KeyError::WrongPassphrase);
    }
}

#[test]
fn other_encryption_is_named() {
    let dir = Dir::new();
    dir.new_openssl_key();
    for (options, name) in [
        ("-v2 des3", "1.2.840.113549.3.7"),
        ("-v2 aes-256-cbc -v2prf hmacWithSHA1", "PBKDF2 with HMAC-SHA1"),
        ("-v1 PBE-SHA1-3DES", "an unknown scheme"),
    ] {
        let found = name.to_owned();
        let file = dir.openssl_encrypted(options);
        assert_eq!(private_error(&file), KeyError::UnsupportedEncryption { found });
    }
}

#[test]
fn ssh_keygen_plain_and_encrypted() {
    let dir = Dir::new();
    let file = dir.new_ssh_key("", &["-C", "a comment"]);
    assert_eq!(plain(&file).public_key(), dir.ssh_public());

    for options in [
        ["-a", "16", "-Z", "aes256-ctr"],
        ["-a", "100", "-Z", "aes256-ctr"],
        ["-a", "1", "-Z", "aes128-ctr"],
        ["-a", "1", "-Z", "aes256-cbc"],
        ["-a", "1", "-Z", "aes128-gcm@openssh.com"],
        ["-a", "1", "-Z", "aes256-gcm@openssh.com"],
        ["-a", "1", "-Z", "chacha20-poly1305@openssh.com"],
    ] {
        let dir = Dir::new();
        let file = dir.new_ssh_key(PASSPHRASE, &options);
        let key = open(&file, PASSPHRASE).unwrap_or_else(|error| panic!("{options:?}: {error}"));
        assert_eq!(key.public_key(), dir.ssh_public(), "{options:?}");
        if options[1] == "1" {
            for wrong in ["", "wrong"] {
                let error = open(&file, wrong).unwrap_err();
                assert_eq!(error, KeyError::WrongPassphrase, "{options:?}");
            }
        }
    }
}

#[test]
fn what_editors_and_secret_stores_do_is_accepted() {
    let dir = Dir::new();
    let openssl = String::from_utf8(dir.new_openssl_key()).unwrap();
    let ssh = String::from_utf8(dir.new_ssh_key("", &[])).unwrap();
    for text in [openssl, ssh] {
        let expected = plain(text.as_bytes()).public_key();
        for file in [
            text.replace('\n', "\r\n"),
            format!("\u{feff}{text}"),
            text.replace('\n', "\n    "),
            text.trim_end().to_owned(),
        ] {
            assert_eq!(plain(file.as_bytes()).public_key(), expected, "{file:?}");
        }
        let two = format!("{text}{text}");
        assert_eq!(private_error(two.as_bytes()), KeyError::SeveralKeys);
        let garbage = format!("{text}x");
        assert!(matches!(private_error(garbage.as_bytes()), KeyError::TrailingData { .. }));
    }
}

fn version_2(seed: [u8; 32], public: &[u8; 32]) -> Vec<u8> {
    let head = b"\x30\x51\x02\x01\x01\x30\x05\x06\x03\x2b\x65\x70\x04\x22\x04\x20";
    let der = [head.as_slice(), &seed, b"\x81\x21\x00", public].concat();
    pem("PRIVATE KEY", &der)
}

#[test]
fn a11_w31_pkcs8_version_2_is_read_if_its_halves_agree() {
    let public = |seed| SecretKey::from_seed(&[seed; 32]).public_key();
    let key = plain(&version_2([1; 32], public(1).as_bytes()));
    assert_eq!(key.public_key(), public(1));
    let foreign = version_2([1; 32], public(2).as_bytes());
    assert_eq!(private_error(&foreign), KeyError::PublicHalfMismatch);
}

#[test]
fn a11_w31_openssh_with_a_foreign_public_half_is_refused_wherever_it_stands() {
    let dir = Dir::new();
    let content = pem_content(&dir.new_ssh_key("", &[]));
    let own = dir.ssh_public();
    let foreign = SecretKey::from_seed(&[2; 32]).public_key();
    let places: Vec<_> = (0..content.len() - 31).filter(|at| &content[*at..at + 32] == own.as_bytes()).collect();
    assert_eq!(places.len(), 3, "outside, before the seed and after it");
    for chosen in 1..8 {
        let mut content = content.clone();
        for (bit, at) in places.iter().enumerate() {
            if chosen >> bit & 1 == 1 {
                content[*at..at + 32].copy_from_slice(foreign.as_bytes());
            }
        }
        let file = pem("OPENSSH PRIVATE KEY", &content);
        assert_eq!(private_error(&file), KeyError::PublicHalfMismatch);
    }
}

#[test]
fn an_encrypted_openssh_file_with_a_foreign_public_half_is_refused() {
    let dir = Dir::new();
    let content = pem_content(&dir.new_ssh_key(PASSPHRASE, &["-a", "1"]));
    let foreign = SecretKey::from_seed(&[2; 32]).public_key();
    let content = replaced(&content, dir.ssh_public().as_bytes(), foreign.as_bytes());
    let error = open(&pem("OPENSSH PRIVATE KEY", &content), PASSPHRASE).unwrap_err();
    assert_eq!(error, KeyError::PublicHalfMismatch);
}

#[test]
fn other_keys_are_named() {
    let dir = Dir::new();
    for (options, name) in [("-algorithm x25519", "X25519"), ("-algorithm ec -pkeyopt ec_paramgen_curve:P-256", "EC")] {
        let file = dir.openssl(&format!("genpkey {options}"));
        let found = name.to_owned();
        assert_eq!(private_error(&file), KeyError::OtherAlgorithm { found });
    }
    dir.ssh_keygen(&["-q", "-t", "ecdsa", "-N", "", "-f", "ecdsa"]);
    let found = "ecdsa-sha2-nistp256".to_owned();
    assert_eq!(private_error(&dir.read("ecdsa")), KeyError::OtherAlgorithm { found });
    let dsa = b"\x30\x12\x02\x01\0\x30\x09\x06\x07\x2a\x86\x48\xce\x38\x04\x01\x04\x02\x04\0";
    let found = "DSA".to_owned();
    assert_eq!(private_error(&pem("PRIVATE KEY", dsa)), KeyError::OtherAlgorithm { found });
    let rsa = pem("RSA PRIVATE KEY", b"x");
    let found = "RSA".to_owned();
    assert_eq!(private_error(&rsa), KeyError::OtherAlgorithm { found });
}

#[test]
fn public_keys_and_raw_secrets_are_refused() {
    use base64ct::{Base64, Encoding};
    let dir = Dir::new();
    dir.new_openssl_key();
    dir.new_ssh_key("", &[]);
    for name in ["public.pem", "id.pub"] {
        assert_eq!(private_error(&dir.read(name)), KeyError::PublicGivenAsPrivate);
    }
    let minisign = b"RWQf6LRCGA9i53mlYecO4IzT51TGPpvWucNSCh1CBM0QTaLn73Y7GFO3";
    assert_eq!(private_error(minisign), KeyError::PublicGivenAsPrivate);
    let seed = [0x9d; 32];
    for raw in [
        "9d".repeat(32).into_bytes(),
        "9D".repeat(64).into_bytes(),
        Base64::encode_string(&seed).into_bytes(),
        Base64::encode_string(&[0x9d; 64]).into_bytes(),
        seed.to_vec(),
        [0x9d; 64].to_vec(),
    ] {
        let error = private_error(&raw);
        assert_eq!(error, KeyError::RawSecret);
        assert!(error.hint().unwrap().contains("pspf key new"));
    }
    // As long as a secret, or not ASCII, but not both.
    for text in [
        "what is this",
        &"no secret, it is only as long as one."[..32],
        "ä",
        &"ä".repeat(15),
        "abcdef",
        &"no ".repeat(22)[..64],
    ] {
        assert_eq!(private_error(text.as_bytes()), KeyError::Unrecognized, "{text}");
    }
    let content = Base64::encode_string(&[0; 158]);
    let secret = format!("untrusted comment: minisign encrypted secret key\n{content}\n");
    assert_eq!(
        private_error(secret.as_bytes()),
        KeyError::UnsupportedFormat { found: "a minisign secret key".to_owned() }
    );
}
