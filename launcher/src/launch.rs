//! The whole story of a start, in the order that SPEC §12 gives.

use alloc::borrow::Cow;
use alloc::boxed::Box;
use alloc::ffi::CString;
use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use core::convert::Infallible;
use core::ffi::CStr;

use pspf_format::VerifiedPackage;

use crate::cache::{Access, Cache, Candidate, Staging, candidates, needed};
use crate::command::{CachedSlots, Command};
use crate::supervise::supervise;
use crate::{Environment, Error, PackageFile, path};

/// How the package was called.
#[derive(Clone, Debug)]
pub struct Invocation {
    /// The argument vector, from the name it was called by.
    pub argv: Vec<Cow<'static, CStr>>,
    /// The caller's environment.
    pub environment: Environment,
}

/// Starts a package: verifies the seal, finds or fills a cache, and becomes the application.
///
/// # Errors
/// Everything that keeps the application from starting; nothing of it has run then.
pub fn launch(file: &PackageFile, invocation: &Invocation) -> Result<Infallible, Error> {
    run_package(file, &*verified(file)?, invocation)
}

/// Apart from what follows, whose frames are deep enough.
#[inline(never)]
fn verified(file: &PackageFile) -> Result<Box<VerifiedPackage>, Error> {
    let sealed = file.unverified()?.verify().map_err(|error| file.wrong(error))?;
    file.opened(sealed).map(Box::new)
}

/// Starts a package that was verified already.
///
/// # Errors
/// As [`launch`].
pub fn run_package(
    file: &PackageFile,
    package: &VerifiedPackage,
    invocation: &Invocation,
) -> Result<Infallible, Error> {
    let environment = &invocation.environment;
    for cache in candidates(environment).filter_map(|candidate| Cache::existing(&candidate)) {
        if cache.is_warm(package) {
            let error = start(file, package, &cache, invocation);
            match error {
                // Something took the program away behind the receipt's back: look closely, once.
                Error::EntryMissing { .. } => cache.doubt(&needed(package)),
                // Mounted otherwise than when it was filled: another place may do.
                Error::NotExecutable { .. } if !cache.allows_programs() => {}
                error => return Err(error),
            }
        }
    }
    match prepare(environment, file, package)? {
        Place::Kept(cache) => {
            let error = start(file, package, &cache, invocation);
            if !matches!(error, Error::EntryMissing { .. }) {
                return Err(error);
            }
            cache.doubt(&needed(package));
            cache.make_ready(file, package)?;
            Err(start(file, package, &cache, invocation))
        }
        Place::Private(cache, directory) => {
            let run = || start(file, package, &cache, invocation);
            supervise(run, || drop(directory))
        }
    }
}

/// Where the slots are.
enum Place {
    Kept(Cache),
    /// In a directory of this process alone, removed when the application ends.
    Private(Cache, Staging),
}

/// Makes the slots ready in the first candidate that can hold them.
#[inline(never)]
fn prepare(environment: &Environment, file: &PackageFile, package: &VerifiedPackage) -> Result<Place, Error> {
    let is_named = candidates(environment).next().is_some_and(|candidate| candidate.explicit);
    match Cache::in_first_place(environment, Access::Private, |cache| cache.make_ready(file, package)) {
        Ok((cache, ())) => Ok(Place::Kept(cache)),
        Err(Error::NoCache { tried }) if !is_named => private(file, package, tried),
        Err(error) => Err(error),
    }
}

/// The last resort: a directory beside the last candidate that nobody else can have prepared.
fn private(file: &PackageFile, package: &VerifiedPackage, mut tried: Vec<(CString, String)>) -> Result<Place, Error> {
    let Some((base, _)) = tried.last().and_then(|(path, _)| path::split(path)) else {
        return Err(Error::NoCache { tried });
    };
    let base = path::concat(&[base]);
    let made = || {
        let directory = Staging::private(&base).map_err(|error| (base.clone(), error))?;
        let candidate = Candidate { path: path::join(&base, directory.name().to_bytes()), explicit: true };
        let cache = Cache::writable(&candidate, Access::Private);
        match cache.and_then(|cache| cache.make_ready(file, package).map(|()| cache)) {
            Ok(cache) => Ok((cache, directory)),
            Err(error) => Err((candidate.path, error)),
        }
    };
    match made() {
        Ok((cache, directory)) => {
            let (path, reason) = tried.last().cloned().unwrap_or_default();
            let path = path::shown(&path);
            crate::error::warn(&format!("{path}: {reason}; unpacking for this run alone"));
            Ok(Place::Private(cache, directory))
        }
        Err((place, error)) if error.is_of_the_place(&place) => {
            tried.push((place, error.to_string()));
            Err(Error::NoCache { tried })
        }
        Err((_, error)) => Err(error),
    }
}

/// Becomes the application. Returns only where that failed.
fn start(file: &PackageFile, package: &VerifiedPackage, cache: &Cache, invocation: &Invocation) -> Error {
    match Command::of_application(file, package, invocation, &CachedSlots { package, cache }) {
        Ok(command) => command.execute(cache.path().to_bytes()),
        Err(error) => error,
    }
}
