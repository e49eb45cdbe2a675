//! Reads a package as far as it can be read, and keeps apart what is proven and what is claimed.

use std::path::{Path, PathBuf};

use pspf_format::{
    Error as FormatError, INDEX_LEN, IndexBlock, MAX_METADATA, MAX_SLOTS, Metadata, Record, Sha256, SlotDescriptor,
    Span, TRAILER_LEN, Trailer, UnsealedPackage, VerifiedPackage,
};
use pspf_launcher::{Error, PackageFile};
use pspf_unsealed::Opened;

use crate::inspect_fields::{Entry, entries};
use crate::verify_check::{Problem, open};

/// What all that is shown rests on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Status {
    /// Every signature is valid; index, metadata and slot table are what was signed.
    Verified,
    /// A package without a seal: name, version and slot digests are what its own key signed, the rest is claimed.
    Unsealed,
    /// Nothing is proven.
    Claimed,
}

impl Status {
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Verified => "verified",
            Self::Unsealed => "unsealed",
            Self::Claimed => "claimed",
        }
    }
}

/// A package that was read.
#[derive(Debug)]
pub(crate) struct Inspection {
    pub(crate) path: PathBuf,
    pub(crate) file: PackageFile,
    pub(crate) status: Status,
    /// Why it is not verified.
    pub(crate) problem: Option<Problem>,
    /// Why the metadata could not be read, where that is another reason.
    pub(crate) metadata_problem: Option<Problem>,
    pub(crate) trailer: Box<Trailer>,
    pub(crate) index: IndexBlock,
    /// The signatures that are in the seal, each with what came of verifying it.
    pub(crate) entries: Vec<Entry>,
    pub(crate) package_id: Option<Sha256>,
    pub(crate) metadata: Option<Metadata>,
    pub(crate) unsealed: Option<UnsealedPackage>,
    /// Where each slot is, by the slot table.
    pub(crate) slots: Vec<Span>,
}

impl Inspection {
    /// Reads the package at `path`.
    ///
    /// # Errors
    /// Where there is nothing to show: no file, no trailer, another format.
    pub(crate) fn of(path: &Path) -> Result<Self, Error> {
        let file = open(path)?;
        let trailer = file.trailer()?;
        let (package, problem) = match verified(&file) {
            Ok(package) => (Some(package), None),
            Err(
                error @ (Error::Io { .. }
                | Error::Package {
                    source: FormatError::NotAPackage | FormatError::FormatVersion { .. }, ..
                }),
            ) => return Err(error),
            Err(error) => (None, Some(error)),
        };
        let index = trailer.get(4..4 + INDEX_LEN).and_then(IndexBlock::from_bytes);
        let index = index.ok_or_else(|| file.wrong(FormatError::NotAPackage))?;
        let mut this = Self {
            path: path.to_owned(),
            status: Status::Claimed,
            metadata_problem: None,
            entries: entries(trailer.as_slice()),
            problem: None,
            package_id: None,
            metadata: None,
            unsealed: None,
            slots: Vec::new(),
            trailer,
            index,
            file,
        };
        match (package, problem) {
            (Some(package), _) => this.take(&package),
            (None, Some(Error::Package { source: FormatError::NoSeal, .. })) => this.claims_without_seal(),
            (None, problem) => {
                this.problem = problem.map(Problem::from);
                this.claims();
            }
        }
        Ok(this)
    }

    fn take(&mut self, package: &VerifiedPackage) {
        self.status = Status::Verified;
        self.package_id = Some(package.package_id());
        self.metadata = Some(package.metadata().clone());
        self.slots = package.slots().map(|slot| slot.span).collect();
    }

    fn claims_without_seal(&mut self) {
        match Opened::open(&self.file) {
            Ok(opened) => {
                self.status = Status::Unsealed;
                self.problem = Some(FormatError::NoSeal.into());
                self.slots = opened.package().slots.iter().map(|slot| slot.span).collect();
                self.unsealed = Some(opened.package().clone());
            }
            Err(error) => {
                self.problem = Some(error.into());
                self.claims();
            }
        }
    }

    /// Takes what can be read of a package that failed a check.
    fn claims(&mut self) {
        let metadata = self.index.metadata_span();
        match self.part(metadata, MAX_METADATA).map(|stored| Metadata::parse(&stored)) {
            Some(Ok(metadata)) => self.metadata = Some(metadata),
            Some(Err(error)) => self.metadata_problem = Some(error.into()),
            None => self.metadata_problem = Some(FormatError::Layout { part: "metadata" }.into()),
        }
        let len = u64::from(self.index.slot_count).saturating_mul(SlotDescriptor::LEN as u64);
        let table = Span { offset: self.index.slot_table_offset, len };
        let table = self.part(table, (MAX_SLOTS * SlotDescriptor::LEN) as u64).unwrap_or_default();
        let rows = table.chunks_exact(SlotDescriptor::LEN).filter_map(SlotDescriptor::from_bytes);
        self.slots = rows.map(|row| Span { offset: row.offset, len: row.size }).collect();
    }

    /// Bytes that the file claims to have, if it has them and they are at most this many.
    fn part(&self, span: Span, most: u64) -> Option<Vec<u8>> {
        if span.len > most || !self.holds(span) {
            return None;
        }
        let mut bytes = vec![0; usize::try_from(span.len).ok()?];
        self.file.read_at(&mut bytes, span.offset).ok()?;
        Some(bytes)
    }

    /// Whether these bytes are in the file.
    pub(crate) fn holds(&self, span: Span) -> bool {
        span.end().is_some_and(|end| end <= self.file.size())
    }

    /// Where the trailer is.
    pub(crate) fn trailer_span(&self) -> Span {
        let len = TRAILER_LEN as u64;
        Span { offset: self.file.size().saturating_sub(len), len }
    }

    /// What a slot is called: its id, or its number where no id is known.
    pub(crate) fn slot_name(&self, position: usize) -> String {
        let sealed = self.metadata.as_ref().and_then(|metadata| metadata.pspf.slots.get(position));
        let unsealed = self.unsealed.as_ref().and_then(|package| package.slots.get(position));
        let id = sealed.map(|slot| slot.id.as_str()).or(unsealed.map(|slot| slot.id.as_str()));
        id.map_or_else(|| position.to_string(), str::to_owned)
    }
}

/// A package with every signature verified, and metadata and slot table compared; nothing else is read.
fn verified(file: &PackageFile) -> Result<VerifiedPackage, Error> {
    let sealed = file.unverified()?.verify_all().map_err(|error| file.wrong(error))?;
    file.opened(sealed)
}
