//! The manifest `pspf.toml`: what the user wrote, and nothing more.
//!
//! An unknown key is an error with its line, never skipped. What the texts mean is for [`crate::plan`].

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::Deserialize;

use crate::failure::{At, Failure};

/// Its file name.
pub(crate) const FILE_NAME: &str = "pspf.toml";

/// The whole manifest.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Manifest {
    pub(crate) package: PackageTable,
    pub(crate) run: RunTable,
    pub(crate) recipe: Option<RecipeTable>,
    #[serde(rename = "slot", default)]
    pub(crate) slots: Vec<SlotTable>,
}

/// `[package]`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct PackageTable {
    pub(crate) name: String,
    pub(crate) version: String,
    pub(crate) description: Option<String>,
}

/// `[recipe]`: the project's own build.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct RecipeTable {
    pub(crate) command: Vec<String>,
}

/// `[run]`.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct RunTable {
    pub(crate) command: Vec<String>,
    pub(crate) argv0: Option<String>,
    pub(crate) cwd: Option<String>,
    #[serde(default)]
    pub(crate) env: EnvTable,
    #[serde(default)]
    pub(crate) setup: Vec<Vec<String>>,
    #[serde(default)]
    pub(crate) shutdown: Vec<Vec<String>>,
}

/// `[run.env]`.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct EnvTable {
    #[serde(default)]
    pub(crate) set: BTreeMap<String, String>,
    #[serde(default)]
    pub(crate) unset: Vec<String>,
    #[serde(default)]
    pub(crate) pass: Vec<String>,
    #[serde(default)]
    pub(crate) map: BTreeMap<String, String>,
}

/// `[[slot]]`.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct SlotTable {
    pub(crate) id: String,
    pub(crate) source: PathBuf,
    pub(crate) target: Option<String>,
    pub(crate) lifecycle: Option<String>,
    pub(crate) operations: Option<String>,
    pub(crate) permissions: Option<String>,
    pub(crate) platform: Option<String>,
    #[serde(default)]
    pub(crate) include: Vec<String>,
    #[serde(default)]
    pub(crate) exclude: Vec<String>,
    pub(crate) links: Option<String>,
}

impl Manifest {
    /// Reads the manifest file.
    pub(crate) fn read(path: &Path) -> anyhow::Result<Self> {
        if !path.metadata().at("reading", path)?.is_file() {
            return Failure::usage(format!("{} is no regular file", crate::failure::shown(path))).err();
        }
        let bytes = std::fs::read(path).at("reading", path)?;
        let text = String::from_utf8(bytes)
            .map_err(|_| Failure::usage(format!("{} is not UTF-8", crate::failure::shown(path))))?;
        Self::parse(&text).map_err(|error| error.context(crate::failure::shown(path)))
    }

    fn parse(text: &str) -> anyhow::Result<Self> {
        // toml's own text names line and column and shows the line.
        let manifest: Self = toml::from_str(text).map_err(|error| {
            let text = error.to_string();
            let hint = text.contains("unknown field").then_some("`pspf pack --help` shows a manifest");
            let failure = Failure::usage(text);
            match hint {
                Some(hint) => failure.hint(hint),
                None => failure,
            }
        })?;
        if let Some(slot) = manifest.slots.iter().find(|slot| slot.source.as_os_str().is_empty()) {
            return Failure::usage(format!("slot `{}`: `source` is empty", slot.id.escape_debug()))
                .hint("write `.` for the directory of the manifest")
                .err();
        }
        if manifest.slots.is_empty() {
            return Failure::usage("there is no `[[slot]]`, so nothing to pack")
                .hint("`pspf pack --help` shows a manifest")
                .err();
        }
        Ok(manifest)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str =
        "[package]\nname = 'x'\nversion = '1'\n[run]\ncommand = ['{slot:a}']\n[[slot]]\nid='a'\nsource='s'\n";

    #[test]
    fn the_design_example_is_read() {
        let text = "[package]\nname = \"greet\"\nversion = \"1.2.0\"\ndescription = \"says hello\"\n[run]\n\
            command = [\"{slot:python}/bin/python3\", \"-I\"]\nenv.set = { APP_MODE = \"prod\" }\n\
            env.unset = [\"PYTHONPATH\"]\n[[slot]]\nid = \"python\"\nsource = \"build/python\"\n\
            exclude = [\"**/__pycache__\"]\n";
        let manifest = Manifest::parse(text).unwrap();
        assert_eq!(manifest.run.env.set["APP_MODE"], "prod");
        assert_eq!(manifest.slots[0].exclude, ["**/__pycache__"]);
    }

    #[test]
    fn errors_name_the_line() {
        for (from, to, expected) in [
            ("version = '1'", "versoin = '1'", "unknown field `versoin`"),
            ("version = '1'", "", "missing field `version`"),
            ("id='a'", "id=3", "line 7"),
            ("[run]", "[run", "line 4"),
            ("[[slot]]\nid='a'\nsource='s'", "", "no `[[slot]]`"),
            ("[[slot]]", "setup = ['a b']\n[[slot]]", "line 6"),
            ("id='a'", "id='a'\nid='b'", "duplicate key"),
        ] {
            let error = Manifest::parse(&GOOD.replace(from, to)).unwrap_err();
            assert!(format!("{error:#}").contains(expected), "{error:#}");
        }
    }
}
