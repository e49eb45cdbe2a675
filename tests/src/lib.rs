//! The harness of the end-to-end tests: it drives the two real programs, `pspf` and the launcher, from outside.
//!
//! Every test has a [`Sandbox`] of its own; nothing is read from or written to the home of whoever runs the tests.
//! Nothing is skipped: a test that needs a tool fails with the tool's name where it is missing.

pub mod bench;
pub mod forge;
pub mod forks;
pub mod programs;
#[path = "../../format-spec/tests/common/raw.rs"]
pub mod raw;
pub mod run;
pub mod sandbox;
pub mod snapshot;
pub mod trace;
pub mod tree_files;
pub mod unsealed;
pub mod vectors;

pub use programs::{Packed, need, probe, probe_package, pspf, stub};
pub use run::{Ran, Run};
pub use sandbox::{Sandbox, Who};
pub use snapshot::{Snapshot, snapshot};
