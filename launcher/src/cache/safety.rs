//! Whether a directory can be trusted with programs: nobody but its owner and root can change or replace it.

use alloc::borrow::ToOwned;
use alloc::ffi::CString;
use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use core::ffi::CStr;

use rustix::fd::{AsFd, OwnedFd};
use rustix::fs::{AtFlags, CWD, FileType, Mode, OFlags, ResolveFlags, Stat};
use rustix::io::{Errno, retry_on_intr};

use crate::path::{concat, is_absolute, join, shown};
use crate::sys::process::euid;
use crate::{Error, OsError, disk};

/// As many symbolic links as the kernel follows.
const MAX_LINKS: usize = 40;

/// Why a directory is not used.
pub(crate) enum Reason {
    /// In words.
    Words(String),
    /// The system lacks something to look at it, which says nothing about it.
    Lack(Errno),
}

impl Reason {
    /// The error of a directory at `path` that is not used.
    pub(crate) fn at(self, path: &CStr) -> Error {
        match self {
            Self::Words(reason) => Error::Unfit { reason },
            Self::Lack(errno) => Error::io("opening", path, errno),
        }
    }
}

impl From<String> for Reason {
    fn from(words: String) -> Self {
        Self::Words(words)
    }
}

impl From<Errno> for Reason {
    fn from(errno: Errno) -> Self {
        let error = OsError::from(errno);
        if error.is_lack() { Self::Lack(errno) } else { Self::Words(error.to_string()) }
    }
}

/// Opens `path` where it is there, and safe. A path without symbolic links takes a single system call: whose directory
/// it is, is for [`own_directory`] to say, and whether its ancestors can be trusted was seen when it was made.
pub(crate) fn open(path: &CStr) -> Result<OwnedFd, Reason> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    match retry_on_intr(|| rustix::fs::openat2(CWD, path, flags, Mode::empty(), ResolveFlags::NO_SYMLINKS)) {
        // A link, or a system without this call: every component is looked at.
        Err(Errno::LOOP | Errno::NOSYS | Errno::PERM) => walk(path, None),
        opened => Ok(opened?),
    }
}

/// Opens `path` by its components, each by descriptor, and creates missing ones with `mode`.
///
/// Every directory on the way belongs to root or to us, and is not writable by others unless it is sticky. A
/// symbolic link on the way belongs to root or to us too.
pub(crate) fn open_or_create(path: &CStr, mode: Mode) -> Result<OwnedFd, Reason> {
    walk(path, Some(mode))
}

fn walk(path: &CStr, create: Option<Mode>) -> Result<OwnedFd, Reason> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let open_root = || disk::open_at(CWD, c"/", flags, Mode::empty());
    let mut todo = names(path);
    let (mut at, mut directory) = (CString::from(c"/"), open_root()?);
    let mut links = 0;
    while let Some(name) = todo.pop() {
        let name = name.as_c_str();
        let next = join(&at, name.to_bytes());
        let failed = |errno: Errno| match errno.into() {
            Reason::Words(words) => Reason::Words(format!("{}: {words}", shown(&next))),
            lack => lack,
        };
        let look = || rustix::fs::statat(&directory, name, AtFlags::SYMLINK_NOFOLLOW);
        let stat = match (look(), create) {
            (Err(Errno::NOENT), Some(mode)) => match rustix::fs::mkdirat(&directory, name, mode) {
                Ok(()) | Err(Errno::EXIST) => look(),
                Err(errno) => Err(errno),
            },
            (found, _) => found,
        };
        let stat = stat.map_err(failed)?;
        if FileType::from_raw_mode(stat.st_mode) == FileType::Symlink {
            links += 1;
            // Its directory has been looked at, so nobody but its owner can have put the link there.
            if (stat.st_uid != 0 && stat.st_uid != euid()) || links > MAX_LINKS {
                return Err(format!("{} is a symbolic link of uid {}", shown(&next), stat.st_uid).into());
            }
            let target = disk::read_link(directory.as_fd(), name).map_err(failed)?;
            if is_absolute(target.to_bytes()) {
                (at, directory) = (c"/".into(), open_root()?);
            }
            todo.extend(names(&target));
            continue;
        }
        let opened = disk::open_at(&directory, name, flags, Mode::empty()).map_err(failed)?;
        let stat = rustix::fs::fstat(&opened)?;
        ancestor(&stat, &next).map_err(|reason| format!("{} {reason}", shown(&next)))?;
        (at, directory) = (next, opened);
    }
    Ok(directory)
}

/// The components of a path, last first.
fn names(path: &CStr) -> Vec<CString> {
    let components = path.to_bytes().rsplit(|&byte| byte == b'/');
    components.filter(|name| !matches!(name, [] | [b'.'])).map(|name| concat(&[name])).collect()
}

fn ancestor(stat: &Stat, path: &CStr) -> Result<(), String> {
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
fn is_unmapped_root(uid: u32, path: &CStr) -> bool {
    const OVERFLOW: u32 = 65534;
    const SYSTEM: [&CStr; 9] = [c"/", c"/dev", c"/dev/shm", c"/home", c"/opt", c"/run", c"/tmp", c"/var", c"/var/tmp"];
    uid == OVERFLOW && SYSTEM.contains(&path) && !is_mapped(OVERFLOW)
}

/// Whether this user namespace maps a uid; one whose map cannot be read maps every uid.
fn is_mapped(uid: u32) -> bool {
    let map = disk::read(c"/proc/self/uid_map").ok().and_then(|map| String::from_utf8(map).ok());
    let Some(map) = map else { return true };
    map.lines().any(|line| {
        let mut numbers = line.split_whitespace().map(|number| number.parse::<u64>().unwrap_or(0));
        let (inside, _, count) = (numbers.next(), numbers.next(), numbers.next());
        let start = inside.unwrap_or(0);
        (start..start.saturating_add(count.unwrap_or(u64::MAX))).contains(&u64::from(uid))
    })
}

/// Whether an open directory of the cache itself is ours (or root's, who may have filled it) and nobody else's.
pub(crate) fn own_directory(fd: impl AsFd) -> Result<(), Reason> {
    let stat = rustix::fs::fstat(fd)?;
    let euid = euid();
    if stat.st_uid != euid && stat.st_uid != 0 {
        return Err(format!("unsafe cache directory: it belongs to uid {}, expected {euid}", stat.st_uid).into());
    }
    if stat.st_mode & 0o022 != 0 {
        return Err("unsafe cache directory: it can be written by others".to_owned().into());
    }
    Ok(())
}
