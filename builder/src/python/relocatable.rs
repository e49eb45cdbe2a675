//! Takes the place where an interpreter was built or installed out of it.

use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path, PathBuf};

use memchr::memmem;

use crate::each_file::each_file;
use crate::elf::run_paths;
use crate::failure::{At, Failure, shown};

/// What stands for the prefix where it is known only at run time.
const MARK: &str = "@PREFIX@";
/// What follows the table of `sysconfig`: its paths become those of where the interpreter is.
const TAIL: &str = "\nimport sys as _sys\n\nfor _key, _value in build_time_vars.items():\n    \
    if isinstance(_value, str):\n        build_time_vars[_key] = _value.replace(\"@PREFIX@\", _sys.base_prefix)\n";

/// Changes the copy of `prefix` that is in `tree`.
pub(super) fn relocate(tree: &Path, prefix: &Path) -> anyhow::Result<()> {
    let mut places: Vec<PathBuf> = vec![prefix.to_owned()];
    // A distribution's own place is the same everywhere, and too short a word to be looked for.
    places.retain(|place| !["/", "/usr", "/usr/local"].iter().any(|common| place == Path::new(common)));
    let mut tables = Vec::new();
    each_file(tree, &mut |path| {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        if name.starts_with("_sysconfigdata") && name.ends_with(".py") {
            places.extend(build_folders(&fs::read_to_string(path).at("reading", path)?));
            tables.push(path.to_owned());
        }
        Ok(())
    })?;
    places.sort();
    places.dedup();
    for path in &tables {
        let mut text = fs::read_to_string(path).at("reading", path)?;
        for place in places.iter().rev() {
            let mark = if place == prefix { MARK } else { "/build" };
            text = replace_place(&text, &place.to_string_lossy(), mark);
        }
        if let Some(built_for) = variable(&text, "prefix").filter(|place| place.len() > "/usr/".len()) {
            text = replace_place(&text, &built_for, MARK);
        }
        // What is compiled with this finds the interpreter's library loaded, and needs no path to it.
        let text = text.replace(&format!("-Wl,-rpath,{MARK}/lib"), "");
        fs::write(path, text + TAIL).at("writing", path)?;
    }
    each_file(tree, &mut |path| {
        let mut bytes = fs::read(path).at("reading", path)?;
        let mut changed = false;
        if bytes.starts_with(b"\x7fELF") {
            let depth = path.strip_prefix(tree).unwrap_or(path).components().count().saturating_sub(1);
            let done = look_beside(&mut bytes, prefix, depth);
            changed = done.map_err(|reason| {
                let hint =
                    "take a CPython whose libraries are found from where it is, as python-build-standalone has them";
                Failure::usage(format!("{}: {reason}", shown(path))).hint(hint)
            })?;
        }
        for place in &places {
            changed |= blank(&mut bytes, place);
        }
        if !changed {
            return Ok(());
        }
        let mode = path.metadata().at("reading", path)?.permissions();
        fs::write(path, bytes).at("writing", path)?;
        fs::set_permissions(path, mode).at("setting the mode of", path)
    })
}

/// Where the sources were when it was built.
fn build_folders(table: &str) -> Vec<PathBuf> {
    let found = ["abs_builddir", "abs_srcdir"].into_iter().filter_map(|key| variable(table, key));
    found.filter(|value| value.len() > 8).map(PathBuf::from).collect()
}

/// An absolute path that the table of `sysconfig` gives for this key.
fn variable(table: &str, key: &str) -> Option<String> {
    let mut pairs = table.lines().filter_map(|line| line.split_once(':'));
    let (_, value) = pairs.find(|(name, _)| name.trim_matches([' ', '{', '\'', '"']) == key)?;
    let value = value.trim_matches([' ', ',', '\'', '"', '}']);
    value.starts_with('/').then(|| value.to_owned())
}

/// Writes `mark` for this path, and not for the beginning of another name.
fn replace_place(text: &str, place: &str, mark: &str) -> String {
    let mut new = String::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once(place) {
        let goes_on = after.starts_with(|c: char| c.is_alphanumeric() || "._-+".contains(c));
        new += before;
        new += if goes_on { place } else { mark };
        rest = after;
    }
    new + rest
}

/// Writes a path of the same length in the place of another, which is nowhere any more: nothing moves. Its last name stays:
/// linkers let a shorter text, such as a version, be the end of a longer one.
fn blank(bytes: &mut [u8], place: &Path) -> bool {
    let needle = place.as_os_str().as_bytes();
    let name = needle.iter().rposition(|byte| *byte == b'/').unwrap_or(0);
    let found: Vec<usize> = memmem::find_iter(bytes, needle).collect();
    for start in &found {
        for (position, byte) in bytes.get_mut(*start..start + name).unwrap_or_default().iter_mut().enumerate() {
            *byte = b"/nowhere".get(position).copied().unwrap_or(b'/');
        }
    }
    !found.is_empty()
}

/// What was compiled here looks for the interpreter's libraries where they are now; they are loaded before it.
pub(super) fn forget(tree: &Path, work: &Path) -> anyhow::Result<()> {
    each_file(tree, &mut |path| {
        let mut bytes = fs::read(path).at("reading", path)?;
        let stays = |part: &str| (!Path::new(part).starts_with(work)).then(|| part.to_owned());
        if !bytes.starts_with(b"\x7fELF") || !change_run_paths(&mut bytes, stays).is_ok_and(|changed| changed) {
            return Ok(());
        }
        let mode = path.metadata().at("reading", path)?.permissions();
        // It may be a link of the installer's into its cache.
        fs::remove_file(path).at("removing", path)?;
        fs::write(path, bytes).at("writing", path)?;
        fs::set_permissions(path, mode).at("setting the mode of", path)
    })
}

/// Lets an object look for its libraries beside it, in place of below the prefix. `depth` folders are above it.
fn look_beside(bytes: &mut [u8], prefix: &Path, depth: usize) -> Result<bool, String> {
    change_run_paths(bytes, |part| beside(part, prefix, depth))
}

/// Changes each path in which an object looks for its libraries, or drops it.
fn change_run_paths(bytes: &mut [u8], change: impl Fn(&str) -> Option<String>) -> Result<bool, String> {
    let mut changed = false;
    for text in run_paths(bytes) {
        let parts: Vec<String> = text.value.split(':').filter_map(&change).collect();
        let new = parts.join(":");
        if new == text.value {
            continue;
        }
        if new.len() > text.value.len() {
            return Err(format!(
                "it looks for libraries in `{}`, and there is no room for `{new}`",
                text.value.escape_debug()
            ));
        }
        let room = bytes.get_mut(text.offset..text.offset + text.value.len()).unwrap_or_default();
        for (position, byte) in room.iter_mut().enumerate() {
            *byte = new.as_bytes().get(position).copied().unwrap_or(0);
        }
        changed = true;
    }
    Ok(changed)
}

/// One of the paths; `None` for one that leads to where others may put something.
fn beside(part: &str, prefix: &Path, depth: usize) -> Option<String> {
    if part.starts_with("$ORIGIN") || part.starts_with("${ORIGIN}") {
        return Some(part.to_owned());
    }
    let inside = Path::new(part).strip_prefix(prefix).ok()?;
    if inside.components().any(|component| !matches!(component, Component::Normal(_))) {
        return None;
    }
    let mut new = "$ORIGIN".to_owned();
    (0..depth).for_each(|_| new.push_str("/.."));
    Some(if inside.as_os_str().is_empty() { new } else { format!("{new}/{}", inside.display()) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn libraries_are_looked_for_beside_the_object() {
        let prefix = Path::new("/opt/python-3.13");
        for (part, depth, expected) in [
            ("/opt/python-3.13/lib", 1, Some("$ORIGIN/../lib")),
            ("/opt/python-3.13", 3, Some("$ORIGIN/../../..")),
            ("$ORIGIN/../lib", 1, Some("$ORIGIN/../lib")),
            ("/usr/lib", 1, None),
            ("/opt/python-3.13/../other", 1, None),
            ("", 1, None),
        ] {
            assert_eq!(beside(part, prefix, depth).as_deref(), expected, "{part}");
        }
    }

    #[test]
    fn a_place_is_blanked_without_moving_anything() {
        let mut bytes = b"x/opt/of/me/3.11/lib\0/opt/of/me/3.11\0/opt/of/me/3.110".to_vec();
        assert!(blank(&mut bytes, Path::new("/opt/of/me/3.11")));
        assert_eq!(bytes, b"x/nowhere///3.11/lib\0/nowhere///3.11\0/nowhere///3.110");
    }

    #[test]
    fn only_whole_names_are_the_place() {
        let text = "'/opt/py/bin', '/opt/python/lib', '/opt/py', '-L/opt/py/lib:/opt/py-2'";
        let expected = "'@/bin', '/opt/python/lib', '@', '-L@/lib:/opt/py-2'";
        assert_eq!(replace_place(text, "/opt/py", "@"), expected);
        let table = " 'exec_prefix': '/else',\n 'prefix': '/install',\n 'x': ''}\n";
        assert_eq!(variable(table, "prefix").as_deref(), Some("/install"));
        assert_eq!((variable(table, "x"), variable(table, "y")), (None, None));
    }

    #[test]
    fn the_place_of_the_build_is_found() {
        let table = "build_time_vars = {'ABIFLAGS': '',\n 'abs_builddir': '/build/python3.11-abc/x',\n 'abs_srcdir': '.',\n 'CC': 'gcc'}\n";
        assert_eq!(build_folders(table), [Path::new("/build/python3.11-abc/x")]);
    }
}
