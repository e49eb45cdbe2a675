//! What unit tests of this crate share.

use std::io::Write;

use pspf_format::{Operation, Sha256, Span, UnsealedMetadata, UnsealedSlot};
use pspf_launcher::PackageFile;
use serde_json::{Value, json};

/// A file that nobody else sees.
pub(crate) fn in_file(bytes: &[u8]) -> PackageFile {
    let mut file = tempfile::tempfile().unwrap();
    file.write_all(bytes).unwrap();
    PackageFile::from_file(file.into(), c"package").unwrap()
}

/// A slot of this content, in the middle of a file.
pub(crate) fn slot(operations: Vec<Operation>, stored: &[u8]) -> (PackageFile, UnsealedSlot) {
    let slot = UnsealedSlot {
        id: "s".to_owned(),
        span: Span { offset: 1000, len: stored.len() as u64 },
        sha256: Sha256::of(stored),
        is_short: false,
        operations,
        target: Some("target".try_into().unwrap()),
        permissions: 0o755,
        lifecycle: String::new(),
    };
    (in_file(&[&[1; 1000], stored, &[2; 1000]].concat()), slot)
}

/// Metadata with these keys beside those that all have.
pub(crate) fn metadata(more: Value) -> UnsealedMetadata {
    let mut metadata =
        json!({"package": {"name": "forged", "version": "1.5"}, "slots": [], "build": {"tool": "flavor-go"}});
    metadata.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    serde_json::from_value(metadata).unwrap()
}
