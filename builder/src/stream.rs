//! A slot's stream as it will be made, cut into frames before anything is read: which bytes come from where.
//!
//! So every compressor reads, hashes and compresses frames of its own, and no byte goes from thread to thread.

use std::ops::Range;
use std::sync::mpsc::{Receiver, Sender, channel};

use anyhow::Context;

use crate::content::Running;
use crate::tree::FileStamp;

/// A run of bytes of the stream.
pub(crate) enum Piece<'a> {
    /// These bytes, such as a tar header.
    Bytes(Vec<u8>),
    /// So many zeros.
    Zeros(u64),
    /// A file, or what of it lies in one frame.
    File(FilePart<'a>),
}

/// The content of a file, or a part of it.
pub(crate) struct FilePart<'a> {
    pub(crate) stamp: &'a FileStamp,
    pub(crate) range: Range<u64>,
    /// What was read of the file up to here, from whoever has the frame before. A frame is taken only after those
    /// before it, so whoever waits here waits for a frame that somebody is at.
    pub(crate) before: Option<Receiver<Running>>,
    /// Where the file goes on in the next frame.
    pub(crate) after: Option<Sender<Running>>,
}

impl<'a> Piece<'a> {
    /// All of a file.
    pub(crate) fn file(stamp: &'a FileStamp) -> Self {
        Self::File(FilePart { stamp, range: 0..stamp.size, before: None, after: None })
    }

    /// Its length in bytes.
    pub(crate) fn len(&self) -> u64 {
        match self {
            Self::Bytes(bytes) => bytes.len() as u64,
            Self::Zeros(len) => *len,
            Self::File(part) => part.range.end - part.range.start,
        }
    }

    /// The first `len` bytes and the others.
    fn split(self, len: u64) -> (Self, Self) {
        match self {
            Self::Bytes(mut bytes) => {
                let rest = bytes.split_off(usize::try_from(len).map_or(bytes.len(), |len| len.min(bytes.len())));
                (Self::Bytes(bytes), Self::Bytes(rest))
            }
            Self::Zeros(all) => (Self::Zeros(len), Self::Zeros(all - len)),
            Self::File(FilePart { stamp, range, before, after }) => {
                let middle = range.start + len;
                let (send, receive) = channel();
                let first = FilePart { stamp, range: range.start..middle, before, after: Some(send) };
                let second = FilePart { stamp, range: middle..range.end, before: Some(receive), after };
                (Self::File(first), Self::File(second))
            }
        }
    }
}

/// The pieces of one frame after the other.
pub(crate) struct Frames<'a, P: Iterator<Item = Piece<'a>>> {
    pieces: std::iter::Peekable<P>,
    /// What of a piece the frame before had no room for.
    rest: Option<Piece<'a>>,
}

impl<'a, P: Iterator<Item = Piece<'a>>> Frames<'a, P> {
    /// Takes frames from this stream.
    pub(crate) fn of(pieces: P) -> Self {
        Self { pieces: pieces.peekable(), rest: None }
    }

    /// The pieces of the next frame, which has this decoded length.
    pub(crate) fn next(&mut self, len: u32) -> anyhow::Result<Vec<Piece<'a>>> {
        let mut missing = u64::from(len);
        let mut frame = Vec::new();
        while missing > 0 {
            let piece = self.rest.take().or_else(|| self.pieces.next());
            let piece = piece.context("internal error: the stream is shorter than its frames")?;
            if piece.len() > missing {
                let (first, rest) = piece.split(missing);
                frame.push(first);
                self.rest = Some(rest);
                break;
            }
            missing -= piece.len();
            frame.push(piece);
        }
        // An empty file belongs to the frame that its header ends.
        while self.rest.is_none()
            && let Some(empty) = self.pieces.next_if(|piece| piece.len() == 0)
        {
            frame.push(empty);
        }
        Ok(frame)
    }

    /// Fails where the frames were not all of the stream.
    pub(crate) fn end(mut self) -> anyhow::Result<()> {
        let left = self.rest.is_some() || self.pieces.next().is_some();
        if left { anyhow::bail!("internal error: the stream is longer than its frames") } else { Ok(()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(frame: &[Piece<'_>]) -> String {
        let one = |piece: &Piece<'_>| match piece {
            Piece::Bytes(bytes) => String::from_utf8_lossy(bytes).into_owned(),
            Piece::Zeros(len) => format!("0x{len}"),
            Piece::File(FilePart { range, before, after, .. }) => {
                let [before, after] = [before.is_some(), after.is_some()].map(|link| if link { ">" } else { "" });
                format!("{before}{}..{}{after}", range.start, range.end)
            }
        };
        frame.iter().map(one).collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn pieces_are_split_where_frames_end() {
        let file = tempfile::NamedTempFile::new().unwrap();
        file.as_file().set_len(25).unwrap();
        let large = FileStamp::new(file.path().to_owned(), &file.as_file().metadata().unwrap());
        file.as_file().set_len(0).unwrap();
        let empty = FileStamp::new(file.path().to_owned(), &file.as_file().metadata().unwrap());
        let header = |text: &str| Piece::Bytes(text.as_bytes().to_vec());
        let pieces = || {
            [header("ab"), Piece::file(&empty), header("cde"), Piece::file(&large), Piece::Zeros(2), header("f")]
                .into_iter()
                .chain([Piece::file(&empty)])
        };
        let cut = |sizes: &[u32]| {
            let mut frames = Frames::of(pieces());
            let cut: anyhow::Result<Vec<_>> = sizes.iter().map(|&size| Ok(shown(&frames.next(size)?))).collect();
            cut.and_then(|cut| frames.end().map(|()| cut))
        };
        assert_eq!(cut(&[33]).unwrap(), ["ab 0..0 cde 0..25 0x2 f 0..0"]);
        assert_eq!(cut(&[2, 31]).unwrap(), ["ab 0..0", "cde 0..25 0x2 f 0..0"]);
        let expected = ["ab 0..0 c", "de 0..8>", ">8..18>", ">18..25 0x1", "0x1 f 0..0"];
        assert_eq!(cut(&[3, 10, 10, 8, 2]).unwrap(), expected);
        for wrong in [&[32][..], &[34], &[]] {
            assert!(cut(wrong).is_err(), "{wrong:?}");
        }
    }
}
