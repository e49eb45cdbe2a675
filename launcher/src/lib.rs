//! Verifies a package, extracts its slots into the cache and starts its program (SPEC §8, §10, §12).
//!
//! A library, because `pspf run`, `pspf extract` and `pspf cache` use the same engine as the stub; the stub is
//! `main.rs` of this crate, a few lines long. Only `sys` holds `unsafe` code.
//!
//! Without the standard library: most of what it would bring into every package is there to print backtraces. Paths
//! are C strings, as the kernel takes them.

#![no_std]

extern crate alloc;

pub mod cache;
mod check;
mod command;
mod compare;
mod directories;
mod disk;
mod environment;
mod error;
mod extract;
mod extract_to;
mod frames;
mod launch;
mod package_file;
mod path;
mod progress;
mod self_service;
mod slot_reader;
mod stub;
mod supervise;
#[expect(unsafe_code, reason = "the only module that may: each use has its SAFETY note")]
pub mod sys;

pub use check::{Checked, Depth, Thorough, check};
pub use command::{CachedSlots, Command, Places, expand};
pub use environment::{Environment, matches};
pub use error::{Error, OsError, report};
pub use extract::{Modes, Umask, extract_slot};
pub use extract_to::extract_to;
pub use launch::{Invocation, launch, run_package};
pub use package_file::PackageFile;
pub use progress::Progress;
pub use self_service::answer;
pub use slot_reader::slot_index;
pub use stub::{MARKER, own_file, panicked, stub};
pub use supervise::supervise;
