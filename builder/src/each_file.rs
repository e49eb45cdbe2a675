//! Every regular file of a tree.

use std::fs;
use std::path::{Path, PathBuf};

use memchr::memmem;

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

/// The files below that hold the path of `place`; `tree` may be a single file.
pub(crate) fn files_that_name(place: &Path, tree: &Path) -> anyhow::Result<Vec<PathBuf>> {
    let place = memmem::Finder::new(place.as_os_str().as_encoded_bytes());
    let mut found = Vec::new();
    let mut look = |path: &Path| {
        if place.find(&fs::read(path).at("reading", path)?).is_some() {
            found.push(path.to_owned());
        }
        Ok(())
    };
    if tree.is_dir() {
        each_file(tree, &mut look)?
    } else {
        look(tree)?
    }
    Ok(found)
}
