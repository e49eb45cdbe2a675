//! Slots of a sealed package where it may change them (SPEC §6.8): each is extracted from the package, whole or not at
//! all.

use std::ffi::{CStr, CString};
use std::fs::{self, Permissions};
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use pspf_format::{Lifecycle, Slot, VerifiedPackage};
use pspf_launcher::{
    CachedSlots, Environment, Error as LauncherError, PackageFile, Places, Progress, Umask, extract_to,
};
use rustix::fs::{CWD, RenameFlags};
use rustix::io::Errno;

use crate::Error;
use crate::folder::Folder;

/// Where the slots of a package are at one start.
#[derive(Debug)]
pub(crate) struct SlotPlaces<'a> {
    pub(crate) cached: CachedSlots<'a>,
    pub(crate) workenv: CString,
    /// The directory of this start alone.
    pub(crate) own: Option<CString>,
}

impl SlotPlaces<'_> {
    /// Tells a program of the package where they are, and everybody else that it uses them.
    pub(crate) fn tell(&self, environment: &mut Environment) {
        environment.set("PSPF_WORKENV", &self.workenv);
        environment.remove("PSPF_TEMPORARY");
        if let Some(own) = &self.own {
            environment.set("PSPF_TEMPORARY", own);
        }
    }
}

impl Places for SlotPlaces<'_> {
    fn slot(&self, id: &str) -> Result<CString, LauncherError> {
        let lifecycle = self.cached.package.slot(id).map(|slot| (slot, slot.metadata.lifecycle));
        match lifecycle {
            Some((slot, lifecycle)) if lifecycle.is_writable() => {
                let own = if lifecycle.is_of_one_start() { self.own.as_deref() } else { Some(self.workenv.as_c_str()) };
                let directory = own.ok_or(LauncherError::Internal { what: "a slot of one start, and no start" })?;
                Ok(c_path(&target(path(directory), slot)))
            }
            _ => self.cached.slot(id),
        }
    }

    fn cache(&self) -> &CStr {
        self.cached.cache.path()
    }

    fn workenv(&self) -> &CStr {
        &self.workenv
    }
}

/// Extracts what these lifecycles say into a directory, where it is not there yet.
pub(crate) fn fill(
    file: &PackageFile,
    package: &VerifiedPackage,
    directory: &Path,
    lifecycles: &[Lifecycle],
) -> Result<(), Error> {
    for slot in of(package, lifecycles).filter(|slot| is_missing(directory, *slot)) {
        extract(file, package, slot, directory)?;
    }
    Ok(())
}

/// Whether one of them is not there.
pub(crate) fn lacks(package: &VerifiedPackage, directory: &Path, lifecycles: &[Lifecycle]) -> bool {
    of(package, lifecycles).any(|slot| is_missing(directory, slot))
}

pub(crate) fn has(package: &VerifiedPackage, lifecycles: &[Lifecycle]) -> bool {
    of(package, lifecycles).next().is_some()
}

/// Makes what a start finds in the work environment: what is missing of `cache`, and `startup` anew. Whoever still reads an
/// old copy keeps what is open.
pub(crate) fn refresh(
    file: &PackageFile,
    package: &VerifiedPackage,
    folder: &Folder,
    workenv: &Path,
) -> Result<(), Error> {
    for slot in of(package, &[Lifecycle::Cache, Lifecycle::Startup]) {
        let is_cache = slot.metadata.lifecycle == Lifecycle::Cache;
        if is_cache && !is_missing(workenv, slot) {
            continue;
        }
        // Holds the new copy first, the old one afterwards, and is removed.
        let (aside, _locked) = folder.new_directory()?;
        let (new, old) = (target(aside.path(), slot), target(workenv, slot));
        let done = extract(file, package, slot, aside.path()).and_then(|()| match is_cache {
            true => put(&new, &old),
            false => exchange(&new, &old),
        });
        crate::folder::remove_tree(aside.path());
        done?;
    }
    Ok(())
}

/// Removes what these lifecycles say.
pub(crate) fn remove(package: &VerifiedPackage, directory: &Path, lifecycles: &[Lifecycle]) -> Result<(), Error> {
    of(package, lifecycles).try_for_each(|slot| crate::folder::remove(&target(directory, slot)))
}

fn of<'p>(package: &'p VerifiedPackage, lifecycles: &[Lifecycle]) -> impl Iterator<Item = Slot<'p>> {
    package.slots().filter(|slot| lifecycles.contains(&slot.metadata.lifecycle))
}

fn target(directory: &Path, slot: Slot<'_>) -> PathBuf {
    directory.join(slot.metadata.target.as_str())
}

fn is_missing(directory: &Path, slot: Slot<'_>) -> bool {
    target(directory, slot).symlink_metadata().is_err_and(|error| error.kind() == io::ErrorKind::NotFound)
}

fn extract(file: &PackageFile, package: &VerifiedPackage, slot: Slot<'_>, directory: &Path) -> Result<(), Error> {
    // The directory is nobody else's, so modes are those of the package.
    let _umask = Umask::none();
    let label = package.metadata().package.name.as_str();
    let progress = Progress::to_terminal(label, slot.metadata.expanded_size);
    extract_to(file, slot, &c_path(directory), |_| (), &progress)?;
    Ok(())
}

/// Gives `new` a place that is free; where the application has made something there meanwhile, that stays.
fn put(new: &Path, place: &Path) -> Result<(), Error> {
    let failed = |errno: Errno| Error::io("creating", place)(errno.into());
    match rustix::fs::renameat_with(CWD, new, CWD, place, RenameFlags::NOREPLACE) {
        Err(Errno::EXIST) => Ok(()),
        // A file system without that flag: the place was free a moment ago.
        Err(Errno::INVAL | Errno::NOSYS) => fs::rename(new, place).map_err(Error::io("creating", place)),
        done => done.map_err(failed),
    }
}

/// Gives `new` the place of `old`, in one step where the file system can.
fn exchange(new: &Path, old: &Path) -> Result<(), Error> {
    let failed = |error: io::Error| Error::io("replacing", old)(error);
    match fs::symlink_metadata(old) {
        // There is none; whatever else keeps from looking keeps from the rename too.
        Err(_) => return fs::rename(new, old).map_err(failed),
        // A directory that is read-only cannot change its parent.
        Ok(found) if found.is_dir() => {
            let _ = fs::set_permissions(old, Permissions::from_mode(found.permissions().mode() | 0o700));
        }
        _ => {}
    }
    match rustix::fs::renameat_with(CWD, new, CWD, old, RenameFlags::EXCHANGE) {
        Err(Errno::INVAL | Errno::NOSYS) => {
            // Beside it, under a name that is longer and so another one.
            let mut away = new.as_os_str().to_owned();
            away.push(".old");
            fs::rename(old, &away).and_then(|()| fs::rename(new, old)).map_err(failed)
        }
        done => done.map_err(|errno| failed(errno.into())),
    }
}

pub(crate) fn path(text: &CStr) -> &Path {
    Path::new(std::ffi::OsStr::from_bytes(text.to_bytes()))
}

/// Paths come from the kernel or hold no NUL by the format's rules.
pub(crate) fn c_path(path: &Path) -> CString {
    CString::new(path.as_os_str().as_bytes()).unwrap_or_default()
}
