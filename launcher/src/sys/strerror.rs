//! What the C library says of an error.

use core::ffi::CStr;

use rustix::io::Errno;

/// The error of the C function that failed last in this thread.
pub fn last_error() -> Errno {
    // SAFETY: the C library gives the address of this thread's own `errno`.
    Errno::from_raw_os_error(unsafe { *libc::__errno_location() })
}

/// Its words for an error.
pub fn words(errno: Errno, buffer: &mut [u8; 128]) -> &str {
    // SAFETY: the buffer is valid for its length; the text in it ends with a NUL, or nothing is written.
    unsafe { libc::strerror_r(errno.raw_os_error(), buffer.as_mut_ptr().cast(), buffer.len()) };
    let text = CStr::from_bytes_until_nul(buffer).unwrap_or_default();
    text.to_str().unwrap_or_default()
}
