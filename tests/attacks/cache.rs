//! What can be done to a cache, by other users and by its owner, and to a package while it is read.

use std::fs;
use std::os::unix::fs::{PermissionsExt, chown, symlink};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use pspf_tests::sandbox::{STRANGER, names, remove_tree};
use pspf_tests::snapshot::leftovers;
use pspf_tests::tree_files::noise;
use pspf_tests::{Run, Sandbox, Snapshot, Who, forks, probe_package, pspf, snapshot};

use crate::forge::{self, ForgedSlot};
use crate::full_sweep;

/// Somebody who is neither root nor the owner of a cache.
const OTHER: &str = "4343";

fn root_is_needed() {
    assert!(rustix::process::geteuid().is_root(), "this test acts for two users: run it as root");
}

/// Another user tries everything that would change what the owner runs, in a cache whose directories he may enter.
#[test]
fn a42_a45_another_user_changes_nothing() {
    root_is_needed();
    let sandbox = Sandbox::new(Who::Stranger);
    Run::new(&sandbox, &probe_package().file).args(["exit", "5"]).status(5).run();
    for folder in ["", "v1", "v1/slots", "v1/receipts", "v1/locks"] {
        let folder = sandbox.home().join(".cache/pspf").join(folder);
        assert_eq!(fs::metadata(&folder).unwrap().permissions().mode() & 0o7777, 0o700, "{}", folder.display());
        fs::set_permissions(folder, fs::Permissions::from_mode(0o755)).unwrap();
    }
    let before = snapshot(&sandbox.home());
    let slot = sandbox.slots()[0].clone();
    let receipt = sandbox.cache().join("receipts").join(&sandbox.cached("receipts")[0]);
    let [slot, receipt] = [slot, receipt].map(|path| path.to_str().unwrap().to_owned());
    for attempt in [
        "echo evil > $slot/probe",
        "chmod 777 $slot/probe",
        "rm -f $slot/probe",
        "mv $slot $slot.away",
        "ln -sfn /tmp $slot",
        "echo > $slot/more",
        "cp $slot/probe $slot.new",
        "echo evil > $slot.ok",
        "rm -f $slot.ok",
        "echo evil > $receipt",
        "mv $receipt $receipt.away",
        "mkdir ${slot%/*}/.tmp-evil",
        "ln -s /etc/passwd ${slot%/slots/*}/locks/evil",
        "mv ${slot%/slots/*} ${slot%/v1/*}/v2",
        "touch $slot",
    ] {
        let script = format!("slot='{slot}'; receipt='{receipt}'; ( {attempt} ) && echo it was possible; exit 0");
        let words = ["setpriv", "--reuid", OTHER, "--regid", OTHER, "--clear-groups", "--", "sh", "-c", &script];
        let root = Sandbox::new(Who::Caller);
        let ran = Run::new(&root, words[0]).args(&words[1..]).any_stderr().run();
        assert!(ran.stderr.contains("denied") || ran.stderr.contains("not permitted"), "{attempt}: {ran}");
    }
    assert_eq!(snapshot(&sandbox.home()), before);
    Run::new(&sandbox, &probe_package().file).args(["exit", "5"]).status(5).run();
}

/// What is not promised: the owner can exchange what he owns, at any moment. Even then a start ends with a whole program or
/// with words, and whoever stops meddling has a sound cache at the next start.
#[test]
fn a45_a_swap_by_the_owner() {
    let sandbox = Sandbox::new(Who::Stranger);
    let start = || Run::new(&sandbox, &probe_package().file).args(["exit", "5"]);
    start().status(5).run();
    let slot = sandbox.slots()[0].clone();
    let (evil, away) = (sandbox.work("evil"), sandbox.work("away"));
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !stop.load(Ordering::Relaxed) {
                remove_tree(&evil);
                remove_tree(&away);
                fs::create_dir(&evil).unwrap();
                forks::copy(Path::new("/bin/true"), &evil.join("probe"));
                sandbox.give_all(&evil);
                let _ = fs::rename(&slot, &away).and_then(|()| fs::rename(&evil, &slot));
            }
        });
        for _ in 0..if full_sweep() { 10_000 } else { 200 } {
            let output = start().spawn().wait_with_output().unwrap();
            let said = String::from_utf8_lossy(&output.stderr).into_owned();
            match output.status.code() {
                Some(5 | 0) => assert_eq!(said, ""),
                Some(121..=127) => assert!(said.starts_with("pspf: error["), "{said}"),
                other => panic!("{other:?} {}: {said}", output.status),
            }
        }
        stop.store(true, Ordering::Relaxed);
    });
    start().status(5).run();
    Run::pspf(&sandbox, ["cache", "verify"]).stdout_part("sound").run();
}

/// A package of a program, a tree with a file of several frames, and a raw slot.
fn large(sandbox: &Sandbox) -> PathBuf {
    sandbox.write_program("app/tool", b"#!/bin/sh\necho ran\n");
    sandbox.write("app/large", noise(1, 9 << 20));
    sandbox.write("raw", noise(2, 1 << 20));
    let manifest = "[package]\nname = 'p'\nversion = '1'\n[run]\ncommand = ['{slot:app}/tool']\n\
        [[slot]]\nid = 'app'\nsource = 'app'\n[[slot]]\nid = 'raw'\nsource = 'raw'\noperations = 'raw'\n";
    sandbox.write("pspf.toml", manifest);
    Run::pspf(sandbox, ["pack", "--level", "1"]).any_stdout().run();
    sandbox.work("p.psp")
}

/// Somebody writes into the package all the time that it is read: what is published is what was signed, or nothing.
#[test]
fn a46_a_package_that_changes_while_it_is_extracted() {
    let sandbox = Sandbox::new(Who::Caller);
    let package = large(&sandbox);
    let extract = || Run::new(&sandbox, pspf()).args(["extract", "p.psp", "-C", "to"]);
    extract().any_stdout().run();
    let sound = snapshot(&sandbox.work("to"));
    remove_tree(&sandbox.work("to"));
    let bytes = fs::read(&package).unwrap();
    let first = pspf_tests::stub().len() + 8192;
    let places = noise(3, 8 << 10);
    let stop = AtomicBool::new(false);
    let (mut whole, mut refused) = (0, 0);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for place in places.chunks(8).cycle() {
                let random = u64::from_le_bytes(place.try_into().unwrap()) as usize;
                let at = first + random % (bytes.len() - 8200 - first);
                forks::put(&package, at as u64, !bytes[at]);
                // Now and then it is sound for a moment.
                std::thread::sleep(std::time::Duration::from_micros(random as u64 % 3000));
                forks::put(&package, at as u64, bytes[at]);
                std::thread::sleep(std::time::Duration::from_micros(random as u64 % 30_000));
                if stop.load(Ordering::Relaxed) {
                    break;
                }
            }
        });
        for _ in 0..if full_sweep() { 1_000 } else { 60 } {
            let output = extract().spawn().wait_with_output().unwrap();
            let said = String::from_utf8_lossy(&output.stderr).into_owned();
            let found = snapshot(&sandbox.work("to"));
            if output.status.code() == Some(0) {
                assert!(found == sound, "something else was published");
                whole += 1;
            } else {
                assert_eq!(output.status.code(), Some(121), "{said}");
                // Slots before the damaged one are whole; of the damaged one there is nothing.
                assert!(found.iter().all(|(path, what)| sound.get(path) == Some(what)), "a part was published");
                refused += 1;
            }
            remove_tree(&sandbox.work("to"));
        }
        stop.store(true, Ordering::Relaxed);
    });
    assert!(whole > 0 && refused > 0, "{whole} whole, {refused} refused: nothing was shown");
}

/// Removal of a cache in which names turn into links to something precious.
#[test]
fn a47_links_under_the_feet_of_a_removal() {
    let sandbox = Sandbox::new(Who::Stranger);
    let canary = sandbox.write("canary/sub/file", b"precious\n");
    sandbox.give_all(&sandbox.work("canary"));
    let precious = snapshot(&sandbox.work("canary"));
    let start = || Run::new(&sandbox, &probe_package().file).args(["exit", "5"]).status(5);
    let prune = || Run::pspf(&sandbox, ["cache", "prune", "--now"]).spawn().wait_with_output().unwrap();
    start().run();
    let slot = sandbox.slots()[0].clone();
    // Links that stand there before: in place of a slot, of something left over, of a whole folder.
    for place in
        [slot.clone(), slot.with_file_name(".tmp-1-1"), sandbox.cache().join("receipts"), sandbox.cache().join("locks")]
    {
        start().run();
        remove_tree(&place);
        symlink(sandbox.work("canary"), &place).unwrap();
        prune();
        assert_eq!(snapshot(&sandbox.work("canary")), precious, "{}", place.display());
        let _ = fs::remove_file(&place);
    }
    // And links that appear while it is removed, at the top of a slot and inside it.
    let inner = |slot: &Path| slot.join("probe");
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !stop.load(Ordering::Relaxed) {
                let _ = fs::set_permissions(&slot, fs::Permissions::from_mode(0o755));
                let _ = fs::remove_file(inner(&slot));
                let _ = symlink(sandbox.work("canary"), inner(&slot));
                let _ = fs::rename(&slot, sandbox.work("moved"));
                let _ = symlink(sandbox.work("canary"), &slot);
                let _ = fs::remove_file(&slot);
                remove_tree(&sandbox.work("moved"));
            }
        });
        for _ in 0..if full_sweep() { 1_000 } else { 40 } {
            let _ = Run::new(&sandbox, &probe_package().file).args(["exit", "5"]).spawn().wait_with_output().unwrap();
            assert!(prune().status.code().is_some());
        }
        stop.store(true, Ordering::Relaxed);
    });
    assert_eq!(snapshot(&sandbox.work("canary")), precious);
    assert!(canary.exists());
    start().run();
}

/// Root with a user's `HOME`, as after `sudo`: nothing of root's appears there, and the user's own start works afterwards.
#[test]
fn a48_root_with_the_home_of_a_user() {
    root_is_needed();
    let sandbox = Sandbox::new(Who::Caller);
    let home = sandbox.home();
    chown(&home, Some(STRANGER), Some(STRANGER)).unwrap();
    let database = sandbox.write("passwd", "");
    let script = format!("mount --bind '{}' /etc/passwd", database.display());
    let start = || {
        let start = Run::new(&sandbox, &probe_package().file).args(["exit", "5"]).status(5);
        start.without("PSPF_CACHE_DIR").mounting(&script)
    };
    for _ in 0..2 {
        start().run();
        assert_eq!(snapshot(&home), Snapshot::new());
        assert_eq!(names(&sandbox.root().join("tmp")), ["pspf-0"]);
    }
    let user = STRANGER.to_string();
    start().under(["setpriv", "--reuid", &user, "--regid", &user, "--clear-groups", "--"]).run();
    assert!(home.join(".cache/pspf/v1/receipts").exists());
    // The user's cache is there now; root still takes none of it.
    let before = snapshot(&home);
    start().run();
    assert_eq!(snapshot(&home), before);
}

/// The same file name, package name and version, and other bytes: neither gets anything of the other, in any order.
#[test]
fn a49_w11_w14_one_name_for_two_packages() {
    let sandbox = Sandbox::new(Who::Caller);
    let release =
        |word: &str| forge::package("", &[ForgedSlot::raw("app", format!("#!/bin/sh\necho {word}\n").as_bytes())]);
    let (good, evil) = (release("good"), release("evil"));
    for (bytes, word) in [(&evil, "evil"), (&good, "good"), (&good, "good"), (&evil, "evil"), (&good, "good")] {
        let package = sandbox.write_program("tool.psp", bytes);
        Run::new(&sandbox, &package).stdout(format!("{word}\n")).run();
        fs::remove_file(package).unwrap();
    }
    assert_eq!((sandbox.slots().len(), sandbox.cached("receipts").len()), (2, 2));
    // A payload that was exchanged in the package itself never gets as far as the cache.
    let before = leftovers(&sandbox.cache());
    let mut swapped = release("new1");
    let at = swapped.windows(9).position(|window| window == b"echo new1").unwrap();
    swapped[at + 8] = b'2';
    let package = sandbox.write_program("tool.psp", swapped);
    Run::new(&sandbox, package).fails("INTEGRITY").run();
    assert_eq!(leftovers(&sandbox.cache()), before);
}

/// A new release in the place of the old one, which still runs: the old keeps its files, the new has none of them.
#[test]
fn w14_w15_a_release_replaced_while_it_runs() {
    let sandbox = Sandbox::new(Who::Caller);
    let pack = |version: &str, extra: bool| {
        remove_tree(&sandbox.work("tree"));
        let script = format!(
            "#!/bin/sh\necho {version}\nread go\nls \"${{0%/*}}\" | tr '\\n' ' '\ncat \"${{0%/*}}\"/extra 2>&1\nexit 0\n"
        );
        sandbox.write_program("tree/tool", script);
        if extra {
            sandbox.write("tree/extra", format!("of {version}\n"));
        }
        let args = ["pack", "tree", "--exec", "tool", "--name", "t", "-o", "new.psp", "--package-version", version];
        Run::pspf(&sandbox, args).any_stdout().run();
        fs::rename(sandbox.work("new.psp"), sandbox.work("t.psp")).unwrap();
    };
    pack("1", true);
    let mut old = Run::new(&sandbox, sandbox.work("t.psp")).spawn();
    let mut out = std::io::BufReader::new(old.stdout.take().unwrap());
    let mut line = String::new();
    std::io::BufRead::read_line(&mut out, &mut line).unwrap();
    assert_eq!(line, "1\n");
    pack("2", false);
    let new =
        || Run::new(&sandbox, sandbox.work("t.psp")).stdin("go\n").stdout_part("2\ntool ").stdout_part("No such file");
    new().run();
    Run::pspf(&sandbox, ["cache", "prune"]).any_stdout().run();
    new().run();
    std::io::Write::write_all(&mut old.stdin.take().unwrap(), b"go\n").unwrap();
    let mut rest = String::new();
    std::io::Read::read_to_string(&mut out, &mut rest).unwrap();
    assert_eq!((rest.as_str(), old.wait().unwrap().code()), ("extra tool of 1\n", Some(0)));
}
