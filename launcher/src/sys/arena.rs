//! Memory for a short life: a warm start allocates some tens of kilobytes and is replaced by the application.
//!
//! Taking them from the program's own zero pages saves the dozen system calls with which the C library's allocator
//! would begin. What does not fit, and everything in a cold start's threads beyond it, comes from the C library.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::UnsafeCell;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Bytes in the arena. Pages that are never touched cost nothing.
const LEN: usize = 192 << 10;

/// Ends the process as any other lack of a resource does; without memory nothing can be undone or told in detail.
fn out_of_memory() -> ! {
    let text =
        b"pspf: error[IO]: the system gives no more memory\n  hint: is there a limit (ulimit -v, a container)?\n";
    let _ = rustix::io::write(rustix::stdio::stderr(), text);
    crate::sys::process::exit_now(i32::from(pspf_format::Class::Io.exit_code()))
}

/// An allocator that gives out an arena first and never takes that back.
pub struct Arena {
    bytes: UnsafeCell<[u8; LEN]>,
    used: AtomicUsize,
}

// SAFETY: `used` hands out every byte of `bytes` at most once.
unsafe impl Sync for Arena {}

impl Arena {
    /// An empty arena.
    #[expect(clippy::new_without_default, reason = "only a static can be one")]
    pub const fn new() -> Self {
        Self { bytes: UnsafeCell::new([0; LEN]), used: AtomicUsize::new(0) }
    }

    fn holds(&self, address: usize) -> bool {
        let start = self.bytes.get() as usize;
        (start..start + LEN).contains(&address)
    }
}

// SAFETY: a block is either a range of the arena that nobody else gets, aligned as asked, or comes from `System`,
// and `holds` tells which.
unsafe impl GlobalAlloc for Arena {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let start = self.bytes.get() as usize;
        let place = |used: usize| {
            let at = (start + used).checked_next_multiple_of(layout.align())? - start;
            let end = at.checked_add(layout.size()).filter(|end| *end <= LEN)?;
            Some((at, end))
        };
        let taken = self.used.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |used| Some(place(used)?.1));
        if let Some((at, _)) = taken.ok().and_then(place) {
            // SAFETY: `at` lies inside the arena, and so does the block's end.
            return unsafe { self.bytes.get().cast::<u8>().add(at) };
        }
        // SAFETY: passed on unchanged.
        let block = unsafe { System.alloc(layout) };
        if block.is_null() {
            out_of_memory();
        }
        block
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        if !self.holds(block as usize) {
            // SAFETY: the block came from `System` with this layout.
            unsafe { System.dealloc(block, layout) }
        }
    }
}
