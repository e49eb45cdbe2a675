//! The acceptance set of keys and signatures: RFC 8032, the frozen vectors of others, and strictness.

use curve25519_dalek::constants::ED25519_BASEPOINT_POINT;
use curve25519_dalek::scalar::{Scalar, clamp_integer};
use ed25519_dalek::VerifyingKey;
use pspf_keys::{KeyError, PublicKey, SecretKey, Signature, SignatureMismatch};
use sha2::{Digest, Sha256, Sha512};

/// CCTV: what `ed25519-dalek` accepts leniently, strictly, and what this crate accepts.
const CCTV_LENIENT: usize = 208;
const CCTV_STRICT: usize = 43;

fn hex(text: &str) -> Vec<u8> {
    assert!(text.len().is_multiple_of(2), "`{text}` has an odd length");
    let digits = |at| u8::from_str_radix(&text[at..at + 2], 16).unwrap();
    (0..text.len()).step_by(2).map(digits).collect()
}

fn hex32(text: &str) -> [u8; 32] {
    hex(text).try_into().unwrap()
}

fn records(file: &str) -> impl Iterator<Item = Vec<&str>> {
    file.lines().filter(|line| !line.starts_with('#')).map(|line| line.splitn(5, ' ').collect())
}

/// Accepted as key and as signature.
fn accepts(key: &[u8], message: &[u8], signature: &[u8]) -> bool {
    let key = PublicKey::from_bytes(key.try_into().unwrap());
    match (key, signature.try_into()) {
        (Ok(key), Ok(signature)) => key.verify(message, &Signature::from_bytes(signature)).is_ok(),
        _ => false,
    }
}

#[test]
fn a10_rfc_8032_section_7_1() {
    let vectors = [
        (
            "9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60",
            "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a",
            "",
            "e5564300c360ac729086e2cc806e828a84877f1eb8e5d974d873e065224901555fb8821590a33bacc61e39701cf9b46bd25bf5f0595bbe24655141438e7a100b",
        ),
        (
            "4ccd089b28ff96da9db6c346ec114e0f5b8a319f35aba624da8cf6ed4fb8a6fb",
            "3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c",
            "72",
            "92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da085ac1e43e15996e458f3613d0f11d8c387b2eaeb4302aeeb00d291612bb0c00",
        ),
        (
            "c5aa8df43f9f837bedb7442f31dcb7b166d38535076f094b85ce3a2e0b4458f7",
            "fc51cd8e6218a1a38da47ed00230f0580816ed13ba3303ac5deb911548908025",
            "af82",
            "6291d657deec24024827e69c3abe01a30ce548a284743a445e3680d7db5ac3ac18ff9b538d16f290ae67f760984dc6594a7c15e9716ed28dc027beceea1ec40a",
        ),
    ];
    for (seed, public, message, signature) in vectors {
        let key = SecretKey::from_seed(&hex32(seed));
        assert_eq!(key.public_key().as_bytes(), &hex32(public));
        let made = key.sign(&hex(message));
        assert_eq!(made.to_bytes().as_slice(), hex(signature));
        assert_eq!(key.public_key().verify(&hex(message), &made), Ok(()));
        assert_eq!(key.public_key().verify(b"another", &made), Err(SignatureMismatch));
    }
}

#[test]
fn a10_wycheproof_agrees() {
    let mut count = 0;
    for record in records(include_str!("vectors/ed25519-wycheproof.txt")) {
        let [number, result, key, signature, message] = record.try_into().unwrap();
        let signature = hex(signature.trim_matches('-'));
        let message = hex(message.trim_matches('-'));
        assert_eq!(accepts(&hex(key), &message, &signature), result == "valid", "test {number}");
        count += 1;
    }
    assert_eq!(count, 151);
}

/// The whole set is pinned, not only its size, so that a new release of a dependency cannot move it.
#[test]
fn a10_cctv_acceptance_is_frozen() {
    let (mut count, mut lenient, mut accepted) = (0, 0, Vec::new());
    for record in records(include_str!("vectors/ed25519-cctv.txt")) {
        let (key, signature) = (hex(record[1]), hex(record[2]));
        let message = record[3..].join(" ");
        count += 1;
        lenient += usize::from(accepts_leniently(&key, message.as_bytes(), &signature));
        if accepts(&key, message.as_bytes(), &signature) {
            accepted.push(record[0]);
        }
    }
    assert_eq!((count, lenient), (914, CCTV_LENIENT));
    assert_eq!(accepted.len(), CCTV_STRICT);
    assert_eq!(accepted.join(" "), include_str!("vectors/ed25519-cctv.accepted.txt").trim());
}

#[expect(clippy::disallowed_methods, reason = "the lenient verification is what is compared with")]
fn accepts_leniently(key: &[u8], message: &[u8], signature: &[u8]) -> bool {
    use ed25519_dalek::Verifier;
    let key = VerifyingKey::from_bytes(key.try_into().unwrap());
    let signature = ed25519_dalek::Signature::from_slice(signature).unwrap();
    key.is_ok_and(|key| key.verify(message, &signature).is_ok())
}

/// With r = 0 the point R is the identity: S = k·a satisfies the equation, and the key's owner gives its scalar away.
#[test]
fn a_signature_with_small_order_r_is_refused_although_the_equation_holds() {
    let seed = [7; 32];
    let hash: [u8; 64] = Sha512::digest(seed).into();
    let scalar = Scalar::from_bytes_mod_order(clamp_integer(hash[..32].try_into().unwrap()));
    let key = SecretKey::from_seed(&seed).public_key();
    let point = ED25519_BASEPOINT_POINT * scalar;
    assert_eq!(point.compress().as_bytes(), key.as_bytes());

    let mut signature = [0; 64];
    signature[0] = 1;
    let mut hash = Sha512::new();
    hash.update(&signature[..32]);
    hash.update(key.as_bytes());
    hash.update(b"message");
    let k = Scalar::from_bytes_mod_order_wide(&hash.finalize().into());
    signature[32..].copy_from_slice((k * scalar).as_bytes());

    assert!(accepts_leniently(key.as_bytes(), b"message", &signature));
    assert!(!accepts(key.as_bytes(), b"message", &signature));
}

/// The group order added to S keeps the equation true (RFC 8032, section 8.4).
#[test]
fn a_signature_with_unreduced_s_is_refused() {
    let key = SecretKey::from_seed(&[7; 32]);
    let mut signature = key.sign(b"message").to_bytes();
    let order = hex32("edd3f55c1a631258d69cf7a2def9de1400000000000000000000000000000010");
    let mut carry = 0;
    for (byte, add) in signature[32..].iter_mut().zip(order) {
        let sum = u16::from(*byte) + u16::from(add) + carry;
        *byte = sum as u8;
        carry = sum >> 8;
    }
    let public = key.public_key();
    let result = public.verify(b"message", &Signature::from_bytes(&signature));
    assert_eq!(result, Err(SignatureMismatch));
}

/// All points of small order, in their canonical and other encodings.
#[test]
fn weak_and_non_canonical_keys_are_refused() {
    let ones = |first: u8, last: u8| {
        let mut bytes = [0xff; 32];
        (bytes[0], bytes[31]) = (first, last);
        bytes
    };
    let small = |first: u8, last: u8| {
        let mut bytes = [0; 32];
        (bytes[0], bytes[31]) = (first, last);
        bytes
    };
    let order_8 = [
        "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05",
        "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc85",
        "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a",
        "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac03fa",
    ];
    let weak = [small(0, 0), small(0, 0x80), small(1, 0), small(1, 0x80)]
        .into_iter()
        .chain([ones(0xec, 0x7f), ones(0xec, 0xff)])
        .chain(order_8.map(hex32));
    for key in weak {
        assert_eq!(PublicKey::from_bytes(&key), Err(KeyError::Weak), "{key:x?}");
    }
    for first in 0xed..=0xff {
        for last in [0x7f, 0xff] {
            let result = PublicKey::from_bytes(&ones(first, last));
            assert_eq!(result, Err(KeyError::NonCanonical), "{first:x} {last:x}");
        }
    }
    assert_eq!(PublicKey::from_bytes(&small(2, 0)), Err(KeyError::NotOnCurve));
}

#[test]
fn a80_secrets_do_not_show() {
    let key = SecretKey::from_seed(&[0xa5; 32]);
    let shown = format!("{key:?}");
    assert!(!shown.contains("a5a5") && !shown.contains("165, 165"), "{shown}");
}

#[test]
fn keys_are_ordered_by_their_bytes_and_named_by_sha256() {
    let key = |seed| SecretKey::from_seed(&[seed; 32]).public_key();
    let (a, b) = (key(1), key(2));
    assert_eq!(a.cmp(&b), a.as_bytes().cmp(b.as_bytes()));
    assert_eq!(key(1).fingerprint().to_string(), "34750f98bd59fcfc946da45aaabe933be154a4b5094e1c4abf42866505f3c97e");
}

#[test]
fn two_keys_are_two_keys() {
    let [one, two] = [1, 2].map(|byte| SecretKey::from_seed(&[byte; 32]).public_key());
    assert!(one == one && one != two && (one < two) != (two < one));
    assert_eq!(one.fingerprint().as_bytes()[..], Sha256::digest(one.as_bytes())[..]);
}

#[test]
fn a_key_just_below_the_prime_in_its_lowest_and_highest_byte_is_in_canonical_form() {
    // Found by counting: what decides is the bytes between.
    let key = (0_u32..100_000)
        .map(|number| {
            let mut seed = [0; 32];
            seed[..4].copy_from_slice(&number.to_le_bytes());
            SecretKey::from_seed(&seed).public_key()
        })
        .find(|key| key.as_bytes()[0] >= 0xed && key.as_bytes()[31] & 0x7f == 0x7f)
        .expect("one of two thousand is such a key");
    assert_eq!(PublicKey::from_bytes(key.as_bytes()), Ok(key));
}
