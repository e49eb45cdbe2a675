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

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::Cell;
    use std::os::unix::fs::DirBuilderExt;
    use std::path::PathBuf;

    /// Where work that fails once so was done, and what came of it.
    fn tried(errno: Errno, path: impl Fn(&Path) -> PathBuf) -> (Vec<PathBuf>, Result<(), Error>) {
        let folder = tempfile::tempdir().unwrap();
        let mut caller = Environment::default();
        for name in ["XDG_CACHE_HOME", "HOME", "TMPDIR"] {
            let path = folder.path().join(name);
            // Whatever the umask is, which other tests change.
            std::fs::DirBuilder::new().mode(0o700).create(&path).unwrap();
            caller.set(name, &CString::new(path.as_os_str().as_bytes()).unwrap());
        }
        let (first, places) = (Cell::new(true), RefCell::new(Vec::new()));
        let done = in_first_place(&caller, |_, root| {
            places.borrow_mut().push(root.strip_prefix(folder.path()).unwrap().to_owned());
            let source = std::io::Error::from_raw_os_error(errno.raw_os_error());
            let error = Error::Io { action: "writing", path: path(root), source };
            Ok(if first.replace(false) { Err(error) } else { Ok(()) })
        });
        (places.into_inner(), done.map(drop))
    }

    #[test]
    fn another_place_is_tried_for_what_another_place_could_change() {
        let _alone = crate::testing::alone();
        for errno in [Errno::NOSPC, Errno::DQUOT, Errno::ROFS, Errno::ACCESS, Errno::PERM, Errno::IO] {
            let (places, done) = tried(errno, |root| root.join("env/a"));
            let places: Vec<_> = places.iter().map(|place| place.to_str().unwrap()).collect();
            assert_eq!(places, ["XDG_CACHE_HOME/pspf/v1", "HOME/.cache/pspf/v1"], "{errno}");
            done.unwrap();
        }
        // Neither what is elsewhere nor what the package does is a matter of the place.
        for (errno, path) in [(Errno::NOSPC, "/elsewhere"), (Errno::NOTDIR, "env/a"), (Errno::NAMETOOLONG, "env/a")] {
            let (places, done) = tried(errno, |root| root.join(path));
            assert_eq!(places.len(), 1);
            let found = done.unwrap_err();
            assert!(
                matches!(&found, Error::Io { path: found, .. } if found.ends_with(path.trim_start_matches('/'))),
                "{found}"
            );
        }
    }
}
