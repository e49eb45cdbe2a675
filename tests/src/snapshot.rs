//! All that can be seen of a directory tree, to be compared.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use sha2::{Digest, Sha256};

/// What is at each path: type, executable or not, content or target, and which files are one.
pub type Snapshot = BTreeMap<String, String>;

/// The tree below `root`; empty where there is none. Of a mode only the owner's right to execute counts: extraction
/// takes the others away.
pub fn snapshot(root: &Path) -> Snapshot {
    let mut walk = Walk { found: Snapshot::new(), inodes: BTreeMap::new() };
    walk.directory(root, "");
    walk.found
}

/// What of a cache must not stay behind after a failure: everything but its own empty folders and locks.
pub fn leftovers(cache: &Path) -> Snapshot {
    let mut found = snapshot(cache);
    found.retain(|path, _| !matches!(path.as_str(), "slots" | "receipts" | "locks") && !path.starts_with("locks/"));
    found
}

struct Walk {
    found: Snapshot,
    inodes: BTreeMap<(u64, u64), String>,
}

impl Walk {
    fn directory(&mut self, directory: &Path, prefix: &str) {
        let mut entries: Vec<_> = fs::read_dir(directory).into_iter().flatten().flatten().collect();
        entries.sort_by_key(fs::DirEntry::file_name);
        for entry in entries {
            let name = format!("{prefix}{}", entry.file_name().as_bytes().escape_ascii());
            let metadata = entry.metadata().expect("an entry can be looked at");
            let what = if metadata.is_symlink() {
                let target = fs::read_link(entry.path()).expect("a link can be read");
                format!("link to {}", target.as_os_str().as_bytes().escape_ascii())
            } else if metadata.is_dir() {
                "directory".to_owned()
            } else if metadata.is_file() {
                self.file(&entry.path(), &metadata, &name)
            } else {
                format!("mode {:o}", metadata.mode())
            };
            self.found.insert(name.clone(), what);
            if metadata.is_dir() {
                self.directory(&entry.path(), &format!("{name}/"));
            }
        }
    }

    fn file(&mut self, path: &Path, metadata: &fs::Metadata, name: &str) -> String {
        let inode = (metadata.dev(), metadata.ino());
        if metadata.nlink() > 1
            && let Some(first) = self.inodes.get(&inode)
        {
            return format!("same file as {first}");
        }
        self.inodes.insert(inode, name.to_owned());
        let content = fs::read(path).expect("a file can be read");
        let executable = if metadata.mode() & 0o100 != 0 { "program" } else { "data" };
        format!("{executable}, {} bytes, sha256 {:x}", content.len(), Sha256::digest(&content))
    }
}
