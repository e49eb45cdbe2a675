//! Setup commands of the reference tools that work in one place alone: kept, for the work environment of a sealed package.
//!
//! Whether they do the same there, in another order and another directory, is for [`crate::kept_trial`].

use std::path::{Path, PathBuf};

use pspf_format::{Class, SetupCommand, UnsealedMetadata, UnsealedSlot};
use pspf_launcher::{Environment, PackageFile};

use crate::failure::{At, Failure};
use crate::reference_package::{SLOT, escaped, own_program, template};

/// Unpacks the slots into `tree`, does there what can be done now, and returns the commands that are left. `set_up` is
/// where all of them were tried.
pub(crate) fn keep(
    metadata: &UnsealedMetadata,
    slots: &[UnsealedSlot],
    files: &[&PackageFile],
    tree: &Path,
    set_up: &Path,
) -> anyhow::Result<Vec<Vec<String>>> {
    let all = metadata.setup_commands.clone().unwrap_or_default();
    let is_command = |command: &SetupCommand| {
        matches!(command, SetupCommand::Execute { .. } | SetupCommand::EnumerateAndExecute { .. })
    };
    let now = all.iter().filter(|command| !is_command(command)).cloned().collect();
    // What only the setup needs is needed later.
    let stays = |slot: &UnsealedSlot| UnsealedSlot { lifecycle: "runtime".to_owned(), ..slot.clone() };
    let slots: Vec<UnsealedSlot> = slots.iter().map(stays).collect();
    let mut metadata = metadata.clone();
    metadata.setup_commands = Some(now);
    std::fs::create_dir(tree).at("creating", tree)?;
    pspf_unsealed::set_up(&metadata, &slots, files, tree, &Environment::of_process())?;
    let kept = Kept { metadata: &metadata, slots: &slots, tree, set_up };
    let mut commands = Vec::new();
    for command in &all {
        match command {
            SetupCommand::Execute { command } => commands.push(kept.words(command)?),
            SetupCommand::EnumerateAndExecute { command, enumerate } => {
                let pattern = format!("{}/{}", enumerate.path, enumerate.pattern);
                for path in kept.matching(&pattern)? {
                    let mut words = kept.words(command)?;
                    words.push(format!("{{slot:{SLOT}}}/{}", escaped(&path.to_string_lossy())));
                    commands.push(words);
                }
            }
            // A trial would find that place, where no user has it.
            SetupCommand::WriteFile { path, content } if content.contains("{workenv}") => {
                return refuse(&format!("`write_file` writes the place into `{}`", path.escape_debug()));
            }
            SetupCommand::WriteFile { .. } | SetupCommand::Chmod { .. } => {}
        }
    }
    Ok(commands)
}

struct Kept<'a> {
    metadata: &'a UnsealedMetadata,
    slots: &'a [UnsealedSlot],
    tree: &'a Path,
    set_up: &'a Path,
}

impl Kept<'_> {
    /// A command as an argument vector.
    fn words(&self, command: &str) -> anyhow::Result<Vec<String>> {
        let words = pspf_unsealed::split_words(command).unwrap_or_default();
        let mut words: Vec<String> =
            words.iter().map(|word| template(word, self.metadata, self.slots, false)).collect();
        let Some(first) = words.first_mut() else { return refuse("a setup command is empty") };
        let program = pspf_unsealed::split_words(command).unwrap_or_default().swap_remove(0);
        if !program.starts_with('/') {
            let inside = program.strip_prefix("{workenv}/").unwrap_or(&program);
            match own_program(inside, &[self.tree, self.set_up]) {
                Some(path) => *first = format!("{{slot:{SLOT}}}/{}", escaped(&path)),
                None => return refuse(&format!("program `{}` is not in the package", program.escape_debug())),
            }
        }
        Ok(words)
    }

    /// What matches, relative to the tree.
    fn matching(&self, pattern: &str) -> anyhow::Result<Vec<PathBuf>> {
        let found = pspf_unsealed::matching_paths(self.metadata, self.slots, self.tree, pattern)?;
        Ok(found.into_iter().filter_map(|path| path.strip_prefix(self.tree).map(Path::to_owned).ok()).collect())
    }
}

/// Why there is no new package.
pub(crate) fn refuse<T>(reason: &str) -> anyhow::Result<T> {
    Failure::new(Class::Format, format!("its setup works in its place alone, and cannot be kept: {reason}"))
        .hint("pack the sources of the application, or keep the package as it is: `pspf run --allow-unsealed`")
        .err()
}
