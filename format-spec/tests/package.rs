//! From bytes to a verified package: what is sound is accepted, and everything else is refused by the right error.

mod common;

use common::raw::{self, ENTRIES, ENTRY, Parts, SEAL, put, with_index};
use common::{key, parse, sample, spec, verify};
use pspf_format::keys::SecretKey;
use pspf_format::{Class, Draft, Error, SealedIndex, Sha256, TRAILER_LEN, UnsealedIndex, UnverifiedPackage};

/// Its error must be of this class, and must say this.
#[track_caller]
fn refused<T: std::fmt::Debug>(result: Result<T, Error>, class: Class, text: &str) {
    let error = result.expect_err("it must be refused");
    assert_eq!(error.class(), class, "{error}");
    assert!(error.to_string().contains(text), "`{error}` does not say `{text}`");
}

fn sealed(bytes: &[u8]) -> SealedIndex {
    parse(bytes).unwrap().verify_all().unwrap()
}

#[test]
fn a_sound_package_is_verified() {
    let bytes = sample();
    let package = verify(&bytes).unwrap();
    let signers: Vec<_> = package.sealed().signers().iter().map(|signer| *signer.as_bytes()).collect();
    assert_eq!(signers, [1, 2].map(|seed| *key(seed).public_key().as_bytes()));
    assert_eq!(package.slots().map(|slot| slot.metadata.id.to_string()).collect::<Vec<_>>(), ["bin", "app"]);
    let slot = package.slot("bin").unwrap();
    assert_eq!(&bytes[slot.span.offset as usize..][..slot.span.len as usize], b"hello\n");
    assert_eq!(package.layout().package_size(), bytes.len() as u64);
    assert!(package.layout().parts().iter().all(|(part, span)| part.is_some() || span.len > 0));
    // The launcher's way verifies the first signature alone.
    let first = parse(&bytes).unwrap().verify().unwrap();
    assert_eq!(first.signers().len(), 1);
    assert_eq!(first.package_id(), package.package_id());
    assert_eq!(parse(&bytes).unwrap().claimed_public_key(), *key(1).public_key().as_bytes());
}

#[test]
fn an_index_knows_the_trailer_it_was_read_from() {
    let bytes = sample();
    let sealed = parse(&bytes).unwrap().verify().unwrap();
    assert!(sealed.is_from(&bytes[bytes.len() - 8200..]));
    assert!(!sealed.is_from(&bytes[bytes.len() - 8199..]));
    // Another sound index: the checksum and the magics alone do not make it the same.
    let other = raw::resigned(&bytes, &key(1), |index| index[144] ^= 1);
    assert!(!sealed.is_from(&other[other.len() - 8200..]));
    // Nor does a checksum that fits, wherever the trailer differs.
    let mut trailer = bytes[bytes.len() - 8200..].to_vec();
    for at in 0..trailer.len() {
        let before = trailer.clone();
        trailer[at] ^= 1;
        if !(8..12).contains(&at) {
            let checksum = pspf_format::index_checksum(&trailer[4..8196]).to_le_bytes();
            trailer[8..12].copy_from_slice(&checksum);
        }
        assert!(!sealed.is_from(&trailer), "byte {at}");
        trailer = before;
    }
}

#[test]
fn the_vector_package_is_the_one_of_the_specification() {
    let seed = "9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60";
    let signer = SecretKey::from_seed(&Sha256::from_hex(seed).unwrap().0);
    let slots = [common::raw_slot("bin", "hello", b"hello\n")];
    let metadata = common::metadata(&slots);
    let json = metadata.to_json();
    assert_eq!(spec::code("```json\n"), String::from_utf8(json.clone()).unwrap());
    let bytes = common::package_with(&metadata, &raw::gzip(&json), &slots, &[&signer], true);
    let package = verify(&bytes).unwrap();
    assert_eq!(spec::vector("slot key"), package.slot("bin").unwrap().key().to_string());
    let key_parts = [
        &b"pspf-slot-v1\0"[..],
        &[0; 8],
        &0o755_u16.to_le_bytes(),
        &5_u64.to_le_bytes(),
        b"hello",
        &6_u64.to_le_bytes(),
        &raw::sha256(b"hello\n"),
    ];
    assert_eq!(package.slot("bin").unwrap().key().0, raw::sha256(&key_parts.concat()));
    assert_eq!(spec::vector("SHA-256 of the slot table"), Sha256::of(&package.layout().table).to_string());
    let message = raw::message(&raw::index(&bytes));
    assert_eq!(spec::vector("signed message"), raw::hex(&message));
    assert_eq!(spec::vector("package id"), raw::hex(&raw::sha256(&message)));
    assert_eq!(package.package_id().0, raw::sha256(&message));
    assert_eq!(spec::vector("SHA-256 of the package"), raw::hex(&raw::sha256(&bytes)));
}

#[test]
fn the_second_writer_makes_the_same_package() {
    let slots = common::sample_slots();
    let bytes = common::package(&common::metadata(&slots), &slots, &[&key(1)], false);
    assert!(Parts::of(&bytes).seal(&key(1)) == bytes);
}

#[test]
fn a_draft_takes_more_signatures_and_no_wrong_one() {
    let bytes = sample();
    let mut draft = Draft::of(&sealed(&bytes));
    let message = draft.message();
    assert_eq!(message, raw::message(&raw::index(&bytes)));
    refused(draft.add(&key(2).public_key(), key(2).sign(&message)), Class::Usage, "already");
    refused(draft.add(&key(3).public_key(), key(4).sign(&message)), Class::Integrity, "signature 2");
    for seed in 3..=64 {
        draft.add(&key(seed).public_key(), key(seed).sign(&message)).unwrap();
    }
    refused(draft.add(&key(65).public_key(), key(65).sign(&message)), Class::Format, "65 signatures");
    let mut more = bytes.clone();
    more.truncate(bytes.len() - TRAILER_LEN);
    more.extend(draft.trailer().unwrap());
    let package = verify(&more).unwrap();
    assert_eq!(package.sealed().signers().len(), 64);
    assert_eq!(package.package_id(), verify(&bytes).unwrap().package_id());
    // A new first signer drops every signature; without one there is no trailer.
    draft.set_signer(&key(9).public_key(), None);
    refused(draft.trailer(), Class::Format, "first signature");
    let message = draft.message();
    draft.add(&key(1).public_key(), key(1).sign(&message)).unwrap();
    refused(draft.trailer(), Class::Format, "first signature");
    draft.add(&key(9).public_key(), key(9).sign(&message)).unwrap();
    more.truncate(bytes.len() - TRAILER_LEN);
    more.extend(draft.trailer().unwrap());
    assert_eq!(verify(&more).unwrap().sealed().signers()[0].as_bytes(), key(9).public_key().as_bytes());
}

#[test]
fn a01_every_changed_bit_of_metadata_and_slot_table_is_found() {
    let bytes = sample();
    let sealed = sealed(&bytes);
    let part = |span: pspf_format::Span| bytes[span.offset as usize..][..span.len as usize].to_vec();
    let (metadata, table) = (part(sealed.metadata_span()), part(sealed.slot_table_span()));
    assert!(sealed.clone().open(&metadata, &table).is_ok());
    for bit in 0..metadata.len() * 8 {
        let mut changed = metadata.clone();
        changed[bit / 8] ^= 1 << (bit % 8);
        refused(sealed.clone().open(&changed, &table), Class::Integrity, "metadata: SHA-256");
    }
    for bit in 0..table.len() * 8 {
        let mut changed = table.clone();
        changed[bit / 8] ^= 1 << (bit % 8);
        refused(sealed.clone().open(&metadata, &changed), Class::Integrity, "slot table: SHA-256");
    }
    refused(sealed.clone().open(&metadata[1..], &table), Class::Integrity, "metadata: SHA-256");
    refused(sealed.clone().open(&metadata, &table[64..]), Class::Integrity, "slot table: SHA-256");
}

#[test]
fn a01_every_changed_bit_of_the_trailer_is_found() {
    let bytes = sample();
    let len = bytes.len() as u64;
    let mut trailer = common::trailer(&bytes).unwrap();
    for bit in 0..trailer.len() * 8 {
        trailer[bit / 8] ^= 1 << (bit % 8);
        refused(UnverifiedPackage::parse(&trailer, len), Class::Integrity, "damaged trailer");
        trailer[bit / 8] ^= 1 << (bit % 8);
    }
}

/// With its Adler-32 made right for every change, so that the checksum does not stand before the signature.
#[test]
fn a01_every_changed_bit_of_the_index_is_found_by_more_than_its_checksum() {
    let bytes = sample();
    let half = |odd: usize| {
        let bytes = bytes.clone();
        std::thread::spawn(move || index_bits(&bytes, odd))
    };
    [half(0), half(1)].into_iter().for_each(|thread| thread.join().unwrap());
}

fn index_bits(bytes: &[u8], odd: usize) {
    let sound = raw::index(bytes);
    let mut trailer = common::trailer(bytes).unwrap();
    for bit in (odd..sound.len() * 8).step_by(2).filter(|bit| !(32..64).contains(bit)) {
        let mut index = sound;
        index[bit / 8] ^= 1 << (bit % 8);
        let checksum = pspf_format::index_checksum(&index);
        put(&mut index, 4, &checksum.to_le_bytes());
        put(trailer.as_mut_slice(), 4, &index);
        let Ok(unverified) = UnverifiedPackage::parse(&trailer, bytes.len() as u64) else { continue };
        let byte = bit / 8;
        // A start finds everything but the base signature and other signers' entries; these are for verifiers.
        if (128..192).contains(&byte) {
            refused(verify(&with_index(bytes, index)), Class::Integrity, "`integrity_signature`");
        } else if byte >= ENTRIES + ENTRY {
            refused(unverified.verify_all(), Class::Integrity, "signature 1");
        } else {
            assert!(unverified.verify().is_err(), "bit {bit}");
        }
    }
}

#[test]
fn a01_every_changed_bit_of_launcher_padding_and_slots_is_found() {
    let mut bytes = sample();
    let package = verify(&bytes).unwrap();
    let layout = package.layout();
    let slots = layout.slot_table.offset + layout.slot_table.len..layout.trailer.offset;
    let padding = layout.metadata.offset + layout.metadata.len..layout.slot_table.offset;
    for bit in (0..layout.launcher.len).chain(padding).chain(slots).flat_map(|at| at * 8..at * 8 + 8) {
        bytes[bit as usize / 8] ^= 1 << (bit % 8);
        refused(common::compare_parts(&package, &bytes), Class::Integrity, "");
        bytes[bit as usize / 8] ^= 1 << (bit % 8);
    }
    assert!(common::compare_parts(&package, &bytes).is_ok());
}

#[test]
fn a02_every_other_length_is_refused() {
    let bytes = sample();
    for len in 0..bytes.len() {
        let error = parse(&bytes[..len]).expect_err("a truncated file");
        assert!(matches!(error, Error::NotAPackage | Error::DamagedTrailer { .. }), "{len} bytes: {error}");
    }
    for more in [&b"\0"[..], b"\n", &bytes, &[0; 8200]] {
        let longer = [&bytes[..], more].concat();
        assert!(verify(&longer).is_err(), "{} bytes appended", more.len());
    }
    refused(parse(&[&bytes[..], &bytes].concat()), Class::Format, "`package_size`");
    // A trailer of the right form at the end of a shorter or longer file.
    let trailer = common::trailer(&bytes).unwrap();
    for len in [bytes.len() as u64 - 1, bytes.len() as u64 + 1, 0, u64::MAX] {
        refused(UnverifiedPackage::parse(&trailer, len), Class::Format, "`package_size`");
    }
}

#[test]
fn another_version_is_refused_whatever_its_checksum() {
    let bytes = sample();
    for version in [0_u32, 1, 0x2025_0000, 0x2025_0002, 0x0100_2520, u32::MAX] {
        let mut index = raw::index(&bytes);
        put(&mut index, 0, &version.to_le_bytes());
        refused(parse(&with_index(&bytes, index)), Class::Format, "`format_version`");
    }
    for version in [0_u32, 2, u32::MAX] {
        let changed = raw::resigned(&bytes, &key(1), |index| put(index, SEAL + 8, &version.to_le_bytes()));
        refused(parse(&changed), Class::Format, "the seal has version");
    }
}

#[test]
fn a_seal_cannot_be_stripped() {
    let bytes = sample();
    let mut index = raw::index(&bytes);
    index[SEAL..].fill(0);
    let stripped = with_index(&bytes, index);
    refused(parse(&stripped), Class::Format, "no seal");
    let unsealed = UnsealedIndex::parse(&common::trailer(&stripped).unwrap(), stripped.len() as u64).unwrap();
    let part = |span: pspf_format::Span| &stripped[span.offset as usize..][..span.len as usize];
    let opened = unsealed.open(part(unsealed.metadata_span()), part(unsealed.slot_table_span()), stripped.len() as u64);
    refused(opened, Class::Integrity, "the seal was removed");
    // Half of it: any part of the fixed fields, the entries alone, the fixed fields alone.
    for (from, to) in [(SEAL, SEAL + 8), (SEAL, ENTRIES), (SEAL + 8, SEAL + 12), (ENTRIES, 8192), (SEAL, 8191)] {
        let mut index = raw::index(&bytes);
        index[from..to].fill(0);
        if from == SEAL && to == 8191 {
            index[8191] = 1;
        }
        assert_eq!(parse(&with_index(&bytes, index)).expect_err("half a seal").class(), Class::Format);
    }
    for at in [SEAL + 13, SEAL + 112, ENTRIES - 1] {
        refused(parse(&raw::resigned(&bytes, &key(1), |index| index[at] = 1)), Class::Format, "reserved bytes");
    }
    refused(parse(&raw::resigned(&bytes, &key(1), |index| index[SEAL + 12] = 2)), Class::Format, "reserved bytes");
}

#[test]
fn entries_are_held_to_their_order() {
    let slots = common::sample_slots();
    let metadata = common::metadata(&slots);
    let mut others = [2, 3, 4];
    others.sort_by_key(|&seed| *key(seed).public_key().as_bytes());
    let signers = [1, others[0], others[1], others[2]].map(key);
    let bytes = common::package(&metadata, &slots, &signers.each_ref(), true);
    let sound = raw::index(&bytes);
    let entry = |position: usize| ENTRIES + position * ENTRY..ENTRIES + (position + 1) * ENTRY;
    let with = |edit: &dyn Fn(&mut [u8; 8192])| {
        let mut index = sound;
        edit(&mut index);
        with_index(&bytes, index)
    };
    // Dropping the last one is not noticed, and SPEC §5.2 says so; the package stays the same.
    let dropped = verify(&with(&|index| index[entry(3)].fill(0))).unwrap();
    assert_eq!(dropped.sealed().signers().len(), 3);
    assert_eq!(dropped.package_id(), verify(&bytes).unwrap().package_id());
    // Dropping one in the middle leaves a hole; closing the hole is as good as dropping the last.
    refused(verify(&with(&|index| index[entry(2)].fill(0))), Class::Format, "in order");
    let closed = with(&|index| {
        index.copy_within(entry(3), entry(2).start);
        index[entry(3)].fill(0);
    });
    assert_eq!(verify(&closed).unwrap().sealed().signers().len(), 3);
    refused(verify(&with(&|index| index[entry(1)].fill(0))), Class::Integrity, "malformed or weak");
    refused(verify(&with(&|index| index[entry(0)].fill(0))), Class::Format, "key in the index");
    let swapped = |a: usize, b: usize| {
        with(&|index| {
            let first = index[entry(a)].to_vec();
            index.copy_within(entry(b), entry(a).start);
            index[entry(b)].copy_from_slice(&first);
        })
    };
    refused(verify(&swapped(1, 2)), Class::Format, "in order");
    refused(verify(&swapped(0, 1)), Class::Format, "key in the index");
    for (from, to) in [(0, 4), (3, 4), (0, 1), (1, 2)] {
        let doubled = with(&|index| index.copy_within(entry(from), entry(to).start));
        refused(verify(&doubled), Class::Format, "in order, or one key signed twice");
    }
    // A stranger's valid entry is accepted; one that signs something else is not.
    let added = with(&|index| {
        let mut keys: Vec<_> = [others[0], others[1], others[2], 7].map(key).into();
        keys.sort_by_key(|key| *key.public_key().as_bytes());
        for (position, key) in keys.iter().enumerate() {
            raw::put_entry(index, position + 1, key);
        }
    });
    assert_eq!(verify(&added).unwrap().sealed().signers().len(), 5);
    let foreign = with(&|index| index[entry(3).start + 40] ^= 1);
    refused(verify(&foreign), Class::Integrity, "signature 3 does not match");
    assert!(parse(&foreign).unwrap().verify().is_ok());
    // The first signer cannot be exchanged without everybody signing anew.
    let replaced = with(&|index| {
        let public = *key(8).public_key().as_bytes();
        put(index, 64, &public);
        raw::put_entry(index, 0, &key(8));
    });
    refused(verify(&replaced), Class::Integrity, "signature 1 does not match");
    refused(parse(&replaced).unwrap().verify(), Class::Format, "attestation_key_fp");
}

#[test]
fn weak_and_malformed_keys_are_refused() {
    let bytes = sample();
    // The neutral element, a point of order 4, and no point at all.
    let mut neutral = [0; 32];
    neutral[0] = 1;
    for public in [neutral, [0; 32], [0xff; 32]] {
        let mut index = raw::index(&bytes);
        put(&mut index, 64, &public);
        put(&mut index, ENTRIES, &public);
        // With such a key one signature fits every message.
        put(&mut index, ENTRIES + 32, &[&neutral[..], &[0; 32]].concat());
        refused(parse(&with_index(&bytes, index)).and_then(UnverifiedPackage::verify), Class::Integrity, "weak");
    }
}

#[test]
fn the_base_signature_is_held_to_its_flag() {
    let slots = common::sample_slots();
    let metadata = common::metadata(&slots);
    let with = common::package(&metadata, &slots, &[&key(1)], true);
    let without = common::package(&metadata, &slots, &[&key(1)], false);
    let signature: [u8; 64] = raw::index(&with)[128..192].try_into().unwrap();
    assert_eq!(signature, key(1).sign(&metadata.to_json()).to_bytes());
    assert!(verify(&with).is_ok() && verify(&without).is_ok());
    for (bytes, field) in
        [(&with, [0; 64]), (&without, signature), (&with, key(2).sign(&metadata.to_json()).to_bytes())]
    {
        let mut index = raw::index(bytes);
        put(&mut index, 128, &field);
        refused(verify(&with_index(bytes, index)), Class::Integrity, "`integrity_signature`");
    }
    // The launcher does not look at it; nothing that it looks at has changed.
    let mut index = raw::index(&with);
    index[192] = 1;
    refused(parse(&with_index(&with, index)), Class::Format, "zero after byte 64");
}
