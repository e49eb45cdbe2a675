//! Extraction by hand: a slot into a directory of the user's, whole or not at all.

use std::fs::File;
use std::path::{Path, PathBuf};

use pspf_format::Slot;
use rustix::fs::{AtFlags, Mode, OFlags, RenameFlags};
use rustix::io::Errno;

use crate::cache::{fresh_name, remove_directory};
use crate::extract::create_directory;
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
    directory: &Path,
    announce: impl FnOnce(&Path),
    progress: &Progress,
) -> Result<PathBuf, Error> {
    let _limit = Ignored::file_size();
    let target = slot.metadata.target.as_str();
    let path = directory.join(target);
    let failed = |errno: Errno| Error::io("extracting to", &path, errno);
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let parent = File::from(rustix::fs::open(directory, flags, Mode::empty()).map_err(failed)?);
    if rustix::fs::statat(&parent, target, AtFlags::SYMLINK_NOFOLLOW).is_ok() {
        return Err(Error::Exists { path });
    }
    let index = slot_index(package, slot)?;
    let work = fresh_name();
    let work_path = directory.join(&work);
    announce(&work_path);
    let staging = create_directory(&parent, &work).map_err(failed)?;
    let done =
        extract_slot(package, slot, &index, std::os::fd::AsFd::as_fd(&staging), &work_path, Modes::Plain, progress)
            .and_then(|()| {
                let (from, name) = if slot.metadata.operations.is_tree() {
                    let mode = Mode::from_raw_mode(0o755) & !umask();
                    rustix::fs::fchmod(&staging, mode).map_err(failed)?;
                    (&parent, work.as_str())
                } else {
                    (
                        &File::from(staging.try_clone().map_err(|source| Error::io("extracting to", &path, source))?),
                        target,
                    )
                };
                match rustix::fs::renameat_with(from, name, &parent, target, RenameFlags::NOREPLACE) {
                    Err(Errno::EXIST) => Err(Error::Exists { path: path.clone() }),
                    // A file system without that flag: the name was free a moment ago.
                    Err(Errno::INVAL | Errno::NOSYS) => {
                        rustix::fs::renameat(from, name, &parent, target).map_err(failed)
                    }
                    renamed => renamed.map_err(failed),
                }
            });
    // A tree has its final name now; what is left is the place where a file or a failure was.
    remove_directory(directory, work.as_ref());
    done.map(|()| path)
}

/// The process's umask, which can only be read by setting it.
fn umask() -> Mode {
    let mask = rustix::process::umask(Mode::RWXG | Mode::RWXO);
    rustix::process::umask(mask);
    mask
}
