//! Memory maps of a file that somebody may cut short.

use std::fs::File;
use std::io;
use std::sync::atomic::{AtomicBool, AtomicI32, AtomicUsize, Ordering};

/// First and last address of the map that is being read.
static MAPPED: (AtomicUsize, AtomicUsize) = (AtomicUsize::new(0), AtomicUsize::new(0));

/// Whether the caller ignored SIGBUS.
static WAS_IGNORED: AtomicBool = AtomicBool::new(false);

/// What to exit with when the file is cut short.
static EXIT_CODE: AtomicI32 = AtomicI32::new(0);

/// A copy of `len` bytes from `offset`, read through a map.
///
/// # Errors
/// What `mmap` reports. A file that is cut short below the map raises SIGBUS, see [`exit_on_truncation`].
pub fn copy(file: &File, offset: u64, len: usize) -> io::Result<Vec<u8>> {
    if len == 0 {
        return Ok(Vec::new());
    }
    // SAFETY: the map is read once, into memory of our own, and nothing borrows from it afterwards. A change of the
    // file meanwhile changes which bytes are copied and nothing else; every check runs on the copy.
    let map = unsafe { memmap2::MmapOptions::new().offset(offset).len(len).map(file)? };
    let start = map.as_ptr() as usize;
    MAPPED.0.store(start, Ordering::SeqCst);
    MAPPED.1.store(start + len, Ordering::SeqCst);
    let bytes = map.to_vec();
    MAPPED.1.store(0, Ordering::SeqCst);
    Ok(bytes)
}

/// Installs a SIGBUS handler for binaries: a file that is cut short while it is read through a map ends the process
/// with a message and `code`, that of any other damage. Every other SIGBUS stays what it is.
pub fn exit_on_truncation(code: u8) {
    EXIT_CODE.store(i32::from(code), Ordering::SeqCst);
    let mut action = unsafe_zeroed_action();
    action.sa_sigaction = handler as *const () as usize;
    action.sa_flags = libc::SA_SIGINFO | libc::SA_RESETHAND;
    let mut old = unsafe_zeroed_action();
    // SAFETY: `action` is initialised, the handler only uses what is safe in a signal handler.
    unsafe { libc::sigaction(libc::SIGBUS, &raw const action, &raw mut old) };
    WAS_IGNORED.store(old.sa_sigaction == libc::SIG_IGN, Ordering::SeqCst);
}

/// Gives SIGBUS back to an application that inherits it ignored; execve itself resets a handler.
pub fn restore_disposition() {
    if WAS_IGNORED.load(Ordering::SeqCst) {
        let mut action = unsafe_zeroed_action();
        action.sa_sigaction = libc::SIG_IGN;
        // SAFETY: `action` is initialised.
        unsafe { libc::sigaction(libc::SIGBUS, &raw const action, std::ptr::null_mut()) };
    }
}

fn unsafe_zeroed_action() -> libc::sigaction {
    // SAFETY: all fields are integers, an empty mask and null pointers; zero is a value of each.
    unsafe { std::mem::zeroed() }
}

extern "C" fn handler(_signal: libc::c_int, info: *mut libc::siginfo_t, _context: *mut libc::c_void) {
    // SAFETY: the kernel passes a valid `siginfo_t` to a handler with SA_SIGINFO.
    let address = unsafe { (*info).si_addr() } as usize;
    // The kernel maps whole pages, so the address may lie a little before the first byte asked for.
    let start = MAPPED.0.load(Ordering::SeqCst) & !0xFFFF;
    if address < start || address >= MAPPED.1.load(Ordering::SeqCst) {
        // SA_RESETHAND has put the default back: the faulting instruction runs again and ends the process by SIGBUS.
        return;
    }
    let text = b"pspf: error[INTEGRITY]: the file became shorter while it was read\n  hint: get a fresh copy\n";
    // SAFETY: write and _exit are async-signal-safe; the buffer is static.
    unsafe {
        libc::write(2, text.as_ptr().cast(), text.len());
        libc::_exit(EXIT_CODE.load(Ordering::SeqCst));
    }
}
