//! The names of things below the cache's root.

use alloc::ffi::CString;

use pspf_format::Sha256;

use crate::path::concat;

/// A digest as 64 lowercase hexadecimal digits.
fn hex(digest: &Sha256) -> [u8; 64] {
    let mut text = [0; 64];
    for (pair, byte) in text.chunks_exact_mut(2).zip(digest.0) {
        for (digit, value) in pair.iter_mut().zip([byte >> 4, byte & 15]) {
            *digit = value + if value < 10 { b'0' } else { b'a' - 10 };
        }
    }
    text
}

/// The directory of a slot.
pub(crate) fn slot(key: &Sha256) -> CString {
    concat(&[b"slots/", &hex(key)])
}

/// The record that says that a slot is sound.
pub(super) fn record(key: &Sha256) -> CString {
    concat(&[b"slots/", &hex(key), b".ok"])
}

/// The slot's own metadata and index.
pub(super) fn index(key: &Sha256) -> CString {
    concat(&[b"slots/", &hex(key), b".index"])
}

/// The file that whoever extracts a slot locks.
pub(super) fn lock(key: &Sha256) -> CString {
    concat(&[b"locks/", &hex(key)])
}

/// The launch receipt of a package.
pub(super) fn receipt(package_id: &Sha256) -> CString {
    concat(&[b"receipts/", &hex(package_id)])
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
        assert_eq!(hex(&digest), digest.to_string().as_bytes());
        assert_eq!(record(&digest).to_bytes(), [b"slots/", digest.to_string().as_bytes(), b".ok"].concat());
    }
}
