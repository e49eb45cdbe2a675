//! Signed metadata that are wrong: not one text, not this text, or at odds with the slot table.

use std::io::Write;

use pspf_tests::programs::stub;

use crate::forge::{self, ForgedSlot, key};
use crate::hostile::{Case, judge};
use crate::raw::{self, Parts};

const SCRIPT: &[u8] = b"#!/bin/sh\necho ran\n";

fn slots() -> Vec<ForgedSlot> {
    vec![ForgedSlot::raw("app", SCRIPT), ForgedSlot::raw("more", b"x\n")]
}

/// The sound JSON of a package of these slots.
fn json() -> String {
    forge::json(&stub(), "", &slots())
}

/// A package around this JSON.
fn around(json: &str) -> Vec<u8> {
    forge::parts("", &slots()).with_json(json, &key())
}

/// A package whose JSON differs in one place, which must be there.
fn edited(from: &str, to: &str) -> Vec<u8> {
    let json = json();
    assert!(json.contains(from), "{from}");
    around(&json.replacen(from, to, 1))
}

fn case(from: &str, to: &str) -> Case {
    Case::new(format!("{from} -> {}", to.chars().take(60).collect::<String>()), edited(from, to), "FORMAT")
}

#[test]
fn a08_the_text_itself() {
    let sound = json();
    let depth = 10_000;
    let nested = format!("{}{}", "[".repeat(depth), "]".repeat(depth));
    judge([
        Case::new("as it is", around(&sound), ""),
        Case::new("a byte order mark", around(&format!("\u{feff}{sound}")), "FORMAT"),
        Case::new("a line feed behind", around(&format!("{sound}\n")), "FORMAT"),
        Case::new("another text behind", around(&format!("{sound}{{}}")), "FORMAT"),
        Case::new("white space", around(&sound.replacen(':', ": ", 1)), "FORMAT"),
        Case::new("nothing", around(""), "FORMAT"),
        Case::new("no object", around("[]"), "FORMAT"),
        Case::new("null", around("null"), "FORMAT"),
        Case::new("cut short", around(&sound[..sound.len() - 1]), "FORMAT"),
        Case::new("nested deeply", around(&nested), "FORMAT"),
        Case::new("an escaped letter", around(&sound.replacen("forged", "\\u0066orged", 1)), "FORMAT"),
        Case::new("a lone surrogate", around(&sound.replacen("forged", "\\ud800", 1)), "FORMAT"),
    ]);
}

#[test]
fn a08_w29_keys_twice_unknown_and_in_another_order() {
    let twice = |text: &str| case(text, &format!("{text},{text}"));
    judge([
        twice(r#""name":"forged""#),
        twice(r#""seal":1"#),
        twice(r#""platform":"linux_amd64""#),
        case(r#""name":"forged","version":"1""#, r#""version":"1","name":"forged""#),
        case(r#""seal":1,"#, r#""seal":1,"unknown":true,"#),
        case(r#""format":"PSPF/2025","#, r#""format":"PSPF/2025","unknown":{},"#),
        case(r#""command":["{slot:app}"]"#, r#""command":["{slot:app}"],"command":["/bin/sh"]"#),
        case(r#""command":["{slot:app}"]"#, r#""command":["{slot:app}"],"setup":["/bin/sh"]"#),
        case(r#""command":["{slot:app}"]"#, r#""command":["{slot:app}"],"env":{}"#),
        case(r#""command":["{slot:app}"]"#, r#""command":["{slot:app}"],"env":{"set":{"A":"1","A":"2"}}"#),
        case(r#""pspf":{"#, r#""pspf":{},"pspf":{"#),
        case(r#","pspf":{"seal":1"#, r#","pspfx":{"seal":1"#),
    ]);
}

#[test]
fn a08_values_of_the_wrong_kind_or_size() {
    let size = SCRIPT.len();
    let number = format!(r#""expanded_size":{size}"#);
    let as_number = |text: &str| case(&number, &format!(r#""expanded_size":{text}"#));
    let long = "x".repeat(50_000);
    judge([
        as_number("1e400"),
        as_number("-1"),
        as_number("19.0"),
        as_number("1.9e1"),
        as_number("019"),
        as_number("18446744073709551616"),
        as_number("null"),
        as_number("\"19\""),
        case(r#""seal":1"#, r#""seal":2"#),
        case(r#""seal":1"#, r#""seal":true"#),
        case(r#""name":"forged""#, r#""name":"""#),
        case(r#""name":"forged""#, r#""name":"../forged""#),
        case(r#""name":"forged""#, "\"name\":\"\\u001b[2Jforged\""),
        case(r#""name":"forged""#, &format!(r#""name":"{long}""#)),
        case(r#""platform":"linux_"#, r#""platform":"plan9_"#),
        case(r#""lifecycle":"runtime","mode""#, r#""lifecycle":"starting","mode""#),
        case(r#""lifecycle":"runtime","mode""#, r#""lifecycle":"platform","mode""#),
        case(r#""mode":"0755""#, r#""mode":"4755""#),
        case(
            r#""operations":"raw","lifecycle":"runtime","mode""#,
            r#""operations":"tar.gz","lifecycle":"runtime","mode""#,
        ),
        case(r#""format":"PSPF/2025""#, r#""format":"PSPF/2026""#),
    ]);
}

#[test]
fn a08_w13_templates_and_ids() {
    let command = |text: &str| case(r#""command":["{slot:app}"]"#, &format!(r#""command":{text}"#));
    judge([
        command("[]"),
        command(r#"["sh"]"#),
        command(r#"["../sh"]"#),
        command(r#"[""]"#),
        command(r#"["{slot:none}"]"#),
        command(r#"["{slot:0}"]"#),
        command(r#"["{slot:app}","{workenv}"]"#),
        command(r#"["{slot:app}","{"]"#),
        command(r#"["{slot:app}","}"]"#),
        command(r#"["{slot:app}","\u0000"]"#),
        command(r#"["{cache}/x"]"#),
        case(r#"{"id":"app","target""#, r#"{"id":"../app","target""#),
        case(r#"{"id":"app","target""#, r#"{"id":"1","target""#),
        case(r#"{"id":"more","target""#, r#"{"id":"app","target""#),
        case(
            r#""target":"tool","operations":"raw","lifecycle":"runtime","mode""#,
            r#""target":"../tool","operations":"raw","lifecycle":"runtime","mode""#,
        ),
        case(
            r#""target":"tool","operations":"raw","lifecycle":"runtime","mode""#,
            r#""target":"..","operations":"raw","lifecycle":"runtime","mode""#,
        ),
        case(r#""command":["{slot:app}"]"#, r#""command":["{slot:app}"],"env":{"set":{"A=B":"1"}}"#),
        case(r#""command":["{slot:app}"]"#, r#""command":["{slot:app}"],"env":{"unset":[""]}"#),
    ]);
}

/// What is written for older readers says something else than what is meant.
#[test]
fn a07_w29_a_rendering_that_disagrees() {
    judge([
        case(r#""command":"'{slot:0}'""#, r#""command":"'{slot:1}'""#),
        case(
            r#""execution":{"command":"'{slot:0}'","env":{}}"#,
            r#""execution":{"command":"'{slot:0}'","env":{"A":"1"}}"#,
        ),
        case(r#""capabilities":[]"#, r#""capabilities":["sandbox"]"#),
        case(r#""slot":1,"id":"more""#, r#""slot":1,"id":"other""#),
        case(r#""permissions":"0755""#, r#""permissions":"0644""#),
        case(r#""purpose":"payload""#, r#""purpose":"code""#),
        case(r#""tool_version":"""#, r#""tool_version":"1""#),
        case(r#""checksum":"sha256:"#, r#""checksum":"sha512:"#),
    ]);
    let digest = raw::hex(&raw::sha256(&stub()));
    let other = raw::hex(&raw::sha256(b"another launcher"));
    judge([
        Case::new("another launcher", edited(&digest, &other), "INTEGRITY"),
        Case::new(
            "a launcher of another size",
            edited(&format!(r#""size":{},"checksum""#, stub().len()), r#""size":1,"checksum""#),
            "FORMAT",
        ),
    ]);
}

/// Each field of the slot table at odds with the metadata, and the other way round.
#[test]
fn a07_w05_index_against_metadata() {
    let mut cases = Vec::new();
    let fields = [
        ("id", 0),
        ("name_hash", 8),
        ("size", 24),
        ("original_size", 32),
        ("operations", 40),
        ("checksum", 48),
        ("purpose", 56),
        ("lifecycle", 57),
        ("priority", 58),
        ("platform", 59),
        ("reserved", 60),
        ("permissions", 62),
    ];
    for (field, at) in fields {
        for row in [0, 64] {
            let parts = forge::parts("", &slots());
            let bytes = parts.seal(&key());
            let index = raw::index(&bytes);
            let table = u64::from_le_bytes(index[40..48].try_into().unwrap()) as usize;
            let mut changed = bytes.clone();
            changed[table + row + at] ^= 1;
            let digest = raw::sha256(&changed[table..table + 128]);
            let bytes = raw::resigned(&changed, &key(), |index| raw::put(index, 1568 + 80, &digest));
            cases.push(Case::new(format!("{field} of row {}", row / 64), bytes, "FORMAT"));
        }
    }
    // Slots that the metadata do not have, that the table does not have, and in another order.
    let parts = |json: &[ForgedSlot], table: &[ForgedSlot]| {
        let Parts { metadata, .. } = forge::parts("", json);
        Parts { metadata, ..forge::parts("", table) }.seal(&key())
    };
    let all = slots();
    let reversed: Vec<ForgedSlot> = all.iter().rev().cloned().collect();
    cases.push(Case::new("one slot too many", parts(&all[..1], &all), "FORMAT"));
    cases.push(Case::new("one slot too few", parts(&all, &all[..1]), "FORMAT"));
    cases.push(Case::new("in another order", parts(&reversed, &all), "FORMAT"));
    judge(cases);
}

/// What a start finds while it extracts, `verify` finds before.
#[test]
fn a28_signed_digests_that_are_not_those_of_the_slot() {
    let lie = ForgedSlot { sha256: raw::sha256(b"other"), ..ForgedSlot::raw("app", SCRIPT) };
    let longer = ForgedSlot { expanded_size: 20, ..ForgedSlot::raw("app", SCRIPT) };
    judge([
        Case::new("the digest", forge::package("", &[lie]), "INTEGRITY"),
        Case::new("the expanded size of a raw slot", forge::package("", &[longer]), "FORMAT"),
    ]);
}

/// The container of the JSON: one gzip member, and not more than a mebibyte in it.
#[test]
fn a08_a27_the_compression_of_the_metadata() {
    let parts = || forge::parts("", &slots());
    let with = |metadata: Vec<u8>| Parts { metadata, ..parts() }.seal(&key());
    let sound = parts().metadata;
    let mut crc = sound.clone();
    let at = crc.len() - 8;
    crc[at] ^= 1;
    let mut zeros = flate2::GzBuilder::new().write(Vec::new(), flate2::Compression::best());
    for _ in 0..512 {
        zeros.write_all(&vec![b' '; 2 << 20]).unwrap();
    }
    let bomb = zeros.finish().unwrap();
    assert!(bomb.len() <= 1_114_112, "a bomb that is let through the first limit: {}", bomb.len());
    let member = |content: &[u8]| raw::gzip(content);
    judge([
        Case::new("a bomb", with(bomb), "FORMAT"),
        Case::new("two members", with([member(b""), sound.clone()].concat()), "FORMAT"),
        Case::new("the same member twice", with([sound.clone(), sound.clone()].concat()), "FORMAT"),
        Case::new("bytes behind", with([&sound[..], b"\0"].concat()), "FORMAT"),
        Case::new("a wrong checksum", with(crc), "FORMAT"),
        Case::new("cut short", with(sound[..sound.len() - 4].to_vec()), "FORMAT"),
        Case::new("not compressed", with(json().into_bytes()), "FORMAT"),
        Case::new("more than the limit", with(vec![0x1f; 1_114_113]), "FORMAT"),
        Case::new(
            "bytes that are no UTF-8",
            with(member(
                &json()
                    .replacen("forged", "f\u{0}rged", 1)
                    .into_bytes()
                    .iter()
                    .map(|&byte| if byte == 0 { 0xff } else { byte })
                    .collect::<Vec<u8>>(),
            )),
            "FORMAT",
        ),
    ]);
}
