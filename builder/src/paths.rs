//! Paths on their way to the launcher's library, which takes C strings, and back.

use std::ffi::{CStr, CString, OsStr};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

/// A path as a C string. One with a NUL, which the system could not give us, becomes the empty path, which nothing has.
pub(crate) fn c_path(path: &Path) -> CString {
    CString::new(path.as_os_str().as_bytes()).unwrap_or_default()
}

/// A C string as a path.
pub(crate) fn path(path: &CStr) -> &Path {
    Path::new(OsStr::from_bytes(path.to_bytes()))
}
