//! The JSON of the metadata as a text: what is not the one canonical text is refused, and the error says where.

mod common;

use common::{metadata, raw, raw_slot, sample_slots};
use pspf_format::{Class, Error, Metadata, SlotMetadata};

fn json() -> String {
    String::from_utf8(metadata(&sample_slots()).to_json()).unwrap()
}

fn parse(json: &str) -> Result<Metadata, Error> {
    Metadata::parse(&raw::gzip(json.as_bytes()))
}

/// The sample's JSON with one place changed, which must be there.
fn changed(from: &str, to: &str) -> String {
    let json = json();
    assert!(json.contains(from), "{from}");
    json.replacen(from, to, 1)
}

#[test]
fn an_error_says_what_and_where() {
    let whole = json();
    let at = |text: &str| whole.find(text).expect(text);
    let seal = at("\"seal\":1");
    let id = at("\"id\":\"bin\",\"target\":\"hello\",\"operations\"");
    for (text, expected) in [
        (changed("\"seal\":1,", "\"seal\":1,\"more\":[{}],"), format!("unknown key `more` at byte {}", seal + 15)),
        (changed("\"seal\":1,", "\"seal\":1,\"seal\":1,"), format!("a second key `seal` at byte {}", seal + 15)),
        (changed("\"seal\":1,", ""), format!("no key `seal` in the object at byte {}", seal - 1)),
        (changed("\"seal\":1,", "\"seal\":true,"), format!("expected a number of 64 bits at byte {}", seal + 7)),
        (changed("\"seal\":1,", "\"seal\":4294967296,"), format!("expected a number of 32 bits at byte {}", seal + 7)),
        (changed("\"pspf\":{", "\"pspf\":["), format!("expected an object at byte {}", seal - 1)),
        (changed("\"command\":[", "\"command\":{"), format!("expected an array at byte {}", at("[\"{slot:bin}\"]"))),
        (changed("\"name\":\"sample\"", "\"name\":7"), format!("expected a string at byte {}", at("\"sample\""))),
        (
            changed(
                "\"id\":\"bin\",\"target\":\"hello\",\"operations\"",
                "\"id\":\"\",\"target\":\"hello\",\"operations\"",
            ),
            format!("name ``: a slot id is not empty and not digits alone at byte {}", id + 5),
        ),
        (
            changed("\"lifecycle\":\"runtime\",\"mode\"", "\"lifecycle\":\"starting\",\"mode\""),
            format!("expected one of the words for `Lifecycle` at byte {}", at("\"runtime\",\"mode\"")),
        ),
        (whole[..whole.len() - 1].to_owned(), format!("expected `,` or `}}` at byte {}", whole.len() - 1)),
        (whole[..seal + 8].to_owned(), format!("expected `,` or `}}` at byte {}", seal + 8)),
        (String::new(), "expected an object at byte 0".to_owned()),
    ] {
        assert_eq!(parse(&text).expect_err(&expected).to_string(), format!("metadata: {expected}"));
    }
}

#[test]
fn bytes_that_are_no_utf8_are_refused() {
    let mut bytes = json().into_bytes();
    let at = json().find("sample").unwrap();
    bytes[at] = 0xff;
    let error = Metadata::parse(&raw::gzip(&bytes)).unwrap_err();
    assert_eq!(error, Error::Json { reason: format!("no UTF-8 at byte {at}") });
}

/// Whatever is done to a text: it is refused, or it is the canonical text of something else, and any reader of JSON
/// finds that in it.
#[test]
fn a_changed_text_is_refused_or_is_another_canonical_one() {
    let mut sound = metadata(&[raw_slot("bin", "quo\"te", b"x")]);
    sound.package.description = Some("\\ \u{1} ä€😀\n".to_owned());
    sound.pspf.run.env.set = [("A", "x"), ("B", "{slot:bin}")].map(|(a, b)| (a.to_owned(), b.to_owned())).into();
    sound.pspf.run.env.unset = vec!["*".to_owned()];
    let text = sound.to_json();
    let mut accepted = 0;
    let mut hold = |changed: Vec<u8>| match Metadata::parse(&raw::gzip(&changed)) {
        Ok(metadata) => {
            assert!(metadata != sound && metadata.to_json() == changed);
            let value: serde_json::Value = serde_json::from_slice(&changed).unwrap();
            assert_eq!(value["package"]["name"], metadata.package.name.as_str());
            let description = metadata.package.description.unwrap_or_default();
            assert_eq!(value["package"]["description"].as_str().unwrap_or_default(), description);
            assert_eq!(
                value["pspf"]["run"]["env"]["set"].as_object().unwrap().len(),
                metadata.pspf.run.env.set.iter().count()
            );
            accepted += 1;
        }
        Err(error) => assert_eq!(error.class(), Class::Format),
    };
    for at in 0..text.len() {
        let with = |middle: &[u8], after: usize| [&text[..at], middle, &text[after..]].concat();
        hold(with(b"", at + 1));
        hold(text[..at].to_vec());
        for byte in *b" \",0" {
            hold(with(&[byte], at));
        }
        for byte in b"\"\\}a".iter().filter(|byte| **byte != text[at]) {
            hold(with(&[*byte], at + 1));
        }
    }
    // A digit or a letter of a name, a version or a variable that stands in one place.
    assert!(accepted > 20, "{accepted}");
}

#[test]
fn every_escape_is_read() {
    let description: String = (0..0x80_u8).map(char::from).chain("äß€\u{2028}😀\u{10ffff}".chars()).collect();
    let mut metadata = metadata(&sample_slots());
    metadata.package.description = Some(description);
    let json = metadata.to_json();
    let value: serde_json::Value = serde_json::from_slice(&json).unwrap();
    assert_eq!(value["package"]["description"], *metadata.package.description.as_ref().unwrap());
    assert_eq!(Metadata::parse(&raw::gzip(&json)).unwrap(), metadata);
    for (canonical, other) in [
        ("\\u001f", "\\u001F"),
        ("\\u001f", "\\u1f"),
        ("\\u001f", "\u{1f}"),
        ("\\n", "\\u000a"),
        ("\\n", "\n"),
        ("/", "\\/"),
        ("A", "\\u0041"),
        ("€", "\\u20ac"),
        ("😀", "\\ud83d\\ude00"),
        ("😀", "\\ud83d"),
        ("\\\\", "\\x"),
    ] {
        let text = String::from_utf8(json.clone()).unwrap().replacen(canonical, other, 1);
        assert_eq!(parse(&text), Err(Error::NotCanonical), "{other}");
    }
}

/// What follows is not even JSON and is never looked at: so the work does not grow with what is out of order.
#[test]
fn a_variable_out_of_order_is_refused_before_the_next_one_is_read() {
    let mut metadata = metadata(&sample_slots());
    metadata.pspf.run.env.map = [("A", "x"), ("B", "y")].map(|(old, new)| (old.into(), new.into())).into();
    let sound = String::from_utf8(metadata.to_json()).unwrap();
    assert!(parse(&sound).is_ok());
    for twice in [r#""map":{"B":"y","A":"x",!"#, r#""map":{"A":"x","A":"y",!"#] {
        let text = sound.replacen(r#""map":{"A":"x","B":"y"}"#, twice, 1);
        assert!(text != sound && parse(&text) == Err(Error::NotCanonical), "{twice}");
    }
}

#[test]
fn depth_costs_nothing() {
    for open in ["[", "{\"a\":", "[{\"\":"] {
        let deep = open.repeat(20_000 / open.len());
        assert_eq!(parse(&deep).unwrap_err().class(), Class::Format);
        let key = changed("\"format\":\"PSPF/2025\"", &format!("\"format\":{deep}"));
        assert_eq!(parse(&key).unwrap_err().class(), Class::Format);
    }
}

#[test]
fn a_slot_alone_is_held_to_its_one_text() {
    for (slot, _) in sample_slots() {
        let json = String::from_utf8(slot.to_json()).unwrap();
        assert_eq!(SlotMetadata::from_json(json.as_bytes()).unwrap(), slot);
        for wrong in
            [json.replacen(':', ": ", 1), format!("{json} "), json.replacen("}", ",\"x\":1}", 1), String::new()]
        {
            assert!(SlotMetadata::from_json(wrong.as_bytes()).is_err(), "{wrong}");
        }
        let rules = json.replacen("\"mode\":\"0755\"", "\"mode\":\"0644\"", 1);
        assert_eq!(SlotMetadata::from_json(rules.as_bytes()).is_ok(), !slot.operations.is_tree());
    }
}
