//! Disks, limits and places that are not as one expects.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use pspf_tests::{Run, Sandbox, Who, probe_package, snapshot};

use crate::subject::{Subject, rewrite};

/// Starts on a small disk; `None` where it worked. Where it did not, it is an error that says why, and nothing is left.
#[track_caller]
fn on_disk(subject: &Subject, options: &str) -> Option<String> {
    let cache = subject.sandbox.root().join("disk");
    let _ = fs::create_dir(&cache);
    let mount = format!("mount -t tmpfs -o {options},mode=1777 none '{}'", cache.display());
    let script =
        "\"$0\" || { code=$?; find \"$PSPF_CACHE_DIR\" -name '.tmp*' -o -type f -not -path '*/locks/*'; exit $code; }";
    let run = Run::new(&subject.sandbox, "sh").args(["-c", script]).arg(&subject.package).mounting(mount);
    let output = run.env("PSPF_CACHE_DIR", cache.join("cache")).spawn().wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    if output.status.success() {
        assert!(output.stdout == subject.said && said.is_empty(), "{options}: {said}");
        return None;
    }
    assert_eq!(output.status.code(), Some(123), "{options}: {said}");
    assert!(said.contains("pspf: error[IO]: "), "{options}: {said}");
    let said = said.replace(": No such file or directory", "");
    assert!(said.contains("No space left") || said.contains("needs"), "{options}: {said}");
    assert_eq!(String::from_utf8_lossy(&output.stdout), "", "{options}: nothing is left");
    Some(said)
}

/// Larger and larger disks: failures, of which some say what the slot needs, then successes.
fn growing(disks: impl Iterator<Item = String>) {
    let subject = Subject::with(Who::Stranger, 200_000);
    let said: Vec<_> = disks.map(|options| on_disk(&subject, &options)).collect();
    let worked: Vec<bool> = said.iter().map(Option::is_none).collect();
    assert!(worked.is_sorted() && !worked[0] && worked.ends_with(&[true]), "{worked:?}");
    assert!(said.iter().flatten().any(|said| said.contains(" needs ") && said.contains("are free")), "{said:?}");
}

/// F06: any amount of room that is too little is told, with what is needed.
#[test]
fn f06_a_disk_of_any_size() {
    let step = if crate::full() { 4 } else { 24 };
    growing((8..=300).step_by(step).map(|size| format!("size={size}k")));
}

/// F11: there is room, and no inode is left.
#[test]
fn f11_a_disk_with_any_number_of_inodes() {
    let step = if crate::full() { 1 } else { 4 };
    growing((2..=42).step_by(step).map(|inodes| format!("nr_inodes={inodes}")));
}

/// F07: files may not grow beyond any limit: an error, and never the signal that goes with it.
#[test]
fn f07_any_limit_on_the_size_of_files() {
    let subject = Subject::with(Who::Stranger, 200_000);
    let step = if crate::full() { 1 } else { 40 };
    let mut codes = Vec::new();
    for limit in (0..=440).step_by(step) {
        subject.forget();
        let script = format!("ulimit -f {limit}; exec \"$0\"");
        let run = Run::new(&subject.sandbox, "sh").args(["-c", &script]).arg(&subject.package);
        let output = run.spawn().wait_with_output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        subject.ran_whole_or_not(&output, &said);
        let code = output.status.code();
        // The message names the file that cannot grow.
        let told = said.contains("File too large") && !said.contains("``");
        assert!(code == Some(0) || code == Some(123) && told, "{limit}: {said}");
        subject.starts_again("a limit on the size of files");
        codes.push(code);
    }
    assert!(codes.contains(&Some(0)) && codes.contains(&Some(123)), "{codes:?}");
}

/// F12: a cache at the end of a path of any length that the system takes.
#[test]
fn f12_long_paths_to_the_cache() {
    let subject = Subject::new(Who::Stranger);
    for len in [300, 1500, 3000, 3900, 4080, 4200, 9000] {
        let mut place = subject.sandbox.home();
        while place.as_os_str().len() + 201 < len {
            place = place.join("p".repeat(200));
        }
        let run = subject.start().env("PSPF_CACHE_DIR", &place);
        let output = run.spawn().wait_with_output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        subject.ran_whole_or_not(&output, &said);
        let code = output.status.code();
        assert!(code == Some(0) || len > 3900 && code == Some(123), "{len}: {code:?} {said}");
    }
}

/// F41: somebody removed a part of the tree, or touched it: what is missing is found and replaced.
#[test]
fn f41_a_part_of_the_tree_is_removed() {
    let subject = Subject::new(Who::Stranger);
    let files: Vec<String> = subject.tree.keys().cloned().collect();
    for file in files {
        let path = subject.slot().join(&file);
        crate::subject::writable(&subject.slot());
        pspf_tests::sandbox::remove_tree(&path);
        crate::subject::read_only(&subject.slot());
        if !file.starts_with("bin/tool") && file != "bin" {
            // A start does not look; a person who asks does.
            let verify = Run::pspf(&subject.sandbox, ["cache", "verify"]).spawn().wait_with_output().unwrap();
            assert!(!verify.status.success(), "{file} is missing");
        }
        subject.starts_again(&format!("{file} was removed"));
    }
}

/// F41: times that are those of nothing.
#[test]
fn f41_times_of_files_mean_nothing() {
    let subject = Subject::new(Who::Stranger);
    let made = fs::metadata(subject.slot()).unwrap().ino();
    for time in ["@0", "@4102444800"] {
        let slot = subject.slot();
        Run::new(&subject.sandbox, "find").arg(&slot).args(["-exec", "touch", "-h", "-d", time, "{}", "+"]).run();
        subject.starts_again(time);
        assert_eq!(fs::metadata(subject.slot()).unwrap().ino(), made, "{time}: the same tree");
    }
}

/// F55: caches of older and newer launchers stand beside this one's, and none of them looks into another's.
#[test]
fn f55_caches_of_other_versions() {
    let subject = Subject::new(Who::Stranger);
    let above = subject.sandbox.home().join(".cache/pspf");
    for version in ["v0", "v2"] {
        fs::rename(above.join("v1"), above.join(version)).unwrap();
        rewrite(
            &above.join(version).join("slots").join(slot_name(&above.join(version))).join("bin/tool"),
            b"#!/bin/sh\necho evil\n",
        );
        let before = snapshot(&above.join(version));
        subject.starts_again(version);
        assert_eq!(snapshot(&above.join(version)), before);
    }
}

fn slot_name(cache: &Path) -> String {
    let names = pspf_tests::sandbox::names(&cache.join("slots"));
    names.into_iter().find(|name| name.len() == 64).unwrap()
}

/// F52: what the application's output goes to is its own business: a device that is always full.
#[test]
fn f52_output_to_a_full_device() {
    let sandbox = Sandbox::new(Who::Caller);
    let program = sandbox.write_program("echo", "#!/bin/sh\necho text || exit 33\n");
    Run::pspf(&sandbox, ["pack", "echo", "-o", "t.psp"]).any_stdout().run();
    for program in [&program, &sandbox.work("t.psp"), &sandbox.work("t.psp")] {
        let run = Run::new(&sandbox, "sh").args(["-c", "exec \"$0\" > /dev/full"]).arg(program);
        run.status(33).stderr_part("echo: ").run();
    }
}

/// F54: the first process of a container has the application's signals, and no parent that would pass them on.
#[test]
fn f54_the_first_process_of_a_container() {
    use std::io::{BufRead, BufReader};
    let sandbox = Sandbox::new(Who::Caller);
    let rights: &[&str] = if rustix::process::geteuid().is_root() { &[] } else { &["-Ur"] };
    let words = ["unshare", "--pid", "--fork"].iter().chain(rights);
    let mut child = Run::new(&sandbox, &probe_package().file).arg("wait").under(words).spawn();
    let mut out = BufReader::new(child.stdout.take().unwrap());
    let mut line = String::new();
    out.read_line(&mut line).unwrap();
    let children = fs::read_to_string(format!("/proc/{0}/task/{0}/children", child.id())).unwrap();
    let inner = rustix::process::Pid::from_raw(children.trim().parse().unwrap()).unwrap();
    rustix::process::kill_process(inner, rustix::process::Signal::TERM).unwrap();
    out.read_line(&mut line).unwrap();
    assert_eq!((line.as_str(), child.wait().unwrap().code()), ("ready\nsignal 15\n", Some(55)));
}

/// F54: everything is read-only but one directory in memory.
#[test]
fn f54_a_read_only_container() {
    let subject = Subject::new(Who::Stranger);
    let memory = subject.sandbox.root().join("tmp");
    let script = format!(
        "mount -t tmpfs -o mode=1777 none '{0}'\nmount --bind '{1}' '{1}'\nmount -o remount,bind,ro '{1}'",
        memory.display(),
        subject.sandbox.home().display()
    );
    subject.forget();
    let run = subject.start().without("PSPF_CACHE_DIR").mounting(script).any_stdout();
    assert!(run.run().stdout.as_bytes() == subject.said);
    assert!(!subject.sandbox.home().join(".cache").exists());
}
