//! The process: how it was called, its environment, and what it becomes.

use std::ffi::{CStr, CString, OsStr};
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;

unsafe extern "C" {
    static environ: *const *const libc::c_char;
}

/// Whether the kernel runs this process with rights that its caller did not have (AT_SECURE).
pub fn has_elevated_rights() -> bool {
    // SAFETY: getauxval has no preconditions.
    unsafe { libc::getauxval(libc::AT_SECURE) != 0 }
}

/// The effective user id, as the kernel gave it at the start (AT_EUID): no program of ours changes it.
pub fn euid() -> u32 {
    // SAFETY: getauxval has no preconditions; a uid has 32 bits.
    unsafe { libc::getauxval(libc::AT_EUID) as u32 }
}

/// The path that was given to execve (AT_EXECFN).
pub fn exec_path() -> Option<PathBuf> {
    // SAFETY: getauxval has no preconditions; where the kernel gives AT_EXECFN it is a NUL-terminated string that
    // lives as long as the process.
    let text = unsafe {
        let address = libc::getauxval(libc::AT_EXECFN) as *const libc::c_char;
        if address.is_null() {
            return None;
        }
        CStr::from_ptr(address)
    };
    Some(PathBuf::from(OsStr::from_bytes(text.to_bytes())))
}

/// A NULL-terminated array of C strings, copied.
///
/// # Safety
/// `array` must be null, or point to such an array that nobody changes meanwhile.
pub unsafe fn c_strings(array: *const *const libc::c_char) -> Vec<CString> {
    let mut strings = Vec::new();
    if array.is_null() {
        return strings;
    }
    let mut at = array;
    // SAFETY: the caller promises a NULL-terminated array of NUL-terminated strings.
    unsafe {
        while !(*at).is_null() {
            strings.push(CStr::from_ptr(*at).to_owned());
            at = at.add(1);
        }
    }
    strings
}

/// The environment as the caller gave it: every entry, in order, also those without `=`.
pub fn environment() -> Vec<CString> {
    // SAFETY: `environ` is the C library's array; nothing in this program changes the environment.
    unsafe { c_strings(environ) }
}

/// Replaces this process. Returns only where that failed.
pub fn execve(program: &CStr, argv: &[CString], environment: &[CString]) -> io::Error {
    let argv = pointers(argv);
    let environment = pointers(environment);
    // SAFETY: both arrays end with a null pointer and their strings outlive the call.
    unsafe { libc::execve(program.as_ptr(), argv.as_ptr(), environment.as_ptr()) };
    io::Error::last_os_error()
}

fn pointers(strings: &[CString]) -> Vec<*const libc::c_char> {
    strings.iter().map(|string| string.as_ptr()).chain([std::ptr::null()]).collect()
}

/// Marks a descriptor to be closed by execve.
pub fn close_on_exec(fd: BorrowedFd<'_>) {
    // SAFETY: F_SETFD takes an integer and changes nothing but the flag.
    unsafe { libc::fcntl(fd.as_raw_fd(), libc::F_SETFD, libc::FD_CLOEXEC) };
}

/// What the child of a fork is told.
pub enum Forked {
    /// This is the child.
    Child,
    /// This is the parent; the child has this pid.
    Parent(libc::pid_t),
}

/// Forks. Only for a process with a single thread.
///
/// # Errors
/// What fork reports.
pub fn fork() -> io::Result<Forked> {
    // SAFETY: the caller has one thread, so the child may do anything.
    match unsafe { libc::fork() } {
        -1 => Err(io::Error::last_os_error()),
        0 => Ok(Forked::Child),
        pid => Ok(Forked::Parent(pid)),
    }
}

/// Ends the process at once, without running destructors.
pub fn exit_now(code: i32) -> ! {
    // SAFETY: _exit has no preconditions.
    unsafe { libc::_exit(code) }
}
