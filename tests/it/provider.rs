//! Providers of Terraform and OpenTofu: names, the mirror's layout, archives, hashes, and what is refused.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use pspf_tests::forge::{self, ForgedSlot, ForgedWords};
use pspf_tests::sandbox::names;
use pspf_tests::{Run, Sandbox, Who, need, pspf, snapshot, stub};

/// Where the mirror has this provider.
const FOLDER: &str = "mirror/registry.terraform.io/acme/demo";

/// Looks into an archive with a reader of its own, and computes the hash of its content as Go's `dirhash` is described.
const LOOK: &str = r#"
import base64, hashlib, json, sys, zipfile
archive = zipfile.ZipFile(sys.argv[1])
assert archive.testzip() is None
lines = [f"{hashlib.sha256(archive.read(name)).hexdigest()}  {name}\n" for name in sorted(archive.namelist())]
entries = [[entry.filename, oct(entry.external_attr >> 16), entry.create_system, entry.compress_type, entry.date_time,
            hashlib.sha256(archive.read(entry)).hexdigest()] for entry in archive.infolist()]
h1 = "h1:" + base64.b64encode(hashlib.sha256("".join(lines).encode()).digest()).decode()
print(json.dumps({"entries": entries, "h1": h1, "zh": "zh:" + hashlib.sha256(open(sys.argv[1], "rb").read()).hexdigest()}))
"#;

/// A package of the provider, signed with the key of seed 1, that says what it is started with.
fn pack(sandbox: &Sandbox, version: &str, more: &[&str]) -> PathBuf {
    sandbox.write_program("demo", "#!/bin/sh\necho \"1|6|unix|/none|grpc|\"\n");
    let (private, _) = sandbox.key(1);
    let args = ["pack", "demo", "--provider", "acme/demo", "--package-version", version, "--key"];
    Run::pspf(sandbox, args).arg(private).args(more).any_stdout().run();
    sandbox.work(format!("terraform-provider-demo_v{version}"))
}

fn mirror<'s>(sandbox: &'s Sandbox, packages: &[&Path]) -> Run<'s> {
    Run::pspf(sandbox, ["provider", "mirror", "mirror", "--provider", "acme/demo"]).args(packages).any_stdout()
}

fn json(path: &Path) -> serde_json::Value {
    serde_json::from_slice(&fs::read(path).unwrap()).unwrap()
}

fn look(archive: &Path) -> serde_json::Value {
    need("python3");
    let sandbox = Sandbox::new(Who::Caller);
    let ran = Run::new(&sandbox, "python3").args(["-I", "-c", LOOK]).arg(archive).any_stdout().run();
    serde_json::from_str(&ran.stdout).unwrap()
}

/// A launcher for another machine.
fn foreign_launcher(sandbox: &Sandbox) -> PathBuf {
    let mut launcher = stub();
    let arm64 = 183u16;
    let amd64 = 62u16;
    assert_eq!(launcher[18..20], amd64.to_le_bytes(), "this test needs a machine with x86-64");
    launcher[18..20].copy_from_slice(&arm64.to_le_bytes());
    sandbox.write_program("launcher-arm64", launcher)
}

#[test]
fn the_file_has_the_name_that_the_clis_look_for() {
    let sandbox = Sandbox::new(Who::Caller);
    let package = pack(&sandbox, "1.2.3-rc.1", &[]);
    assert_eq!(fs::metadata(&package).unwrap().mode() & 0o777, 0o755);
    let inspected = Run::pspf(&sandbox, ["inspect"]).arg(&package).any_stdout().run().stdout;
    assert!(inspected.contains("terraform-provider-demo 1.2.3-rc.1"), "{inspected}");
    // The first start is as silent as every other: what it prints is the provider's handshake alone.
    let stranger = Sandbox::new(Who::Stranger);
    for _ in 0..2 {
        Run::new(&stranger, &package).stdout("1|6|unix|/none|grpc|\n").run();
    }
    // A manifest has a version of its own.
    let manifest = "[package]\nname = 'x'\nversion = '2.0.0'\n[run]\ncommand = ['{slot:s}']\n[[slot]]\nid = 's'\nsource = 'demo'\n";
    sandbox.write("pspf.toml", manifest);
    Run::pspf(&sandbox, ["pack", "--provider", "example.com/acme/other"]).any_stdout().run();
    assert!(sandbox.work("terraform-provider-other_v2.0.0").is_file());
}

#[test]
fn names_and_versions_that_the_clis_cannot_use_are_refused() {
    let sandbox = Sandbox::new(Who::Caller);
    sandbox.write_program("demo", "#!/bin/sh\n");
    for (args, expected) in [
        (&["--provider", "acme/demo"][..], "a provider needs a version"),
        (&["--provider", "acme/demo", "--package-version", "v1.2.3"], "the `v` is no part of it"),
        (&["--provider", "acme/demo", "--package-version", "1.2"], "unexpected end of input"),
        (&["--provider", "acme/demo", "--package-version", "1.2.3-RC1"], "capital letters"),
        (&["--provider", "demo", "--package-version", "1.2.3"], "it is [HOST/]NAMESPACE/NAME"),
        (&["--provider", "Acme/demo", "--package-version", "1.2.3"], "namespace `Acme`"),
        (&["--provider", "acme/terraform-provider-demo", "--package-version", "1.2.3"], "it is `acme/demo`"),
        (&["--provider", "../../demo", "--package-version", "1.2.3"], "`..` is not a host"),
        (&["--provider", "acme/demo", "--package-version", "1.2.3", "--name", "demo"], "cannot be used with"),
    ] {
        Run::pspf(&sandbox, ["pack", "demo"]).args(args).fails("USAGE").stderr_part(expected).run();
    }
    assert_eq!(names(&sandbox.work("")), ["demo"]);
}

#[test]
fn a_mirror_holds_what_the_clis_and_a_registry_ask_for() {
    need("sha256sum");
    let sandbox = Sandbox::new(Who::Caller);
    let package = pack(&sandbox, "1.2.3", &[]);
    let (_, public) = sandbox.key(1);
    let said = mirror(&sandbox, &[&package]).args(["--protocol", "6.0", "--json", "--key"]).arg(&public).run().stdout;
    let said: serde_json::Value = serde_json::from_str(&said).unwrap();
    let folder = sandbox.work(FOLDER);
    let archive = "terraform-provider-demo_1.2.3_linux_amd64.zip";
    let (list, manifest) = ("terraform-provider-demo_1.2.3_SHA256SUMS", "terraform-provider-demo_1.2.3_manifest.json");
    assert_eq!(names(&folder), ["1.2.3.json", "index.json", list, archive, manifest]);
    for name in names(&folder) {
        assert_eq!(fs::metadata(folder.join(&name)).unwrap().mode() & 0o777, 0o644, "{name}");
    }

    let found = look(&folder.join(archive));
    let program = Run::new(&sandbox, "sha256sum").arg(&package).any_stdout().run().stdout[..64].to_owned();
    // Stored, made by Unix, a regular file that everybody may execute.
    let entry = ("terraform-provider-demo_v1.2.3", "0o100755", 3, 0, [1980, 1, 1, 0, 0, 0], program);
    assert_eq!(found["entries"], serde_json::json!([entry]));
    let hashes = [&found["h1"], &found["zh"]];
    assert_eq!(
        json(&folder.join("1.2.3.json")),
        serde_json::json!({ "archives": { "linux_amd64": { "url": archive, "hashes": hashes } } })
    );
    assert_eq!(json(&folder.join("index.json")), serde_json::json!({ "versions": { "1.2.3": {} } }));
    let protocols = serde_json::json!({ "version": 1, "metadata": { "protocol_versions": ["6.0"] } });
    assert_eq!(json(&folder.join(manifest)), protocols);
    let checked = Run::new(&sandbox, "sha256sum").args(["--strict", "-c", list]).cwd(&folder);
    checked.stdout(format!("{archive}: OK\n{manifest}: OK\n")).run();
    let version = &said["versions"][0];
    let one = &version["archives"][0];
    assert_eq!((&one["h1"], &one["zh"], &one["added"]), (hashes[0], hashes[1], &true.into()));
    let lock = format!(
        "provider \"registry.terraform.io/acme/demo\" {{\n  version = \"1.2.3\"\n  hashes = [\n    {},\n    {},\n  ]\n}}\n",
        hashes[0], hashes[1]
    );
    assert_eq!(version["lock"], lock);

    // The same again changes nothing at all, and the same elsewhere has the same bytes.
    let times = |folder: &Path| {
        names(folder).iter().map(|name| fs::metadata(folder.join(name)).unwrap().ino()).collect::<Vec<_>>()
    };
    let before = times(&folder);
    let again = mirror(&sandbox, &[&package]).run().stdout;
    assert!(again.contains("was there") && again.contains("(protocol 6.0;") && again.contains(&lock), "{again}");
    assert_eq!(times(&folder), before);
    let elsewhere = Sandbox::new(Who::Stranger);
    let copy = elsewhere.copy(&package, "renamed");
    let run = mirror(&elsewhere, &[&copy])
        .args(["--protocol", "6.0"])
        .env("SOURCE_DATE_EPOCH", "1700000000")
        .env("TZ", "Asia/Tokyo");
    run.run();
    assert_eq!(snapshot(&elsewhere.work("mirror")), snapshot(&sandbox.work("mirror")));
}

#[test]
fn versions_and_platforms_come_together_one_by_one() {
    let (one_by_one, at_once) = (Sandbox::new(Who::Caller), Sandbox::new(Who::Caller));
    let packages = |sandbox: &Sandbox| {
        let (one, two) = (pack(sandbox, "1.0.0", &[]), pack(sandbox, "1.10.0", &[]));
        let arm = foreign_launcher(sandbox);
        let sandbox_arm = sandbox.work("arm64.psp");
        pack(sandbox, "1.0.0", &["--launcher", arm.to_str().unwrap(), "-o", sandbox_arm.to_str().unwrap()]);
        [one, two, sandbox_arm]
    };
    let [one, two, arm] = packages(&one_by_one);
    mirror(&one_by_one, &[&two]).run();
    mirror(&one_by_one, &[&arm]).run();
    let folder = one_by_one.work(FOLDER);
    let list = folder.join("terraform-provider-demo_1.0.0_SHA256SUMS");
    // A signature is of one list; the publisher is told when there is another.
    let signature = one_by_one.write(format!("{FOLDER}/terraform-provider-demo_1.0.0_SHA256SUMS.sig"), b"by GPG");
    mirror(&one_by_one, &[&one]).stderr_part("SHA256SUMS.sig` was made for another list").run();
    mirror(&one_by_one, &[&one]).run();
    assert_eq!(json(&folder.join("index.json")), serde_json::json!({ "versions": { "1.0.0": {}, "1.10.0": {} } }));
    let archives = json(&folder.join("1.0.0.json"));
    for platform in ["linux_amd64", "linux_arm64"] {
        let found = &archives["archives"][platform];
        let seen = look(&folder.join(found["url"].as_str().unwrap()));
        assert_eq!(found["hashes"], serde_json::json!([seen["h1"], seen["zh"]]), "{platform}");
        assert_eq!(found["url"], format!("terraform-provider-demo_1.0.0_{platform}.zip"));
    }
    assert_eq!(fs::read_to_string(&list).unwrap().lines().count(), 3);
    fs::remove_file(signature).unwrap();

    let [one, two, arm] = packages(&at_once);
    mirror(&at_once, &[&one, &two, &arm]).run();
    assert_eq!(snapshot(&at_once.work("mirror")), snapshot(&one_by_one.work("mirror")));

    // What others have put there is described as it is, and a document that nobody wrote is not promised.
    need("python3");
    let foreign = folder.join("terraform-provider-demo_1.0.0_windows_amd64.zip");
    let make = "import sys, zipfile\nwith zipfile.ZipFile(sys.argv[1], 'w', zipfile.ZIP_DEFLATED) as archive:\n \
        archive.writestr('terraform-provider-demo_v1.0.0.exe', b'MZ' * 9000)\n archive.writestr('docs/', b'')\n \
        archive.writestr('LICENSE', b'free')\n";
    Run::new(&one_by_one, "python3").args(["-I", "-c", make]).arg(&foreign).run();
    fs::copy(&foreign, folder.join("terraform-provider-demo_0.9.0_windows_amd64.zip")).unwrap();
    let said = mirror(&one_by_one, &[&one]).run().stdout;
    assert_eq!(said.matches("was there").count(), 3, "{said}");
    let seen = look(&foreign);
    assert_eq!(seen["entries"].as_array().unwrap().len(), 3);
    let found = &json(&folder.join("1.0.0.json"))["archives"]["windows_amd64"]["hashes"];
    assert_eq!(found, &serde_json::json!([seen["h1"], seen["zh"]]));
    assert_eq!(json(&folder.join("index.json")), serde_json::json!({ "versions": { "1.0.0": {}, "1.10.0": {} } }));
}

/// Two jobs of a pipeline may add to one mirror at the same time.
#[test]
fn two_at_once_lose_nothing() {
    let sandbox = Sandbox::new(Who::Caller);
    let versions = ["1.0.0", "1.1.0", "1.2.0", "1.3.0"];
    let packages = versions.map(|version| pack(&sandbox, version, &[]));
    let children: Vec<_> = packages.iter().map(|package| mirror(&sandbox, &[package]).spawn()).collect();
    for child in children {
        let output = child.wait_with_output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }
    let index = json(&sandbox.work(FOLDER).join("index.json"));
    assert_eq!(index["versions"].as_object().unwrap().keys().collect::<Vec<_>>(), versions);
}

#[test]
fn nothing_comes_into_a_mirror_that_was_not_verified() {
    let sandbox = Sandbox::new(Who::Caller);
    let package = pack(&sandbox, "1.2.3", &[]);
    let (_, other_key) = sandbox.key(2);
    let changed = |at: usize| {
        let mut bytes = fs::read(&package).unwrap();
        bytes[at] ^= 1;
        sandbox.write_program("changed", bytes)
    };
    let size = fs::metadata(&package).unwrap().len() as usize;
    // The launcher, the payload, the trailer.
    for at in [1000, size - 8300, size - 5000] {
        mirror(&sandbox, &[&changed(at)]).status(121).stderr_part("pspf: error[INTEGRITY]: ").run();
    }
    // Of several, none comes in.
    mirror(&sandbox, &[&package, &changed(1000)]).status(121).any_stderr().run();
    mirror(&sandbox, &[&package]).arg("--key").arg(other_key).fails("TRUST").run();
    mirror(&sandbox, &[&sandbox.work("demo")]).fails("FORMAT").run();
    mirror(&sandbox, &[&sandbox.work("none")]).fails("IO").run();
    mirror(&sandbox, &[&package, &package]).fails("USAGE").stderr_part("are both version 1.2.3 for linux_amd64").run();
    let run = Run::pspf(&sandbox, ["provider", "mirror", "mirror", "--provider", "acme/other"]).arg(&package);
    run.fails("USAGE").stderr_part("is `terraform-provider-demo`, and the program of").run();
    mirror(&sandbox, &[&package]).args(["--protocol", "6"]).fails("USAGE").stderr_part("such as `6.0`").run();
    assert!(!sandbox.work("mirror").exists(), "nothing is left of it");
}

/// Names go into paths: what a key has signed is held to the same rules as what is typed.
#[test]
fn what_is_signed_is_held_to_the_rules_too() {
    let sandbox = Sandbox::new(Who::Caller);
    let forged = |version: &str, platform: &str| {
        let mut words = ForgedWords::starting("app", "");
        words.package = format!(r#"{{"name":"terraform-provider-demo","version":"{version}"}}"#);
        words.platform = platform.to_owned();
        let parts = words.parts(stub(), &[ForgedSlot::raw("app", b"#!/bin/sh\n")]);
        sandbox.write_program("forged", parts.seal(&forge::key()))
    };
    for (version, platform, class, expected) in [
        ("1.2", "linux_amd64", "USAGE", "unexpected end of input"),
        ("1.2.3-RC1", "linux_amd64", "USAGE", "capital letters"),
        ("1.2.3/../../x", "linux_amd64", "FORMAT", "it may hold letters, digits"),
        ("1.2.3", "linux_arm64", "FORMAT", "says that it is for linux_arm64, and its launcher is for linux_amd64"),
    ] {
        mirror(&sandbox, &[&forged(version, platform)]).fails(class).stderr_part(expected).run();
    }
    assert!(!sandbox.work("mirror").exists());
    mirror(&sandbox, &[&forged("1.2.3", "linux_amd64")]).run();
}

#[test]
fn what_people_have_installed_does_not_change() {
    let sandbox = Sandbox::new(Who::Caller);
    let package = pack(&sandbox, "1.2.3", &[]);
    mirror(&sandbox, &[&package]).run();
    let before = snapshot(&sandbox.work("mirror"));
    let said = mirror(&sandbox, &[&package]).args(["--protocol", "6.0"]).fails("USAGE");
    said.stderr_part("_manifest.json` says 5.0").run();
    // Signed by one more is another file.
    let (second, _) = sandbox.key(2);
    Run::pspf(&sandbox, ["sign"]).arg(&package).arg("--key").arg(second).any_stdout().run();
    let other = pack(&sandbox, "1.2.4", &[]);
    // Of two, none comes in.
    let refused = mirror(&sandbox, &[&other, &package]).fails("USAGE");
    refused.stderr_part("terraform-provider-demo_1.2.3_linux_amd64.zip` is there, with another content").run();
    let folder = sandbox.work(FOLDER);
    // One that was changed in the mirror is not described anew, as if it had always been so.
    let arm = foreign_launcher(&sandbox);
    let third = sandbox.work("arm64");
    pack(&sandbox, "1.2.3", &["--launcher", arm.to_str().unwrap(), "-o", third.to_str().unwrap()]);
    let archive = folder.join("terraform-provider-demo_1.2.3_linux_amd64.zip");
    let published = fs::read(&archive).unwrap();
    let swapped =
        "import sys, zipfile\nzipfile.ZipFile(sys.argv[1], 'w').writestr('terraform-provider-demo_v1.2.3', 'x')\n";
    Run::new(&sandbox, "python3").args(["-I", "-c", swapped]).arg(&archive).run();
    let refused = mirror(&sandbox, &[&third]).fails("INTEGRITY");
    refused
        .stderr_part("_linux_amd64.zip` is not the file that `terraform-provider-demo_1.2.3_SHA256SUMS` names")
        .run();
    fs::write(&archive, published).unwrap();
    let broken = sandbox.write(format!("{FOLDER}/terraform-provider-demo_1.2.4_linux_arm64.zip"), b"no archive");
    mirror(&sandbox, &[&other]).fails("FORMAT").stderr_part("it is no archive that the CLIs could install").run();
    fs::remove_file(broken).unwrap();
    assert_eq!(snapshot(&sandbox.work("mirror")), before);
    assert_eq!(names(&folder).iter().filter(|name| name.starts_with('.')).count(), 0);
}

#[test]
fn a_mirror_that_cannot_be_written_is_told_and_left_as_it_was() {
    let maker = Sandbox::new(Who::Caller);
    let package = pack(&maker, "1.2.3", &[]);
    let sandbox = Sandbox::new(Who::Stranger);
    mirror(&sandbox, &[&package]).run();
    let folder = sandbox.work(FOLDER);
    let before = snapshot(&sandbox.work("mirror"));
    fs::set_permissions(&folder, fs::Permissions::from_mode(0o555)).unwrap();
    let next = pack(&maker, "1.2.4", &[]);
    mirror(&sandbox, &[&next]).fails("IO").stderr_part(FOLDER).run();
    fs::set_permissions(&folder, fs::Permissions::from_mode(0o755)).unwrap();
    assert_eq!(snapshot(&sandbox.work("mirror")), before);
    // Also where it is full when the directories are made already: what is in it then is shown.
    let small = maker.work("small");
    fs::create_dir(&small).unwrap();
    let mirror = "provider mirror small/new/mirror terraform-provider-demo_v1.2.4 --provider acme/demo";
    let script = format!("'{}' {mirror}; code=$?; ls -A small; exit $code", pspf().display());
    let full = Run::new(&maker, "sh").args(["-c", &script]);
    let full = full.mounting(format!("mount -t tmpfs -o size=64k none '{}'", small.display()));
    let ran = full.fails("IO").stderr_part("terraform-provider-demo_1.2.4_linux_amd64.zip`: No space left").run();
    assert_eq!((ran.stderr.lines().count(), ran.stderr.starts_with("pspf: error[IO]: ")), (1, true), "{ran}");
    // Also where it was to be made.
    let other = Run::pspf(&sandbox, ["provider", "mirror", "/proc/none/mirror", "--provider", "acme/demo"]).arg(&next);
    other.fails("IO").stderr_part("creating `/proc/none").run();
}

/// Waits until this is so; fails where the program ended before.
fn wait_for(child: &mut std::process::Child, is_so: impl Fn() -> bool) {
    while !is_so() {
        assert!(child.try_wait().unwrap().is_none(), "it ended by itself");
        std::thread::sleep(std::time::Duration::from_millis(10));
    }
}

fn interrupt(mut child: std::process::Child) {
    let id = rustix::process::Pid::from_raw(child.id() as i32).unwrap();
    rustix::process::kill_process(id, rustix::process::Signal::TERM).unwrap();
    assert!(!child.wait().unwrap().success());
}

#[test]
fn an_interrupted_command_leaves_nothing() {
    let sandbox = Sandbox::new(Who::Caller);
    let package = pack(&sandbox, "1.2.3", &[]);
    fs::create_dir(sandbox.work("mirror")).unwrap();
    // Where another one works on the mirror it waits, when the directory above is made already.
    let lock = fs::File::open(sandbox.work("mirror")).unwrap();
    lock.lock().unwrap();
    let run = Run::pspf(&sandbox, ["provider", "mirror", "new/../mirror", "--provider", "acme/demo"]).arg(&package);
    let mut child = run.spawn();
    wait_for(&mut child, || sandbox.work("new").exists());
    interrupt(child);
    assert!(!sandbox.work("new").exists());
    drop(lock);
    // A document that cannot be read to its end: the archive is complete beside its name by then.
    let folder = sandbox.work(FOLDER);
    fs::create_dir_all(&folder).unwrap();
    let document = "terraform-provider-demo_1.2.3_manifest.json";
    rustix::fs::mknodat(rustix::fs::CWD, folder.join(document), rustix::fs::FileType::Fifo, rustix::fs::Mode::RWXU, 0)
        .unwrap();
    let mut child = mirror(&sandbox, &[&package]).spawn();
    wait_for(&mut child, || names(&folder).len() == 2);
    interrupt(child);
    assert_eq!(names(&folder), [document]);
}
