//! The order in which the files of a tree are packed: what is alike stands together.
//!
//! A compressor finds again only what the same frame holds, and at low levels only what is near. Names and lengths
//! tell well enough what is alike, and cost nothing: no content is read twice. The stream can hold files in any order
//! (SPEC §7.2), so no reader needs to know of this.

use std::collections::{BTreeSet, HashMap};

/// Extensions whose files share content where they share a name: sources, what is compiled from them, declarations.
const FAMILIES: [&[&str]; 2] =
    [&["py", "pyc", "pyi", "pyo"], &["js", "cjs", "cts", "jsx", "map", "mjs", "mts", "ts", "tsx"]];
/// Directory that Python keeps compiled files in, beside their sources.
const COMPILED: &str = "__pycache__";
/// Files of one name are taken for versions of each other where one is at most this many times as long as the other.
const ALIKE: u64 = 2;

/// What a path tells of a file; the order of the fields is the order of the files.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Name<'a> {
    family: &'a str,
    directory: &'a str,
    stem: &'a str,
    path: &'a str,
}

impl<'a> Name<'a> {
    fn of(path: &'a str) -> Self {
        let (directory, name) = path.rsplit_once('/').unwrap_or(("", path));
        let directory = match directory.strip_suffix(COMPILED) {
            Some("") => "",
            Some(parent) => parent.strip_suffix('/').unwrap_or(directory),
            None => directory,
        };
        // A dot at the front hides a file and begins no extension.
        let stem = name.char_indices().skip(1).find(|(_, character)| *character == '.');
        let stem = stem.and_then(|(end, _)| name.get(..end)).unwrap_or(name);
        let rest = name.get(stem.len()..).unwrap_or_default();
        let extension = rest.rsplit_once('.').map_or("", |(_, extension)| extension);
        let family = FAMILIES.iter().find(|family| family.contains(&extension));
        let family = family.and_then(|family| family.first()).copied().unwrap_or(extension);
        Self { family, directory, stem, path }
    }
}

/// These files, each with the path and the length that `name` tells, in the order in which they are packed.
///
/// By family of extensions, by directory, by name; and with every file come those of its family and name from
/// elsewhere in the tree that are of similar length, by their lengths: copies and versions of one thing are alike more
/// than neighbours are. Paths are distinct, so the result does not depend on the order in which they are given.
pub(crate) fn by_likeness<T>(files: Vec<T>, name: impl Fn(&T) -> (&str, u64)) -> Vec<T> {
    let order = positions(files.iter().map(name));
    let mut files: Vec<_> = files.into_iter().map(Some).collect();
    order.into_iter().filter_map(|position| files.get_mut(position)?.take()).collect()
}

fn positions<'a>(files: impl Iterator<Item = (&'a str, u64)>) -> Vec<usize> {
    let named = files.enumerate().map(|(position, (path, size))| (Name::of(path), size, position));
    let mut named: Vec<_> = named.collect();
    named.sort_unstable();
    let mut same_name: HashMap<(&str, &str), BTreeSet<(u64, usize)>> = HashMap::with_capacity(named.len());
    for (rank, (name, size, _)) in named.iter().enumerate() {
        same_name.entry((name.family, name.stem)).or_default().insert((*size, rank));
    }
    let mut order = Vec::with_capacity(named.len());
    for (rank, (name, size, position)) in named.iter().enumerate() {
        let Some(others) = same_name.get_mut(&(name.family, name.stem)) else { continue };
        if !others.remove(&(*size, rank)) {
            continue;
        }
        order.push(*position);
        let alike = (size / ALIKE, 0)..=(size.saturating_mul(ALIKE), usize::MAX);
        let alike: Vec<_> = others.range(alike).copied().collect();
        for other in alike {
            others.remove(&other);
            order.extend(named.get(other.1).map(|(.., position)| *position));
        }
    }
    order
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_alike_stands_together() {
        let expected = [
            // By extension; a hidden file has none.
            (".hidden", 1),
            ("bin/tool", 1),
            ("lib/libc.so.6", 1),
            ("lib/data.json", 1),
            // Of one family: a source with what is compiled from it, directory by directory.
            ("__pycache__/a.cpython-311.opt-1.pyc", 10),
            ("a.py", 10),
            ("__pycache__/a.cpython-311.pyc", 11),
            ("lib/__pycache__/x.cpython-311.pyc", 10),
            ("lib/x.py", 10),
            // With the first `version` those of similar length, the shortest first.
            ("one/version.py", 100),
            ("two/version.py", 50),
            ("two/__pycache__/version.cpython-311.pyc", 60),
            ("six/version.py", 200),
            // Its neighbour, and then the versions that are longer or shorter.
            ("one/z.py", 1),
            ("six/__pycache__/version.cpython-311.pyc", 300),
            ("ten/version.py", 201),
            ("x__pycache__/version.py", 49),
        ];
        let mut sorted = expected;
        sorted.sort_unstable();
        for rotation in 0..sorted.len() {
            sorted.rotate_left(1);
            assert_eq!(by_likeness(sorted.to_vec(), |file| *file), expected, "{rotation}");
        }
    }
}
