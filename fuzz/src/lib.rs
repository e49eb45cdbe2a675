//! What each fuzz target does with its bytes, and what must be true of the outcome.
//!
//! One body for two users: `fuzz_targets/` runs each in libFuzzer's loop, which needs a nightly compiler; the test
//! `replay` of the workspace runs each over `corpus/`, which needs nothing. The second way fuzzes nothing: it shows
//! that whatever was found before stays as it was decided.

#![allow(clippy::unwrap_used, reason = "a panic is how a target reports")]

#[path = "../../format-spec/tests/common/mod.rs"]
mod common;
// The manifest belongs to a program, which has no library to take it from.
#[allow(dead_code, unreachable_pub, reason = "a part of it is used here")]
#[path = "../../builder/src/failure.rs"]
mod failure;
#[allow(dead_code, unreachable_pub, reason = "a part of it is used here")]
#[path = "../../builder/src/manifest.rs"]
mod manifest_file;

pub mod deflate_frame;
pub mod file;
pub mod input;
pub mod keys;
pub mod manifest;
pub mod metadata;
pub mod package_open;
pub mod package_verify;
pub mod records;
pub mod slot_index;
pub mod tar_stream;
pub mod trailer;
pub mod tree;
pub mod unsealed;
pub mod unsealed_slot;
pub mod zstd_frame;

#[cfg(test)]
mod replay;

/// A target: its name, which is that of its folder in `corpus/`, and its body.
pub type Target = (&'static str, fn(&[u8]));

/// All targets.
pub const TARGETS: [Target; 13] = [
    ("deflate_frame", deflate_frame::target),
    ("keys", keys::target),
    ("manifest", manifest::target),
    ("metadata", metadata::target),
    ("package_open", package_open::target),
    ("package_verify", package_verify::target),
    ("records", records::target),
    ("slot_index", slot_index::target),
    ("tar_stream", tar_stream::target),
    ("trailer", trailer::target),
    ("unsealed", unsealed::target),
    ("unsealed_slot", unsealed_slot::target),
    ("zstd_frame", zstd_frame::target),
];
