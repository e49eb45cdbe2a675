//! Time.

use core::time::Duration;

fn now(clock: libc::clockid_t) -> Duration {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // The system call itself: for the one time that a start wants to know, the C library would look for the kernel's
    // page that answers without one, and touch it.
    // SAFETY: `time` is valid for the call. It fails for clocks that do not exist only.
    unsafe { libc::syscall(libc::SYS_clock_gettime, clock, &raw mut time) };
    Duration::new(u64::try_from(time.tv_sec).unwrap_or(0), u32::try_from(time.tv_nsec).unwrap_or(0))
}

/// Time since some moment before the process began; it never goes back.
pub fn monotonic() -> Duration {
    now(libc::CLOCK_MONOTONIC)
}

/// Time since 1970, as far as somebody has set the clock.
pub fn since_1970() -> Duration {
    now(libc::CLOCK_REALTIME)
}

/// Waits; a signal may end it early.
pub fn sleep(time: Duration) {
    let time = libc::timespec { tv_sec: time.as_secs().try_into().unwrap_or(1), tv_nsec: time.subsec_nanos().into() };
    // SAFETY: `time` is valid for the call; nobody wants to know what is left of it.
    unsafe { libc::nanosleep(&raw const time, core::ptr::null_mut()) };
}
