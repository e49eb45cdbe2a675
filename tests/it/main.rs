//! End to end: the two real programs, from outside. One module a topic.

mod bad_metadata;
mod bad_package;
mod bad_seal;
mod bad_slot;
mod build_cache;
mod build_cache_folder;
mod cache_places;
mod cache_records;
mod cache_removal;
mod cache_sharing;
mod cache_warm;
mod forge;
mod hostile;
mod machine;
mod names;
mod pack_limits;
mod process;
mod promises;
mod python;
#[allow(dead_code, reason = "a part of it is used here")]
#[path = "../../format-spec/tests/common/raw.rs"]
mod raw;
mod reproducible;
mod round_trip;
mod self_service;
mod signals;
mod tidy;

/// Runs each test as whoever runs the tests, and as a user without rights: root hides permission errors.
macro_rules! as_both {
    ($($name:ident)*) => {
        mod as_caller {
            $(#[test] fn $name() { super::$name(pspf_tests::Who::Caller) })*
        }
        mod as_stranger {
            $(#[test] fn $name() { super::$name(pspf_tests::Who::Stranger) })*
        }
    };
}
use as_both;
