//! The stub that every package begins with.
//!
//! Without a Rust `main` there is no Rust runtime start-up: no signal is changed and no descriptor opened before the
//! application gets them.

#![no_main]
#![expect(unsafe_code, reason = "the entry point that the C library calls")]

use std::ffi::{c_char, c_int};

use pspf_launcher::sys::arena::Arena;
use pspf_launcher::sys::process::c_strings;

#[global_allocator]
static MEMORY: Arena = Arena::new();

/// What the C library calls.
///
/// # Safety
/// `argv` is the NULL-terminated array that the kernel made.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn main(_argc: c_int, argv: *const *const c_char) -> c_int {
    // SAFETY: the C library passes the kernel's NULL-terminated array, and nobody changes it.
    let argv = unsafe { c_strings(argv) };
    pspf_launcher::stub(argv)
}
