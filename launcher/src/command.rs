//! What to execute, and doing so: the argument vector, the environment and the directory, from the signed metadata (SPEC §12.2).

use alloc::borrow::{Cow, ToOwned};
use alloc::ffi::CString;
use alloc::vec::Vec;
use core::ffi::CStr;
use core::time::Duration;

use pspf_format::VerifiedPackage;
use pspf_format::template::{Piece, pieces};
use rustix::io::Errno;

use crate::cache::{Cache, current_platform};
use crate::sys::process::execve;
use crate::{Environment, Error, Invocation, PackageFile, path};

/// A program with everything that execve wants.
#[derive(Debug)]
pub struct Command {
    /// The program's path.
    pub program: CString,
    /// Its argument vector.
    pub argv: Vec<Cow<'static, CStr>>,
    /// Its environment.
    pub environment: Environment,
    /// The directory to start in; the caller's where there is none.
    pub cwd: Option<CString>,
}

impl Command {
    /// The application's. All arguments but the first that the package was called with go to it untouched.
    ///
    /// # Errors
    /// What is wrong with a template, or with what it names.
    pub fn of_application(
        file: &PackageFile,
        package: &VerifiedPackage,
        invocation: &Invocation,
        places: &impl Places,
    ) -> Result<Self, Error> {
        let expand = |template: &str| expand(file, template, places);
        let (run, called) = (&package.metadata().pspf.run, &invocation.argv);
        let mut argv: Vec<Cow<'static, CStr>> = Vec::with_capacity(run.command.len() + called.len());
        for argument in &run.command {
            argv.push(Cow::Owned(expand(argument)?));
        }
        let program = argv.first().map(|program| CString::from(program.as_ref())).unwrap_or_default();
        if let (Some(name), Some(first)) = (&run.argv0, argv.first_mut()) {
            *first = Cow::Owned(c_string(name.as_bytes())?);
        }
        argv.extend(called.iter().skip(1).cloned());
        let mut environment = invocation.environment.clone();
        environment.apply(&run.env, expand)?;
        environment.remove("PSPF_SELF");
        environment.set("PSPF_PACKAGE", file.path());
        environment.set("PSPF_ARGV0", called.first().map_or(c"", |name| name.as_ref()));
        let cwd = run.cwd.as_ref().map(|cwd| expand(cwd)).transpose()?;
        Ok(Self { program, argv, environment, cwd })
    }

    /// Becomes the program. Returns only where that failed; what is missing below `own` counts as missing in the package.
    pub fn execute(self, own: &[u8]) -> Error {
        if let Some(cwd) = &self.cwd
            && let Err(errno) = rustix::process::chdir(cwd.as_c_str())
        {
            let is_ours = cwd.to_bytes().starts_with(own) && errno == Errno::NOENT;
            return if is_ours {
                Error::EntryMissing { program: cwd.clone() }
            } else {
                Error::io("changing to directory", cwd, errno)
            };
        }
        // A file that another thread of another process holds open for writing for a moment is worth a moment.
        let mut errno = execve(&self.program, &self.argv, self.environment.entries());
        for _ in 0..10 {
            if errno != Errno::TXTBSY {
                break;
            }
            crate::sys::clock::sleep(Duration::from_millis(10));
            errno = execve(&self.program, &self.argv, self.environment.entries());
        }
        failure(self.program, errno)
    }
}

fn failure(program: CString, errno: Errno) -> Error {
    match errno {
        // execve says this of the program, and of the interpreter that a script or a dynamic program names.
        Errno::NOENT if rustix::fs::stat(program.as_c_str()).is_err() => Error::EntryMissing { program },
        Errno::NOENT => Error::InterpreterMissing { program },
        Errno::TOOBIG => Error::io("passing the arguments to", &program, errno),
        Errno::NAMETOOLONG => Error::io("executing", &program, errno),
        _ => Error::NotExecutable { program, source: errno.into() },
    }
}

fn c_string(text: impl Into<Vec<u8>>) -> Result<CString, Error> {
    CString::new(text).map_err(|_| Error::Internal { what: "an argument holds a NUL" })
}

/// What placeholders stand for.
pub trait Places {
    /// The place of a slot.
    ///
    /// # Errors
    /// Where there is none.
    fn slot(&self, id: &str) -> Result<CString, Error>;
    /// The directory of the cache.
    fn cache(&self) -> &CStr;
    /// The work environment.
    #[cfg(feature = "workenv")]
    fn workenv(&self) -> &CStr;
}

/// Replaces the placeholders of a template (SPEC §6.4).
///
/// # Errors
/// As [`Places::slot`].
pub fn expand(file: &PackageFile, template: &str, places: &impl Places) -> Result<CString, Error> {
    let mut text = Vec::new();
    for piece in pieces(template).map_err(|error| file.wrong(error))? {
        match piece {
            Piece::Text(piece) => text.extend_from_slice(piece.as_bytes()),
            Piece::Slot(id) => text.extend_from_slice(places.slot(id.as_str())?.to_bytes()),
            Piece::PackageDir => {
                let directory = path::split(file.path()).map_or(b"/".as_slice(), |(directory, _)| directory);
                text.extend_from_slice(directory);
            }
            Piece::Cache => text.extend_from_slice(places.cache().to_bytes()),
            #[cfg(feature = "workenv")]
            Piece::WorkEnv => text.extend_from_slice(places.workenv().to_bytes()),
        }
    }
    c_string(text)
}

/// The slots of a package in a cache.
#[derive(Clone, Copy, Debug)]
pub struct CachedSlots<'a> {
    /// The package.
    pub package: &'a VerifiedPackage,
    /// Where they are extracted.
    pub cache: &'a Cache,
}

impl Places for CachedSlots<'_> {
    fn slot(&self, id: &str) -> Result<CString, Error> {
        let slot = self.package.slot(id).ok_or_else(|| Error::UnknownSlot { slot: id.to_owned() })?;
        match &slot.metadata.platform {
            Some(platform) if Some(platform) != current_platform().as_ref() => {
                Err(Error::ForeignSlot { slot: id.to_owned() })
            }
            _ => Ok(self.cache.slot_path(slot)),
        }
    }

    fn cache(&self) -> &CStr {
        self.cache.path()
    }

    /// Packages that name it are started by another crate.
    #[cfg(feature = "workenv")]
    fn workenv(&self) -> &CStr {
        c"/"
    }
}
