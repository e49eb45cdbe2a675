//! How the content of a frame becomes its stored bytes (SPEC §7.1).

use anyhow::Context;
use flate2::{Compress, Compression, FlushCompress, Status};
use pspf_format::deflate_frame::{HEADER, Place, TRAILER_LEN};
use pspf_format::{Coding, deflate_frame, zstd_frame};

use crate::compress::Compressor;
use crate::memory;

/// One thread's coder, which keeps its memory from frame to frame.
pub(crate) enum Coder {
    Plain,
    /// The compressor, and where what it made is decoded again.
    Deflate(Box<Compress>, Vec<u8>),
    Zstd(Compressor),
}

impl Coder {
    /// A coder of this kind at this level, of which gzip has the first nine.
    pub(crate) fn new(coding: Coding, level: i32) -> anyhow::Result<Self> {
        Ok(match coding {
            Coding::Plain => Self::Plain,
            Coding::Deflate => {
                let level = Compression::new(level.clamp(1, 9).unsigned_abs());
                Self::Deflate(Box::new(Compress::new(level, false)), Vec::new())
            }
            Coding::Zstd => Self::Zstd(Compressor::new(level)?),
        })
    }

    /// Makes `stored` the frame at this place that holds all of `content`. The end of a gzip member is left zero: only
    /// who knows all frames can say it, see [`member_end`].
    pub(crate) fn store(&mut self, content: &[u8], place: Place, stored: &mut Vec<u8>) -> anyhow::Result<()> {
        stored.clear();
        let sound = match self {
            Self::Plain => {
                memory::reserve(stored, content.len())?;
                stored.extend_from_slice(content);
                true
            }
            Self::Deflate(compress, read) => {
                deflate(compress, content, place, stored)?;
                // The reader has the last word on what it accepts.
                let longer = content.len().saturating_sub(read.len());
                memory::reserve(read, longer)?;
                read.resize(read.len() + longer, 0);
                let read = read.get_mut(..content.len()).unwrap_or_default();
                deflate_frame::decode(stored, place, read) && read == content
            }
            Self::Zstd(compressor) => {
                compressor.compress(content, stored)?;
                zstd_frame::declares(stored, u32::try_from(content.len())?)
            }
        };
        sound.then_some(()).context("internal error: a frame is not of the form that readers accept")
    }
}

fn deflate(compress: &mut Compress, content: &[u8], place: Place, stored: &mut Vec<u8>) -> anyhow::Result<()> {
    // What does not shrink is stored in blocks of at most 64 KiB with five bytes more each; the rest is for the ends.
    memory::reserve(stored, content.len() + content.len() / 64 + 1024)?;
    if place.first {
        stored.extend_from_slice(&HEADER);
    }
    compress.reset();
    let flush = if place.last { FlushCompress::Finish } else { FlushCompress::Sync };
    let status = compress.compress_vec(content, stored, flush)?;
    let all = compress.total_in() == content.len() as u64 && (status == Status::StreamEnd) == place.last;
    all.then_some(()).context("internal error: a frame was not compressed in one go")?;
    if place.last {
        stored.extend_from_slice(&[0; TRAILER_LEN]);
    }
    Ok(())
}

/// The end of a gzip member with content of this CRC-32 and length (RFC 1952 §2.3.1).
pub(crate) fn member_end(content: &flate2::Crc) -> [u8; TRAILER_LEN] {
    let [a, b, c, d] = content.sum().to_le_bytes();
    let [e, f, g, h] = content.amount().to_le_bytes();
    [a, b, c, d, e, f, g, h]
}
