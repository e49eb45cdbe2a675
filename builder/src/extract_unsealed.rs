//! `pspf extract` of packages without a seal: each slot to a directory that is named after it.

use std::fs::Permissions;
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;

use anyhow::Context;
use pspf_format::{FileName, UnsealedSlot};
use pspf_launcher::{Error, PackageFile};
use pspf_unsealed::{Opened, unpack_slot};

use crate::extract_command::ExtractArgs;
use crate::failure::{At, Failure, shown};
use crate::interrupt;
use crate::paths::c_path;

/// Prints the path of each extracted slot.
pub(crate) fn run(file: &PackageFile, args: &ExtractArgs, out: &mut dyn Write) -> anyhow::Result<()> {
    let opened = Opened::open(file)?;
    opened.check(file)?;
    let all = &opened.package().slots;
    let slots: Vec<&UnsealedSlot> = match &args.slot {
        Some(id) => {
            vec![all.iter().find(|slot| slot.id == *id).ok_or_else(|| Error::UnknownSlot { slot: id.clone() })?]
        }
        None => all.iter().collect(),
    };
    let mut paths: Vec<PathBuf> = Vec::new();
    for slot in &slots {
        let name = FileName::try_from(slot.id.as_str()).map_err(|error| file.wrong(error))?;
        let path = args.directory.join(name.as_str());
        if path.symlink_metadata().is_ok() {
            return Err(Error::Exists { path: c_path(&path) }.into());
        }
        if paths.contains(&path) {
            return Failure::usage(format!("two slots would both be {}", shown(&path))).err();
        }
        paths.push(path);
    }
    interrupt::prepare().context("preparing to be interrupted")?;
    if !args.directory.is_dir() {
        std::fs::create_dir_all(&args.directory).at("creating", &args.directory)?;
    }
    for (slot, path) in slots.iter().zip(&paths) {
        let make = || {
            tempfile::Builder::new()
                .prefix(".tmp-")
                .permissions(Permissions::from_mode(0o700))
                .tempdir_in(&args.directory)
        };
        let staging = interrupt::create(make, |staging| staging.path().to_owned());
        let staging = staging.at("creating a directory in", &args.directory)?;
        let work = staging.path().to_owned();
        unpack_slot(file, slot, &work)?;
        std::fs::set_permissions(&work, Permissions::from_mode(0o755)).at("setting the mode of", path)?;
        interrupt::conclude(&work, || {
            // An empty directory that came meanwhile is no loss; over anything else this fails.
            std::fs::rename(&work, path).map(|()| staging.keep())
        })
        .at("renaming to", path)?;
        writeln!(out, "{}: {}", slot.id.escape_debug(), shown(path))?;
    }
    Ok(())
}
