//! Many at once: starts, the dead among them, one that stops for ever, and those who tidy up.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::process::Output;

use pspf_tests::{Run, Who};

use crate::sample;
use crate::subject::{Subject, is_slot};
use crate::tracer::{Call, Do, Driven, name};

/// Runs `f` while a traced program is held: on a thread of its own, which traces for itself.
fn meanwhile<T: Send>(f: impl FnOnce() -> T + Send) -> T {
    std::thread::scope(|scope| scope.spawn(f).join().expect("it ends well"))
}

#[track_caller]
fn whole(subject: &Subject, output: &Output, told: &str) {
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && output.stdout == subject.said, "{told}: {} {said}", output.status);
}

/// Whether the slot is about to get its final name.
fn commits(call: &Call) -> bool {
    call.nr == libc::SYS_renameat && call.result.is_none() && is_slot(&call.path(Some(2), 3))
}

/// F20: two hundred first starts at once on a disk with room for one copy and a fifth: one of them extracts.
#[test]
fn f20_two_hundred_first_starts_at_once() {
    let subject = Subject::with(Who::Stranger, 3 << 20);
    let cache = subject.sandbox.root().join("disk");
    fs::create_dir(&cache).unwrap();
    let disk = format!("mount -t tmpfs -o size=3600k,mode=1777 none '{}'", cache.display());
    let script = "for i in $(seq 200); do \"$0\" quick & done; wait";
    let run = Run::new(&subject.sandbox, "sh").args(["-c", script]).arg(&subject.package).mounting(disk);
    run.env("PSPF_CACHE_DIR", cache.join("cache")).stdout("quick\n".repeat(200)).run();
}

/// F21: half of them die at some moment; the others start, and so does the next one.
#[test]
fn f21_half_of_them_die() {
    let subject = Subject::with(Who::Stranger, 20 << 20);
    for round in 0..3 {
        subject.forget();
        let start = || Run::new(&subject.sandbox, &subject.package).arg("quick").spawn();
        let mut children: Vec<_> = (0..30).map(|_| start()).collect();
        for (number, child) in children.iter_mut().enumerate().filter(|(number, _)| (number + round) % 2 == 0) {
            std::thread::sleep(std::time::Duration::from_micros((number * 977 + round * 1300) as u64 % 4000));
            child.kill().unwrap();
        }
        for (number, child) in children.into_iter().enumerate() {
            let output = child.wait_with_output().unwrap();
            if (number + round) % 2 == 1 {
                let said = String::from_utf8_lossy(&output.stderr).into_owned();
                assert_eq!((&output.stdout[..], said.as_str()), (&b"quick\n"[..], ""), "start {number}");
            }
        }
        subject.only_whole_slots("half of them died");
        pspf_tests::sandbox::remove_tree(&subject.sandbox.cache().join("receipts"));
        subject.starts_again("half of them died");
    }
}

/// F22: whoever extracts is stopped for ever. A start waits half a minute, then does the work itself; the other one, when
/// it goes on at last, takes what is there.
#[test]
fn f22_w25_the_holder_of_the_lock_stops() {
    let subject = Subject::new(Who::Stranger);
    subject.forget();
    let mut waited = None;
    let stopped = subject.drive(|now| {
        if waited.is_none() && name(now.nr) == "pwrite64" {
            waited = Some(meanwhile(|| later(&subject)));
        }
        Do::Go
    });
    let waited = waited.expect("the first one writes");
    whole(&subject, &waited.output, "the one that waited");
    whole(&subject, &stopped.output, "the one that was stopped");
    subject.starts_again("both went on");
}

/// A start for which half a minute passes between two looks at the clock.
fn later(subject: &Subject) -> Driven {
    let mut looks = 0;
    subject.drive(|now| {
        if now.nr == libc::SYS_clock_gettime && now.args[0] == libc::CLOCK_MONOTONIC as u64 && now.result.is_some() {
            looks += 1;
            add_seconds(now, if looks > 3 { 31 } else { 0 });
        }
        Do::Go
    })
}

/// Changes what a look at the clock has found.
fn add_seconds(call: &Call, seconds: i64) {
    let found = i64::from_ne_bytes(call.bytes(call.args[1], 8).try_into().unwrap());
    call.put(call.args[1], &(found + seconds).to_ne_bytes());
}

/// F40: the time of day decides nothing: a clock at 1970, at 2100, or one that goes back with every look.
#[test]
fn f40_any_time_of_day() {
    let subject = Subject::new(Who::Stranger);
    type Clock = fn(i64, i64) -> i64;
    let clocks: [(&str, Clock); 3] =
        [("1970", |_, look| look), ("2100", |_, look| 4_102_444_800 + look), ("back", |now, look| now - look * 7200)];
    for (told, clock) in clocks {
        subject.forget();
        let mut looks = 0;
        for round in ["first", "second"] {
            let driven = subject.drive(|now| {
                if now.nr == libc::SYS_clock_gettime
                    && now.args[0] == libc::CLOCK_REALTIME as u64
                    && now.result.is_some()
                {
                    looks += 1;
                    let found = i64::from_ne_bytes(now.bytes(now.args[1], 8).try_into().unwrap());
                    now.put(now.args[1], &clock(found, looks).to_ne_bytes());
                }
                Do::Go
            });
            whole(&subject, &driven.output, &format!("{told}, {round}"));
            assert!(round == "first" || driven.calls < 30, "{told}: the second start is warm");
        }
        if looks == 0 {
            crate::not_run("a changed time of day: this launcher reads the clock without a system call");
        }
    }
}

/// F16: locking hangs: the others do not.
#[test]
fn f16_a_lock_that_hangs() {
    let subject = Subject::new(Who::Stranger);
    for which in 1..=2 {
        subject.forget();
        let (mut number, mut others) = (0, Vec::new());
        let hung = subject.drive(|now| {
            if name(now.nr) == "flock" && now.result.is_none() {
                number += 1;
                if number == which {
                    others.push(meanwhile(|| later(&subject)));
                }
            }
            Do::Go
        });
        whole(&subject, &hung.output, &format!("hung at lock {which}"));
        others
            .iter()
            .for_each(|other| whole(&subject, &other.output, &format!("beside one that hung at lock {which}")));
        assert_eq!(others.len(), 1);
        subject.starts_again("locks that hang");
    }
}

/// F17: another start commits first, without a lock that both have: the second one takes what is there.
#[test]
fn f17_another_commits_first() {
    let subject = Subject::new(Who::Stranger);
    subject.forget();
    let mut winner = None;
    let second = subject.drive(|now| {
        if commits(now) {
            pspf_tests::sandbox::remove_tree(&subject.sandbox.cache().join("locks"));
            winner = Some(meanwhile(|| subject.drive(|_| Do::Go)));
        }
        Do::Go
    });
    let made = fs::metadata(subject.slot()).unwrap().ino();
    whole(&subject, &winner.expect("the slot gets its name").output, "the first");
    whole(&subject, &second.output, "the second");
    subject.starts_again("two that commit");
    assert_eq!(fs::metadata(subject.slot()).unwrap().ino(), made);
}

/// F17: the rename that commits is refused.
#[test]
fn f17_a_rename_that_is_refused() {
    let subject = Subject::new(Who::Stranger);
    for errno in [libc::EEXIST, libc::ENOTEMPTY, libc::EXDEV, libc::EPERM, libc::EROFS] {
        subject.forget();
        let driven = subject.drive(|now| if commits(now) { Do::fail(errno) } else { Do::Go });
        let said = String::from_utf8_lossy(&driven.output.stderr).into_owned();
        assert_eq!(driven.output.status.code(), Some(123), "{errno}: {said}");
        assert!(said.starts_with("pspf: error[IO]: ") && driven.output.stdout.is_empty(), "{errno}: {said}");
        assert_eq!(subject.leftovers(), [""; 0], "{errno}");
        subject.starts_again("a rename that was refused");
    }
}

/// F17: the program is open for writing somewhere, for a moment or for good.
#[test]
fn f17_a_program_that_is_being_written() {
    let subject = Subject::new(Who::Stranger);
    for (times, code) in [(3, 0), (usize::MAX, 126)] {
        let mut tries = 0;
        let driven = subject.drive(|now| {
            let tried = now.nr == libc::SYS_execve && now.result.is_none();
            tries += usize::from(tried);
            if tried && tries <= times { Do::fail(libc::ETXTBSY) } else { Do::Go }
        });
        let said = String::from_utf8_lossy(&driven.output.stderr).into_owned();
        assert_eq!(driven.output.status.code(), Some(code), "{said}");
        assert!(tries <= 20 && (code == 0 || said.starts_with("pspf: error[EXEC]: ")), "{tries} tries: {said}");
    }
}

/// F23: somebody empties the cache at any moment of a start, by hand and although it is in use.
#[test]
fn f23_the_cache_is_emptied_during_a_start() {
    let subject = Subject::new(Who::Stranger);
    for (state, wanted) in [("warm", 30), ("cold", 25)] {
        let prepare = || if state == "cold" { subject.forget() } else { subject.starts_again("nothing") };
        prepare();
        let count = subject.drive(|_| Do::Go).calls;
        for number in sample(count, wanted) {
            prepare();
            let driven = subject.drive(|now| {
                if now.number == number && now.result.is_none() {
                    let prune = Run::pspf(&subject.sandbox, ["cache", "prune", "--now"]).any_stdout().any_stderr();
                    meanwhile(|| prune.run());
                }
                Do::Go
            });
            whole(&subject, &driven.output, &format!("emptied before call {number} of a {state} start"));
            subject.starts_again("an emptied cache");
        }
    }
}
