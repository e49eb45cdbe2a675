//! `--compat`: what a package must not hold so that readers of the base format alone can run it (SPEC §6.7).

use std::collections::BTreeMap;

use clap::ValueEnum;
use pspf_format::template::{Piece, pieces};
use pspf_format::tree::EntryKind;
use pspf_format::{EnvRules, Lifecycle, SlotId};

use crate::failure::{Failure, shown};
use crate::plan::{Plan, SlotContent, SlotPlan};
use crate::tree::FileStamp;

/// Readers that are to be served beside our own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Compat {
    /// The launchers and tools of PSPF/2025
    Pspf2025,
}

/// Fails for everything that a launcher of PSPF/2025 would not run, or run as something else.
pub(crate) fn hold(plan: &Plan) -> anyhow::Result<()> {
    let mut targets = BTreeMap::new();
    for slot in &plan.slots {
        hold_slot(slot).map_err(|error| error.context(format!("slot `{}`", slot.id)))?;
        // All slots are unpacked into one directory.
        if let Some(other) = targets.insert(slot.target.as_str(), &slot.id) {
            let text = format!("slots `{other}` and `{}` both have the target `{}`", slot.id, slot.target);
            return refuse(text, "give one of them another `target`");
        }
    }
    hold_run(plan)
}

fn hold_slot(slot: &SlotPlan) -> anyhow::Result<()> {
    if slot.operations.stores_index() {
        return refuse(format!("operations `{}` are unknown to it", slot.operations), "leave `operations` out");
    }
    if slot.lifecycle == Lifecycle::Platform {
        return refuse("it would unpack a slot of another platform too", "pack one package for each platform");
    }
    if slot.lifecycle.is_writable() {
        let text = format!("to it lifecycle `{}` means something else", slot.lifecycle.as_str());
        return refuse(text, "leave `lifecycle` out");
    }
    // It becomes a part of the command before that is split.
    if slot.target.as_str().contains(['{', '}', '\'', '"', '\\']) {
        let text = format!("the target `{}` would be read as something else", slot.target);
        return refuse(text, "give it a `target` without braces, quotes and backslashes");
    }
    let tree = match &slot.content {
        SlotContent::Tree(tree) => tree,
        SlotContent::File { stamp, .. } => return hold_file(stamp),
    };
    for (path, kind) in &tree.entries {
        let (what, target) = match kind {
            EntryKind::SymLink { target } => ("symbolic link", target.as_str()),
            EntryKind::HardLink { target, .. } => ("hard link", target.as_str()),
            EntryKind::Directory | EntryKind::File { .. } => continue,
        };
        let text = format!("it refuses the {what} `{}` -> `{}`", path.as_str().escape_debug(), target.escape_debug());
        return refuse(text, "set the slot's `links = \"follow\"` to pack copies, or exclude it");
    }
    Ok(())
}

/// One of its launchers takes every slot for a tar archive that looks like one, and unpacks it over the others.
fn hold_file(stamp: &FileStamp) -> anyhow::Result<()> {
    const MAGIC: &[u8] = b"ustar";
    const AT: u64 = 257;
    let mut found = [0; MAGIC.len()];
    if stamp.size >= AT + MAGIC.len() as u64 {
        stamp.fill(&mut found, AT)?;
    }
    if found == MAGIC {
        let text = format!("it would unpack {}, which is a tar archive", shown(&stamp.source));
        return refuse(text, "compress it, or pack what is in it as a directory");
    }
    Ok(())
}

/// The command becomes one line of text, and the environment a table of values.
fn hold_run(plan: &Plan) -> anyhow::Result<()> {
    let run = &plan.run;
    let EnvRules { unset, pass, map, set } = &run.env;
    for (there, what) in [
        (!run.setup.is_empty(), "run.setup"),
        (!run.shutdown.is_empty(), "run.shutdown"),
        (run.argv0.is_some(), "run.argv0"),
        (run.cwd.is_some(), "run.cwd"),
        (!unset.is_empty(), "run.env.unset"),
        (!pass.is_empty(), "run.env.pass"),
        (!map.is_empty(), "run.env.map"),
    ] {
        if there {
            return refuse(format!("`{what}` cannot be said to it"), "leave it out");
        }
    }
    for (name, _) in set {
        let own = ["FLAVOR_", "PSPF_"].iter().any(|start| name.starts_with(start));
        if own || name == "PATH" {
            return refuse(format!("the variable `{name}` would get another value"), "set it inside the application");
        }
    }
    if run.command.iter().any(String::is_empty) {
        return refuse("some of its launchers drop an empty argument", "write the command without it");
    }
    let command = run.command.iter().map(|argument| (argument, true));
    for (template, in_command) in command.chain(set.iter().map(|(_, value)| (value, false))) {
        for piece in pieces(template)? {
            let wrong = match piece {
                Piece::PackageDir => "`{package_dir}`".to_owned(),
                Piece::Cache => "`{cache}`".to_owned(),
                Piece::WorkEnv => "`{workenv}` of a sealed package".to_owned(),
                // What looks like a placeholder would be one again.
                Piece::Text(text) => match text.chars().find(|&c| matches!(c, '{' | '}') || c.is_control()) {
                    Some(character) => format!("the character `{}`", character.escape_debug()),
                    None => continue,
                },
                Piece::Slot(id) if !in_command && is_tree(plan, &id) => {
                    format!("where the directory `{{slot:{id}}}` is, outside the command")
                }
                Piece::Slot(_) => continue,
            };
            let text = format!("`{}`: it does not know {wrong}", template.escape_debug());
            return refuse(text, "write the argument without it");
        }
    }
    Ok(())
}

fn is_tree(plan: &Plan, id: &SlotId) -> bool {
    plan.slots.iter().any(|slot| slot.id == *id && matches!(slot.content, SlotContent::Tree(_)))
}

fn refuse<T>(text: impl AsRef<str>, hint: &str) -> anyhow::Result<T> {
    Failure::usage(format!("not for PSPF/2025: {}", text.as_ref())).hint(hint).err()
}
