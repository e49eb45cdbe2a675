//! The programs under test, and the package that most tests start.
//!
//! Cargo builds the probe with this crate, but not the binaries of another package, so `pspf` is built here: once per
//! test process, into the target directory and with the profile of the running test, where nearly all of it is there.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;

use crate::{Run, Sandbox, Who};

/// Fails the test with the tool's name where it is not installed.
#[track_caller]
pub fn need(tool: &str) {
    let paths = std::env::var_os("PATH").unwrap_or_default();
    let found = std::env::split_paths(&paths).any(|folder| folder.join(tool).is_file());
    assert!(found, "this test needs `{tool}`: install it and run the test again");
}

/// The directory of this test process that every user can enter. Those of dead processes are removed on the way.
pub fn base() -> &'static Path {
    static BASE: OnceLock<PathBuf> = OnceLock::new();
    BASE.get_or_init(|| {
        let temporary = std::env::temp_dir();
        for entry in fs::read_dir(&temporary).expect("the temporary directory can be read").flatten() {
            let name = entry.file_name();
            let pid = name.to_str().and_then(|name| name.strip_prefix("pspf-tests-"));
            if pid.is_some_and(|pid| !Path::new("/proc").join(pid).exists()) {
                crate::sandbox::remove_tree(&entry.path());
            }
        }
        let base = temporary.join(format!("pspf-tests-{}", std::process::id()));
        fs::create_dir(&base).expect("a directory for the tests can be made");
        fs::set_permissions(&base, fs::Permissions::from_mode(0o755)).expect("its mode can be set");
        base
    })
}

/// `pspf`, where every user can start it.
pub fn pspf() -> &'static Path {
    static PSPF: OnceLock<PathBuf> = OnceLock::new();
    PSPF.get_or_init(|| shared_copy(&build_pspf(&profile_directory()), "pspf"))
}

/// The program that reports what reached it, where every user can start it.
pub fn probe() -> &'static Path {
    static PROBE: OnceLock<PathBuf> = OnceLock::new();
    PROBE.get_or_init(|| shared_copy(&profile_directory().join("pspf-probe"), "probe"))
}

/// A package and the public key that signed it.
#[derive(Clone, Debug)]
pub struct Packed {
    /// The package.
    pub file: PathBuf,
    /// The public key file.
    pub key: PathBuf,
}

/// The probe as a package of one `zstd` slot named `app`, shared by all tests: to be copied, not changed.
pub fn probe_package() -> &'static Packed {
    static PACKAGE: OnceLock<Packed> = OnceLock::new();
    PACKAGE.get_or_init(|| {
        let file = base().join("probe.psp");
        let sandbox = Sandbox::new(Who::Caller);
        let (private, key) = sandbox.key(1);
        let shared_key = base().join("probe.pub");
        fs::copy(key, &shared_key).expect("the key can be copied");
        Run::new(&sandbox, pspf())
            .args(["pack", "--key"])
            .arg(private)
            .arg("-o")
            .arg(&file)
            .arg(probe())
            .any_stdout()
            .run();
        Packed { file, key: shared_key }
    })
}

/// The launcher alone: the first part of any package.
pub fn stub() -> Vec<u8> {
    let mut package = fs::read(&probe_package().file).expect("the package can be read");
    // SPEC §3.2: `launcher_size` is at byte 16 of the index, which starts 8,196 bytes before the end.
    let at = package.len() - 8196 + 16;
    let size = u64::from_le_bytes(package[at..at + 8].try_into().expect("eight bytes"));
    package.truncate(usize::try_from(size).expect("the launcher is small"));
    package
}

fn shared_copy(from: &Path, name: &str) -> PathBuf {
    let to = base().join(name);
    crate::forks::copy(from, &to);
    fs::set_permissions(&to, fs::Permissions::from_mode(0o755)).expect("its mode can be set");
    to
}

/// The directory of this build: the parent of `deps`, where the test binary is.
fn profile_directory() -> PathBuf {
    let test = std::env::current_exe().expect("the test knows its own path");
    test.ancestors().nth(2).expect("the test is in target/PROFILE/deps").to_owned()
}

/// Builds `pspf` with the profile and into the target directory that this directory of cargo's belongs to.
pub fn build_pspf(directory: &Path) -> PathBuf {
    let name = |path: &Path| path.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let above = directory.parent().expect("the profile is in the target directory");
    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo.args([
        "build",
        "--quiet",
        "--package",
        "pspf-builder",
        "--bin",
        "pspf",
        "--message-format",
        "json-render-diagnostics",
    ]);
    match name(directory).as_str() {
        "debug" => {}
        profile => {
            cargo.args(["--profile", profile]);
        }
    }
    // With `--target` there is one folder more, named after the target; the one above it is marked as cargo's too.
    let outer = above.parent().expect("the target directory is in a directory");
    if outer.join("CACHEDIR.TAG").exists() {
        cargo.args(["--target", &name(above)]).arg("--target-dir").arg(outer);
    } else {
        cargo.arg("--target-dir").arg(above);
    }
    cargo.current_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join(".."));
    let output = crate::forks::output(cargo.stdin(Stdio::null()));
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "building pspf:\n{}", String::from_utf8_lossy(&output.stderr));
    let messages = text.lines().filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok());
    let executable = messages.filter_map(|message| message["executable"].as_str().map(PathBuf::from)).next_back();
    executable.expect("cargo names the program that it built")
}
