//! Whether a directory can be trusted with programs: nobody but its owner and root can change or replace it.

use std::ffi::{OsStr, OsString};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Component, Path, PathBuf};

use rustix::fs::{AtFlags, FileType, Mode, OFlags, ResolveFlags, Stat};
use rustix::io::Errno;

use crate::sys::process::euid;

/// As many symbolic links as the kernel follows.
const MAX_LINKS: usize = 40;

/// Why a directory is not used, in words.
pub(crate) type Reason = String;

/// Opens `path` where it is there, and safe. A path without symbolic links takes a single system call: whose directory
/// it is, is for [`own_directory`] to say, and whether its ancestors can be trusted was seen when it was made.
pub(crate) fn open(path: &Path) -> Result<OwnedFd, Reason> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    match rustix::fs::openat2(rustix::fs::CWD, path, flags, Mode::empty(), ResolveFlags::NO_SYMLINKS) {
        // A link, or a system without this call: every component is looked at.
        Err(Errno::LOOP | Errno::NOSYS | Errno::PERM) => walk(path, None),
        opened => opened.map_err(|errno| errno.to_string()),
    }
}

/// Opens `path` by its components, each by descriptor, and creates missing ones with `mode`.
///
/// Every directory on the way belongs to root or to us, and is not writable by others unless it is sticky. A
/// symbolic link on the way belongs to root or to us too.
pub(crate) fn open_or_create(path: &Path, mode: Mode) -> Result<OwnedFd, Reason> {
    walk(path, Some(mode))
}

fn walk(path: &Path, create: Option<Mode>) -> Result<OwnedFd, Reason> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let mut todo: Vec<OsString> = names(path)?;
    let mut at = PathBuf::from("/");
    let mut directory = rustix::fs::open("/", flags, Mode::empty()).map_err(|errno| errno.to_string())?;
    let mut links = 0;
    while let Some(name) = todo.pop() {
        let failed = |errno: Errno| format!("`{}`: {errno}", shown(&at.join(&name)));
        let mut found = rustix::fs::statat(&directory, &name, AtFlags::SYMLINK_NOFOLLOW);
        if let (Err(Errno::NOENT), Some(mode)) = (&found, create) {
            match rustix::fs::mkdirat(&directory, &name, mode) {
                Ok(()) | Err(Errno::EXIST) => {}
                Err(errno) => return Err(failed(errno)),
            }
            found = rustix::fs::statat(&directory, &name, AtFlags::SYMLINK_NOFOLLOW);
        }
        let stat = found.map_err(failed)?;
        if FileType::from_raw_mode(stat.st_mode) == FileType::Symlink {
            links += 1;
            // Its directory has been looked at, so nobody but its owner can have put the link there.
            if (stat.st_uid != 0 && stat.st_uid != euid()) || links > MAX_LINKS {
                return Err(format!("`{}` is a symbolic link of uid {}", shown(&at.join(&name)), stat.st_uid));
            }
            let target = rustix::fs::readlinkat(&directory, &name, Vec::new()).map_err(failed)?;
            let target = PathBuf::from(OsStr::from_bytes(target.as_bytes()));
            if target.is_absolute() {
                at = PathBuf::from("/");
                directory = rustix::fs::open("/", flags, Mode::empty()).map_err(|errno| errno.to_string())?;
            }
            todo.extend(names(&target)?);
            continue;
        }
        directory = rustix::fs::openat(&directory, &name, flags, Mode::empty()).map_err(failed)?;
        at.push(&name);
        let stat = rustix::fs::fstat(&directory).map_err(|errno| errno.to_string())?;
        ancestor(&stat, &at).map_err(|reason| format!("`{}` {reason}", shown(&at)))?;
    }
    Ok(directory)
}

/// A path made harmless for a terminal.
fn shown(path: &Path) -> String {
    path.to_string_lossy().escape_debug().to_string()
}

/// The components of a path, last first.
fn names(path: &Path) -> Result<Vec<OsString>, Reason> {
    let mut names = Vec::new();
    for component in path.components() {
        match component {
            Component::Normal(name) => names.push(OsString::from_vec(name.as_bytes().to_vec())),
            Component::ParentDir => names.push(OsString::from("..")),
            Component::RootDir | Component::CurDir | Component::Prefix(_) => {}
        }
    }
    names.reverse();
    Ok(names)
}

fn ancestor(stat: &Stat, path: &Path) -> Result<(), Reason> {
    let euid = euid();
    if stat.st_uid != euid && stat.st_uid != 0 && !is_unmapped_root(stat.st_uid, path) {
        return Err(format!("belongs to uid {}, expected {euid} or root", stat.st_uid));
    }
    if stat.st_mode & 0o022 != 0 && stat.st_mode & 0o1000 == 0 {
        return Err("can be written by others".to_owned());
    }
    Ok(())
}

/// Whether this is root as a user namespace shows it that does not map root. There everybody who is not mapped looks the
/// same, so only directories of the system are taken for root's.
fn is_unmapped_root(uid: u32, path: &Path) -> bool {
    const OVERFLOW: u32 = 65534;
    const SYSTEM: [&str; 9] = ["/", "/dev", "/dev/shm", "/home", "/opt", "/run", "/tmp", "/var", "/var/tmp"];
    uid == OVERFLOW && SYSTEM.iter().any(|known| path == Path::new(known)) && !is_mapped(OVERFLOW)
}

/// Whether this user namespace maps a uid; one whose map cannot be read maps every uid.
fn is_mapped(uid: u32) -> bool {
    let Ok(map) = std::fs::read_to_string("/proc/self/uid_map") else { return true };
    map.lines().any(|line| {
        let mut numbers = line.split_whitespace().map(|number| number.parse::<u64>().unwrap_or(0));
        let (inside, _, count) = (numbers.next(), numbers.next(), numbers.next());
        let start = inside.unwrap_or(0);
        (start..start.saturating_add(count.unwrap_or(u64::MAX))).contains(&u64::from(uid))
    })
}

/// Whether an open directory of the cache itself is ours (or root's, who may have filled it) and nobody else's.
pub(crate) fn own_directory(fd: impl AsFd) -> Result<(), Reason> {
    let stat = rustix::fs::fstat(fd).map_err(|errno| errno.to_string())?;
    let euid = euid();
    if stat.st_uid != euid && stat.st_uid != 0 {
        return Err(format!("unsafe cache directory: it belongs to uid {}, expected {euid}", stat.st_uid));
    }
    if stat.st_mode & 0o022 != 0 {
        return Err("unsafe cache directory: it can be written by others".to_owned());
    }
    Ok(())
}
