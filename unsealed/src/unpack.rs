//! Slots as files: a tree goes to the top of a directory, a single file to its target in it.
//!
//! The directory is new and nobody else's, and no link is ever made in it, so a path without `..` stays inside.

use std::fs::{self, File, OpenOptions, Permissions};
use std::io::{self, Read};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use pspf_format::{TreePath, UnsealedSlot};
use pspf_launcher::PackageFile;
use pspf_workenv::Error as WorkenvError;
use tar::EntryType;

use crate::Error;
use crate::archive::Archive;
use crate::content::decoded;

/// Permissions of directories that no archive lists.
const PRIVATE: u32 = 0o700;

/// What an archive says of an entry.
pub(crate) struct Entry {
    /// `None` for the top.
    path: Option<TreePath>,
    is_directory: bool,
    mode: u32,
}

/// The modes that directories get when everything is in them.
#[derive(Debug, Default)]
pub(crate) struct Modes(Vec<(PathBuf, u32)>);

impl Modes {
    pub(crate) fn add(&mut self, path: PathBuf, mode: u32) {
        self.0.push((path, mode));
    }

    /// Those inside come first.
    pub(crate) fn set(mut self) -> Result<(), Error> {
        // The last of equal ones stands.
        self.0.sort_by(|(one, _), (two, _)| two.cmp(one));
        for (path, mode) in self.0 {
            fs::set_permissions(&path, Permissions::from_mode(mode))
                .map_err(Error::io("setting the mode of", &path))?;
        }
        Ok(())
    }
}

/// Unpacks a slot into `directory`, which holds nothing that others made.
///
/// # Errors
/// What is wrong with the slot or the directory; what was written by then is for the caller to remove.
pub fn unpack_slot(file: &PackageFile, slot: &UnsealedSlot, directory: &Path) -> Result<(), Error> {
    let mut modes = Modes::default();
    unpack(file, slot, directory, &mut modes)?;
    modes.set()
}

pub(crate) fn unpack(
    file: &PackageFile,
    slot: &UnsealedSlot,
    directory: &Path,
    modes: &mut Modes,
) -> Result<(), Error> {
    decoded(file, slot, |reader| {
        if let Some(target) = slot.target.as_ref().filter(|_| !slot.is_tree()) {
            return write(directory, target, u32::from(slot.permissions), reader, &slot.id);
        }
        each_entry(&slot.id, reader, |entry, content| {
            let Some(path) = &entry.path else { return Ok(()) };
            if !entry.is_directory {
                return write(directory, path, entry.mode, content, &slot.id);
            }
            let path = directory.join(path.as_str());
            make_directories(&path).map_err(|error| in_the_way(error, &slot.id))?;
            modes.add(path, entry.mode);
            Ok(())
        })
    })
}

/// Gives every entry of an archive to `take`, after looking at its type and path.
pub(crate) fn each_entry(
    slot: &str,
    reader: &mut dyn Read,
    mut take: impl FnMut(&Entry, &mut dyn Read) -> Result<(), Error>,
) -> Result<(), Error> {
    let wrong = |error: &dyn std::fmt::Display| Error::content(slot, error);
    let mut archive = Archive::new(reader);
    let mut is_empty = true;
    while let Some(member) = archive.next().map_err(|error| wrong(&error))? {
        is_empty = false;
        let name = String::from_utf8(member.path).map_err(|_| wrong(&"a path in it is not UTF-8"))?;
        let is_directory = match member.kind {
            EntryType::Directory => true,
            // As archives had it before they had types.
            EntryType::Regular => name.ends_with('/'),
            EntryType::Symlink | EntryType::Link => {
                let what = "a link, which the launchers of this format refuse";
                return Err(wrong(&format!("`{name}` is {what}")));
            }
            _ => return Err(wrong(&format!("`{name}` is neither a file nor a directory"))),
        };
        let plain = name.trim_start_matches("./").trim_end_matches('/');
        let path = match plain {
            "" | "." if is_directory => None,
            _ => Some(TreePath::try_from(plain).map_err(|error| wrong(&error))?),
        };
        take(&Entry { path, is_directory, mode: member.mode & 0o777 }, &mut archive.content())?;
    }
    if is_empty { Err(wrong(&"the archive is empty")) } else { Ok(()) }
}

/// Writes a file, in the place of one that an earlier slot put there.
fn write(directory: &Path, path: &TreePath, mode: u32, content: &mut dyn Read, slot: &str) -> Result<(), Error> {
    let path = directory.join(path.as_str());
    if let Some(parent) = path.parent() {
        make_directories(parent).map_err(|error| in_the_way(error, slot))?;
    }
    let mut options = OpenOptions::new();
    options.write(true).create_new(true).mode(0o600);
    let opened = match options.open(&path) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            fs::remove_file(&path).and_then(|()| options.open(&path))
        }
        opened => opened,
    };
    let mut file = opened.map_err(Error::io("creating", &path)).map_err(|error| in_the_way(error, slot))?;
    copy(content, &mut file, &path, slot)?;
    file.set_permissions(Permissions::from_mode(mode)).map_err(Error::io("setting the mode of", &path))
}

/// A file where a directory has to be, or the other way round, is the archive's own doing.
fn in_the_way(error: Error, slot: &str) -> Error {
    use io::ErrorKind::{AlreadyExists, IsADirectory, NotADirectory};
    match &error {
        Error::Workenv(WorkenvError::Io { path, source, .. })
            if matches!(source.kind(), AlreadyExists | IsADirectory | NotADirectory) =>
        {
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            Error::content(slot, format!("`{name}` is a file in one place and a directory in another"))
        }
        _ => error,
    }
}

/// Copies with the two ends kept apart: what cannot be decoded is no matter of the disk.
fn copy(content: &mut dyn Read, file: &mut File, path: &Path, slot: &str) -> Result<(), Error> {
    let mut buffer = vec![0; 1 << 17];
    loop {
        let len = match content.read(&mut buffer) {
            Ok(0) => return Ok(()),
            Ok(len) => len,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(Error::content(slot, error)),
        };
        let bytes = buffer.get(..len).unwrap_or_default();
        io::Write::write_all(file, bytes).map_err(Error::io("writing", path))?;
    }
}

pub(crate) fn make_directories(path: &Path) -> Result<(), Error> {
    fs::DirBuilder::new().recursive(true).mode(PRIVATE).create(path).map_err(Error::io("creating", path))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::slot;
    use pspf_format::{Class, Operation};
    use tar::Header;

    fn entry(kind: EntryType, path: &str, mode: u32, content: &[u8]) -> Vec<u8> {
        let mut header = Header::new_ustar();
        header.as_old_mut().name[..path.len()].copy_from_slice(path.as_bytes());
        header.set_entry_type(kind);
        header.set_mode(mode);
        header.set_size(content.len() as u64);
        header.set_cksum();
        [header.as_bytes(), content, &vec![0; content.len().wrapping_neg() % 512]].concat()
    }

    fn unpack_all(entries: &[Vec<u8>], directory: &Path) -> Result<(), Error> {
        let (file, slot) = slot(vec![Operation::Tar], &entries.concat());
        unpack_slot(&file, &slot, directory)
    }

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).unwrap().permissions().mode() & 0o7777
    }

    #[test]
    fn everything_has_the_mode_that_was_packed_and_no_more_rights() {
        use EntryType::{Directory, Regular};
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path();
        let entries = [
            entry(Directory, "./", 0o755, b""),
            entry(Directory, "./closed/", 0o555, b""),
            entry(Directory, "closed/inner", 0o2511, b""),
            entry(Regular, "old/", 0o750, b""),
            entry(Regular, "./closed/inner/tool", 0o4711, b"tool"),
            entry(Regular, "unlisted/note", 0o640, &[7; 1 << 18]),
            entry(Regular, "note", 0o600, b"a long first"),
            // The last of two stands.
            entry(Regular, "note", 0o604, b"second"),
            entry(Directory, "twice", 0o700, b""),
            entry(Directory, "twice/", 0o770, b""),
        ];
        fs::set_permissions(path, Permissions::from_mode(0o700)).unwrap();
        unpack_all(&entries, path).unwrap();
        for (name, expected) in [
            ("", 0o700),
            ("closed", 0o555),
            ("closed/inner", 0o511),
            ("old", 0o750),
            ("closed/inner/tool", 0o711),
            ("unlisted", 0o700),
            ("unlisted/note", 0o640),
            ("note", 0o604),
        ] {
            assert_eq!(mode(&path.join(name)), expected, "{name}");
        }
        assert!(path.join("old").is_dir() && path.join("twice").is_dir());
        assert_eq!(fs::read(path.join("closed/inner/tool")).unwrap(), b"tool");
        assert!(fs::read(path.join("unlisted/note")).unwrap() == [7; 1 << 18]);
        assert_eq!(fs::read(path.join("note")).unwrap(), b"second");
        // What is read-only can be removed.
        fs::set_permissions(path.join("closed"), Permissions::from_mode(0o700)).unwrap();
        fs::set_permissions(path.join("closed/inner"), Permissions::from_mode(0o700)).unwrap();
    }

    #[test]
    fn a_single_file_goes_to_its_target() {
        let directory = tempfile::tempdir().unwrap();
        let (file, mut slot) = slot(Vec::new(), b"content");
        (slot.target, slot.permissions) = (Some("a/b/tool".try_into().unwrap()), 0o751);
        unpack_slot(&file, &slot, directory.path()).unwrap();
        let path = directory.path().join("a/b/tool");
        assert_eq!(fs::read(&path).unwrap(), b"content");
        assert_eq!((mode(&path), mode(path.parent().unwrap())), (0o751, 0o700));
    }

    #[test]
    fn what_is_wrong_is_the_archive_or_the_disk() {
        use EntryType::{Directory, Link, Regular, Symlink};
        let file = |path: &str| entry(Regular, path, 0o644, b"x");
        let directory = |path: &str| entry(Directory, path, 0o755, b"");
        for (entries, text) in [
            (vec![file(".")], ""),
            (vec![file("")], ""),
            (vec![entry(Link, "a", 0o644, b"")], "a link"),
            (vec![entry(Symlink, "a", 0o644, b"")], "a link"),
            (vec![entry(EntryType::Fifo, "a", 0o644, b"")], "neither a file nor a directory"),
            (vec![], "the archive is empty"),
            (vec![file("a"), file("a/b")], "in one place"),
            (vec![file("a"), directory("a")], "in one place"),
            (vec![directory("a"), file("a")], "in one place"),
        ] {
            let to = tempfile::tempdir().unwrap();
            let error = unpack_all(&entries, to.path()).unwrap_err();
            assert!(error.to_string().contains(text), "{error}");
            assert_eq!(error.class(), Class::Format, "{error}");
        }
        // A path that fits into no archive's limits, but not below this directory.
        let mut to = tempfile::tempdir().unwrap().keep();
        let root = to.clone();
        while to.as_os_str().len() < 3900 {
            to.push("d".repeat(100));
        }
        make_directories(&to).unwrap();
        for entry in [file(&"f".repeat(99)), directory(&"f".repeat(99))] {
            let name = entry[0..99].to_vec();
            let inner = String::from_utf8(name).unwrap();
            let deep = to.join(&inner[..50]);
            make_directories(&deep).unwrap();
            let error = unpack_all(&[entry], &deep).unwrap_err();
            assert_eq!(error.class(), Class::Io, "{error}");
        }
        fs::remove_dir_all(root).unwrap();
    }

    #[test]
    fn an_interrupted_read_is_tried_again() {
        struct Interrupted(bool, io::ErrorKind);
        impl Read for Interrupted {
            fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
                self.0 = !self.0;
                if self.0 { Err(self.1.into()) } else { (&b""[..]).read(buffer) }
            }
        }
        let mut file = tempfile::tempfile().unwrap();
        let mut copied = |kind| copy(&mut Interrupted(false, kind), &mut file, Path::new("a"), "s");
        copied(io::ErrorKind::Interrupted).unwrap();
        assert!(copied(io::ErrorKind::InvalidData).is_err());
    }
}
