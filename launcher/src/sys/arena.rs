//! Memory for a short life: a warm start allocates some tens of kilobytes and is replaced by the application.
//!
//! Taking them from the program's own zero pages saves the system calls with which the C library's allocator would
//! begin. What does not fit, and everything in a cold start beyond it, comes from the C library.

use core::alloc::{GlobalAlloc, Layout};
use core::cell::UnsafeCell;
use core::ffi::c_void;
use core::ptr;
use core::sync::atomic::{AtomicUsize, Ordering};

/// Bytes in the arena. Pages that are never touched cost nothing.
const LEN: usize = 192 << 10;

/// Bytes in the large arena: address space alone, until they are touched.
///
/// A first start reads an index with an entry for every file. Memory that it touches page by page costs more than
/// parsing does: so these are huge pages, where the system has them.
const LARGE: usize = 256 << 20;

/// No address of a block.
const NOWHERE: usize = 1;

/// What `malloc` aligns to, on every platform that Rust calls 64-bit.
const MALLOC_ALIGN: usize = 16;

/// Ends the process as any other lack of a resource does; without memory nothing can be undone or told in detail.
fn out_of_memory() -> ! {
    super::stdio::tell(
        "pspf: error[IO]: the system gives no more memory\n  hint: is there a limit (ulimit -v, a container)?\n",
    );
    super::process::exit_now(i32::from(pspf_format::Class::Io.exit_code()))
}

/// An allocator that gives out an arena first, then one of huge pages, and never takes back what came from them but
/// for the last block, which can grow.
pub struct Arena {
    bytes: UnsafeCell<[u8; LEN]>,
    used: AtomicUsize,
    /// Where the large arena starts: not known yet, or [`NOWHERE`] where the system gives none.
    large: AtomicUsize,
    large_used: AtomicUsize,
}

// SAFETY: `used` and `large_used` hand out every byte at most once.
unsafe impl Sync for Arena {}

/// Address space that is given out from its front.
struct Region<'a> {
    start: usize,
    len: usize,
    used: &'a AtomicUsize,
}

impl Region<'_> {
    fn holds(&self, block: *mut u8) -> bool {
        (block as usize).wrapping_sub(self.start) < self.len
    }

    /// A block whose bytes are zero; nothing where there is no room.
    fn take(&self, layout: Layout) -> Option<*mut u8> {
        let place = |used: usize| {
            let at = (self.start + used).checked_next_multiple_of(layout.align())? - self.start;
            let end = at.checked_add(layout.size()).filter(|end| *end <= self.len)?;
            Some((at, end))
        };
        let taken = self.used.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |used| Some(place(used)?.1));
        taken.ok().and_then(place).map(|(at, _)| (self.start + at) as *mut u8)
    }

    /// Whether a block could grow where it is: it is the last one, and there is room.
    fn grow(&self, block: *mut u8, old: usize, new: usize) -> bool {
        let at = block as usize - self.start;
        let Some(end) = at.checked_add(new).filter(|end| new >= old && *end <= self.len) else { return false };
        self.used.compare_exchange(at + old, end, Ordering::Relaxed, Ordering::Relaxed).is_ok()
    }
}

impl Arena {
    /// An empty arena.
    #[expect(clippy::new_without_default, reason = "only a static can be one")]
    pub const fn new() -> Self {
        Self {
            bytes: UnsafeCell::new([0; LEN]),
            used: AtomicUsize::new(0),
            large: AtomicUsize::new(0),
            large_used: AtomicUsize::new(0),
        }
    }

    fn small(&self) -> Region<'_> {
        Region { start: self.bytes.get() as usize, len: LEN, used: &self.used }
    }

    /// The large arena, where it was made.
    fn large(&self) -> Option<Region<'_>> {
        let start = self.large.load(Ordering::Acquire);
        (start > NOWHERE).then_some(Region { start, len: LARGE, used: &self.large_used })
    }

    /// The region that a block comes from; none for one of the C library's.
    fn region_of(&self, block: *mut u8) -> Option<Region<'_>> {
        let small = self.small();
        if small.holds(block) { Some(small) } else { self.large().filter(|large| large.holds(block)) }
    }

    /// A block of an arena, whose bytes are zero; null where there is no room.
    fn take(&self, layout: Layout) -> *mut u8 {
        let from_large = || {
            if self.large.load(Ordering::Acquire) == 0 {
                self.reserve();
            }
            self.large()?.take(layout)
        };
        self.small().take(layout).or_else(from_large).unwrap_or(ptr::null_mut())
    }

    /// Makes the large arena, once.
    fn reserve(&self) {
        let (access, kind) = (libc::PROT_READ | libc::PROT_WRITE, libc::MAP_PRIVATE | libc::MAP_ANONYMOUS);
        // SAFETY: a new mapping, at a place that the kernel chooses.
        let start = unsafe { libc::mmap(ptr::null_mut(), LARGE, access, kind | libc::MAP_NORESERVE, -1, 0) };
        let start = if start == libc::MAP_FAILED { NOWHERE } else { start as usize };
        if start != NOWHERE {
            // SAFETY: the range is the mapping. Advice may fail, and nothing depends on it.
            unsafe { libc::madvise(start as *mut c_void, LARGE, libc::MADV_HUGEPAGE) };
        }
        let first = self.large.compare_exchange(0, start, Ordering::AcqRel, Ordering::Acquire).is_ok();
        if !first && start != NOWHERE {
            // SAFETY: another thread was faster; nobody knows of this mapping.
            unsafe { libc::munmap(start as *mut c_void, LARGE) };
        }
    }
}

/// A block from the C library.
fn heap(layout: Layout) -> *mut u8 {
    let mut block: *mut c_void = ptr::null_mut();
    // SAFETY: malloc has no preconditions; `block` is valid for posix_memalign, which refuses what is no alignment.
    unsafe {
        if layout.align() <= MALLOC_ALIGN {
            block = libc::malloc(layout.size());
        } else if libc::posix_memalign(&raw mut block, layout.align(), layout.size()) != 0 {
            block = ptr::null_mut();
        }
    }
    given(block)
}

fn given(block: *mut c_void) -> *mut u8 {
    if block.is_null() { out_of_memory() } else { block.cast() }
}

// SAFETY: a block is either a range of the arena that nobody else gets, aligned as asked, or comes from the C
// library, and `holds` tells which.
unsafe impl GlobalAlloc for Arena {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let block = self.take(layout);
        if block.is_null() { heap(layout) } else { block }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        // No block of the arena was anybody's before: it is zero as the kernel gave it.
        let block = self.take(layout);
        if !block.is_null() {
            return block;
        }
        if layout.align() <= MALLOC_ALIGN {
            // SAFETY: calloc has no preconditions.
            return given(unsafe { libc::calloc(1, layout.size()) });
        }
        let block = heap(layout);
        // SAFETY: the block has this size.
        unsafe { block.write_bytes(0, layout.size()) };
        block
    }

    unsafe fn dealloc(&self, block: *mut u8, _layout: Layout) {
        if self.region_of(block).is_none() {
            // SAFETY: the block came from the C library.
            unsafe { libc::free(block.cast()) }
        }
    }

    unsafe fn realloc(&self, block: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        if let Some(region) = self.region_of(block) {
            if region.grow(block, layout.size(), size) {
                return block;
            }
        } else if layout.align() <= MALLOC_ALIGN {
            // SAFETY: the block came from malloc, calloc or realloc.
            return given(unsafe { libc::realloc(block.cast(), size) });
        }
        // SAFETY: the caller promises a size that makes a layout; both blocks have at least the bytes that are copied.
        unsafe {
            let grown = self.alloc(Layout::from_size_align_unchecked(size, layout.align()));
            ptr::copy_nonoverlapping(block, grown, layout.size().min(size));
            self.dealloc(block, layout);
            grown
        }
    }
}
