//! A package as a file that nobody else sees, and what the launcher's library makes of it.

use std::ffi::CString;
use std::fs::File;
use std::io::Write as _;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};

use pspf_format::VerifiedPackage;
use pspf_launcher::{Depth, Error, PackageFile, Thorough, check};
use rustix::fs::MemfdFlags;

/// A file in memory with these bytes.
pub fn in_memory(bytes: &[u8]) -> PackageFile {
    let mut file = File::from(rustix::fs::memfd_create("package", MemfdFlags::CLOEXEC).unwrap());
    file.write_all(bytes).unwrap();
    PackageFile::from_file(file.into(), c"package").unwrap()
}

/// As far as a start goes: every signature, the metadata, the slot table.
pub fn open(file: &PackageFile) -> Result<VerifiedPackage, Error> {
    let sealed = file.unverified()?.verify_all().map_err(|error| file.wrong(error))?;
    file.opened(sealed)
}

/// As far as `pspf verify` goes, and with `deep` as far as `pspf verify --deep`.
pub fn verify(bytes: &[u8], deep: bool) -> Result<VerifiedPackage, Error> {
    let file = in_memory(bytes);
    let package = open(&file)?;
    let checked =
        check(&file, &package, Thorough { depth: if deep { Depth::Content } else { Depth::Frames }, digest: false })?;
    assert_eq!(checked.size, bytes.len() as u64);
    Ok(package)
}

/// A directory of this process, empty, and removed when dropped.
#[derive(Debug)]
pub struct Directory(pub PathBuf);

impl Directory {
    /// Makes it.
    pub fn new() -> Self {
        let shared = std::path::Path::new("/dev/shm");
        let parent = if shared.is_dir() { shared.to_owned() } else { std::env::temp_dir() };
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let path = parent.join(format!("pspf-fuzz-{}-{number}", std::process::id()));
        let _ = std::fs::remove_dir_all(&path);
        std::fs::create_dir(&path).unwrap();
        Self(path)
    }

    /// Its path as the launcher takes it.
    pub fn c_path(&self) -> CString {
        CString::new(self.0.to_str().unwrap()).unwrap()
    }
}

impl Default for Directory {
    fn default() -> Self {
        Self::new()
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}
