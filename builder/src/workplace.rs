//! A directory to unpack into, removed when it is not needed any more, also by a signal.

use std::path::{Path, PathBuf};

use crate::failure::At;
use crate::interrupt;
use crate::paths::c_path;

/// The directory.
#[derive(Debug)]
pub(crate) struct Workplace(PathBuf);

impl Workplace {
    /// A new one in the system's place for temporary files, which nobody else can enter.
    pub(crate) fn new() -> anyhow::Result<Self> {
        let temporary = std::env::temp_dir();
        // Real, so that what programs tell of their own place can be found in what they write.
        let temporary = temporary.canonicalize().at("opening", &temporary)?;
        let mut builder = tempfile::Builder::new();
        builder.prefix("pspf-unpacked-").rand_bytes(16);
        builder.permissions(std::os::unix::fs::PermissionsExt::from_mode(0o700));
        let make = || builder.tempdir_in(&temporary).map(tempfile::TempDir::keep);
        interrupt::create(make, Clone::clone).map(Self).at("creating a directory in", &temporary)
    }

    pub(crate) fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Workplace {
    fn drop(&mut self) {
        interrupt::conclude(&self.0, || remove(&self.0));
    }
}

/// Removes a directory, also what the programs in it have made read-only.
pub(crate) fn remove(path: &Path) {
    if let (Some(parent), Some(name)) = (path.parent(), path.file_name()) {
        pspf_launcher::cache::remove_directory(&c_path(parent), &c_path(Path::new(name)));
    }
}
