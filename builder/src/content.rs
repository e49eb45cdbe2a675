//! Reads the files of a slot, each exactly as it was when the slot was planned.

use std::fs::File;
use std::io::Read;

use pspf_format::{Class, Hasher, Sha256};

use crate::compress::FrameSink;
use crate::failure::{At, Failure, shown};
use crate::tree::FileStamp;

/// First bytes of a file, as many as the checks of [`crate::pyc`] and [`crate::program`] look at.
pub(crate) const HEAD: usize = 64;

/// What was read of a file.
#[derive(Debug)]
pub(crate) struct Content {
    pub(crate) sha256: Sha256,
    pub(crate) head: Vec<u8>,
}

impl FileStamp {
    /// Opens the file; fails where it is not the one that was planned.
    pub(crate) fn open(&self) -> anyhow::Result<File> {
        let file = File::open(&self.source).at("opening", &self.source)?;
        self.hold(&file)?;
        Ok(file)
    }

    fn hold(&self, file: &File) -> anyhow::Result<()> {
        let metadata = file.metadata().at("reading", &self.source)?;
        if Self::new(self.source.clone(), &metadata) == *self { Ok(()) } else { self.changed() }
    }

    fn changed<T>(&self) -> anyhow::Result<T> {
        Failure::new(Class::Io, format!("{} changed while it was packed", shown(&self.source)))
            .hint("pack again when nothing writes to it")
            .err()
    }

    /// Gives the content to the stream. The bytes that are hashed are the bytes that are packed.
    pub(crate) fn stream(&self, sink: &mut FrameSink<'_>) -> anyhow::Result<Content> {
        self.read(|len, fill| sink.take(len, fill))
    }

    /// Reads the content; `take` is called with its length and a reader for its parts.
    pub(crate) fn read(
        &self,
        take: impl FnOnce(u64, &mut dyn FnMut(&mut [u8]) -> anyhow::Result<()>) -> anyhow::Result<()>,
    ) -> anyhow::Result<Content> {
        let mut file = self.open()?;
        let mut hasher = Hasher::new();
        let mut head = Vec::with_capacity(HEAD);
        take(self.size, &mut |part| {
            match file.read_exact(part) {
                Err(error) if error.kind() == std::io::ErrorKind::UnexpectedEof => self.changed()?,
                read => read.at("reading", &self.source)?,
            }
            hasher.update(part);
            head.extend(part.iter().take(HEAD.saturating_sub(head.len())));
            Ok(())
        })?;
        self.hold(&file)?;
        Ok(Content { sha256: hasher.finish(), head })
    }
}
