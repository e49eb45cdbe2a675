//! The stub that every package begins with.
//!
//! Without the standard library there is no runtime start-up either: no signal is changed and no descriptor opened
//! before the application gets them.

#![no_std]
#![no_main]
#![expect(unsafe_code, reason = "the entry point that the C library calls")]

#[cfg(not(target_env = "gnu"))]
mod memcmp;

use core::ffi::{c_char, c_int};
use core::panic::PanicInfo;

use pspf_launcher::sys::arena::Arena;
use pspf_launcher::sys::process::c_strings;

// Behind everything else that is zero: the first pages of it are then those of the rest.
#[global_allocator]
#[unsafe(link_section = ".bss.arena")]
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

#[panic_handler]
fn panicked(_: &PanicInfo<'_>) -> ! {
    pspf_launcher::panicked()
}

/// The toolchain's compiled `alloc` names two functions for unwinding; a panic that ends the process never calls them.
#[unsafe(no_mangle)]
extern "C" fn rust_eh_personality() {}

/// The other one. A static glibc unwinds its threads by itself and brings its own.
#[cfg(not(target_env = "gnu"))]
#[unsafe(no_mangle)]
extern "C" fn _Unwind_Resume() -> ! {
    pspf_launcher::panicked()
}
