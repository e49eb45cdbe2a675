//! Metadata (SPEC §6): the container, the text, the fields.

use super::Set;
use super::sample::{LAUNCHER, SCRIPT, one, package, parts, retabled, two, worded, words};
use crate::forge::{ForgedSlot, key};
use crate::raw::{self, Parts};

pub(super) fn add(set: &mut Set) {
    container(set);
    text(set);
    keys(set);
    rendering(set);
    package_fields(set);
    run(set);
    slot_fields(set);
    table(set);
}

fn json() -> String {
    words().json(LAUNCHER, &one())
}

/// A package around these stored metadata.
pub(super) fn stored(metadata: Vec<u8>) -> Vec<u8> {
    Parts { metadata, ..parts(&words(), &one()) }.seal(&key())
}

fn text_of(json: &[u8]) -> Vec<u8> {
    stored(raw::gzip(json))
}

/// A package whose JSON differs in the last place that reads like this.
fn edited(from: &str, to: &str) -> Vec<u8> {
    let json = json();
    let (before, after) = json.rsplit_once(from).unwrap_or_else(|| panic!("no {from}"));
    text_of([before, to, after].concat().as_bytes())
}

fn container(set: &mut Set) {
    set.section("6");
    let sound = raw::gzip(json().as_bytes());
    let changed = |at: usize, byte: u8| {
        let mut bytes = sound.clone();
        bytes[at] = byte;
        stored(bytes)
    };
    let end = sound.len();
    set.format("gzip-none", "the JSON is not compressed", stored(json().into_bytes()));
    set.format(
        "gzip-two-members",
        "an empty member before the metadata",
        stored([raw::gzip(b""), sound.clone()].concat()),
    );
    set.format("gzip-byte-behind", "a byte behind the member", stored([&sound[..], b"\0"].concat()));
    set.format("gzip-cut", "the last byte of the member is missing", stored(sound[..end - 1].to_vec()));
    set.format("gzip-crc", "the CRC-32 is wrong", changed(end - 8, sound[end - 8] ^ 1));
    set.format("gzip-length", "the length is wrong", changed(end - 4, sound[end - 4] ^ 1));
    set.format("gzip-method", "the compression method is 7", changed(2, 7));
    set.format("gzip-reserved-flag", "a reserved flag is set", changed(3, 0x20));
    set.format("gzip-block-type", "the block is of the reserved type", changed(10, 7));
    set.format("gzip-block-length", "the length of the block and its complement disagree", changed(13, sound[13] ^ 1));
    set.format("gzip-no-end", "no block is the last one", changed(10, 0));
    let header = [&[0x1f, 0x8b, 8, 2, 0, 0, 0, 0, 0, 0xff, 0, 0], &sound[10..]].concat();
    set.format("gzip-header-checksum", "the checksum of the gzip header is wrong", stored(header));
    set.section("9");
    let long = compressed(&vec![b' '; (1 << 20) + 1]);
    set.format("json-above-limit", "the JSON has 1,048,577 bytes", stored(long));
}

/// A gzip member that is compressed.
pub(super) fn compressed(content: &[u8]) -> Vec<u8> {
    use std::io::Write;
    let mut gzip = flate2::GzBuilder::new().operating_system(255).write(Vec::new(), flate2::Compression::best());
    gzip.write_all(content).and_then(|()| gzip.finish()).expect("memory takes everything")
}

fn text(set: &mut Set) {
    set.section("6.1");
    let sound = json();
    let behind = |more: &str| text_of(format!("{sound}{more}").as_bytes());
    set.format("json-byte-order-mark", "a byte order mark", text_of(format!("\u{feff}{sound}").as_bytes()));
    set.format("json-line-feed", "a line feed at the end", behind("\n"));
    set.format("json-two-texts", "another object at the end", behind("{}"));
    set.format("json-white-space", "a space after a colon", edited("\"seal\":1", "\"seal\": 1"));
    set.format("json-cut", "the last brace is missing", text_of(&sound.as_bytes()[..sound.len() - 1]));
    set.format("json-empty", "no text at all", text_of(b""));
    set.format("json-array", "an array in place of the object", text_of(b"[]"));
    let depth = 10_000;
    let nested = format!("{}{}", "[".repeat(depth), "]".repeat(depth));
    set.format("json-nested", "an array 10,000 levels deep", text_of(nested.as_bytes()));
    let no_text = sound.replacen("forged", "for\u{0}ed", 1).into_bytes();
    let no_text: Vec<u8> = no_text.into_iter().map(|byte| if byte == 0 { 0xff } else { byte }).collect();
    set.format("json-no-utf8", "a byte that is no UTF-8", text_of(&no_text));
    let described = |text: &str| edited(r#""version":"1"}"#, &format!(r#""version":"1","description":"{text}"}}"#));
    set.format("string-escaped-letter", "a letter is written as an escape", described("\\u0061"));
    set.format("string-escaped-slash", "a slash is written as an escape", described("\\/"));
    set.format("string-long-escape", "a tabulator is written as \\u0009", described("\\u0009"));
    set.format("string-uppercase-escape", "an escape has an uppercase digit", described("\\u001B"));
    set.format("string-control", "a control character stands for itself", described("\u{1b}"));
    set.format("string-lone-surrogate", "a surrogate without its partner", described("\\ud800"));
    set.format("string-surrogates", "a character is written as two surrogates", described("\\ud83d\\ude00"));
    for (name, what, number) in [
        ("number-leading-zero", "a number has a leading zero", "019"),
        ("number-exponent", "a number has an exponent", "19e0"),
        ("number-fraction", "a number has a fraction", "19.0"),
        ("number-negative", "a number is negative", "-19"),
        ("number-above-64-bits", "a number has more than 64 bits", "18446744073709551616"),
        ("number-as-string", "a number is a string", "\"19\""),
    ] {
        set.format(name, what, edited("\"expanded_size\":19", &format!("\"expanded_size\":{number}")));
    }
}

fn keys(set: &mut Set) {
    set.section("6.1");
    for (name, what, from, to) in [
        ("key-unknown", "an unknown key at the top", r#""format":"#, r#""unknown":1,"format":"#),
        ("key-unknown-in-package", "an unknown key in `package`", r#""version":"1"}"#, r#""version":"1","url":""}"#),
        ("key-unknown-in-pspf", "an unknown key in `pspf`", r#""seal":1,"#, r#""seal":1,"setup":[],"#),
        ("key-unknown-in-run", "an unknown key in `run`", r#"["{slot:app}"]"#, r#"["{slot:app}"],"shell":true"#),
        ("key-unknown-in-slot", "an unknown key in a slot", r#""expanded_size":19"#, r#""expanded_size":19,"x":1"#),
        ("key-twice", "a key twice, with one value", r#""seal":1,"#, r#""seal":1,"seal":1,"#),
        ("key-twice-command", "a second `command`", r#"["{slot:app}"]"#, r#"["{slot:app}"],"command":["/bin/sh"]"#),
        ("key-missing", "the key `platform` is missing", r#""platform":"linux_amd64","#, ""),
        (
            "key-order",
            "two keys changed places",
            r#""name":"forged","version":"1""#,
            r#""version":"1","name":"forged""#,
        ),
        ("key-null", "an optional key is null", r#""version":"1"}"#, r#""version":"1","description":null}"#),
        ("env-empty", "`env` is there and empty", r#"["{slot:app}"]"#, r#"["{slot:app}"],"env":{}"#),
        ("env-unset-empty", "`unset` is there and empty", r#"["{slot:app}"]"#, r#"["{slot:app}"],"env":{"unset":[]}"#),
    ] {
        set.format(name, what, edited(from, to));
    }
    for (name, what, run, env) in [
        ("env-order", "the keys of `set` do not ascend", r#"{"B":"1","A":"2"}"#, r#"{"A":"2","B":"1"}"#),
        ("env-twice", "a variable is set twice", r#"{"A":"1","A":"2"}"#, r#"{"A":"2"}"#),
    ] {
        let mut words = words();
        words.run = format!(r#"{{"command":["{{slot:app}}"],"env":{{"set":{run}}}}}"#);
        words.execution = format!(r#"{{"command":"'{{slot:0}}'","env":{env}}}"#);
        set.format(name, what, worded(&words, &one()));
    }
}

/// What older readers are told disagrees with what is meant.
fn rendering(set: &mut Set) {
    set.section("6.1");
    for (name, what, from, to) in [
        ("rendering-format", "`format` is another one", r#""format":"PSPF/2025""#, r#""format":"PSPF/2026""#),
        ("rendering-version", "`format_version` is another one", r#""1.0.0""#, r#""1.0.1""#),
        ("rendering-command", "`execution` has another command", r#""command":"'{slot:0}'""#, r#""command":"/bin/sh""#),
        ("rendering-env", "`execution` has a variable more", r#""env":{}"#, r#""env":{"A":"1"}"#),
        ("rendering-capabilities", "`launcher` can do something", r#""capabilities":[]"#, r#""capabilities":["mmap"]"#),
        ("rendering-tool-version", "`launcher` has a version", r#""tool_version":"""#, r#""tool_version":"1""#),
        ("rendering-launcher-size", "`launcher` has another size", r#""size":55"#, r#""size":56"#),
        ("rendering-slot-purpose", "a slot has another purpose", r#""payload""#, r#""code""#),
        (
            "rendering-slot-target",
            "a slot has another target",
            r#""source":"","target":"tool""#,
            r#""source":"","target":"sh""#,
        ),
        ("rendering-slot-mode", "a slot has other permissions", r#""permissions":"0755""#, r#""permissions":"0777""#),
        (
            "rendering-slot-checksum",
            "a slot's checksum is of another kind",
            r#""checksum":"sha256:"#,
            r#""checksum":"sha512:"#,
        ),
    ] {
        set.format(name, what, edited(from, to));
    }
    set.section("8.1");
    let digest = raw::hex(&raw::sha256(LAUNCHER));
    let other = raw::hex(&raw::sha256(b"another launcher"));
    set.integrity("launcher-digest", "the metadata have another digest of the launcher", edited(&digest, &other));
    set.section("8.2");
    let mut changed = package(&one());
    changed[20] ^= 1;
    set.integrity("launcher-bit", "a bit of the launcher was flipped", changed);
    let mut changed = package(&one());
    let at = changed.windows(6).position(|window| window == b"forged").expect("the name is there");
    changed[at] ^= 1;
    set.integrity("metadata-bit", "a bit of the metadata was flipped", changed);
}

fn package_fields(set: &mut Set) {
    set.section("6.2");
    for (name, what, text) in [
        ("name-empty", "the name is empty", String::new()),
        ("name-long", "the name has 129 characters", "n".repeat(129)),
        ("name-first", "the name starts with a hyphen", "-forged".to_owned()),
        ("name-character", "the name holds a slash", "../forged".to_owned()),
        ("name-unicode", "the name holds a letter that is not ASCII", "forgé".to_owned()),
    ] {
        set.format(name, what, edited(r#""name":"forged""#, &format!(r#""name":"{text}""#)));
    }
    set.format("version-empty", "the version is empty", edited(r#""version":"1"}"#, r#""version":""}"#));
    set.format("seal-number", "`pspf.seal` is 2", edited(r#""seal":1"#, r#""seal":2"#));
    set.section("6.3");
    set.format("platform-unknown", "the platform is unknown", edited("linux_amd64", "plan9_amd64"));
}

fn run(set: &mut Set) {
    // The rendering of each command or environment is right.
    let run = |run: &str, command: &str, env: &str| {
        let mut words = words();
        words.run = run.to_owned();
        words.execution = format!(r#"{{"command":"{command}","env":{env}}}"#);
        worded(&words, &one())
    };
    let command = |texts: &str, rendered: &str| run(&format!(r#"{{"command":[{texts}]}}"#), rendered, "{}");
    set.section("6.2");
    set.format("command-empty", "the command has no element", command("", ""));
    set.format("command-by-path", "the program would be looked up", command(r#""sh""#, "sh"));
    set.format("command-in-cache", "the program starts with `{cache}`", command(r#""{cache}/x""#, "'{cache}/x'"));
    set.format("command-nul", "an argument holds a NUL", command(r#""{slot:app}","\u0000""#, r"'{slot:0}' '\u0000'"));
    let more = |more: &str| run(&format!(r#"{{"command":["{{slot:app}}"],{more}}}"#), "'{slot:0}'", "{}");
    set.format("argv0-nul", "`argv0` holds a NUL", more(r#""argv0":"\u0000""#));
    set.format("cwd-relative", "`cwd` is relative to where the caller is", more(r#""cwd":"work""#));
    set.section("6.4");
    // In `cwd`, which is not rendered.
    let cwd = |text: &str| more(&format!(r#""cwd":"/{text}""#));
    set.format("template-unknown", "an unknown placeholder", cwd("{other}"));
    set.format("template-open", "a brace that nothing closes", cwd("a{"));
    set.format("template-close", "a brace that nothing opened", cwd("}a"));
    set.format("template-no-slot", "a slot that is not there", cwd("{slot:none}"));
    set.format("template-position", "a slot by its position", cwd("{slot:0}"));
    for (name, what, lifecycle) in [
        ("template-lazy-slot", "a lazy slot is named in the command", "lazy"),
        ("template-dev-slot", "a slot for developers is named in the command", "dev"),
    ] {
        let slots = [ForgedSlot { lifecycle, ..one().remove(0) }];
        set.format(name, what, worded(&words(), &slots));
    }
    set.section("6.5");
    for (name, what, text) in [
        ("env-name-equals", "a variable's name holds `=`", "A=B"),
        ("env-name-empty", "a variable has no name", ""),
        ("env-name-nul", "a variable's name holds a NUL", "\\u0000"),
    ] {
        let rule = format!(r#"{{"command":["{{slot:app}}"],"env":{{"set":{{"{text}":"1"}}}}}}"#);
        set.format(name, what, run(&rule, "'{slot:0}'", &format!(r#"{{"{text}":"1"}}"#)));
    }
    set.format("env-pattern-empty", "a pattern is empty", more(r#""env":{"unset":[""]}"#));
    set.format("env-map-equals", "a new name holds `=`", more(r#""env":{"map":{"A":"B=C"}}"#));
    let bytes =
        run(r#"{"command":["{slot:app}"],"env":{"set":{"A":"{slot:none}"}}}"#, "'{slot:0}'", r#"{"A":"{slot:none}"}"#);
    set.format("env-template", "a variable names a slot that is not there", bytes);
}

fn slot_fields(set: &mut Set) {
    let slot = || one().remove(0);
    let named = |id: &str| {
        let mut words = words();
        words.run = format!(r#"{{"command":["{{slot:{id}}}"]}}"#);
        worded(&words, &[ForgedSlot { id: id.to_owned(), ..slot() }])
    };
    set.section("6.2");
    set.format("slot-id-digits", "a slot id is digits alone", named("1"));
    set.format("slot-id-long", "a slot id has 65 characters", named(&"a".repeat(65)));
    set.format("slot-id-character", "a slot id holds a slash", named("a/b"));
    set.format("slot-id-first", "a slot id starts with a point", named(".app"));
    let twice = [slot(), slot()];
    set.format("slot-id-twice", "two slots have one id", package(&twice));
    for (name, what, target) in [
        ("slot-target-parent", "a slot's target is `..`", "..".to_owned()),
        ("slot-target-path", "a slot's target is a path", "a/b".to_owned()),
        ("slot-target-empty", "a slot's target is empty", String::new()),
        ("slot-target-control", "a slot's target holds U+0085", "a\u{85}".to_owned()),
        ("slot-target-long", "a slot's target has 256 bytes", "t".repeat(256)),
    ] {
        set.format(name, what, package(&[ForgedSlot { target, ..slot() }]));
    }
    set.format("slot-mode", "a slot's mode is 0777", package(&[ForgedSlot { mode: "0777", ..slot() }]));
    let sizes = ForgedSlot { expanded_size: 20, ..slot() };
    set.format("slot-raw-sizes", "the two sizes of a raw slot differ", package(&[sizes]));
    let wrong = ForgedSlot { sha256: raw::sha256(b"other"), ..slot() };
    set.section("7.4");
    set.integrity("slot-digest", "the signed digest of a raw slot is another one", package(&[wrong]));
    let mut flipped = package(&one());
    let at = flipped.windows(SCRIPT.len()).position(|window| window == SCRIPT).expect("the slot is there");
    flipped[at + 12] ^= 1;
    set.integrity("slot-bit", "a bit of a raw slot was flipped", flipped);
    set.section("4.2");
    let bytes = package(&[ForgedSlot { operations: "zstd|tar", ..slot() }]);
    set.format("slot-operations", "a slot's operations are in an order that none has", bytes);
    set.section("2");
    let sizes = ["\"size\":", "\"stored_size\":", "\"expanded_size\":"]
        .iter()
        .fold(json(), |json, key| json.replacen(&format!("{key}19"), &format!("{key}{}", u64::MAX - 7), 1));
    set.format("slot-size-wraps", "a slot ends beyond 64 bits", text_of(sizes.as_bytes()));
    set.section("6.6");
    let bytes = package(&[ForgedSlot { lifecycle: "starting", ..slot() }]);
    set.format("slot-lifecycle", "a slot's lifecycle is unknown", bytes);
    let bytes = package(&[ForgedSlot { platform: Some("linux_amd64"), ..slot() }]);
    set.format("slot-platform", "a platform beside the lifecycle `runtime`", bytes);
    let bytes = package(&[ForgedSlot { lifecycle: "platform", ..slot() }]);
    set.format("slot-no-platform", "the lifecycle `platform` without a platform", bytes);
    set.section("6.2");
    let upper = raw::hex(&raw::sha256(SCRIPT));
    set.format("slot-digest-uppercase", "a digest has uppercase digits", edited(&upper, &upper.to_uppercase()));
}

/// Each field of the slot table at odds with the metadata.
fn table(set: &mut Set) {
    set.section("4.1");
    for (name, what, at) in [
        ("table-id", "`id` of a slot is another one", 0),
        ("table-name-hash", "`name_hash` of a slot is another one", 8),
        ("table-size", "`size` of a slot is another one", 24),
        ("table-original-size", "`original_size` of a slot is another one", 32),
        ("table-operations", "`operations` of a slot are others", 40),
        ("table-checksum", "`checksum` of a slot is another one", 48),
        ("table-purpose", "`purpose` of a slot is not 0", 56),
        ("table-lifecycle", "`lifecycle` of a slot is another one", 57),
        ("table-priority", "`priority` of a slot is not 1", 58),
        ("table-platform", "`platform` of a slot is not 0", 59),
        ("table-reserved", "`reserved` of a slot is not 0", 60),
        ("table-permissions", "`permissions` of a slot are others", 62),
    ] {
        set.format(name, what, retabled(&package(&one()), |table| table[at] ^= 1));
    }
    let (metadata, short) = (parts(&words(), &one()).metadata, parts(&words(), &two()));
    set.format(
        "table-one-more",
        "one slot more than in the metadata",
        Parts { metadata, ..short.clone() }.seal(&key()),
    );
    let one = parts(&words(), &one());
    let fewer = Parts { metadata: short.metadata, ..one }.seal(&key());
    set.format("table-one-less", "one slot less than in the metadata", fewer);
    set.section("8.2");
    let mut flipped = package(&two());
    let index = raw::index(&flipped);
    flipped[super::sample::number(&index, 40) + 16] ^= 1;
    set.integrity("table-bit", "a bit of the slot table was flipped", flipped);
}
