//! From a Node project to a manifest: the program `node` and the application with what it depends on, a slot each, so that
//! what many packages share is extracted once.
//!
//! All of it happens here and now, by npm; where the package runs, nothing is installed, compiled or fetched.

mod entry;
mod installed;
mod lock;
mod npm;
mod project;
mod runtime;

use std::fs;
use std::path::{Path, PathBuf};

use clap::Args;
use serde_json::Value;

use crate::args::PackArgs;
use crate::failure::{At, Failure, shown};
use crate::host;
use crate::input::{Input, legal_name};
use crate::manifest::{EnvTable, Manifest, PackageTable, RunTable, SlotTable};
use crate::workplace::Workplace;
use lock::Lock;
use npm::{Npm, Place};
use project::Project;
use runtime::{Choice, Runtime};

/// The slots' ids.
const NODE: &str = "node";
const APP: &str = "app";
/// What would let somebody else's code in, or find the package's own no more.
const UNSET: [&str; 4] = ["NODE_OPTIONS", "NODE_PATH", "NODE_REPL_*", "NODE_PRESERVE_SYMLINKS*"];
/// Scripts that make a project ready to be published: npm runs them where it installs in a project, with what is needed
/// only to develop; not where the project is installed.
const PREPARATION: [&str; 4] = ["prepublish", "preprepare", "prepare", "postprepare"];

/// What can be said about a Node application.
#[derive(Args, Clone, Debug, Default)]
pub(crate) struct NodeArgs {
    /// The Node to pack: a version, such as `22`, or the path of one
    #[arg(long, value_name = "NODE")]
    pub(crate) node: Option<String>,
}

impl NodeArgs {
    /// Fails where something is said of a Node application and there is none.
    pub(crate) fn hold_to_none(&self) -> anyhow::Result<()> {
        match self.node {
            Some(_) => refuse("`--node` belongs to a Node application", "leave it out, or name a Node project"),
            None => Ok(()),
        }
    }
}

/// The folder of the Node project at this path; `None` where there is none.
pub(crate) fn folder(path: &Path) -> anyhow::Result<Option<PathBuf>> {
    if path.is_dir() {
        let python = path.join(crate::python::FILE_NAME);
        if !path.join(project::FILE_NAME).is_file() {
            return Ok(None);
        }
        if fs::read_to_string(&python).is_ok_and(|text| text.lines().any(|line| line.trim() == "[project]")) {
            let node = path.join(project::FILE_NAME);
            return refuse(
                format!("{} is a project of Node and of Python", shown(path)),
                &format!("name the one: `pspf pack {}`, or `pspf pack {}`", node.display(), python.display()),
            );
        }
        return Ok(Some(path.to_owned()));
    }
    let name = path.file_name().unwrap_or_default();
    let is_of_project = name == project::FILE_NAME || lock::NAMES.iter().any(|lock| name == *lock);
    Ok(is_of_project.then(|| path.parent().unwrap_or(Path::new("")).to_owned()))
}

/// The manifest of a project folder.
pub(crate) fn of_folder(folder: &Path, args: &PackArgs) -> anyhow::Result<Input> {
    let project = Project::read(folder)?;
    let lock = Lock::find(&project)?;
    let workplace = Workplace::new()?;
    let work = workplace.path();
    let npm = Npm::find(&project.folder, work)?;
    let mut notes = Vec::new();
    let choice = match (&args.node.node, &project.own.node) {
        (Some(said), _) => Choice::parse(said, Path::new(""))?,
        (None, Some(said)) => Choice::parse(said, &project.folder)?,
        (None, None) => Choice::of_project(&npm, &project.folder, &mut notes)?,
    };
    let package = PackageTable {
        name: legal_name(project.own.name.as_deref().unwrap_or(&project.name)),
        version: project.own.version.clone().unwrap_or_else(|| project.version.clone()),
        description: project.own.description.clone().or_else(|| project.description.clone()),
    };
    let app = work.join(APP);
    npm.select(&project.folder, &app)?;
    let wants_headers = lock.as_ref().is_some_and(|lock| lock.has_scripts) || app.join("binding.gyp").exists();
    let runtime = Runtime::stage(&choice, &npm, work, wants_headers, &mut notes)?;
    if let Some(lock) = &lock {
        install(lock, &npm, &project.folder, &app, &runtime, &mut notes)?;
    }
    leave_out(&app, &project.folder, args, &package.name)?;
    installed::tidy(&app)?;
    let wanted = args.python.entry.as_deref().or(project.own.entry.as_deref());
    let called = args.name.as_deref().unwrap_or(&package.name);
    let command = entry::command(&app, &project, wanted, called, &mut notes)?;
    installed::tell_places(&app, work, &mut notes)?;
    let slots = [(NODE, runtime.path.clone()), (APP, app.clone())];
    look(runtime, &app, &mut notes)?;
    let slots = slots.into_iter().map(|(id, source)| SlotTable { id: id.to_owned(), source, ..SlotTable::default() });
    let own = &project.own.slots;
    let own = own.iter().map(|slot| SlotTable { source: project.folder.join(&slot.source), ..slot.clone() });
    let slots = slots.chain(own).collect();
    let run = RunTable { command, env: environment(&project.own.env), ..RunTable::default() };
    let mut input = Input::of(Manifest { package, run, slots, recipe: None }, None);
    input.notes = notes;
    input.staging = Some(workplace.into());
    Ok(input)
}

/// Takes an earlier package out of what npm selected; fails where a private key is in it.
fn leave_out(app: &Path, folder: &Path, args: &PackArgs, name: &str) -> anyhow::Result<()> {
    let selected = |path: &Path| {
        let path = path.canonicalize().ok()?;
        Some(app.join(path.strip_prefix(folder).ok()?)).filter(|copy| copy.is_file())
    };
    if let Some(key) = args.key.iter().find(|key| selected(key).is_some()) {
        return refuse(
            format!("the private key {} would be in the package: npm selects it", shown(key)),
            "keep it elsewhere, or out of `files` of `package.json`; `.npmignore` names what npm leaves out",
        );
    }
    let output = PathBuf::from(format!("{}.psp", args.name.as_deref().unwrap_or(name)));
    match selected(args.output.as_deref().unwrap_or(&output)) {
        Some(copy) => fs::remove_file(&copy).at("removing", &copy),
        None => Ok(()),
    }
}

/// Installs what the lock file says beside the project's files.
fn install(
    lock: &Lock,
    npm: &Npm,
    folder: &Path,
    app: &Path,
    runtime: &Runtime,
    notes: &mut Vec<String>,
) -> anyhow::Result<()> {
    let mut temporary = Vec::new();
    // What the lock file finds in the project is needed even if the project does not publish it.
    for path in &lock.local {
        let (from, to) = (folder.join(path), app.join(path));
        if from.is_dir() {
            if !to.join(project::FILE_NAME).exists() {
                npm.select(&from, &to)?;
            }
        } else if !to.exists() {
            if let Some(above) = to.parent() {
                fs::create_dir_all(above).at("creating", above)?;
            }
            fs::copy(&from, &to).at("copying", &from)?;
            temporary.push(to);
        }
    }
    for name in lock.path.file_name().into_iter().chain([".npmrc".as_ref()]) {
        let (from, to) = (folder.join(name), app.join(name));
        if from.is_file() && !to.exists() {
            fs::copy(&from, &to).at("copying", &from)?;
            temporary.push(to);
        }
    }
    let mut originals = Vec::new();
    for place in std::iter::once(Path::new("")).chain(lock.local.iter().map(PathBuf::as_path)) {
        originals.extend(without_preparation(&app.join(place).join(project::FILE_NAME))?);
    }
    let bin = runtime.path.join("bin");
    let said = npm.install(&Place { app, bin: &bin, headers: runtime.headers.as_deref() })?;
    notes.extend(unfit(&said.err, &runtime.version));
    if let Some(first) = lock.without_digest.first() {
        let others = lock.without_digest.len() - 1;
        let others = if others == 0 { String::new() } else { format!(" and {others} others") };
        notes.push(format!(
            "the lock file has no digest of `{}`{others}: they are what the registry says",
            first.escape_debug()
        ));
    }
    for (path, bytes) in originals {
        fs::write(&path, bytes).at("writing", &path)?;
    }
    for path in temporary {
        fs::remove_file(&path).at("removing", &path)?;
    }
    Ok(())
}

/// Takes the scripts of preparation out of a `package.json`, and returns how it was; `None` where it has none.
fn without_preparation(path: &Path) -> anyhow::Result<Option<(PathBuf, Vec<u8>)>> {
    let Ok(bytes) = fs::read(path) else { return Ok(None) };
    let mut content: Value = serde_json::from_slice(&bytes)
        .map_err(|error| anyhow::Error::from(Failure::usage(error.to_string())).context(shown(path)))?;
    let Some(scripts) = content.get_mut("scripts").and_then(Value::as_object_mut) else { return Ok(None) };
    let before = scripts.len();
    scripts.retain(|name, _| !PREPARATION.contains(&name.as_str()));
    if scripts.len() == before {
        return Ok(None);
    }
    fs::write(path, content.to_string()).at("writing", path)?;
    Ok(Some((path.to_owned(), bytes)))
}

/// What npm warned of: packages that ask for another Node.
fn unfit(said: &str, version: &str) -> Option<String> {
    let lines = said.lines().filter(|line| line.contains("EBADENGINE"));
    let names: Vec<_> = lines.filter_map(|line| line.split_once("package: '")?.1.split('\'').next()).collect();
    let (first, others) = names.split_first()?;
    let others = if others.is_empty() { String::new() } else { format!(" and {} others", others.len()) };
    Some(format!("`{}`{others}: `engines` asks for another Node or npm than {version}", first.escape_debug()))
}

/// Looks at every binary of the package: they are for one machine, and what they need of the host is told.
fn look(runtime: Runtime, app: &Path, notes: &mut Vec<String>) -> anyhow::Result<()> {
    let machine = runtime.object.machine;
    let mut objects = host::objects(&[app])?;
    installed::hold_to_machine(app, &objects, machine)?;
    // What is for other machines, or for another C library, is never loaded.
    let is_musl = |name: &String| name.starts_with("libc.musl");
    objects.retain(|_, object| object.machine == machine && !object.needed.iter().any(is_musl));
    objects.insert(runtime.path.join("bin/node"), runtime.object);
    notes.extend(host::needs(&objects, ""));
    Ok(())
}

/// What the application sees. The project's own rules come last.
fn environment(own: &EnvTable) -> EnvTable {
    let mut env = own.clone();
    env.unset = UNSET.into_iter().map(str::to_owned).chain(own.unset.iter().cloned()).collect();
    env
}

/// A failure of a step, with what to do about it.
fn refuse<T>(text: impl Into<String>, hint: &str) -> anyhow::Result<T> {
    Failure::usage(text).hint(hint).err()
}
