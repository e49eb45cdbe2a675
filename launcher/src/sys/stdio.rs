//! The three standard streams, without a buffer or a lock.

use rustix::io::Errno;

use super::strerror::last_error;

/// Writes all of `text` to standard output.
///
/// # Errors
/// What write reports.
pub fn print(mut text: &[u8]) -> Result<(), Errno> {
    while !text.is_empty() {
        // SAFETY: the buffer is valid for its length.
        let written = unsafe { libc::write(libc::STDOUT_FILENO, text.as_ptr().cast(), text.len()) };
        match usize::try_from(written) {
            Ok(written) => text = text.get(written..).unwrap_or_default(),
            Err(_) if last_error() == Errno::INTR => {}
            Err(_) => return Err(last_error()),
        }
    }
    Ok(())
}

/// Writes `text` to standard error, whatever state that is in.
pub fn tell(text: &str) {
    // SAFETY: the buffer is valid for its length.
    unsafe { libc::write(libc::STDERR_FILENO, text.as_ptr().cast(), text.len()) };
}

/// Whether somebody sits at standard error.
pub fn is_watched() -> bool {
    // SAFETY: isatty has no preconditions.
    unsafe { libc::isatty(libc::STDERR_FILENO) == 1 }
}
