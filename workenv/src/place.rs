//! The place for a work environment: the first cache that can hold it.

use std::cell::RefCell;
use std::ffi::{CString, OsStr};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use pspf_launcher::cache::{Access, Cache};
use pspf_launcher::{Environment, Error as LauncherError};
use rustix::io::Errno;

use crate::Error;

/// Does `work` in the first cache that can be used and has room for what it makes. An error of its own is a matter of
/// the package, whatever the place; one of this crate may be of the place, and then another one is tried.
///
/// # Errors
/// Where there is none; what `work` reports and no other place would change.
pub fn in_first_place<T, E: From<Error>>(
    caller: &Environment,
    work: impl Fn(&Cache, &Path) -> Result<Result<T, Error>, E>,
) -> Result<(Cache, T), E> {
    let failed = RefCell::new(None);
    let fail = |error: E| {
        failed.replace(Some(error));
        Ok(None)
    };
    let found = Cache::in_first_place(caller, Access::Private, |cache| {
        let root = Path::new(OsStr::from_bytes(cache.path().to_bytes()));
        match work(cache, root) {
            Ok(Ok(done)) => Ok(Some(done)),
            Ok(Err(Error::Io { action, path, source })) if path.starts_with(root) && is_of_the_place(&source) => {
                let path = CString::new(path.as_os_str().as_bytes()).unwrap_or_default();
                let errno = source.raw_os_error().map_or(Errno::IO, Errno::from_raw_os_error);
                Err(LauncherError::io(action, &path, errno))
            }
            Ok(Err(Error::Launcher(error))) => Err(error),
            Ok(Err(error)) => fail(error.into()),
            Err(error) => fail(error),
        }
    });
    let (cache, done) = found.map_err(|error| E::from(error.into()))?;
    match (done, failed.take()) {
        (Some(done), _) => Ok((cache, done)),
        (None, Some(error)) => Err(error),
        (None, None) => Err(E::from(LauncherError::Internal { what: "no work environment was made" }.into())),
    }
}

fn is_of_the_place(error: &std::io::Error) -> bool {
    let kinds = [Errno::NOSPC, Errno::DQUOT, Errno::ROFS, Errno::ACCESS, Errno::PERM, Errno::IO];
    error.raw_os_error().is_some_and(|number| kinds.contains(&Errno::from_raw_os_error(number)))
}
