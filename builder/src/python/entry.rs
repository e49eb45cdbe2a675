//! Console scripts, and the file that starts the one that is asked for.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use super::installed::script_start;
use super::refuse;
use super::resolve::canonical;
use crate::failure::At;
use crate::input::legal_name;

/// Where it is in the slot of the application.
pub(super) const FILE: &str = ".pspf/entry.py";

/// A console script.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Script {
    pub(super) name: String,
    /// `module:attribute`.
    pub(super) target: String,
}

/// The console scripts of an installed distribution, in the order of their names.
pub(super) fn scripts(info: &Path) -> anyhow::Result<Vec<Script>> {
    let path = info.join("entry_points.txt");
    match path.exists() {
        true => Ok(parse(&fs::read_to_string(&path).at("reading", &path)?)),
        false => Ok(Vec::new()),
    }
}

fn parse(text: &str) -> Vec<Script> {
    let mut found = BTreeMap::new();
    let mut is_scripts = false;
    for line in text.lines().map(str::trim).filter(|line| !line.starts_with(['#', ';'])) {
        if let Some(section) = line.strip_prefix('[').and_then(|line| line.strip_suffix(']')) {
            is_scripts = ["console_scripts", "gui_scripts"].contains(&section.trim());
        } else if let Some((name, target)) = line.split_once('=').filter(|_| is_scripts) {
            // Extras, in brackets, are for installers.
            let target = target.split('[').next().unwrap_or_default();
            found.insert(name.trim().to_owned(), target.split_whitespace().collect());
        }
    }
    found.into_iter().map(|(name, target)| Script { name, target }).collect()
}

/// Writes the file that starts one of these scripts: the one that the package is called by, else the wanted one, else the
/// one that has the name of the program or package, else the only one. Where a program is named, the script is called so
/// too: it may look at the name that it is called by.
pub(super) fn write(
    app: &Path,
    scripts: &[Script],
    wanted: Option<&str>,
    package: &str,
    program: Option<&str>,
) -> anyhow::Result<()> {
    let mut scripts = scripts.to_vec();
    let default = match wanted {
        // A function, as projects of other packers name it.
        Some(target) if target.contains(':') => {
            scripts.insert(0, Script { name: package.to_owned(), target: target.to_owned() });
            scripts.first()
        }
        Some(name) => scripts.iter().find(|script| script.name == name),
        None if scripts.len() == 1 => scripts.first(),
        None => {
            let named = |name: &str| scripts.iter().find(|script| canonical(&script.name) == canonical(name));
            program.and_then(named).or_else(|| named(package))
        }
    };
    let Some(default) = default.cloned() else {
        let names: Vec<_> = scripts.iter().map(|script| format!("`{}`", script.name.escape_debug())).collect();
        return match (names.is_empty(), wanted) {
            (true, _) => refuse("the application has no console script", "name a function: `--entry MODULE:FUNCTION`"),
            (false, Some(wanted)) => refuse(
                format!("there is no console script `{}`", wanted.escape_debug()),
                &format!("there are {}", names.join(", ")),
            ),
            (false, None) => refuse(
                format!("there are several console scripts: {}", names.join(", ")),
                "choose the one that starts with `--entry NAME`; the others start where the file is called by their names",
            ),
        };
    };
    let added = program.filter(|program| scripts.iter().all(|script| script.name != *program));
    let default = match added {
        Some(name) => Script { name: name.to_owned(), ..default },
        None => default,
    };
    scripts.extend(added.map(|_| default.clone()));
    let mut table = String::new();
    for Script { name, target } in first_of_each(&scripts, &default.name) {
        let Some((module, attribute)) = target.split_once(':').filter(|_| is_path(target)) else {
            return refuse(
                format!("console script `{}` is `{}`", name.escape_debug(), target.escape_debug()),
                "it is `MODULE:FUNCTION`",
            );
        };
        let _ = writeln!(table, "    {}: ({}, {}),", quoted(name), quoted(module), quoted(attribute));
    }
    if added.is_some() {
        write_script(app, &default)?;
    }
    let own = program.map_or_else(|| legal_name(package), str::to_owned);
    let text = include_str!("entry.py").replacen("\"NAME\"", &quoted(&default.name), 1);
    let text = text.replacen("\"PACKAGE\"", &quoted(&own), 1).replacen("    # TABLE\n", &table, 1);
    let path = app.join(FILE);
    let folder = app.join(".pspf");
    fs::create_dir_all(&folder).at("creating", &folder)?;
    fs::write(&path, text).at("writing", &path)
}

/// The first script of each name, as an installer's path would find it; without others that this cannot start.
fn first_of_each<'a>(scripts: &'a [Script], default: &str) -> Vec<&'a Script> {
    let mut seen = BTreeSet::new();
    let first = scripts.iter().filter(|script| seen.insert(&script.name));
    first.filter(|script| script.name == default || is_path(&script.target)).collect()
}

/// Writes a script as installers do, where none has written it.
fn write_script(app: &Path, Script { name, target }: &Script) -> anyhow::Result<()> {
    let (module, attribute) = target.split_once(':').unwrap_or((target, "main"));
    let imported = attribute.split('.').next().unwrap_or_default();
    let text = format!("{}import sys\nfrom {module} import {imported}\nsys.exit({attribute}())\n", script_start());
    let folder = app.join("bin");
    let path = folder.join(name);
    fs::create_dir_all(&folder).at("creating", &folder)?;
    fs::write(&path, text).at("writing", &path)?;
    fs::set_permissions(&path, PermissionsExt::from_mode(0o755)).at("setting the mode of", &path)
}

/// Whether it is made of names, dots and a colon.
fn is_path(target: &str) -> bool {
    let is_dotted = |text: &str| text.split('.').all(|name| !name.is_empty());
    target.chars().all(|c| c.is_alphanumeric() || "_.:".contains(c))
        && target
            .split_once(':')
            .is_some_and(|(module, attribute)| is_dotted(module) && is_dotted(attribute) && !attribute.contains(':'))
}

/// A string of Python's.
fn quoted(text: &str) -> String {
    format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n").replace('\r', "\\r"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn console_scripts_are_found() {
        let text = "[console_scripts]\nb = m.n:f [extra]\n a=m:g.h\n# c = x:y\n\n[gui_scripts]\nd = x:y\n";
        let script = |name: &str, target: &str| Script { name: name.to_owned(), target: target.to_owned() };
        assert_eq!(parse(text), [script("a", "m:g.h"), script("b", "m.n:f"), script("d", "x:y")]);
        assert_eq!(parse("[console_scripts]\nx = m : f\n"), [script("x", "m:f")]);
    }

    #[test]
    fn the_one_to_start_is_clear_or_asked_for() {
        let folder = tempfile::tempdir().unwrap();
        let script = |name: &str| Script { name: name.to_owned(), target: "m:f".to_owned() };
        let write = |scripts: &[Script], wanted| {
            write(folder.path(), scripts, wanted, "pkg", None).map_err(|error| format!("{error:#}"))
        };
        let two = [script("one"), script("two")];
        assert!(write(&[], None).unwrap_err().contains("no console script"));
        assert!(write(&two, None).unwrap_err().contains("`one`, `two`"));
        assert!(write(&two, Some("three")).unwrap_err().contains("`three`"));
        for (scripts, wanted) in
            [(&two[..1], None), (&two, Some("two")), (&[script("one"), script("pkg")], None), (&[], Some("m:f"))]
        {
            write(scripts, wanted).unwrap();
        }
        // A function comes before a script that has the package's name.
        write(&[script("pkg"), Script { target: "odd one".to_owned(), ..script("odd") }], Some("n:g")).unwrap();
        let text = fs::read_to_string(folder.path().join(FILE)).unwrap();
        assert!(text.contains("    \"pkg\": (\"n\", \"g\"),\n}"), "{text}");
        let bad = Script { target: "m:f; import x".to_owned(), ..script("one") };
        assert!(write(&[bad], None).unwrap_err().contains("import x"));
        assert!(!folder.path().join("bin").exists());
    }

    #[test]
    fn a_provider_is_started_by_its_own_name() {
        let folder = tempfile::tempdir().unwrap();
        let script = |name: &str, target: &str| Script { name: name.to_owned(), target: target.to_owned() };
        let (start, program) = (folder.path().join(FILE), "terraform-provider-x");
        let path = folder.path().join("bin").join(program);
        let write = |scripts: &[Script], wanted| {
            write(folder.path(), scripts, wanted, "pkg", Some(program)).unwrap();
            fs::read_to_string(&start).unwrap()
        };
        // One of another name has that name too.
        let text = write(&[script("a", "m:f"), script("b", "m.n:C.g")], Some("b"));
        assert!(text.contains("DEFAULT = \"terraform-provider-x\"\n"), "{text}");
        assert!(
            text.contains("    \"b\": (\"m.n\", \"C.g\"),\n    \"terraform-provider-x\": (\"m.n\", \"C.g\"),\n"),
            "{text}"
        );
        let body = fs::read_to_string(&path).unwrap();
        assert!(body.ends_with("' '''\nimport sys\nfrom m.n import C\nsys.exit(C.g())\n"), "{body}");
        fs::remove_file(&path).unwrap();
        // The project's own is what it is, and comes before others.
        let text = write(&[script("pkg", "m:f"), script(program, "m:g")], None);
        assert!(text.contains("DEFAULT = \"terraform-provider-x\"\n") && text.matches("\"g\"").count() == 1, "{text}");
    }
}
