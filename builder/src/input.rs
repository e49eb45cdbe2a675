//! What PATH is: a manifest, a directory that holds one, a bare directory or a bare executable.
//!
//! Bare input becomes the manifest that one would write for it, so that there is one way from there on.

use std::path::{Path, PathBuf};
use std::rc::Rc;

use pspf_format::{Class, Package, PackageWord};

use crate::args::PackArgs;
use crate::failure::{At, Failure, shown};
use crate::manifest::{FILE_NAME, Manifest, PackageTable, RunTable, SlotTable};
use crate::provider::{Address, hold_to_version};
use crate::workplace::Workplace;
use crate::{node, python, recipe};

/// A manifest, and the directory that its paths are relative to.
#[derive(Debug)]
pub(crate) struct Input {
    pub(crate) manifest: Manifest,
    pub(crate) base: PathBuf,
    /// The manifest file, for messages.
    pub(crate) file: Option<PathBuf>,
    /// What of the input is not in the package, for people.
    pub(crate) notes: Vec<String>,
    /// Where it was unpacked to, if it was.
    pub(crate) staging: Option<Rc<Workplace>>,
}

/// The version of input that says none.
const NO_VERSION: &str = "0.0.0";
/// The only slot of bare input.
const SLOT: &str = "app";

impl Input {
    /// Finds out what was given.
    pub(crate) fn find(args: &PackArgs) -> anyhow::Result<Self> {
        if let Some(requirement) = &args.python.python {
            if args.path != Path::new(".") {
                return Failure::usage(format!("`--python` names the application, and so does {}", shown(&args.path)))
                    .hint("leave one of them out")
                    .err();
            }
            args.node.hold_to_none()?;
            return python::of_index(requirement, &args.python);
        }
        let path = &args.path;
        let metadata = path.metadata().at("reading", path)?;
        let is_bare = args.exec.is_some() || path.join(FILE_NAME).exists();
        if let Some(folder) = if is_bare { None } else { node::folder(path)? } {
            args.python.hold_to_entry()?;
            return node::of_folder(&folder, args);
        }
        args.node.hold_to_none()?;
        if metadata.is_dir() {
            let manifest = path.join(FILE_NAME);
            if manifest.exists() || args.exec.is_some() {
                args.python.hold_to_none()?;
            }
            return match (&args.exec, manifest.exists()) {
                (None, true) => Self::manifest(manifest, path),
                (None, false) if path.join(python::FILE_NAME).is_file() => python::of_folder(path, &args.python),
                (None, false) => {
                    Failure::usage(format!("{} holds no `{FILE_NAME}`, and `--exec` is not given", shown(path)))
                        .hint("name the program in it: `pspf pack DIRECTORY --exec bin/PROGRAM`")
                        .err()
                }
                (Some(_), true) => {
                    Failure::usage(format!("{} holds a `{FILE_NAME}`, which names the program", shown(path)))
                        .hint("leave `--exec` out, or pack another directory")
                        .err()
                }
                (Some(exec), false) => Self::directory(path, exec),
            };
        }
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        if name == python::FILE_NAME || name == "uv.lock" {
            return python::of_folder(path.parent().unwrap_or(Path::new("")), &args.python);
        }
        if name.ends_with(".txt") {
            return python::of_requirements(path, &args.python);
        }
        args.python.hold_to_none()?;
        if let Some(exec) = &args.exec {
            return Failure::usage(format!(
                "`--exec {}` belongs to a directory, {} is none",
                exec.escape_debug(),
                shown(path)
            ))
            .err();
        }
        if path.extension().is_some_and(|extension| extension == "toml") {
            return Self::manifest(path.clone(), path.parent().unwrap_or(Path::new("")));
        }
        if path.extension().is_some_and(|extension| extension == "json") {
            return crate::reference_manifest::read(path);
        }
        Self::executable(path, &metadata)
    }

    /// A manifest whose paths are absolute.
    pub(crate) fn of(manifest: Manifest, file: Option<PathBuf>) -> Self {
        Self { manifest, base: PathBuf::new(), file, notes: Vec::new(), staging: None }
    }

    fn manifest(file: PathBuf, base: &Path) -> anyhow::Result<Self> {
        let mut manifest = Manifest::read(&file)?;
        let built = recipe::build(&mut manifest, base).map_err(|error| error.context(shown(&file)))?;
        let (notes, staging) = built.unzip();
        let staging = staging.map(Rc::new);
        Ok(Self { base: base.to_owned(), notes: notes.unwrap_or_default(), staging, ..Self::of(manifest, Some(file)) })
    }

    fn directory(path: &Path, exec: &str) -> anyhow::Result<Self> {
        let program = exec.split('/').filter(|name| !name.is_empty() && *name != ".").collect::<Vec<_>>().join("/");
        if exec.starts_with('/') || program.is_empty() || program.split('/').any(|name| name == "..") {
            return Failure::usage(format!("`--exec {}` is not a path inside the directory", exec.escape_debug()))
                .hint(format!("it is relative to {}", shown(path)))
                .err();
        }
        let program = program.replace('{', "{{").replace('}', "}}");
        Self::bare(path, format!("{{slot:{SLOT}}}/{program}"))
    }

    fn executable(path: &Path, metadata: &std::fs::Metadata) -> anyhow::Result<Self> {
        if !metadata.is_file() {
            return Failure::usage(format!(
                "{} is {}, which cannot be packed",
                shown(path),
                crate::tree::kind(metadata)
            ))
            .err();
        }
        if crate::tree::mode(metadata) != pspf_format::Mode::Executable {
            return Failure::new(Class::Entry, format!("{} is not executable", shown(path)))
                .hint("`chmod +x` it, or pack a directory with `--exec`")
                .err();
        }
        Self::bare(path, format!("{{slot:{SLOT}}}"))
    }

    fn bare(path: &Path, program: String) -> anyhow::Result<Self> {
        let source = std::path::absolute(path).at("opening", path)?;
        let real = path.canonicalize().at("opening", path)?;
        let named = if path.file_name().is_some() { &source } else { &real };
        let name = legal_name(&named.file_name().unwrap_or_default().to_string_lossy());
        let slot = SlotTable { id: SLOT.to_owned(), source, ..SlotTable::default() };
        let manifest = Manifest {
            package: PackageTable { name, version: NO_VERSION.to_owned(), description: None },
            run: RunTable { command: vec![program], ..RunTable::default() },
            recipe: None,
            slots: vec![slot],
        };
        Ok(Self::of(manifest, None))
    }

    /// Everything that is packed.
    pub(crate) fn sources(&self) -> Vec<PathBuf> {
        self.manifest.slots.iter().map(|slot| self.base.join(&slot.source)).collect()
    }

    /// Name, version and description, those of the command line first.
    pub(crate) fn package(&self, args: &PackArgs) -> anyhow::Result<Package> {
        let table = &self.manifest.package;
        let word = |typed: &Option<String>, option: &str, written: &str, key: &str| {
            let (text, origin) = match typed {
                Some(text) => (text.as_str(), option),
                None => (written, key),
            };
            PackageWord::try_from(text).map_err(|error| Failure::usage(format!("`{origin}`")).because(error))
        };
        let version = word(&args.package_version, "--package-version", &table.version, "package.version")?;
        if args.provider.is_some() {
            if args.package_version.is_none() && version.as_str() == NO_VERSION {
                return Failure::usage("a provider needs a version").hint("give it with `--package-version`").err();
            }
            hold_to_version(version.as_str())?;
        }
        let name = args.provider.as_ref().map(Address::program).or_else(|| args.name.clone());
        Ok(Package {
            name: word(&name, "--name", &table.name, "package.name")?,
            version,
            description: table.description.clone(),
        })
    }
}

/// A name as a package may have it, made of the name of a file.
pub(crate) fn legal_name(name: &str) -> String {
    let fits = |c: char| c.is_ascii_alphanumeric() || "._+-".contains(c);
    let name: String = name.chars().map(|c| if fits(c) { c } else { '-' }).take(128).collect();
    let name = name.trim_start_matches(|c: char| !c.is_ascii_alphanumeric() && c != '_');
    if name.is_empty() { SLOT.to_owned() } else { name.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_files_become_names_of_packages() {
        for (name, expected) in [
            ("tool", "tool"),
            ("my tool", "my-tool"),
            (".hidden", "hidden"),
            ("größe", "gr--e"),
            ("", "app"),
            ("é", "app"),
        ] {
            assert_eq!(legal_name(name), expected);
            assert!(PackageWord::try_from(expected).is_ok());
        }
    }
}
