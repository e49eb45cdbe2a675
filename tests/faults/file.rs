//! A package file that changes, is cut, or is started in odd ways.

use std::fs;
use std::path::{Path, PathBuf};

use pspf_tests::{Run, Sandbox, Who, need, probe_package, pspf, snapshot};

use crate::sample;
use crate::subject::Subject;
use crate::tracer::{Do, drive, name};

/// F30: the file becomes shorter before any read of it: that is damage like any other, and no signal.
#[test]
fn f30_cut_short_before_any_read() {
    let subject = Subject::with(Who::Caller, 20 << 20);
    let whole = fs::read(&subject.package).unwrap();
    for command in ["extract", "verify", "run"] {
        let args: &[&str] = match command {
            "extract" => &["extract", "t.psp", "-C", "to"],
            "verify" => &["verify", "--deep", "t.psp"],
            _ => &["run", "t.psp"],
        };
        for number in 1..20 {
            subject.forget();
            pspf_tests::sandbox::remove_tree(&subject.sandbox.work("to"));
            let mut reads = 0;
            let driven = drive(Run::pspf(&subject.sandbox, args).command(), pspf(), |now| {
                if name(now.nr) == "pread64" && now.result.is_none() && now.descriptor(0) == subject.package {
                    reads += 1;
                    if reads == number {
                        let file = fs::File::options().write(true).open(&subject.package).unwrap();
                        file.set_len([0, 3 << 10, whole.len() as u64 / 2, whole.len() as u64 - 1][number % 4]).unwrap();
                    }
                }
                Do::Go
            });
            pspf_tests::forks::write(&subject.package, &whole);
            let told = format!("{command}, before read {number}");
            let said =
                [driven.output.stdout, driven.output.stderr].map(|text| String::from_utf8_lossy(&text).into_owned());
            let said = said.concat();
            if reads < number {
                break;
            }
            match driven.output.status.code() {
                // All that was cut had been read before.
                Some(0) => {}
                Some(2) if command == "verify" => assert!(!said.contains("error[INT"), "{told}: {said}"),
                Some(1 | 121) => assert!(said.contains("shorter"), "{told}: {said}"),
                code => panic!("{told}: {code:?} {} {said}", driven.output.status),
            }
            let extracted = snapshot(&subject.sandbox.work("to"));
            let complete = subject.tree.len() + 1;
            assert!(extracted.is_empty() || extracted.len() == complete, "{told}: {extracted:?}");
            subject.only_whole_slots(&told);
        }
    }
}

/// F31: the file is removed, or replaced by another package, at any moment of a start: the start goes on with what it
/// opened, and the next one takes the new file.
#[test]
fn f31_replaced_at_any_moment() {
    let subject = Subject::new(Who::Stranger);
    let whole = fs::read(&subject.package).unwrap();
    subject.sandbox.write_program("other", "#!/bin/sh\necho other\n");
    Run::pspf(&subject.sandbox, ["pack", "other", "-o", "other.psp"]).any_stdout().run();
    subject.forget();
    let count = subject.drive(|_| Do::Go).calls;
    for number in sample(count, 30) {
        subject.forget();
        let next = subject.sandbox.copy(&subject.sandbox.work("other.psp"), "next.psp");
        let driven = subject.drive(|now| {
            if now.number == number && now.result.is_none() {
                match number % 2 {
                    0 => fs::rename(&next, &subject.package).unwrap(),
                    _ => fs::remove_file(&subject.package).unwrap(),
                }
            }
            Do::Go
        });
        let said = String::from_utf8_lossy(&driven.output.stderr).into_owned();
        assert!(driven.output.status.success() && driven.output.stdout == subject.said, "call {number}: {said}");
        if number % 2 == 0 {
            Run::new(&subject.sandbox, &subject.package).stdout("other\n").run();
        }
        let _ = fs::remove_file(&subject.package);
        subject.sandbox.write_program("t.psp", &whole);
    }
}

/// F34: started from memory, by a descriptor, and as the argument of the loader of dynamic programs.
#[test]
fn f34_started_in_odd_ways() {
    need("python3");
    let sandbox = Sandbox::new(Who::Caller);
    let package = &probe_package().file;
    let script = "import os, sys
fd = os.memfd_create('x', 0)
os.write(fd, open(sys.argv[1], 'rb').read())
os.execv(f'/proc/self/fd/{fd}', ['x', 'exit', '7'])";
    for _ in 0..2 {
        Run::new(&sandbox, "python3").args(["-c", script]).arg(package).status(7).run();
    }
    let by_descriptor = "exec 3<\"$0\"; exec /dev/fd/3 exit 7";
    Run::new(&sandbox, "sh").args(["-c", by_descriptor]).arg(package).status(7).run();
    let loaders = ["/lib64/ld-linux-x86-64.so.2", "/lib/ld-linux-aarch64.so.1"];
    match loaders.iter().find(|loader| Path::new(loader).exists()) {
        Some(loader) => {
            // The loader executes a static program itself, or refuses it, or the launcher sees the loader's file.
            let run = Run::new(&sandbox, loader).arg(package).arg("mark").arg(sandbox.work("marked"));
            let output = run.spawn().wait_with_output().unwrap();
            assert_eq!(output.status.success(), sandbox.work("marked").exists(), "{}", output.status);
        }
        None => crate::not_run(&format!("started by a loader: this machine has none of {loaders:?}")),
    }
    crate::not_run("started by qemu-user or binfmt_misc, which change the settings of the kernel");
}

/// F35: tools that rewrite programs drop the payload, or leave it in the middle: the file says so.
#[test]
fn f35_rewritten_by_tools() {
    let sandbox = Sandbox::new(Who::Caller);
    let whole = fs::read(&probe_package().file).unwrap();
    need("strip");
    need("objcopy");
    for (tool, args) in [("strip", &[][..]), ("objcopy", &[]), ("upx", &["-q"])] {
        let paths = std::env::var_os("PATH").unwrap_or_default();
        if !std::env::split_paths(&paths).any(|folder| folder.join(tool).exists()) {
            crate::not_run(&format!("rewritten by {tool}, which is not installed"));
            continue;
        }
        let package = sandbox.write_program(tool, &whole);
        Run::new(&sandbox, tool).args(args).arg(&package).spawn().wait_with_output().unwrap();
        assert!(fs::read(&package).unwrap() != whole, "{tool} changes nothing");
        Run::new(&sandbox, &package).arg("mark").arg(sandbox.work("marked")).fails("FORMAT").run();
        assert!(!sandbox.work("marked").exists());
    }
    let signed = sandbox.write_program("signed", [&whole[..], &[0x5a; 700]].concat());
    Run::new(&sandbox, &signed).fails("FORMAT").run();
}

/// F36: a download that ended early, or was taken for text.
#[test]
fn f36_cut_or_taken_for_text() {
    let sandbox = Sandbox::new(Who::Caller);
    let whole = fs::read(&probe_package().file).unwrap();
    let key = probe_package().key.clone();
    let verify = |name: PathBuf, class: &str| {
        let run = Run::pspf(&sandbox, ["verify", "--key"]).arg(&key).arg(name).status(1);
        run.stdout_part(format!("bad [{class}")).run();
    };
    for tenth in 0..10 {
        let package = sandbox.write_program("cut.psp", &whole[..whole.len() * tenth / 10]);
        verify(package.clone(), "FORMAT]");
        // Less than a launcher is no program that could say anything.
        if whole.len() * tenth / 10 > pspf_tests::stub().len() {
            Run::new(&sandbox, &package).arg("mark").fails("FORMAT").run();
        }
    }
    let mut text = Vec::new();
    for &byte in &whole {
        text.extend_from_slice(if byte == b'\n' { b"\r\n" } else { std::slice::from_ref(&byte) });
    }
    // Which part of it is found wrong first depends on where its bytes happen to be line feeds.
    verify(sandbox.write_program("text.psp", text), "");
}
