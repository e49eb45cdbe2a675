//! End to end: the two real programs, from outside. One module a topic.

mod build_cache;
mod build_cache_folder;
mod cache_places;
mod cache_records;
mod cache_removal;
mod cache_sharing;
mod cache_warm;
mod compat;
mod convert;
mod flavor_pack;
mod machine;
mod names;
mod node_recipe;
mod pack_limits;
mod process;
mod promises;
mod provider;
mod provider_handshake;
mod provider_terraform;
mod python;
mod python_projects;
mod python_recipe;
mod real_projects;
mod recipe;
mod reference;
mod reproducible;
mod round_trip;
mod security;
mod self_service;
mod signals;
mod tampered;
mod tidy;
mod unsealed;
mod unsealed_cases;
mod vectors;
mod verify;
mod workenv;
mod workenv_moments;

use pspf_tests::{forge, raw};

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
