//! The package as a file: opened once, read by descriptor from then on.

use alloc::boxed::Box;
use alloc::ffi::CString;
use alloc::vec;
use alloc::vec::Vec;
use core::ffi::CStr;

use pspf_format::{
    Error as FormatError, SealedIndex, Span, TRAILER_LEN, Trailer, UnsealedIndex, UnverifiedPackage, VerifiedPackage,
};
use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::fs::{CWD, FileType, Mode, OFlags};

use crate::{Error, disk};

/// An open package file. Everything is read through this one descriptor, so that the file that was verified is the
/// file that is extracted, whatever happens to its name. Everything is read into memory of our own, once, so that what
/// was checked is what is used, whatever happens to the file.
#[derive(Debug)]
pub struct PackageFile {
    file: OwnedFd,
    len: u64,
    path: CString,
}

impl PackageFile {
    /// Opens a package.
    ///
    /// # Errors
    /// [`Error::Io`] where it cannot be opened, [`Error::NotAFile`] where it is no regular file.
    pub fn open(path: &CStr) -> Result<Self, Error> {
        // Without waiting: a pipe is refused below, not waited for.
        let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let file = disk::open_at(CWD, path, flags, Mode::empty()).map_err(|errno| Error::io("opening", path, errno))?;
        Self::from_file(file, path)
    }

    /// Takes an open file; `path` is for messages.
    ///
    /// # Errors
    /// [`Error::NotAFile`] where it is no regular file.
    pub fn from_file(file: OwnedFd, path: &CStr) -> Result<Self, Error> {
        let stat = rustix::fs::fstat(&file).map_err(|errno| Error::io("reading", path, errno))?;
        if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
            return Err(Error::NotAFile { path: path.into(), what: "it is not a regular file" });
        }
        Ok(Self { file, len: u64::try_from(stat.st_size).unwrap_or(0), path: path.into() })
    }

    /// Its path, for messages and for `PSPF_PACKAGE`.
    pub fn path(&self) -> &CStr {
        &self.path
    }

    /// Its length in bytes when it was opened.
    pub fn size(&self) -> u64 {
        self.len
    }

    /// The descriptor.
    pub fn file(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }

    /// Reads and parses the trailer.
    ///
    /// # Errors
    /// [`Error::Package`]; [`FormatError::SealRemoved`] where only the metadata still says that there was a seal.
    pub fn unverified(&self) -> Result<UnverifiedPackage, Error> {
        let mut trailer = [0; TRAILER_LEN];
        self.read_trailer(&mut trailer)?;
        UnverifiedPackage::parse(&trailer, self.len).map_err(|error| {
            let error = if error == FormatError::NoSeal { self.why_no_seal() } else { error };
            self.wrong(error)
        })
    }

    /// The last bytes of the file, as many as a trailer has.
    ///
    /// # Errors
    /// [`FormatError::NotAPackage`] for a shorter file.
    pub fn trailer(&self) -> Result<Box<Trailer>, Error> {
        let mut trailer = Box::new([0; TRAILER_LEN]);
        self.read_trailer(&mut trailer)?;
        Ok(trailer)
    }

    fn read_trailer(&self, trailer: &mut Trailer) -> Result<(), Error> {
        let offset = self.len.checked_sub(TRAILER_LEN as u64).ok_or_else(|| self.wrong(FormatError::NotAPackage))?;
        self.read_at(trailer, offset)
    }

    /// Tells a package that never had a seal from one that lost it.
    fn why_no_seal(&self) -> FormatError {
        let index = self.trailer().ok().and_then(|trailer| UnsealedIndex::parse(&trailer, self.len).ok());
        index.map_or(FormatError::NoSeal, |index| index.why(&self.read(index.metadata_span()).unwrap_or_default()))
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
        // Both in one piece where they are neighbours, as they are unless the layout is about to be refused.
        if len > pspf_format::MAX_METADATA + (1 << 16) {
            let (metadata, table) = (self.read(metadata)?, self.read(table)?);
            return sealed.open(&metadata, &table).map_err(|error| self.wrong(error));
        }
        let both = self.read(Span { offset: start, len })?;
        let part = |span: Span| {
            let from = usize::try_from(span.offset.saturating_sub(start)).unwrap_or(usize::MAX);
            let to = from.saturating_add(usize::try_from(span.len).unwrap_or(usize::MAX));
            both.get(from..to).unwrap_or_default()
        };
        sealed.open(part(metadata), part(table)).map_err(|error| self.wrong(error))
    }

    /// An index holds its spans to the file and to the format's limits.
    fn read(&self, span: Span) -> Result<Vec<u8>, Error> {
        let mut bytes = vec![0; usize::try_from(span.len).unwrap_or(usize::MAX)];
        self.read_at(&mut bytes, span.offset)?;
        Ok(bytes)
    }

    /// Fills `buffer` from `offset`.
    ///
    /// # Errors
    /// [`FormatError::Shortened`] where the file has become shorter, [`Error::Io`] where it cannot be read.
    pub fn read_at(&self, buffer: &mut [u8], offset: u64) -> Result<(), Error> {
        match disk::read_at(self.file(), buffer, offset) {
            Ok(len) if len == buffer.len() => Ok(()),
            Ok(_) => Err(self.wrong(FormatError::Shortened)),
            Err(errno) => Err(Error::io("reading", &self.path, errno)),
        }
    }

    /// An error about this package.
    #[cold]
    pub fn wrong(&self, source: FormatError) -> Error {
        Error::Package { path: self.path.clone(), source }
    }
}
