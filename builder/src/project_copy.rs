//! A copy of a project, to build in: builds leave things behind.

use std::fs::{self, File};
use std::path::{Path, PathBuf};

use crate::failure::At;

/// Copies a project without what is no part of it: environments, byte code, and what is being made in `work`. What a link
/// leads to outside of it is copied.
pub(crate) fn copy_project(from: &Path, to: &Path, work: &Path) -> anyhow::Result<()> {
    Folder { work, chain: vec![from.to_owned()] }.copy(from, to)
}

struct Folder<'a> {
    work: &'a Path,
    /// The project, and the folders outside of it that links have led to: they may lead back.
    chain: Vec<PathBuf>,
}

impl Folder<'_> {
    fn copy(&mut self, from: &Path, to: &Path) -> anyhow::Result<()> {
        fs::create_dir(to).at("creating", to)?;
        let mut entries = Vec::new();
        for entry in fs::read_dir(from).at("reading", from)? {
            entries.push(entry.at("reading", from)?.path());
        }
        entries.sort();
        for path in entries {
            let name = path.file_name().unwrap_or_default();
            let target = to.join(name);
            let found = path.symlink_metadata().at("reading", &path)?;
            let is_foreign = name == "__pycache__" || path.join("pyvenv.cfg").exists() || path == self.work;
            if found.is_symlink() {
                self.link(&path, &target)?;
            } else if found.is_dir() && !is_foreign {
                self.copy(&path, &target)?;
            } else if found.is_file() {
                copy_file(&path, &target)?;
            }
        }
        Ok(())
    }

    fn link(&mut self, path: &Path, target: &Path) -> anyhow::Result<()> {
        let Ok(real) = path.canonicalize() else { return Ok(()) };
        if self.chain.last().is_some_and(|root| real.starts_with(root)) {
            let link = fs::read_link(path).at("reading", path)?;
            return std::os::unix::fs::symlink(link, target).at("creating", target);
        }
        if real.is_file() {
            return copy_file(&real, target);
        }
        if !real.is_dir() || self.chain.iter().any(|root| root.starts_with(&real) || real.starts_with(root)) {
            return Ok(());
        }
        self.chain.push(real.clone());
        let copied = self.copy(&real, target);
        self.chain.pop();
        copied
    }
}

/// Copies a file with its time, by which builds see what is to be made anew.
pub(crate) fn copy_file(from: &Path, to: &Path) -> anyhow::Result<()> {
    fs::copy(from, to).at(&format!("copying {} to", crate::failure::shown(from)), to)?;
    let modified = from.metadata().and_then(|found| found.modified()).at("reading", from)?;
    File::open(to).and_then(|file| file.set_modified(modified)).at("setting the time of", to)
}
