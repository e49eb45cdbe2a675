//! A copy of a project, to build in: builds leave things behind.

use std::ffi::OsString;
use std::fs;
use std::path::Path;

use crate::failure::At;

/// A copy of a project, without what is no part of it: environments, byte code, and what is being made here. What a link
/// leads to outside of it is copied.
pub(crate) fn copy_project(from: &Path, to: &Path, work: &Path, root: &Path) -> anyhow::Result<()> {
    fs::create_dir(to).at("creating", to)?;
    for entry in fs::read_dir(from).at("reading", from)? {
        let path = entry.at("reading", from)?.path();
        let name: OsString = path.file_name().unwrap_or_default().to_owned();
        let target = to.join(&name);
        let found = path.symlink_metadata().at("reading", &path)?;
        let is_foreign = name == "__pycache__" || path.join("pyvenv.cfg").exists() || path == work;
        if found.is_symlink() {
            let Ok(real) = path.canonicalize() else { continue };
            if real.starts_with(root) {
                let link = fs::read_link(&path).at("reading", &path)?;
                std::os::unix::fs::symlink(link, &target).at("creating", &target)?;
            } else if real.is_file() {
                fs::copy(&real, &target).at("copying", &real)?;
            } else if real.is_dir() && !root.starts_with(&real) {
                copy_project(&real, &target, work, &real)?;
            }
        } else if found.is_dir() && !is_foreign {
            copy_project(&path, &target, work, root)?;
        } else if found.is_file() {
            fs::copy(&path, &target).at("copying", &path)?;
        }
    }
    Ok(())
}
