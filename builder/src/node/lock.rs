//! The lock file of npm: what an installation holds, and what of that lies in the project itself.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Component, Path, PathBuf};

use serde::Deserialize;

use super::project::{FILE_NAME, Project};
use super::refuse;
use crate::failure::{At, Failure, shown};

/// Its names, in the order in which npm looks for them.
pub(super) const NAMES: [&str; 2] = ["npm-shrinkwrap.json", "package-lock.json"];
/// Those of others.
const FOREIGN: [(&str, &str); 4] =
    [("yarn.lock", "Yarn"), ("pnpm-lock.yaml", "pnpm"), ("bun.lock", "Bun"), ("bun.lockb", "Bun")];

/// A lock file.
#[derive(Debug, Default)]
pub(super) struct Lock {
    pub(super) path: PathBuf,
    /// Whether something in it runs code of its own when it is installed.
    pub(super) has_scripts: bool,
    /// What it takes from the project, relative to it.
    pub(super) local: Vec<PathBuf>,
    /// What the registry could change.
    pub(super) without_digest: Vec<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct File {
    #[serde(default)]
    lockfile_version: u32,
    #[serde(default)]
    packages: BTreeMap<String, Entry>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", default)]
#[derive(Default)]
struct Entry {
    resolved: Option<String>,
    integrity: Option<String>,
    link: bool,
    dev: bool,
    in_bundle: bool,
    has_install_script: bool,
}

impl Lock {
    /// The lock file of a project; `None` where it has none and needs none.
    pub(super) fn find(project: &Project) -> anyhow::Result<Option<Self>> {
        let folder = &project.folder;
        if let Some(path) = NAMES.iter().map(|name| folder.join(name)).find(|path| path.is_file()) {
            let text = fs::read_to_string(&path).at("reading", &path)?;
            return Self::parse(&text, path.clone()).map(Some).map_err(|error| error.context(shown(&path)));
        }
        if project.has_nothing_to_install {
            return Ok(None);
        }
        let make = "`npm install --package-lock-only` makes one";
        if let Some((name, tool)) = FOREIGN.iter().find(|(name, _)| folder.join(name).exists()) {
            return refuse(
                format!("{} has `{name}` of {tool}, and no lock file of npm", shown(folder)),
                &format!("{make} beside it; or let {tool} install, and pack its result by a `pspf.toml`"),
            );
        }
        let above = folder.ancestors().skip(1).find(|above| {
            let text = fs::read_to_string(above.join(FILE_NAME)).unwrap_or_default();
            text.contains("\"workspaces\"") && NAMES.iter().any(|name| above.join(name).is_file())
        });
        match above {
            Some(root) => refuse(
                format!("{} has no lock file: it is one of the workspaces of {}", shown(folder), shown(root)),
                &format!("pack those, and name the command: `pspf pack {} --entry NAME`", root.display()),
            ),
            None => refuse(format!("{} has dependencies and no `package-lock.json`", shown(folder)), make),
        }
    }

    fn parse(text: &str, path: PathBuf) -> anyhow::Result<Self> {
        let file: File = serde_json::from_str(text).map_err(|error| Failure::usage(error.to_string()))?;
        if file.lockfile_version < 2 {
            return refuse(
                format!("its `lockfileVersion` is {}, and 2 is the first that is complete", file.lockfile_version),
                "`npm install --package-lock-only` of npm 7 or newer writes it anew",
            );
        }
        let mut lock = Self { path, ..Self::default() };
        for (place, entry) in file.packages.into_iter().filter(|(_, entry)| !entry.dev) {
            lock.has_scripts |= entry.has_install_script;
            let resolved = entry.resolved.unwrap_or_default();
            let name = place.rsplit("node_modules/").next().unwrap_or(&place);
            let local = if entry.link { Some(resolved.as_str()) } else { resolved.strip_prefix("file:") };
            if let Some(local) = local {
                lock.local.push(below(local, name)?);
            } else if entry.integrity.is_none()
                && place.contains("node_modules/")
                && !entry.in_bundle
                && !resolved.starts_with("git")
            {
                lock.without_digest.push(name.to_owned());
            }
        }
        Ok(lock)
    }
}

/// A path in the project.
fn below(path: &str, name: &str) -> anyhow::Result<PathBuf> {
    let parts = Path::new(path).components().filter(|part| *part != Component::CurDir);
    let clean: PathBuf = parts.clone().collect();
    if parts.clone().all(|part| matches!(part, Component::Normal(_))) && clean != Path::new("") {
        return Ok(clean);
    }
    refuse(
        format!("`{}` is at `{}`, which is not in the project", name.escape_debug(), path.escape_debug()),
        "`npm pack` it, and depend on the archive in the project: `npm install ./NAME-1.0.0.tgz`",
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(packages: &str) -> anyhow::Result<Lock> {
        Lock::parse(&format!(r#"{{"lockfileVersion": 3, "packages": {{{packages}}}}}"#), PathBuf::new())
    }

    #[test]
    fn what_is_of_the_project_and_what_has_no_digest_is_found() {
        let lock = parse(
            r#""": {"name": "x"}, "node_modules/a": {"resolved": "./packages/a", "link": true}, "packages/a": {},
            "node_modules/b": {"resolved": "file:b.tgz", "integrity": "sha512-x"},
            "node_modules/c": {"resolved": "https://example.org/c.tgz"},
            "node_modules/c/node_modules/d": {"inBundle": true},
            "node_modules/e": {"integrity": "sha512-x", "hasInstallScript": true},
            "node_modules/f": {"resolved": "git+ssh://git@example.org/f.git#0123"},
            "node_modules/g": {"resolved": "../g", "link": true, "dev": true}"#,
        )
        .unwrap();
        assert_eq!(lock.local, [Path::new("packages/a"), Path::new("b.tgz")]);
        assert_eq!(lock.without_digest, ["c"]);
        assert!(lock.has_scripts);
    }

    #[test]
    fn what_cannot_be_installed_elsewhere_is_told() {
        let said = |result: anyhow::Result<Lock>| format!("{:#}", result.unwrap_err());
        for path in ["../g", "/g", "a/../../g", "."] {
            let text = said(parse(&format!(r#""node_modules/@s/g": {{"resolved": "{path}", "link": true}}"#)));
            assert!(text.contains(&format!("`@s/g` is at `{path}`")), "{text}");
        }
        assert!(said(Lock::parse(r#"{"lockfileVersion": 1}"#, PathBuf::new())).contains("`lockfileVersion` is 1"));
        assert!(said(Lock::parse("<<<<<<< HEAD", PathBuf::new())).contains("line 1"));
    }
}
