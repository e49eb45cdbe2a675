//! Memory for a short life: a warm start allocates some tens of kilobytes and is replaced by the application.
//!
//! Taking them from the program's own zero pages saves the system calls with which the C library's allocator would
//! begin. A first start, which keeps a path for every file, goes on with pieces of address space that cost one system
//! call and one look at the page tables each. A block that is given back is given out again: how much a start takes
//! does not grow with what it has read. Blocks that are large come from the C library.

use core::alloc::{GlobalAlloc, Layout};
use core::cell::UnsafeCell;
use core::ffi::c_void;
use core::ptr;

use super::lock::Lock;

/// Bytes that the program itself brings. Pages that are never touched cost nothing.
const OWN: usize = 192 << 10;

/// Bytes that are asked for when those are used up.
const PIECE: usize = 1 << 20;

/// What every block is aligned to, and `malloc` too on every platform that Rust calls 64-bit.
const ALIGN: usize = 16;

/// Up to this length there is a size of block for every multiple of [`ALIGN`]; above, four for each doubling.
const FINE: usize = 1 << 10;

/// Longest block that comes from here.
const LONGEST: usize = 32 << 10;

/// How many sizes of blocks there are.
const SIZES: usize = FINE / ALIGN + 4 * (LONGEST / FINE).ilog2() as usize;

/// The size of block for `layout`, by its number, and its length in bytes; none where the C library has to give it.
fn size_of(layout: Layout) -> Option<(usize, usize)> {
    let len = layout.size().max(1);
    if layout.align() > ALIGN || len > LONGEST {
        return None;
    }
    if len <= FINE {
        let len = len.next_multiple_of(ALIGN);
        return Some((len / ALIGN - 1, len));
    }
    // Above `low`, up to its double.
    let low = 1 << (len - 1).ilog2();
    let len = len.next_multiple_of(low / 4);
    Some((FINE / ALIGN + 4 * (low / FINE).ilog2() as usize + (len - low) / (low / 4) - 1, len))
}

/// Ends the process as any other lack of a resource does; without memory nothing can be undone or told in detail.
fn out_of_memory() -> ! {
    super::stdio::tell(
        "pspf: error[IO]: the system gives no more memory\n  hint: is there a limit (ulimit -v, a container)?\n",
    );
    super::process::exit_now(i32::from(pspf_format::Class::Io.exit_code()))
}

/// An allocator.
#[repr(C)]
pub struct Arena {
    // In front, so that they are in a page that is written anyway.
    blocks: Lock<Blocks>,
    own: Own,
}

/// The bytes of the program's own, which every block of them gets its alignment from.
#[repr(C, align(16))]
struct Own(UnsafeCell<[u8; OWN]>);

const _: () = assert!(align_of::<Own>() == ALIGN);

/// What can be given out.
struct Blocks {
    /// Where the rest of the present piece is; null before the first one.
    next: *mut u8,
    left: usize,
    /// Of each size, the block that came back last. It holds the address of the one before it.
    back: [*mut u8; SIZES],
}

// SAFETY: every byte of `own` belongs to one block at a time, and what `blocks` points to nobody else uses.
unsafe impl Sync for Arena {}

impl Arena {
    /// One that has given out nothing.
    #[expect(clippy::new_without_default, reason = "only a static can be one")]
    pub const fn new() -> Self {
        let blocks = Blocks { next: ptr::null_mut(), left: 0, back: [ptr::null_mut(); SIZES] };
        Self { blocks: Lock::new(blocks), own: Own(UnsafeCell::new([0; OWN])) }
    }

    /// A block, and whether its bytes are zero.
    fn take(&self, (size, len): (usize, usize)) -> (*mut u8, bool) {
        self.blocks.with(|blocks| {
            if let Some(last) = blocks.back.get_mut(size).filter(|last| !last.is_null()) {
                let block = *last;
                // SAFETY: `give` wrote the address there, and nobody has had the block since.
                *last = unsafe { block.cast::<*mut u8>().read() };
                return (block, false);
            }
            if blocks.left < len {
                let first = blocks.next.is_null();
                (blocks.next, blocks.left) = if first { (self.own.0.get().cast(), OWN) } else { piece() };
                if blocks.left < len {
                    // A little may still be had.
                    return (heap(Layout::from_size_align(len, ALIGN).unwrap_or(Layout::new::<u8>())), false);
                }
            }
            let block = blocks.next;
            blocks.next = block.wrapping_add(len);
            blocks.left -= len;
            (block, true)
        })
    }

    /// Takes a block back.
    fn give(&self, block: *mut u8, (size, _): (usize, usize)) {
        self.blocks.with(|blocks| {
            if let Some(last) = blocks.back.get_mut(size) {
                // SAFETY: nobody uses the block any more, and it is aligned and long enough for an address.
                unsafe { block.cast::<*mut u8>().write(*last) };
                *last = block;
            }
        });
    }
}

/// More address space, of which every page is there already; none where the system gives none.
fn piece() -> (*mut u8, usize) {
    let (access, kind) = (libc::PROT_READ | libc::PROT_WRITE, libc::MAP_PRIVATE | libc::MAP_ANONYMOUS);
    // SAFETY: a new mapping, at a place that the kernel chooses.
    let start = unsafe { libc::mmap(ptr::null_mut(), PIECE, access, kind | libc::MAP_POPULATE, -1, 0) };
    // The next call tries again.
    if start == libc::MAP_FAILED { (ptr::NonNull::dangling().as_ptr(), 0) } else { (start.cast(), PIECE) }
}

/// A block from the C library.
fn heap(layout: Layout) -> *mut u8 {
    let mut block: *mut c_void = ptr::null_mut();
    // SAFETY: malloc has no preconditions; `block` is valid for posix_memalign, which refuses what is no alignment.
    unsafe {
        if layout.align() <= ALIGN {
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

// SAFETY: the layout alone tells where a block comes from and where it goes back to, and a block is at least as long
// and as aligned as its layout says. (One of the C library's that `take` gave stays here for good.)
unsafe impl GlobalAlloc for Arena {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        size_of(layout).map_or_else(|| heap(layout), |size| self.take(size).0)
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        let (block, zero) = match size_of(layout) {
            Some(size) => self.take(size),
            // SAFETY: calloc has no preconditions.
            None if layout.align() <= ALIGN => (given(unsafe { libc::calloc(1, layout.size()) }), true),
            None => (heap(layout), false),
        };
        if !zero {
            // SAFETY: the block has this size.
            unsafe { block.write_bytes(0, layout.size()) };
        }
        block
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        match size_of(layout) {
            Some(size) => self.give(block, size),
            // SAFETY: the block came from the C library.
            None => unsafe { libc::free(block.cast()) },
        }
    }

    unsafe fn realloc(&self, block: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        // SAFETY: the caller promises a size that makes a layout.
        let new = unsafe { Layout::from_size_align_unchecked(size, layout.align()) };
        match (size_of(layout), size_of(new)) {
            (Some(old), Some(new)) if old == new => return block,
            // SAFETY: the block came from malloc, calloc or realloc.
            (None, None) if layout.align() <= ALIGN => return given(unsafe { libc::realloc(block.cast(), size) }),
            _ => {}
        }
        // SAFETY: both blocks have at least the bytes that are copied.
        unsafe {
            let moved = self.alloc(new);
            ptr::copy_nonoverlapping(block, moved, layout.size().min(size));
            self.dealloc(block, layout);
            moved
        }
    }
}

#[cfg(test)]
mod tests {
    extern crate std;

    use super::*;

    #[test]
    fn every_length_has_a_size_of_its_own_kind() {
        let mut last = (0, 0);
        for len in 1..=LONGEST {
            let size @ (number, room) = size_of(Layout::from_size_align(len, 8).unwrap()).unwrap();
            assert!(room >= len && room % ALIGN == 0 && room <= len.max(64) * 5 / 4 + ALIGN, "{len}: {room}");
            assert!(size == last || number == last.0 + usize::from(last.1 > 0) && room > last.1, "{len}: {size:?}");
            assert!(number < SIZES);
            last = size;
        }
        assert_eq!(last, (SIZES - 1, LONGEST));
        for (len, align) in [(LONGEST + 1, 8), (1, 32), (4096, 4096)] {
            assert_eq!(size_of(Layout::from_size_align(len, align).unwrap()), None);
        }
    }

    #[test]
    fn blocks_are_zero_where_asked_keep_what_they_hold_and_come_back() {
        static ARENA: Arena = Arena::new();
        let layout = |len| Layout::from_size_align(len, 8).unwrap();
        // SAFETY: called with blocks within their length.
        let filled = |block: *mut u8, len, byte| (0..len).all(|at| unsafe { block.add(at).read() } == byte);
        for round in 0..3 {
            let mut blocks = std::vec::Vec::new();
            for len in (1..50_000).step_by(97) {
                // SAFETY: each block is used within its length, and given back once.
                unsafe {
                    let block = ARENA.alloc_zeroed(layout(len));
                    assert!((block as usize).is_multiple_of(ALIGN) && filled(block, len, 0), "{len} in round {round}");
                    block.write_bytes(len as u8, len);
                    let longer = ARENA.realloc(block, layout(len), len + len / 2);
                    assert!(filled(longer, len, len as u8), "{len}");
                    longer.write_bytes(len as u8, len + len / 2);
                    blocks.push((longer, len));
                }
            }
            for (block, len) in blocks {
                assert!(filled(block, len + len / 2, len as u8), "{len}");
                // SAFETY: as above.
                unsafe { ARENA.dealloc(block, layout(len + len / 2)) };
            }
        }
    }

    #[test]
    fn giving_back_and_taking_again_takes_no_more() {
        static ARENA: Arena = Arena::new();
        let left = || ARENA.blocks.with(|blocks| (blocks.next as usize, blocks.left));
        let work = || {
            for len in [1, 100, 1000, 5000, 30_000] {
                let layout = Layout::from_size_align(len, 8).unwrap();
                // SAFETY: the block is given back at once.
                unsafe { ARENA.dealloc(ARENA.alloc(layout), layout) };
            }
        };
        work();
        let after = left();
        (0..1000).for_each(|_| work());
        assert_eq!(left(), after);
    }

    #[test]
    fn threads_get_blocks_of_their_own() {
        static ARENA: Arena = Arena::new();
        let threads = [1_u8, 2, 3, 4].map(|name| {
            std::thread::spawn(move || {
                for round in 0..2_000_usize {
                    let layout = Layout::from_size_align(1 + round * 7 % 3000, 8).unwrap();
                    // SAFETY: the block is used within its length and given back once.
                    unsafe {
                        let block = ARENA.alloc(layout);
                        block.write_bytes(name, layout.size());
                        std::thread::yield_now();
                        assert!((0..layout.size()).all(|at| block.add(at).read() == name));
                        ARENA.dealloc(block, layout);
                    }
                }
            })
        });
        threads.into_iter().for_each(|thread| thread.join().unwrap());
    }
}
