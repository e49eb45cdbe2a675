//! Work environments (SPEC §6.8, §10.7): directories that an application may change, under their final path from the
//! beginning, set up before anything starts in them.
//!
//! The usual launcher has none of this: most packages change nothing of their own.

#![forbid(unsafe_code)]

mod command;
mod error;
mod folder;
mod locks;
mod place;
mod removal;
mod sealed;
mod slots;
#[cfg(test)]
mod testing;

pub use command::Command;
pub use error::{Error, Purpose};
pub use folder::{SETUP, Workenv, ready, remove, setup_value};
pub use locks::Locks;
pub use place::in_first_place;
pub use removal::{RemovedWorkenvs, WorkenvListing, list_workenvs, remove_workenvs};
pub use sealed::run_package;

/// What the builder knows a launcher by that starts such packages.
pub const MARKER: &[u8] = b"pspf launcher: makes work environments";
