//! The Progressive Secure Package Format: `SPEC.md` in this folder is normative, this crate is its only reader.
//!
//! It opens no file, prints nothing and reads no clock: bytes come in, types that say what was proven come out. It
//! needs an allocator and no standard library, so that the launcher can do without one.

#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;

mod cache_record;
mod class;
mod crc32;
pub mod deflate_frame;
mod descriptor;
mod digest;
mod draft;
mod error;
mod gzip;
mod index;
mod json;
mod json_reader;
mod json_scan;
mod layout;
mod lifecycle;
mod metadata;
mod names;
mod operations;
mod package;
mod record;
mod rendering;
#[cfg(feature = "tools")]
mod reports;
mod seal;
mod shown;
mod slot_key;
mod slot_tail;
mod span;
pub mod tar;
pub mod template;
mod text_map;
pub mod tree;
mod tree_reader;
mod unsealed;
#[cfg(feature = "tools")]
mod unsealed_metadata;
#[cfg(feature = "tools")]
mod unsealed_package;
#[cfg(feature = "tools")]
mod unsealed_tool;
#[cfg(feature = "workenv")]
mod workenv;
pub mod zstd_frame;

pub use cache_record::{
    CACHE_SCHEMA, MAX_RECEIPT, Receipt, SlotStamp, Validity, encode_slot_record, parse_slot_record,
};
pub use class::Class;
pub use descriptor::SlotDescriptor;
pub use digest::{Hasher, Sha256};
pub use draft::Draft;
pub use error::Error;
pub use index::{END_MAGIC, FORMAT_VERSION, INDEX_LEN, IndexBlock, START_MAGIC, TRAILER_LEN, Trailer, index_checksum};
pub use layout::{Layout, Part};
pub use lifecycle::{Lifecycle, Moment};
pub use metadata::{
    EnvRules, LauncherMetadata, MAX_JSON, MAX_METADATA, MAX_SLOTS, Metadata, Mode, Package, Pspf, Run,
    SlotIndexMetadata, SlotMetadata,
};
pub use names::{FileName, MAX_COMPONENT, MAX_ID, MAX_PATH, PackageWord, Platform, SlotId, TreePath};
pub use operations::{Coding, Operations};
pub use package::{SealedIndex, Slot, UnverifiedPackage, VerifiedPackage};
pub use pspf_keys as keys;
pub use record::Record;
pub use seal::{
    ENTRIES_OFFSET, FLAG_BASE_SIGNATURE, MAX_SIGNATURES, SEAL_OFFSET, SEAL_VERSION, SealEntry, SealHeader,
    signed_message,
};
pub use shown::Shown;
pub use span::{ALIGNMENT, Span, align};
pub use text_map::TextMap;
pub use unsealed::UnsealedIndex;
#[cfg(feature = "tools")]
pub use unsealed_metadata::{
    Enumerate, RuntimeEnv, SetupCommand, UnsealedBuild, UnsealedExecution, UnsealedIdentity, UnsealedLauncher,
    UnsealedMetadata, UnsealedPolicy, UnsealedRuntime, UnsealedSlotMetadata, Workenv, WorkenvDirectory,
};
#[cfg(feature = "tools")]
pub use unsealed_package::{UnsealedPackage, UnsealedSlot};
#[cfg(feature = "tools")]
pub use unsealed_tool::{Operation, UnsealedTool};
