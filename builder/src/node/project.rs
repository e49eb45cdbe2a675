//! `package.json`: what a project says of itself, and of its package in `"pspf"`.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use serde_json::Value;

use super::refuse;
use crate::failure::{At, Failure, shown};
use crate::manifest::{EnvTable, SlotTable};

/// Its file name.
pub(super) const FILE_NAME: &str = "package.json";

/// A project.
#[derive(Debug)]
pub(super) struct Project {
    /// Without links.
    pub(super) folder: PathBuf,
    /// As npm has it, with its scope.
    pub(super) name: String,
    pub(super) version: String,
    pub(super) description: Option<String>,
    /// Commands, and the files in the project that they are.
    pub(super) bins: BTreeMap<String, String>,
    /// What is started where there is no command.
    pub(super) main: Option<String>,
    /// Whether it can do without a lock file.
    pub(super) has_nothing_to_install: bool,
    pub(super) own: Own,
}

/// `"pspf"`: all of it optional.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Own {
    pub(super) name: Option<String>,
    pub(super) version: Option<String>,
    pub(super) description: Option<String>,
    pub(super) entry: Option<String>,
    /// A version, or the path of one, relative to the project.
    pub(super) node: Option<String>,
    #[serde(default)]
    pub(super) env: EnvTable,
    #[serde(rename = "slot", default)]
    pub(super) slots: Vec<SlotTable>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct File {
    name: Option<String>,
    version: Option<String>,
    description: Option<String>,
    bin: Option<Bin>,
    main: Option<String>,
    #[serde(default)]
    dependencies: BTreeMap<String, Value>,
    #[serde(default)]
    optional_dependencies: BTreeMap<String, Value>,
    #[serde(default)]
    peer_dependencies: BTreeMap<String, Value>,
    #[serde(default)]
    scripts: BTreeMap<String, Value>,
    workspaces: Option<Value>,
    pspf: Option<Own>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Bin {
    One(String),
    Many(BTreeMap<String, String>),
}

impl Project {
    pub(super) fn read(folder: &Path) -> anyhow::Result<Self> {
        let folder = if folder.as_os_str().is_empty() { Path::new(".") } else { folder };
        let folder = folder.canonicalize().at("opening", folder)?;
        let path = folder.join(FILE_NAME);
        let text = fs::read_to_string(&path).at("reading", &path)?;
        let named = |error: anyhow::Error| error.context(shown(&path));
        let file: File =
            serde_json::from_str(&text).map_err(|error| named(Failure::usage(error.to_string()).into()))?;
        let missing = |key: &str, value: &str| {
            let hint = format!("npm packs nothing without it: `npm pkg set {key}={value}`");
            Failure::usage(format!("{} has no `{key}`", shown(&path))).hint(hint)
        };
        let name = file.name.ok_or_else(|| missing("name", "NAME"))?;
        let version = file.version.ok_or_else(|| missing("version", "1.0.0"))?;
        let installs = ["preinstall", "install", "postinstall"].iter().any(|script| file.scripts.contains_key(*script));
        let has_nothing_to_install = file.dependencies.is_empty()
            && file.optional_dependencies.is_empty()
            && file.peer_dependencies.is_empty()
            && file.workspaces.is_none()
            && !installs
            && !folder.join("binding.gyp").exists();
        let bins = match file.bin {
            None => BTreeMap::new(),
            Some(Bin::One(path)) => BTreeMap::from([(base_name(&name).to_owned(), path)]),
            Some(Bin::Many(bins)) => bins.into_iter().map(|(name, path)| (base_name(&name).to_owned(), path)).collect(),
        };
        let bins = bins.into_iter().map(|(name, path)| Ok((name, inside(&path, "bin").map_err(named)?)));
        Ok(Self {
            bins: bins.collect::<anyhow::Result<_>>()?,
            main: file.main,
            description: file.description,
            has_nothing_to_install,
            own: file.pspf.unwrap_or_default(),
            folder,
            name,
            version,
        })
    }

    /// Its name without the scope, which is what its command is called by default.
    pub(super) fn base_name(&self) -> &str {
        base_name(&self.name)
    }
}

/// A name without its scope.
fn base_name(name: &str) -> &str {
    name.rsplit('/').next().unwrap_or(name)
}

/// A path in the project, as archives have it.
pub(super) fn inside(path: &str, key: &str) -> anyhow::Result<String> {
    let parts: Vec<&str> = path.split('/').filter(|name| !name.is_empty() && *name != ".").collect();
    if parts.is_empty() || parts.contains(&"..") {
        return refuse(
            format!("`{key}` is `{}`, which is not in the project", path.escape_debug()),
            "it is relative to the folder of `package.json`",
        );
    }
    Ok(parts.join("/"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> anyhow::Result<Project> {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join(FILE_NAME), text).unwrap();
        Project::read(folder.path())
    }

    #[test]
    fn commands_have_the_names_that_npm_gives_them() {
        let project = read(r#"{"name": "@me/tool", "version": "1.2.3-rc.1", "bin": "./cli.js"}"#).unwrap();
        assert_eq!(project.bins, BTreeMap::from([("tool".to_owned(), "cli.js".to_owned())]));
        assert!(project.has_nothing_to_install);
        let text = r#"{"name": "a", "version": "1", "bin": {"a": "bin/a", "@x/b": "/bin//b"}, "peerDependencies": {"c": "1"},
            "pspf": {"node": "22", "env": {"set": {"A": "{workenv}"}, "unset": ["B*"]}, "slot": [{"id": "s", "source": "d"}]}}"#;
        let project = read(text).unwrap();
        assert_eq!(project.bins.into_iter().collect::<Vec<_>>(), [("a", "bin/a"), ("b", "bin/b")].map(owned));
        assert!(!project.has_nothing_to_install);
        assert_eq!((project.own.node.as_deref(), project.own.slots[0].id.as_str()), (Some("22"), "s"));
        assert_eq!(project.own.env.set["A"], "{workenv}");
    }

    fn owned((name, path): (&str, &str)) -> (String, String) {
        (name.to_owned(), path.to_owned())
    }

    #[test]
    fn what_is_not_understood_is_told() {
        for (text, expected) in [
            ("{", "EOF while parsing"),
            (r#"{"name": "a"}"#, "has no `version`"),
            (r#"{"version": "1"}"#, "has no `name`"),
            (r#"{"name": "a", "version": "1", "pspf": {"entri": "x"}}"#, "unknown field `entri`"),
            (r#"{"name": "a", "version": "1", "bin": "../x.js"}"#, "`bin` is `../x.js`"),
        ] {
            let said = format!("{:#}", read(text).unwrap_err());
            assert!(said.contains(expected) && said.contains(FILE_NAME), "{said}");
        }
    }
}
