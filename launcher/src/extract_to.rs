//! Extraction by hand: a slot into a directory of the user's, whole or not at all.

use alloc::ffi::CString;
use core::ffi::CStr;

use pspf_format::Slot;
use rustix::fd::AsFd;
use rustix::fs::{AtFlags, CWD, Mode, OFlags, RenameFlags};
use rustix::io::Errno;

use crate::cache::{fresh_name, remove_directory};
use crate::disk::{self, create_directory};
use crate::path::{concat, join};
use crate::sys::signals::Ignored;
use crate::{Error, Modes, PackageFile, Progress, extract_slot, slot_index};

/// Extracts `slot` as `directory/<target>`, a directory or a file, and returns that path. The directory must be there;
/// the target must not. `announce` is told the path of the directory that holds the work, before it is made.
///
/// # Errors
/// [`Error::Exists`]; as [`extract_slot`]. Nothing is left behind.
pub fn extract_to(
    package: &PackageFile,
    slot: Slot<'_>,
    directory: &CStr,
    announce: impl FnOnce(&CStr),
    progress: &Progress,
) -> Result<CString, Error> {
    let _limit = Ignored::file_size();
    let target = concat(&[slot.metadata.target.as_str().as_bytes()]);
    let path = join(directory, target.to_bytes());
    let failed = |errno: Errno| Error::io("extracting to", &path, errno);
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let parent = disk::open_at(CWD, directory, flags, Mode::empty()).map_err(failed)?;
    if rustix::fs::statat(&parent, target.as_c_str(), AtFlags::SYMLINK_NOFOLLOW).is_ok() {
        return Err(Error::Exists { path });
    }
    let index = slot_index(package, slot)?;
    let work = fresh_name();
    let work_path = join(directory, work.to_bytes());
    announce(&work_path);
    let staging = create_directory(parent.as_fd(), &work).map_err(failed)?;
    let extracted = extract_slot(package, slot, &index, staging.as_fd(), &work_path, Modes::Plain, progress);
    let done = extracted.and_then(|()| {
        let (from, name) = if !slot.metadata.operations.holds_target() {
            let mode = Mode::from_raw_mode(0o755) & !umask();
            rustix::fs::fchmod(&staging, mode).map_err(failed)?;
            (parent.as_fd(), &work)
        } else {
            (staging.as_fd(), &target)
        };
        let (name, target) = (name.as_c_str(), target.as_c_str());
        match rustix::fs::renameat_with(from, name, &parent, target, RenameFlags::NOREPLACE) {
            Err(Errno::EXIST) => Err(Error::Exists { path: path.clone() }),
            // A file system without that flag: the name was free a moment ago.
            Err(Errno::INVAL | Errno::NOSYS) => rustix::fs::renameat(from, name, &parent, target).map_err(failed),
            renamed => renamed.map_err(failed),
        }
    });
    // A tree has its final name now; what is left is the place where a file or a failure was.
    remove_directory(directory, &work);
    done.map(|()| path)
}

/// The process's umask, which can only be read by setting it.
fn umask() -> Mode {
    let mask = rustix::process::umask(Mode::RWXG | Mode::RWXO);
    rustix::process::umask(mask);
    mask
}
