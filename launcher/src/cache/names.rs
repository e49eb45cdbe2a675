//! The names of things below the cache's root.

use alloc::ffi::CString;

use pspf_format::Sha256;

use crate::path::concat;

/// The directory of a slot.
pub(crate) fn slot(key: &Sha256) -> CString {
    concat(&[b"slots/", &key.to_hex()])
}

/// The record that says that a slot is sound.
pub(super) fn record(key: &Sha256) -> CString {
    concat(&[b"slots/", &key.to_hex(), b".ok"])
}

/// The slot's own metadata and index.
pub(super) fn index(key: &Sha256) -> CString {
    concat(&[b"slots/", &key.to_hex(), b".index"])
}

/// The file that whoever extracts a slot locks.
pub(super) fn lock(key: &Sha256) -> CString {
    concat(&[b"locks/", &key.to_hex()])
}

/// The launch receipt of a package.
pub(super) fn receipt(package_id: &Sha256) -> CString {
    concat(&[b"receipts/", &package_id.to_hex()])
}

/// Something of this name in a folder.
pub(super) fn below(folder: &str, name: &core::ffi::CStr) -> CString {
    concat(&[folder.as_bytes(), b"/", name.to_bytes()])
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::string::ToString;

    #[test]
    fn digests_are_written_as_everywhere() {
        let digest = Sha256(core::array::from_fn(|at| (at * 37) as u8));
        assert_eq!(record(&digest).to_bytes(), [b"slots/", digest.to_string().as_bytes(), b".ok"].concat());
    }
}
