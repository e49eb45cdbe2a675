//! What a setup has made, in a form that is the same wherever it was made.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::Read;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use pspf_format::{Hasher, Mode, Sha256};

use crate::failure::At;

/// How much of a file is read at once.
const CHUNK: u64 = 1 << 20;
/// Stands for the path of the tree: no path holds a NUL.
const PLACE: &[u8] = b"\0place\0";

/// One path in a tree.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Entry {
    Directory,
    File(Mode, Sha256),
    Link(Sha256),
    Other,
}

/// All paths of a tree, but for `without` and what is below them, and byte code, which is made anew when it is needed.
pub(crate) fn read(tree: &Path, without: &[&Path]) -> anyhow::Result<BTreeMap<PathBuf, Entry>> {
    let mut entries = BTreeMap::new();
    let mut folders = vec![PathBuf::new()];
    while let Some(folder) = folders.pop() {
        let at = tree.join(&folder);
        for entry in fs::read_dir(&at).at("reading", &at)? {
            let name = entry.at("reading", &at)?.file_name();
            let (path, inside) = (at.join(&name), folder.join(&name));
            let is_byte_code = name == "__pycache__" || inside.extension().is_some_and(|end| end == "pyc");
            if is_byte_code || without.contains(&inside.as_path()) {
                continue;
            }
            let found = path.symlink_metadata().at("reading", &path)?;
            let entry = if found.is_dir() {
                folders.push(inside.clone());
                Entry::Directory
            } else if found.is_file() {
                Entry::File(crate::tree::mode(&found), content(&path, tree)?)
            } else if found.is_symlink() {
                let target = fs::read_link(&path).at("reading", &path)?;
                Entry::Link(digest(target.as_os_str().as_bytes(), tree).at("reading", &path)?)
            } else {
                Entry::Other
            };
            entries.insert(inside, entry);
        }
    }
    Ok(entries)
}

/// The digest of a file, as far as it does not follow from others.
fn content(path: &Path, tree: &Path) -> anyhow::Result<Sha256> {
    let is_installed = path.parent().and_then(Path::extension).is_some_and(|end| end == "dist-info");
    match path.file_name().and_then(|name| name.to_str()).filter(|_| is_installed) {
        // The digests and sizes in it are those of files that name the place, and of the next one.
        Some("RECORD") => {
            let text = fs::read(path).at("reading", path)?;
            let names: Vec<&[u8]> = text.split(|byte| *byte == b'\n').map(recorded).collect();
            digest(names.join(&b'\n').as_slice(), tree).at("reading", path)
        }
        // When the wheel was unpacked, for the program that installed it.
        Some("uv_cache.json") => Ok(Sha256::of(b"")),
        _ => digest(File::open(path).at("opening", path)?, tree).at("reading", path),
    }
}

/// A line `PATH,DIGEST,SIZE` without the last two.
fn recorded(line: &[u8]) -> &[u8] {
    line.rsplitn(3, |byte| *byte == b',').nth(2).unwrap_or(line)
}

/// The digest of what is left when the path of the tree is taken out.
fn digest(mut content: impl Read, tree: &Path) -> std::io::Result<Sha256> {
    let place = tree.as_os_str().as_bytes();
    let (mut hasher, mut held) = (Hasher::new(), Vec::new());
    loop {
        let len = content.by_ref().take(CHUNK).read_to_end(&mut held)?;
        let mut rest = held.as_slice();
        while let Some(at) = rest.windows(place.len()).position(|bytes| bytes == place) {
            let (before, after) = rest.split_at(at);
            hasher.update(before);
            hasher.update(PLACE);
            rest = after.strip_prefix(place).unwrap_or_default();
        }
        // The last bytes may be where the next place begins.
        let open = if len == 0 { 0 } else { rest.len().min(place.len().saturating_sub(1)) };
        let (before, open) = rest.split_at(rest.len() - open);
        hasher.update(before);
        held = open.to_vec();
        if len == 0 {
            return Ok(hasher.finish());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_place_is_the_same_word_across_pieces() {
        let chunk = usize::try_from(CHUNK).unwrap();
        for at in [0, 7, chunk - 5, chunk, chunk + 1] {
            let of = |place: &str| {
                let mut bytes = vec![b'x'; 2 * chunk];
                bytes.splice(at..at, format!("{place}{place}/").bytes());
                digest(bytes.as_slice(), Path::new(place)).unwrap()
            };
            assert_eq!(of("/tmp/one/place"), of("/tmp/another"), "{at}");
        }
        let other = digest(b"/tmp/ones".as_slice(), Path::new("/tmp/two")).unwrap();
        assert_ne!(digest(b"/tmp/ones".as_slice(), Path::new("/tmp/one")).unwrap(), other);
    }

    #[test]
    fn what_an_installer_tells_of_the_place_is_no_difference() {
        let folder = tempfile::tempdir().unwrap();
        let make = |tree: &str, record: &str| {
            let info = folder.path().join(tree).join("lib/a-1.dist-info");
            fs::create_dir_all(&info).unwrap();
            fs::write(info.join("RECORD"), record).unwrap();
            fs::write(info.join("uv_cache.json"), tree).unwrap();
            fs::write(info.join("direct_url.json"), format!("file://{}", info.display())).unwrap();
            fs::write(info.join("a.pyc"), tree).unwrap();
            read(&folder.path().join(tree), &[]).unwrap()
        };
        let first = make("first", "../bin/a,sha256=one,30\na.py,sha256=same,2\n");
        assert_eq!(first.len(), 5);
        assert_eq!(first, make("second", "../bin/a,sha256=other,31\na.py,sha256=same,2\n"));
        assert_ne!(first, make("third", "../bin/b,sha256=one,30\na.py,sha256=same,2\n"));
    }
}
