//! `memcmp` for the stub: musl's compares byte by byte, and a first start compares some megabytes of paths and headers.

use core::ffi::c_int;

/// The bytes at `at`, as a number that orders as they do.
///
/// # Safety
/// Eight bytes can be read there.
unsafe fn word(at: *const u8) -> u64 {
    // SAFETY: the caller's.
    u64::from_be(unsafe { at.cast::<u64>().read_unaligned() })
}

/// As C has it (ISO C, 7.24.4.1).
///
/// # Safety
/// `len` bytes can be read at both.
#[unsafe(no_mangle)]
unsafe extern "C" fn memcmp(one: *const u8, other: *const u8, len: usize) -> c_int {
    let mut at = 0;
    // SAFETY: every read ends at `len` or before.
    unsafe {
        while at + 8 <= len {
            let (a, b) = (word(one.add(at)), word(other.add(at)));
            if a != b {
                return if a < b { -1 } else { 1 };
            }
            at += 8;
        }
        while at < len {
            let (a, b) = (*one.add(at), *other.add(at));
            if a != b {
                return c_int::from(a) - c_int::from(b);
            }
            at += 1;
        }
    }
    0
}

/// Zero where the bytes are equal: what the compiler calls where it needs no order.
///
/// # Safety
/// As [`memcmp`].
#[unsafe(no_mangle)]
unsafe extern "C" fn bcmp(one: *const u8, other: *const u8, len: usize) -> c_int {
    // SAFETY: the caller's.
    unsafe { memcmp(one, other, len) }
}
