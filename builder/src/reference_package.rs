//! What the reference tools pack, as a manifest of ours: a tree that was unpacked and set up, and how to start it.

use std::path::Path;

use pspf_format::{Class, SetupCommand, UnsealedMetadata, UnsealedSlot};
use pspf_launcher::{Environment, PackageFile};

use crate::cache_command::count;
use crate::failure::{At, Failure, shown};
use crate::input::{Input, legal_name};
use crate::kept_setup::keep;
use crate::kept_trial::Trial;
use crate::manifest::{EnvTable, Manifest, PackageTable, RunTable, SlotTable};
use crate::relocate::{interpreter, relocate};
use crate::workplace::Workplace;

/// The only slot: what the reference launchers merge into one work environment stays one tree.
pub(crate) const SLOT: &str = "app";

/// Unpacks these slots, each from the file beside it, runs the setup commands of the metadata, and makes the result a
/// manifest.
pub(crate) fn input(
    metadata: &UnsealedMetadata,
    slots: &[UnsealedSlot],
    files: &[&PackageFile],
    exclude: Vec<String>,
) -> anyhow::Result<Input> {
    let workplace = Workplace::new()?;
    let set_up = workplace.path().join("workenv");
    std::fs::create_dir(&set_up).at("creating", &set_up)?;
    pspf_unsealed::set_up(metadata, slots, files, &set_up, &Environment::of_process())?;
    let mut notes = Vec::new();
    let (tree, setup, lifecycle) = match relocate(&set_up)? {
        None => (set_up.clone(), Vec::new(), None),
        Some(bound) => {
            if let Some(pattern) = exclude.first() {
                return Failure::usage(format!(
                    "`--exclude {}`: what was set up works in its place alone ({bound}), and the setup that is kept may \
                     need any file",
                    pattern.escape_debug()
                ))
                .hint("leave out nothing")
                .err();
            }
            let tree = workplace.path().join("kept");
            let setup = keep(metadata, slots, files, &tree, &set_up)?;
            let kept = commands_are(setup.len(), "is", "are");
            let what = format!("{kept} kept for the first start");
            notes.push(format!("what was set up works in its place alone ({bound}), so {what}"));
            (tree, setup, Some("config".to_owned()))
        }
    };
    let is_kept = lifecycle.is_some();
    let command = command(metadata, slots, &set_up, is_kept)?;
    let env = environment(metadata, slots, &tree, is_kept, &mut notes);
    if is_kept {
        Trial { metadata, slots, files, tree: &tree, commands: &setup, env: &env }.hold(workplace.path())?;
    }
    dropped(metadata, is_kept, &mut notes);
    let identity = &metadata.package;
    let manifest = Manifest {
        package: PackageTable {
            name: legal_name(&identity.name),
            version: identity.version.clone(),
            description: identity.description.clone().filter(|text| !text.is_empty()),
        },
        run: RunTable { command, env, setup, ..RunTable::default() },
        recipe: None,
        slots: vec![SlotTable { id: SLOT.to_owned(), source: tree, exclude, lifecycle, ..SlotTable::default() }],
    };
    let mut input = Input::of(manifest, None);
    input.notes = notes;
    input.staging = Some(workplace.into());
    Ok(input)
}

fn commands_are(number: usize, one: &str, more: &str) -> String {
    format!("{} {}", count(number as u64, "setup command"), if number == 1 { one } else { more })
}

/// The command as an argument vector; the tree is one that was set up.
fn command(
    metadata: &UnsealedMetadata,
    slots: &[UnsealedSlot],
    tree: &Path,
    is_kept: bool,
) -> anyhow::Result<Vec<String>> {
    let wrong = |reason: String| Failure::new(Class::Format, reason);
    let text = metadata.execution.command.as_deref().unwrap_or_default();
    let words = pspf_unsealed::split_words(text)
        .ok_or_else(|| wrong(format!("command `{}` has a quote without its end", text.escape_debug())))?;
    let Some((program, arguments)) = words.split_first() else {
        return wrong("there is no `execution.command` to start".to_owned()).err();
    };
    let template = |word: &String| template(word, metadata, slots, true);
    let mut command: Vec<String> = Vec::new();
    let inside = match program.strip_prefix("{workenv}/") {
        Some(path) => Some(path.to_owned()),
        None if program.contains('/') => None,
        None => Some(program.clone()),
    };
    match inside {
        None => command.push(template(program)),
        Some(name) => {
            let Some(path) = own_program(&name, &[tree]) else {
                let shown = program.escape_debug();
                return wrong(format!("program `{shown}` is not in the package"))
                    .hint("a sealed package starts nothing of the machine by its name; name it by its path, or pack it too")
                    .err();
            };
            // A script is started by its interpreter: no shell, and nothing else of the machine, has to find it.
            let script = std::fs::read(tree.join(&path)).at("reading", &tree.join(&path))?;
            let start = "#!/bin/sh\n'''exec' \"$(dirname -- \"$(realpath -- \"$0\")\")\"/'";
            let python = std::str::from_utf8(&script).ok().and_then(|text| {
                let relocated = text.strip_prefix(start).and_then(|rest| rest.split_once('\'')).map(|(name, _)| name);
                relocated.or_else(|| interpreter(text, "/").map(|(name, _)| name))
            });
            if let Some(python) = python.filter(|_| !is_kept) {
                command.push(format!("{{slot:{SLOT}}}/bin/{python}"));
            }
            command.push(format!("{{slot:{SLOT}}}/{}", escaped(&path)));
        }
    }
    command.extend(arguments.iter().map(template));
    Ok(command)
}

/// Where a program of the package's own is: at its path, or in `bin`.
pub(crate) fn own_program(name: &str, trees: &[&Path]) -> Option<String> {
    let paths = [name.to_owned(), format!("bin/{name}")];
    paths.into_iter().find(|path| trees.iter().any(|tree| tree.join(path).is_file()))
}

/// Text of theirs as a template of ours.
pub(crate) fn template(text: &str, metadata: &UnsealedMetadata, slots: &[UnsealedSlot], numbered: bool) -> String {
    let mut out = String::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('{') {
        out += &escaped(before);
        let value = |name: &str| match name {
            "workenv" => Some(format!("{{slot:{SLOT}}}")),
            "package_name" => Some(escaped(&metadata.package.name)),
            "version" => Some(escaped(&metadata.package.version)),
            _ => {
                let digits = name.strip_prefix("slot:").filter(|_| numbered)?;
                let number = digits.parse().ok().filter(|number: &usize| number.to_string() == digits)?;
                let slot = slots.get(number)?;
                let target = slot.target.as_ref().filter(|_| !slot.is_tree());
                Some(format!("{{slot:{SLOT}}}/{}", target.map_or(String::new(), |path| escaped(path.as_str()))))
            }
        };
        match after.split_once('}').and_then(|(name, tail)| Some((value(name)?, tail))) {
            Some((value, tail)) => {
                out += &value;
                rest = tail;
            }
            None => {
                out += "{{";
                rest = after;
            }
        }
    }
    out + &escaped(rest)
}

pub(crate) fn escaped(text: &str) -> String {
    text.replace('{', "{{").replace('}', "}}")
}

/// Their rules for the environment; what has no like is named.
fn environment(
    metadata: &UnsealedMetadata,
    slots: &[UnsealedSlot],
    tree: &Path,
    is_writable: bool,
    notes: &mut Vec<String>,
) -> EnvTable {
    let mut env = EnvTable::default();
    let rules = metadata.runtime.as_ref().map(|runtime| runtime.env.clone()).unwrap_or_default();
    let is_unset = |name: &str| {
        let matches = |patterns: &[String]| {
            patterns.iter().any(|pattern| pspf_launcher::matches(pattern.as_bytes(), name.as_bytes()))
        };
        matches(&rules.unset) && !matches(&rules.pass)
    };
    // There, what was unset is not renamed.
    env.map = rules.map.iter().filter(|(old, _)| !is_unset(old)).map(|(old, new)| (old.clone(), new.clone())).collect();
    env.set.extend(rules.set.iter().map(|(name, value)| (name.clone(), escaped(value))));
    for (name, value) in metadata.workenv.iter().flat_map(|workenv| &workenv.env) {
        let place = value.strip_prefix("{workenv}/");
        let holds_something = |path: &str| {
            std::fs::read_dir(tree.join(path))
                .map_or_else(|_| tree.join(path).is_file(), |mut entries| entries.next().is_some())
        };
        if !is_writable && place.is_some_and(|path| !holds_something(path)) {
            notes.push(format!("`{name}` is the caller's own: it named a place to write to, `{value}`"));
        } else {
            env.set.insert(name.clone(), template(value, metadata, slots, true));
        }
    }
    for (name, value) in &metadata.execution.env {
        env.set.insert(name.clone(), template(value, metadata, slots, true));
    }
    env.set.insert("FLAVOR_WORKENV".to_owned(), format!("{{slot:{SLOT}}}"));
    env.unset = rules.unset;
    env.pass = rules.pass;
    env
}

/// Names what the package asks for and the new one does not have.
fn dropped(metadata: &UnsealedMetadata, is_kept: bool, notes: &mut Vec<String>) {
    let commands = metadata.setup_commands.as_deref().unwrap_or_default();
    if !commands.is_empty() && !is_kept {
        let run = commands_are(commands.len(), "was", "were");
        notes.push(format!("{run} run now; nothing is left to do at the first start"));
    }
    let started = metadata.execution.command.as_deref().unwrap_or_default();
    for slot in metadata.slots.iter().filter(|slot| slot.purpose == "tool" && !is_kept) {
        let Ok(Some(target)) = UnsealedSlot::target_of(&slot.target) else { continue };
        let program = format!("{{workenv}}/{target} ");
        let is_started = |command: &SetupCommand| match command {
            SetupCommand::Execute { command } | SetupCommand::EnumerateAndExecute { command, .. } => {
                command.starts_with(&program)
            }
            _ => false,
        };
        if commands.iter().any(is_started) && !started.contains(target.as_str()) {
            notes.push(format!("`{target}` was there for the setup; `--exclude {target}` leaves it out"));
        }
    }
    if metadata.workenv.as_ref().is_some_and(|workenv| !workenv.directories.is_empty() && !is_kept) {
        notes.push("`workenv.directories` are in the package, and nobody can write to them".to_owned());
    }
    if metadata.policy.is_some() {
        notes.push("`policy` is left out: nothing of it is held to".to_owned());
    }
    notes.push(
        "`bin` is not put in front of PATH, and FLAVOR_CACHE_DIR, FLAVOR_COMMAND_NAME and FLAVOR_ORIGINAL_COMMAND are not \
         set; PSPF_PACKAGE and PSPF_ARGV0 are"
            .to_owned(),
    );
}

/// Where nothing else can name it.
pub(crate) fn named(error: anyhow::Error, file: &Path) -> anyhow::Error {
    error.context(shown(file))
}
