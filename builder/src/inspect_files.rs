//! Every entry of every slot, from the slot indexes; no content is read.

use std::io::{self, Write};

use pspf_format::tree::{Entry, EntryKind, MAX_INDEX};
use pspf_format::{Mode, Sha256, Slot, Span};
use pspf_launcher::slot_index;
use serde::{Serialize, Serializer};

use crate::inspect_package::Inspection;
use crate::verify_check::Problem;
use crate::verify_report::harmless;

/// The files of a package, read and shown slot by slot: a package may list more of them than fit into memory.
#[derive(Clone, Copy)]
pub(crate) struct Files<'a>(&'a Inspection);

impl<'a> Files<'a> {
    pub(crate) fn of(inspection: &'a Inspection) -> Self {
        Self(inspection)
    }

    fn slots(self) -> impl Iterator<Item = SlotFiles> + 'a {
        let sealed = self.0.metadata.as_ref().map(|metadata| metadata.pspf.slots.len()).unwrap_or_default();
        (0..sealed.max(self.0.slots.len())).map(move |position| SlotFiles::of(self.0, position))
    }

    /// Prints them for people, in the manner of `tar -tv`.
    pub(crate) fn print(self, claimed: &str, out: &mut dyn Write) -> io::Result<()> {
        self.slots().try_for_each(|slot| slot.print(claimed, out))
    }
}

impl Serialize for Files<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.slots())
    }
}

/// The entries of a slot.
#[derive(Serialize)]
struct SlotFiles {
    slot: String,
    /// Why there are none to show.
    problem: Option<String>,
    entries: Vec<FileEntry>,
}

#[derive(Serialize)]
struct FileEntry {
    path: String,
    /// `directory`, `file`, `hardlink` or `symlink`.
    #[serde(rename = "type")]
    kind: &'static str,
    mode: Option<&'static str>,
    size: u64,
    sha256: Option<Sha256>,
    /// Of a hard link the file, of a symbolic link its text.
    target: Option<String>,
}

impl SlotFiles {
    fn of(inspection: &Inspection, position: usize) -> Self {
        let sealed = inspection.metadata.as_ref().map(|metadata| metadata.pspf.slots.as_slice()).unwrap_or_default();
        let slot = inspection.slot_name(position);
        let (Some(metadata), Some(&stored)) = (sealed.get(position), inspection.slots.get(position)) else {
            return Self::unreadable(slot, "nothing says what is in it");
        };
        // In a package that is not verified, table and metadata may contradict each other.
        let index_len = metadata.index.map_or(0, |index| index.stored_size);
        let extent = metadata.extent().unwrap_or(u64::MAX);
        let span = Span { len: extent, ..stored };
        let agree = stored.len == metadata.stored_size || stored.len == extent;
        if !agree || !inspection.holds(span) || index_len > MAX_INDEX {
            return Self::unreadable(slot, "it is not where the slot table says, or its index is too long");
        }
        match slot_index(&inspection.file, Slot { metadata, span }) {
            Ok(index) => Self { slot, problem: None, entries: index.entries.iter().map(FileEntry::new).collect() },
            Err(error) => Self::unreadable(slot, Problem::from(error).message),
        }
    }

    fn unreadable(slot: String, problem: impl Into<String>) -> Self {
        Self { slot, problem: Some(problem.into()), entries: Vec::new() }
    }

    fn print(&self, claimed: &str, out: &mut dyn Write) -> io::Result<()> {
        writeln!(out, "  {claimed}slot `{}`", harmless(&self.slot))?;
        if let Some(problem) = &self.problem {
            writeln!(out, "  cannot be listed: {problem}")?;
        }
        for entry in &self.entries {
            let mode = match (entry.kind, entry.mode) {
                ("directory", _) => "drwxr-xr-x",
                ("symlink", _) => "lrwxrwxrwx",
                ("hardlink", _) => "h---------",
                (_, Some("0755")) => "-rwxr-xr-x",
                _ => "-rw-r--r--",
            };
            let target = entry.target.as_ref().map(|target| format!(" -> {}", harmless(target))).unwrap_or_default();
            writeln!(out, "  {mode}{:>12}  {}{target}", entry.size, harmless(&entry.path))?;
        }
        Ok(())
    }
}

impl FileEntry {
    fn new(entry: &Entry) -> Self {
        let (kind, mode, sha256, target) = match &entry.kind {
            EntryKind::Directory => ("directory", Some("0755"), None, None),
            EntryKind::File { mode: Mode::Executable, sha256, .. } => ("file", Some("0755"), Some(*sha256), None),
            EntryKind::File { mode: Mode::Data, sha256, .. } => ("file", Some("0644"), Some(*sha256), None),
            EntryKind::HardLink { target, .. } => ("hardlink", None, None, Some(target.to_string())),
            EntryKind::SymLink { target } => ("symlink", None, None, Some(target.clone())),
        };
        Self { path: entry.path.to_string(), kind, mode, size: entry.size(), sha256, target }
    }
}
