//! Where the cache is (SPEC §10.1), and what makes a place unusable.

use std::fs;
use std::io::{BufRead, BufReader};
use std::os::unix::fs::{PermissionsExt, chown, lchown, symlink};
use std::path::{Path, PathBuf};

use pspf_tests::sandbox::names;
use pspf_tests::snapshot::leftovers;
use pspf_tests::{Run, Sandbox, Who, probe_package, snapshot};

use crate::as_both;

/// Somebody who is neither root nor the sandbox's user.
const FOREIGN: u32 = 4343;

/// A start that finds its cache by itself. Nobody has an entry in the user database there, unless `passwd` is one.
fn start<'s>(sandbox: &'s Sandbox, passwd: &str, mounts: &str) -> Run<'s> {
    let database = sandbox.write("passwd", passwd);
    let script = format!("mount --bind '{}' /etc/passwd\n{mounts}", database.display());
    Run::new(sandbox, &probe_package().file).args(["exit", "5"]).status(5).without("PSPF_CACHE_DIR").mounting(script)
}

fn euid(sandbox: &Sandbox) -> u32 {
    let rooted = rustix::process::geteuid().is_root();
    // Without root's rights the tests run in a user namespace, where the caller is root.
    if rooted && sandbox.who() == Who::Stranger { pspf_tests::sandbox::STRANGER } else { 0 }
}

/// A directory of the sandbox's user.
fn directory(sandbox: &Sandbox, name: &str) -> PathBuf {
    let path = sandbox.work(name);
    fs::create_dir(&path).unwrap();
    sandbox.give(&path);
    path
}

/// Which of these got the cache.
fn found(places: &[PathBuf]) -> Vec<&PathBuf> {
    places.iter().filter(|place| place.join("v1/receipts").exists()).collect()
}

fn f15_candidates_in_their_order(who: Who) {
    for first in 0..5 {
        let sandbox = Sandbox::new(who);
        let [explicit, xdg, home, passwd] =
            ["explicit", "xdg", "home", "passwd-home"].map(|name| directory(&sandbox, name));
        let id = euid(&sandbox);
        let places = [
            explicit.clone(),
            xdg.join("pspf"),
            home.join(".cache/pspf"),
            passwd.join(".cache/pspf"),
            sandbox.root().join(format!("tmp/pspf-{id}")),
        ];
        let entry =
            if first <= 3 { format!("somebody:x:{id}:{id}::{}:/bin/sh\n", passwd.display()) } else { String::new() };
        let mut run = start(&sandbox, &entry, "");
        for (position, (name, value)) in
            [("PSPF_CACHE_DIR", &explicit), ("XDG_CACHE_HOME", &xdg), ("HOME", &home)].iter().enumerate()
        {
            run = if position >= first { run.env(name, value) } else { run.env(name, "") };
        }
        // PSPF_CACHE_DIR is removed by `start`; an empty value counts as none.
        let run = if first == 0 { run.under(["env", &format!("PSPF_CACHE_DIR={}", explicit.display())]) } else { run };
        run.run();
        assert_eq!(found(&places), [&places[first]], "candidate {first}");
    }
}

fn f15_relative_and_missing_places_are_passed_over(who: Who) {
    for (xdg, home) in [("relative", "also/relative"), ("", "."), ("./x", "/nonexistent/home/of/nobody")] {
        let sandbox = Sandbox::new(who);
        // Root could make `/nonexistent`.
        let home = if home.starts_with('/') { "/proc/nonexistent" } else { home };
        start(&sandbox, "", "").env("XDG_CACHE_HOME", xdg).env("HOME", home).run();
        assert_eq!(names(&sandbox.root().join("tmp")), [format!("pspf-{}", euid(&sandbox))]);
        assert!(!sandbox.work("relative").exists() && !sandbox.work("also").exists() && !sandbox.work("x").exists());
    }
    let sandbox = Sandbox::new(who);
    start(&sandbox, "", "").without("HOME").run();
    let last = sandbox.root().join(format!("tmp/pspf-{}", euid(&sandbox)));
    assert_eq!(fs::metadata(last).unwrap().permissions().mode() & 0o7777, 0o700);
}

/// A named place that cannot be used is an error, whatever other places there are.
#[track_caller]
fn refused(sandbox: &Sandbox, place: &Path, reason: &str) {
    let before = leftovers(place);
    let run = Run::new(sandbox, &probe_package().file).args(["mark", "marker"]).env("PSPF_CACHE_DIR", place);
    run.fails("IO").stderr_part(place.to_str().unwrap()).stderr_part(reason).run();
    assert_eq!(leftovers(place), before);
    assert!(
        snapshot(&sandbox.home()).is_empty() && names(&sandbox.root().join("tmp")).is_empty(),
        "another place was used"
    );
    assert!(!sandbox.work("marker").exists());
}

fn a41_a_named_place_that_cannot_be_used_is_an_error(who: Who) {
    let sandbox = Sandbox::new(who);
    refused(&sandbox, &sandbox.write("a-file", b"x"), "Not a directory");
    refused(&sandbox, Path::new("relative/place"), "not an absolute path");
    let shared = directory(&sandbox, "shared");
    for mode in [0o777, 0o775, 0o757] {
        fs::set_permissions(&shared, fs::Permissions::from_mode(mode)).unwrap();
        refused(&sandbox, &shared, "written by others");
        // Below it too, whatever is in between.
        refused(&sandbox, &shared.join("mine"), "written by others");
    }
    let cache = directory(&sandbox, "cache");
    let version = directory(&sandbox, "cache/v1");
    for mode in [0o777, 0o770, 0o707, 0o1777] {
        fs::set_permissions(&version, fs::Permissions::from_mode(mode)).unwrap();
        refused(&sandbox, &cache, "written by others");
    }
    if who == Who::Stranger {
        let closed = directory(&sandbox, "closed");
        fs::set_permissions(&closed, fs::Permissions::from_mode(0o555)).unwrap();
        refused(&sandbox, &closed, "ermission denied");
        refused(&sandbox, Path::new("/pspf-tests-nobody-may-write-here"), "ermission denied");
    }
}

/// Needs root's rights: files of another user.
fn a41_what_belongs_to_somebody_else_is_not_used(who: Who) {
    assert!(rustix::process::geteuid().is_root(), "this test gives files to another user: run it as root");
    let sandbox = Sandbox::new(who);
    let foreign = directory(&sandbox, "foreign");
    chown(&foreign, Some(FOREIGN), Some(FOREIGN)).unwrap();
    refused(&sandbox, &foreign, "belongs to uid 4343");
    refused(&sandbox, &foreign.join("below"), "belongs to uid 4343");
    let cache = directory(&sandbox, "cache");
    let version = directory(&sandbox, "cache/v1");
    chown(&version, Some(FOREIGN), Some(FOREIGN)).unwrap();
    refused(&sandbox, &cache, "belongs to uid 4343");
    // Nor is a cache that was ours and is warm.
    let warm = directory(&sandbox, "warm");
    Run::new(&sandbox, &probe_package().file).args(["exit", "5"]).env("PSPF_CACHE_DIR", &warm).status(5).run();
    chown(warm.join("v1"), Some(FOREIGN), Some(FOREIGN)).unwrap();
    fs::set_permissions(warm.join("v1"), fs::Permissions::from_mode(0o755)).unwrap();
    refused(&sandbox, &warm, "belongs to uid 4343");
    // Somebody else's link, wherever it leads.
    let real = directory(&sandbox, "real");
    let link = sandbox.work("link");
    symlink(&real, &link).unwrap();
    lchown(&link, Some(FOREIGN), Some(FOREIGN)).unwrap();
    refused(&sandbox, &link, "symbolic link");
    refused(&sandbox, &link.join("below"), "symbolic link");
    // A link of root's is as good as a directory.
    lchown(&link, Some(0), Some(0)).unwrap();
    Run::new(&sandbox, &probe_package().file).args(["exit", "5"]).env("PSPF_CACHE_DIR", &link).status(5).run();
    assert!(real.join("v1/receipts").exists());
    // As the version directory itself it is none.
    let other = directory(&sandbox, "other");
    symlink(real.join("v1"), other.join("v1")).unwrap();
    let before = snapshot(&real);
    let run = Run::new(&sandbox, &probe_package().file).arg("cwd").env("PSPF_CACHE_DIR", &other);
    let _ = run.any_stdout().any_stderr().spawn().wait_with_output().unwrap();
    assert_eq!(snapshot(&real), before);
}

/// As many as the kernel follows, and so never a circle.
fn a41_forty_links_are_followed_and_no_more(who: Who) {
    let sandbox = Sandbox::new(who);
    directory(&sandbox, "0");
    for number in 1..=41 {
        symlink((number - 1).to_string(), sandbox.work(number.to_string())).unwrap();
    }
    symlink("circle", sandbox.work("circle")).unwrap();
    for place in ["41", "circle"] {
        refused(&sandbox, &sandbox.work(place), "symbolic link");
    }
    let run = Run::new(&sandbox, &probe_package().file).args(["exit", "5"]);
    run.env("PSPF_CACHE_DIR", sandbox.work("40")).status(5).run();
    assert!(sandbox.work("0/v1/receipts").exists());
}

/// A user namespace that does not map root shows root as 65534, and everybody else who is not mapped as well. Where all are
/// mapped that is a user like any other.
#[test]
fn a41_directories_of_a_root_that_is_not_mapped() {
    assert!(rustix::process::geteuid().is_root(), "this test gives files to another user: run it as root");
    let sandbox = Sandbox::new(Who::Stranger);
    let user = pspf_tests::sandbox::STRANGER;
    let start = |mapped: bool, owner: u32, place: &str, of_place: u32| {
        let mount = format!("mount -t tmpfs -o uid={owner},mode=755 none /opt");
        let make = format!("mkdir -p '{place}'\nchown {of_place} '{place}'");
        let run = Run::new(&sandbox, &probe_package().file).args(["exit", "5"]).env("PSPF_CACHE_DIR", place);
        let run = run.mounting(format!("{mount}\n{make}"));
        if mapped { run } else { run.under(["unshare", "--user", "--map-user=1000", "--map-group=1000", "--"]) }
    };
    for owner in [0, user] {
        start(false, owner, "/opt/cache", user).status(5).run();
        start(true, owner, "/opt/cache", user).status(5).run();
    }
    start(false, user, "/opt/other/cache", FOREIGN).fails("IO").stderr_part("`/opt/other").run();
    start(false, user, "/opt/cache", FOREIGN).fails("IO").stderr_part("belongs to uid 65534, expected 1000").run();
    start(true, 65534, "/opt/cache", user).fails("IO").stderr_part("belongs to uid 65534, expected 4242").run();
}

/// Makes a script of mounts for a directory.
type Script<'f> = &'f dyn Fn(&Path) -> String;

fn f13_f14_read_only_full_and_noexec_places(who: Who) {
    let mount =
        |options: &'static str| move |place: &Path| format!("mount -t tmpfs -o {options} none '{}'", place.display());
    let read_only = |place: &Path| format!("mount -t tmpfs none '{0}'\nmount -o remount,ro '{0}'", place.display());
    let cases: [(&str, &str, Script<'_>); 4] = [
        ("read-only", "Read-only file system", &read_only),
        ("noexec", "noexec", &mount("noexec,mode=1777")),
        ("full", "needs ", &mount("size=64k,mode=1777")),
        ("without inodes", "No space left", &mount("nr_inodes=7,mode=1777")),
    ];
    for (name, reason, script) in cases {
        let sandbox = Sandbox::new(who);
        // A place that is passed over, where the next one takes its part.
        let xdg = directory(&sandbox, "xdg");
        let home = sandbox.home();
        start(&sandbox, "", &script(&xdg)).env("XDG_CACHE_HOME", &xdg).run();
        assert!(home.join(".cache/pspf/v1/receipts").exists(), "{name}: the next candidate");
        // The same place by name: an error, and what was begun is gone again.
        let look = format!("cat /proc/self/mounts | grep -q '{}'", xdg.display());
        let run = Run::new(&sandbox, "sh").args(["-c", &format!("{look} && PSPF_CACHE_DIR='{}' '{}' exit 5; code=$?; find '{0}' -name '.tmp*' -o -type f -not -path '*/locks/*'; exit $code", xdg.display(), probe_package().file.display())]);
        run.mounting(script(&xdg)).fails("IO").stderr_part(reason).stderr_part(xdg.to_str().unwrap()).stdout("").run();
    }
}

/// A cache that was filled where programs were allowed, and is mounted otherwise now.
fn f13_a_filled_place_that_became_noexec(who: Who) {
    let sandbox = Sandbox::new(who);
    let xdg = directory(&sandbox, "xdg");
    start(&sandbox, "", "").env("XDG_CACHE_HOME", &xdg).run();
    assert!(xdg.join("pspf/v1/receipts").exists() && snapshot(&sandbox.home()).is_empty());
    let noexec = format!("mount --bind '{0}' '{0}'\nmount -o remount,bind,noexec '{0}'", xdg.display());
    start(&sandbox, "", &noexec).env("XDG_CACHE_HOME", &xdg).run();
    assert!(sandbox.home().join(".cache/pspf/v1/receipts").exists(), "the next candidate");
}

/// The last candidate can be foreseen; whoever made it first keeps nobody from starting.
fn a40_w12_a_foreign_last_candidate(who: Who) {
    assert!(rustix::process::geteuid().is_root(), "this test gives files to another user: run it as root");
    let sandbox = Sandbox::new(who);
    let tmp = sandbox.root().join("tmp");
    chown(&tmp, Some(0), Some(0)).unwrap();
    fs::set_permissions(&tmp, fs::Permissions::from_mode(0o1777)).unwrap();
    let trap = tmp.join(format!("pspf-{}", euid(&sandbox)));
    fs::create_dir(&trap).unwrap();
    chown(&trap, Some(FOREIGN), Some(FOREIGN)).unwrap();
    let before = snapshot(&tmp);
    let start = |package: &Path, args: &[&str]| {
        let database = sandbox.write("passwd", "");
        let script = format!("mount --bind '{}' /etc/passwd", database.display());
        Run::new(&sandbox, package).args(args).without("PSPF_CACHE_DIR").without("HOME").mounting(script)
    };
    let at = |args: &[&str]| start(&probe_package().file, args);
    at(&["exit", "5"]).status(5).any_stderr().run();
    // What is wrong with the package is no matter of the place.
    let mut damaged = fs::read(&probe_package().file).unwrap();
    let inside = damaged.len() - 8200 - 4000;
    damaged[inside] ^= 1;
    start(&sandbox.write_program("damaged.psp", damaged), &["exit", "5"]).fails("INTEGRITY").run();
    at(&["kill", "15"]).signal(15).any_stderr().run();
    // A signal to the process that the caller started reaches the application.
    let mut child = at(&["wait"]).spawn();
    let mut out = BufReader::new(child.stdout.take().unwrap());
    let mut line = String::new();
    out.read_line(&mut line).unwrap();
    rustix::process::kill_process(rustix::process::Pid::from_child(&child), rustix::process::Signal::TERM).unwrap();
    out.read_line(&mut line).unwrap();
    assert_eq!((line.as_str(), child.wait().unwrap().code()), ("ready\nsignal 15\n", Some(55)));
    at(&["cat"]).stdin("through").stdout("through").any_stderr().run();
    let ran = at(&["args"]).any_stdout().any_stderr().run();
    assert!(ran.stdout.starts_with(tmp.to_str().unwrap()) && !ran.stdout.starts_with(trap.to_str().unwrap()));
    assert_eq!(snapshot(&tmp), before, "the private directory is gone, the foreign one as it was");
}

/// What every place lacks is told at once: no other place is tried, and none is suggested.
fn a_lack_is_no_matter_of_the_place(who: Who) {
    let sandbox = Sandbox::new(who);
    let database = sandbox.write("passwd", "");
    let limits = (4..9).map(|count| format!("ulimit -n {count}"));
    let limits = limits.chain((2000..4000).step_by(200).map(|size| format!("ulimit -v {size}")));
    let mut lacking = 0;
    for limit in limits {
        pspf_tests::sandbox::remove_tree(&sandbox.cache());
        let script = format!("{limit}; exec '{}' exit 5", probe_package().file.display());
        let mount = format!("mount --bind '{}' /etc/passwd", database.display());
        let run = Run::new(&sandbox, "sh").args(["-c", &script]).without("PSPF_CACHE_DIR").mounting(mount);
        let output = run.spawn().wait_with_output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        lacking += u32::from(output.status.code() == Some(123));
        assert!(!said.contains("PSPF_CACHE_DIR"), "{limit}: {said}");
        assert_eq!(names(&sandbox.root().join("tmp")), [""; 0], "{limit}: {said}");
    }
    assert!(lacking > 2, "only {lacking} starts lacked something");
}

/// What a start left that died while its application ran from a directory of its own goes with the next such start,
/// but not while the application lives on.
fn a_private_directory_of_the_dead_is_reclaimed(who: Who) {
    assert!(rustix::process::geteuid().is_root(), "this test gives files to another user: run it as root");
    let sandbox = Sandbox::new(who);
    let tmp = sandbox.root().join("tmp");
    fs::set_permissions(&tmp, fs::Permissions::from_mode(0o1777)).unwrap();
    chown(&tmp, Some(0), Some(0)).unwrap();
    for name in [&*format!("pspf-{}", euid(&sandbox)), "pspf-.tmp-1-of-another"] {
        fs::create_dir(tmp.join(name)).unwrap();
        chown(tmp.join(name), Some(FOREIGN), Some(FOREIGN)).unwrap();
    }
    let before = names(&tmp);
    let database = sandbox.write("passwd", "");
    let script = format!("mount --bind '{}' /etc/passwd", database.display());
    let at = |args: &[&str]| {
        let run = Run::new(&sandbox, &probe_package().file).args(args).without("PSPF_CACHE_DIR").without("HOME");
        run.mounting(script.clone())
    };
    let mut child = at(&["wait"]).spawn();
    let mut line = String::new();
    let mut out = BufReader::new(child.stdout.take().unwrap());
    out.read_line(&mut line).unwrap();
    assert_eq!(line, "ready\n");
    let launcher = rustix::process::Pid::from_child(&child);
    let children = format!("/proc/{0}/task/{0}/children", launcher.as_raw_nonzero());
    let application = fs::read_to_string(children).unwrap().trim().parse().unwrap();
    let application = rustix::process::Pid::from_raw(application).unwrap();
    rustix::process::kill_process(launcher, rustix::process::Signal::KILL).unwrap();
    child.wait().unwrap();
    let left: Vec<String> = names(&tmp).into_iter().filter(|name| !before.contains(name)).collect();
    assert_eq!(left.len(), 1);
    let day_old = std::time::SystemTime::now() - std::time::Duration::from_secs(25 * 3600);
    at(&["exit", "5"]).status(5).any_stderr().run();
    assert!(tmp.join(&left[0]).exists(), "its application may live");
    fs::File::open(tmp.join(&left[0])).unwrap().set_modified(day_old).unwrap();
    at(&["exit", "5"]).status(5).any_stderr().run();
    assert!(tmp.join(&left[0]).exists(), "its application lives");
    rustix::process::kill_process(application, rustix::process::Signal::KILL).unwrap();
    // Its end of the pipe is closed when it is gone.
    out.read_line(&mut line).unwrap();
    at(&["exit", "5"]).status(5).any_stderr().run();
    assert_eq!(names(&tmp), before);
}

as_both! {
    a_lack_is_no_matter_of_the_place
    a_private_directory_of_the_dead_is_reclaimed
    f15_candidates_in_their_order
    f15_relative_and_missing_places_are_passed_over
    a41_a_named_place_that_cannot_be_used_is_an_error
    a41_what_belongs_to_somebody_else_is_not_used
    a41_forty_links_are_followed_and_no_more
    f13_f14_read_only_full_and_noexec_places
    f13_a_filled_place_that_became_noexec
    a40_w12_a_foreign_last_candidate
}
