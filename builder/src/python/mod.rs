//! From a Python project to a manifest: the interpreter, the dependencies and the application, each a slot of its own, so
//! that what many packages share is extracted once and a new version of the application ships alone.
//!
//! All of it happens here and now, with the tools that Python people use; where the package runs, nothing is installed,
//! compiled or fetched.

mod compile;
mod entry;
mod installed;
mod local;
mod merge;
mod project;
mod relocatable;
mod resolve;
mod runtime;
mod start;
mod tool;

use std::fs;
use std::path::{Path, PathBuf};

use clap::Args;

use crate::each_file::files_that_name;
use crate::failure::{At, Failure, shown};
use crate::input::{Input, legal_name};
use crate::manifest::{Manifest, PackageTable, RunTable, SlotTable};
use crate::workplace::Workplace;
use entry::Script;
use installed::Installed;
pub(crate) use project::FILE_NAME;
use project::{Options, Project};
use runtime::Runtime;
use tool::Tool;

/// The slots' ids.
const PYTHON: &str = "python";
const DEPENDENCIES: &str = "deps";
const APP: &str = "app";

/// What can be said about a Python application.
#[derive(Args, Clone, Debug, Default)]
pub(crate) struct PythonArgs {
    /// Pack this from the package index, as `NAME` or `NAME==V`
    #[arg(long, value_name = "NAME")]
    pub(crate) python: Option<String>,
    /// The CPython to pack: its prefix, or a python-build-standalone archive
    #[arg(long, value_name = "DIR")]
    pub(crate) python_prefix: Option<PathBuf>,
    /// What to start, where there are several: a console script of Python, a command of Node
    #[arg(long, value_name = "NAME")]
    pub(crate) entry: Option<String>,
    /// Build dependencies that come without a wheel, by running their own code
    #[arg(long)]
    pub(crate) build_sdists: bool,
    /// What the program is called where that is settled: a provider's name.
    #[arg(skip)]
    pub(crate) program: Option<String>,
}

impl PythonArgs {
    /// Fails where something is said of a project and there is none.
    pub(crate) fn hold_to_none(&self) -> anyhow::Result<()> {
        self.hold_to_entry()?;
        match self.entry {
            Some(_) => refuse("`--entry` belongs to a Python or Node application", "leave it out, or name a project"),
            None => Ok(()),
        }
    }

    /// Fails where more is said of a Python application than what to start, and there is none.
    pub(crate) fn hold_to_entry(&self) -> anyhow::Result<()> {
        let said = [(self.python_prefix.is_some(), "--python-prefix"), (self.build_sdists, "--build-sdists")];
        match said.into_iter().find(|(is_said, _)| *is_said) {
            Some((_, option)) => {
                refuse(format!("`{option}` belongs to a Python application"), "leave it out, or name a Python project")
            }
            None => Ok(()),
        }
    }
}

/// What the application is.
enum Subject {
    /// A folder with a `pyproject.toml`.
    Project(Box<Project>),
    /// Something on the package index.
    Index(String),
    /// A file of requirements.
    Requirements(PathBuf),
}

/// The manifest of a project folder.
pub(crate) fn of_folder(folder: &Path, args: &PythonArgs) -> anyhow::Result<Input> {
    let project = Project::read(folder)?;
    let options = project.options.clone();
    make(Subject::Project(Box::new(project)), &options, args)
}

/// The manifest of something on the package index.
pub(crate) fn of_index(requirement: &str, args: &PythonArgs) -> anyhow::Result<Input> {
    make(Subject::Index(requirement.to_owned()), &Options::default(), args)
}

/// The manifest of a requirements file.
pub(crate) fn of_requirements(file: &Path, args: &PythonArgs) -> anyhow::Result<Input> {
    let file = file.canonicalize().at("opening", file)?;
    make(Subject::Requirements(file), &Options::default(), args)
}

fn make(subject: Subject, options: &Options, args: &PythonArgs) -> anyhow::Result<Input> {
    let workplace = Workplace::new()?;
    let work = workplace.path();
    let prefix = args.python_prefix.clone().or_else(|| options.prefix.clone());
    let runtime = Runtime::stage(prefix.as_deref(), options.versions.as_deref(), work)?;
    let tool = Tool::find(&runtime, work, args.build_sdists || options.build_sdists)?;
    let mut notes = Vec::new();
    let (deps, app) = (work.join(DEPENDENCIES), work.join(APP));
    let folder = match &subject {
        Subject::Project(project) => project.folder.clone(),
        Subject::Requirements(file) => file.parent().unwrap_or(Path::new("/")).to_owned(),
        Subject::Index(_) => work.to_owned(),
    };
    let identity = install(&subject, &tool, [&deps, &app], &folder, &mut notes)?;
    fs::create_dir_all(&app).at("creating", &app)?;
    if deps.exists()
        && let Some(package) = merge::shared_package(&app, &deps)?
    {
        merge::merge(&deps, &app)?;
        let both = "the application and a dependency have modules of";
        notes.push(format!("{both} the package {}: all dependencies are in the slot `{APP}`", shown(&package)));
    }
    let found = Installed::tidy(&[&deps, &app], work)?;
    let wanted = args.entry.as_deref().or(options.entry.as_deref());
    let (own, scripts) = own(&found, identity.as_deref(), wanted)?;
    let folder_name = folder.file_name().unwrap_or_default().to_string_lossy();
    let name = options.name.as_deref().or(own.map(|own| own.name.as_str())).unwrap_or(&folder_name);
    entry::write(&app, &scripts, wanted, name, args.program.as_deref())?;
    runtime.without_headers()?;
    for tree in [&deps, &app].into_iter().filter(|tree| tree.exists()) {
        relocatable::forget(tree, work)?;
        if let Some(first) = files_that_name(work, tree)?.first() {
            let first = shown(first.strip_prefix(tree).unwrap_or(first));
            notes.push(format!("{first} names the place where it was built, which is another one each time"));
        }
    }
    runtime.finish(&[&deps, &app], &mut notes)?;
    for tree in [&runtime.path, &deps, &app].into_iter().filter(|tree| tree.exists()) {
        compile::compile(&runtime, tree)?;
    }
    let version = own.map_or_else(|| "0.0.0".to_owned(), |distribution| distribution.version.clone());
    let package = PackageTable {
        name: legal_name(name),
        version: options.version.clone().unwrap_or(version),
        description: options.description.clone(),
    };
    let has_deps = deps.exists();
    let mut slots = vec![(PYTHON, runtime.path.clone())];
    slots.extend(has_deps.then_some((DEPENDENCIES, deps)));
    slots.push((APP, app));
    let slots = slots.into_iter().map(|(id, source)| SlotTable { id: id.to_owned(), source, ..SlotTable::default() });
    let run = RunTable {
        command: start::command(&options.env, &runtime.program, &mut notes),
        env: start::environment(&options.env, has_deps, &runtime.program),
        ..RunTable::default()
    };
    let slots = slots
        .chain(options.slots.iter().map(|slot| SlotTable { source: folder.join(&slot.source), ..slot.clone() }))
        .collect();
    notes.extend(options.ignored.iter().cloned());
    let mut input = Input::of(Manifest { package, run, recipe: None, slots }, None);
    input.notes = notes;
    input.staging = Some(workplace.into());
    Ok(input)
}

/// Installs the dependencies and the application, and returns the name of the latter, where it has one.
fn install(
    subject: &Subject,
    tool: &Tool,
    [deps, app]: [&Path; 2],
    folder: &Path,
    notes: &mut Vec<String>,
) -> anyhow::Result<Option<String>> {
    match subject {
        Subject::Project(project) => {
            let wheel = tool.build(&project.folder)?;
            let wanted = if let Some(lock) = local::lock_folder(folder) {
                local::build(tool.export(folder, lock)?, tool, lock, None)?
            } else if project.options.needs_lock {
                return refuse(
                    format!("{} says where dependencies are in `[tool.uv]`, and has no `uv.lock`", shown(folder)),
                    "`uv lock` in this folder; the index alone would give others",
                );
            } else {
                let today = "the dependencies are those of today; `uv lock` fixes them";
                notes.push(format!("{} has no `uv.lock`: {today}", shown(folder)));
                let all = tool.resolve(&[format!("{} @ {}", wheel.name, local::file_url(&wheel.path))], folder)?;
                all.split(&wheel.name).1
            };
            // What the lock names by a path is relative to it.
            tool.install(&wanted, deps, local::lock_folder(folder).unwrap_or(folder))?;
            tool.install_wheel(&wheel.path, app)?;
            Ok(Some(wheel.name))
        }
        Subject::Index(requirement) => {
            let name = resolve::name_of(requirement);
            let (own, others) = tool.resolve(std::slice::from_ref(requirement), folder)?.split(&name);
            tool.install(&others, deps, folder)?;
            tool.install(&own, app, folder)?;
            Ok(Some(name))
        }
        Subject::Requirements(file) => {
            let text = fs::read_to_string(file).at("reading", file)?;
            if resolve::is_hashed(&text)? {
                tool.install_file(file, deps, folder)?;
            } else {
                let wanted = local::build(tool.resolve_file(file, folder)?, tool, folder, Some(&text))?;
                tool.install(&wanted, deps, folder)?;
            }
            Ok(None)
        }
    }
}

/// The distribution that is the application, and the scripts that can start: its own; or all of them, in a mere list, and
/// where one of a dependency is wanted.
fn own<'a>(
    found: &'a [Installed],
    identity: Option<&str>,
    wanted: Option<&str>,
) -> anyhow::Result<(Option<&'a Installed>, Vec<Script>)> {
    let is_wanted = |script: &Script| Some(script.name.as_str()) == wanted;
    let own = identity.and_then(|name| found.iter().find(|distribution| distribution.is(name)));
    let mut scripts = own.map(|own| entry::scripts(&own.info)).transpose()?.unwrap_or_default();
    // A function needs no script.
    let is_there = wanted.is_none_or(|wanted| wanted.contains(':')) || scripts.iter().any(is_wanted);
    if own.is_some() && is_there {
        return Ok((own, scripts));
    }
    let mut owner = own;
    for distribution in found.iter().filter(|distribution| own.is_none_or(|own| own.info != distribution.info)) {
        let more = entry::scripts(&distribution.info)?;
        owner = owner.or(more.iter().any(is_wanted).then_some(distribution));
        scripts.extend(more);
    }
    Ok((owner, scripts))
}

/// A failure of a step, with what to do about it.
fn refuse<T>(text: impl Into<String>, hint: &str) -> anyhow::Result<T> {
    Failure::usage(text).hint(hint).err()
}
