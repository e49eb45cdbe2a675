//! Locks that commands share with whoever waits for them.

use std::fs::File;

use rustix::io::FdFlags;

/// Held by one process, and by the commands that it runs: where it is killed, nobody takes their place as long as they
/// go on.
#[derive(Debug, Default)]
pub struct Locks<'a>(pub(crate) Vec<&'a File>);

impl Locks<'_> {
    /// Does `work`, of which every program that is started gets the locks too.
    pub fn share<T>(&self, work: impl FnOnce() -> T) -> T {
        self.set(FdFlags::empty());
        let done = work();
        self.set(FdFlags::CLOEXEC);
        done
    }

    fn set(&self, flags: FdFlags) {
        for lock in &self.0 {
            let _ = rustix::io::fcntl_setfd(lock, flags);
        }
    }
}
