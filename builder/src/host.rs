//! What the programs and libraries of a package need of the host.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use crate::each_file::each_file;
use crate::elf::Object;

/// Every program and library in these trees.
pub(crate) fn objects(trees: &[&Path]) -> anyhow::Result<BTreeMap<PathBuf, Object>> {
    let mut objects = BTreeMap::new();
    for tree in trees.iter().filter(|tree| tree.exists()) {
        each_file(tree, &mut |path| {
            if let Some(object) = Object::read(path)? {
                objects.insert(path.to_owned(), object);
            }
            Ok(())
        })?;
    }
    Ok(objects)
}

/// The version of glibc that these need, and the libraries that are not among them, for people. `way` says what helps
/// against the latter.
pub(crate) fn needs(objects: &BTreeMap<PathBuf, Object>, way: &str) -> Vec<String> {
    let mut notes = Vec::new();
    let names: Vec<_> = objects.keys().filter_map(|path| path.file_name()).collect();
    let mut others: BTreeMap<&str, &Path> = BTreeMap::new();
    let mut glibc = ((0, 0), Path::new(""));
    for (path, object) in objects {
        if object.glibc > glibc.0 {
            glibc = (object.glibc, path);
        }
        for library in object.needed.iter().filter(|library| !names.iter().any(|name| *name == library.as_str())) {
            if !is_of_c_library(library) {
                others.entry(library).or_insert(path);
            }
        }
    }
    let ((major, minor), user) = glibc;
    if major > 0 {
        notes.push(format!("the host needs glibc {major}.{minor} or newer (for {})", short(user)));
    }
    let others: Vec<String> =
        others.into_iter().map(|(library, user)| format!("{library} (for {})", short(user))).collect();
    if !others.is_empty() {
        let way = if way.is_empty() { String::new() } else { format!(" ({way})") };
        notes.push(format!("the host needs libraries that are not in the package{way}: {}", others.join(", ")));
    }
    notes
}

/// The name of a module or program, for people.
fn short(path: &Path) -> String {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    // A program's has the version in it.
    let name = if name.contains(".so") { name.split('.').next().unwrap_or_default() } else { &name };
    name.escape_debug().to_string()
}

/// What glibc brings.
pub(crate) fn is_of_c_library(name: &str) -> bool {
    let starts = [
        "libc.so",
        "libm.so",
        "libpthread.so",
        "libdl.so",
        "librt.so",
        "libutil.so",
        "libresolv.so",
        "libmvec.so",
        "ld-linux",
    ];
    starts.iter().any(|start| name.starts_with(start))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_needed_and_not_there_is_told() {
        let object = |needed: &[&str], glibc| Object {
            machine: 62,
            needed: needed.iter().map(|&name| name.to_owned()).collect(),
            glibc,
        };
        let mut objects = BTreeMap::new();
        objects.insert(PathBuf::from("/x/a.node"), object(&["libc.so.6", "libb.so.1", "libstdc++.so.6"], (2, 28)));
        objects.insert(PathBuf::from("/x/libb.so.1"), object(&["libm.so.6"], (2, 4)));
        let libraries = "the host needs libraries that are not in the package (other): libstdc++.so.6 (for a.node)";
        assert_eq!(needs(&objects, "other"), ["the host needs glibc 2.28 or newer (for a.node)", libraries]);
        assert_eq!(needs(&BTreeMap::new(), ""), [""; 0]);
    }
}
