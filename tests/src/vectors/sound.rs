//! What must be accepted: each shows one thing that the format allows.

use super::Set;
use super::metadata::{compressed, stored};
use super::sample::{LAUNCHER, SCRIPT, file_slot, frame, one, package, signed, sound, tree, with_tree, worded, words};
use super::seal::with_signers;
use super::slot_content::with_header;
use crate::forge::{ForgedEntry, ForgedSlot, ForgedTree, ForgedWords, key};
use crate::raw::{self, Parts, put};

pub(super) fn add(set: &mut Set) {
    whole(set);
    said(set);
    started(set);
    slots(set);
    frames(set);
    trees(set);
}

fn whole(set: &mut Set) {
    set.section("2");
    set.ok("minimal", "one raw slot, one signature, no description, no base signature", sound());
    let aligned = words().parts(vec![b'\n'; 64], &one()).seal(&key());
    set.ok("no-padding-after-launcher", "a launcher whose length is a multiple of 8", aligned);
    let nested = package(&[one().remove(0), ForgedSlot::raw("inner", &sound())]);
    set.ok("package-in-package", "a slot that is a whole package", nested);
    set.section("3.2");
    let bytes = signed(|index| put(index, 704, &u64::MAX.to_le_bytes()));
    set.ok("build-timestamp", "`build_timestamp` is the largest number", bytes);
    set.section("5.2");
    set.ok("two-signatures", "two signers", with_signers([2]));
    set.ok("64-signatures", "as many signers as there is room for", with_signers(2..=64));
    set.section("6");
    let json = words().json(LAUNCHER, &one());
    set.ok("gzip-compressed", "metadata that are compressed", stored(compressed(json.as_bytes())));
    let plain = raw::gzip(json.as_bytes());
    let fields =
        [&[0x1f, 0x8b, 8, 0x1d, 1, 2, 3, 4, 2, 3][..], b"\x02\0ex", b"name\0", b"comment\0", &plain[10..]].concat();
    set.ok("gzip-fields", "a gzip header with a time, extra bytes, a name and a comment", stored(fields));
    set.section("9");
    let many: Vec<ForgedSlot> = (0..256).map(|number| ForgedSlot::raw(&format!("s{number}"), SCRIPT)).collect();
    let words = ForgedWords { platform: "linux_amd64".to_owned(), ..ForgedWords::starting("s0", "") };
    let json = words.json(LAUNCHER, &many);
    let parts = Parts {
        launcher: LAUNCHER.to_vec(),
        metadata: compressed(json.as_bytes()),
        table: ForgedSlot::table(&many),
        slots: vec![SCRIPT.to_vec(); many.len()],
    };
    set.ok("256-slots", "as many slots as there may be", parts.seal(&key()));
}

fn said(set: &mut Set) {
    set.section("6.1");
    let packaged = |package: &str| worded(&ForgedWords { package: package.to_owned(), ..words() }, &one());
    let described = |text: &str| packaged(&format!(r#"{{"name":"forged","version":"1","description":"{text}"}}"#));
    let escapes = r#"\"größe\" \\ \b\t\n\f\r \u0000\u001b / 🦀"#;
    set.ok("description", "a description with every kind of escape", described(&format!("{escapes}\u{7f}")));
    set.ok("description-empty", "a description without characters", described(""));
    set.section("9");
    let (name, version) = ("n".repeat(128), "1.0+build-_".repeat(11) + "1234567");
    let long = format!(r#"{{"name":"{name}","version":"{version}"}}"#);
    let id = "i".repeat(64);
    let words = ForgedWords { package: long, platform: "windows_ppc64le".to_owned(), ..ForgedWords::starting(&id, "") };
    let slot = ForgedSlot { target: "t".repeat(255), id, ..one().remove(0) };
    set.ok("longest-names", "the longest name, version, slot id and target", worded(&words, &[slot]));
}

fn started(set: &mut Set) {
    let run = |run: &str, command: &str, env: &str| {
        let execution = format!(r#"{{"command":"{command}","env":{env}}}"#);
        worded(&ForgedWords { run: run.to_owned(), execution, ..words() }, &one())
    };
    set.section("6.1");
    let bytes = run(
        r#"{"command":["{slot:app}","","a b","it's","{{x}}","$HOME;\"*","ä","-_.:/+=@%,"]}"#,
        r#"'{slot:0}' '' 'a b' 'it'\"'\"'s' '{x}' '$HOME;\"*' 'ä' -_.:/+=@%,"#,
        "{}",
    );
    set.ok("quoting", "arguments that the rendering quotes", bytes);
    set.section("6.2");
    let bytes = run(
        r#"{"command":["{package_dir}/tool","{cache}","{slot:app}"],"argv0":"{any} name","cwd":"{cache}/x"}"#,
        "'{package_dir}/tool' '{cache}' '{slot:0}'",
        "{}",
    );
    set.ok("templates", "every placeholder, `argv0` and `cwd`", bytes);
    set.section("6.5");
    let bytes = run(
        r#"{"command":["{slot:app}"],"env":{"unset":["LD_*","?"],"pass":["LD_LIBRARY_PATH"],"map":{"A":"B","B":"A"},"set":{"APP":"{slot:app}","EMPTY":"","é x":"{{"}}}"#,
        "'{slot:0}'",
        r#"{"APP":"{slot:0}","EMPTY":"","é x":"{"}"#,
    );
    set.ok("environment", "every rule for the environment", bytes);
}

fn slots(set: &mut Set) {
    let slot = |id: &str, lifecycle| ForgedSlot { lifecycle, ..ForgedSlot::raw(id, SCRIPT) };
    set.section("6.6");
    let all = [
        slot("app", "runtime"),
        slot("eager", "eager"),
        slot("lazy", "lazy"),
        slot("dev", "dev"),
        ForgedSlot { platform: Some("linux_amd64"), ..slot("here", "platform") },
        ForgedSlot { platform: Some("darwin_arm64"), ..slot("there", "platform") },
    ];
    set.ok("lifecycles", "a slot of every lifecycle", package(&all));
    set.section("4.2");
    let tree = tree(&[]);
    let tree = ForgedSlot { id: "tree".to_owned(), ..tree.slot_with(frame(&tree.stream), |_| ()) };
    let file = ForgedSlot { id: "file".to_owned(), ..file_slot(SCRIPT, &[(frame(SCRIPT), SCRIPT.len())]) };
    set.ok("operations", "a slot of each operation", package(&[one().remove(0), file, tree]));
    let data = ForgedSlot { id: "data".to_owned(), mode: "0644", ..ForgedSlot::raw("data", b"data\n") };
    set.ok("mode-data", "a file that is not executable", package(&[one().remove(0), data]));
    let same = ForgedSlot::raw("same", SCRIPT);
    set.ok("same-content", "two slots with one content", package(&[one().remove(0), same]));
    let empty = ForgedSlot::raw("empty", b"");
    set.ok("empty-raw", "a raw slot without bytes", package(&[one().remove(0), empty]));
}

fn frames(set: &mut Set) {
    set.section("7.1");
    let single = |content: &[u8], frames: &[(Vec<u8>, usize)]| worded(&words(), &[file_slot(content, frames)]);
    set.ok("empty-file", "a compressed file without content, and so without a frame", single(b"", &[]));
    let cut: Vec<(Vec<u8>, usize)> =
        [&SCRIPT[..1], &SCRIPT[1..9], &SCRIPT[9..]].map(|part| (frame(part), part.len())).into();
    set.ok("three-frames", "a file in three frames of different lengths", single(SCRIPT, &cut));
    let most = vec![0; 8 << 20];
    set.ok("frame-8-mib", "a frame of 8 MiB", single(&most, &[(frame(&most), most.len())]));
    let size = (SCRIPT.len() as u32).to_le_bytes();
    let window = with_header(0x80, &[&[0x68], &size[..]].concat(), SCRIPT);
    set.ok("frame-window", "a frame with a window of 8 MiB", single(SCRIPT, &[(window, SCRIPT.len())]));
    let short = with_header(0x20, &size[..1], SCRIPT);
    set.ok(
        "frame-size-in-one-byte",
        "a frame whose content size has one byte",
        single(SCRIPT, &[(short, SCRIPT.len())]),
    );
    let long = with_header(0xe0, &[&size[..], &[0; 4]].concat(), SCRIPT);
    set.ok(
        "frame-size-in-eight-bytes",
        "a frame whose content size has eight bytes",
        single(SCRIPT, &[(long, SCRIPT.len())]),
    );
    let text = [&b"0123456789abcdef".repeat(20)[..], b"\n"].concat();
    // As `zstd -19` writes it: a compressed block, a content size in two bytes.
    let made = [
        0x28, 0xb5, 0x2f, 0xfd, 0x60, 0x41, 0x00, 0xc5, 0x00, 0x00, 0x88, 0x30, 0x31, 0x32, 0x33, 0x34, 0x35, 0x36,
        0x37, 0x38, 0x39, 0x61, 0x62, 0x63, 0x64, 0x65, 0x66, 0x0a, 0x01, 0x00, 0x5a, 0x46, 0x9d, 0x4b,
    ];
    set.ok("frame-compressed", "a frame with a compressed block", single(&text, &[(made.to_vec(), text.len())]));
    // The low half of XXH64 of the content, as `zstd --check` writes it.
    let checked = [with_header(0xa4, &size, SCRIPT), vec![0xf8, 0xb2, 0xa6, 0x16]].concat();
    set.ok("frame-checksum", "a frame with a checksum of its content", single(SCRIPT, &[(checked, SCRIPT.len())]));
}

fn trees(set: &mut Set) {
    set.section("7.2");
    let of = |more: &[ForgedEntry]| {
        let tree = tree(more);
        with_tree(tree.slot_with(frame(&tree.stream), |_| ()))
    };
    let directory = |path: &str| ForgedEntry::directory(path);
    let data = |path: &str, content: &[u8]| ForgedEntry { executable: 0, ..ForgedEntry::file(path, content) };
    let bare = ForgedTree::new(&[]);
    let bare = ForgedSlot { id: "tree".to_owned(), ..bare.slot_with(frame(&bare.stream), |_| ()) };
    set.ok("tree-of-nothing", "a tree without an entry", package(&[one().remove(0), bare]));
    set.ok("tree-empty", "an empty directory and an empty file", of(&[directory("d"), data("e", b"")]));
    let linked = [
        directory("d"),
        data("d/data", b"data\n"),
        ForgedEntry::hard_link("hard", 2),
        ForgedEntry::link("again", "hard"),
        ForgedEntry::link("d/up", "../tool"),
        ForgedEntry::link("dangling", "nothing/./there//"),
        ForgedEntry::link("one", "two"),
        ForgedEntry::link("two", "one"),
    ];
    set.ok("tree-links", "hard links, and links that go up, in circles and nowhere", of(&linked));
    let sorted = [directory("a"), directory("a!"), directory("a/b")];
    set.ok("tree-directory-order", "directories in the order of their bytes", of(&sorted));
    set.ok("tree-file-order", "files in no order", of(&[data("b", b"b"), data("a", b"a")]));
    let largest = ForgedTree::at(&[ForgedEntry::file("tool", SCRIPT)], 8_589_934_591);
    set.ok("tree-mtime", "the largest time", with_tree(largest.slot_with(frame(&largest.stream), |_| ())));
    let pieces: Vec<(Vec<u8>, usize)> = tree(&[]).stream.chunks(700).map(|part| (frame(part), part.len())).collect();
    set.ok(
        "tree-frames",
        "a tree in frames that end inside headers and files",
        with_tree(tree(&[]).slot_of(&pieces, |_| ())),
    );
    set.section("7.3");
    let unicode = [
        directory("größe"),
        data("größe/🦀 e\u{301}", b"x"),
        data("\u{202e}", b"y"),
        ForgedEntry::link("ссылка", "größe"),
    ];
    set.ok("tree-unicode", "names in Unicode, which nobody normalises", of(&unicode));
    let cases = [data("File", b"1"), data("file", b"2"), data("CON", b"3"), data("a:b\\c ", b"4")];
    set.ok("tree-cases", "names that differ in case, or that mean something elsewhere", of(&cases));
    set.section("7.5");
    let name = |len: usize| "p".repeat(len);
    let extended = [
        directory(&name(99)),
        directory(&"q".repeat(100)),
        data(&name(100), b"fits"),
        data(&"r".repeat(101), b"does not"),
        ForgedEntry::hard_link("hard", 3),
        ForgedEntry::hard_link("hard too", 4),
        ForgedEntry::link("link", "x".repeat(100)),
        ForgedEntry::link("link too", "x".repeat(101)),
        ForgedEntry::link("s".repeat(255), "y".repeat(4095)),
    ];
    set.ok("tree-extended-headers", "names and links that just fit a header, and that do not", of(&extended));
    set.section("9");
    let path = vec!["y".repeat(255); 16].join("/");
    let mut long: Vec<ForgedEntry> = (1..16).map(|count| directory(&path[..count * 256 - 1])).collect();
    long.push(data(&path, b"x"));
    assert_eq!(path.len(), 4095);
    set.ok("tree-longest-path", "a path of 4,095 bytes", of(&long));
    let deep: Vec<ForgedEntry> = (1..=128).map(|count| directory(&vec!["d"; count].join("/"))).collect();
    set.ok("tree-deepest-path", "a path of 128 components", of(&deep));
}
