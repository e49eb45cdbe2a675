//! Threads that end before the function returns that started them.

use core::cell::UnsafeCell;
use core::ffi::c_void;
use core::mem::MaybeUninit;
use core::sync::atomic::{AtomicBool, Ordering};

use alloc::vec::Vec;

/// As many threads as can run at a time: the processors that this process may use.
pub fn cores() -> usize {
    // SAFETY: zero is a value of the set, which is valid for the call.
    let count = unsafe {
        let mut set: libc::cpu_set_t = core::mem::zeroed();
        match libc::sched_getaffinity(0, size_of::<libc::cpu_set_t>(), &raw mut set) {
            0 => libc::CPU_COUNT(&set),
            _ => 1,
        }
    };
    usize::try_from(count).unwrap_or(1).max(1)
}

/// Lets another thread run first.
pub fn give_way() {
    // SAFETY: takes nothing and changes nothing.
    unsafe { libc::sched_yield() };
}

/// Runs `work` on this thread and on `others` more, or on fewer where the system gives no more; each has a stack of
/// `stack` bytes. Returns when all are done.
pub fn on_all(others: usize, stack: usize, work: &(dyn Fn() + Sync)) {
    let mut threads = Threads(Vec::new());
    threads.start_all(others, stack, &work);
    work();
}

/// As [`on_all`], with tools that each thread makes for itself. Another thread that gets none leaves its part to the
/// others: what one thread can do does not fail because there are more.
///
/// # Errors
/// That this thread gets no tools; nothing was done then.
pub fn on_all_with<T, E>(
    others: usize,
    stack: usize,
    tools: &(dyn Fn() -> Result<T, E> + Sync),
    work: &(dyn Fn(T) + Sync),
) -> Result<(), E> {
    let own = tools()?;
    let help = || {
        if let Ok(tools) = tools() {
            work(tools);
        }
    };
    let help: &(dyn Fn() + Sync) = &help;
    let mut threads = Threads(Vec::new());
    threads.start_all(others, stack, &help);
    work(own);
    Ok(())
}

/// Runs `other` on another thread while `own` runs on this one; after it, where there is no other.
pub fn beside<R>(stack: usize, other: &mut (dyn FnMut() + Send), own: impl FnOnce() -> R) -> R {
    let other = Alone(UnsafeCell::new(other));
    // SAFETY: called once, by the one thread that is started below, or after it was found that there is none.
    let work = || unsafe { other.run() };
    let work: &(dyn Fn() + Sync) = &work;
    let mut threads = Threads(Vec::new());
    let started = threads.start(stack, &work);
    let own = own();
    drop(threads);
    if !started {
        work();
    }
    own
}

/// What one thread alone calls, whichever that is.
struct Alone<'a>(UnsafeCell<&'a mut (dyn FnMut() + Send)>);

// SAFETY: who calls `run` promises to be alone, and the closure may be called by any thread.
unsafe impl Sync for Alone<'_> {}

impl Alone<'_> {
    /// # Safety
    /// No two threads may be in here at a time.
    unsafe fn run(&self) {
        // SAFETY: the caller is alone.
        unsafe { (*self.0.get())() }
    }
}

/// Threads that are waited for when this is dropped, so that nothing they borrow goes away before.
struct Threads(Vec<libc::pthread_t>);

impl Threads {
    /// Starts up to `count`, as many as the system gives. `work` must outlive this.
    fn start_all(&mut self, count: usize, stack: usize, work: &&(dyn Fn() + Sync)) {
        for _ in 0..count {
            if !self.start(stack, work) {
                break;
            }
        }
    }

    /// Starts one more; false where the system gives none. `work` must outlive this.
    fn start(&mut self, stack: usize, work: &&(dyn Fn() + Sync)) -> bool {
        self.0.reserve(1);
        let mut attributes = MaybeUninit::uninit();
        let mut thread = MaybeUninit::uninit();
        // SAFETY: `attributes` is initialised before its use; `work` is borrowed for longer than the thread lives,
        // because the functions above drop `Threads` before their borrow ends.
        unsafe {
            if libc::pthread_attr_init(attributes.as_mut_ptr()) != 0 {
                return false;
            }
            libc::pthread_attr_setstacksize(attributes.as_mut_ptr(), stack);
            let argument = core::ptr::from_ref(work).cast_mut().cast();
            let failed = libc::pthread_create(thread.as_mut_ptr(), attributes.as_ptr(), run, argument);
            libc::pthread_attr_destroy(attributes.as_mut_ptr());
            if failed == 0 {
                self.0.push(thread.assume_init());
            }
            failed == 0
        }
    }
}

impl Drop for Threads {
    fn drop(&mut self) {
        for thread in &self.0 {
            // SAFETY: a thread of ours, joined once.
            unsafe { libc::pthread_join(*thread, core::ptr::null_mut()) };
        }
    }
}

extern "C" fn run(argument: *mut c_void) -> *mut c_void {
    // SAFETY: `start` passes a pointer to a closure that outlives the thread.
    let work = unsafe { *argument.cast::<&(dyn Fn() + Sync)>() };
    work();
    core::ptr::null_mut()
}

/// The first of the values that several threads may give.
pub struct First<T> {
    taken: AtomicBool,
    value: UnsafeCell<Option<T>>,
}

// SAFETY: `value` is written by the one thread that finds `taken` unset, and read by whoever owns the whole.
unsafe impl<T: Send> Sync for First<T> {}

impl<T> First<T> {
    /// None yet.
    #[expect(clippy::new_without_default, reason = "a new one is what it says")]
    pub const fn new() -> Self {
        Self { taken: AtomicBool::new(false), value: UnsafeCell::new(None) }
    }

    /// Gives a value, which is dropped where another came first.
    pub fn set(&self, value: T) {
        if !self.taken.swap(true, Ordering::Relaxed) {
            // SAFETY: `taken` lets one caller through, ever.
            unsafe { *self.value.get() = Some(value) };
        }
    }

    /// Whether there is a value, or will be when all threads have ended.
    pub fn is_set(&self) -> bool {
        self.taken.load(Ordering::Relaxed)
    }

    /// The value, when all threads that may give one have ended.
    pub fn into_inner(self) -> Option<T> {
        self.value.into_inner()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use core::sync::atomic::AtomicUsize;

    #[test]
    fn all_are_done_when_it_returns() {
        let (calls, first) = (AtomicUsize::new(0), First::new());
        on_all(7, 256 << 10, &|| {
            sys_sleep();
            first.set(calls.fetch_add(1, Ordering::Relaxed));
        });
        assert_eq!(calls.into_inner(), 8);
        assert!(first.is_set() && first.into_inner().is_some());
    }

    #[test]
    fn both_are_done_when_it_returns() {
        let mut other = 0;
        let own = beside(256 << 10, &mut || other = 2, || 1);
        assert_eq!((own, other), (1, 2));
        // A stack that no system has: the work is done all the same.
        let own = beside(usize::MAX / 2, &mut || other = 4, || 3);
        assert_eq!((own, other), (3, 4));
    }

    #[test]
    fn a_thread_without_tools_leaves_the_work_to_the_others() {
        let (asked, left) = (AtomicUsize::new(0), AtomicUsize::new(100));
        let take = |_| while left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |n| n.checked_sub(1)).is_ok() {};
        // The first who asks is the calling thread.
        let one = || (asked.fetch_add(1, Ordering::Relaxed) == 0).then_some(()).ok_or("none");
        assert_eq!(on_all_with(3, 256 << 10, &one, &take), Ok(()));
        assert_eq!((asked.load(Ordering::Relaxed), left.load(Ordering::Relaxed)), (4, 0));
        assert_eq!(on_all_with(3, 256 << 10, &|| Err("none"), &|()| unreachable!()), Err("none"));
    }

    fn sys_sleep() {
        crate::sys::clock::sleep(core::time::Duration::from_millis(5));
    }
}
