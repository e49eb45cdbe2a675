//! Seal, signatures and keys (SPEC §5).

use curve25519_dalek::scalar::{Scalar, clamp_integer};
use pspf_format::keys::SecretKey;
use sha2::{Digest, Sha512};

use super::Set;
use super::sample::{changed, changed_in, one, package, parts, signed, sound, words};
use crate::forge::{ForgedSlot, key};
use crate::raw::{self, ENTRIES, ENTRY, INDEX, SEAL, put, put_entry};

/// The neutral element, which is of small order.
const NEUTRAL: [u8; 32] = {
    let mut bytes = [0; 32];
    bytes[0] = 1;
    bytes
};
/// The same point, written with 1 + p in place of 1.
const NEUTRAL_NOT_CANONICAL: [u8; 32] = {
    let mut bytes = [0xff; 32];
    bytes[0] = 0xee;
    bytes[31] = 0x7f;
    bytes
};
/// The group order, little-endian.
const ORDER: [u8; 32] = [
    0xed, 0xd3, 0xf5, 0x5c, 0x1a, 0x63, 0x12, 0x58, 0xd6, 0x9c, 0xf7, 0xa2, 0xde, 0xf9, 0xde, 0x14, 0, 0, 0, 0, 0, 0,
    0, 0, 0, 0, 0, 0, 0, 0, 0, 0x10,
];

pub(super) fn signer(seed: u8) -> SecretKey {
    SecretKey::from_seed(&[seed; 32])
}

/// A sound package with these keys' signatures after the first one, in the order of their keys.
pub(super) fn with_signers(seeds: impl IntoIterator<Item = u8>) -> Vec<u8> {
    let mut others: Vec<SecretKey> = seeds.into_iter().map(signer).collect();
    others.sort_by_key(|key| *key.public_key().as_bytes());
    changed(|index| others.iter().enumerate().for_each(|(position, key)| put_entry(index, position + 1, key)))
}

pub(super) fn add(set: &mut Set) {
    header(set);
    entries(set);
    first_signature(set);
    message(set);
    base_signature(set);
}

fn header(set: &mut Set) {
    set.section("5.1");
    set.format("seal-magic", "the seal's magic is wrong", signed(|index| index[SEAL] ^= 1));
    set.format("seal-version", "the seal's version is 2", signed(|index| index[SEAL + 8] = 2));
    set.format("seal-flags", "an unknown flag of the seal is set", signed(|index| index[SEAL + 12] = 2));
    set.format("seal-reserved", "a reserved byte of the seal is not zero", signed(|index| index[SEAL + 479] = 1));
    let remains = changed(|index| {
        index[SEAL..].fill(0);
        index[INDEX - 1] = 1;
    });
    set.format("seal-one-byte", "one byte is left of the seal", remains);
    set.format("seal-entries-alone", "the fixed part is zero", changed(|index| index[SEAL..ENTRIES].fill(0)));
    set.section("8.1");
    for (name, what, at) in [
        ("seal-launcher-digest", "the seal's digest of the launcher is another one", SEAL + 16),
        ("seal-metadata-digest", "the seal's digest of the metadata is another one", SEAL + 48),
        ("seal-table-digest", "the seal's digest of the slot table is another one", SEAL + 80),
    ] {
        set.integrity(name, what, signed(|index| index[at] ^= 1));
    }
}

fn entry(position: usize) -> std::ops::Range<usize> {
    ENTRIES + position * ENTRY..ENTRIES + (position + 1) * ENTRY
}

fn entries(set: &mut Set) {
    set.section("5.2");
    set.format("no-entries", "there is no signature", changed(|index| index[ENTRIES..].fill(0)));
    let four = with_signers([2, 3, 4]);
    let four = |edit: &dyn Fn(&mut [u8; INDEX])| changed_in(&four, edit);
    let copied = |from, to| four(&|index| index.copy_within(entry(from), entry(to).start));
    let swapped = |one, two| {
        four(&|index| {
            let kept = index[entry(one)].to_vec();
            index.copy_within(entry(two), entry(one).start);
            put(index, entry(two).start, &kept);
        })
    };
    set.format("entries-first-again", "the first signer signed twice", copied(0, 4));
    set.format("entries-doubled", "the last signer signed twice", copied(3, 4));
    set.format("entries-swapped", "the keys from the second on do not ascend", swapped(2, 3));
    set.format("entries-first-swapped", "the first entry is not by the key of the index", swapped(0, 1));
    set.format("entries-hole", "an entry of zeros between two others", four(&|index| index[entry(2)].fill(0)));
    set.format("entries-byte-behind", "a byte behind the last entry", four(&|index| index[INDEX - 1] = 1));
    set.format("entries-first-dropped", "the first entry is zero", four(&|index| index[entry(0)].fill(0)));
    let flipped = four(&|index| index[entry(3).start + 32] ^= 1);
    set.integrity("second-signer-flipped", "a bit of the last of four signatures was flipped", flipped);
    let other = package(&[ForgedSlot::raw("app", b"#!/bin/sh\necho other\n")]);
    let foreign = changed(|index| {
        let mut other = raw::index(&other);
        put_entry(&mut other, 1, &signer(2));
        put(index, entry(1).start, &other[entry(1)]);
    });
    set.integrity("second-signer-foreign", "the second signature is over another package", foreign);
    let zero = changed(|index| put(index, entry(1).start, signer(2).public_key().as_bytes()));
    set.integrity("second-signer-zero", "the second signature is zero", zero);
    let weak = changed(|index| {
        put(index, entry(1).start, &NEUTRAL);
        put(index, entry(1).start + 32, &NEUTRAL);
    });
    set.integrity("second-signer-weak", "the second key is of small order, and its signature fits any message", weak);
    let large = changed(|index| {
        put_entry(index, 1, &signer(2));
        add_order(&mut index[entry(1)][64..]);
    });
    set.integrity("second-signer-large-s", "the second signature's S is not below the group order", large);
}

/// Adds the group order to S: an equation that does not reduce S holds as before.
fn add_order(s: &mut [u8]) {
    let mut carry = 0;
    for (byte, order) in s.iter_mut().zip(ORDER) {
        carry += u16::from(*byte) + u16::from(order);
        *byte = carry as u8;
        carry >>= 8;
    }
}

/// The signature with this R, whose point is the neutral element, that fulfils the equation S·B = R + k·A.
fn signature_with(r: [u8; 32], seed: &[u8; 32], public: &[u8], message: &[u8]) -> [u8; 64] {
    let scalar = |half: &[u8]| Scalar::from_bytes_mod_order(clamp_integer(half.try_into().expect("32 bytes")));
    let secret = scalar(&Sha512::digest(seed)[..32]);
    let k = Scalar::from_bytes_mod_order_wide(&Sha512::digest([&r, public, message].concat()).into());
    let mut signature = [0; 64];
    signature[..32].copy_from_slice(&r);
    signature[32..].copy_from_slice((k * secret).as_bytes());
    signature
}

fn first_signature(set: &mut Set) {
    set.section("5.2");
    let zero = changed(|index| index[ENTRIES + 32..ENTRIES + 96].fill(0));
    set.integrity("signature-zero", "the only signature is zero", zero);
    let flipped = changed(|index| index[ENTRIES + 32] ^= 1);
    set.integrity("signature-r", "a bit of R was flipped", flipped);
    let flipped = changed(|index| index[ENTRIES + 64] ^= 1);
    set.integrity("signature-s", "a bit of S was flipped", flipped);
    let other = signed(|_| ());
    let other = changed_in(&other, |index| {
        put(index, 64, signer(9).public_key().as_bytes());
        put(index, ENTRIES, signer(9).public_key().as_bytes());
    });
    set.integrity("signature-of-another-key", "another key is named in both places, the signature is kept", other);
    let alone = changed(|index| put(index, 64, signer(9).public_key().as_bytes()));
    set.format("key-of-index", "the key of the index is not that of the first entry", alone);
    set.section("1.1");
    let large = changed(|index| add_order(&mut index[ENTRIES + 64..ENTRIES + 96]));
    set.integrity("signature-large-s", "S is not below the group order; the equation holds", large);
    for (name, what, r) in [
        ("signature-r-small-order", "R is the neutral element; the equation holds", NEUTRAL),
        (
            "signature-r-not-canonical",
            "R is the neutral element, not canonical; the equation holds",
            NEUTRAL_NOT_CANONICAL,
        ),
    ] {
        let bytes = changed(|index| {
            let signature = signature_with(r, &[1; 32], key().public_key().as_bytes(), &raw::message(index));
            put(index, ENTRIES + 32, &signature);
        });
        set.integrity(name, what, bytes);
    }
    for (name, what, weak) in [
        ("key-small-order", "the key is of small order, and the signature fits every message", NEUTRAL),
        (
            "key-not-canonical",
            "the key is no canonical encoding, and the signature fits every message",
            NEUTRAL_NOT_CANONICAL,
        ),
    ] {
        let bytes = changed(|index| {
            put(index, 64, &weak);
            put(index, 1376, raw::hex(&raw::sha256(&weak)).as_bytes());
            put(index, ENTRIES, &weak);
            put(index, ENTRIES + 32, &[&NEUTRAL[..], &[0; 32]].concat());
        });
        set.integrity(name, what, bytes);
    }
    set.section("8.1");
    set.add(
        "TRUST",
        "another-signer",
        "sound, and signed by a key that the verifier was not given",
        parts(&words(), &one()).seal(&signer(9)),
    );
}

/// Signatures of the right key over something else.
fn message(set: &mut Set) {
    set.section("5.3");
    let over = |message: &dyn Fn(&[u8; INDEX]) -> Vec<u8>| {
        changed(|index| {
            let signature = key().sign(&message(index)).to_bytes();
            put(index, ENTRIES + 32, &signature);
        })
    };
    let domain = |index: &[u8; INDEX]| [b"PSPF seal version 2\n", &raw::message(index)[20..]].concat();
    set.integrity("message-domain", "the signature is over another domain string", over(&domain));
    let bare = over(&|index| raw::message(index)[20..].to_vec());
    set.integrity("message-no-domain", "the signature is over the digest alone", bare);
    let whole = over(&|index| {
        let mut index = *index;
        index[ENTRIES..].fill(0);
        [&b"PSPF seal version 1\n"[..], &raw::sha256(&index)].concat()
    });
    set.integrity("message-with-checksum", "the signature covers the Adler-32 too", whole);
    let id = over(&|index| raw::sha256(&raw::message(index)).to_vec());
    set.integrity("message-package-id", "the signature is over the package id", id);
    let ssh = over(&|index| [b"SSHSIG", &raw::message(index)[..]].concat());
    set.integrity("message-ssh", "the signature is over the message with the preamble of SSH signatures", ssh);
}

fn base_signature(set: &mut Set) {
    set.section("5.4");
    let stored = raw::Parts::of(&sound()).metadata;
    let json = raw::gunzip(&stored);
    let flagged = |signature: [u8; 64]| {
        signed(|index| {
            index[SEAL + 12] = 1;
            put(index, 128, &signature);
        })
    };
    set.ok("base-signature", "a base signature by the first signer", flagged(key().sign(&json).to_bytes()));
    set.integrity("base-signature-missing", "the base signature is promised and not there", flagged([0; 64]));
    let other = flagged(signer(2).sign(&json).to_bytes());
    set.integrity("base-signature-of-another", "the base signature is by another key", other);
    let compressed = flagged(key().sign(&stored).to_bytes());
    set.integrity("base-signature-over-gzip", "the base signature is over the compressed metadata", compressed);
    let unasked = changed(|index| put(index, 128, &key().sign(&json).to_bytes()));
    set.integrity("base-signature-not-promised", "a valid base signature that the seal does not promise", unasked);
}
