//! What is measured with each payload, and which figures come of it.

mod apps;
mod blob;
mod hello;
mod many;
mod pack;
mod peers;
mod python;
mod shared;
mod sizes;
mod verify;

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::Context;

use super::args::Payload;
use super::case::Case;
use super::counts::Counts;
use super::figure::{Figure, Unit};
use super::group::Group;
use super::session::Session;
use super::spawn::Program;
use super::tools::{self, Stub};

pub(super) use peers::HELLO_JS;

/// The most memory that a warm start may use, and that a first start may.
const WARM_RSS: f64 = 2e6;
const COLD_RSS: f64 = 64.0 * 1024.0 * 1024.0;
/// The most system calls of a warm start.
const CALLS: f64 = 25.0;

/// Measures all that is wanted of a payload.
pub(super) fn run(session: &mut Session, payload: Payload) -> anyhow::Result<()> {
    match payload {
        Payload::A => hello::run(session),
        Payload::B => python::run(session),
        Payload::C => blob::run(session),
        Payload::D => shared::run(session),
        Payload::E => many::run(session),
        Payload::J => peers::javascript(session),
        Payload::P => apps::run(session),
    }
}

/// What a package starts, with its arguments and what it says then.
#[derive(Clone, Copy)]
struct Start<'a> {
    args: &'a [&'a str],
    says: &'a [u8],
}

impl Session {
    /// The program itself, as its file is. It is always the first of its group.
    fn bare(&self, program: &Path, start: Start<'_>) -> Case {
        self.start("bare", program, start, &self.place.path("no-cache"))
    }

    /// A package whose cache is filled in the first round, and stays.
    fn warm(&self, stub: &Stub, package: &Path, start: Start<'_>) -> Case {
        self.start(&stub.name, package, start, &warm_cache(package))
    }

    /// A package that finds no cache, and leaves none.
    fn cold(&self, stub: &Stub, package: &Path, start: Start<'_>) -> Case {
        let cache = self.place.path("cold");
        self.start(&stub.name, package, start, &cache).leaving(cache)
    }

    fn start(&self, name: &str, program: &Path, start: Start<'_>, cache: &Path) -> Case {
        let words = [program.as_os_str()].into_iter().chain(start.args.iter().map(AsRef::as_ref)).map(OsString::from);
        Case::new(name, Program::new(words, self.env(cache))).saying(start.says)
    }

    /// A program of the system, with these words after its name.
    fn tool(&self, name: &str, tool: &str, words: &[&dyn AsRef<std::ffi::OsStr>]) -> anyhow::Result<Case> {
        let program = tools::find(tool)?;
        let words = [program.as_os_str()].into_iter().chain(words.iter().map(|w| w.as_ref())).map(OsString::from);
        Ok(Case::new(name, Program::new(words, self.env(&self.place.path("no-cache")))))
    }

    /// `tar -xf` of a tree, uncompressed, into the same file system.
    fn untar(&self, archive: &Path) -> anyhow::Result<Case> {
        let to = self.place.path("untar");
        Ok(self.tool("tar -xf", "tar", &[&"-xf", &archive, &"-C", &to])?.leaving(&to).into_fresh(to))
    }

    /// An archive of a tree, not compressed.
    fn archive(&self, name: &str, tree: &Path) -> anyhow::Result<PathBuf> {
        let archive = self.place.path(format!("{name}.tar"));
        let mut tar = std::process::Command::new(tools::find("tar")?);
        tar.args(["--sort=name", "-C"]).arg(tree).arg("-cf").arg(&archive).arg(".");
        anyhow::ensure!(tar.status()?.success(), "tar of {}", tree.display());
        Ok(archive)
    }

    /// Packs a manifest once for each launcher; the packages are in the order of the launchers.
    fn packages(&self, name: &str, input: &Path) -> anyhow::Result<Vec<(Stub, PathBuf)>> {
        let pack = |(number, stub): (usize, &Stub)| {
            let package = self.place.path(format!("{name}-{number}.psp"));
            self.pspf.pack(input, &package, stub, &[])?;
            self.place.discard(&warm_cache(&package))?;
            Ok((stub.clone(), package))
        };
        self.stubs.iter().enumerate().map(pack).collect()
    }

    /// Writes a manifest into a directory of its own.
    fn manifest(&self, name: &str, command: &str, slots: &[(&str, &Path)]) -> anyhow::Result<PathBuf> {
        let directory = self.place.path(format!("{name}.manifest"));
        fs::create_dir_all(&directory)?;
        let mut text = format!("[package]\nname = '{name}'\nversion = '1'\n[run]\ncommand = [{command}]\n");
        for (id, source) in slots {
            let source = source.to_str().context("the path of the work directory is not UTF-8")?;
            text.push_str(&format!("[[slot]]\nid = '{id}'\nsource = '{source}'\n"));
        }
        let file = directory.join("pspf.toml");
        fs::write(&file, text)?;
        Ok(file)
    }

    /// Counts what a warm start does, and sets it beside what it may do. Each package is counted once.
    fn count(&mut self, payload: &str, stub: &Stub, package: &Path, start: Start<'_>) -> anyhow::Result<Counts> {
        let name = format!("{payload}, {}", stub.name);
        if let Some(counts) = self.counts.iter().find(|counts| counts.name == name) {
            return Ok(counts.clone());
        }
        // The first start fills the cache.
        self.prepare(self.warm(stub, package, start))?;
        let counts = Counts::of(self, &name, package, &warm_cache(package))?;
        if let Some(calls) = &counts.calls {
            let what = format!("{name}: system calls of the launcher");
            self.figures.push(Figure::count("count", what, Unit::Count, calls.len() as f64).at_most(CALLS));
        }
        if let Some(instructions) = counts.instructions {
            let what = format!("{name}: instructions of the launcher");
            self.figures.push(Figure::count("count", what, Unit::Count, instructions as f64));
        }
        self.counts.push(counts.clone());
        Ok(counts)
    }

    /// The most memory of a case, beside what it may use.
    fn judge_memory(&mut self, topic: &'static str, group: &Group, case: &str, at_most: f64) {
        if let Some(bytes) = group.find(case).and_then(|series| series.peak_rss) {
            let what = format!("{}, {case}: peak RSS", group.name.split(' ').next().unwrap_or_default());
            self.figures.push(Figure::count(topic, what, Unit::Bytes, bytes as f64).at_most(at_most));
        }
    }
}

/// Where the slots of a package stay while it is started again and again.
fn warm_cache(package: &Path) -> PathBuf {
    package.with_extension("cache")
}
