//! The header of a zstandard frame (RFC 8878 §3.1.1.1), read before a decoder sees the frame.

use crate::tree::MAX_FRAME;

const MAGIC: [u8; 4] = [0x28, 0xB5, 0x2F, 0xFD];

/// Whether a stored frame declares exactly `expanded_size` bytes of content, a window of at most 8 MiB and no
/// dictionary, so that decoding it needs no memory but the output (SPEC §7.1).
pub fn declares(stored: &[u8], expanded_size: u32) -> bool {
    parse(stored).is_some_and(|(window, content)| content == u64::from(expanded_size) && window <= u64::from(MAX_FRAME))
}

/// The same for a slot index, which may be longer than a frame of content.
pub fn declares_index(stored: &[u8], expanded_size: u64) -> bool {
    parse(stored).is_some_and(|(window, content)| content == expanded_size && window <= u64::from(MAX_FRAME))
}

/// Window and content size of a frame without a dictionary.
fn parse(stored: &[u8]) -> Option<(u64, u64)> {
    let (magic, rest) = stored.split_first_chunk::<4>()?;
    let (&descriptor, mut rest) = rest.split_first()?;
    let single_segment = descriptor & 0x20 != 0;
    if *magic != MAGIC || descriptor & 0x0B != 0 {
        return None;
    }
    let mut window = None;
    if !single_segment {
        let (&byte, tail) = rest.split_first()?;
        let base = 1_u64.checked_shl(10 + u32::from(byte >> 3))?;
        window = Some(base + (base / 8) * u64::from(byte & 7));
        rest = tail;
    }
    let content = match (descriptor >> 6, single_segment) {
        (0, true) => u64::from(*rest.first()?),
        (1, _) => u64::from(u16::from_le_bytes(*rest.first_chunk()?)) + 256,
        (2, _) => u64::from(u32::from_le_bytes(*rest.first_chunk()?)),
        (3, _) => u64::from_le_bytes(*rest.first_chunk()?),
        _ => return None,
    };
    Some((window.unwrap_or(content), content))
}
