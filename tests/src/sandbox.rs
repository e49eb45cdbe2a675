//! A place of its own for each test: home, work and temporary directory, and a user to be.

use std::fs;
use std::os::unix::fs::{PermissionsExt, chown, lchown};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

use pspf_keys::SecretKey;

/// The uid and gid of [`Who::Stranger`]: no entry in the user database, no rights.
pub const STRANGER: u32 = 4242;

/// Who runs the programs of a sandbox.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Who {
    /// Whoever runs the tests; often root, who sees no permission error.
    Caller,
    /// A user without rights, by `setpriv`. Tests that are run without root's rights are that already.
    Stranger,
}

/// Directories that are removed with it.
#[derive(Debug)]
pub struct Sandbox {
    root: PathBuf,
    who: Who,
}

impl Sandbox {
    /// An empty one.
    #[must_use]
    pub fn new(who: Who) -> Self {
        Self::named(who, "")
    }

    /// One whose directory's name ends like this.
    #[must_use]
    pub fn named(who: Who, suffix: impl AsRef<std::ffi::OsStr>) -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let mut name = std::ffi::OsString::from(NEXT.fetch_add(1, Ordering::Relaxed).to_string());
        name.push(suffix);
        let root = crate::programs::base().join(name);
        fs::create_dir(&root).expect("a sandbox can be made");
        let sandbox = Self { root, who };
        for folder in ["", "home", "work", "tmp"] {
            let path = sandbox.root.join(folder);
            fs::create_dir_all(&path).expect("a sandbox can be made");
            fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).expect("its mode can be set");
            sandbox.give(&path);
        }
        sandbox
    }

    /// Its directory.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Who runs programs here.
    pub fn who(&self) -> Who {
        self.who
    }

    /// A path in the work directory, where programs start.
    pub fn work(&self, name: impl AsRef<Path>) -> PathBuf {
        self.root.join("work").join(name)
    }

    /// `HOME` of the programs.
    pub fn home(&self) -> PathBuf {
        self.root.join("home")
    }

    /// The cache root that programs use here unless they are told another.
    pub fn cache(&self) -> PathBuf {
        self.home().join(".cache/pspf/v1")
    }

    /// The names in a folder of the cache, in order; none where it is not there.
    pub fn cached(&self, folder: &str) -> Vec<String> {
        names(&self.cache().join(folder))
    }

    /// The directories of extracted slots.
    pub fn slots(&self) -> Vec<PathBuf> {
        let is_key = |name: &String| name.len() == 64;
        let folder = self.cache().join("slots");
        self.cached("slots").into_iter().filter(is_key).map(|name| folder.join(name)).collect()
    }

    /// Gives a file or directory to the user of this sandbox.
    pub fn give(&self, path: &Path) {
        if self.switches_user() {
            chown(path, Some(STRANGER), Some(STRANGER)).expect("a file can be given away");
        }
    }

    /// Gives a whole tree to the user of this sandbox.
    pub fn give_all(&self, path: &Path) {
        if self.switches_user() {
            lchown(path, Some(STRANGER), Some(STRANGER)).expect("a file can be given away");
            if fs::symlink_metadata(path).is_ok_and(|metadata| metadata.is_dir()) {
                names(path).iter().for_each(|name| self.give_all(&path.join(name)));
            }
        }
    }

    /// Whether programs are started under another uid than the test.
    pub(crate) fn switches_user(&self) -> bool {
        self.who == Who::Stranger && rustix::process::geteuid().is_root()
    }

    /// Writes a file of the sandbox's user, and the directories above it.
    pub fn write(&self, name: impl AsRef<Path>, content: impl AsRef<[u8]>) -> PathBuf {
        let path = self.work(name);
        let mut above = path.parent();
        let mut missing = Vec::new();
        while let Some(folder) = above.filter(|folder| !folder.exists()) {
            missing.push(folder.to_owned());
            above = folder.parent();
        }
        for folder in missing.iter().rev() {
            fs::create_dir(folder).expect("a directory can be made");
            self.give(folder);
        }
        crate::forks::write(&path, content);
        self.give(&path);
        path
    }

    /// Writes an executable file.
    pub fn write_program(&self, name: impl AsRef<Path>, content: impl AsRef<[u8]>) -> PathBuf {
        let path = self.write(name, content);
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).expect("its mode can be set");
        path
    }

    /// A copy of a file, with its mode.
    pub fn copy(&self, from: &Path, name: impl AsRef<Path>) -> PathBuf {
        let path = self.write(name, b"");
        crate::forks::copy(from, &path);
        path
    }

    /// The key files of a seed: the private one, and the public one.
    pub fn key(&self, seed: u8) -> (PathBuf, PathBuf) {
        let key = SecretKey::from_seed(&[seed; 32]);
        let private = self.write(format!("{seed}.key"), key.to_pkcs8_pem().as_bytes());
        fs::set_permissions(&private, fs::Permissions::from_mode(0o600)).expect("its mode can be set");
        (private, self.write(format!("{seed}.pub"), key.public_key().to_openssh("")))
    }
}

/// The names in a folder, in order; none where it is not there.
pub fn names(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let mut names: Vec<String> = entries.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect();
    names.sort_unstable();
    names
}

impl Drop for Sandbox {
    fn drop(&mut self) {
        remove_tree(&self.root);
    }
}

/// Removes a tree, also one with read-only directories.
pub fn remove_tree(path: &Path) {
    let is_directory = fs::symlink_metadata(path).is_ok_and(|metadata| metadata.is_dir());
    if !is_directory {
        let _ = fs::remove_file(path);
        return;
    }
    let _ = fs::set_permissions(path, fs::Permissions::from_mode(0o700));
    for entry in fs::read_dir(path).into_iter().flatten().flatten() {
        remove_tree(&entry.path());
    }
    let _ = fs::remove_dir(path);
}
