//! Payload A: greets and ends. Without a C library and without the Rust runtime, so that nothing of its own start-up
//! hides what a launcher costs. Compiled by the bench, see `compile.rs`.

#![no_std]
#![no_main]

use core::arch::asm;

const GREETING: &[u8] = b"hello\n";

/// Where the kernel starts it.
#[unsafe(no_mangle)]
extern "C" fn _start() -> ! {
    // SAFETY: write(1, GREETING, its length), then exit(0), which does not return.
    #[cfg(target_arch = "x86_64")]
    unsafe {
        asm!("syscall", inout("rax") 1_usize => _, in("rdi") 1, in("rsi") GREETING.as_ptr(), in("rdx") GREETING.len(),
             out("rcx") _, out("r11") _);
        asm!("syscall", in("rax") 60, in("rdi") 0, options(noreturn));
    }
    // SAFETY: as above.
    #[cfg(target_arch = "aarch64")]
    unsafe {
        asm!("svc 0", in("x8") 64, inout("x0") 1_usize => _, in("x1") GREETING.as_ptr(), in("x2") GREETING.len());
        asm!("svc 0", in("x8") 93, in("x0") 0, options(noreturn));
    }
}

#[panic_handler]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
    loop {}
}
