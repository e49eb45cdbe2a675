//! The metadata: the canonical text of everything that it can say, and each rule of SPEC §6 violated once.

mod common;

use common::{metadata, raw, raw_slot, sample_slots, spec};
use pspf_format::template::{Piece, pieces, slots_named};
use pspf_format::{
    EnvRules, Error, FileName, Lifecycle, Metadata, Mode, Operations, PackageWord, Platform, Sha256, SlotId,
    SlotIndexMetadata,
};

/// Metadata with every key that there is.
fn full() -> Metadata {
    let mut metadata = metadata(&[raw_slot("bin", "hello", b"hello\n"), raw_slot("data", "d", b"")]);
    metadata.package.description = Some("says \"hello\" \\ \u{1}\u{1f}\u{8}\t\n\u{c}\r\u{7f}/ä€😀".to_owned());
    let run = &mut metadata.pspf.run;
    run.command = ["{slot:bin}", "a b", "it's", "", "{package_dir}/x", "{{{slot:data}}}", "{cache}", "ä", "--k=/v1"]
        .map(str::to_owned)
        .to_vec();
    run.argv0 = Some("{hello".to_owned());
    run.cwd = Some("{package_dir}".to_owned());
    run.env.unset = vec!["PY*".to_owned(), "?".to_owned()];
    run.env.pass = vec!["PYTHON".to_owned()];
    run.env.map = [("OLD", "NEW"), ("A", "B")].map(|(a, b)| (a.to_owned(), b.to_owned())).into();
    run.env.set =
        [("Z", "{slot:data}:{{}}"), ("a", ""), ("B", "x y")].map(|(a, b)| (a.to_owned(), b.to_owned())).into();
    let slot = &mut metadata.pspf.slots[1];
    slot.lifecycle = Lifecycle::Platform;
    slot.platform = Some(Platform::try_from("linux_arm64").unwrap());
    slot.mode = Mode::Data;
    metadata
}

#[test]
fn no_name_stands_twice_in_a_map() {
    let json = String::from_utf8(full().to_json()).unwrap();
    assert!(Metadata::parse(&raw::gzip(json.as_bytes())).is_ok());
    // In the rendering too, so that nothing but the order tells it.
    for (from, to) in [(r#""B":"x y","#, r#""B":"x y","B":"x y","#), (r#""A":"B","#, r#""A":"B","A":"B","#)] {
        assert!(json.contains(from));
        let twice = json.replace(from, to);
        assert!(matches!(Metadata::parse(&raw::gzip(twice.as_bytes())), Err(Error::NotCanonical)), "{to}");
    }
}

#[test]
fn everything_has_one_text() {
    let hello = raw::hex(&raw::sha256(b"hello\n"));
    let empty = raw::hex(&raw::sha256(b""));
    let launcher = raw::hex(&raw::sha256(&common::launcher()));
    let expected = [
        r#"{"format":"PSPF/2025","format_version":"1.0.0","package":{"name":"sample","version":"1.0","#,
        "\"description\":\"says \\\"hello\\\" \\\\ \\u0001\\u001f\\b\\t\\n\\f\\r\u{7f}/ä€😀\"},",
        &format!(
            r#""slots":[{{"slot":0,"id":"bin","source":"","target":"hello","size":6,"checksum":"sha256:{hello}","#
        ),
        r#""operations":"raw","purpose":"payload","lifecycle":"runtime","permissions":"0755"},"#,
        &format!(r#"{{"slot":1,"id":"data","source":"","target":"d","size":0,"checksum":"sha256:{empty}","#),
        r#""operations":"raw","purpose":"payload","lifecycle":"platform","permissions":"0644"}],"#,
        r#""execution":{"command":"'{slot:0}' 'a b' 'it'\"'\"'s' '' '{package_dir}/x' '{{slot:1}}' '{cache}' 'ä' --k=/v1","#,
        r#""env":{"B":"x y","Z":"{slot:1}:{}","a":""}},"launcher":{"tool":"pspf-launcher","tool_version":"","#,
        &format!(r#""size":1024,"checksum":"sha256:{launcher}","capabilities":[]}},"#),
        r#""pspf":{"seal":1,"tool_version":"0.1.0","platform":"linux_amd64","run":{"#,
        r#""command":["{slot:bin}","a b","it's","","{package_dir}/x","{{{slot:data}}}","{cache}","ä","--k=/v1"],"#,
        r#""argv0":"{hello","cwd":"{package_dir}","env":{"unset":["PY*","?"],"pass":["PYTHON"],"#,
        r#""map":{"A":"B","OLD":"NEW"},"set":{"B":"x y","Z":"{slot:data}:{{}}","a":""}}},"#,
        r#""slots":[{"id":"bin","target":"hello","operations":"raw","lifecycle":"runtime","mode":"0755","#,
        &format!(r#""stored_size":6,"sha256":"{hello}","expanded_size":6}},"#),
        r#"{"id":"data","target":"d","operations":"raw","lifecycle":"platform","platform":"linux_arm64","#,
        &format!(r#""mode":"0644","stored_size":0,"sha256":"{empty}","expanded_size":0}}]}}}}"#),
    ]
    .concat();
    let metadata = full();
    assert_eq!(String::from_utf8(metadata.to_json()).unwrap(), expected);
    let stored = metadata.to_stored().unwrap();
    assert_eq!(raw::gunzip(&stored), expected.as_bytes());
    assert_eq!(Metadata::parse(&stored).unwrap(), metadata);
    // Any gzip member will do, the text will not.
    assert_eq!(Metadata::parse(&raw::gzip(expected.as_bytes())).unwrap(), metadata);
}

#[test]
fn rules_that_say_nothing_have_no_key() {
    type Change = fn(&mut EnvRules);
    let rules: [(Change, &str); 5] = [
        (|_| (), ""),
        (|env| env.unset = vec!["A".to_owned()], r#","env":{"unset":["A"]}"#),
        (|env| env.pass = vec!["A".to_owned()], r#","env":{"pass":["A"]}"#),
        (|env| env.map = [("A".to_owned(), "B".to_owned())].into(), r#","env":{"map":{"A":"B"}}"#),
        (|env| env.set = [("A".to_owned(), "B".to_owned())].into(), r#","env":{"set":{"A":"B"}}"#),
    ];
    for (change, expected) in rules {
        let mut metadata = metadata(&sample_slots());
        change(&mut metadata.pspf.run.env);
        let json = String::from_utf8(metadata.to_json()).unwrap();
        assert!(json.contains(&format!(r#""run":{{"command":["{{slot:bin}}"]{expected}}},"slots""#)), "{json}");
        assert_eq!(Metadata::parse(&raw::gzip(json.as_bytes())).unwrap(), metadata);
    }
}

/// Other readers unpack a tree that is one directory into the place of all slots, and find it there by its name.
#[test]
fn a_command_names_a_tree_by_where_other_readers_have_it() {
    for (operations, place) in [(Operations::TarZstd, "{slot:1}"), (Operations::TarGzip, "{workenv}/tree")] {
        let mut metadata = metadata(&sample_slots());
        metadata.pspf.slots[1].operations = operations;
        metadata.pspf.run.command.push("{slot:app}/x".to_owned());
        metadata.pspf.run.env.set = [("A".to_owned(), "{slot:app}/x".to_owned())].into();
        let json = String::from_utf8(metadata.to_json()).unwrap();
        let expected = format!(r#""execution":{{"command":"'{{slot:0}}' '{place}/x'","env":{{"A":"{{slot:1}}/x"}}}}"#);
        assert!(json.contains(&expected), "{operations}: {json}");
    }
}

/// An index lies inside the slot, or follows it with eight bytes in front.
#[test]
fn how_much_of_the_file_a_slot_takes() {
    use Operations::{Gzip, Raw, Tar, TarGzip, TarZstd, Zstd};
    let mut slot = raw_slot("app", "top", b"").0;
    slot.stored_size = 1000;
    for (operations, extent) in [(Raw, 1000), (Tar, 1055), (Gzip, 1055), (TarGzip, 1055), (Zstd, 1000), (TarZstd, 1000)]
    {
        slot.operations = operations;
        let sha256 = Sha256([0; 32]);
        let index = SlotIndexMetadata { stored_size: 47, sha256, expanded_size: 0, entries: 1, frames: 1 };
        slot.index = (operations != Raw).then_some(index);
        assert_eq!(slot.extent(), Some(extent), "{operations}");
    }
    slot.operations = Tar;
    for (stored_size, extent) in [(u64::MAX - 55, Some(u64::MAX)), (u64::MAX - 54, None), (u64::MAX, None)] {
        slot.stored_size = stored_size;
        assert_eq!(slot.extent(), extent, "{stored_size}");
    }
}

#[test]
fn the_index_of_a_slot_is_in_the_text() {
    let slots = sample_slots();
    let json = String::from_utf8(metadata(&slots).to_json()).unwrap();
    let index = slots[1].0.index.unwrap();
    let expected = format!(
        r#""expanded_size":{},"index":{{"stored_size":{},"sha256":"{}","expanded_size":{},"entries":5,"frames":{}}}}}"#,
        slots[1].0.expanded_size, index.stored_size, index.sha256, index.expanded_size, index.frames
    );
    assert!(json.contains(&expected), "{json}");
    assert!(json.contains(r#""operations":"tar|zstd""#));
}

#[test]
fn every_key_is_named_in_the_specification() {
    let text: serde_json::Value = serde_json::from_slice(&full().to_json()).unwrap();
    let slots: serde_json::Value = serde_json::from_slice(&metadata(&sample_slots()).to_json()).unwrap();
    let mut queue = vec![("", &text), ("", &slots)];
    let sections = [spec::section("§6.1"), spec::section("§6.2"), spec::section("§6.5")].concat();
    while let Some((parent, value)) = queue.pop() {
        match value {
            serde_json::Value::Object(map) if !["map", "set"].contains(&parent) => {
                for (key, value) in map.iter().filter(|(key, _)| !(parent == "env" && key.len() == 1)) {
                    let named = sections.contains(&format!("`{key}`")) || sections.contains(&format!("\"{key}\":"));
                    assert!(named, "`{key}`");
                    queue.push((key, value));
                }
            }
            serde_json::Value::Array(values) => queue.extend(values.iter().map(|value| (parent, value))),
            _ => {}
        }
    }
}

/// The change must be refused, and the error must say this.
#[track_caller]
fn refused(change: impl FnOnce(&mut Metadata), reason: &str) {
    let mut metadata = metadata(&sample_slots());
    change(&mut metadata);
    let error = metadata.to_stored().expect_err(reason);
    assert!(error.to_string().contains(reason), "`{error}` does not say `{reason}`");
    let json = metadata.to_json();
    if json.len() < 65536 {
        assert_eq!(Metadata::parse(&raw::gzip(&json)), Err(error), "written and read alike");
    }
}

#[test]
fn slots_are_held_to_their_rules() {
    assert!(metadata(&sample_slots()).to_stored().is_ok());
    refused(|m| m.pspf.seal = 0, "version 0");
    refused(|m| m.pspf.slots.clear(), "0 slots");
    refused(|m| m.pspf.slots[1].id = m.pspf.slots[0].id.clone(), "used twice");
    refused(|m| m.pspf.slots[0].platform = Some(Platform::try_from("linux_arm").unwrap()), "`platform` belongs");
    refused(|m| m.pspf.slots[0].lifecycle = Lifecycle::Platform, "`platform` belongs");
    refused(|m| m.pspf.slots[1].mode = Mode::Data, "mode of a directory");
    refused(|m| m.pspf.slots[1].index = None, "index is missing");
    refused(|m| m.pspf.slots[0].index = m.pspf.slots[1].index, "raw slot has no slot index");
    refused(|m| m.pspf.slots[0].expanded_size += 1, "two sizes differ");
    refused(|m| m.pspf.slots[1].operations = pspf_format::Operations::Zstd, "has one entry");
    refused(|m| m.pspf.slots[1].stored_size = m.pspf.slots[1].index.unwrap().stored_size + 7, "longer than the slot");
    refused(|m| m.pspf.slots[1].index.as_mut().unwrap().expanded_size = (128 << 20) + 1, "128 MiB");
    refused(|m| m.pspf.slots[1].index.as_mut().unwrap().entries = (1 << 20) + 1, "1048576 entries");
    refused(|m| m.pspf.slots[1].index.as_mut().unwrap().frames = (1 << 20) + 1, "1048576 entries");
    let mut most = metadata(&(0..256).map(|n| raw_slot(&format!("s{n}"), "x", b"")).collect::<Vec<_>>());
    assert!(most.to_stored().is_ok());
    let mut one_more = most.pspf.slots[0].clone();
    one_more.id = SlotId::try_from("more").unwrap();
    most.pspf.slots.push(one_more);
    assert!(matches!(most.to_stored(), Err(Error::Limit { found: 257, .. })));
}

#[test]
fn the_stored_length_of_a_slot_index_is_limited() {
    // A reader allocates this much; 4 GiB and more do not even fit the skippable frame's header.
    for len in [(128_u64 << 20) + (64 << 10) + 1, 1 << 32, 1 << 40] {
        let mut metadata = metadata(&sample_slots());
        metadata.pspf.slots[1].stored_size = len * 2;
        metadata.pspf.slots[1].index.as_mut().unwrap().stored_size = len;
        assert!(metadata.to_stored().is_err(), "{len} bytes");
    }
}

#[test]
fn the_largest_slot_index_is_allowed() {
    let mut metadata = metadata(&sample_slots());
    let slot = &mut metadata.pspf.slots[1];
    let index = slot.index.as_mut().unwrap();
    (index.expanded_size, index.stored_size) = (128 << 20, (128 << 20) + (64 << 10));
    (index.entries, index.frames) = (1 << 20, 1 << 20);
    // With the eight bytes before it, it fills the slot.
    slot.stored_size = index.stored_size + 8;
    assert!(metadata.to_stored().is_ok());
}

#[test]
fn the_command_is_held_to_its_rules() {
    let program = |text: &str| {
        let text = text.to_owned();
        move |m: &mut Metadata| m.pspf.run.command = vec![text]
    };
    for bad in ["", "sh", "./sh", "bin/sh", "{cache}/x", "{package_dir}", "{{slot:bin}}", "~/x"] {
        refused(program(bad), "nothing is looked up in PATH");
    }
    refused(|m| m.pspf.run.command.clear(), "nothing is looked up in PATH");
    refused(|m| m.pspf.run.command.push("a\0b".to_owned()), "NUL");
    refused(|m| m.pspf.run.argv0 = Some("a\0b".to_owned()), "NUL");
    refused(|m| m.pspf.run.cwd = Some("/\0".to_owned()), "NUL");
    for bad in ["", "x", "./x", "..", "x/{cache}"] {
        refused(|m| m.pspf.run.cwd = Some(bad.to_owned()), "the directory must start");
    }
    refused(|m| drop(m.pspf.run.env.set.insert("A".to_owned(), "\0".to_owned())), "NUL");
    refused(|m| m.pspf.run.command.push("{slot:other}".to_owned()), "not in the package");
    refused(|m| m.pspf.run.cwd = Some("{slot:other}".to_owned()), "not in the package");
    refused(|m| drop(m.pspf.run.env.set.insert("A".to_owned(), "{slot:other}".to_owned())), "not in the package");
    refused(|m| m.pspf.slots[0].lifecycle = Lifecycle::Lazy, "lazy slot");
    refused(|m| m.pspf.slots[0].lifecycle = Lifecycle::Dev, "dev slot");
    refused(|m| m.pspf.run.command.push("{workenvs}/x".to_owned()), "it is none of");
    for fine in ["/bin/sh", "{slot:app}/bin/start", "{package_dir}/x", "{slot:bin}", "{workenv}/x"] {
        let mut metadata = metadata(&sample_slots());
        program(fine)(&mut metadata);
        assert!(metadata.to_stored().is_ok(), "{fine}");
    }
}

#[test]
fn variables_are_held_to_their_rules() {
    for name in ["", "A=B", "A\0"] {
        let name = || name.to_owned();
        refused(|m| m.pspf.run.env.unset.push(name()), "name of a variable");
        refused(|m| m.pspf.run.env.pass.push(name()), "name of a variable");
        refused(|m| drop(m.pspf.run.env.map.insert(name(), "B".to_owned())), "name of a variable");
        refused(|m| drop(m.pspf.run.env.map.insert("B".to_owned(), name())), "name of a variable");
        refused(|m| drop(m.pspf.run.env.set.insert(name(), String::new())), "name of a variable");
    }
}

#[test]
fn the_text_has_a_longest_length() {
    let of = |len: usize| {
        let mut metadata = metadata(&sample_slots());
        metadata.package.description = Some(String::new());
        let rest = metadata.to_json().len();
        metadata.package.description = Some("x".repeat(len - rest));
        metadata
    };
    let most = of(1 << 20);
    assert_eq!(most.to_json().len(), 1 << 20);
    assert_eq!(Metadata::parse(&most.to_stored().unwrap()).unwrap(), most);
    assert!(matches!(of((1 << 20) + 1).to_stored(), Err(Error::Limit { .. })));
}

#[test]
fn words_and_ids_are_held_to_their_characters() {
    let long = |len: usize| "x".repeat(len);
    for fine in ["a", "A-1.b_c", "_x", "1a", &long(64)] {
        assert!(SlotId::try_from(fine).is_ok(), "{fine}");
    }
    for bad in ["", "1", "0123", "-a", ".a", "a b", "a/b", "a}", "ä", "a+b", "a\n", &long(65)] {
        assert!(SlotId::try_from(bad).is_err(), "{bad:?}");
    }
    for fine in ["1.0.0+build-1", "0", "_", &long(128)] {
        assert!(PackageWord::try_from(fine).is_ok(), "{fine}");
    }
    for bad in ["", ".x", "-x", "+x", "a b", "a/b", "ä", "a\0", &long(129)] {
        assert!(PackageWord::try_from(bad).is_err(), "{bad:?}");
    }
    for bad in ["", ".", "..", "a/b", "/", "a\0", "a\n", "\u{7f}", &long(256)] {
        assert!(FileName::try_from(bad).is_err(), "{bad:?}");
    }
    for system in ["linux", "darwin", "windows"] {
        for machine in ["amd64", "arm64", "386", "arm", "riscv64", "s390x", "ppc64le"] {
            assert!(Platform::try_from(format!("{system}_{machine}")).is_ok());
            assert!(spec::section("§6.3").contains(&format!("`{machine}`")));
        }
    }
    for bad in ["", "linux", "linux_", "linux_x86_64", "Linux_amd64", "linux-amd64", "linux_amd64 ", "_amd64"] {
        assert!(Platform::try_from(bad).is_err(), "{bad:?}");
    }
}

#[test]
fn templates_are_split_in_one_pass() {
    let id = |text: &str| SlotId::try_from(text).unwrap();
    use Piece::{Cache, PackageDir, Slot, Text};
    let cases: [(&str, Vec<Piece<'_>>); 6] = [
        ("{slot:a}{slot:b}", vec![Slot(id("a")), Slot(id("b"))]),
        ("x{package_dir}y{cache}", vec![Text("x"), PackageDir, Text("y"), Cache]),
        ("{{slot:a}}", vec![Text("{"), Text("slot:a"), Text("}")]),
        ("{{{slot:a}}}", vec![Text("{"), Slot(id("a")), Text("}")]),
        ("ä{cache}日", vec![Text("ä"), Cache, Text("日")]),
        ("$HOME `x` %y%", vec![Text("$HOME `x` %y%")]),
    ];
    for (template, expected) in cases {
        assert_eq!(pieces(template).unwrap(), expected, "{template}");
    }
    for bad in [
        "{",
        "}",
        "{}",
        "{{{",
        "}}}",
        "{ slot:a}",
        "{slot:a }",
        "{slot:0}",
        "{slot:12}",
        "{slot:a/b}",
        "{slot:{cache}}",
        "{SLOT:a}",
        "{package_dir",
        "{home}",
        "a}b{",
        "{{}",
    ] {
        assert!(pieces(bad).is_err(), "{bad}");
    }
    assert_eq!(slots_named("{slot:a}{cache}{slot:b}{slot:a}").unwrap(), ["a", "b", "a"].map(id));
}
