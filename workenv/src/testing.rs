//! What unit tests of this crate share.

use std::sync::{Mutex, MutexGuard, PoisonError};

/// Held by tests that start programs or give up locks: until a child is executed it has every lock of its process.
pub(crate) fn alone() -> MutexGuard<'static, ()> {
    static ALONE: Mutex<()> = Mutex::new(());
    ALONE.lock().unwrap_or_else(PoisonError::into_inner)
}
