//! What to execute: the argument vector, the environment and the directory, from the signed metadata (SPEC §12.2).

use std::ffi::{CString, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

use pspf_format::VerifiedPackage;
use pspf_format::template::{Piece, pieces};

use crate::cache::{Cache, current_platform};
use crate::{Environment, Error, PackageFile};

/// A program with everything that execve wants.
#[derive(Debug)]
pub(crate) struct Command {
    pub(crate) program: PathBuf,
    pub(crate) argv: Vec<CString>,
    pub(crate) environment: Environment,
    pub(crate) cwd: Option<PathBuf>,
}

impl Command {
    /// `called` is the caller's argument vector; all but its first go to the application untouched.
    pub(crate) fn new(
        file: &PackageFile,
        package: &VerifiedPackage,
        cache: &Cache,
        called: &[CString],
        environment: &Environment,
    ) -> Result<Self, Error> {
        let places = Places { file, package, cache };
        let run = &package.metadata().pspf.run;
        let command = run.command.iter().map(|arg| places.expand(arg)).collect::<Result<Vec<_>, _>>()?;
        let mut arguments = command.into_iter();
        let program = PathBuf::from(arguments.next().unwrap_or_default());
        let first = run.argv0.as_ref().map_or_else(|| program.clone().into_os_string(), OsString::from);
        let argv = std::iter::once(c_string(first)).chain(arguments.map(c_string)).collect::<Result<Vec<_>, _>>()?;
        let mut environment = environment.clone();
        environment.apply(&run.env, |value| places.expand(value))?;
        environment.remove("PSPF_SELF");
        environment.set("PSPF_PACKAGE", file.path().into());
        let name = called.first().map(|name| OsString::from_vec(name.as_bytes().to_vec()));
        environment.set("PSPF_ARGV0", name.unwrap_or_default());
        Ok(Self {
            program,
            argv: argv.into_iter().chain(called.iter().skip(1).cloned()).collect(),
            environment,
            cwd: run.cwd.as_ref().map(|cwd| places.expand(cwd)).transpose()?.map(PathBuf::from),
        })
    }
}

pub(crate) fn c_string(text: OsString) -> Result<CString, Error> {
    CString::new(text.into_vec()).map_err(|_| Error::Internal { what: "an argument holds a NUL" })
}

/// What the placeholders stand for.
struct Places<'a> {
    file: &'a PackageFile,
    package: &'a VerifiedPackage,
    cache: &'a Cache,
}

impl Places<'_> {
    fn expand(&self, template: &str) -> Result<OsString, Error> {
        let mut text = Vec::new();
        for piece in pieces(template).map_err(|error| self.file.wrong(error))? {
            match piece {
                Piece::Text(piece) => text.extend(piece.as_bytes()),
                Piece::Slot(id) => text.extend(self.slot(id.as_str())?.as_os_str().as_bytes()),
                Piece::PackageDir => {
                    let directory = self.file.path().parent().unwrap_or(Path::new("/"));
                    text.extend(directory.as_os_str().as_bytes());
                }
                Piece::Cache => text.extend(self.cache.path().as_os_str().as_bytes()),
            }
        }
        Ok(OsString::from_vec(text))
    }

    fn slot(&self, id: &str) -> Result<PathBuf, Error> {
        let slot = self.package.slot(id).ok_or_else(|| Error::UnknownSlot { slot: id.to_owned() })?;
        match &slot.metadata.platform {
            Some(platform) if Some(platform) != current_platform().as_ref() => {
                Err(Error::ForeignSlot { slot: id.to_owned() })
            }
            _ => Ok(self.cache.slot_path(slot)),
        }
    }
}
