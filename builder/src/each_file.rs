//! Every regular file of a tree.

use std::fs;
use std::path::{Path, PathBuf};

use crate::failure::At;

/// Gives each to `look`, in the order of the names; links are not followed.
pub(crate) fn each_file(folder: &Path, look: &mut dyn FnMut(&Path) -> anyhow::Result<()>) -> anyhow::Result<()> {
    let mut entries: Vec<PathBuf> = Vec::new();
    for entry in fs::read_dir(folder).at("reading", folder)? {
        entries.push(entry.at("reading", folder)?.path());
    }
    entries.sort();
    for path in entries {
        let found = path.symlink_metadata().at("reading", &path)?;
        if found.is_dir() {
            each_file(&path, look)?;
        } else if found.is_file() {
            look(&path)?;
        }
    }
    Ok(())
}
