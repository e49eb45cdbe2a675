//! `pyproject.toml`: what a project says of its package, in `[tool.pspf]`, and in `[tool.flavor]` of the reference tools.

use std::fs;
use std::path::{Path, PathBuf};

use serde::Deserialize;

use super::refuse;
use crate::failure::{At, Failure, shown};
use crate::manifest::{EnvTable, SlotTable};

/// Its file name.
pub(crate) const FILE_NAME: &str = "pyproject.toml";

/// A project.
#[derive(Debug)]
pub(super) struct Project {
    pub(super) folder: PathBuf,
    pub(super) options: Options,
}

/// What is said of the package beside what its wheel says.
#[derive(Clone, Debug, Default)]
pub(super) struct Options {
    pub(super) name: Option<String>,
    pub(super) version: Option<String>,
    pub(super) description: Option<String>,
    pub(super) entry: Option<String>,
    pub(super) prefix: Option<PathBuf>,
    /// The versions of Python that it runs with (`requires-python`).
    pub(super) versions: Option<String>,
    pub(super) build_sdists: bool,
    /// Whether only a lock file says what its dependencies are.
    pub(super) needs_lock: bool,
    pub(super) env: EnvTable,
    pub(super) slots: Vec<SlotTable>,
    /// What is not taken over, for people.
    pub(super) ignored: Vec<String>,
}

#[derive(Deserialize)]
struct File {
    project: Option<ProjectTable>,
    #[serde(default)]
    tool: Tools,
}

#[derive(Deserialize)]
struct ProjectTable {
    description: Option<String>,
    #[serde(rename = "requires-python")]
    requires_python: Option<String>,
}

#[derive(Default, Deserialize)]
struct Tools {
    pspf: Option<Own>,
    flavor: Option<toml::Table>,
    #[serde(default)]
    uv: toml::Table,
}

/// `[tool.pspf]`.
#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Own {
    name: Option<String>,
    entry: Option<String>,
    python_prefix: Option<PathBuf>,
    #[serde(default)]
    build_sdists: bool,
    #[serde(default)]
    env: EnvTable,
    #[serde(rename = "slot", default)]
    slots: Vec<SlotTable>,
}

impl Project {
    pub(super) fn read(folder: &Path) -> anyhow::Result<Self> {
        // What a file's name alone is beside.
        let folder = if folder.as_os_str().is_empty() { Path::new(".") } else { folder };
        let folder = folder.canonicalize().at("opening", folder)?;
        let path = folder.join(FILE_NAME);
        let text = fs::read_to_string(&path).at("reading", &path)?;
        let named = |error: anyhow::Error| error.context(shown(&path));
        let file: File = toml::from_str(&text).map_err(|error| named(Failure::usage(error.to_string()).into()))?;
        let Some(project) = file.project else {
            return refuse(
                format!("{} has no `[project]`", shown(&path)),
                "a recipe needs the metadata that every packaging tool reads",
            );
        };
        let mut options = match (file.tool.pspf, file.tool.flavor) {
            (Some(own), _) => Options {
                name: own.name,
                entry: own.entry,
                prefix: own.python_prefix.map(|prefix| folder.join(prefix)),
                build_sdists: own.build_sdists,
                env: own.env,
                slots: own.slots,
                ..Options::default()
            },
            (None, Some(table)) => flavor(&table).map_err(named)?,
            (None, None) => Options::default(),
        };
        options.description = project.description;
        options.versions = project.requires_python;
        let is_member = || folder.ancestors().skip(1).any(super::local::is_workspace);
        options.needs_lock = ["sources", "workspace"].iter().any(|key| file.tool.uv.contains_key(*key)) || is_member();
        Ok(Self { folder, options })
    }
}

/// What `[tool.flavor]` says, as far as it has a like here; the rest is named.
fn flavor(table: &toml::Table) -> anyhow::Result<Options> {
    let mut options = Options::default();
    let text = |value: &toml::Value, key: &str| match value.as_str() {
        Some(text) => Ok(Some(text.to_owned())),
        None => Err(anyhow::Error::from(Failure::usage(format!("`tool.flavor.{key}` is no text")))),
    };
    let mut ignored = Vec::new();
    for (key, value) in table {
        match (key.as_str(), value) {
            ("name", value) => options.name = text(value, key)?,
            ("version", value) => options.version = text(value, key)?,
            ("entry_point", value) => options.entry = text(value, key)?,
            ("metadata" | "execution", toml::Value::Table(inner)) => {
                for (name, value) in inner {
                    match (key.as_str(), name.as_str(), value) {
                        ("metadata", "package_name", value) => {
                            options.name = options.name.or(text(value, "metadata.package_name")?);
                        }
                        ("execution", "runtime", toml::Value::Table(runtime))
                            if runtime.keys().all(|key| key == "env") =>
                        {
                            options.env = flavor_env(runtime, &mut ignored)?;
                        }
                        _ => ignored.push(format!("{key}.{name}")),
                    }
                }
            }
            _ => ignored.push(key.clone()),
        }
    }
    options.ignored = ignored.iter().map(|key| format!("`tool.flavor.{key}` is ignored")).collect();
    Ok(options)
}

fn flavor_env(runtime: &toml::Table, ignored: &mut Vec<String>) -> anyhow::Result<EnvTable> {
    let Some(toml::Value::Table(env)) = runtime.get("env") else { return Ok(EnvTable::default()) };
    let mut env = env.clone();
    if env.remove("isolated").is_some() {
        ignored.push("execution.runtime.env.isolated".to_owned());
    }
    let mut rules: EnvTable = env
        .try_into()
        .map_err(|error: toml::de::Error| Failure::usage("`tool.flavor.execution.runtime.env`").because(error))?;
    // Its values are no templates.
    for value in rules.set.values_mut() {
        *value = value.replace('{', "{{").replace('}', "}}");
    }
    Ok(rules)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> anyhow::Result<Options> {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join(FILE_NAME), text).unwrap();
        Project::read(folder.path()).map(|project| project.options)
    }

    #[test]
    fn the_table_of_the_reference_tools_is_mapped_and_the_rest_is_named() {
        let options = read(
            "[project]\nname = 'p'\ndescription = 'says'\n[tool.flavor]\nentry_point = 'p.cli:main'\ntype = 'python'\n\
             [tool.flavor.metadata]\npackage_name = 'other'\n[tool.flavor.build]\ndependencies = []\n\
             [tool.flavor.execution.runtime.env]\nisolated = true\nunset = ['A*']\npass = ['B']\nset = { C = '{x}' }\nmap = { D = 'E' }\n",
        )
        .unwrap();
        assert_eq!(options.name.as_deref(), Some("other"));
        assert_eq!(options.entry.as_deref(), Some("p.cli:main"));
        assert_eq!(options.description.as_deref(), Some("says"));
        assert_eq!((&options.env.unset[..], &options.env.pass[..]), (&["A*".to_owned()][..], &["B".to_owned()][..]));
        assert_eq!((options.env.set["C"].as_str(), options.env.map["D"].as_str()), ("{{x}}", "E"));
        let ignored =
            ["build", "execution.runtime.env.isolated", "type"].map(|key| format!("`tool.flavor.{key}` is ignored"));
        let mut found = options.ignored;
        found.sort();
        assert_eq!(found, ignored);
    }

    #[test]
    fn what_is_not_understood_is_told() {
        for (text, expected) in [
            ("[tool.pspf]\n", "no `[project]`"),
            ("[project]\nname = 'p'\n[tool.pspf]\nentri = 'x'\n", "unknown field `entri`"),
            ("[project]\nname = 'p'\n[tool.flavor]\nentry_point = 3\n", "`tool.flavor.entry_point` is no text"),
            ("[project", "line 1"),
        ] {
            let said = format!("{:#}", read(text).unwrap_err());
            assert!(said.contains(expected), "{said}");
        }
        let own = read(
            "[project]\nname = 'p'\n[tool.pspf]\nentry = 'x'\nenv.set = { A = '{workenv}' }\n[tool.flavor]\nx = 1\n",
        )
        .unwrap();
        assert_eq!((own.entry.as_deref(), own.env.set["A"].as_str()), (Some("x"), "{workenv}"));
        assert_eq!(own.ignored, [""; 0]);
    }
}
