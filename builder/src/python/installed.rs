//! What an installer has put into a directory, made fit to be packed: no path of this machine, nothing of the moment.

use std::fs;
use std::path::{Path, PathBuf};

use super::refuse;
use super::resolve::canonical;
use crate::each_file::each_file;
use crate::failure::{At, shown};

/// The variable that tells scripts where the interpreter is: it is in another slot.
pub(super) const PROGRAM_VARIABLE: &str = "PSPF_PYTHON";
/// What installers write for themselves.
const NOTES: [&str; 5] = ["direct_url.json", "uv_cache.json", "uv_build.json", "INSTALLER", "REQUESTED"];

/// An installed distribution.
#[derive(Debug)]
pub(super) struct Installed {
    pub(super) name: String,
    pub(super) version: String,
    /// Its `.dist-info`.
    pub(super) info: PathBuf,
}

impl Installed {
    /// Tidies these directories and returns what is in them, in the order of the names.
    pub(super) fn tidy(trees: &[&Path], work: &Path) -> anyhow::Result<Vec<Self>> {
        let mut found = Vec::new();
        for tree in trees.iter().filter(|tree| tree.exists()) {
            scripts(tree, work)?;
            let entries = fs::read_dir(tree).at("reading", tree)?;
            let mut infos: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).collect();
            infos.retain(|path| path.extension().is_some_and(|extension| extension == "dist-info"));
            infos.sort();
            for info in infos {
                record(&info)?;
                found.extend(Self::read(info)?);
            }
            hold_to_tree(tree)?;
            // A lock of the installer's.
            let _ = fs::remove_file(tree.join(".lock"));
        }
        Ok(found)
    }

    fn read(info: PathBuf) -> anyhow::Result<Option<Self>> {
        let path = info.join("METADATA");
        if !path.exists() {
            return Ok(None);
        }
        let text = String::from_utf8_lossy(&fs::read(&path).at("reading", &path)?).into_owned();
        let field = |name: &str| {
            let headers = text.lines().take_while(|line| !line.is_empty());
            headers.into_iter().find_map(|line| line.strip_prefix(name)).map(|value| value.trim().to_owned())
        };
        let fields = (field("Name:"), field("Version:"));
        Ok(if let (Some(name), Some(version)) = fields { Some(Self { name, version, info }) } else { None })
    }

    /// Whether it is the project of this canonical name.
    pub(super) fn is(&self, name: &str) -> bool {
        canonical(&self.name) == name
    }
}

/// Fails where something leads to a directory of this machine.
fn hold_to_tree(tree: &Path) -> anyhow::Result<()> {
    for entry in fs::read_dir(tree).at("reading", tree)? {
        let path = entry.at("reading", tree)?.path();
        if path.extension().is_none_or(|extension| extension != "pth") {
            continue;
        }
        let text = fs::read_to_string(&path).unwrap_or_default();
        if let Some(line) = text.lines().find(|line| line.starts_with('/')) {
            let name = path.file_name().unwrap_or_default();
            return refuse(
                format!("{} leads to {}, which is not in the package", shown(Path::new(name)), shown(Path::new(line))),
                "do not install it as editable",
            );
        }
    }
    Ok(())
}

/// Scripts name the interpreter that they were installed for; now the one of the package is told by a variable.
fn scripts(tree: &Path, work: &Path) -> anyhow::Result<()> {
    let bin = tree.join("bin");
    if !bin.is_dir() {
        return Ok(());
    }
    let work = work.to_string_lossy();
    each_file(&bin, &mut |path| {
        let Ok(text) = String::from_utf8(fs::read(path).at("reading", path)?) else { return Ok(()) };
        let Some(rest) = after_interpreter(&text, &work) else { return Ok(()) };
        let mode = path.metadata().at("reading", path)?.permissions();
        fs::write(path, script_start() + rest).at("writing", path)?;
        fs::set_permissions(path, mode).at("setting the mode of", path)
    })
}

/// The lines of a script that start the package's interpreter with it: a program for a shell and a text for Python.
pub(super) fn script_start() -> String {
    format!("#!/bin/sh\n'''exec' \"${{{PROGRAM_VARIABLE}:?}}\" -I \"$0\" \"$@\"\n' '''\n")
}

/// What follows the lines that name an interpreter below `work`: one line, or, where its path is too long for that, three
/// that are a program for a shell and a text for Python.
fn after_interpreter<'a>(text: &'a str, work: &str) -> Option<&'a str> {
    let (first, rest) = text.split_once('\n')?;
    if first == "#!/bin/sh" {
        let (line, rest) = rest.split_once('\n')?;
        return rest.strip_prefix("' '''\n").filter(|_| line.starts_with("'''exec' ") && line.contains(work));
    }
    let is_python = first.starts_with("#!") && (first.contains(work) || first.starts_with("#!python"));
    is_python.then_some(rest)
}

/// Takes the installer's notes out, and what is no longer true out of the record of the installed files.
fn record(info: &Path) -> anyhow::Result<()> {
    for note in NOTES {
        let _ = fs::remove_file(info.join(note));
    }
    let path = info.join("RECORD");
    let Ok(text) = fs::read_to_string(&path) else { return Ok(()) };
    let is_note = |file: &str| NOTES.iter().any(|note| file.ends_with(&format!(".dist-info/{note}")));
    let line = |line: &str| {
        let file = line.split(',').next().unwrap_or_default();
        // Scripts were changed, and lie in another place than an environment's.
        if file.contains("bin/") && (file.starts_with("bin/") || file.starts_with("../")) {
            format!("bin/{},,\n", file.rsplit('/').next().unwrap_or_default())
        } else {
            format!("{line}\n")
        }
    };
    let mut lines: Vec<String> =
        text.lines().filter(|line| !is_note(line.split(',').next().unwrap_or_default())).map(line).collect();
    lines.sort();
    fs::write(&path, lines.concat()).at("writing", &path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scripts_lose_the_interpreter_of_this_machine() {
        for (text, expected) in [
            ("#!/w/python/bin/python3.11\nimport x\n", Some("import x\n")),
            ("#!/bin/sh\n'''exec' '/w/python/bin/python3' \"$0\" \"$@\"\n' '''\nimport x\n", Some("import x\n")),
            ("#!python\nimport x\n", Some("import x\n")),
            ("#!/bin/sh\necho /w\n", None),
            ("#!/usr/bin/env perl\n", None),
            ("\x7fELF", None),
        ] {
            assert_eq!(after_interpreter(text, "/w"), expected, "{text}");
        }
    }

    #[test]
    fn records_tell_what_is_there() {
        let folder = tempfile::tempdir().unwrap();
        let info = folder.path().join("x-1.dist-info");
        fs::create_dir(&info).unwrap();
        fs::write(info.join("INSTALLER"), "uv").unwrap();
        fs::write(info.join("RECORD"), "x.py,sha256=1,2\n../../bin/x,sha256=3,4\nx-1.dist-info/INSTALLER,sha256=5,2\n")
            .unwrap();
        record(&info).unwrap();
        assert_eq!(fs::read_to_string(info.join("RECORD")).unwrap(), "bin/x,,\nx.py,sha256=1,2\n");
        assert!(!info.join("INSTALLER").exists());
    }
}
