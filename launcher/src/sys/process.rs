//! The process: how it was called, its environment, and what it becomes.

use alloc::borrow::Cow;
use alloc::vec::Vec;
use core::ffi::{CStr, c_char};

use rustix::io::Errno;

use super::strerror::last_error;

unsafe extern "C" {
    static environ: *const *const c_char;
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
pub fn exec_path() -> Option<&'static CStr> {
    // SAFETY: getauxval has no preconditions; where the kernel gives AT_EXECFN it is a NUL-terminated string that
    // lives as long as the process.
    unsafe {
        let address = libc::getauxval(libc::AT_EXECFN) as *const c_char;
        (!address.is_null()).then(|| CStr::from_ptr(address))
    }
}

/// The strings of a NULL-terminated array.
///
/// # Safety
/// `array` must be null, or point to an array of C strings that nobody changes as long as the process lives.
pub unsafe fn c_strings(array: *const *const c_char) -> Vec<Cow<'static, CStr>> {
    let mut strings = Vec::new();
    if array.is_null() {
        return strings;
    }
    // SAFETY: the caller promises a NULL-terminated array of NUL-terminated strings.
    unsafe {
        let mut at = array;
        while !(*at).is_null() {
            at = at.add(1);
        }
        strings.reserve_exact(at.offset_from_unsigned(array));
        at = array;
        while !(*at).is_null() {
            strings.push(Cow::Borrowed(CStr::from_ptr(*at)));
            at = at.add(1);
        }
    }
    strings
}

/// The environment as the caller gave it: every entry, in order, also those without `=`.
pub fn environment() -> Vec<Cow<'static, CStr>> {
    // SAFETY: `environ` is the C library's array; no program of ours changes the environment.
    unsafe { c_strings(environ) }
}

/// Replaces this process. Returns only where that failed.
pub fn execve(program: &CStr, argv: &[Cow<'static, CStr>], environment: &[Cow<'static, CStr>]) -> Errno {
    let argv = pointers(argv);
    let environment = pointers(environment);
    // SAFETY: both arrays end with a null pointer and their strings outlive the call.
    unsafe { libc::execve(program.as_ptr(), argv.as_ptr(), environment.as_ptr()) };
    last_error()
}

fn pointers(strings: &[Cow<'static, CStr>]) -> Vec<*const c_char> {
    let mut pointers = Vec::with_capacity(strings.len() + 1);
    pointers.extend(strings.iter().map(|string| string.as_ptr()));
    pointers.push(core::ptr::null());
    pointers
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
pub fn fork() -> Result<Forked, Errno> {
    // SAFETY: the caller has one thread, so the child may do anything.
    match unsafe { libc::fork() } {
        -1 => Err(last_error()),
        0 => Ok(Forked::Child),
        pid => Ok(Forked::Parent(pid)),
    }
}

/// Ends the process at once, without running destructors.
pub fn exit_now(code: i32) -> ! {
    // SAFETY: _exit has no preconditions.
    unsafe { libc::_exit(code) }
}
