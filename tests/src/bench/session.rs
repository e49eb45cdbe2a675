//! One run of the bench: what it measures with, and what it found so far.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use super::args::{Args, Payload};
use super::counts::Counts;
use super::figure::Figure;
use super::group::Group;
use super::machine::{self, Machine};
use super::payloads::{blob, files, many, once, python};
use super::place::Place;
use super::size::Size;
use super::spawn::Streams;
use super::tools::{Pspf, Stub};
use super::{compile, report};

/// Bytes that a payload, its packages and what is extracted of them take.
fn room(payload: Payload) -> u64 {
    match payload {
        Payload::A => 100_000_000,
        Payload::B => 1_500_000_000,
        Payload::C | Payload::D => 2_000_000_000,
        Payload::J => 1_000_000_000,
        Payload::E => 4_000_000_000,
        Payload::P => 2_000_000_000,
    }
}

/// All that is needed to measure, and all that was measured.
pub(super) struct Session {
    pub(super) args: Args,
    pub(super) machine: Machine,
    pub(super) load_before: f64,
    pub(super) streams: Streams,
    pub(super) pspf: Pspf,
    /// Payload A.
    pub(super) hello: PathBuf,
    /// What tells how much memory a program needs.
    pub(super) meter: PathBuf,
    /// The launchers that packages are measured with, the built-in one first.
    pub(super) stubs: Vec<Stub>,
    pub(super) groups: Vec<Group>,
    pub(super) counts: Vec<Counts>,
    pub(super) sizes: Vec<Size>,
    pub(super) figures: Vec<Figure>,
    /// What a reader of the figures must know besides.
    pub(super) notes: Vec<String>,
    /// The last field: it removes the work directory.
    pub(super) place: Place,
}

impl Session {
    pub(super) fn new(args: Args) -> anyhow::Result<Self> {
        let load_before = machine::load()?;
        let needed = args.payloads().into_iter().map(room).max().unwrap_or_default();
        // Each of the other tools makes a file as large as a package, and a tree as large as the payload.
        let needed = if args.peers { needed * 2 } else { needed };
        let place = Place::find(args.work.as_deref(), needed)?;
        let pspf = Pspf::build(&place)?;
        let mut stubs = vec![Stub { name: "pspf".into(), file: None }];
        if let Some(file) = &args.stub {
            stubs.push(Stub { name: "pspf, --stub".into(), file: Some(file.canonicalize()?) });
        }
        std::fs::create_dir_all(place.path("tmp"))?;
        let mut session = Self {
            machine: Machine::look()?,
            load_before,
            streams: Streams::new()?,
            hello: compile::compile("hello", compile::HELLO, &place.root)?,
            meter: compile::compile("meter", compile::METER, &place.root)?,
            pspf,
            stubs,
            groups: Vec::new(),
            counts: Vec::new(),
            sizes: Vec::new(),
            figures: Vec::new(),
            notes: Vec::new(),
            place,
            args,
        };
        if !session.place.in_memory() {
            let name = &session.place.file_system;
            session
                .notes
                .push(format!("caches are on {name}, not in memory: first starts measure the file system too"));
        }
        Ok(session)
    }

    /// The launcher that what is measured once is packed with: the one of `--stub` where it is given.
    pub(super) fn stub(&self) -> Stub {
        self.stubs.last().cloned().unwrap_or_else(|| Stub { name: "pspf".into(), file: None })
    }

    /// The environment of everything that is started, with the cache of packages in this directory.
    pub(super) fn env(&self, cache: &Path) -> Vec<(OsString, OsString)> {
        self.place.env(cache)
    }

    /// Payload B.
    pub(super) fn python(&mut self) -> anyhow::Result<PathBuf> {
        let installed = python::Installed::find(self.args.python.as_deref())?;
        let tree = once(&self.place, "python", &installed.identity(), |to| installed.copy(to))?;
        let extent = files::extent(&tree)?;
        self.note(format!("B is CPython {} with {extent}", installed.version));
        Ok(tree)
    }

    /// The large file of payload C.
    pub(super) fn blob(&mut self) -> anyhow::Result<PathBuf> {
        let installed = python::Installed::find(self.args.python.as_deref())?;
        let made =
            once(&self.place, "blob", &installed.identity(), |to| blob::make(&to.join("blob"), &installed.stdlib))?;
        let file = made.join("blob");
        let bytes = std::fs::metadata(&file)?.len();
        let short = if bytes < blob::BYTES { "; this machine holds no more" } else { "" };
        self.note(format!("C is A and a file of {:.1} MiB{short}", bytes as f64 / f64::from(1 << 20)));
        Ok(file)
    }

    /// Payload E.
    pub(super) fn many(&mut self) -> anyhow::Result<PathBuf> {
        let installed = python::Installed::find(self.args.python.as_deref())?;
        // The prefix of a distribution is the whole system.
        let whole = installed.prefix == Path::new("/usr");
        let source = if whole { &installed.stdlib } else { &installed.prefix };
        let tree = once(&self.place, "many", &installed.identity(), |to| many::make(to, source))?;
        let extent = files::extent(&tree)?;
        self.note(format!("E is {extent}, from {}", source.display()));
        Ok(tree)
    }

    /// Notes something, once.
    pub(super) fn note(&mut self, text: String) {
        if !self.notes.contains(&text) {
            self.notes.push(text);
        }
    }

    /// Keeps a group, and prints its table.
    pub(super) fn keep(&mut self, group: Group) -> anyhow::Result<()> {
        report::table(&group)?;
        self.groups.push(group);
        Ok(())
    }
}
