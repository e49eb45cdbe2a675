//! Builds the launcher stub that `pspf pack` puts in front of every package.
//!
//! The stub is always built with the profile `stub`, in a target directory of its own, from an environment without the
//! settings of the build around it: the same sources and compiler give the same bytes, whatever builds `pspf` itself.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};
use std::{env, fs};

/// What the stub is made of, from the workspace root.
const SOURCES: [&str; 15] = [
    "Cargo.toml",
    "Cargo.lock",
    "cpufeatures/Cargo.toml",
    "cpufeatures/src",
    "launcher/Cargo.toml",
    "launcher/src",
    "launcher/stub.ld",
    "format-spec/Cargo.toml",
    "format-spec/src",
    "keys/Cargo.toml",
    "keys/src",
    "unsealed/Cargo.toml",
    "unsealed/src",
    "workenv/Cargo.toml",
    "workenv/src",
];

/// The launchers: the small one, which starts sealed packages that change nothing of their own, and the one with the
/// standard library, which starts all.
const USUAL: &str = "pspf-launcher";
const FULL: &str = "pspf-launcher-full";

/// The variable that asks for the recipe `release`.
const RECIPE: &str = "PSPF_STUB_RECIPE";

fn main() -> ExitCode {
    match build() {
        Ok(()) => ExitCode::SUCCESS,
        Err(message) => {
            // The whole text: cargo shows what a failed build script wrote.
            let _ = writeln!(std::io::stderr(), "{message}");
            ExitCode::FAILURE
        }
    }
}

/// What the stub is built for, and how it is linked.
struct Recipe {
    target: String,
    /// What `pspf --version` says of the stub.
    kind: &'static str,
    /// The C compiler for zstd's decoder, where the target has none of its own.
    c_compiler: Option<String>,
    /// Whether this is the recipe for a release: the standard library's `core` and `alloc` are compiled too, for size.
    release: bool,
    /// The C library and what it needs: without Rust's standard library nobody names them.
    libraries: &'static [&'static str],
}

fn build() -> Result<(), String> {
    println!("cargo::rerun-if-env-changed={RECIPE}");
    let workspace = Path::new(&var("CARGO_MANIFEST_DIR")?).join("..").canonicalize().map_err(|e| e.to_string())?;
    for source in SOURCES {
        println!("cargo::rerun-if-changed={}", workspace.join(source).display());
    }
    let recipe = recipe()?;
    let out_dir = PathBuf::from(var("OUT_DIR")?);
    for (name, variable) in [(USUAL, "PSPF_STUB"), (FULL, "PSPF_STUB_FULL")] {
        let built = run_cargo(&workspace, &target_dir(&out_dir, &recipe).join(name), &recipe, name)?;
        let stub = out_dir.join(name);
        fs::copy(&built, &stub).map_err(|error| format!("copying {}: {error}", built.display()))?;
        println!("cargo::rustc-env={variable}={}", stub.display());
    }
    println!("cargo::rustc-env=PSPF_STUB_KIND={}", recipe.kind);
    println!("cargo::rustc-env=PSPF_STUB_TARGET={}", recipe.target);
    Ok(())
}

/// Where the launchers are compiled, each in a folder of its own: one place for all profiles of `pspf`, which bring the
/// same launchers. In one folder each would compile what they share anew, as their flags differ.
fn target_dir(out_dir: &Path, recipe: &Recipe) -> PathBuf {
    // Cargo marks its target directory so.
    let target = out_dir.ancestors().find(|folder| folder.join("CACHEDIR.TAG").is_file()).unwrap_or(out_dir);
    target.join(if recipe.release { "stub-release" } else { "stub" })
}

/// musl where its standard library is installed: the stub then starts three times as fast as with glibc.
fn recipe() -> Result<Recipe, String> {
    let target = var("TARGET")?;
    let arch = target.split('-').next().unwrap_or_default();
    if !target.contains("-linux-") {
        return Err(format!("`{target}` cannot hold a launcher yet: packages are made for Linux, on Linux"));
    }
    let musl = format!("{arch}-unknown-linux-musl");
    let release = is_release()?;
    if has_std(&musl)? {
        let c_compiler = if found("musl-gcc") { None } else { c_compiler() };
        return Ok(Recipe {
            target: musl,
            kind: if release { "musl, static, release recipe" } else { "musl, static" },
            c_compiler,
            release,
            libraries: &["-Wl,-Bstatic", "-lc"],
        });
    }
    if release {
        return Err(format!("{RECIPE}=release needs the musl target: `rustup target add {musl}`"));
    }
    println!("cargo::warning=the launcher is linked with glibc and starts slower: `rustup target add {musl}`");
    Ok(Recipe {
        target,
        kind: "glibc, static",
        c_compiler: None,
        release,
        libraries: &["-Wl,-Bstatic", "-lgcc_eh", "-lgcc", "-lc"],
    })
}

/// Whether the recipe for a release is asked for and can be followed.
fn is_release() -> Result<bool, String> {
    match env::var(RECIPE).unwrap_or_default().as_str() {
        "" => Ok(false),
        "release" => {
            let sysroot = PathBuf::from(rustc(&["--print", "sysroot"])?);
            if sysroot.join("lib/rustlib/src/rust/library/core").exists() {
                Ok(true)
            } else {
                Err(format!("{RECIPE}=release needs the standard library's source: `rustup component add rust-src`"))
            }
        }
        other => Err(format!("{RECIPE} is `{other}`; it can be `release`, or unset")),
    }
}

/// Whether the compiler has the standard library of this target.
fn has_std(target: &str) -> Result<bool, String> {
    let libdir = rustc(&["--print", "target-libdir", "--target", target])?;
    let Ok(files) = fs::read_dir(libdir) else { return Ok(false) };
    Ok(files.flatten().any(|file| file.file_name().to_string_lossy().starts_with("libstd-")))
}

/// What the compiler answers.
fn rustc(arguments: &[&str]) -> Result<String, String> {
    let program = var("RUSTC")?;
    let output = Command::new(&program).args(arguments).output().map_err(|error| format!("{program}: {error}"))?;
    if !output.status.success() {
        // An architecture without such a target.
        return Ok(String::new());
    }
    Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

/// A compiler of this machine; the one that `CC` names only where no other is found.
fn c_compiler() -> Option<String> {
    println!("cargo::rerun-if-env-changed=CC");
    let usual = ["cc", "gcc", "clang"].into_iter().find(|name| found(name));
    usual.map(str::to_owned).or_else(|| env::var("CC").ok().filter(|named| !named.is_empty()))
}

/// Whether a program of this name is in PATH.
fn found(program: &str) -> bool {
    Command::new(program).arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status().is_ok()
}

/// Builds a launcher and says where it is.
fn run_cargo(workspace: &Path, target_dir: &Path, recipe: &Recipe, name: &str) -> Result<PathBuf, String> {
    let is_usual = name == USUAL;
    let cargo_home = env::var_os("CARGO_HOME").map(PathBuf::from);
    let cargo_home = cargo_home.or_else(|| Some(Path::new(&env::var_os("HOME")?).join(".cargo")));
    let sysroot = PathBuf::from(rustc(&["--print", "sysroot"])?);
    // No path of this machine ends up in the stub: neither in messages nor, through them, in its bytes.
    let places = [(Some(sysroot), "/rust"), (cargo_home, "/cargo"), (Some(workspace.to_owned()), "/pspf")];
    let places = places.into_iter().filter_map(|(from, to)| Some((from?, to)));
    let places: Vec<_> = places.chain([(target_dir.to_owned(), "/stub")]).collect();
    let mut rust_flags = vec!["-Crelocation-model=static".to_owned(), "-Ctarget-feature=+crt-static".to_owned()];
    if is_usual {
        rust_flags.extend(recipe.libraries.iter().map(|library| format!("-Clink-arg={library}")));
    }
    if is_usual && recipe.target.starts_with("x86_64-unknown-linux-musl") {
        let script = workspace.join("launcher").join("stub.ld");
        rust_flags.extend(["-Cforce-unwind-tables=no", "-Clink-arg=-Wl,--build-id=none"].map(str::to_owned));
        rust_flags.push("-Clink-arg=-Wl,--no-eh-frame-hdr".to_owned());
        rust_flags.extend(["-Clink-arg=-T".to_owned(), format!("-Clink-arg={}", script.display())]);
    }
    if is_usual && recipe.release {
        // What seldom happens becomes functions of its own, which the linker script keeps out of the way.
        rust_flags.push("-Cllvm-args=-hot-cold-split=true".to_owned());
    }
    // A fortified call needs functions that only glibc has; the compiler of a distribution may turn it on unasked.
    let mut c_flags = "-U_FORTIFY_SOURCE -fno-stack-protector".to_owned();
    // Of zstd's decoders that differ in speed by nothing that can be measured, one each; nobody reads its error texts.
    c_flags += " -fno-asynchronous-unwind-tables -fno-unwind-tables -DHUF_FORCE_DECOMPRESS_X1=1";
    c_flags += " -DZSTD_FORCE_DECOMPRESS_SEQUENCES_SHORT=1 -DZSTD_STRIP_ERROR_STRINGS=1";
    for (from, to) in &places {
        rust_flags.push(format!("--remap-path-prefix={}={to}", from.display()));
        if !from.to_string_lossy().contains(char::is_whitespace) {
            c_flags += &format!(" -ffile-prefix-map={}={to}", from.display());
        }
    }
    let mut cargo = Command::new(var("CARGO")?);
    cargo.env_clear().envs(env::vars_os().filter(|(name, _)| is_passed(&name.to_string_lossy())));
    let underscored = recipe.target.replace('-', "_");
    cargo
        .current_dir(workspace)
        .args(if is_usual {
            ["build", "--package", "pspf-launcher", "--features", "stub", "--bin"].as_slice()
        } else {
            &["build", "--package", "pspf-unsealed", "--bin"]
        })
        .arg(name)
        .args(["--profile", "stub", "--quiet"])
        .args(["--target", &recipe.target, "--target-dir"])
        .arg(target_dir)
        .env("CARGO_ENCODED_RUSTFLAGS", rust_flags.join("\u{1f}"))
        .env(format!("CFLAGS_{underscored}"), c_flags);
    if is_usual && recipe.release {
        // Decoding and hashing stay as they are: a first start is made of these.
        cargo.env("RUSTC_BOOTSTRAP", "1").args(["-Zbuild-std=core,alloc", "-Zbuild-std-features=optimize_for_size"]);
        cargo.args(["--config", "profile.stub.opt-level='z'"]);
        cargo.args(["--config", "profile.stub.package.curve25519-dalek.opt-level='s'"]);
    }
    if workspace.join("Cargo.lock").exists() {
        cargo.arg("--locked");
    }
    if let Some(compiler) = &recipe.c_compiler {
        cargo.env(format!("CC_{underscored}"), compiler);
    }
    let output = cargo.output().map_err(|error| format!("starting cargo for the launcher: {error}"))?;
    if !output.status.success() {
        let text = String::from_utf8_lossy(&output.stderr);
        return Err(format!("building the launcher for {} ({}):\n{text}", recipe.target, recipe.kind));
    }
    Ok(target_dir.join(&recipe.target).join("stub").join(name))
}

/// What of the environment reaches the build of the stub: where programs and their homes are, the network, the registry
/// and the job server. Nothing that a compiler or another build script reads, of which there is much: the stub's bytes
/// depend on the sources and on the programs that are found, not on who builds.
fn is_passed(name: &str) -> bool {
    const EXACT: [&str; 15] = [
        "CARGO_HOME",
        "CARGO_MAKEFLAGS",
        "HOME",
        "LD_LIBRARY_PATH",
        "PATH",
        "RUSTC",
        "SSH_AUTH_SOCK",
        "SSL_CERT_DIR",
        "SSL_CERT_FILE",
        "TMPDIR",
        "USER",
        "ALL_PROXY",
        "HTTPS_PROXY",
        "HTTP_PROXY",
        "NO_PROXY",
    ];
    const FAMILIES: [&str; 6] =
        ["CARGO_HTTP_", "CARGO_NET_", "CARGO_REGISTRIES_", "CARGO_REGISTRY_", "CARGO_SOURCE_", "RUSTUP_"];
    // Those of the network are written in both ways.
    let upper = name.to_ascii_uppercase();
    EXACT.contains(&name)
        || (upper.ends_with("_PROXY") && EXACT.contains(&upper.as_str()))
        || FAMILIES.iter().any(|family| name.starts_with(family))
}

fn var(name: &str) -> Result<String, String> {
    env::var(name).map_err(|error| format!("{name}: {error}"))
}
