//! A lock for what several threads change, held for some instructions at a time.

use core::cell::UnsafeCell;
use core::sync::atomic::{AtomicU32, Ordering};

const FREE: u32 = 0;
const HELD: u32 = 1;
const HELD_AND_AWAITED: u32 = 2;

/// How often a lock that is held is looked at before its waiter sleeps.
const SPINS: u32 = 100;

/// A value that one thread at a time may touch.
#[derive(Default)]
pub struct Lock<T> {
    state: AtomicU32,
    value: UnsafeCell<T>,
}

// SAFETY: `with` lets one thread at a time to the value.
unsafe impl<T: Send> Sync for Lock<T> {}

impl<T> Lock<T> {
    /// Around `value`.
    pub const fn new(value: T) -> Self {
        Self { state: AtomicU32::new(FREE), value: UnsafeCell::new(value) }
    }

    /// Runs `work` while no other thread does so. It must not come back here.
    pub fn with<R>(&self, work: impl FnOnce(&mut T) -> R) -> R {
        self.take();
        let held = Held(&self.state);
        // SAFETY: this thread has the lock until `held` goes.
        let done = work(unsafe { &mut *self.value.get() });
        drop(held);
        done
    }

    fn take(&self) {
        let free = || self.state.compare_exchange(FREE, HELD, Ordering::Acquire, Ordering::Relaxed).is_ok();
        // It is mostly held for less time than a system call takes.
        let soon = || {
            core::hint::spin_loop();
            self.state.load(Ordering::Relaxed) == FREE && free()
        };
        if free() || (0..SPINS).any(|_| soon()) {
            return;
        }
        while self.state.swap(HELD_AND_AWAITED, Ordering::Acquire) != FREE {
            futex(&self.state, libc::FUTEX_WAIT, HELD_AND_AWAITED);
        }
    }

    /// The value, when no other thread can reach it.
    pub fn into_inner(self) -> T {
        self.value.into_inner()
    }
}

/// Frees the lock when dropped.
struct Held<'a>(&'a AtomicU32);

impl Drop for Held<'_> {
    fn drop(&mut self) {
        if self.0.swap(FREE, Ordering::Release) == HELD_AND_AWAITED {
            futex(self.0, libc::FUTEX_WAKE, 1);
        }
    }
}

fn futex(state: &AtomicU32, operation: libc::c_int, value: u32) {
    let none: *const libc::timespec = core::ptr::null();
    // SAFETY: the address is that of a number which lives as long as the call.
    unsafe { libc::syscall(libc::SYS_futex, state.as_ptr(), operation | libc::FUTEX_PRIVATE_FLAG, value, none) };
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::thread::on_all;

    #[test]
    fn one_at_a_time() {
        let count = Lock::new(0_u64);
        on_all(3, 256 << 10, &|| (0..50_000).for_each(|_| count.with(|count| *count += 1)));
        assert_eq!(count.into_inner(), 200_000);
    }
}
