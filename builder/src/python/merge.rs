//! An application that has modules in a package of one of its dependencies: Python looks for them in one place only.

use std::fs;
use std::path::{Path, PathBuf};

use super::refuse;
use crate::failure::{At, shown};

/// The package, relative to both, that two trees have modules of; packages without `__init__.py` may be in several places.
pub(super) fn shared_package(one: &Path, other: &Path) -> anyhow::Result<Option<PathBuf>> {
    for name in folders(one)? {
        let (left, right) = (one.join(&name), other.join(&name));
        if !right.is_dir() {
            continue;
        }
        if [&left, &right].iter().any(|folder| folder.join("__init__.py").is_file()) {
            return Ok(Some(name));
        }
        if let Some(found) = shared_package(&left, &right)? {
            return Ok(Some(name.join(found)));
        }
    }
    Ok(None)
}

/// Moves all of `from` into `to`.
pub(super) fn merge(from: &Path, to: &Path) -> anyhow::Result<()> {
    for entry in fs::read_dir(from).at("reading", from)? {
        let path = entry.at("reading", from)?.path();
        let target = to.join(path.file_name().unwrap_or_default());
        if path.is_dir() && target.is_dir() && !path.is_symlink() {
            merge(&path, &target)?;
        } else if target.symlink_metadata().is_err() {
            fs::rename(&path, &target).at("moving", &path)?;
        } else if fs::read(&path).at("reading", &path)? != fs::read(&target).at("reading", &target)? {
            return refuse(
                format!("the application and a dependency both bring {}", shown(Path::new(&entry_name(&path)))),
                "an environment would hold only one of them; rename the application's",
            );
        }
    }
    fs::remove_dir_all(from).at("removing", from)
}

fn entry_name(path: &Path) -> std::ffi::OsString {
    path.file_name().unwrap_or_default().to_owned()
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
        write(deps.join("space/core/plugin.py"), "another");
        let said = format!("{:#}", merge(&deps, &app).unwrap_err());
        assert!(said.contains("both bring `plugin.py`"), "{said}");
    }
}
