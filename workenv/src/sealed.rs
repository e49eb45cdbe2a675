//! Starts a sealed package that has a work environment (SPEC §6.8, §12).

use std::convert::Infallible;
use std::ffi::{CStr, OsStr};
use std::fs::File;
use std::io::{Read, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};

use pspf_format::{EnvRules, Lifecycle, Moment, TextMap, VerifiedPackage};
use pspf_launcher::cache::{Cache, needed};
use pspf_launcher::sys::process::exit_now;
use pspf_launcher::sys::stdio;
use pspf_launcher::{
    CachedSlots, Command as Application, Environment, Error as LauncherError, Invocation, PackageFile, Places, expand,
    supervise,
};
use tempfile::TempDir;

use crate::command::Command;
use crate::error::Purpose;
use crate::folder::{Folder, SETUP, Workenv, remove_tree, setup_value};
use crate::slots::{self, SlotPlaces, c_path, path};
use crate::{Error, in_first_place, ready};

/// What is made once.
const ONCE: [Lifecycle; 3] = [Lifecycle::Config, Lifecycle::Cache, Lifecycle::Init];

/// Starts a package that was verified already, with a work environment or without.
///
/// # Errors
/// Everything that keeps the application from starting; nothing but setup commands has run then.
pub fn run_package(
    file: &PackageFile,
    package: &VerifiedPackage,
    invocation: &Invocation,
) -> Result<Infallible, Error> {
    if !package.metadata().pspf.has_workenv() {
        return Ok(pspf_launcher::run_package(file, package, invocation)?);
    }
    let start = Start { file, package, caller: &invocation.environment };
    let (mut cache, mut workenv) = start.place()?;
    if !start.has_program(&cache, &workenv.path)? {
        // Something took it away behind the records' back: look closely, once.
        cache.doubt(&needed(package));
        (cache, workenv) = start.place()?;
    }
    start.refresh(&cache, &workenv.path)?;
    if !package.metadata().pspf.has_end() {
        let places = start.places(&cache, &workenv.path, None);
        return Err(start.become_application(invocation, &places));
    }
    start.supervised(invocation, &cache, &workenv.path)
}

/// One start of a package.
#[derive(Clone, Copy)]
struct Start<'a> {
    file: &'a PackageFile,
    package: &'a VerifiedPackage,
    caller: &'a Environment,
}

impl<'a> Start<'a> {
    /// The cache that has the slots and the work environment, and the latter.
    fn place(self) -> Result<(Cache, Workenv), Error> {
        in_first_place(self.caller, |cache, root| Ok(self.ready_in(cache, root)))
    }

    fn ready_in(self, cache: &Cache, root: &Path) -> Result<Workenv, Error> {
        if !cache.is_warm(self.package) {
            cache.make_ready(self.file, self.package)?;
        }
        ready(root, self.package.package_id(), self.caller, |workenv, locks| {
            slots::fill(self.file, self.package, workenv, &ONCE)?;
            locks.share(|| self.set_up(cache, workenv))?;
            slots::remove(self.package, workenv, &[Lifecycle::Init])
        })
    }

    fn set_up(self, cache: &Cache, workenv: &Path) -> Result<(), Error> {
        let places = self.places(cache, workenv, None);
        self.package.metadata().pspf.run.setup.iter().try_for_each(|command| {
            let mut environment = self.environment(&places, Moment::Setup)?;
            environment.set(SETUP, &c_path(Path::new(OsStr::from_bytes(&setup_value(self.caller, workenv)))));
            self.command(Purpose::Setup, command, &places, environment)?.run()
        })
    }

    /// Whether the program is there, as far as it is in a slot that nothing changes.
    fn has_program(self, cache: &Cache, workenv: &Path) -> Result<bool, Error> {
        let template = self.package.metadata().pspf.run.command.first().map_or("", String::as_str);
        // A place of this start alone is not there yet, whatever it will be.
        let program = expand(self.file, template, &self.places(cache, workenv, Some(workenv)))?;
        let program = path(&program);
        Ok(!program.starts_with(path(cache.path()).join("slots")) || program.exists())
    }

    /// Makes what a start finds in the work environment: what is missing of `cache`, and `startup` anew.
    fn refresh(self, cache: &Cache, workenv: &Path) -> Result<(), Error> {
        let has_startup = slots::has(self.package, &[Lifecycle::Startup]);
        if !has_startup && !slots::lacks(self.package, workenv, &[Lifecycle::Cache]) {
            return Ok(());
        }
        // One after the other: two that start at once would remove each other's.
        let folder = Folder::new(path(cache.path()), self.package.package_id());
        let turn = folder.turn()?;
        if turn.is_some() {
            folder.reclaim();
        }
        slots::refresh(self.file, self.package, &folder, workenv)
    }

    /// Starts the application as a child, and does what is left to do when it has ended.
    fn supervised(self, invocation: &Invocation, cache: &Cache, workenv: &Path) -> Result<Infallible, Error> {
        let folder = Folder::new(path(cache.path()), self.package.package_id());
        // What starts left that were killed.
        if let Some(_turn) = folder.turn_now() {
            folder.reclaim();
        }
        let own = Own::new(&folder)?;
        slots::fill(self.file, self.package, own.path(), &[Lifecycle::Temporary])?;
        let places = self.places(cache, workenv, Some(own.path()));
        // Says that the application did not start, so that nothing follows it.
        let (failed, mut told) = UnixStream::pair().map_err(Error::io("a channel beside", own.path()))?;
        told.set_nonblocking(true).map_err(Error::io("a channel beside", own.path()))?;
        let start = || {
            let error = self.become_application(invocation, &places);
            let _ = (&failed).write_all(b"x");
            match error {
                Error::Launcher(error) => error,
                error => {
                    let hint = error.hint().map(|hint| format!("  hint: {hint}\n")).unwrap_or_default();
                    stdio::tell(&format!("pspf: error[{}]: {error}\n{hint}", error.class()));
                    exit_now(i32::from(error.class().exit_code()))
                }
            }
        };
        let end = || {
            if told.read(&mut [0]).is_err() {
                self.shut_down(&places, own.path());
            }
            drop(own);
        };
        Ok(supervise(start, end)?)
    }

    /// Every command is given, whatever became of the one before it; how the application ended stays what counts.
    fn shut_down(self, places: &SlotPlaces<'_>, own: &Path) {
        let told = |error: Error| stdio::tell(&format!("pspf: warning: {error}\n"));
        if let Err(error) = slots::fill(self.file, self.package, own, &[Lifecycle::Shutdown]) {
            told(error);
        }
        for command in &self.package.metadata().pspf.run.shutdown {
            let environment = self.environment(places, Moment::End);
            let command = environment.and_then(|given| self.command(Purpose::Shutdown, command, places, given));
            if let Err(error) = command.and_then(Command::run) {
                told(error);
            }
        }
    }

    fn places(self, cache: &'a Cache, workenv: &Path, own: Option<&Path>) -> SlotPlaces<'a> {
        let cached = CachedSlots { package: self.package, cache };
        SlotPlaces { cached, workenv: c_path(workenv), own: own.map(c_path) }
    }

    /// Returns only where that failed.
    fn become_application(self, invocation: &Invocation, places: &SlotPlaces<'_>) -> Error {
        let application = Application::of_application(self.file, self.package, invocation, places);
        let error = application.map(|mut application| {
            places.tell(&mut application.environment);
            application.execute(places.cache().to_bytes())
        });
        match error.unwrap_or_else(|error| error) {
            LauncherError::EntryMissing { program } if path(&program).starts_with(path(&places.workenv)) => {
                Error::Gone { path: path(&program).to_owned() }
            }
            error => error.into(),
        }
    }

    /// The environment of a command at this moment: as the application's, but for variables that name a slot which is
    /// not there.
    fn environment(self, places: &SlotPlaces<'_>, moment: Moment) -> Result<Environment, Error> {
        let rules = &self.package.metadata().pspf.run.env;
        let mut set = TextMap::default();
        for (name, template) in rules.set.iter().filter(|(_, template)| self.is_there(template, moment)) {
            set.insert(name.clone(), template.clone());
        }
        let rules = EnvRules { set, ..rules.clone() };
        let mut environment = self.caller.clone();
        environment.apply(&rules, |template| expand(self.file, template, places))?;
        for name in ["PSPF_SELF", "PSPF_ARGV0"] {
            environment.remove(name);
        }
        environment.set("PSPF_PACKAGE", self.file.path());
        places.tell(&mut environment);
        Ok(environment)
    }

    fn is_there(self, template: &str, moment: Moment) -> bool {
        let ids = pspf_format::template::slots_named(template).unwrap_or_default();
        ids.iter().all(|id| {
            let slot = self.package.slot(id.as_str());
            slot.is_none_or(|slot| slot.metadata.lifecycle.absence(moment).is_none())
        })
    }

    fn command(
        self,
        purpose: Purpose,
        command: &[String],
        places: &SlotPlaces<'_>,
        environment: Environment,
    ) -> Result<Command, Error> {
        let mut words = Vec::new();
        for template in command {
            words.push(os(&expand(self.file, template, places)?).to_owned());
        }
        let program = if words.is_empty() { PathBuf::new() } else { words.remove(0).into() };
        let directory = path(&places.workenv).to_owned();
        Ok(Command { purpose, shown: command.join(" "), program, arguments: words, environment, directory })
    }
}

fn os(text: &CStr) -> &OsStr {
    OsStr::from_bytes(text.to_bytes())
}

/// A directory of this start alone, which is removed at its end.
struct Own {
    directory: TempDir,
    /// Tells others that it is in use.
    _lock: File,
}

impl Own {
    fn new(folder: &Folder) -> Result<Self, Error> {
        let (directory, lock) = folder.new_directory()?;
        Ok(Self { directory, _lock: lock })
    }

    fn path(&self) -> &Path {
        self.directory.path()
    }
}

impl Drop for Own {
    fn drop(&mut self) {
        // Also what has no permission to be removed by others.
        remove_tree(self.path());
    }
}
