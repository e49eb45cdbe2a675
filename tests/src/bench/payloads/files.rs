//! Files of a tree, in an order that does not depend on the file system.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use anyhow::Context;

/// How much a tree holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(in crate::bench) struct Extent {
    pub(in crate::bench) files: u64,
    pub(in crate::bench) directories: u64,
    /// Of the files' contents.
    pub(in crate::bench) bytes: u64,
}

/// Calls `each` with every regular file below a directory, its path from there and its length, in the order of names.
/// `enters` says which names are looked at. Links are passed over: payloads hold none.
pub(in crate::bench) fn walk(
    root: &Path,
    enters: &dyn Fn(&str) -> bool,
    each: &mut dyn FnMut(&Path, u64) -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    descend(root, Path::new(""), enters, each)
}

fn descend(
    root: &Path,
    below: &Path,
    enters: &dyn Fn(&str) -> bool,
    each: &mut dyn FnMut(&Path, u64) -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    let directory = root.join(below);
    let entries = fs::read_dir(&directory).with_context(|| directory.display().to_string())?;
    let mut entries = entries.collect::<Result<Vec<_>, _>>()?;
    entries.sort_by_key(fs::DirEntry::file_name);
    for entry in entries {
        let name = entry.file_name();
        // A name that is not UTF-8 is in no payload.
        let Some(name) = name.to_str().filter(|name| enters(name)) else { continue };
        let path = below.join(name);
        let kind = entry.file_type()?;
        if kind.is_dir() {
            descend(root, &path, enters, each)?;
        } else if kind.is_file() {
            each(&path, entry.metadata()?.len())?;
        }
    }
    Ok(())
}

/// Copies a file with its mode, writable for its owner, and makes the directories above it.
pub(in crate::bench) fn copy(from: &Path, to: &Path) -> anyhow::Result<()> {
    if let Some(above) = to.parent() {
        fs::create_dir_all(above).with_context(|| above.display().to_string())?;
    }
    fs::copy(from, to).with_context(|| format!("copying {}", from.display()))?;
    let mode = fs::metadata(to)?.permissions().mode();
    if mode & 0o200 == 0 {
        fs::set_permissions(to, fs::Permissions::from_mode(mode | 0o200))?;
    }
    Ok(())
}

/// Copies what [`walk`] finds.
pub(in crate::bench) fn copy_tree(from: &Path, to: &Path, enters: &dyn Fn(&str) -> bool) -> anyhow::Result<()> {
    walk(from, enters, &mut |path, _| copy(&from.join(path), &to.join(path)))
}

/// How much a tree holds.
pub(in crate::bench) fn extent(root: &Path) -> anyhow::Result<Extent> {
    let mut extent = Extent::default();
    let mut directories = vec![PathBuf::from(root)];
    while let Some(directory) = directories.pop() {
        for entry in fs::read_dir(&directory).with_context(|| directory.display().to_string())? {
            let entry = entry?;
            if entry.file_type()?.is_dir() {
                extent.directories += 1;
                directories.push(entry.path());
            } else {
                extent.files += 1;
                extent.bytes += entry.metadata()?.len();
            }
        }
    }
    Ok(extent)
}

impl std::fmt::Display for Extent {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let megabytes = self.bytes as f64 / 1e6;
        write!(f, "{megabytes:.2} MB in {} files and {} directories", self.files, self.directories)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Sandbox, Who};

    #[test]
    fn files_come_in_the_order_of_names_and_links_do_not() {
        let sandbox = Sandbox::new(Who::Caller);
        for name in ["tree/b/2", "tree/b/1", "tree/a", "tree/left-out/x"] {
            sandbox.write(name, b"four");
        }
        std::os::unix::fs::symlink("a", sandbox.work("tree/link")).unwrap();
        let mut found = Vec::new();
        walk(&sandbox.work("tree"), &|name| name != "left-out", &mut |path, len| {
            found.push((path.display().to_string(), len));
            Ok(())
        })
        .unwrap();
        assert_eq!(found, [("a".to_owned(), 4), ("b/1".to_owned(), 4), ("b/2".to_owned(), 4)]);
        let expected = Extent { files: 5, directories: 2, bytes: 17 };
        assert_eq!(extent(&sandbox.work("tree")).unwrap(), expected);
        copy_tree(&sandbox.work("tree"), &sandbox.work("copy"), &|name| name != "a").unwrap();
        assert_eq!(extent(&sandbox.work("copy")).unwrap().files, 3);
    }
}
