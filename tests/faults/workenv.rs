//! Work environments: what others do between two steps of one start.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Output;
use std::time::Duration;

use pspf_tests::sandbox::names;
use pspf_tests::{Run, Who};

use crate::tracer::{Call, Do, drive, name};
use crate::unsealed::{SAID, Subject};

/// The only entry of the folder that is such a one.
fn find(env: &Path, is: impl Fn(&Path) -> bool) -> PathBuf {
    let mut found = names(env).into_iter().map(|name| env.join(name)).filter(|path| is(path));
    let first = found.next().expect("there is one");
    assert_eq!(found.next(), None);
    first
}

fn ends(end: &'static str) -> impl Fn(&Path) -> bool {
    move |path| path.extension().is_some_and(|found| found == end)
}

/// Whether a file that this is true of is about to be locked.
fn locks(call: &Call, is: impl Fn(&Path) -> bool) -> bool {
    call.nr == libc::SYS_flock && call.result.is_none() && is(&call.descriptor(0))
}

/// One start, in which something is done when it is about to lock such a file for the first time.
#[track_caller]
fn disturbed(subject: &Subject, is: impl Fn(&Path) -> bool, mut act: impl FnMut(&Path)) -> Output {
    let mut met = false;
    let driven = drive(subject.start().command(), &subject.package, |call| {
        if !met && locks(call, &is) {
            met = true;
            act(&call.descriptor(0));
        }
        Do::Go
    });
    assert!(met, "it locks nothing of this kind");
    driven.output
}

#[track_caller]
fn started(output: &Output, told: &str) {
    let said = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert_eq!((said.0.as_ref(), said.1.as_ref()), (SAID, ""), "{told}");
}

/// Where the directory that a record names goes, or the record, before the start has locked what it found, it sets up
/// anew.
#[test]
fn what_was_found_is_looked_at_again_under_the_lock() {
    let subject = Subject::new(Who::Caller);
    let env = subject.sandbox.cache().join("env");
    for part in ["directory", "record"] {
        subject.forget();
        subject.starts_again("nothing");
        let (workenv, record) = (find(&env, Path::is_dir), find(&env, ends("ok")));
        let output = disturbed(
            &subject,
            |path| path == workenv,
            |_| match part {
                "record" => fs::remove_file(&record).unwrap(),
                _ => fs::rename(&workenv, workenv.with_extension("away")).unwrap(),
            },
        );
        started(&output, part);
        subject.starts_again(part);
        assert_ne!(find(&env, Path::is_dir), workenv, "{part}");
        assert_eq!(fs::read_to_string(subject.sandbox.work("count")).unwrap(), "x\nx\n", "{part}");
    }
}

/// A lock whose file went away with a removal keeps nobody out.
#[test]
fn a_lock_that_was_removed_is_made_anew() {
    let subject = Subject::new(Who::Caller);
    let env = subject.sandbox.cache().join("env");
    subject.forget();
    let output = disturbed(&subject, ends("lock"), |lock| fs::remove_file(lock).unwrap());
    started(&output, "a removal");
    // There is another one, which whoever comes next finds.
    assert!(find(&env, ends("lock")).is_file());
    subject.starts_again("a removal");
}

/// A new directory that somebody reclaims in the moment before it is locked is left to him.
#[test]
fn a_directory_that_somebody_reclaims_is_no_place() {
    let subject = Subject::new(Who::Caller);
    let env = subject.sandbox.cache().join("env");
    let is_new = |path: &Path| path.parent() == Some(&env) && path.is_dir();
    for way in ["he holds it", "it is gone"] {
        subject.forget();
        let mut taken = None;
        let output = disturbed(&subject, is_new, |path| {
            taken = Some(path.to_owned());
            if way == "it is gone" {
                fs::remove_dir(path).unwrap();
                return;
            }
            let lock = File::open(path).unwrap();
            lock.lock().unwrap();
            // Longer than the start needs, and not for ever where it waits for that.
            std::thread::spawn(move || {
                std::thread::sleep(Duration::from_secs(5));
                drop(lock);
            });
        });
        started(&output, way);
        let path = taken.unwrap();
        let record = fs::read_to_string(find(&env, ends("ok"))).unwrap();
        assert!(!record.contains(path.file_name().unwrap().to_str().unwrap()), "{way}: {record}");
    }
}

/// Who waits for another start waits ten minutes, and no longer. They pass in no time here.
#[test]
fn f40_a_start_waits_ten_minutes_for_another() {
    let subject = Subject::new(Who::Caller);
    let env = subject.sandbox.cache().join("env");
    subject.forget();
    subject.starts_again("nothing");
    fs::remove_file(find(&env, ends("ok"))).unwrap();
    let path = find(&env, ends("lock"));
    let lock = File::options().write(true).open(&path).unwrap();
    lock.lock().unwrap();
    let (mut waited, mut said) = (Duration::ZERO, 0);
    let driven = drive(subject.start().command(), &subject.package, |call| {
        let time = match call.nr {
            libc::SYS_clock_nanosleep => call.args[2],
            libc::SYS_nanosleep => call.args[0],
            libc::SYS_write | libc::SYS_writev => {
                // Nobody reads it yet.
                said += 1;
                return if said > 100 { Do::Kill } else { Do::Go };
            }
            _ => return Do::Go,
        };
        if call.result.is_none() {
            let time = call.bytes(time, 16);
            let number = |at: usize| u64::from_ne_bytes(time[at..at + 8].try_into().unwrap());
            waited += Duration::from_secs(number(0)) + Duration::from_nanos(number(8));
        }
        if waited > Duration::from_secs(1000) { Do::Kill } else { Do::Return(0) }
    });
    assert_eq!(waited, Duration::from_secs(600));
    let said = String::from_utf8_lossy(&driven.output.stderr);
    let lines: Vec<&str> = said.lines().collect();
    let path = path.display();
    assert_eq!(lines[0], format!("pspf: another start sets this package up; waiting for it (`{path}`)"));
    assert!(
        lines[1].starts_with(&format!(
            "pspf: error[IO]: waiting for another start, which sets this package up and holds `{path}`: "
        )),
        "{said}"
    );
    assert_eq!((driven.output.status.code(), driven.output.stdout.len()), (Some(123), 0));
}

/// What is in use is not even touched, and what somebody takes into use at the last moment is put back.
#[test]
fn a_removal_gives_way_to_whoever_comes_in_between() {
    let subject = Subject::new(Who::Caller);
    subject.forget();
    subject.starts_again("nothing");
    let env = subject.sandbox.cache().join("env");
    let (workenv, record) = (find(&env, Path::is_dir), find(&env, ends("ok")));
    let noted = |days: u64| {
        let then = std::time::SystemTime::now() - Duration::from_secs(days * 24 * 3600);
        File::options().write(true).open(&record).unwrap().set_modified(then).unwrap();
    };
    let sleep = || Run::new(&subject.sandbox, "/bin/sleep").arg("60");
    let moves = |when: &mut dyn FnMut()| {
        let mut moves = 0;
        let prune = Run::pspf(&subject.sandbox, ["cache", "prune"]);
        let driven = drive(prune.command(), pspf_tests::pspf(), |call| {
            if call.result == Some(0) && name(call.nr).starts_with("rename") {
                moves += 1;
                if moves == 1 {
                    when();
                }
            }
            Do::Go
        });
        let said = String::from_utf8_lossy(&driven.output.stdout).into_owned();
        (moves, said.contains("kept 1 work environment"))
    };
    for way in ["in use", "as its directory", "in a variable"] {
        noted(40);
        let mut user = None;
        if way == "in use" {
            user = Some(sleep().cwd(&workenv).spawn());
        }
        let found = moves(&mut || match way {
            "as its directory" => user = Some(sleep().cwd(workenv.with_extension("removed")).spawn()),
            _ => user = Some(sleep().env("HERE", workenv.join("tool")).spawn()),
        });
        assert_eq!(found, (if way == "in use" { 0 } else { 2 }, true), "{way}");
        if let Some(mut user) = user {
            user.kill().unwrap();
            user.wait().unwrap();
        }
        assert!(workenv.join("tool").exists(), "{way}");
    }
    noted(40);
    assert_eq!(moves(&mut || ()), (1, false));
    assert!(!workenv.exists() && !record.exists());
}
