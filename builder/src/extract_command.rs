//! `pspf extract`: slots as ordinary files and directories.

use std::ffi::CStr;
use std::io::Write;
use std::path::{Path, PathBuf};

use anyhow::Context;
use clap::Args;
use pspf_format::{Error as FormatError, Slot};
use pspf_launcher::{Error, PackageFile, Progress, Thorough, check, extract_to};

use crate::extract_unsealed;
use crate::failure::{At, Failure, shown};
use crate::interrupt;
use crate::paths::{c_path, path};

/// Extract slots as ordinary files and directories
///
/// The package is checked as a whole first. Each slot goes to DIR/TARGET, which must not exist; a slot is extracted
/// whole or not at all. Slots of a package without a seal, which other tools make, go to DIR/ID; they are held to
/// what the package's own key signed.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  pspf extract tool.psp -C out          every slot
  pspf extract tool.psp python -C out   one slot")]
pub(crate) struct ExtractArgs {
    /// The package
    pub(crate) file: PathBuf,
    /// Id of the slot; all slots without it
    pub(crate) slot: Option<String>,
    /// Directory to extract into; made where it is missing
    #[arg(short = 'C', long = "directory", value_name = "DIR")]
    pub(crate) directory: PathBuf,
    /// Extract from packages without a seal too, of which the signature covers only a part
    #[arg(long)]
    pub(crate) allow_unsealed: bool,
}

/// Prints the path of each extracted slot.
pub(crate) fn run(args: &ExtractArgs, out: &mut dyn Write) -> anyhow::Result<()> {
    let file = PackageFile::open(&c_path(&args.file))?;
    let unverified = match file.unverified() {
        Err(Error::Package { source: FormatError::NoSeal, .. }) if args.allow_unsealed => {
            return extract_unsealed::run(&file, args, out);
        }
        unverified => unverified?,
    };
    let sealed = unverified.verify_all().map_err(|error| file.wrong(error))?;
    let package = file.opened(sealed)?;
    check(&file, &package, Thorough::default())?;
    let slots: Vec<_> = match &args.slot {
        Some(id) => vec![package.slot(id).ok_or_else(|| Error::UnknownSlot { slot: id.clone() })?],
        None => package.slots().collect(),
    };
    hold_apart(&slots, &args.directory)?;
    interrupt::prepare().context("preparing to be interrupted")?;
    if !args.directory.is_dir() {
        std::fs::create_dir_all(&args.directory).at("creating", &args.directory)?;
    }
    let total = slots.iter().map(|slot| slot.metadata.expanded_size).sum();
    let progress = Progress::to_terminal(package.metadata().package.name.as_str(), total);
    for slot in slots {
        let mut staging = PathBuf::new();
        let mut announced = Ok(());
        let announce = |work: &CStr| {
            staging = path(work).to_owned();
            announced = interrupt::announce(&staging);
        };
        let extracted = extract_to(&file, slot, &c_path(&args.directory), announce, &progress);
        interrupt::conclude(&staging, || ());
        announced.context("waiting for signals")?;
        writeln!(out, "{}: {}", slot.metadata.id, shown(path(&extracted?)))?;
    }
    Ok(())
}

/// Fails before anything is written where a target is there already, or two slots have the same.
fn hold_apart(slots: &[Slot<'_>], directory: &Path) -> anyhow::Result<()> {
    for (position, slot) in slots.iter().enumerate() {
        let target = slot.metadata.target.as_str();
        let path = directory.join(target);
        if path.symlink_metadata().is_ok() {
            return Err(Error::Exists { path: c_path(&path) }.into());
        }
        let same = |other: &&Slot<'_>| other.metadata.target.as_str() == target;
        if let Some(other) = slots.iter().take(position).find(same) {
            let (one, two) = (&other.metadata.id, &slot.metadata.id);
            return Failure::usage(format!("slots `{one}` and `{two}` would both be {}", shown(&path)))
                .hint("extract them one by one, into different directories")
                .err();
        }
    }
    Ok(())
}
