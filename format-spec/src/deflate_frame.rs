//! Frames of a slot that is stored as one gzip member (RFC 1952; SPEC §7.1).
//!
//! The member is cut into frames, each of which can be decoded without the others: it begins with a block of its own
//! (RFC 1951 §3.2.3), refers to nothing before it, and ends with a whole block at a byte. The first one carries the
//! member's header, the last one its end. So all frames, decoded one by one, are what `gzip -d` makes of the whole.

use alloc::boxed::Box;

use miniz_oxide::inflate::TINFLStatus;
use miniz_oxide::inflate::core::inflate_flags::{
    TINFL_FLAG_HAS_MORE_INPUT, TINFL_FLAG_STOP_ON_BLOCK_BOUNDARY, TINFL_FLAG_USING_NON_WRAPPING_OUTPUT_BUF,
};
use miniz_oxide::inflate::core::{DecompressorOxide, decompress};

use crate::crc32::crc32_on;
pub use crate::gzip::HEADER;

/// Length of the end of a member: CRC-32 and length of the content, which are for readers that decode all of it.
pub const TRAILER_LEN: usize = 8;

/// Most blocks of a frame: the longest in blocks of 128 bytes, and two. A block can hold nothing and still take time.
pub const MAX_BLOCKS: u32 = 65_538;

/// Which of a slot's frames this is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// Nothing comes before it.
    pub first: bool,
    /// Nothing follows it.
    pub last: bool,
}

/// Decodes the frame `stored` at this place. True where it is well formed and holds exactly as many bytes as
/// `expanded` has room for.
pub fn decode(stored: &[u8], place: Place, expanded: &mut [u8]) -> bool {
    blocks(stored, place).is_some_and(|blocks| decode_blocks(blocks, place.last, expanded))
}

/// The frame without the header and the end of the member.
fn blocks(stored: &[u8], place: Place) -> Option<&[u8]> {
    let blocks = if place.first { stored.strip_prefix(&HEADER)? } else { stored };
    if place.last { Some(blocks.split_last_chunk::<TRAILER_LEN>()?.0) } else { Some(blocks) }
}

/// Decodes whole blocks, the last of them the final one or not, into exactly as many bytes as there is room for.
pub(crate) fn decode_blocks(mut blocks: &[u8], last: bool, expanded: &mut [u8]) -> bool {
    let flags =
        TINFL_FLAG_USING_NON_WRAPPING_OUTPUT_BUF | TINFL_FLAG_STOP_ON_BLOCK_BOUNDARY | TINFL_FLAG_HAS_MORE_INPUT;
    let mut decompressor = Box::<DecompressorOxide>::default();
    let mut len = 0_usize;
    for _ in 0..MAX_BLOCKS {
        let (status, read, written) = decompress(&mut decompressor, blocks, expanded, len, flags);
        blocks = blocks.get(read..).unwrap_or_default();
        len = len.saturating_add(written);
        let whole = blocks.is_empty() && len == expanded.len();
        match status {
            TINFLStatus::BlockBoundary if blocks.is_empty() => {
                // Bits that are left over would begin the next frame's first block.
                let at_a_byte = decompressor.block_boundary_state().is_some_and(|state| state.num_bits == 0);
                return whole && at_a_byte && !last;
            }
            TINFLStatus::BlockBoundary => {}
            TINFLStatus::Done => return whole && last,
            _ => return false,
        }
    }
    false
}

/// The end of a member (RFC 1952 §2.3.1), from its content piece by piece.
#[derive(Clone, Copy, Debug, Default)]
pub struct MemberEnd {
    crc: u32,
    len: u32,
}

impl MemberEnd {
    /// More of the content.
    pub fn update(&mut self, content: &[u8]) {
        self.crc = crc32_on(self.crc, content);
        // The length is that modulo 2^32.
        self.len = self.len.wrapping_add(content.len() as u32);
    }

    /// CRC-32 and length.
    pub fn to_bytes(self) -> [u8; TRAILER_LEN] {
        let [a, b, c, d] = self.crc.to_le_bytes();
        let [e, f, g, h] = self.len.to_le_bytes();
        [a, b, c, d, e, f, g, h]
    }
}
