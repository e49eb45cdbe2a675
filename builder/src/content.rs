//! Reads the files of a slot, each exactly as it was when the slot was planned.

use std::fs::File;
use std::os::unix::fs::FileExt;

use pspf_format::{Class, Hasher, Sha256};

use crate::failure::{At, Failure, shown};
use crate::tree::FileStamp;

/// First bytes of a file, as many as the checks of [`crate::pyc`] and [`crate::program`] look at.
pub(crate) const HEAD: usize = 64;
/// A file that does not go into frames is read through a buffer of this many bytes.
const BUFFER: usize = 1 << 20;

/// What was read of a file.
#[derive(Debug)]
pub(crate) struct Content {
    pub(crate) sha256: Sha256,
    pub(crate) head: Vec<u8>,
}

/// What was read of a file so far. The bytes that are hashed are the bytes that are packed.
#[derive(Clone, Default)]
pub(crate) struct Running {
    hasher: Hasher,
    head: Vec<u8>,
}

impl Running {
    /// Takes the next bytes of the file.
    pub(crate) fn update(&mut self, bytes: &[u8]) {
        self.hasher.update(bytes);
        self.head.extend(bytes.iter().take(HEAD.saturating_sub(self.head.len())));
    }

    /// Digest of what was read up to here.
    pub(crate) fn digest(&self) -> Sha256 {
        self.hasher.clone().finish()
    }

    /// The file is read to its end.
    pub(crate) fn finish(self) -> Content {
        Content { sha256: self.hasher.finish(), head: self.head }
    }
}

impl FileStamp {
    /// Opens the file; fails where it is not the one that was planned.
    pub(crate) fn open(&self) -> anyhow::Result<File> {
        let file = self.open_unchecked()?;
        self.hold(&file)?;
        Ok(file)
    }

    fn open_unchecked(&self) -> anyhow::Result<File> {
        File::open(&self.source).at("opening", &self.source)
    }

    fn hold(&self, file: &File) -> anyhow::Result<()> {
        let metadata = file.metadata().at("reading", &self.source)?;
        if self.is_of(&metadata) { Ok(()) } else { self.changed() }
    }

    fn changed(&self) -> anyhow::Result<()> {
        Failure::new(Class::Io, format!("{} changed while it was packed", shown(&self.source)))
            .hint("pack again when nothing writes to it")
            .err()
    }

    fn fill_from(&self, file: &File, buffer: &mut [u8], offset: u64) -> anyhow::Result<()> {
        match file.read_exact_at(buffer, offset) {
            Err(error) if error.kind() == std::io::ErrorKind::UnexpectedEof => self.changed(),
            read => read.at("reading", &self.source),
        }
    }

    /// Fills `buffer` with what the file holds from `offset`.
    pub(crate) fn fill(&self, buffer: &mut [u8], offset: u64) -> anyhow::Result<()> {
        // One look afterwards tells of every change since the file was planned.
        let file = self.open_unchecked()?;
        self.fill_from(&file, buffer, offset)?;
        self.hold(&file)
    }

    /// Reads the whole file; `take` gets one part after the other.
    pub(crate) fn read(&self, mut take: impl FnMut(&[u8]) -> anyhow::Result<()>) -> anyhow::Result<Content> {
        let file = self.open()?;
        let mut running = Running::default();
        let mut buffer = vec![0; usize::try_from(self.size).map_or(BUFFER, |size| size.min(BUFFER))];
        let mut at = 0;
        while at < self.size {
            let len = usize::try_from(self.size - at).map_or(BUFFER, |left| left.min(BUFFER));
            let part = buffer.get_mut(..len).unwrap_or_default();
            self.fill_from(&file, part, at)?;
            running.update(part);
            take(part)?;
            at += len as u64;
        }
        self.hold(&file)?;
        Ok(running.finish())
    }
}
