//! The cache on disk (SPEC §10): slots shared by content, and a receipt for each package that started from it.

mod audit;
mod candidates;
mod listing;
mod lock;
mod names;
mod receipts;
mod removal;
mod safety;
mod slots;
mod staging;

use alloc::borrow::ToOwned;
use alloc::ffi::CString;
use alloc::string::ToString;
use alloc::vec::Vec;
use core::ffi::CStr;

use pspf_format::{CACHE_SCHEMA, Lifecycle, Platform, Slot, VerifiedPackage};
use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::fs::{AtFlags, Mode, StatVfsMountFlags};
use rustix::io::Errno;

pub use crate::compare::Difference;
pub use candidates::{Candidate, candidates};
pub use listing::{Listing, PackageListing, SlotListing};
pub use removal::{Removal, Removed, Scope, is_used_below, remove_directory};
pub use slots::Verdict;
pub(crate) use staging::{Staging, fresh_name};

use crate::extract::Umask;
use crate::path::{is_absolute, join};
use crate::{Environment, Error, Progress};

/// Who may read a cache that is created.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// Its owner: what a start makes.
    Private,
    /// Everybody: what is filled ahead for others, as root does for a container image.
    Shared,
}

/// An open cache.
#[derive(Debug)]
pub struct Cache {
    root: OwnedFd,
    path: CString,
}

impl Cache {
    /// Opens the cache of a candidate where it is there already; `None` where it is not, or is not safe.
    ///
    /// This is the warm path: the directory is checked by its descriptor and reached without symbolic links; its
    /// ancestors were checked when it was opened for writing.
    pub fn existing(candidate: &Candidate) -> Option<Self> {
        let path = Self::path_below(candidate);
        if !is_absolute(path.to_bytes()) {
            return None;
        }
        let root = safety::open(&path).ok()?;
        safety::own_directory(&root).ok()?;
        Some(Self { root, path })
    }

    /// Does `work` in the first candidate that can be used and has room for what it makes.
    ///
    /// # Errors
    /// [`Error::NoCache`] where there is none; what `work` reports and no other place would change.
    pub fn in_first_place<T>(
        environment: &Environment,
        access: Access,
        work: impl Fn(&Self) -> Result<T, Error>,
    ) -> Result<(Self, T), Error> {
        let mut tried = Vec::new();
        for candidate in candidates(environment) {
            let cache = Self::writable(&candidate, access);
            match cache.and_then(|cache| work(&cache).map(|done| (cache, done))) {
                // What goes wrong in the named place is told as it is.
                Err(error) if candidate.explicit && !matches!(error, Error::Unfit { .. }) => return Err(error),
                Err(error) if error.is_of_the_place(&candidate.path) => tried.push((candidate.path, error.to_string())),
                done => return done,
            }
        }
        Err(Error::NoCache { tried })
    }

    /// Opens the cache of a candidate for writing, and creates what is missing.
    ///
    /// # Errors
    /// [`Error::Unfit`]: the ancestors are not safe, programs are not allowed there, or it cannot be written.
    pub(crate) fn writable(candidate: &Candidate, access: Access) -> Result<Self, Error> {
        let _umask = Umask::none();
        let path = Self::path_below(candidate);
        if !is_absolute(path.to_bytes()) {
            return Err(Error::Unfit { reason: "it is not an absolute path".to_owned() });
        }
        let mode = match access {
            Access::Private => Mode::RWXU,
            Access::Shared => Mode::from_raw_mode(0o755),
        };
        let root = safety::open_or_create(&path, mode).map_err(|reason| reason.at(&path))?;
        safety::own_directory(&root).map_err(|reason| reason.at(&path))?;
        let cache = Self { root, path };
        if !cache.allows_programs() {
            // Made just now, it is empty and goes again; one that is in use stays.
            let _ = rustix::fs::rmdir(cache.path.as_c_str());
            return Err(Error::Unfit { reason: "its file system does not allow programs (noexec)".to_owned() });
        }
        for name in [c"slots", c"receipts", c"locks"] {
            match rustix::fs::mkdirat(&cache.root, name, mode) {
                Ok(()) | Err(Errno::EXIST) => {}
                // A full or read-only cache may still hold what is needed.
                Err(errno) if rustix::fs::statat(&cache.root, name, AtFlags::empty()).is_err() => {
                    return Err(safety::Reason::from(errno).at(&cache.path));
                }
                Err(_) => {}
            }
        }
        Ok(cache)
    }

    /// Whether programs may be executed on its file system. One that does not tell is taken at its word later.
    pub(crate) fn allows_programs(&self) -> bool {
        !rustix::fs::fstatvfs(&self.root).is_ok_and(|mount| mount.f_flag.contains(StatVfsMountFlags::NOEXEC))
    }

    fn path_below(candidate: &Candidate) -> CString {
        const { assert!(CACHE_SCHEMA == 1) };
        join(&candidate.path, b"v1")
    }

    /// The cache that commands work on: the first candidate that holds a slot, else the first that exists.
    pub fn for_commands(environment: &Environment) -> Option<Self> {
        let existing = || candidates(environment).filter_map(|candidate| Self::existing(&candidate));
        existing().find(|cache| cache.slot_keys().is_ok_and(|keys| !keys.is_empty())).or_else(|| existing().next())
    }

    /// Its directory.
    pub fn path(&self) -> &CStr {
        &self.path
    }

    pub(crate) fn root(&self) -> BorrowedFd<'_> {
        self.root.as_fd()
    }

    /// Where an extracted slot is: its directory, or the path of its file.
    pub fn slot_path(&self, slot: Slot<'_>) -> CString {
        let directory = join(&self.path, names::slot(&slot.key()).to_bytes());
        if slot.metadata.operations.holds_target() {
            join(&directory, slot.metadata.target.as_str().as_bytes())
        } else {
            directory
        }
    }

    /// An error at something below the root.
    fn failed(&self, action: &'static str, name: &CStr, errno: Errno) -> Error {
        Error::io(action, &join(&self.path, name.to_bytes()), errno)
    }
}

/// The slots that must be there at a start: eager ones first (SPEC §6.6).
pub fn needed(package: &VerifiedPackage) -> Vec<Slot<'_>> {
    let eager = package.slots().filter(|slot| slot.metadata.lifecycle == Lifecycle::Eager);
    let others = package.slots().filter(|slot| match slot.metadata.lifecycle {
        Lifecycle::Runtime => true,
        Lifecycle::Platform => {
            slot.metadata.platform.as_ref().is_some_and(|own| Some(own) == current_platform().as_ref())
        }
        _ => false,
    });
    eager.chain(others).collect()
}

/// What this program was built for, in the metadata's words.
pub fn current_platform() -> Option<Platform> {
    const PLATFORM: Option<&str> = match () {
        () if !cfg!(target_os = "linux") => None,
        () if cfg!(target_arch = "x86_64") => Some("linux_amd64"),
        () if cfg!(target_arch = "aarch64") => Some("linux_arm64"),
        () if cfg!(target_arch = "x86") => Some("linux_386"),
        () if cfg!(target_arch = "arm") => Some("linux_arm"),
        () if cfg!(target_arch = "riscv64") => Some("linux_riscv64"),
        () if cfg!(target_arch = "s390x") => Some("linux_s390x"),
        () if cfg!(target_arch = "powerpc64") => Some("linux_ppc64le"),
        () => None,
    };
    Platform::try_from(PLATFORM?.to_owned()).ok()
}

/// A progress line for the slots of a package.
pub(crate) fn progress(package: &VerifiedPackage, slots: &[Slot<'_>]) -> Progress {
    let total = slots.iter().map(|slot| slot.metadata.expanded_size).sum();
    Progress::to_terminal(package.metadata().package.name.as_str(), total)
}
