//! Dependencies that are directories of this machine: each becomes a wheel first, as the project itself does, so that no
//! installer takes an older state of it from its cache, and all that is installed has its digest.

use std::fs;
use std::path::{Path, PathBuf};

use pspf_format::Sha256;

use super::resolve::{Requirements, name_of};
use super::tool::Tool;
use crate::failure::At;

/// The folder of the lock file that holds for a project: its own, or that of the workspace that it is in.
pub(super) fn lock_folder(project: &Path) -> Option<&Path> {
    let is_workspace = |folder: &Path| {
        let text = fs::read_to_string(folder.join(super::FILE_NAME)).unwrap_or_default();
        text.parse::<toml::Table>().is_ok_and(|file| {
            let uv = file.get("tool").and_then(|tool| tool.get("uv"));
            uv.is_some_and(|uv| uv.get("workspace").is_some())
        })
    };
    let has_lock = |folder: &Path| folder.join("uv.lock").is_file();
    let mut folders = project.ancestors();
    let own = folders.next().filter(|folder| has_lock(folder));
    own.or_else(|| folders.find(|folder| has_lock(folder) && is_workspace(folder)))
}

/// Replaces each directory in a list, whose paths are relative to `base`, by a wheel of it.
pub(super) fn build(list: Requirements, tool: &Tool, base: &Path) -> anyhow::Result<Requirements> {
    list.map(|requirement| {
        let Some((folder, marker)) = folder(requirement, base) else { return Ok(requirement.to_owned()) };
        let wheel = tool.build(&folder)?;
        let digest = Sha256::of(&fs::read(&wheel.path).at("reading", &wheel.path)?);
        let marker = if marker.is_empty() { String::new() } else { format!(" ; {marker}") };
        Ok(format!("{} @ file://{}{marker} --hash=sha256:{digest}", wheel.name, wheel.path.display()))
    })
}

/// The directory that a requirement names, as a path or as the URL of one, and the marker that goes with it.
fn folder<'a>(requirement: &'a str, base: &Path) -> Option<(PathBuf, &'a str)> {
    let first = requirement.lines().next().unwrap_or_default();
    let (place, marker) = first.split_once(" ;").unwrap_or((first, ""));
    let path = match place.split_once(" @ ") {
        Some((name, url)) if !name_of(name).is_empty() => url.trim().strip_prefix("file://")?,
        _ if place.starts_with(['.', '/']) => place,
        _ => return None,
    };
    let path = base.join(path.trim());
    path.is_dir().then(|| (path, marker.trim()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn directories_are_told_from_what_is_on_the_index() {
        let base = tempfile::tempdir().unwrap();
        let base = base.path();
        fs::create_dir(base.join("lib")).unwrap();
        let url = format!("lib @ file://{}", base.join("lib").display());
        for (requirement, expected) in [
            ("./lib", Some("")),
            ("./lib ; python_full_version >= '3.9'", Some("python_full_version >= '3.9'")),
            (&url, Some("")),
            ("./gone", None),
            ("lib", None),
            ("lib==1 \\\n    --hash=sha256:00", None),
            ("lib @ https://x/lib.whl", None),
        ] {
            assert_eq!(folder(requirement, base).map(|(_, marker)| marker), expected, "{requirement}");
        }
    }

    #[test]
    fn a_member_of_a_workspace_has_the_lock_of_that() {
        let root = tempfile::tempdir().unwrap();
        let member = root.path().join("packages/a");
        fs::create_dir_all(&member).unwrap();
        fs::write(root.path().join("uv.lock"), "").unwrap();
        assert_eq!(lock_folder(&member), None, "a lock of something else");
        fs::write(root.path().join("pyproject.toml"), "[tool.uv.workspace]\nmembers = ['packages/*']\n").unwrap();
        assert_eq!(lock_folder(&member), Some(root.path()));
        fs::write(member.join("uv.lock"), "").unwrap();
        assert_eq!(lock_folder(&member), Some(member.as_path()));
    }
}
