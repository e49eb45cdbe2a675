//! Tries kept setup commands as the new package will run them, and holds what they make to what the old one makes.

use std::collections::BTreeMap;
use std::ffi::{CString, OsString};
use std::fs::{self, Permissions};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use pspf_format::template::{Piece, pieces};
use pspf_format::{EnvRules, UnsealedMetadata, UnsealedSlot};
use pspf_launcher::{Environment, PackageFile};
use pspf_workenv::{Command, Error as WorkenvError, Purpose, SETUP};

use crate::failure::{At, shown};
use crate::kept_setup::refuse;
use crate::manifest::EnvTable;
use crate::paths::c_path;
use crate::reference_package::SLOT;
use crate::setup_files::{Entry, read};

/// Where the old package is set up once more. As long as the path of the trial, `next/app`: what counts the characters
/// of its place, as installers do for the first line of a script, does the same in both.
const ORIGINAL: &str = "original";
const NEXT: &str = "next";

/// Everything that a trial needs.
#[derive(Debug)]
pub(crate) struct Trial<'a> {
    pub(crate) metadata: &'a UnsealedMetadata,
    pub(crate) slots: &'a [UnsealedSlot],
    pub(crate) files: &'a [&'a PackageFile],
    /// The tree that will be packed.
    pub(crate) tree: &'a Path,
    /// The commands that will be.
    pub(crate) commands: &'a [Vec<String>],
    pub(crate) env: &'a EnvTable,
}

impl Trial<'_> {
    /// Refuses commands that fail or make something else. Both trees are made in `workplace`.
    pub(crate) fn hold(&self, workplace: &Path) -> anyhow::Result<()> {
        let workenv = workplace.join(NEXT);
        let trial = workenv.join(SLOT);
        fs::create_dir(&workenv).at("creating", &workenv)?;
        copy(self.tree, &trial)?;
        for command in self.commands {
            if let Err(error) = self.command(command, &workenv, &trial)?.run() {
                return match error {
                    WorkenvError::Command { .. } => refuse(&format!("tried as the new package does it, {error}")),
                    other => Err(other.into()),
                };
            }
        }
        let original = workplace.join(ORIGINAL);
        fs::create_dir(&original).at("creating", &original)?;
        pspf_unsealed::set_up(self.metadata, self.slots, self.files, &original, &Environment::of_process())?;
        match difference(&self.files_of(&original)?, &self.files_of(&trial)?) {
            Some(found) => refuse(&format!("tried as the new package does it, it {found}")),
            None => Ok(()),
        }
    }

    /// A command of the new package, as its launcher runs it.
    fn command(&self, command: &[String], workenv: &Path, trial: &Path) -> anyhow::Result<Command> {
        let mut words = Vec::new();
        for template in command {
            words.push(OsString::from_vec(expand(template, trial)?));
        }
        let program = if words.is_empty() { PathBuf::new() } else { words.remove(0).into() };
        let mut environment = Environment::of_process();
        let EnvTable { unset, pass, map, set } = self.env;
        let rules = EnvRules {
            unset: unset.clone(),
            pass: pass.clone(),
            map: map.clone().into_iter().collect(),
            set: set.clone().into_iter().collect(),
        };
        environment.apply(&rules, |template| match CString::new(expand(template, trial)?) {
            Ok(value) => Ok(value),
            Err(_) => refuse("a variable holds a NUL"),
        })?;
        environment.remove("PSPF_SELF");
        environment.set(SETUP, &c_path(workenv));
        environment.set("PSPF_WORKENV", &c_path(workenv));
        // There is none yet, and a setup that starts its own package is refused anyway.
        environment.set("PSPF_PACKAGE", &c_path(&workenv.with_extension("psp")));
        let (shown, directory) = (command.join(" "), workenv.to_owned());
        Ok(Command { purpose: Purpose::Setup, shown, program, arguments: words, environment, directory })
    }

    /// What a setup has left, without that which only the old package removes after it.
    fn files_of(&self, tree: &Path) -> anyhow::Result<BTreeMap<PathBuf, Entry>> {
        let init = self.slots.iter().filter(|slot| slot.is_init());
        let removed: Vec<&Path> =
            init.filter_map(|slot| slot.target.as_ref()).map(|path| Path::new(path.as_str())).collect();
        read(tree, &removed)
    }
}

/// The first path that is not the same in both.
fn difference(original: &BTreeMap<PathBuf, Entry>, trial: &BTreeMap<PathBuf, Entry>) -> Option<String> {
    let is_other = |path: &&PathBuf| original.get(*path) != trial.get(*path);
    let first = original.keys().chain(trial.keys()).filter(is_other).min()?;
    let how = match (original.contains_key(first), trial.contains_key(first)) {
        (true, false) => "does not make",
        (false, _) => "leaves what should not be there,",
        _ => "makes something else of",
    };
    Some(format!("{how} {}", shown(first)))
}

/// Replaces the place of the only slot: no other placeholder is ever written.
fn expand(template: &str, tree: &Path) -> anyhow::Result<Vec<u8>> {
    let mut text = Vec::new();
    for piece in pieces(template)? {
        text.extend_from_slice(match piece {
            Piece::Text(piece) => piece.as_bytes(),
            _ => tree.as_os_str().as_bytes(),
        });
    }
    Ok(text)
}

/// Copies a tree with the modes that a package has. No slot of such a package holds a link.
fn copy(from: &Path, to: &Path) -> anyhow::Result<()> {
    fs::create_dir(to).at("creating", to)?;
    fs::set_permissions(to, Permissions::from_mode(0o755)).at("setting the mode of", to)?;
    for entry in fs::read_dir(from).at("reading", from)? {
        let entry = entry.at("reading", from)?;
        let (from, to) = (entry.path(), to.join(entry.file_name()));
        let found = from.symlink_metadata().at("reading", &from)?;
        if found.is_dir() {
            copy(&from, &to)?;
        } else {
            fs::copy(&from, &to).at("copying", &from)?;
            let mode = crate::tree::mode(&found).bits().into();
            fs::set_permissions(&to, Permissions::from_mode(mode)).at("setting the mode of", &to)?;
        }
    }
    Ok(())
}
