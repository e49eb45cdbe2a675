//! Positions in a package: checked arithmetic, one alignment.

/// Every part of a sealed package starts at a multiple of this many bytes.
pub const ALIGNMENT: u64 = 8;

/// A range of bytes of the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span {
    /// First byte, from the start of the file.
    pub offset: u64,
    /// Length in bytes.
    pub len: u64,
}

impl Span {
    /// The position after the last byte, or `None` where it exceeds 64 bits.
    pub fn end(self) -> Option<u64> {
        self.offset.checked_add(self.len)
    }
}

/// The next multiple of [`ALIGNMENT`], or `None` where it exceeds 64 bits.
pub fn align(offset: u64) -> Option<u64> {
    offset.checked_next_multiple_of(ALIGNMENT)
}
