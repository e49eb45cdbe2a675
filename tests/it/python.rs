//! A real CPython: this machine's own, copied, made relocatable, packed, and started where the original is out of reach.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use pspf_tests::programs::base;
use pspf_tests::trace::Trace;
use pspf_tests::{Run, Sandbox, Who, forks, need};

use crate::as_both;

/// What the start in the issue of every packager is: three modules that need files, libraries and sockets.
const PROGRAM: &str = "import json,ssl,asyncio;print('ok')";

/// The interpreter of this machine.
pub(crate) struct Python {
    pub(crate) prefix: PathBuf,
    pub(crate) program: PathBuf,
    pub(crate) stdlib: PathBuf,
}

impl Python {
    pub(crate) fn find() -> Self {
        need("python3");
        let code = "import os,sys,sysconfig\nprint(sys.base_prefix)\n\
            print(os.path.realpath(getattr(sys,'_base_executable',sys.executable)))\n\
            print(sysconfig.get_path('stdlib', vars={'base':sys.base_prefix,'installed_base':sys.base_prefix}))";
        let output = forks::output(Command::new("python3").args(["-I", "-c", code]));
        let text = String::from_utf8(output.stdout).unwrap();
        let lines: Vec<PathBuf> = text.lines().map(PathBuf::from).collect();
        let [prefix, program, stdlib] = lines.try_into().expect("this test needs a CPython that tells its prefix");
        assert!(
            stdlib.starts_with(&prefix) && stdlib.join("os.py").exists(),
            "this test needs a CPython with its library in {}",
            prefix.display()
        );
        Self { prefix, program, stdlib }
    }

    /// A script of mounts after which nothing of it is there any more.
    fn out_of_reach(&self) -> String {
        // A distribution's own prefix is that of the whole system; there the library alone goes away.
        let path = if self.prefix == Path::new("/usr") { &self.stdlib } else { &self.prefix };
        format!("mount -t tmpfs -o size=64k none '{}'", path.display())
    }

    /// The smallest copy that runs programs: the interpreter, its shared library, the standard library.
    pub(crate) fn copy(&self, to: &Path) {
        fs::create_dir_all(to.join("bin")).unwrap();
        forks::copy(&self.program, &to.join("bin/python3"));
        let library = self.prefix.join("lib");
        fs::create_dir_all(to.join("lib")).unwrap();
        for entry in fs::read_dir(&library).into_iter().flatten().flatten() {
            if entry.file_name().to_string_lossy().starts_with("libpython3.") && entry.file_type().unwrap().is_file() {
                forks::copy(&entry.path(), &to.join("lib").join(entry.file_name()));
            }
        }
        let left_out = [
            "test",
            "site-packages",
            "dist-packages",
            "__pycache__",
            "idlelib",
            "lib2to3",
            "tkinter",
            "turtledemo",
            "ensurepip",
            "pydoc_data",
            "distutils",
            "unittest",
        ];
        copy_tree(&self.stdlib, &to.join(self.stdlib.strip_prefix(&self.prefix).unwrap()), &left_out);
        make_relative(to, &library);
    }
}

fn copy_tree(from: &Path, to: &Path, left_out: &[&str]) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap().flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        if left_out.contains(&name.as_str()) || name.starts_with("config-") || name.starts_with("_test") {
            continue;
        }
        if entry.path().is_dir() {
            copy_tree(&entry.path(), &to.join(&name), left_out);
        } else if entry.path().is_file() {
            forks::copy(&entry.path(), &to.join(&name));
        }
    }
}

/// Gives every library path in an ELF file that names the original prefix another text, relative to the file itself.
fn make_relative(tree: &Path, library: &Path) {
    let from = [b"\0", library.to_str().unwrap().as_bytes(), b"\0"].concat();
    let to = b"\0$ORIGIN/../lib\0";
    for entry in fs::read_dir(tree).unwrap().flatten() {
        let path = entry.path();
        if path.is_dir() {
            make_relative(&path, library);
            continue;
        }
        let mut bytes = fs::read(&path).unwrap();
        if !bytes.starts_with(b"\x7fELF") {
            continue;
        }
        let mut changed = false;
        while let Some(at) = bytes.windows(from.len()).position(|window| window == from) {
            assert!(to.len() <= from.len(), "no room for a relative library path in {}", path.display());
            bytes[at..at + from.len()].fill(0);
            bytes[at..at + to.len()].copy_from_slice(to);
            changed = true;
        }
        if changed {
            forks::write(&path, bytes);
        }
    }
}

/// The package, made once for all tests.
fn package() -> &'static Path {
    static PACKAGE: OnceLock<PathBuf> = OnceLock::new();
    PACKAGE.get_or_init(|| {
        let python = Python::find();
        let sandbox = Sandbox::new(Who::Caller);
        let tree = sandbox.work("python");
        python.copy(&tree);
        let compile = ["-I", "-m", "compileall", "-q", "-f", "-j", "2", "--invalidation-mode", "unchecked-hash"];
        Run::new(&sandbox, tree.join("bin/python3")).args(compile).arg(tree.join("lib")).any_stdout().run();
        let manifest = "[package]\nname = 'python'\nversion = '3'\n[run]\ncommand = ['{slot:python}/bin/python3', '-I']\n\
            [[slot]]\nid = 'python'\nsource = 'python'\n";
        sandbox.write("pspf.toml", manifest);
        let out = base().join("python.psp");
        // No warning: every .pyc file holds without its time.
        Run::pspf(&sandbox, ["pack", "--level", "1", "-o"]).arg(&out).any_stdout().run();
        out
    })
}

fn a_packed_cpython_needs_no_other(who: Who) {
    let package = package();
    let python = Python::find();
    let sandbox = Sandbox::new(who);
    let gone = python.out_of_reach();
    // The original does not run there; otherwise what follows proves nothing.
    let output =
        forks::output(&mut Run::new(&sandbox, &python.program).args(["-I", "-c", PROGRAM]).mounting(&gone).command());
    assert!(!output.status.success(), "the original prefix is still in reach");
    for _ in 0..2 {
        Run::new(&sandbox, package).args(["-c", PROGRAM]).mounting(&gone).stdout("ok\n").run();
    }
    let code = "import sys,ssl;print(sys.prefix);print(ssl.__file__);print(sys.argv[1:])";
    let ran = Run::new(&sandbox, package).args(["-c", code, "a b", "c"]).mounting(&gone).any_stdout().run();
    let slot = sandbox.slots()[0].clone();
    let lines: Vec<&str> = ran.stdout.lines().collect();
    assert_eq!(lines[0], slot.to_str().unwrap());
    assert!(lines[1].starts_with(lines[0]));
    assert_eq!(lines[2], "['a b', 'c']");
}

fn the_second_start_is_warm(who: Who) {
    let package = package();
    let sandbox = Sandbox::new(who);
    Run::new(&sandbox, package).args(["-c", PROGRAM]).stdout("ok\n").run();
    let trace = Trace::of(&sandbox, "all", Run::new(&sandbox, package).args(["-c", PROGRAM]).stdout("ok\n"));
    let launcher = trace.of_launcher();
    assert!(launcher.len() <= 25, "{} system calls:\n{}", launcher.len(), launcher.join("\n"));
    // Neither the launcher nor Python itself writes: every .pyc file is used as it is.
    let writes: Vec<_> = trace
        .calls
        .iter()
        .filter(|call| call.starts_with("mkdir") || call.starts_with("open") && call.contains("O_CREAT"))
        .collect();
    assert!(writes.is_empty(), "{writes:?}");
    let compiled =
        trace.calls.iter().filter(|call| call.contains("asyncio/__pycache__/") && !call.contains("= -1")).count();
    let sources = trace
        .calls
        .iter()
        .filter(|call| call.starts_with("openat") && call.contains("asyncio/base_events.py\""))
        .count();
    assert!(compiled > 0 && sources == 0, "{compiled} compiled files were used, {sources} sources were read");
}

as_both! {
    a_packed_cpython_needs_no_other
    the_second_start_is_warm
}

#[test]
fn compiled_files_that_are_checked_by_time_are_warned_of() {
    need("python3");
    let sandbox = Sandbox::new(Who::Caller);
    sandbox.write("tree/m.py", b"print('m')\n");
    sandbox.write_program("tree/tool", b"#!/bin/sh\n");
    let compile = |mode: &str| {
        let args = ["-m", "compileall", "-q", "-f", "--invalidation-mode", mode];
        let output = forks::output(Command::new("python3").args(args).arg(sandbox.work("tree")));
        assert!(output.status.success());
    };
    let pack = || Run::pspf(&sandbox, ["pack", "tree", "--exec", "tool", "-o", "out.psp"]).any_stdout();
    compile("timestamp");
    pack()
        .stderr_part("pspf: warning: ")
        .stderr_part("1 .pyc files are checked by time")
        .stderr_part("--invalidation-mode unchecked-hash")
        .run();
    compile("unchecked-hash");
    pack().run();
}
