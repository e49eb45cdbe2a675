//! Packages without a seal (SPEC §8.4 to §8.6): reads them, holds every byte to what is signed as far as that reaches,
//! unpacks them into a work environment and starts them.
//!
//! The usual launcher has none of this: who takes a seal away gains no weaker reading.

#![forbid(unsafe_code)]

mod archive;
mod content;
mod environment;
mod error;
mod package;
mod setup;
mod start;
#[cfg(test)]
mod testing;
mod text;
mod unpack;
mod words;

pub use content::decode_all;
pub use error::Error;
pub use package::{Measured, Opened, each_chunk};
pub use setup::{matching_paths, set_up};
pub use start::run;
pub use unpack::unpack_slot;
pub use words::split_words;
