//! Buffers of a decoder: zero pages straight from the system, huge ones where it has them.
//!
//! A frame is decoded with many short looks back, each of which finds its page faster the fewer pages there are; and a
//! huge page is one fault in place of five hundred.

use core::ops::{Deref, DerefMut};
use core::ptr::NonNull;

use rustix::io::Errno;

/// Memory of a fixed length, zero at first, given back when dropped.
pub(crate) struct Pages {
    start: NonNull<u8>,
    len: usize,
}

// SAFETY: the memory belongs to this value alone.
unsafe impl Send for Pages {}

impl Pages {
    /// `len` bytes; none of them is in memory before it is touched.
    pub(crate) fn new(len: usize) -> rustix::io::Result<Self> {
        if len == 0 {
            return Ok(Self { start: NonNull::dangling(), len });
        }
        let (access, kind) = (libc::PROT_READ | libc::PROT_WRITE, libc::MAP_PRIVATE | libc::MAP_ANONYMOUS);
        // SAFETY: a new mapping, at a place that the kernel chooses.
        let start = unsafe { libc::mmap(core::ptr::null_mut(), len, access, kind, -1, 0) };
        if start == libc::MAP_FAILED {
            return Err(Errno::NOMEM);
        }
        // SAFETY: the range is the mapping. Advice may fail, and nothing depends on it.
        unsafe { libc::madvise(start, len, libc::MADV_HUGEPAGE) };
        let start = NonNull::new(start.cast()).ok_or(Errno::NOMEM)?;
        Ok(Self { start, len })
    }
}

impl Deref for Pages {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        // SAFETY: `len` readable bytes, initialised by the system, or none.
        unsafe { core::slice::from_raw_parts(self.start.as_ptr(), self.len) }
    }
}

impl DerefMut for Pages {
    fn deref_mut(&mut self) -> &mut [u8] {
        // SAFETY: `len` writable bytes that nobody else knows, or none.
        unsafe { core::slice::from_raw_parts_mut(self.start.as_ptr(), self.len) }
    }
}

impl Drop for Pages {
    fn drop(&mut self) {
        if self.len > 0 {
            // SAFETY: exactly the mapping of `new`, which nothing borrows any more.
            unsafe { libc::munmap(self.start.as_ptr().cast(), self.len) };
        }
    }
}
