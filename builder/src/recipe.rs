//! `[recipe]` of a manifest: the project's own build, in a clean copy of the project.

use std::fs;
use std::io;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use pspf_format::Class;

use crate::clean_copy::{CleanCopy, OF_GIT};
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
            .hint(format!(
                "a `source` begins with it: `source = \"{PLACE}/dist\"` takes the directory `dist` that it makes"
            ))
            .err();
    }
    let workplace = Workplace::new()?;
    let clean = workplace.path().join("project");
    let mut notes = CleanCopy::make(folder, &clean, workplace.path())?;
    run(&recipe.command, &clean, workplace.path())?;
    for source in &mut sources {
        let made = source.strip_prefix(PLACE).unwrap_or(source).to_owned();
        **source = clean.join(&made);
        let Ok(real) = source.canonicalize() else {
            return Failure::usage(format!("`[recipe]` has made no {}", shown(&made))).err();
        };
        if !real.starts_with(&clean) || !(real.is_dir() || real.is_file()) {
            return Failure::usage(format!("{} is no file or directory of the copy that is built in", shown(&made)))
                .hint("let `source` be what the build makes there")
                .err();
        }
        notes.extend(tells_its_place(source, &made, workplace.path())?);
    }
    Ok(Some((notes, workplace)))
}

/// Runs the command. What it says goes to where this program's own words go, at once: builds may take long.
fn run(command: &[String], clean: &Path, work: &Path) -> anyhow::Result<()> {
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
    // Whatever names the place of the caller would lead the build to the original; and what it leaves goes with this.
    let temporary = work.join("tmp");
    fs::create_dir(&temporary).at("creating", &temporary)?;
    build.env("PWD", clean).env("TMPDIR", &temporary).env_remove("OLDPWD");
    OF_GIT.iter().for_each(|name| {
        build.env_remove(name);
    });
    if std::env::var_os("SOURCE_DATE_EPOCH").is_none() {
        build.env("SOURCE_DATE_EPOCH", crate::pack_command::DEFAULT_MTIME.to_string());
    }
    let output = interrupt::output(&mut build).map_err(|error| {
        let hint = match error.kind() {
            io::ErrorKind::PermissionDenied => "`chmod +x` makes it a program",
            _ if !program.contains('/') && clean.join(program).is_file() => "a program of the project begins with `./`",
            _ => "it is a program in PATH, or, as `./build.sh`, one of the project that `.gitignore` does not name",
        };
        let text = format!("`[recipe]`: executing `{}`", program.escape_debug());
        Failure::new(Class::Entry, text).because(error).hint(hint)
    })?;
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
