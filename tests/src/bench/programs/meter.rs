//! Runs a program and says what the most memory was that it used: `peak N`, in KiB, as the last line of standard output.
//!
//! Linux counts the memory of whoever starts a program as the program's own, up to its execve. The bench is too large to
//! measure a launcher of a megabyte; this one is a few pages, and it forks, so that the child is as small as itself.
//! Compiled by the bench, see `compile.rs`.

#![no_std]
#![no_main]

use core::arch::{asm, global_asm};

// The kernel puts argc, argv and envp on the stack.
#[cfg(target_arch = "x86_64")]
global_asm!(".globl _start", "_start:", "mov rdi, rsp", "and rsp, -16", "call {main}", main = sym main);
#[cfg(target_arch = "aarch64")]
global_asm!(".globl _start", "_start:", "mov x0, sp", "bl {main}", main = sym main);

#[cfg(target_arch = "x86_64")]
mod call {
    pub const WRITE: usize = 1;
    pub const CLONE: usize = 56;
    pub const EXECVE: usize = 59;
    pub const EXIT: usize = 60;
    pub const WAIT4: usize = 61;
}
#[cfg(target_arch = "aarch64")]
mod call {
    pub const WRITE: usize = 64;
    pub const CLONE: usize = 220;
    pub const EXECVE: usize = 221;
    pub const EXIT: usize = 93;
    pub const WAIT4: usize = 260;
}

/// SIGCHLD when the child ends; nothing is shared with it.
const FORK: usize = 17;
/// Where `ru_maxrss` is in the kernel's `struct rusage`, in words: after two `struct timeval`.
const MAX_RSS: usize = 4;

/// `words` is where argc is.
extern "C" fn main(words: *const usize) -> ! {
    let mut status = 0_i32;
    let mut usage = [0_usize; 18];
    // SAFETY: argc, argv with its null and envp with its null follow each other on the initial stack. Every pointer
    // that a system call gets is to that or to a variable that outlives the call.
    unsafe {
        let argv = words.add(1);
        let envp = argv.add(*words + 1);
        let program = argv.add(1);
        let child = system(call::CLONE, [FORK, 0, 0, 0, 0]);
        if child == 0 {
            system(call::EXECVE, [*program, program as usize, envp as usize, 0, 0]);
            exit(127);
        }
        let (status_at, usage_at) = (&raw mut status as usize, &raw mut usage as usize);
        system(call::WAIT4, [child as usize, status_at, 0, usage_at, 0]);
    }
    say(usage[MAX_RSS]);
    let (signal, code) = (status & 0x7f, (status >> 8) & 0xff);
    exit(if signal == 0 { code as usize } else { 128 + signal as usize })
}

fn say(mut number: usize) {
    let mut text = *b"peak                     \n";
    let mut at = text.len() - 1;
    loop {
        at -= 1;
        text[at] = b'0' + (number % 10) as u8;
        number /= 10;
        if number == 0 {
            break;
        }
    }
    // SAFETY: write(1, text, its length).
    unsafe { system(call::WRITE, [1, text.as_ptr() as usize, text.len(), 0, 0]) };
}

fn exit(code: usize) -> ! {
    // SAFETY: exit has no conditions.
    unsafe { system(call::EXIT, [code, 0, 0, 0, 0]) };
    loop {}
}

/// # Safety
/// What the kernel demands of the arguments of this call.
unsafe fn system(number: usize, [a, b, c, d, e]: [usize; 5]) -> isize {
    let result: isize;
    // SAFETY: the registers of the system call convention.
    #[cfg(target_arch = "x86_64")]
    unsafe {
        asm!("syscall", inout("rax") number as isize => result, in("rdi") a, in("rsi") b, in("rdx") c, in("r10") d,
             in("r8") e, out("rcx") _, out("r11") _);
    }
    // SAFETY: as above.
    #[cfg(target_arch = "aarch64")]
    unsafe {
        asm!("svc 0", in("x8") number, inout("x0") a as isize => result, in("x1") b, in("x2") c, in("x3") d, in("x4") e);
    }
    result
}

#[panic_handler]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
    loop {}
}

/// `core` is compiled with unwinding and names this; nothing unwinds here.
#[unsafe(no_mangle)]
extern "C" fn rust_eh_personality() {}
