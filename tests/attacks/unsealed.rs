//! Packages without a seal by a hostile builder: correctly signed, and made to do harm where they are unpacked or set up.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;

use pspf_tests::forge::key;
use pspf_tests::raw::gzip;
use pspf_tests::sandbox::names;
use pspf_tests::unsealed::{UnsealedSlot, metadata, package};
use pspf_tests::{Run, Sandbox, Who};
use serde_json::{Value, json};

/// An entry of an archive, written by hand: other writers refuse most of these.
fn entry(name: &[u8], kind: u8, mode: &str, link: &str, content: &[u8]) -> Vec<u8> {
    let mut header = [0_u8; 512];
    let mut put = |at: usize, bytes: &[u8]| header[at..at + bytes.len()].copy_from_slice(bytes);
    put(0, name);
    put(100, format!("{mode:0>7}").as_bytes());
    put(108, b"0000000\x000000000\0");
    put(124, format!("{:011o}\x0000000000000", content.len()).as_bytes());
    put(148, b"        ");
    put(156, &[kind]);
    put(157, link.as_bytes());
    put(257, b"ustar\x0000");
    let sum: u32 = header.iter().map(|byte| u32::from(*byte)).sum();
    header[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    let mut bytes = header.to_vec();
    bytes.extend(content);
    bytes.resize(bytes.len().next_multiple_of(512), 0);
    bytes
}

fn file(name: &str, content: &[u8]) -> Vec<u8> {
    entry(name.as_bytes(), b'0', "755", "", content)
}

fn archive(entries: &[Vec<u8>]) -> Vec<u8> {
    [&entries.concat()[..], &[0; 1024]].concat()
}

/// Starts a package of these slots and keys with `pspf run`, which must refuse it with this class and leave nothing.
#[track_caller]
fn refused(slots: &[UnsealedSlot], more: Value, class: &str, text: &str) {
    let sandbox = Sandbox::new(Who::Stranger);
    let bytes = package(b"launcher", &metadata("{workenv}/tool", slots, more), slots, &key());
    sandbox.write("a.psp", bytes);
    Run::pspf(&sandbox, ["run", "--allow-unsealed", "a.psp"]).fails(class).stderr_part(text).run();
    left_nothing(&sandbox);
}

#[track_caller]
fn left_nothing(sandbox: &Sandbox) {
    let left = names(&sandbox.cache().join("env"));
    assert!(left.iter().all(|name| name.ends_with(".lock")), "{left:?}");
    for name in ["escaped", "tmp/escaped"] {
        assert!(!sandbox.root().join(name).exists(), "{name}");
    }
    assert_eq!(names(&sandbox.work("")), ["a.psp"]);
}

fn tree(entries: &[Vec<u8>]) -> UnsealedSlot {
    UnsealedSlot::new("tree", "{workenv}", "tar", 0o600, archive(entries))
}

#[test]
fn a20_a21_paths_that_lead_out_are_refused() {
    let tool = || file("tool", b"#!/bin/sh\n");
    for (name, text) in [
        ("../escaped", "escaped"),
        ("a/../../escaped", "escaped"),
        ("/tmp/escaped", "escaped"),
        ("a//b", "component"),
        ("..", ""),
        ("a\nb", ""),
        ("a/./b", ""),
    ] {
        refused(&[tree(&[tool(), file(name, b"x")])], json!({}), "FORMAT", text);
    }
    refused(&[tree(&[tool(), entry(b"\xff", b'0', "644", "", b"x")])], json!({}), "FORMAT", "UTF-8");
    for target in
        ["../escaped", "/tmp/escaped", "{workenv}/../escaped", "{workenv}/a/../../../escaped", "", "{workenv}"]
    {
        refused(&[UnsealedSlot::program(target, b"x")], json!({}), "FORMAT", "");
    }
}

#[test]
fn a22_a26_entries_that_are_neither_file_nor_directory_are_refused() {
    let tool = || file("tool", b"#!/bin/sh\n");
    for (kind, text) in [
        (b'1', "a link"),
        (b'2', "a link"),
        (b'3', "neither"),
        (b'4', "neither"),
        (b'6', "neither"),
        (b'7', "neither"),
        (b'S', ""),
    ] {
        let odd = entry(b"odd", kind, "644", "/etc/passwd", b"");
        refused(&[tree(&[tool(), odd])], json!({}), "FORMAT", text);
    }
    // A file where a directory is, and the other way round.
    refused(&[tree(&[entry(b"a/", b'5', "755", "", b""), file("a", b"x")])], json!({}), "FORMAT", "in one place");
    refused(&[tree(&[file("a", b"x"), file("a/b", b"x")])], json!({}), "FORMAT", "in one place");
    // Nothing in it, an end that is missing, and no archive at all.
    refused(&[tree(&[])], json!({}), "FORMAT", "empty");
    let cut = file("tool", &[7; 4000])[..3000].to_vec();
    refused(&[UnsealedSlot::new("tree", "t", "tar", 0o600, cut)], json!({}), "FORMAT", "");
    refused(&[UnsealedSlot::new("tree", "t", "tgz", 0o600, b"no gzip".to_vec())], json!({}), "FORMAT", "");
    refused(&[UnsealedSlot::new("tool", "tool", "gzip", 0o755, gzip(b"x")[..20].to_vec())], json!({}), "FORMAT", "");
}

#[test]
fn a28_no_file_is_setuid() {
    let sandbox = Sandbox::new(Who::Stranger);
    let entries = [entry(b"tool", b'0', "4755", "", b"#!/bin/sh\n"), entry(b"dir/", b'5', "7777", "", b"")];
    let slots = [tree(&entries), UnsealedSlot::new("other", "other", "raw", 0o6755, b"x".to_vec())];
    sandbox.write("a.psp", package(b"launcher", &metadata("{workenv}/tool", &slots, json!({})), &slots, &key()));
    Run::pspf(&sandbox, ["run", "--allow-unsealed", "a.psp"]).run();
    let env = sandbox.cache().join("env");
    let workenv = names(&env).into_iter().map(|name| env.join(name)).find(|path| path.is_dir()).unwrap();
    for (name, mode) in [("tool", 0o755), ("other", 0o755), ("dir", 0o777)] {
        assert_eq!(fs::metadata(workenv.join(name)).unwrap().permissions().mode() & 0o7777, mode, "{name}");
    }
    assert_eq!(fs::metadata(workenv).unwrap().permissions().mode() & 0o777, 0o700);
}

#[test]
fn w28_setup_commands_stay_inside() {
    let tool = || [UnsealedSlot::program("tool", b"#!/bin/sh\n")];
    for path in ["/tmp/escaped", "../escaped", "{workenv}/../escaped", "{workenv}x/escaped", "a/../../escaped"] {
        let write = json!({"setup_commands": [{"type": "write_file", "path": path, "content": "x"}]});
        refused(&tool(), write, "FORMAT", "leads out");
        let chmod = json!({"setup_commands": [{"type": "chmod", "path": path, "mode": "777"}]});
        refused(&tool(), chmod, "FORMAT", "leads out");
        let enumerate = json!({"path": path, "pattern": "*"});
        let run = json!({"type": "enumerate_and_execute", "command": "{workenv}/tool", "enumerate": enumerate});
        refused(&tool(), json!({"setup_commands": [run]}), "FORMAT", "leads out");
        let directory = json!({"workenv": {"directories": [{"path": path, "mode": "0700"}]}});
        refused(&tool(), directory, "FORMAT", "leads out");
    }
    for (command, class) in [
        (json!({"type": "other", "command": "x"}), "FORMAT"),
        (json!("/bin/true"), "FORMAT"),
        (json!({"type": "execute"}), "FORMAT"),
        (json!({"type": "execute", "command": "'"}), "FORMAT"),
        (json!({"type": "execute", "command": ""}), "FORMAT"),
        (json!({"type": "execute", "command": "{workenv}/none"}), "ENTRY"),
        (json!({"type": "execute", "command": "/none/of/these"}), "ENTRY"),
        (json!({"type": "execute", "command": "no-such-program-anywhere"}), "ENTRY"),
    ] {
        refused(&tool(), json!({ "setup_commands": [command] }), class, "");
    }
}

#[test]
fn w16_a_setup_that_failed_is_not_taken_for_one_that_succeeded() {
    let sandbox = Sandbox::new(Who::Stranger);
    let slots = [
        UnsealedSlot::program("tool", b"#!/bin/sh\necho started\n"),
        UnsealedSlot::new("setup", "setup", "raw", 0o755, b"#!/bin/sh\necho reason; test -e \"$READY\"\n".to_vec()),
    ];
    let setup = json!({"setup_commands": [{"type": "execute", "command": "{workenv}/setup"}]});
    sandbox.write("a.psp", package(b"launcher", &metadata("{workenv}/tool", &slots, setup), &slots, &key()));
    let run = |ready: PathBuf| Run::pspf(&sandbox, ["run", "--allow-unsealed", "a.psp"]).env("READY", ready);
    for _ in 0..2 {
        run(sandbox.work("none"))
            .fails("EXEC")
            .stderr_part("`{workenv}/setup` ended with")
            .stderr_part("| reason")
            .run();
        left_nothing(&sandbox);
    }
    run(sandbox.work("a.psp")).stdout("started\n").run();
    // From now on it is not run again.
    run(sandbox.work("none")).stdout("started\n").run();
}

#[test]
fn w13_the_machine_does_not_stand_in_for_the_package() {
    let sandbox = Sandbox::new(Who::Stranger);
    let slots = [UnsealedSlot::program("bin/tool", b"#!/bin/sh\necho packed\n")];
    fs::create_dir(sandbox.work("path")).unwrap();
    sandbox.give(&sandbox.work("path"));
    for name in ["tool", "missing"] {
        sandbox.write_program(format!("path/{name}"), b"#!/bin/sh\necho of the machine\n");
    }
    let run = |command: &str| {
        sandbox.write("a.psp", package(b"launcher", &metadata(command, &slots, json!({})), &slots, &key()));
        let path = format!("{}:/usr/bin:/bin", sandbox.work("path").display());
        Run::pspf(&sandbox, ["run", "--allow-unsealed", "a.psp"]).env("PATH", path)
    };
    run("tool").stdout("packed\n").run();
    run("{workenv}/bin/tool").stdout("packed\n").run();
    run("{workenv}/tool").stdout("packed\n").run();
    run("{workenv}/bin/missing").fails("ENTRY").run();
    run("{workenv}/missing").fails("ENTRY").run();
    run("/none/missing").fails("ENTRY").run();
}

#[test]
fn a_package_may_tighten_its_own_start() {
    let slots = [UnsealedSlot::program("tool", b"#!/bin/sh\necho started\n")];
    let policy = |policy: Value| json!({ "policy": policy });
    for (rule, starts) in [
        (json!({"platforms": ["plan9_vax"]}), false),
        (json!({"platforms": ["plan9_vax", "linux_amd64", "linux_arm64"]}), true),
        (json!({"require_env": ["HOME"]}), true),
        (json!({"require_env": ["HOME", "NO_SUCH_VARIABLE"]}), false),
        (json!({"refuse_root": true}), true),
    ] {
        let sandbox = Sandbox::new(Who::Stranger);
        let metadata = metadata("{workenv}/tool", &slots, policy(rule));
        sandbox.write("a.psp", package(b"launcher", &metadata, &slots, &key()));
        let run = Run::pspf(&sandbox, ["run", "--allow-unsealed", "a.psp"]);
        if starts {
            run.stdout("started\n").run()
        } else {
            run.fails("TRUST").stderr_part("policy").run()
        };
    }
}

#[test]
fn a27_what_an_archive_says_of_an_entry_is_bounded() {
    let tool = || file("tool", b"#!/bin/sh\n");
    let long = vec![b'a'; 100_000];
    for kind in *b"xgLK" {
        let extension = entry(b"extension", kind, "644", "", &long);
        refused(&[tree(&[tool(), extension, tool()])], json!({}), "FORMAT", "64 KiB");
    }
    for (said, text) in [
        ("path=../escaped", "escaped"),
        ("path=/tmp/escaped", "escaped"),
        ("size=12x45", "no number"),
        ("size=18446744073709551615", "in the middle"),
        ("GNU.sparse.major=1", "sparse"),
    ] {
        // Its length counts itself; all of these have two digits.
        let record = format!("{} {said}\n", said.len() + 4);
        let extension = entry(b"extension", b'x', "644", "", record.as_bytes());
        refused(&[tree(&[tool(), extension, tool()])], json!({}), "FORMAT", text);
    }
    let mut damaged = tool();
    damaged[148] ^= 1;
    refused(&[tree(&[damaged])], json!({}), "FORMAT", "checksum");
}

#[test]
fn targets_that_mean_the_same_are_the_same() {
    for target in ["tool", "./tool", "tool/", "{workenv}/tool", "{workenv}//tool", ".//tool"] {
        let sandbox = Sandbox::new(Who::Stranger);
        let slots = [
            UnsealedSlot::program(target, b"#!/bin/sh\necho started \"$@\"\n"),
            // An archive goes to the top, whatever its target is.
            UnsealedSlot::new("tree", "../x", "tar", 0o600, archive(&[file("other", b"x")])),
        ];
        let command = "{slot:0} {slot:1}other {slot:01} # 'a b' \"\" $HOME";
        sandbox.write("a.psp", package(b"launcher", &metadata(command, &slots, json!({})), &slots, &key()));
        let said = Run::pspf(&sandbox, ["run", "--allow-unsealed", "a.psp"]).any_stdout().run().stdout;
        assert!(said.starts_with("started /") && said.ends_with("/other {slot:01} # a b $HOME\n"), "{said}");
    }
}

/// Without a place that the caller names there are several to try; what is wrong with the package is wrong in each.
#[test]
fn a_setup_that_fails_is_not_tried_in_another_place() {
    let sandbox = Sandbox::new(Who::Caller);
    let count = sandbox.write("count", b"");
    let slots = [
        UnsealedSlot::program("tool", b"#!/bin/sh\n"),
        UnsealedSlot::new("setup", "setup", "raw", 0o755, b"#!/bin/sh\necho x >>\"$COUNT\"\n".to_vec()),
        UnsealedSlot::new("note", "note", "raw", 0o644, b"no program".to_vec()),
    ];
    let commands = ["{workenv}/setup", "{workenv}/note"].map(|command| json!({"type": "execute", "command": command}));
    let metadata = metadata("{workenv}/tool", &slots, json!({ "setup_commands": commands }));
    sandbox.write("a.psp", package(b"launcher", &metadata, &slots, &key()));
    let run = Run::pspf(&sandbox, ["run", "--allow-unsealed", "a.psp"]).without("PSPF_CACHE_DIR");
    run.env("XDG_CACHE_HOME", sandbox.work("xdg")).env("COUNT", &count).fails("EXEC").run();
    assert_eq!(fs::read_to_string(count).unwrap(), "x\n");
    // A setup that starts its own package is not waited for by itself.
    let slots = [UnsealedSlot::program("tool", b"#!/bin/sh\n")];
    let again = json!({"setup_commands": [{"type": "execute", "command": "sh -c \"exec $AGAIN\""}]});
    let metadata = pspf_tests::unsealed::metadata("{workenv}/tool", &slots, again);
    let file = sandbox.write("c.psp", package(b"launcher", &metadata, &slots, &key()));
    let again = format!("{} run --allow-unsealed {}", pspf_tests::pspf().display(), file.display());
    let run = Run::pspf(&sandbox, ["run", "--allow-unsealed", "c.psp"]).env("AGAIN", again);
    run.fails("EXEC").stderr_part("starts the package itself").run();
    // A caller that ignores SIGCHLD, as some services do.
    let slots = [UnsealedSlot::program("tool", b"#!/bin/sh\necho started\n")];
    let setup = json!({"setup_commands": [{"type": "execute", "command": "/bin/true"}]});
    let metadata = pspf_tests::unsealed::metadata("{workenv}/tool", &slots, setup);
    sandbox.write("b.psp", package(b"launcher", &metadata, &slots, &key()));
    let run = Run::new(&sandbox, pspf_tests::probe()).args(["signals", "", "17"]).arg(pspf_tests::pspf());
    run.args(["run", "--allow-unsealed", "b.psp"]).stdout("started\n").run();
}

#[test]
fn a_policy_that_nobody_understands_is_refused() {
    let slots = [UnsealedSlot::program("tool", b"#!/bin/sh\n")];
    for policy in [json!({"refuse_root": "true"}), json!({"require_env": "X"}), json!({"platforms": [1]}), json!(5)] {
        refused(&slots, json!({ "policy": policy }), "FORMAT", "metadata");
    }
}

/// What could never be started is said before anything is made for it.
#[test]
fn nothing_is_set_up_for_a_start_that_cannot_be() {
    let sandbox = Sandbox::new(Who::Caller);
    let slots = [UnsealedSlot::program("tool", b"#!/bin/sh\n")];
    for (command, env) in
        [("", json!({})), ("'' \"\"", json!({})), ("tool 'a", json!({})), ("tool", json!({"A=B": "c"}))]
    {
        let mut metadata = metadata(command, &slots, json!({}));
        metadata["execution"]["env"] = env;
        sandbox.write("a.psp", package(b"launcher", &metadata, &slots, &key()));
        Run::pspf(&sandbox, ["run", "--allow-unsealed", "a.psp"]).fails("FORMAT").stderr_part("metadata: ").run();
        assert!(!sandbox.cache().join("env").exists(), "{command}");
    }
}

/// A41: needs root's rights: files of another user.
#[test]
fn a41_a_work_environment_of_somebody_else_is_not_used() {
    const FOREIGN: u32 = 4343;
    assert!(rustix::process::geteuid().is_root(), "this test gives files to another user: run it as root");
    let sandbox = Sandbox::new(Who::Stranger);
    let slots = [UnsealedSlot::program("tool", b"#!/bin/sh\ncat \"$FLAVOR_WORKENV/whose\" 2>&1 || :\n")];
    let setup = json!({"setup_commands": [{"type": "write_file", "path": "whose", "content": "mine\n"}]});
    sandbox.write("a.psp", package(b"launcher", &metadata("{workenv}/tool", &slots, setup), &slots, &key()));
    let start = || Run::pspf(&sandbox, ["run", "--allow-unsealed", "a.psp"]);
    let env = sandbox.cache().join("env");
    // Which of the three belongs to whom, and what a start then uses.
    for (part, owner, used) in [
        ("record", FOREIGN, Some("mine\n")),
        ("directory", FOREIGN, Some("mine\n")),
        ("folder", FOREIGN, None),
        ("record", 0, Some("theirs\n")),
        ("directory", 0, Some("theirs\n")),
        ("folder", 0, Some("theirs\n")),
    ] {
        pspf_tests::sandbox::remove_tree(&env);
        start().stdout("mine\n").run();
        let find = |is: &dyn Fn(&PathBuf) -> bool| names(&env).iter().map(|name| env.join(name)).find(is).unwrap();
        let (record, directory) =
            (find(&|path| path.extension().is_some_and(|end| end == "ok")), find(&|path| path.is_dir()));
        fs::write(directory.join("whose"), "theirs\n").unwrap();
        let path = match part {
            "record" => record,
            "directory" => directory,
            _ => env.clone(),
        };
        std::os::unix::fs::chown(&path, Some(owner), Some(owner)).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
        match used {
            Some(said) => start().stdout(said).run(),
            None => start().fails("IO").stderr_part("belongs to somebody else").run(),
        };
    }
}
