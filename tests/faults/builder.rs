//! A packing that dies, is refused, or whose input changes: no output appears that is not whole.

use std::fs;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::Command;

use pspf_tests::{Run, Sandbox, Who, pspf};

use crate::sample;
use crate::tracer::{Call, Do, Driven, drive, name};

const OLD: &[u8] = b"an older output";

/// A directory to be packed, and its package as it should be.
struct Project {
    sandbox: Sandbox,
    whole: Vec<u8>,
}

impl Project {
    fn new() -> Self {
        let sandbox = Sandbox::new(Who::Stranger);
        sandbox.write_program("tree/tool", "#!/bin/sh\necho packed\n");
        sandbox.write("tree/data", pspf_tests::tree_files::noise(1, 400_000));
        sandbox.key(1);
        let project = Self { sandbox, whole: Vec::new() };
        let driven = project.pack(|_| Do::Go);
        assert!(driven.output.status.success(), "{}", String::from_utf8_lossy(&driven.output.stderr));
        Self { whole: fs::read(project.sandbox.work("t.psp")).unwrap(), ..project }
    }

    fn command(&self) -> Command {
        let args = ["pack", "tree", "--exec", "tool", "--key", "1.key", "-o", "t.psp"];
        // One thread, so that a number names the same moment each time.
        let run = Run::pspf(&self.sandbox, args).env("PSPF_BUILD_CACHE_SIZE", "0");
        run.under(["taskset", "-c", "0"]).command()
    }

    fn pack(&self, visit: impl FnMut(&Call) -> Do) -> Driven {
        drive(self.command(), pspf(), visit)
    }

    /// What is under the final name: nothing, what was there, or all of the package.
    #[track_caller]
    fn old_or_whole(&self, old: bool, told: &str) -> bool {
        match fs::read(self.sandbox.work("t.psp")) {
            Ok(found) if old && found == OLD => false,
            Err(_) if !old => false,
            Ok(found) => {
                assert!(found == self.whole, "{told}: an output that is not whole, {} bytes", found.len());
                true
            }
            Err(error) => panic!("{told}: the older output is gone: {error}"),
        }
    }

    fn begin(&self, old: bool) {
        for name in pspf_tests::sandbox::names(&self.sandbox.work("")) {
            if !["tree", "1.key", "1.pub"].contains(&name.as_str()) {
                pspf_tests::sandbox::remove_tree(&self.sandbox.work(name));
            }
        }
        if old {
            self.sandbox.write("t.psp", OLD);
        }
    }
}

/// F70: killed at any system call.
#[test]
fn f70_packing_is_killed_at_every_call() {
    let project = Project::new();
    let count = project.pack(|_| Do::Go).calls;
    for number in sample(count, 40) {
        let old = number % 2 == 0;
        project.begin(old);
        let mut call = String::new();
        let driven = project.pack(|now| {
            if now.number < number || now.result.is_some() {
                return Do::Go;
            }
            call = name(now.nr);
            Do::Kill
        });
        let told = format!("killed before call {number} of {count}, {call}");
        assert!(matches!(driven.output.status.signal(), Some(libc::SIGKILL) | None), "{told}");
        project.old_or_whole(old, &told);
        // Packing again works, whatever was left.
        let again = project.pack(|_| Do::Go);
        assert!(again.output.status.success(), "{told}: {}", String::from_utf8_lossy(&again.output.stderr));
        assert!(project.old_or_whole(old, &told), "{told}");
    }
}

/// Whether a call is about to write to a file in this directory, or to make one.
fn writes(now: &Call, here: &Path) -> bool {
    let on_file = || now.descriptor(0).starts_with(here) && now.descriptor(0).is_file();
    now.result.is_none()
        && match name(now.nr).as_str() {
            "write" | "pwrite64" | "ftruncate" | "fsync" | "fchmod" | "close" => on_file(),
            "openat" => now.args[2] & libc::O_CREAT as u64 != 0,
            "rename" | "renameat" | "renameat2" | "linkat" | "link" => true,
            _ => false,
        }
}

/// F71: a disk that is full or broken, at any moment of the writing: an error, and no output; or all is well.
#[test]
fn f71_packing_is_refused_by_the_disk() {
    let project = Project::new();
    let here = project.sandbox.work("");
    let mut points = 0;
    project.begin(false);
    project.pack(|now| {
        points += usize::from(writes(now, &here));
        Do::Go
    });
    assert!(points > 3, "only {points} calls write");
    for number in sample(points, 20) {
        for errno in [libc::ENOSPC, libc::EIO] {
            let old = number % 2 == 0;
            project.begin(old);
            let (mut met, mut call) = (0, String::new());
            let driven = project.pack(|now| {
                met += usize::from(writes(now, &here));
                if met != number || !writes(now, &here) {
                    return Do::Go;
                }
                call = name(now.nr);
                // Whatever it reports, the kernel closes the descriptor.
                if call == "close" { Do::Claim(-i64::from(errno)) } else { Do::fail(errno) }
            });
            let told = format!("error {errno} at write {number} of {points}, {call}");
            let said = String::from_utf8_lossy(&driven.output.stderr).into_owned();
            let appeared = project.old_or_whole(old, &told);
            match driven.output.status.code() {
                Some(0) => assert!(appeared, "{told}: {said}"),
                Some(123) => assert!(said.contains("pspf: error[IO]: "), "{told}: {said}"),
                _ => panic!("{told}: {} {said}", driven.output.status),
            }
        }
    }
}

/// F72: a file that is packed changes at any read of it: an error, or a package of one of its states.
#[test]
fn f72_an_input_changes_while_it_is_packed() {
    let project = Project::new();
    let data = project.sandbox.work("tree/data");
    let (one, two) = (fs::read(&data).unwrap(), pspf_tests::tree_files::noise(2, 400_000));
    let longer = [&one[..], b"and more"].concat();
    let mut refused = 0;
    for (told, other) in [("changed", &two[..]), ("grew", &longer), ("shrank", &one[..1000])] {
        for number in 1..40 {
            project.begin(false);
            fs::write(&data, &one).unwrap();
            let mut looks = 0;
            let driven = project.pack(|now| {
                let reads = matches!(name(now.nr).as_str(), "read" | "pread64" | "fstat" | "statx" | "close");
                if reads && now.result.is_none() && now.descriptor(0) == data {
                    looks += 1;
                    if looks == number {
                        fs::write(&data, other).unwrap();
                    }
                }
                Do::Go
            });
            if looks < number {
                break;
            }
            let said = String::from_utf8_lossy(&driven.output.stderr).into_owned();
            let told = format!("it {told} at look {number}");
            if driven.output.status.success() {
                pspf_tests::sandbox::remove_tree(&project.sandbox.work("to"));
                Run::pspf(&project.sandbox, ["extract", "t.psp", "-C", "to"]).any_stdout().run();
                let slot = &pspf_tests::sandbox::names(&project.sandbox.work("to"))[0];
                let packed = fs::read(project.sandbox.work("to").join(slot).join("data")).unwrap();
                assert!(packed == one || packed == other, "{told}: a mixture of {} bytes was packed", packed.len());
            } else {
                refused += 1;
                assert!(said.contains("pspf: error["), "{told}: {said}");
                assert!(!project.sandbox.work("t.psp").exists(), "{told}");
            }
        }
    }
    fs::write(&data, &one).unwrap();
    assert!(refused > 0, "no change was noticed");
}
