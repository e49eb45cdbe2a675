//! Dependencies that are directories of this machine: each becomes a wheel first, as the project itself does, so that no
//! installer takes an older state of it from its cache, and all that is installed has its digest.

use std::fs;
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};

use pspf_format::Sha256;

use super::refuse;
use super::resolve::{Requirements, name_of};
use super::tool::Tool;
use crate::failure::At;

/// The folder of the lock file that holds for a project: its own, or that of the workspace that it is in.
pub(super) fn lock_folder(project: &Path) -> Option<&Path> {
    let has_lock = |folder: &Path| folder.join("uv.lock").is_file();
    let mut folders = project.ancestors();
    let own = folders.next().filter(|folder| has_lock(folder));
    own.or_else(|| folders.find(|folder| has_lock(folder) && is_workspace(folder)))
}

/// Whether a folder has the `pyproject.toml` of a workspace of uv's.
pub(super) fn is_workspace(folder: &Path) -> bool {
    let text = fs::read_to_string(folder.join(super::FILE_NAME)).unwrap_or_default();
    text.parse::<toml::Table>().is_ok_and(|file| {
        let uv = file.get("tool").and_then(|tool| tool.get("uv"));
        uv.is_some_and(|uv| uv.get("workspace").is_some())
    })
}

/// Replaces each directory in a list, whose paths are relative to `base`, by a wheel of it. `written` is what somebody has
/// listed, where the list was made of that: a directory that is not in it is relative to another one.
pub(super) fn build(
    list: Requirements,
    tool: &Tool,
    base: &Path,
    written: Option<&str>,
) -> anyhow::Result<Requirements> {
    list.map(|requirement| {
        let Some(Directory { path, marker, text }) = Directory::of(requirement, base) else {
            return Ok(requirement.to_owned());
        };
        if written.is_some_and(|written| !written.contains(text)) {
            return refuse(
                format!("`{}` is a directory that a directory depends on", text.escape_debug()),
                "list it too, or lock a project that depends on both: `uv lock`",
            );
        }
        if !marker.is_empty() && !tool.applies(marker)? {
            return Ok(String::new());
        }
        let wheel = tool.build(&path)?;
        let digest = Sha256::of(&fs::read(&wheel.path).at("reading", &wheel.path)?);
        Ok(format!("{} @ {} --hash=sha256:{digest}", wheel.name, file_url(&wheel.path)))
    })
}

/// A requirement that names a directory.
struct Directory<'a> {
    path: PathBuf,
    /// What has to be true for it (PEP 508).
    marker: &'a str,
    /// The directory as it is written.
    text: &'a str,
}

impl<'a> Directory<'a> {
    /// One that is a path, or the URL of one.
    fn of(requirement: &'a str, base: &Path) -> Option<Self> {
        let first = requirement.lines().next().unwrap_or_default();
        let (place, marker) = first.split_once(" ;").unwrap_or((first, ""));
        let (path, text) = match place.split_once(" @ ") {
            Some((name, url)) if !name_of(name).is_empty() => (file_path(url.trim())?, url.trim()),
            // Extras of a directory are in brackets.
            _ if place.starts_with(['.', '/']) => {
                let text = place.split_once('[').map_or(place, |(path, _)| path).trim();
                (PathBuf::from(text), text)
            }
            _ => return None,
        };
        let path = base.join(path);
        path.is_dir().then(|| Self { path, marker: marker.trim(), text })
    }
}

/// The URL of a file (RFC 8089).
pub(super) fn file_url(path: &Path) -> String {
    let mut url = "file://".to_owned();
    for byte in path.as_os_str().as_encoded_bytes() {
        if byte.is_ascii_alphanumeric() || b"/-._~".contains(byte) {
            url.push(char::from(*byte));
        } else {
            url += &format!("%{byte:02X}");
        }
    }
    url
}

/// The path of such a URL on this machine.
fn file_path(url: &str) -> Option<PathBuf> {
    let rest = url.strip_prefix("file:")?;
    let rest = rest.split('#').next().unwrap_or_default();
    let rest = rest.strip_prefix("//").unwrap_or(rest);
    let rest = rest.strip_prefix("localhost/").map_or(rest.to_owned(), |rest| format!("/{rest}"));
    let mut bytes = Vec::new();
    let mut rest = rest.as_bytes();
    while let Some((byte, after)) = rest.split_first() {
        let code = (*byte == b'%').then(|| std::str::from_utf8(after.get(..2)?).ok()).flatten();
        match code.and_then(|code| u8::from_str_radix(code, 16).ok()) {
            Some(value) => {
                bytes.push(value);
                rest = after.get(2..).unwrap_or_default();
            }
            None => {
                bytes.push(*byte);
                rest = after;
            }
        }
    }
    Some(PathBuf::from(std::ffi::OsString::from_vec(bytes)))
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
            ("./lib[extra]", Some("")),
            ("./gone", None),
            ("lib", None),
            ("lib==1 \\\n    --hash=sha256:00", None),
            ("lib @ https://x/lib.whl", None),
        ] {
            assert_eq!(Directory::of(requirement, base).map(|found| found.marker), expected, "{requirement}");
        }
    }

    #[test]
    fn urls_of_files_are_read_and_written() {
        for (path, url) in [("/a b/ü#x", "file:///a%20b/%C3%BC%23x"), ("/plain-1.0.whl", "file:///plain-1.0.whl")] {
            assert_eq!(file_url(Path::new(path)), url);
            assert_eq!(file_path(url).unwrap(), Path::new(path));
        }
        for (url, path) in [("file://localhost/a%2", "/a%2"), ("file:/a#egg=b", "/a"), ("file:///%zz", "/%zz")] {
            assert_eq!(file_path(url).unwrap(), Path::new(path));
        }
        assert_eq!(file_path("https://x/y"), None);
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
