//! What to execute: the argument vector, the environment and the directory, from the signed metadata (SPEC §12.2).

use alloc::borrow::{Cow, ToOwned};
use alloc::ffi::CString;
use alloc::vec::Vec;
use core::ffi::CStr;

use pspf_format::VerifiedPackage;
use pspf_format::template::{Piece, pieces};

use crate::cache::{Cache, current_platform};
use crate::{Environment, Error, PackageFile, path};

/// A program with everything that execve wants.
#[derive(Debug)]
pub(crate) struct Command {
    pub(crate) program: CString,
    pub(crate) argv: Vec<Cow<'static, CStr>>,
    pub(crate) environment: Environment,
    pub(crate) cwd: Option<CString>,
}

impl Command {
    /// `called` is the caller's argument vector; all but its first go to the application untouched.
    pub(crate) fn new(
        file: &PackageFile,
        package: &VerifiedPackage,
        cache: &Cache,
        called: &[Cow<'static, CStr>],
        environment: &Environment,
    ) -> Result<Self, Error> {
        let places = Places { file, package, cache };
        let run = &package.metadata().pspf.run;
        let mut argv: Vec<Cow<'static, CStr>> = Vec::with_capacity(run.command.len() + called.len());
        for argument in &run.command {
            argv.push(Cow::Owned(places.expand(argument)?));
        }
        let program = argv.first().map(|program| CString::from(program.as_ref())).unwrap_or_default();
        if let (Some(name), Some(first)) = (&run.argv0, argv.first_mut()) {
            *first = Cow::Owned(c_string(name.as_bytes())?);
        }
        argv.extend(called.iter().skip(1).cloned());
        let mut environment = environment.clone();
        environment.apply(&run.env, |value| places.expand(value))?;
        environment.remove("PSPF_SELF");
        environment.set("PSPF_PACKAGE", file.path());
        environment.set("PSPF_ARGV0", called.first().map_or(c"", |name| name.as_ref()));
        let cwd = run.cwd.as_ref().map(|cwd| places.expand(cwd)).transpose()?;
        Ok(Self { program, argv, environment, cwd })
    }
}

fn c_string(text: impl Into<Vec<u8>>) -> Result<CString, Error> {
    CString::new(text).map_err(|_| Error::Internal { what: "an argument holds a NUL" })
}

/// What the placeholders stand for.
struct Places<'a> {
    file: &'a PackageFile,
    package: &'a VerifiedPackage,
    cache: &'a Cache,
}

impl Places<'_> {
    fn expand(&self, template: &str) -> Result<CString, Error> {
        let mut text = Vec::new();
        for piece in pieces(template).map_err(|error| self.file.wrong(error))? {
            match piece {
                Piece::Text(piece) => text.extend_from_slice(piece.as_bytes()),
                Piece::Slot(id) => text.extend_from_slice(self.slot(id.as_str())?.to_bytes()),
                Piece::PackageDir => {
                    let directory = path::split(self.file.path()).map_or(b"/".as_slice(), |(directory, _)| directory);
                    text.extend_from_slice(directory);
                }
                Piece::Cache => text.extend_from_slice(self.cache.path().to_bytes()),
            }
        }
        c_string(text)
    }

    fn slot(&self, id: &str) -> Result<CString, Error> {
        let slot = self.package.slot(id).ok_or_else(|| Error::UnknownSlot { slot: id.to_owned() })?;
        match &slot.metadata.platform {
            Some(platform) if Some(platform) != current_platform().as_ref() => {
                Err(Error::ForeignSlot { slot: id.to_owned() })
            }
            _ => Ok(self.cache.slot_path(slot)),
        }
    }
}
