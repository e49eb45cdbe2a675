//! However a package is called and wherever it lies: it finds itself, and paths stay one argument.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;

use pspf_tests::{Run, Sandbox, Who, need, probe, probe_package};

use crate::as_both;

/// Names that a shell, a template or a terminal could trip over.
const DIFFICULT: [&[u8]; 7] =
    [b" with space", b"'quo\"te", b"$(touch x)`touch y`", b"new\nline", b"\xff\xfe\x80", b"{slot:app}", b";*?\\ -e"];

fn a67_f12_w17_difficult_paths_everywhere(who: Who) {
    for name in DIFFICULT {
        let name = OsStr::from_bytes(name);
        let sandbox = Sandbox::named(who, name);
        sandbox.copy(probe(), "tree/bin/the probe");
        // What `pspf` packs must be UTF-8; where it lies and what it is called need not be.
        let out = sandbox.work(Path::new("out").with_extension(name));
        let run = Run::pspf(&sandbox, ["pack", "--exec", "bin/the probe", "--name", "x", "-o"]);
        run.arg(&out).arg(sandbox.work("tree")).any_stdout().run();
        for _ in 0..2 {
            let ran = Run::new(&sandbox, &out).args(["args", "a b"]).any_stdout().run();
            let program = sandbox.slots()[0].join("bin/the probe");
            let program = program.as_os_str().as_bytes().escape_ascii().to_string();
            assert_eq!(ran.stdout, format!("{program}\nargs\na b\n"));
        }
        let ran = Run::new(&sandbox, &out).arg("env").any_stdout().run();
        let own = out.as_os_str().as_bytes().escape_ascii().to_string();
        assert!(ran.stdout.contains(&format!("PSPF_PACKAGE={own}\n")), "{}", ran.stdout);
        Run::pspf(&sandbox, ["extract", "-C", "to"]).arg(&out).any_stdout().run();
        Run::pspf(&sandbox, ["run"]).arg(&out).args(["--", "exit", "3"]).status(3).run();
        // The messages show such names escaped, on one line.
        pspf_tests::forks::write(&out, b"no package");
        let ran = Run::pspf(&sandbox, ["run"]).arg(&out).fails("FORMAT").run();
        assert!(
            ran.stderr.lines().all(|line| line.starts_with("pspf: ") || line.starts_with("  hint: ")),
            "{}",
            ran.stderr
        );
        for made in ["x", "y"] {
            assert!(!sandbox.work(made).exists() && !sandbox.home().join(made).exists(), "a shell looked at a name");
        }
    }
}
as_both! { a67_f12_w17_difficult_paths_everywhere }

#[test]
fn a63_f34_by_a_symbolic_link_a_hard_link_and_path() {
    let sandbox = Sandbox::new(Who::Caller);
    let real = sandbox.copy(&probe_package().file, "sub/tool.psp");
    let package_of = |run: Run<'_>| {
        let text = run.arg("env").any_stdout().run().stdout;
        let line = text.lines().find(|line| line.starts_with("PSPF_PACKAGE=")).unwrap().to_owned();
        line["PSPF_PACKAGE=".len()..].to_owned()
    };
    symlink("sub/tool.psp", sandbox.work("link")).unwrap();
    symlink(sandbox.work("link"), sandbox.work("link to link")).unwrap();
    for name in ["link", "link to link"] {
        assert_eq!(package_of(Run::new(&sandbox, sandbox.work(name))), real.to_str().unwrap());
    }
    fs::hard_link(&real, sandbox.work("hard")).unwrap();
    assert_eq!(package_of(Run::new(&sandbox, sandbox.work("hard"))), sandbox.work("hard").to_str().unwrap());
    // A path that a shell finds, and one that is relative to the caller.
    let path = format!("{}:/usr/bin:/bin", sandbox.work("sub").display());
    for script in ["exec tool.psp env", "exec ./sub/../sub/tool.psp env", "cd sub; exec ./tool.psp env"] {
        let ran = Run::new(&sandbox, "/bin/sh").args(["-c", script]).env("PATH", &path).any_stdout().run();
        assert!(ran.stdout.contains(&format!("PSPF_PACKAGE={}\n", real.display())), "{script}: {}", ran.stdout);
    }
    // Another program of that name in PATH, or an `argv[0]` of another file, leads nobody astray.
    sandbox.write_program("evil/tool.psp", b"#!/bin/sh\necho evil\n");
    let script = format!("exec -a {} {} env", sandbox.work("evil/tool.psp").display(), real.display());
    need("bash");
    let ran = Run::new(&sandbox, "bash").args(["-c", &script]).any_stdout().run();
    assert!(ran.stdout.contains(&format!("PSPF_PACKAGE={}\n", real.display())), "{}", ran.stdout);
}

#[test]
fn f31_a_package_that_was_deleted_still_starts() {
    let sandbox = Sandbox::new(Who::Caller);
    let package = sandbox.copy(&probe_package().file, "tool.psp");
    let script = "exec 3<\"$0\"; rm \"$0\"; exec /proc/self/fd/3 exit 7";
    Run::new(&sandbox, "/bin/sh").args(["-c", script]).arg(&package).status(7).run();
    assert!(!package.exists());
}

#[test]
fn f32_a_package_that_may_be_executed_and_not_read() {
    let sandbox = Sandbox::new(Who::Stranger);
    let package = sandbox.copy(&probe_package().file, "tool.psp");
    fs::set_permissions(&package, fs::Permissions::from_mode(0o111)).unwrap();
    Run::new(&sandbox, &package).arg("exit").fails("IO").stderr_part("permission `r`").run();
}

#[test]
fn a_packed_program_starts_another() {
    let sandbox = Sandbox::new(Who::Caller);
    let outer = &probe_package().file;
    let inner = sandbox.work("inner.psp");
    sandbox.copy(probe(), "other");
    Run::pspf(&sandbox, ["pack", "other", "-o", "inner.psp"]).any_stdout().run();
    for _ in 0..2 {
        let ran = Run::new(&sandbox, outer).arg("run").arg(&inner).arg("env").any_stdout().run();
        let line = |name: &str| {
            ran.stdout.lines().filter(|line| line.starts_with(name)).map(str::to_owned).collect::<Vec<_>>()
        };
        assert_eq!(line("PSPF_PACKAGE="), [format!("PSPF_PACKAGE={}", inner.display())]);
        assert_eq!(line("PSPF_ARGV0="), [format!("PSPF_ARGV0={}", inner.display())]);
    }
    // And itself, and a package inside a package.
    Run::new(&sandbox, outer).arg("run").arg(outer).args(["exit", "9"]).status(9).run();
    Run::pspf(&sandbox, ["pack", "inner.psp", "-o", "nested.psp"]).any_stdout().run();
    for _ in 0..2 {
        Run::new(&sandbox, sandbox.work("nested.psp")).args(["exit", "6"]).status(6).run();
    }
}
