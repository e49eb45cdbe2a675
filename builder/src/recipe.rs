//! `[recipe]` of a manifest: the project's own build, in a clean copy of the project.

use std::fs;
use std::io;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use ignore::WalkBuilder;

use crate::each_file::files_that_name;
use crate::failure::{At, Failure, shown};
use crate::interrupt;
use crate::manifest::Manifest;
use crate::workplace::Workplace;

/// What stands for the clean folder at the beginning of a slot's `source`.
const PLACE: &str = "{recipe}";

/// Builds what the manifest in `folder` says, where it does, and lets the sources of its slots lead there. Returns what
/// is worth knowing, and the directory, which goes when it is packed.
pub(crate) fn build(manifest: &mut Manifest, folder: &Path) -> anyhow::Result<Option<(Vec<String>, Workplace)>> {
    let sources = manifest.slots.iter_mut().map(|slot| &mut slot.source);
    let mut sources: Vec<&mut PathBuf> = sources.filter(|source| source.starts_with(PLACE)).collect();
    let Some(recipe) = &manifest.recipe else {
        let Some(source) = sources.first() else { return Ok(None) };
        return Failure::usage(format!("{} is what `[recipe]` builds, and there is none", shown(source)))
            .hint("`[recipe]` with `command = [\"make\", \"dist\"]` says how it is built")
            .err();
    };
    if sources.is_empty() {
        return Failure::usage("`[recipe]` builds what no slot takes")
            .hint(format!("`source = \"{PLACE}/dist\"` takes the directory `dist` that it makes"))
            .err();
    }
    let workplace = Workplace::new()?;
    let clean = workplace.path().join("project");
    copy(folder, &clean)?;
    run(&recipe.command, &clean)?;
    let mut notes = Vec::new();
    for source in &mut sources {
        let made = source.strip_prefix(PLACE).unwrap_or(source).to_owned();
        **source = clean.join(&made);
        if !source.exists() {
            return Failure::usage(format!("`[recipe]` has made no {}", shown(&made))).err();
        }
        notes.extend(tells_its_place(source, &made, workplace.path())?);
    }
    Ok(Some((notes, workplace)))
}

/// Copies a project without what it ignores: that is what builds before this one have left.
fn copy(from: &Path, to: &Path) -> anyhow::Result<()> {
    let from = &from.canonicalize().at("opening", from)?;
    let mut walk = WalkBuilder::new(from);
    // The project's own rules alone: those of whoever packs would change what is packed.
    walk.hidden(false).ignore(false).git_global(false).git_exclude(false).require_git(false).follow_links(false);
    for entry in walk.build() {
        let entry = entry.map_err(|error| Failure::usage(format!("reading {}", shown(from))).because(error))?;
        let path = entry.path();
        let Ok(inside) = path.strip_prefix(from) else { continue };
        let target = if inside.as_os_str().is_empty() { to.to_owned() } else { to.join(inside) };
        let kind = path.symlink_metadata().at("reading", path)?.file_type();
        if kind.is_dir() {
            fs::create_dir(&target).at("creating", &target)?;
        } else if kind.is_symlink() {
            let end = fs::read_link(path).at("reading", path)?;
            // What is beside the project stays where it is.
            let end = if end.is_relative() && leaves(inside, &end) { path.with_file_name("").join(end) } else { end };
            std::os::unix::fs::symlink(end, &target).at("creating", &target)?;
        } else if kind.is_file() {
            fs::copy(path, &target).at("copying", path)?;
        }
    }
    Ok(())
}

/// Whether a link at `inside`, relative to the project, leads out of it.
fn leaves(inside: &Path, end: &Path) -> bool {
    let mut depth = inside.components().count().saturating_sub(1);
    for part in end.components() {
        match part {
            std::path::Component::ParentDir if depth == 0 => return true,
            std::path::Component::ParentDir => depth -= 1,
            std::path::Component::Normal(_) => depth += 1,
            _ => {}
        }
    }
    false
}

/// Runs the command. What it says goes to where this program's own words go, at once: builds may take long.
fn run(command: &[String], clean: &Path) -> anyhow::Result<()> {
    let Some((program, arguments)) = command.split_first().filter(|(program, _)| !program.is_empty()) else {
        return Failure::usage("`recipe.command` is empty")
            .hint("it is an argument vector: `[\"make\", \"dist\"]`")
            .err();
    };
    // A program of the project's is meant where it is a path.
    let path = if program.contains('/') { clean.join(program) } else { PathBuf::from(program) };
    let mut build = Command::new(&path);
    let to_errors = io::stderr().as_fd().try_clone_to_owned().at("opening", Path::new("stderr"))?;
    build.args(arguments).current_dir(clean).stdin(Stdio::null()).stdout(to_errors).stderr(Stdio::inherit());
    if std::env::var_os("SOURCE_DATE_EPOCH").is_none() {
        build.env("SOURCE_DATE_EPOCH", crate::pack_command::DEFAULT_MTIME.to_string());
    }
    let output = interrupt::output(&mut build).at("executing", Path::new(program))?;
    if output.status.success() {
        return Ok(());
    }
    let text = format!("`[recipe]` failed: `{}` ended with {}", program.escape_debug(), output.status);
    Failure::usage(text).hint("it runs in a copy of the project, without what `.gitignore` names").err()
}

/// A build whose result names the folder that it was made in is another one each time.
fn tells_its_place(source: &Path, made: &Path, place: &Path) -> anyhow::Result<Option<String>> {
    let found = files_that_name(place, source)?;
    let Some(first) = found.first() else { return Ok(None) };
    let first = made.join(first.strip_prefix(source).unwrap_or(first));
    let count = found.len();
    Ok(Some(format!(
        "{count} files name the folder that they were built in, which is another one each time; the first is {}",
        shown(&first)
    )))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_out_of_a_project_are_told_apart() {
        for (inside, end, expected) in
            [("a/l", "../b", false), ("a/l", "../../b", true), ("l", "../b", true), ("l", "a/../b", false)]
        {
            assert_eq!(leaves(Path::new(inside), Path::new(end)), expected, "{inside} {end}");
        }
    }
}
