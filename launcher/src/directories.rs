//! Making the directories of a tree on several threads.

use alloc::vec::Vec;
use core::sync::atomic::{AtomicUsize, Ordering};

use pspf_format::tree::{EntryKind, MAX_DEPTH, SlotIndex};

use crate::Error;
use crate::sys::thread::{First, give_way};

/// So many one thread makes before it asks for more: neighbours have one parent, which a single thread at a time can
/// change.
const CHUNK: usize = 32;

/// The directories of a tree, in an order in which several threads can make them.
pub(crate) struct Directories<'a> {
    /// Their paths, those of one depth after those of the one above; with each the number of those that lie less deep.
    pub(crate) order: Vec<(usize, &'a str)>,
    next: AtomicUsize,
    done: AtomicUsize,
}

impl<'a> Directories<'a> {
    pub(crate) fn of(index: &'a SlotIndex) -> Self {
        let directories = index.entries.iter().take_while(|entry| entry.kind == EntryKind::Directory);
        let paths: Vec<(usize, &str)> = directories.map(|entry| (entry.path.depth(), entry.path.as_str())).collect();
        let mut order = Vec::with_capacity(paths.len());
        for depth in 0..MAX_DEPTH {
            let above = order.len();
            if above == paths.len() {
                break;
            }
            order.extend(paths.iter().filter(|path| path.0 == depth).map(|path| (above, path.1)));
        }
        Self { order, next: AtomicUsize::new(0), done: AtomicUsize::new(0) }
    }

    /// Calls `make` once for each, by all threads that come here, for a parent before its children. Every thread
    /// leaves when all are done, or when any fails.
    pub(crate) fn each(&self, failure: &First<Error>, make: impl Fn(&str) -> Result<(), Error>) {
        let mut chunks =
            core::iter::from_fn(|| self.order.chunks(CHUNK).nth(self.next.fetch_add(1, Ordering::Relaxed)));
        // None of a depth is begun before all above it are counted, so the count tells which they are.
        let wait = |count| {
            while self.done.load(Ordering::Acquire) < count && !failure.is_set() {
                give_way();
            }
        };
        for &(above, path) in chunks.by_ref().flatten() {
            wait(above);
            if failure.is_set() {
                return;
            }
            match make(path) {
                Ok(()) => drop(self.done.fetch_add(1, Ordering::Release)),
                Err(error) => return failure.set(error),
            }
        }
        wait(self.order.len());
    }
}

#[cfg(test)]
mod tests {
    use alloc::borrow::ToOwned;
    use alloc::collections::BTreeSet;
    use alloc::string::{String, ToString};

    use pspf_format::TreePath;

    use super::*;
    use crate::sys::lock::Lock;
    use crate::sys::thread::on_all;

    /// 2,000 directories, up to five levels deep.
    fn tree() -> SlotIndex {
        let digits = |n: u32| n.to_string().chars().map(String::from).collect::<Vec<_>>().join("/");
        let paths: BTreeSet<String> = (0..2_000).map(digits).flat_map(|path| [path.clone() + "/x", path]).collect();
        let entries = paths.into_iter().map(|path| (TreePath::try_from(path).unwrap(), EntryKind::Directory));
        SlotIndex::of_tree(entries.collect(), 0).unwrap()
    }

    #[test]
    fn a_parent_comes_before_its_children_on_any_number_of_threads() {
        let index = tree();
        for others in [0, 1, 7] {
            let (directories, failure) = (Directories::of(&index), First::new());
            let made = Lock::new(BTreeSet::from([String::new()]));
            on_all(others, 256 << 10, &|| {
                directories.each(&failure, |path| {
                    let parent = path.rsplit_once('/').map_or("", |(parent, _)| parent);
                    assert!(made.with(|made| made.contains(parent)), "{path} before its parent");
                    give_way();
                    assert!(made.with(|made| made.insert(path.to_owned())), "{path} twice");
                    Ok(())
                });
                let count = made.with(|made| made.len());
                assert_eq!(count, index.entries.len() + 1, "a thread left before all was done");
            });
            assert!(!failure.is_set());
        }
    }

    #[test]
    fn all_threads_leave_when_one_fails() {
        let index = tree();
        let (directories, failure) = (Directories::of(&index), First::new());
        on_all(3, 256 << 10, &|| {
            directories.each(&failure, |path| match path {
                "1/2" => Err(Error::Internal { what: "1/2" }),
                _ => Ok(()),
            });
        });
        assert!(matches!(failure.into_inner(), Some(Error::Internal { what: "1/2" })));
        assert!(directories.done.into_inner() < index.entries.len());
    }
}
