//! Where the bench works: payloads, packages and caches, all on one file system.

use std::ffi::OsString;
use std::fs::{self, DirBuilder};
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

use anyhow::{Context, bail};
use rustix::rand::{GetRandomFlags, getrandom};

/// What the names of work directories begin with where the user gives none; the process id follows, and what nobody can
/// foresee.
const PREFIX: &str = "pspf-bench-";

/// The work directory.
#[derive(Debug)]
pub(super) struct Place {
    pub(super) root: PathBuf,
    /// Such as `tmpfs`, as the kernel names it.
    pub(super) file_system: String,
    /// Named by the user, and so not removed.
    kept: bool,
}

impl Place {
    /// The directory that the user named, else one in memory where there is room for so many bytes, else a temporary one.
    pub(super) fn find(named: Option<&Path>, room: u64) -> anyhow::Result<Self> {
        let memory = Path::new("/dev/shm");
        let made = |root: &Path| format!("making {}", root.display());
        let root = match named {
            Some(named) => {
                fs::create_dir_all(named).with_context(|| made(named))?;
                named.to_owned()
            }
            None => {
                [memory, &std::env::temp_dir()].into_iter().for_each(remove_abandoned);
                let in_memory = file_system(memory).is_ok_and(|name| name == "tmpfs")
                    && free(memory).is_ok_and(|free| free >= room)
                    && available_memory().is_some_and(|available| available >= room);
                let above = if in_memory { memory.to_owned() } else { std::env::temp_dir() };
                let root = above.join(fresh_name()?);
                // Others can write there too: one that exists already is not ours.
                DirBuilder::new().mode(0o700).create(&root).with_context(|| made(&root))?;
                root
            }
        };
        let root = root.canonicalize()?;
        let place = Self { file_system: file_system(&root)?, root, kept: named.is_some() };
        let free = free(&place.root)?;
        if free < room {
            let megabytes = |bytes: u64| bytes / 1_000_000;
            bail!(
                "{}: {} MB are free, these payloads need {} MB; name another directory with --work, or fewer payloads",
                place.root.display(),
                megabytes(free),
                megabytes(room)
            );
        }
        Ok(place)
    }

    /// Whether caches here are in memory.
    pub(super) fn in_memory(&self) -> bool {
        self.file_system == "tmpfs"
    }

    /// The environment of everything that is started, with the cache of packages in this directory. What it names lies
    /// in the work directory.
    pub(super) fn env(&self, cache: &Path) -> Vec<(OsString, OsString)> {
        let pairs: [(&str, OsString); 7] = [
            ("PATH", std::env::var_os("PATH").unwrap_or_default()),
            ("HOME", self.path("home").into()),
            ("XDG_CACHE_HOME", cache.join("xdg").into()),
            ("TMPDIR", self.path("tmp").into()),
            ("PSPF_CACHE_DIR", cache.into()),
            ("LC_ALL", "C".into()),
            // Payloads are compiled already, and nothing may change while it is measured.
            ("PYTHONDONTWRITEBYTECODE", "1".into()),
        ];
        pairs.into_iter().map(|(name, value)| (name.into(), value)).collect()
    }

    /// A path in it.
    pub(super) fn path(&self, name: impl AsRef<Path>) -> PathBuf {
        self.root.join(name)
    }

    /// An empty directory in it.
    pub(super) fn empty(&self, name: &str) -> anyhow::Result<PathBuf> {
        let path = self.path(name);
        remove(&path);
        fs::create_dir_all(&path).with_context(|| format!("making {}", path.display()))?;
        Ok(path)
    }

    /// Makes a path disappear. In memory it is removed. Elsewhere it is only put aside until the bench ends: a file
    /// system may avoid inodes that were just deleted, and then each deletion slows down what is measured next.
    pub(super) fn discard(&self, path: &Path) -> anyhow::Result<()> {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        if path.symlink_metadata().is_err() {
            return Ok(());
        }
        if self.in_memory() {
            remove(path);
            return Ok(());
        }
        let aside = self.path("aside");
        fs::create_dir_all(&aside)?;
        let name = NEXT.fetch_add(1, Ordering::Relaxed).to_string();
        fs::rename(path, aside.join(name)).with_context(|| format!("putting {} aside", path.display()))
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        remove(&if self.kept { self.path("aside") } else { self.root.clone() });
    }
}

/// A name for a work directory.
fn fresh_name() -> anyhow::Result<String> {
    let mut random = [0; 8];
    getrandom(&mut random, GetRandomFlags::empty()).context("random bytes")?;
    Ok(format!("{PREFIX}{}-{:016x}", std::process::id(), u64::from_ne_bytes(random)))
}

/// Removes what a bench of this user left behind that was interrupted.
fn remove_abandoned(above: &Path) {
    let own = |path: &Path| {
        let user = rustix::process::geteuid().as_raw();
        path.symlink_metadata().is_ok_and(|found| found.is_dir() && found.uid() == user)
    };
    for name in crate::sandbox::names(above) {
        let id = name.strip_prefix(PREFIX).and_then(|rest| rest.split('-').next());
        let process = id.filter(|id| !id.is_empty() && id.bytes().all(|byte| byte.is_ascii_digit()));
        let path = above.join(&name);
        if process.is_some_and(|id| !Path::new("/proc").join(id).exists()) && own(&path) {
            remove(&path);
        }
    }
}

fn remove(path: &Path) {
    crate::sandbox::remove_tree(path);
}

/// The name of the file system that a path is on.
fn file_system(path: &Path) -> anyhow::Result<String> {
    let text = fs::read_to_string("/proc/self/mountinfo").context("/proc/self/mountinfo")?;
    let path = path.to_str().context("the path of the work directory is not UTF-8")?;
    Ok(file_system_in(&text, path).unwrap_or("unknown").to_owned())
}

/// The last of the longest mount points that a path is below (`man 5 proc`).
fn file_system_in<'t>(mountinfo: &'t str, path: &str) -> Option<&'t str> {
    let mounts = mountinfo.lines().filter_map(|line| {
        let (mount, kind) = line.split_once(" - ")?;
        Some((mount.split(' ').nth(4)?, kind.split(' ').next()?))
    });
    let below = |point: &str| {
        path.strip_prefix(point.trim_end_matches('/')).is_some_and(|p| p.is_empty() || p.starts_with('/'))
    };
    mounts.filter(|(point, _)| below(point)).max_by_key(|(point, _)| point.len()).map(|(_, kind)| kind)
}

/// Bytes that can still be written there.
fn free(path: &Path) -> anyhow::Result<u64> {
    let stat = rustix::fs::statvfs(path).with_context(|| path.display().to_string())?;
    Ok(stat.f_bavail.saturating_mul(stat.f_frsize))
}

/// Bytes of memory that can be used without swapping.
fn available_memory() -> Option<u64> {
    let text = fs::read_to_string("/proc/meminfo").ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix("MemAvailable:"))?;
    Some(line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()? * 1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    const MOUNTS: &str = "\
22 1 254:0 / / rw,relatime shared:1 - ext4 /dev/vda rw
30 22 0:25 / /dev rw - devtmpfs none rw
31 30 0:26 / /dev/shm rw,nosuid shared:2 - tmpfs tmpfs rw
32 22 0:27 / /dev/shmem rw - xfs none rw
33 22 0:28 / /mnt rw - ext4 /dev/vdb rw
34 22 0:29 / /mnt rw - btrfs /dev/vdc rw
";

    #[test]
    fn the_longest_mount_point_above_decides() {
        for (path, expected) in [
            ("/dev/shm/x", "tmpfs"),
            ("/dev/shm", "tmpfs"),
            ("/dev/shmem/y", "xfs"),
            ("/tmp", "ext4"),
            ("/mnt/a", "btrfs"),
        ] {
            assert_eq!(file_system_in(MOUNTS, path), Some(expected), "{path}");
        }
    }

    #[test]
    fn what_is_discarded_is_gone() {
        let place = Place::find(None, 0).unwrap();
        let inner = place.empty("a/b").unwrap();
        fs::write(inner.join("file"), "x").unwrap();
        place.discard(&place.path("a")).unwrap();
        place.discard(&place.path("a")).unwrap();
        assert!(!place.path("a").exists());
        let root = place.root.clone();
        drop(place);
        assert!(!root.exists());
    }

    #[test]
    fn nobody_else_can_have_made_the_work_directory_or_look_into_it() {
        let (one, other) = (Place::find(None, 0).unwrap(), Place::find(None, 0).unwrap());
        assert_ne!(one.root, other.root);
        assert_eq!(fs::metadata(&one.root).unwrap().mode() & 0o777, 0o700);
        // All that a program may write to by what it finds in its environment.
        for (name, value) in one.env(&one.path("cache")) {
            let is_path = value.as_encoded_bytes().starts_with(b"/") && name != "PATH";
            assert!(!is_path || Path::new(&value).starts_with(&one.root), "{name:?}");
        }
    }

    #[test]
    fn what_an_interrupted_bench_left_is_removed() {
        let sandbox = crate::Sandbox::new(crate::Who::Caller);
        let own = std::process::id();
        for name in ["4194305-00", "4194305", "x-00", "-00"].map(str::to_owned).into_iter().chain([format!("{own}-00")])
        {
            fs::create_dir(sandbox.work(format!("{PREFIX}{name}"))).unwrap();
        }
        remove_abandoned(&sandbox.work(""));
        let left = ["-00".to_owned(), format!("{own}-00"), "x-00".to_owned()];
        assert_eq!(crate::sandbox::names(&sandbox.work("")), left.map(|name| format!("{PREFIX}{name}")));
    }
}
