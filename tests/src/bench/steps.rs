//! How many instructions a program executes until it becomes another one: single steps, counted.
//!
//! Profilers lose what they counted when a program calls execve, and count what their own idea of the processor makes
//! of the code. This counts what the processor itself executes in user mode; a repeated string instruction is one.

#![expect(unsafe_code, reason = "ptrace, which std does not offer")]

use std::io;
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};
use std::ptr;

/// Runs a program up to its own first execve. An error where it ends before.
pub(super) fn until_exec(command: &mut Command) -> io::Result<u64> {
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    // SAFETY: the closure makes one system call and allocates nothing.
    unsafe {
        command.pre_exec(|| checked(libc::ptrace(libc::PTRACE_TRACEME, 0, nothing(), nothing())));
    }
    let mut child = command.spawn()?;
    let pid = i32::try_from(child.id()).map_err(io::Error::other)?;
    let counted = count(pid);
    // It is stopped where it became another program, and not needed there.
    let _ = child.kill();
    let _ = child.wait();
    counted
}

fn count(pid: i32) -> io::Result<u64> {
    // It stops at its first instruction.
    wait(pid)?;
    let options = ptr::without_provenance_mut::<libc::c_void>(libc::PTRACE_O_TRACEEXEC as usize);
    // SAFETY: `pid` is a child of ours that is stopped; no memory of ours is written.
    unsafe { checked(libc::ptrace(libc::PTRACE_SETOPTIONS, pid, nothing(), options))? };
    let (mut steps, mut last, mut signal) = (0, 0, 0);
    loop {
        let deliver = ptr::without_provenance_mut::<libc::c_void>(signal);
        // SAFETY: as above.
        unsafe { checked(libc::ptrace(libc::PTRACE_SINGLESTEP, pid, nothing(), deliver))? };
        let status = wait(pid)?;
        if status >> 8 == libc::SIGTRAP | libc::PTRACE_EVENT_EXEC << 8 {
            return Ok(steps);
        }
        let stopped = libc::WSTOPSIG(status);
        signal = if stopped == libc::SIGTRAP { 0 } else { usize::try_from(stopped).unwrap_or_default() };
        let place = place(pid)?;
        steps += u64::from(place != last);
        last = place;
    }
}

fn wait(pid: i32) -> io::Result<i32> {
    let mut status = 0;
    // SAFETY: a child of ours, and a place for its status.
    if unsafe { libc::waitpid(pid, &raw mut status, 0) } == -1 {
        return Err(io::Error::last_os_error());
    }
    if libc::WIFSTOPPED(status) {
        Ok(status)
    } else {
        Err(io::Error::other("it ended before it became another program"))
    }
}

/// Where it will go on: the same place again while a string instruction repeats itself.
#[cfg(target_arch = "x86_64")]
fn place(pid: i32) -> io::Result<i64> {
    let offset = std::mem::offset_of!(libc::user_regs_struct, rip);
    // SAFETY: reads one word of the registers of a stopped child.
    let word =
        unsafe { libc::ptrace(libc::PTRACE_PEEKUSER, pid, ptr::without_provenance_mut::<()>(offset), nothing()) };
    if word == -1 { Err(io::Error::last_os_error()) } else { Ok(word) }
}

/// Other processors have no such instructions: every step is a new place.
#[cfg(not(target_arch = "x86_64"))]
fn place(_: i32) -> io::Result<i64> {
    static NEXT: std::sync::atomic::AtomicI64 = std::sync::atomic::AtomicI64::new(1);
    Ok(NEXT.fetch_add(1, std::sync::atomic::Ordering::Relaxed))
}

fn nothing() -> *mut libc::c_void {
    ptr::null_mut()
}

fn checked(result: libc::c_long) -> io::Result<()> {
    if result == -1 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::compile::compile;
    use crate::{Sandbox, Who};

    /// Goes round a loop of two instructions a thousand times, then becomes the program that its first argument names.
    const LOOP: &str = r#"
        #![no_std]
        #![no_main]
        #[cfg(target_arch = "x86_64")]
        core::arch::global_asm!(
            ".globl _start", "_start:", "mov ecx, 1000", "2:", "dec ecx", "jnz 2b",
            "mov rdi, [rsp + 16]", "lea rsi, [rsp + 16]", "xor edx, edx", "mov eax, 59", "syscall",
            "mov edi, 1", "mov eax, 60", "syscall",
        );
        #[cfg(target_arch = "aarch64")]
        core::arch::global_asm!(
            ".globl _start", "_start:", "mov x9, 1000", "2:", "subs x9, x9, 1", "b.ne 2b",
            "ldr x0, [sp, 16]", "add x1, sp, 16", "mov x2, 0", "mov x8, 221", "svc 0",
            "mov x0, 1", "mov x8, 93", "svc 0",
        );
        #[panic_handler]
        fn panic(_: &core::panic::PanicInfo<'_>) -> ! { loop {} }
    "#;

    #[test]
    fn a_program_is_followed_to_its_execve_and_no_further() {
        let sandbox = Sandbox::new(Who::Caller);
        let program = compile("loop", LOOP, &sandbox.work("")).unwrap();
        let steps = |next: &str| until_exec(Command::new(&program).arg(next));
        // The execve itself never comes back.
        assert_eq!(steps("/bin/sleep").unwrap(), 1 + 2 * 1000 + 4);
        let error = steps("/no/such/program").unwrap_err();
        assert_eq!(error.to_string(), "it ended before it became another program");
    }
}
