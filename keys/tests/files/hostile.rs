//! Files that are damaged, or made to cost: an error in time, never a panic.

use std::time::{Duration, Instant};

use pkcs8::EncryptedPrivateKeyInfo;
use pkcs8::der::Encode;
use pkcs8::pkcs5::pbes2::{EncryptionScheme, Kdf, Parameters, Pbkdf2Params, Pbkdf2Prf, ScryptParams};
use pspf_keys::{
    KeyError, MAX_BCRYPT_ROUNDS, MAX_FILE_LEN, MAX_PBKDF2_ITERATIONS, MAX_SCRYPT_MEMORY, MAX_SCRYPT_WORK, PublicKey,
    SecretKey, SecretKeyFile,
};

use crate::tools::{Dir, PASSPHRASE, open, pem, pem_content, private_error, public_error, replaced};

fn quickly<T>(work: impl FnOnce() -> T) -> T {
    let start = Instant::now();
    let result = work();
    assert!(start.elapsed() < Duration::from_secs(1));
    result
}

fn encrypted_with(kdf: Kdf<'_>) -> Vec<u8> {
    encrypted(kdf, &[0; 64])
}

fn encrypted(kdf: Kdf<'_>, encrypted_data: &[u8]) -> Vec<u8> {
    let parameters = Parameters { kdf, encryption: EncryptionScheme::Aes256Cbc { iv: &[0; 16] } };
    let info = EncryptedPrivateKeyInfo { encryption_algorithm: parameters.into(), encrypted_data };
    pem("ENCRYPTED PRIVATE KEY", &info.to_der().unwrap())
}

fn pbkdf2(iteration_count: u32) -> Vec<u8> {
    encrypted_with(Kdf::Pbkdf2(Pbkdf2Params {
        salt: &[1; 16],
        iteration_count,
        key_length: None,
        prf: Pbkdf2Prf::HmacWithSha256,
    }))
}

fn scrypt(n: u64, r: u16, p: u16) -> Vec<u8> {
    encrypted_with(Kdf::Scrypt(ScryptParams {
        salt: &[1; 16],
        cost_parameter: n,
        block_size: r,
        parallelization: p,
        key_length: None,
    }))
}

fn parses(file: &[u8]) -> bool {
    matches!(SecretKeyFile::parse(file), Ok(SecretKeyFile::Encrypted(_)))
}

#[test]
fn a81_costly_derivations_are_refused_before_they_start() {
    for file in [
        pbkdf2(10_000_001),
        pbkdf2(100_000_000),
        scrypt(1 << 30, 8, 1),
        scrypt(1 << 63, u16::MAX, u16::MAX),
        scrypt(1 << 19, 8, 1),
        scrypt(1 << 14, 8, 65),
        scrypt(2, 64, u16::MAX),
    ] {
        let error = quickly(|| private_error(&file));
        assert!(matches!(error, KeyError::KdfTooCostly { .. }), "{error:?}");
    }
    assert!(parses(&pbkdf2(600_000)) && parses(&pbkdf2(10_000_000)));
    assert!(parses(&scrypt(1 << 14, 8, 5)) && parses(&scrypt(1 << 18, 8, 4)));
}

#[test]
fn meaningless_derivations_are_refused() {
    for (file, name) in [
        (pbkdf2(0), "iterationCount"),
        (scrypt(0, 8, 1), "costParameter"),
        (scrypt(1, 8, 1), "costParameter"),
        (scrypt(16_383, 8, 1), "costParameter"),
        (scrypt(16_384, 0, 1), "blockSize"),
        (scrypt(16_384, 8, 0), "parallelizationParameter"),
    ] {
        match private_error(&file) {
            KeyError::Malformed { field, .. } => assert_eq!(field, name),
            other => panic!("expected a malformed `{name}`, got {other:?}"),
        }
    }
}

/// PBKDF2 counts that the decoder itself refuses are errors too, and quick.
#[test]
fn numbers_beyond_their_type_are_refused() {
    let content = pem_content(&pbkdf2(0x0100_0000));
    for new in [b"\x02\x04\x7f\xff\xff\xff", b"\x02\x04\xff\xff\xff\xff"] {
        let content = replaced(&content, b"\x02\x04\x01\x00\x00\x00", new);
        let file = pem("ENCRYPTED PRIVATE KEY", &content);
        quickly(|| private_error(&file));
    }
}

#[test]
fn the_fields_of_an_encrypted_file_fit_each_other() {
    let kdf = |key_length| {
        let prf = Pbkdf2Prf::HmacWithSha256;
        Kdf::Pbkdf2(Pbkdf2Params { salt: &[1; 16], iteration_count: 1, key_length, prf })
    };
    let error = |field| KeyError::Malformed { format: "PKCS#8", field };
    assert!(parses(&encrypted(kdf(None), &[0; 64])) && parses(&encrypted(kdf(Some(32)), &[0; 64])));
    for length in [1, 16, 33] {
        assert_eq!(private_error(&encrypted(kdf(Some(length)), &[0; 64])), error("keyLength"), "{length}");
    }
    for length in [0, 1, 15, 63, 65] {
        assert_eq!(private_error(&encrypted(kdf(None), &vec![0; length])), error("encryptedData"), "{length}");
    }
}

#[test]
fn a81_bcrypt_rounds_are_limited() {
    let dir = Dir::new();
    let content = pem_content(&dir.new_ssh_key(PASSPHRASE, &["-a", "77"]));
    let with = |rounds: u32| {
        let salt_end = b"\0\0\0\x4d\0\0\0\x01";
        let new = [rounds.to_be_bytes(), [0, 0, 0, 1]].concat();
        pem("OPENSSH PRIVATE KEY", &replaced(&content, salt_end, &new))
    };
    for rounds in [1_001, u32::MAX] {
        assert_eq!(
            quickly(|| private_error(&with(rounds))),
            KeyError::KdfTooCostly { parameter: "bcrypt round count", limit: 1_000, found: rounds.into() }
        );
    }
    assert!(matches!(private_error(&with(0)), KeyError::Malformed { .. }));
    assert!(parses(&with(1_000)));
}

#[test]
fn limits_are_those_that_their_texts_give() {
    assert_eq!((MAX_FILE_LEN, MAX_PBKDF2_ITERATIONS, MAX_BCRYPT_ROUNDS), (65_536, 10_000_000, 1_000));
    assert_eq!((MAX_SCRYPT_MEMORY, MAX_SCRYPT_WORK), (269_484_032, 8_388_608));
}

#[test]
fn every_refusal_of_a_file_says_what_to_do() {
    let (text, format, field) = ("x".to_owned(), "x", "x");
    for (error, words) in [
        (KeyError::TooLarge { limit: 1, found: 2 }, "right file"),
        (KeyError::Empty, "right file"),
        (KeyError::Utf16, "as UTF-8"),
        (KeyError::Unrecognized, "ssh-ed25519 AAAA"),
        (KeyError::UnsupportedFormat { found: text.clone() }, "convert it to PEM"),
        (KeyError::PrivateGivenAsPublic, "give the `.pub` file"),
        (KeyError::PublicGivenAsPrivate, "without `.pub`"),
        (KeyError::FingerprintGivenAsKey, "that the fingerprint was made of"),
        (KeyError::RawSecret, "make a key file"),
        (KeyError::Certificate, "the public key itself"),
        (KeyError::OtherAlgorithm { found: text.clone() }, "make an Ed25519 key"),
        (KeyError::SeveralKeys, "split the file"),
        (KeyError::LeadingText, "before `-----BEGIN`"),
        (KeyError::TrailingData { format }, "what follows the key"),
        (KeyError::PemWithoutEnd { label: text.clone() }, "copy it again"),
        (KeyError::BadBase64 { format }, "copy it again"),
        (KeyError::Malformed { format, field }, "copy it again"),
        (KeyError::PublicHalfMismatch, "do not sign with it"),
        (KeyError::UnsupportedEncryption { found: text }, "encrypt it again"),
        (KeyError::KdfTooCostly { parameter: "x", limit: 1, found: 2 }, "smaller parameters"),
        (KeyError::EmptyPassphrase, "give a passphrase"),
    ] {
        assert!(error.hint().is_some_and(|hint| hint.contains(words)), "{error:?}: {:?}", error.hint());
    }
}

#[test]
fn a81_large_files_are_refused() {
    let line = "ssh-ed25519 AAAA ".to_owned() + &"x".repeat(MAX_FILE_LEN);
    let expected = KeyError::TooLarge { limit: MAX_FILE_LEN, found: line.len() };
    assert_eq!(public_error(line.as_bytes()), expected);
    assert_eq!(private_error(line.as_bytes()), expected);
    let mut longest = SecretKey::from_seed(&[1; 32]).public_key().to_openssh("c").into_bytes();
    longest.resize(MAX_FILE_LEN, b'\n');
    assert!(PublicKey::parse(&longest).is_ok());
    // As long as allowed, and as slow to look at as possible.
    for unit in ["-----BEGIN ", "-----BEGIN PRIVATE KEY-----\n", "\n", "-", "A", "ssh-ed25519 "] {
        let text = unit.repeat(MAX_FILE_LEN / unit.len());
        quickly(|| (public_error(text.as_bytes()), private_error(text.as_bytes())));
    }
}

/// One file of every form.
fn samples(dir: &Dir) -> Vec<Vec<u8>> {
    let mut samples = vec![dir.new_openssl_key()];
    samples.push(dir.read("public.pem"));
    samples.push(dir.openssl_encrypted("-v2 aes-256-cbc -iter 1"));
    samples.push(dir.openssl_encrypted("-scrypt"));
    samples.push(dir.new_ssh_key("", &[]));
    samples.push(dir.read("id.pub"));
    samples.push(Dir::new().new_ssh_key(PASSPHRASE, &["-a", "1"]));
    samples.push(Dir::new().new_ssh_key(PASSPHRASE, &["-a", "1", "-Z", "chacha20-poly1305@openssh.com"]));
    let minisign = "RWQf6LRCGA9i53mlYecO4IzT51TGPpvWucNSCh1CBM0QTaLn73Y7GFO3";
    samples.push(minisign.into());
    samples.push(format!("untrusted comment: x\n{minisign}\n").into_bytes());
    samples
}

fn parse_both(file: &[u8]) -> (Result<PublicKey, KeyError>, Result<SecretKeyFile, KeyError>) {
    let results = (PublicKey::parse(file), SecretKeyFile::parse(file));
    if let Err(error) = &results.0 {
        assert!(!error.to_string().is_empty());
    }
    results
}

#[test]
fn every_truncation_is_an_error_or_the_same_key() {
    let dir = Dir::new();
    for sample in samples(&dir) {
        let whole = PublicKey::parse(&sample).ok();
        for len in 0..sample.trim_ascii_end().len() {
            let (public, secret) = parse_both(&sample[..len]);
            assert!(secret.is_err());
            // A comment at the end of a line may be cut.
            assert!(public.is_err() || public.ok() == whole);
        }
        // Below the PEM armour, where the structures are.
        if sample.starts_with(b"-----BEGIN") {
            let content = pem_content(&sample);
            for len in 0..content.len() {
                for label in ["PUBLIC KEY", "PRIVATE KEY", "ENCRYPTED PRIVATE KEY", "OPENSSH PRIVATE KEY"] {
                    let (public, secret) = parse_both(&pem(label, &content[..len]));
                    assert!(public.is_err() && secret.is_err());
                }
            }
        }
    }
}

#[test]
fn flipped_bytes_never_panic() {
    let dir = Dir::new();
    for sample in samples(&dir) {
        flip_each(&sample, |file| drop(parse_both(file)));
        if sample.starts_with(b"-----BEGIN") {
            let label = String::from_utf8_lossy(&sample).lines().next().unwrap().to_owned();
            let label = label.replace("-----BEGIN ", "").replace("-----", "");
            flip_each(&pem_content(&sample), |content| {
                drop(parse_both(&pem(&label, content)));
            });
        }
    }
}

/// With the right passphrase, so that what lies below the encryption is reached.
#[test]
fn flipped_bytes_of_an_encrypted_file_never_panic_when_opened() {
    let dir = Dir::new();
    dir.new_openssl_key();
    let content = pem_content(&dir.openssl_encrypted("-v2 aes-256-cbc -iter 1"));
    flip_each(&content, |content| {
        let file = pem("ENCRYPTED PRIVATE KEY", content);
        // A flip can raise the iteration count to millions, which is slow and not what is tested.
        let cheap = content.windows(3).any(|part| part == b"\x02\x01\x01");
        if cheap && parses(&file) {
            let _ = open(&file, PASSPHRASE);
        }
    });
}

fn flip_each(bytes: &[u8], mut look: impl FnMut(&[u8])) {
    let mut bytes = bytes.to_vec();
    for at in 0..bytes.len() {
        for bits in [0x01, 0x04, 0x20, 0x80, 0xff] {
            bytes[at] ^= bits;
            look(&bytes);
            bytes[at] ^= bits;
        }
    }
}
