//! Private keys: where they could leak, and files that are not what they seem.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use pspf_tests::trace::Trace;
use pspf_tests::{Run, Sandbox, Who, need};

use crate::raw::hex;

/// The seed of a key in each form in which it could be written by accident.
fn forms(seed: &[u8; 32]) -> Vec<Vec<u8>> {
    let list = format!("{seed:?}");
    vec![seed.to_vec(), hex(seed).into_bytes(), hex(seed).to_uppercase().into_bytes(), list.into_bytes()]
}

/// All that `pspf` writes where it uses a private key: outputs, packages, caches, temporary files.
#[test]
fn a80_a_private_key_is_nowhere_but_in_its_file() {
    let sandbox = Sandbox::new(Who::Caller);
    let seed = [0xa7; 32];
    let (private, _) = sandbox.key(seed[0]);
    let pem = fs::read_to_string(&private).unwrap();
    let line = pem.lines().nth(1).unwrap().to_owned();
    sandbox.write_program("tool", "#!/bin/sh\necho ran\n");
    sandbox.write("wrong.psp", "no package");
    let key = private.to_str().unwrap();
    let mut said = String::new();
    for (words, code) in [
        (&["pack", "tool", "--key", key][..], 0),
        (&["pack", "tool", "--json", "-o", "again.psp", "--key", key], 0),
        (&["sign", "again.psp", "--key", key], 2),
        (&["sign", "again.psp", "--replace", "--json", "--key", key], 0),
        (&["sign", "wrong.psp", "--key", key], 120),
        (&["key", "show", key], 0),
        (&["key", "show", "--json", key], 0),
        (&["verify", "tool.psp", "--key", key], 2),
        (&["pack", "tool", "--launcher", key, "-o", "none.psp", "--key", key], 120),
    ] {
        let run = Run::pspf(&sandbox, words).status(code).any_stdout().any_stderr();
        let ran = run.env("RUST_LOG", "trace").env("RUST_BACKTRACE", "full").run();
        said += &ran.to_string();
    }
    Run::new(&sandbox, sandbox.work("tool.psp")).stdout("ran\n").run();
    fs::remove_file(&private).unwrap();
    let mut forms = forms(&seed);
    forms.push(line.into_bytes());
    let found = |bytes: &[u8]| forms.iter().any(|form| bytes.windows(form.len()).any(|window| window == form));
    assert!(!found(said.as_bytes()), "{said}");
    let mut folders = vec![sandbox.root().to_owned()];
    let mut files = 0;
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap().flatten() {
            match entry.file_type().unwrap() {
                kind if kind.is_dir() => folders.push(entry.path()),
                kind if kind.is_file() => {
                    files += 1;
                    assert!(!found(&fs::read(entry.path()).unwrap()), "{}", entry.path().display());
                }
                _ => {}
            }
        }
    }
    assert!(files > 5);
}

/// A raw key on the command line is not a key, and a file that others can read is refused with each command.
#[test]
fn a80_keys_on_the_command_line_and_open_files() {
    let sandbox = Sandbox::new(Who::Caller);
    sandbox.write_program("tool", "#!/bin/sh\n");
    let (private, _) = sandbox.key(1);
    Run::pspf(&sandbox, ["pack", "tool", "--key", &hex(&[1; 32])]).fails("IO").run();
    Run::pspf(&sandbox, ["pack", "tool", "--passphrase", "x"]).status(2).any_stderr().run();
    Run::pspf(&sandbox, ["pack", "tool"]).any_stdout().run();
    let package = fs::read(sandbox.work("tool.psp")).unwrap();
    for mode in [0o640, 0o604, 0o660, 0o644, 0o620, 0o601] {
        fs::set_permissions(&private, fs::Permissions::from_mode(mode)).unwrap();
        for words in [&["pack", "tool", "--key"][..], &["sign", "tool.psp", "--key"], &["key", "show"]] {
            let run = Run::pspf(&sandbox, words).arg(&private);
            run.fails("USAGE").stderr_part("is open to other users").run();
        }
    }
    assert_eq!(fs::read(sandbox.work("tool.psp")).unwrap(), package);
}

/// Before a private key is read the process is closed to core dumps and to other processes of its user.
#[test]
fn a80_no_core_dump_holds_a_key() {
    need("strace");
    // Of root's processes one cannot tell.
    let sandbox = Sandbox::new(Who::Stranger);
    sandbox.write_program("tool", "#!/bin/sh\necho ran\n");
    let (private, _) = sandbox.key(1);
    let key = private.to_str().unwrap();
    Run::pspf(&sandbox, ["pack", "tool"]).any_stdout().run();
    for words in [
        &["pack", "tool", "-o", "other.psp", "--key", key][..],
        &["sign", "tool.psp", "--key", key],
        &["key", "show", key],
        &["key", "new", "fresh"],
    ] {
        let run = Run::pspf(&sandbox, words).any_stdout().any_stderr();
        let trace = Trace::of(&sandbox, "prctl,open,openat,getrandom", run);
        let position = |text: &str| trace.calls.iter().position(|call| call.contains(text));
        let closed = position("PR_SET_DUMPABLE, SUID_DUMP_DISABLE").unwrap_or_else(|| panic!("{words:?}: {trace:?}"));
        // From then on the tracer, which has no more rights than the user, cannot even see which files are opened.
        let (before, after) = trace.calls.split_at(closed);
        let names_key = |call: &String| call.contains("1.key") || call.contains("fresh.key");
        assert!(!before.iter().any(names_key), "{words:?}: {before:?}");
        assert!(after.iter().any(|call| call.starts_with("openat(") && !call.contains('"')), "{words:?}: {after:?}");
    }
    // The application that `--run` starts is a process like any other again.
    let shown = "[package]\nname = 'p'\nversion = '1'\n[run]\ncommand = ['/usr/bin/stat', '-c', '%u', '/proc/self/environ']\n\
        [[slot]]\nid = 'tool'\nsource = 'tool'\n";
    sandbox.write("pspf.toml", shown);
    let caller = rustix::process::geteuid();
    let user = if caller.is_root() { pspf_tests::sandbox::STRANGER } else { caller.as_raw() };
    Run::pspf(&sandbox, ["pack", "--run", "--key", key]).stdout_part(format!("\n{user}\n")).run();
}
