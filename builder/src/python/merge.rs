//! An application that has modules in a package of one of its dependencies: Python looks for them in one place only.

use std::fs;
use std::path::{Path, PathBuf};

use crate::failure::At;

/// The package, relative to both, that two trees have modules of; packages without `__init__.py` may be in several places.
pub(super) fn shared_package(one: &Path, other: &Path) -> anyhow::Result<Option<PathBuf>> {
    for name in folders(one)? {
        let (left, right) = (one.join(&name), other.join(&name));
        if !right.is_dir() {
            continue;
        }
        // Where both bring the whole package, only one can be meant, as in an environment: the application's comes first.
        match [&left, &right].map(|folder| fs::read(folder.join("__init__.py")).ok()) {
            [None, None] => {}
            [Some(one), Some(other)] if one != other => continue,
            _ => return Ok(Some(name)),
        }
        if let Some(found) = shared_package(&left, &right)? {
            return Ok(Some(name.join(found)));
        }
    }
    Ok(None)
}

/// Moves all of `from` into `to`; files that both have stay as they are in `to`, as the last one in an environment.
pub(super) fn merge(from: &Path, to: &Path) -> anyhow::Result<()> {
    for entry in fs::read_dir(from).at("reading", from)? {
        let path = entry.at("reading", from)?.path();
        let target = to.join(path.file_name().unwrap_or_default());
        if path.is_dir() && target.is_dir() && !path.is_symlink() {
            merge(&path, &target)?;
        } else if target.symlink_metadata().is_err() {
            fs::rename(&path, &target).at("moving", &path)?;
        }
    }
    fs::remove_dir_all(from).at("removing", from)
}

fn folders(tree: &Path) -> anyhow::Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(tree).at("reading", tree)? {
        let path = entry.at("reading", tree)?.path();
        if path.is_dir() {
            found.extend(path.file_name().map(PathBuf::from));
        }
    }
    found.sort();
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_package_in_two_trees_becomes_one() {
        let root = tempfile::tempdir().unwrap();
        let (app, deps) = (root.path().join("app"), root.path().join("deps"));
        let write = |path: PathBuf, text: &str| {
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        };
        write(app.join("bin/x"), "");
        write(app.join("space/mine/__init__.py"), "");
        write(deps.join("bin/y"), "");
        write(deps.join("space/other/__init__.py"), "");
        assert_eq!(shared_package(&app, &deps).unwrap(), None, "a namespace package");
        write(app.join("space/core/plugin.py"), "mine");
        write(deps.join("space/core/__init__.py"), "same");
        assert_eq!(shared_package(&app, &deps).unwrap(), Some("space/core".into()));
        write(app.join("space/core/__init__.py"), "same");
        merge(&deps, &app).unwrap();
        assert!(!deps.exists());
        for file in ["bin/x", "bin/y", "space/other/__init__.py", "space/core/plugin.py"] {
            assert!(app.join(file).is_file(), "{file}");
        }
        write(deps.join("space/core/__init__.py"), "another");
        write(deps.join("space/core/plugin.py"), "another");
        assert_eq!(shared_package(&app, &deps).unwrap(), None, "two packages of one name");
        merge(&deps, &app).unwrap();
        assert_eq!(fs::read_to_string(app.join("space/core/plugin.py")).unwrap(), "mine");
    }
}
