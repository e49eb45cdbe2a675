//! Whether the program that a package starts is in it, and whether it can be executed there.

use std::collections::BTreeMap;
use std::io::Read;

use pspf_format::template::{Piece, pieces};
use pspf_format::tree::EntryKind;
use pspf_format::{Class, Mode, Platform};

use crate::content::HEAD;
use crate::failure::{At, Failure};
use crate::plan::{Plan, SlotContent, SlotPlan};
use crate::tree::{FileStamp, Tree};

/// Links that are followed before a path is given up, as Linux does.
const MAX_LINKS: usize = 40;

/// Fails where a program is missing or not executable; gives a warning where it is for another machine.
/// A program outside the package cannot be looked at.
pub(crate) fn look(plan: &Plan, platform: &Platform) -> anyhow::Result<Option<String>> {
    let mut warning = None;
    for command in [&plan.run.command].into_iter().chain(&plan.run.setup).chain(&plan.run.shutdown) {
        if let Some(program) = command.first() {
            warning = warning.or(look_at(plan, platform, program)?);
        }
    }
    Ok(warning)
}

fn look_at(plan: &Plan, platform: &Platform, command: &str) -> anyhow::Result<Option<String>> {
    let (id, path) = match pieces(command)?.as_slice() {
        [Piece::Slot(id)] => (id.clone(), String::new()),
        [Piece::Slot(id), rest @ ..] => match text(rest) {
            Some(text) => (id.clone(), text),
            None => return Ok(None),
        },
        _ => return Ok(None),
    };
    let Some(slot) = plan.slots.iter().find(|slot| slot.id == id) else { return Ok(None) };
    // What the setup makes there, nobody can tell.
    if slot.lifecycle.is_writable() && !plan.run.setup.is_empty() {
        return Ok(None);
    }
    if let Some(own) = slot.platform.as_ref().filter(|own| *own != platform) {
        let text = format!("program `{command}` is in slot `{id}` for {own}, the launcher is for {platform}");
        return Failure::new(Class::Entry, text).hint("name a program that every start of this package has").err();
    }
    let stamp = find(slot, path.trim_start_matches('/'))?;
    let mut head = Vec::new();
    stamp.open()?.take(HEAD as u64).read_to_end(&mut head).at("reading", &stamp.source)?;
    let own = platform.as_str().split_once('_').map_or("", |(_, machine)| machine);
    Ok(crate::stub::elf_machine(&head).filter(|machine| machine != own).map(|machine| {
        format!("program `{command}` is for {machine}, the launcher for {own}: they do not run on one machine")
    }))
}

/// The text of these pieces, where they are nothing but text.
fn text(pieces: &[Piece<'_>]) -> Option<String> {
    pieces.iter().map(|piece| if let Piece::Text(text) = piece { Some(*text) } else { None }).collect()
}

fn find<'a>(slot: &'a SlotPlan, path: &str) -> anyhow::Result<&'a FileStamp> {
    let id = &slot.id;
    let wrong = |reason: &str| {
        let program = if path.is_empty() { format!("program `{{slot:{id}}}`") } else { format!("program `{path}`") };
        Failure::new(Class::Entry, format!("{program} {}", reason.replace("SLOT", &format!("slot `{id}`"))))
    };
    let (stamp, mode) = match &slot.content {
        SlotContent::File { stamp, mode, .. } if path.is_empty() => (stamp, *mode),
        SlotContent::File { .. } => {
            let hint = format!("the slot is a single file: its path is `{{slot:{id}}}` alone");
            return wrong("is not in SLOT").hint(hint).err();
        }
        SlotContent::Tree(_) if path.is_empty() => {
            return wrong("is a directory").hint(format!("write `{{slot:{id}}}/PROGRAM`")).err();
        }
        SlotContent::Tree(tree) => match (resolve(tree, path), same_name(tree, path)) {
            (Ok(found), _) => found,
            (Err(reason @ MISSING), Some(near)) => {
                return wrong(reason).hint(format!("there is `{near}`")).err();
            }
            (Err(reason), _) => return wrong(reason).err(),
        },
    };
    if mode == Mode::Executable {
        return Ok(stamp);
    }
    let file = crate::failure::shown(&stamp.source);
    wrong("is not executable").hint(format!("run `chmod +x` on {file}, or start it through its interpreter")).err()
}

/// Reason of [`resolve`] for a path that leads nowhere.
const MISSING: &str = "is not in SLOT";

/// Follows the path, and the links on it, inside the tree.
fn resolve<'a>(tree: &'a Tree, path: &str) -> Result<(&'a FileStamp, Mode), &'static str> {
    if path.ends_with('/') {
        return Err("is a directory");
    }
    let entries: BTreeMap<&str, &EntryKind> = tree.entries.iter().map(|(path, kind)| (path.as_str(), kind)).collect();
    let mut place: Vec<String> = Vec::new();
    let mut rest: Vec<String> = path.rsplit('/').map(str::to_owned).collect();
    let mut links = 0;
    while let Some(component) = rest.pop() {
        match component.as_str() {
            "" | "." => continue,
            ".." => {
                place.pop().ok_or("leaves SLOT")?;
                continue;
            }
            _ => place.push(component),
        }
        match entries.get(place.join("/").as_str()) {
            None => return Err(MISSING),
            Some(EntryKind::SymLink { target }) => {
                links += 1;
                if links > MAX_LINKS {
                    return Err("is a circle of links");
                }
                place.pop();
                rest.extend(target.rsplit('/').map(str::to_owned));
            }
            Some(EntryKind::Directory) => {}
            Some(_) if rest.iter().all(|component| component.is_empty()) => {}
            Some(_) => return Err("goes through a file"),
        }
    }
    let first = tree.entries.iter().filter(|(_, kind)| matches!(kind, EntryKind::Directory)).count();
    let place = place.join("/");
    let position = match entries.get(place.as_str()) {
        Some(EntryKind::HardLink { file, .. }) => *file as usize,
        Some(EntryKind::File { .. }) => {
            tree.entries.iter().position(|(path, _)| path.as_str() == place).ok_or(MISSING)?
        }
        _ => return Err("is a directory"),
    };
    let mode = match tree.entries.get(position) {
        Some((_, EntryKind::File { mode, .. })) => *mode,
        _ => return Err(MISSING),
    };
    tree.files.get(position - first).map(|stamp| (stamp, mode)).ok_or(MISSING)
}

/// A path of the tree with the same last name, for a hint.
fn same_name<'a>(tree: &'a Tree, path: &str) -> Option<&'a str> {
    let name = |path: &str| path.rsplit('/').next().unwrap_or_default().to_owned();
    let wanted = name(path);
    let files = tree.entries.iter().filter(|(_, kind)| !matches!(kind, EntryKind::Directory));
    files.map(|(path, _)| path.as_str()).find(|path| name(path) == wanted)
}

#[cfg(test)]
mod tests {
    use std::fs::{self, Permissions};
    use std::os::unix::fs::{PermissionsExt, symlink};

    use super::*;
    use crate::selection::Selection;
    use crate::tree::{Links, Rules};

    #[test]
    fn a_program_is_found_through_links() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        fs::create_dir_all(at("real/bin")).unwrap();
        for (name, mode) in [("real/bin/tool", 0o755), ("real/bin/data", 0o644)] {
            fs::write(at(name), name).unwrap();
            fs::set_permissions(at(name), Permissions::from_mode(mode)).unwrap();
        }
        fs::hard_link(at("real/bin/tool"), at("real/bin/zool")).unwrap();
        for (target, link) in [("real", "current"), ("current/bin/tool", "run"), ("loop", "loop"), ("gone", "dangling")]
        {
            symlink(target, at(link)).unwrap();
        }
        let selection = Selection::new(&[], &[]).unwrap();
        let rules = Rules { selection: &selection, links: Links::Keep, output: std::path::Path::new("/nowhere") };
        let tree = Tree::walk(dir.path(), &rules).unwrap();
        for path in ["real/bin/tool", "current/bin/tool", "run", "real/../run", "real/bin/zool", "current//bin/./tool"]
        {
            let (stamp, mode) = resolve(&tree, path).unwrap();
            assert!(stamp.source.ends_with("real/bin/tool") && mode == Mode::Executable, "{path}");
        }
        for (path, reason) in [
            ("tool", MISSING),
            ("dangling", MISSING),
            ("loop", "is a circle of links"),
            ("../x", "leaves SLOT"),
            ("real", "is a directory"),
            ("run/x", "goes through a file"),
            ("real/bin/tool/", "is a directory"),
        ] {
            assert_eq!(resolve(&tree, path).err(), Some(reason), "{path}");
        }
        assert_eq!(same_name(&tree, "bin/tool"), Some("real/bin/tool"));
    }
}
