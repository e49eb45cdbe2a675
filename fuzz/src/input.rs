//! Decisions out of bytes: whatever the bytes are, there is a decision, and small changes make small differences.

/// Bytes that are used up from the front; when they are out, zeros follow.
#[derive(Clone, Copy, Debug)]
pub struct Input<'a>(pub &'a [u8]);

impl<'a> Input<'a> {
    /// The next byte.
    pub fn byte(&mut self) -> u8 {
        self.bytes(1).first().copied().unwrap_or(0)
    }

    /// Two bytes, little-endian.
    pub fn short(&mut self) -> usize {
        usize::from(u16::from_le_bytes([self.byte(), self.byte()]))
    }

    /// A number, more often near a power of two than elsewhere.
    pub fn number(&mut self) -> u64 {
        let shift = self.byte();
        let low = u64::from(self.byte());
        match shift {
            0..64 => (1 << shift) + low,
            64..128 => (1_u64 << (shift - 64)).wrapping_sub(low),
            128 => u64::MAX - low,
            _ => low,
        }
    }

    /// At most `len` bytes: fewer at the end.
    pub fn bytes(&mut self, len: usize) -> &'a [u8] {
        let (bytes, rest) = self.0.split_at(len.min(self.0.len()));
        self.0 = rest;
        bytes
    }

    /// Whether there is nothing left to decide.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Replaces a few bytes of `target`, at a place, by others, as often as the next byte says; its length stays
    /// where `fixed`.
    pub fn edit(&mut self, target: &mut Vec<u8>, fixed: bool) {
        for _ in 0..self.byte() % 8 {
            let at = self.short() * 65_537 % target.len().max(1);
            let kind = self.byte();
            let count = usize::from(kind >> 4);
            let at = at.min(target.len());
            let end = (at + count).min(target.len());
            match kind % 4 {
                0 if at < target.len() => target[at] ^= 1 << (count % 8),
                1 if !fixed => drop(target.splice(at..end, self.bytes(count).iter().copied())),
                2 if !fixed => {
                    target.drain(at..end);
                }
                3 if !fixed => drop(target.splice(at..at, self.bytes(count).iter().copied())),
                _ => {
                    let bytes = self.bytes(count);
                    let len = bytes.len().min(end - at);
                    target[at..at + len].copy_from_slice(&bytes[..len]);
                }
            }
        }
    }
}
