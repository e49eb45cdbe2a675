//! Moving over from the reference release: its packages and its manifests, packed anew.

use std::fs;

use pspf_tests::sandbox::names;
use pspf_tests::unsealed::{UnsealedSlot, metadata, package};
use pspf_tests::{Run, Sandbox, Who, forge, probe_package};
use serde_json::{Value, json};

use crate::reference::helper;
use crate::unsealed::{BUILDERS, build, public_key, sources};

/// What the package of `sources` does, as a sealed one.
#[track_caller]
fn hold_behaviour(sandbox: &Sandbox, package: &str) {
    let (_, public) = sandbox.key(1);
    Run::pspf(sandbox, ["verify", "--deep", package, "--key"]).arg(public).any_stdout().run();
    let start = || Run::new(sandbox, sandbox.work(package)).any_stdout();
    let said = start().args(["user", "a  b"]).run().stdout;
    let lines: Vec<&str> = said.lines().skip(1).collect();
    let tool = lines[1];
    assert!(tool.starts_with('/') && tool.ends_with("/sub/a tool"), "{said}");
    assert_eq!(fs::read(tool).unwrap(), b"#!/bin/sh\necho tool\n");
    let others = [&lines[..1], &lines[2..]].concat();
    assert_eq!(others, ["args", "two words", "mixed-1.0", "{slot:9}", "{none}", "user", "a  b"]);
    let tree = std::path::Path::new(tool).ancestors().nth(2).unwrap();
    assert_eq!(fs::read_to_string(tree.join("made/deep/by")).unwrap(), "mixed 1.0");
    assert_eq!(fs::read_to_string(tree.join("made/marked")).unwrap(), "the payload ran\n");
    assert_eq!(fs::read_to_string(tree.join("lib/two.whl")).unwrap(), "the payload ran\n");
    assert_eq!(fs::read_to_string(tree.join("lib/other")).unwrap(), "three");
    assert!(!tree.join("note").exists(), "what only the setup needed is gone");
    let report = Run::pspf(sandbox, ["inspect", "--json", package]).any_stdout().run().stdout;
    let report: serde_json::Value = serde_json::from_str(&report).unwrap();
    let env = &report["run"]["env"];
    assert_eq!(env["set"]["WHERE"], "{slot:app}/x");
    assert_eq!(env["set"]["SLOT"], "{slot:app}/sub/a tool");
    assert_eq!(env["set"]["LITERAL"], "{{workenv}}");
    assert_eq!((&env["map"]["OLD"], env["map"].get("MAPPED_AWAY")), (&json!("NEW"), None));
    assert_eq!(env["set"].get("TMPDIR"), None, "nobody can write there any more");
    assert_eq!(report["slots"][0]["operations"], "tar|zstd");
}

fn left_nothing(sandbox: &Sandbox) {
    assert_eq!(names(&sandbox.root().join("tmp")), [""; 0]);
}

#[test]
fn packages_of_every_builder_are_packed_anew() {
    let sandbox = Sandbox::new(Who::Caller);
    sources(&sandbox);
    let launcher = sandbox.copy(&helper("flavor-rs-launcher"), "launcher");
    let (private, _) = sandbox.key(1);
    for builder in BUILDERS {
        let old = build(&sandbox, builder, &launcher, &format!("{builder}.psp"));
        let signer = public_key(&sandbox, &old);
        let convert = Run::pspf(&sandbox, ["convert", "-o", "new.psp", "--key"]).arg(&private).arg(&old);
        let convert = convert.arg("--signer").arg(signer).any_stdout();
        let told = convert.stderr_part("4 setup commands were run now").run().stderr;
        // The builder in Go leaves the whole section out.
        assert_eq!(told.contains("`TMPDIR` is the caller's own"), builder != "go", "{told}");
        hold_behaviour(&sandbox, "new.psp");
        left_nothing(&sandbox);
    }
}

#[test]
fn the_manifest_of_their_builders_is_packed() {
    let sandbox = Sandbox::new(Who::Caller);
    sources(&sandbox);
    let (private, _) = sandbox.key(1);
    let pack = || Run::pspf(&sandbox, ["pack", "manifest.json", "-o", "new.psp", "--key"]).arg(&private).any_stdout();
    pack().stderr_part("`cache_validation` of the manifest is ignored").run();
    hold_behaviour(&sandbox, "new.psp");
    fs::remove_file(sandbox.work("new.psp")).unwrap();
    let text = fs::read_to_string(sandbox.work("manifest.json")).unwrap();
    for (from, to, class, told) in [
        ("\"tgz\"", "\"tgs\"", "USAGE", "`tgs`"),
        ("\"tgz\"", "\"gzip|gzip\"", "USAGE", "`gzip|gzip`"),
        ("\"gzip\"", "\"tar\"", "FORMAT", "slot `tool`"),
        ("tree.tgz", "none.tgz", "IO", "none.tgz"),
        ("\"0755\"", "\"rwx\"", "USAGE", "`rwx`"),
        ("sub/a tool", "../a tool", "USAGE", "a tool"),
        ("\"type\": \"chmod\"", "\"type\": \"chown\"", "USAGE", "chown"),
        ("\"slots\"", "\"slot\"", "USAGE", "manifest.json"),
        ("\"version\"", "\"versoin\"", "USAGE", "version"),
        ("{workenv}/bin/show args", "show-it", "FORMAT", "not in the package"),
        ("mark {workenv}/made/marked", "exit 3", "EXEC", "exit status: 3"),
        ("{\n\"format\"", "{{", "USAGE", "manifest of the reference builders"),
    ] {
        assert!(text.contains(from), "{from}");
        sandbox.write("manifest.json", text.replacen(from, to, 1));
        pack().fails(class).stderr_part(told).run();
        assert!(!sandbox.work("new.psp").exists());
        left_nothing(&sandbox);
    }
}

#[test]
fn what_cannot_be_converted_is_told() {
    let sandbox = Sandbox::new(Who::Caller);
    let (private, _) = sandbox.key(1);
    let convert = || Run::pspf(&sandbox, ["convert", "old.psp", "-o", "new.psp", "--key"]).arg(&private);
    let slots = [UnsealedSlot::program("tool", b"#!/bin/sh\necho ran\n")];
    let old = |more| package(b"launcher", &metadata("{workenv}/tool", &slots, more), &slots, &forge::key());
    sandbox.write("old.psp", old(json!({})));
    convert().any_stdout().any_stderr().run();
    Run::new(&sandbox, sandbox.work("new.psp")).stdout("ran\n").run();
    fs::remove_file(sandbox.work("new.psp")).unwrap();
    convert().arg("--signer").arg(sandbox.key(2).1).fails("TRUST").run();
    // A setup that writes down where it happened, and does it in a way that no later command can repeat.
    let bound = json!({"setup_commands": [{"type": "write_file", "path": "etc/place", "content": "at {workenv}"}]});
    sandbox.write("old.psp", old(bound));
    convert().fails("FORMAT").stderr_part("writes the place into `etc/place`").run();
    let here = json!({"setup_commands": [{"type": "execute", "command": "sh -c 'pwd >place'"}]});
    sandbox.write("old.psp", old(here));
    convert().fails("FORMAT").stderr_part("program `sh` is not in the package").run();
    let failing = json!({"setup_commands": [{"type": "execute", "command": "sh -c 'echo no; exit 4'"}]});
    sandbox.write("old.psp", old(failing));
    convert().fails("EXEC").stderr_part("| no").run();
    let mut changed = old(json!({}));
    let at = changed.windows(8).position(|window| window == b"echo ran").unwrap();
    changed[at] ^= 1;
    sandbox.write("old.psp", changed);
    convert().fails("INTEGRITY").run();
    sandbox.copy(&probe_package().file, "old.psp");
    convert().fails("USAGE").stderr_part("has a seal already").run();
    assert!(!sandbox.work("new.psp").exists());
    left_nothing(&sandbox);
}

/// What was set up in one place works there alone: so the commands are kept, for the place that each user has.
#[test]
fn a_setup_that_is_bound_to_its_place_is_kept() {
    let sandbox = Sandbox::new(Who::Stranger);
    let (private, public) = sandbox.key(1);
    let tool = b"#!/bin/sh\ncd \"$FLAVOR_WORKENV\"\ncat place note parts/a.part parts/b.part\nstat -c %a note\necho $STATE\ntouch $STATE/written\n";
    let setup = b"#!/bin/sh\nset -e\ntest -e \"$FLAVOR_WORKENV/only\"\ncase $1 in\n\
        place) echo \"$2\" >\"$FLAVOR_WORKENV/place\" ;;\n*) echo \"$1 $(cat \"$2\")\" >\"$2.new\"; mv \"$2.new\" \"$2\" ;;\nesac\n";
    let init = UnsealedSlot::new("only", "only", "raw", 0o644, b"for the setup\n".to_vec());
    let slots = [
        UnsealedSlot::program("tool", tool),
        UnsealedSlot::program("bin/set up", setup),
        UnsealedSlot::new("a", "parts/a.part", "raw", 0o644, b"a\n".to_vec()),
        UnsealedSlot::new("b", "parts/b.part", "raw", 0o644, b"b\n".to_vec()),
        init,
    ];
    let more = json!({
        "setup_commands": [
            {"type": "write_file", "path": "{workenv}/note", "content": "{package_name}\n"},
            {"type": "chmod", "path": "{workenv}/not*", "mode": "600"},
            {"type": "execute", "command": "'{workenv}/bin/set up' place 'in {workenv}/{x}'"},
            {"type": "enumerate_and_execute", "command": "'bin/set up' part",
             "enumerate": {"path": "{workenv}/parts", "pattern": "*.part"}},
        ],
        "workenv": {"directories": [{"path": "state"}], "env": {"STATE": "{workenv}/state"}},
    });
    let mut metadata = metadata("{workenv}/tool", &slots, more);
    metadata["slots"][4]["lifecycle"] = "init".into();
    let mut old = package(b"launcher", &metadata, &slots, &forge::key());
    let table = pspf_tests::raw::index(&old)[40..48].try_into().map(u64::from_le_bytes).unwrap() as usize;
    old[table + 4 * 64 + 57] = 0;
    sandbox.write("old.psp", old);
    let said = |place: &str, mode| format!("in {place}/{{x}}\nforged\npart a\npart b\n{mode}\n{place}/state\n");
    let own = Run::pspf(&sandbox, ["run", "--allow-unsealed", "old.psp"]).any_stdout().run().stdout;
    let place = own.lines().next().unwrap().strip_prefix("in ").unwrap().strip_suffix("/{x}").unwrap();
    assert_eq!(own, said(place, 600));

    let convert = Run::pspf(&sandbox, ["convert", "old.psp", "-o", "new.psp", "--key"]).arg(private).any_stdout();
    convert.stderr_part("`place` names it").stderr_part("3 setup commands are kept for the first start").run();
    left_nothing(&sandbox);
    Run::pspf(&sandbox, ["verify", "--deep", "new.psp", "--key"]).arg(public).any_stdout().run();
    let inspected = Run::pspf(&sandbox, ["inspect", "new.psp"]).any_stdout().run().stdout;
    assert!(inspected.contains("{slot:app}/parts/b.part"), "{inspected}");
    for _ in 0..2 {
        let new = Run::new(&sandbox, sandbox.work("new.psp")).any_stdout().run().stdout;
        let place = new.lines().next().unwrap().strip_prefix("in ").unwrap().strip_suffix("/{x}").unwrap();
        assert!(place.ends_with("/app"), "{place}");
        // A sealed package knows two modes.
        assert_eq!(new, said(place, 644));
    }
}

/// A setup is kept only where it does the same in its new directory and order: that is tried.
#[test]
fn a_kept_setup_that_would_do_something_else_is_told() {
    let sandbox = Sandbox::new(Who::Caller);
    let (private, _) = sandbox.key(1);
    let slots = [
        UnsealedSlot::program("tool", b"#!/bin/sh\ncat \"$FLAVOR_WORKENV/place\"\n"),
        UnsealedSlot::program("bin/in", b"#!/bin/sh\nset -e\ncd \"$FLAVOR_WORKENV\"\npwd >place\neval \"$1\"\n"),
        UnsealedSlot::program("bin/helper", b"#!/bin/sh\n>helped\n"),
        UnsealedSlot::new("a", "parts/a", "raw", 0o644, b"a".to_vec()),
        UnsealedSlot::new("b", "parts/b", "raw", 0o644, b"b".to_vec()),
    ];
    let convert = |commands: Value| {
        let more = json!({"setup_commands": commands, "runtime": {"env": {"unset": ["NEEDED"]}}});
        let old = package(b"launcher", &metadata("{workenv}/tool", &slots, more), &slots, &forge::key());
        sandbox.write("old.psp", old);
        Run::pspf(&sandbox, ["convert", "old.psp", "-o", "new.psp", "--key"])
            .arg(&private)
            .env("NEEDED", "by the setup")
    };
    let shell = |text: &str| json!({"type": "execute", "command": format!("bin/in '{text}'")});
    let write = |path: &str| json!({"type": "write_file", "path": path, "content": "#!/bin/sh\n"});
    let chmod = |path: &str| json!({"type": "chmod", "path": path, "mode": "755"});
    let each = |text: &str, path: &str, pattern: &str| {
        let enumerate = json!({"path": path, "pattern": pattern});
        json!({"type": "enumerate_and_execute", "command": format!("bin/in '{text}'"), "enumerate": enumerate})
    };
    let relative = json!({"type": "execute", "command": "/bin/sh -c '>here'"});
    for (commands, told) in [
        // What a command makes, and a later one goes through.
        (vec![shell("mkdir gen; >gen/a.whl"), each(">$2.used", "gen", "*.whl")], "does not make `gen/a.whl.used`"),
        (vec![shell("rm parts/a"), each(">$2.used", "parts", "?")], "leaves what should not be there, `parts/a.used`"),
        // Files that are written between the commands.
        (vec![shell("echo made >conf"), write("conf")], "makes something else of `conf`"),
        (vec![shell("mkdir venv"), write("{workenv}/venv/cfg")], "File exists"),
        (vec![shell("test -e later || >early"), write("later")], "does not make `early`"),
        (vec![shell(">first"), write("bin/in")], "does not make `first`"),
        (vec![shell(">made"), chmod("{workenv}/ma*")], "makes something else of `made`"),
        // Another directory, and another environment.
        (vec![shell(":"), relative.clone()], "does not make `here`"),
        (vec![shell("helper")], "ended with exit status: 127"),
        (vec![shell("test -n \"$NEEDED\"")], "ended with exit status: 1"),
        // What is never the same cannot be compared.
        (vec![shell("echo $$ >number")], "makes something else of `number`"),
    ] {
        let convert = convert(json!(commands)).fails("FORMAT").stderr_part("tried as the new package does it");
        convert.stderr_part(told).stderr_part("hint: pack the sources").run();
        assert!(!sandbox.work("new.psp").exists(), "{told}");
        left_nothing(&sandbox);
    }
    let exclude = convert(json!([shell(":")])).args(["--exclude", "parts/a"]);
    exclude.fails("USAGE").stderr_part("`--exclude parts/a`").stderr_part("`place` names it").run();
    left_nothing(&sandbox);
    let kept = convert(json!([shell("test -e parts/a && >made")]));
    kept.any_stdout().stderr_part("1 setup command is kept for the first start").run();
    left_nothing(&sandbox);
    let place = Run::new(&sandbox, sandbox.work("new.psp")).any_stdout().run().stdout;
    assert!(place.ends_with("/app\n"), "{place}");
    fs::remove_file(sandbox.work("new.psp")).unwrap();
    convert(json!([relative])).any_stdout().stderr_part("1 setup command was run now").run();
    left_nothing(&sandbox);
}
