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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::alone;

    #[test]
    fn a_lock_is_the_commands_own_as_long_as_they_are_started() {
        let _alone = alone();
        let file = tempfile::tempfile().unwrap();
        let locks = Locks(vec![&file]);
        let flags = || rustix::io::fcntl_getfd(&file).unwrap();
        assert_eq!(flags(), FdFlags::CLOEXEC);
        assert_eq!(locks.share(flags), FdFlags::empty());
        assert_eq!(flags(), FdFlags::CLOEXEC);
    }
}
