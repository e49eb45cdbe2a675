//! Payload B: a CPython that runs from wherever it is put.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, bail};

use super::files;

/// What it runs, and what that says.
pub(in crate::bench) const PROGRAM: &str = "import json,ssl,asyncio;print('ok')";
pub(in crate::bench) const SAYS: &[u8] = b"ok\n";

/// Packages are added to the standard library until there are so many files, and no more than so many bytes.
const FILES: u64 = 3_000;
const BYTES: u64 = 92_000_000;
/// What comes first of `site-packages`; the others follow in the order of names.
const FIRST: [&str; 4] = ["pip", "setuptools", "pkg_resources", "_distutils_hack"];

/// An installed CPython.
#[derive(Debug)]
pub(in crate::bench) struct Installed {
    /// What its files are below.
    pub(in crate::bench) prefix: PathBuf,
    program: PathBuf,
    /// Its standard library, below `prefix`.
    pub(in crate::bench) stdlib: PathBuf,
    /// Where packages are added; below `stdlib` as a rule.
    packages: PathBuf,
    /// Such as `3.11.7`.
    pub(in crate::bench) version: String,
}

impl Installed {
    /// The one of this prefix, else what `python3` starts.
    pub(in crate::bench) fn find(prefix: Option<&Path>) -> anyhow::Result<Self> {
        let program = prefix.map_or_else(|| PathBuf::from("python3"), |prefix| prefix.join("bin/python3"));
        let code = "import os,platform,sys,sysconfig\nbase={'base':sys.base_prefix,'installed_base':sys.base_prefix}\n\
            print(sys.base_prefix)\nprint(os.path.realpath(getattr(sys,'_base_executable',sys.executable)))\n\
            print(sysconfig.get_path('stdlib',vars=base))\nprint(sysconfig.get_path('purelib',vars=base))\n\
            print(platform.python_version())";
        let output = Command::new(&program).args(["-I", "-c", code]).output();
        let output = output.with_context(|| format!("starting {}, which payload B is made of", program.display()))?;
        let text = String::from_utf8(output.stdout).context("the paths of python3")?;
        let lines: Vec<&str> = text.lines().collect();
        let &[prefix, program, stdlib, packages, version] = lines.as_slice() else {
            bail!("{} tells nothing of its prefix: {}", program.display(), String::from_utf8_lossy(&output.stderr));
        };
        let [prefix, program, stdlib, packages] = [prefix, program, stdlib, packages].map(PathBuf::from);
        if !stdlib.starts_with(&prefix) || !stdlib.join("os.py").exists() {
            bail!("{} is no library below {}; name another prefix with --python", stdlib.display(), prefix.display());
        }
        Ok(Self { prefix, program, stdlib, packages, version: version.to_owned() })
    }

    /// What tells one installation from another.
    pub(in crate::bench) fn identity(&self) -> String {
        format!("{} {}", self.prefix.display(), self.version)
    }

    /// Copies it: interpreter, libraries, packages; without tests and what only linking needs, and compiled so that no
    /// file is ever compared with the time of another one.
    pub(in crate::bench) fn copy(&self, to: &Path) -> anyhow::Result<()> {
        files::copy(&self.program, &to.join("bin/python3"))?;
        let library = self.prefix.join("lib");
        for entry in fs::read_dir(&library).into_iter().flatten().flatten() {
            if entry.file_name().to_string_lossy().starts_with("libpython3.") && entry.file_type()?.is_file() {
                files::copy(&entry.path(), &to.join("lib").join(entry.file_name()))?;
            }
        }
        let stdlib = to.join(self.stdlib.strip_prefix(&self.prefix)?);
        files::copy_tree(&self.stdlib, &stdlib, &|name| {
            let left_out = ["test", "site-packages", "dist-packages", "__pycache__"];
            !left_out.contains(&name) && !name.starts_with("config-") && !name.starts_with("_test")
        })?;
        self.add_packages(to, &stdlib.join("site-packages"))?;
        make_relative(to, &library)?;
        compile(to, &stdlib)
    }

    fn add_packages(&self, tree: &Path, to: &Path) -> anyhow::Result<()> {
        let mut held = Estimate::default();
        files::walk(tree, &|_| true, &mut |path, len| {
            held.add(path, len);
            Ok(())
        })?;
        let mut names = crate::sandbox::names(&self.packages);
        names.sort_by_key(|name| (!FIRST.contains(&name.as_str()), name.clone()));
        for name in names.iter().filter(|name| *name != "__pycache__") {
            let from = self.packages.join(name);
            let mut more = held;
            if from.is_dir() {
                files::walk(&from, &wanted, &mut |path, len| {
                    more.add(path, len);
                    Ok(())
                })?;
            }
            let first = FIRST.contains(&name.as_str());
            if from.is_dir() && more.bytes <= BYTES && (first || held.files < FILES) {
                files::copy_tree(&from, &to.join(name), &wanted)?;
                held = more;
            }
        }
        Ok(())
    }
}

fn wanted(name: &str) -> bool {
    name != "__pycache__"
}

/// What a tree will hold when it is compiled.
#[derive(Clone, Copy, Default)]
struct Estimate {
    files: u64,
    bytes: u64,
}

impl Estimate {
    fn add(&mut self, path: &Path, len: u64) {
        let compiled = path.extension().is_some_and(|extension| extension == "py");
        self.files += 1 + u64::from(compiled);
        self.bytes += len + if compiled { len } else { 0 };
    }
}

/// The same bytes wherever the tree is: the paths inside begin with `/python`.
fn compile(tree: &Path, stdlib: &Path) -> anyhow::Result<()> {
    let mut python = Command::new(tree.join("bin/python3"));
    python.args([
        "-I",
        "-m",
        "compileall",
        "-qq",
        "-f",
        "-j",
        "0",
        "--invalidation-mode",
        "unchecked-hash",
        "-p",
        "/python",
    ]);
    // A file that no Python 3 compiles is not imported either: the exit code says no more than that there is one.
    let output = python.arg("-s").arg(tree).arg(stdlib).output().context("starting the copied python3")?;
    if !stdlib.join("__pycache__").exists() {
        bail!("nothing was compiled: {}", String::from_utf8_lossy(&output.stderr));
    }
    Ok(())
}

/// Gives every library path in an ELF file that names the original prefix another text, relative to the file itself.
fn make_relative(tree: &Path, library: &Path) -> anyhow::Result<()> {
    let from = [b"\0", library.as_os_str().as_encoded_bytes(), b"\0"].concat();
    let to = b"\0$ORIGIN/../lib\0";
    files::walk(tree, &|_| true, &mut |path, _| {
        let path = tree.join(path);
        let mut bytes = fs::read(&path)?;
        if !bytes.starts_with(b"\x7fELF") {
            return Ok(());
        }
        let mut changed = false;
        while let Some(at) = bytes.windows(from.len()).position(|window| window == from) {
            if to.len() > from.len() {
                bail!("{}: no room for a relative library path", path.display());
            }
            bytes[at..at + from.len()].fill(0);
            bytes[at..at + to.len()].copy_from_slice(to);
            changed = true;
        }
        if changed {
            fs::write(&path, bytes)?;
        }
        Ok(())
    })
}
