//! The package as a file: opened once, read by descriptor from then on.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use pspf_format::{Error as FormatError, SealedIndex, Span, TRAILER_LEN, UnverifiedPackage, VerifiedPackage};

use rustix::fs::{Mode, OFlags};

use crate::{Error, sys};

/// An open package file. Everything is read through this one descriptor, so that the file that was verified is the
/// file that is extracted, whatever happens to its name.
#[derive(Debug)]
pub struct PackageFile {
    file: File,
    len: u64,
    path: PathBuf,
}

impl PackageFile {
    /// Opens a package.
    ///
    /// # Errors
    /// [`Error::Io`] where it cannot be opened or is no regular file.
    pub fn open(path: &Path) -> Result<Self, Error> {
        // Without waiting: a pipe is refused below, not waited for.
        let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let file = rustix::fs::open(path, flags, Mode::empty()).map_err(|errno| Error::io("opening", path, errno))?;
        Self::from_file(file.into(), path)
    }

    /// Takes an open file; `path` is for messages.
    ///
    /// # Errors
    /// [`Error::Io`] where it is no regular file.
    pub fn from_file(file: File, path: &Path) -> Result<Self, Error> {
        let metadata = file.metadata().map_err(|source| Error::io("reading", path, source))?;
        if !metadata.is_file() {
            let source = std::io::Error::other("it is not a regular file");
            return Err(Error::io("reading", path, source));
        }
        Ok(Self { file, len: metadata.len(), path: path.to_owned() })
    }

    /// Its path, for messages and for `PSPF_PACKAGE`.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Its length in bytes when it was opened.
    pub fn size(&self) -> u64 {
        self.len
    }

    /// The descriptor.
    pub fn file(&self) -> &File {
        &self.file
    }

    /// Reads and parses the trailer.
    ///
    /// # Errors
    /// [`Error::Package`]; [`FormatError::SealRemoved`] where only the metadata still says that there was a seal.
    pub fn unverified(&self) -> Result<UnverifiedPackage, Error> {
        let trailer = self.trailer()?;
        match UnverifiedPackage::parse(&trailer, self.len) {
            Err(FormatError::NoSeal) => Err(self.wrong(self.why_no_seal(&trailer))),
            parsed => parsed.map_err(|error| self.wrong(error)),
        }
    }

    /// The last bytes of the file, as many as a trailer has.
    ///
    /// # Errors
    /// [`FormatError::NotAPackage`] for a shorter file.
    pub fn trailer(&self) -> Result<Vec<u8>, Error> {
        let len = TRAILER_LEN as u64;
        let offset = self.len.checked_sub(len).ok_or_else(|| self.wrong(FormatError::NotAPackage))?;
        self.mapped(Span { offset, len })
    }

    /// Tells a package that never had a seal from one that lost it.
    fn why_no_seal(&self, trailer: &[u8]) -> FormatError {
        let look = || -> Result<(), FormatError> {
            let index = pspf_format::UnsealedIndex::parse(trailer, self.len)?;
            let metadata = self.mapped(index.metadata_span()).map_err(|_| FormatError::NoSeal)?;
            let table = self.mapped(index.slot_table_span()).map_err(|_| FormatError::NoSeal)?;
            index.open(&metadata, &table, self.len).map(drop)
        };
        match look() {
            Err(FormatError::SealRemoved) => FormatError::SealRemoved,
            _ => FormatError::NoSeal,
        }
    }

    /// Reads the parts that a sealed index signs and takes them.
    ///
    /// # Errors
    /// [`Error::Package`].
    pub fn opened(&self, sealed: SealedIndex) -> Result<VerifiedPackage, Error> {
        let (metadata, table) = (sealed.metadata_span(), sealed.slot_table_span());
        let end = table.offset.saturating_add(table.len).max(metadata.offset.saturating_add(metadata.len));
        let start = metadata.offset.min(table.offset);
        let len = end.saturating_sub(start);
        // Both in one map where they are neighbours, as they are unless the layout is about to be refused.
        if len > pspf_format::MAX_METADATA + (1 << 16) {
            let (metadata, table) = (self.mapped(metadata)?, self.mapped(table)?);
            return sealed.open(&metadata, &table).map_err(|error| self.wrong(error));
        }
        let both = self.mapped(Span { offset: start, len })?;
        let part = |span: Span| {
            let from = usize::try_from(span.offset.saturating_sub(start)).unwrap_or(usize::MAX);
            let to = from.saturating_add(usize::try_from(span.len).unwrap_or(usize::MAX));
            both.get(from..to).unwrap_or_default()
        };
        sealed.open(part(metadata), part(table)).map_err(|error| self.wrong(error))
    }

    /// A copy of mapped bytes: what is checked is then what is used, even if the file changes meanwhile.
    fn mapped(&self, span: Span) -> Result<Vec<u8>, Error> {
        if span.offset.checked_add(span.len).is_none_or(|end| end > self.len) {
            return Err(self.wrong(FormatError::Layout { part: "span" }));
        }
        sys::map::copy(&self.file, span.offset, usize::try_from(span.len).unwrap_or(usize::MAX))
            .map_err(|source| Error::io("reading", &self.path, source))
    }

    /// Fills `buffer` from `offset`.
    ///
    /// # Errors
    /// [`FormatError::Shortened`] where the file has become shorter, [`Error::Io`] where it cannot be read.
    pub fn read_at(&self, buffer: &mut [u8], offset: u64) -> Result<(), Error> {
        self.file.read_exact_at(buffer, offset).map_err(|source| match source.kind() {
            std::io::ErrorKind::UnexpectedEof => self.wrong(FormatError::Shortened),
            _ => Error::io("reading", &self.path, source),
        })
    }

    /// An error about this package.
    pub fn wrong(&self, source: FormatError) -> Error {
        Error::Package { path: self.path.clone(), source }
    }
}
