//! What a package starts: a command of the project, or of one of its dependencies, or a file.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;

use super::project::{Project, inside};
use super::{APP, NODE, refuse};
use crate::failure::{At, shown};

/// The folder of what the recipe adds to the application.
const FOLDER: &str = ".pspf";
/// The script that chooses among several.
const CHOOSER: &str = "entry.cjs";

/// Something to start.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Script {
    /// Where it is in the application.
    path: String,
    /// What its first line says to give to Node.
    flags: Vec<String>,
    /// Whether it is a program of the machine, which needs no Node.
    is_program: bool,
}

/// The command that starts the application, and what of it may surprise.
pub(super) fn command(
    app: &Path,
    project: &Project,
    wanted: Option<&str>,
    package: &str,
    notes: &mut Vec<String>,
) -> anyhow::Result<Vec<String>> {
    let mut scripts = BTreeMap::new();
    for (name, file) in &project.bins {
        let path = link(app, name, file)?;
        if let Some(script) = Script::read(app, path)? {
            scripts.insert(name.clone(), script);
        }
    }
    let named = |name: &str| project.bins.contains_key(name).then(|| name.to_owned());
    let only = || project.bins.keys().next().filter(|_| project.bins.len() == 1).cloned();
    let default = match wanted {
        Some(wanted) => named(wanted),
        None => only().or_else(|| named(project.base_name())).or_else(|| named(package)),
    };
    let default = match (default, wanted) {
        (Some(name), _) => name,
        (None, Some(wanted)) => {
            let path = other(app, project, wanted)?;
            scripts.extend(Script::read(app, path)?.map(|script| (wanted.to_owned(), script)));
            wanted.to_owned()
        }
        (None, None) if project.bins.is_empty() => {
            let path = main(app, project)?;
            let script = Script::read(app, path)?;
            scripts.extend(script.map(|script| (project.base_name().to_owned(), script)));
            project.base_name().to_owned()
        }
        (None, None) => {
            return refuse(
                format!("there are several commands: {}", listed(project)),
                "choose the one that starts with `--entry NAME`; the others start where the file is called by their names",
            );
        }
    };
    let Some(script) = scripts.get(&default).cloned() else {
        return refuse(
            format!("`{}` is no script of Node's", default.escape_debug()),
            "its first line names another interpreter: the user's machine may not have it",
        );
    };
    if script.is_program {
        return Ok(vec![format!("{{slot:{APP}}}/{}", literal(&script.path))]);
    }
    scripts.retain(|_, script| !script.is_program);
    let mut command = vec![format!("{{slot:{NODE}}}/bin/node")];
    command.extend(script.flags.iter().map(|flag| literal(flag)));
    if scripts.len() == 1 {
        command.push(format!("{{slot:{APP}}}/{}", literal(&script.path)));
        return Ok(command);
    }
    // What the file is called unless somebody gives it another name says nothing of what is meant.
    scripts.entry(package.to_owned()).and_modify(|own| *own = script.clone());
    for (name, other) in scripts.iter().filter(|(_, other)| other.flags != script.flags) {
        let (flags, name) = (other.flags.join(" "), name.escape_debug());
        notes.push(format!("`{name}` wants Node's flags `{}`, and gets those of `{default}`", flags.escape_debug()));
    }
    choose(app, &scripts, &default)?;
    command.push(format!("{{slot:{APP}}}/{FOLDER}/{CHOOSER}"));
    Ok(command)
}

impl Script {
    /// Reads how a file starts; `None` for one that another interpreter starts.
    fn read(app: &Path, path: String) -> anyhow::Result<Option<Self>> {
        let file = app.join(&path);
        let bytes = fs::read(&file).at("reading", &file)?;
        if bytes.starts_with(b"\x7fELF") {
            return Ok(Some(Self { path, flags: Vec::new(), is_program: true }));
        }
        let first = bytes.split(|byte| *byte == b'\n').next().unwrap_or_default();
        Ok(flags(&String::from_utf8_lossy(first)).map(|flags| Self { path, flags, is_program: false }))
    }
}

/// What the first line of a script gives to Node; `None` where it names another program.
fn flags(line: &str) -> Option<Vec<String>> {
    let Some(line) = line.strip_prefix("#!") else { return Some(Vec::new()) };
    let mut words = line.split_whitespace();
    let is_node = |word: &str| ["node", "nodejs"].contains(&word.rsplit('/').next().unwrap_or_default());
    words.find(|word| is_node(word))?;
    Some(words.map(str::to_owned).collect())
}

/// Links a command to its file, as npm does: by the name of the link it tells how it is called.
fn link(app: &Path, name: &str, file: &str) -> anyhow::Result<String> {
    if !app.join(file).is_file() {
        return refuse(
            format!("the command `{}` is `{}`, which npm does not select", name.escape_debug(), file.escape_debug()),
            "build it first, and see that `files` of `package.json` has it; `npm pack --dry-run` lists what is selected",
        );
    }
    let folder = app.join(FOLDER).join("bin");
    fs::create_dir_all(&folder).at("creating", &folder)?;
    let link = folder.join(name);
    symlink(Path::new("../..").join(file), &link).at("creating", &link)?;
    Ok(format!("{FOLDER}/bin/{name}"))
}

/// What is no command of the project: one of a dependency, or a file.
fn other(app: &Path, project: &Project, wanted: &str) -> anyhow::Result<String> {
    if !wanted.contains('/') && app.join("node_modules/.bin").join(wanted).is_file() {
        return Ok(format!("node_modules/.bin/{wanted}"));
    }
    let path = inside(wanted, "--entry")?;
    if app.join(&path).is_file() {
        return Ok(path);
    }
    let what =
        format!("`{}` is no command of the project or of what it depends on, and no file", wanted.escape_debug());
    match project.bins.is_empty() {
        true => refuse(what, "`--entry` names a command, or a file that npm selects"),
        false => refuse(what, &format!("its commands are {}", listed(project))),
    }
}

/// What `node FOLDER` starts.
fn main(app: &Path, project: &Project) -> anyhow::Result<String> {
    let main = match &project.main {
        Some(main) => inside(main, "main")?,
        None => "index.js".to_owned(),
    };
    let places = ["", ".js", ".cjs", ".mjs", "/index.js"].map(|end| format!("{main}{end}"));
    match places.into_iter().find(|place| app.join(place).is_file()) {
        Some(place) => Ok(place),
        None => refuse(
            format!("{} has no command (`bin`), and no `{}`", shown(&project.folder), main.escape_debug()),
            "name what starts: `--entry FILE`, or the command of a dependency",
        ),
    }
}

/// Writes the script that starts the one that the package is called by.
fn choose(app: &Path, scripts: &BTreeMap<String, Script>, default: &str) -> anyhow::Result<()> {
    let table: Vec<_> = scripts.iter().map(|(name, script)| [name, &script.path]).collect();
    let table = serde_json::to_string(&table)?;
    let text =
        include_str!("entry.cjs").replacen("NAME", &serde_json::to_string(default)?, 1).replacen("TABLE", &table, 1);
    let path = app.join(FOLDER).join(CHOOSER);
    fs::write(&path, text).at("writing", &path)
}

fn listed(project: &Project) -> String {
    let names: Vec<_> = project.bins.keys().map(|name| format!("`{}`", name.escape_debug())).collect();
    names.join(", ")
}

/// A text that is no template.
fn literal(text: &str) -> String {
    text.replace('{', "{{").replace('}', "}}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_first_line_says_is_read() {
        for (line, expected) in [
            ("console.log(1)", Some(&[][..])),
            ("#!/usr/bin/env node", Some(&[])),
            ("#!/usr/bin/env -S node --stack-size=900 --no-warnings\r", Some(&["--stack-size=900", "--no-warnings"])),
            ("#! /opt/node/bin/node --use-strict", Some(&["--use-strict"])),
            ("#!/bin/sh", None),
            ("#!/usr/bin/env bun", None),
        ] {
            let expected = expected.map(|flags| flags.iter().map(|&flag| flag.to_owned()).collect::<Vec<_>>());
            assert_eq!(flags(line), expected, "{line}");
        }
    }

    #[test]
    fn the_one_to_start_is_clear_or_asked_for() {
        let start = |bins: &str, wanted, package: &str| {
            let folder = tempfile::tempdir().unwrap();
            let app = folder.path();
            let manifest = format!(r#"{{"name": "@s/one", "version": "1", "bin": {bins}}}"#);
            fs::write(app.join("package.json"), manifest).unwrap();
            for file in ["one.js", "two.js", "{x}.js"] {
                fs::write(app.join(file), "").unwrap();
            }
            fs::write(app.join("sh.js"), "#!/bin/sh\n").unwrap();
            let project = Project::read(app).unwrap();
            let command = command(app, &project, wanted, package, &mut Vec::new());
            let chooser = fs::read_to_string(app.join(".pspf/entry.cjs")).unwrap_or_default();
            (command.map_err(|error| format!("{error:#}")), chooser)
        };
        let script = |path: &str| Ok(vec!["{slot:node}/bin/node".to_owned(), format!("{{slot:app}}/{path}")]);
        assert_eq!(start(r#""one.js""#, None, "s-one").0, script(".pspf/bin/one"));
        assert_eq!(start("{}", Some("./{x}.js"), "s-one").0, script("{{x}}.js"));
        let both = r#"{"one": "one.js", "two": "two.js"}"#;
        let (command, chooser) = start(both, None, "s-one");
        assert_eq!(command, script(".pspf/entry.cjs"));
        let table = r#"[["one",".pspf/bin/one"],["two",".pspf/bin/two"]]"#;
        assert!(chooser.contains(table) && chooser.contains(r#": "one""#), "{chooser}");
        // By the name that it has anyway, it is what was asked for.
        let (_, chooser) = start(both, Some("two"), "one");
        assert!(chooser.contains(r#"[["one",".pspf/bin/two"],["two",".pspf/bin/two"]]"#), "{chooser}");
        for (bins, wanted, told) in [
            (r#"{"a": "one.js", "b": "two.js"}"#, None, "several commands: `a`, `b`"),
            (both, Some("three"), "`three` is no command"),
            (r#""none.js""#, None, "`none.js`, which npm does not select"),
            (r#""sh.js""#, None, "`one` is no script of Node's"),
            ("{}", None, "no command (`bin`), and no `index.js`"),
        ] {
            let said = start(bins, wanted, "s-one").0.unwrap_err();
            assert!(said.contains(told), "{said}");
        }
    }
}
