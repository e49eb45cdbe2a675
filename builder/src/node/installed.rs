//! What npm has put into the application, made fit to be packed: nothing of this machine, nothing for another one.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use super::refuse;
use crate::each_file::{each_file, files_that_name};
use crate::elf::Object;
use crate::failure::{At, shown};

/// What node-gyp leaves beside what it made, in the folder of its work.
const OF_BUILD: [&str; 4] = ["Makefile", "config.gypi", "gyp-mac-tool", "node_gyp_bins"];
const OF_BUILD_ENDS: [&str; 2] = [".mk", ".Makefile"];
/// And in that of its results.
const OF_RESULT: [&str; 3] = [".deps", "obj", "obj.target"];
const OF_RESULT_ENDS: [&str; 4] = ["o", "a", "d", "stamp"];
/// Systems as Node names them.
const SYSTEMS: [&str; 9] = ["aix", "android", "darwin", "freebsd", "linux", "netbsd", "openbsd", "sunos", "win32"];

/// Removes what nothing of the application needs.
pub(super) fn tidy(app: &Path) -> anyhow::Result<()> {
    remove(&app.join("node_modules/.package-lock.json"))?;
    folder(app)
}

fn folder(path: &Path) -> anyhow::Result<()> {
    let built = path.join("build");
    if path.join("binding.gyp").is_file() && built.join("config.gypi").is_file() {
        build(&built)?;
    }
    for prebuilt in entries(&path.join("prebuilds"))? {
        if is_for_others(&prebuilt.file_name().unwrap_or_default().to_string_lossy()) {
            remove(&prebuilt)?;
        }
    }
    for entry in entries(path)?.into_iter().filter(|entry| entry.is_dir() && !entry.is_symlink()) {
        folder(&entry)?;
    }
    Ok(())
}

/// Removes what node-gyp worked with.
fn build(path: &Path) -> anyhow::Result<()> {
    for entry in entries(path)? {
        let name = entry.file_name().unwrap_or_default().to_string_lossy();
        if OF_BUILD.contains(&&*name) || OF_BUILD_ENDS.iter().any(|end| name.ends_with(end)) {
            remove(&entry)?;
        } else if ["Release", "Debug"].contains(&&*name) {
            result(&entry)?;
        } else if entry.is_dir() && !entry.is_symlink() {
            build(&entry)?;
            // Only where nothing is left in it.
            let _ = fs::remove_dir(&entry);
        }
    }
    Ok(())
}

/// Removes what a linker needed.
fn result(path: &Path) -> anyhow::Result<()> {
    for entry in entries(path)? {
        let is_end = entry.extension().is_some_and(|end| OF_RESULT_ENDS.iter().any(|known| end == *known));
        let name = entry.file_name().unwrap_or_default().to_string_lossy();
        if OF_RESULT.contains(&&*name) || is_end && entry.is_file() {
            remove(&entry)?;
        }
    }
    Ok(())
}

/// Whether a folder of prebuilt addons, as `darwin-x64+arm64`, is for other machines than this.
fn is_for_others(name: &str) -> bool {
    let Some((system, machines)) = name.split_once('-').filter(|(system, _)| SYSTEMS.contains(system)) else {
        return false;
    };
    let own = match std::env::consts::ARCH {
        "x86_64" => "x64",
        "aarch64" => "arm64",
        other => other,
    };
    system != "linux" || !machines.split('+').any(|machine| machine == own)
}

/// What is in a folder, in the order of the names; nothing where there is none.
fn entries(path: &Path) -> anyhow::Result<Vec<PathBuf>> {
    if !path.is_dir() || path.is_symlink() {
        return Ok(Vec::new());
    }
    let mut found = Vec::new();
    for entry in fs::read_dir(path).at("reading", path)? {
        found.push(entry.at("reading", path)?.path());
    }
    found.sort();
    Ok(found)
}

fn remove(path: &Path) -> anyhow::Result<()> {
    match path.symlink_metadata() {
        Ok(found) if found.is_dir() => fs::remove_dir_all(path).at("removing", path),
        Ok(_) => fs::remove_file(path).at("removing", path),
        Err(_) => Ok(()),
    }
}

/// Fails where a package has addons, and all of them are for other machines.
pub(super) fn hold_to_machine(app: &Path, objects: &BTreeMap<PathBuf, Object>, machine: u16) -> anyhow::Result<()> {
    let package = |path: &Path| package_of(path.strip_prefix(app).unwrap_or(path));
    let mut foreign: BTreeMap<PathBuf, PathBuf> = BTreeMap::new();
    each_file(app, &mut |path| {
        if path.extension().is_none_or(|end| end != "node") {
            return Ok(());
        }
        let is_foreign = match objects.get(path) {
            Some(object) => object.machine != machine,
            None => is_of_other_system(&fs::read(path).at("reading", path)?),
        };
        if is_foreign {
            foreign.entry(package(path)).or_insert_with(|| path.to_owned());
        }
        Ok(())
    })?;
    for (path, _) in objects.iter().filter(|(_, object)| object.machine == machine) {
        foreign.remove(&package(path));
    }
    match foreign.into_values().next() {
        None => Ok(()),
        Some(path) => refuse(
            format!(
                "the addon {} is for another machine than the Node",
                shown(path.strip_prefix(app).unwrap_or(&path))
            ),
            "build it on this machine, or leave it to its package's install script: `npm rebuild`",
        ),
    }
}

/// Whether it begins as programs of Windows or macOS do.
fn is_of_other_system(bytes: &[u8]) -> bool {
    let magics: [&[u8]; 4] = [b"MZ", b"\xcf\xfa\xed\xfe", b"\xce\xfa\xed\xfe", b"\xca\xfe\xba\xbe"];
    magics.iter().any(|magic| bytes.starts_with(magic))
}

/// The folder of the package that a file belongs to.
fn package_of(path: &Path) -> PathBuf {
    let parts: Vec<_> = path.components().collect();
    let last = parts.iter().rposition(|part| part.as_os_str() == "node_modules");
    let end = last.map_or(0, |last| {
        let is_scoped = parts.get(last + 1).is_some_and(|name| name.as_os_str().as_bytes().starts_with(b"@"));
        last + if is_scoped { 3 } else { 2 }
    });
    parts.into_iter().take(end).collect()
}

/// Names the files that tell of the place in which they were made: it is nowhere where they run, and another one each time.
pub(super) fn tell_places(app: &Path, work: &Path, notes: &mut Vec<String>) -> anyhow::Result<()> {
    let found = files_that_name(work, app)?;
    if let Some(first) = found.first() {
        let first = shown(first.strip_prefix(app).unwrap_or(first));
        let others = if found.len() == 1 { String::new() } else { format!(" and {} others", found.len() - 1) };
        notes.push(format!("{first}{others}: an install script wrote the path of the build there, which no user has"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_runs_here_stays() {
        let folder = tempfile::tempdir().unwrap();
        let app = folder.path();
        let write = |name: &str| {
            fs::create_dir_all(app.join(name).parent().unwrap()).unwrap();
            fs::write(app.join(name), "").unwrap();
        };
        let own = if cfg!(target_arch = "x86_64") { "x64" } else { "arm64" };
        let kept = [
            "node_modules/a/binding.gyp",
            "node_modules/a/build/Release/a.node",
            "node_modules/a/build/notes.txt",
            "node_modules/b/build/config.gypi",
            "node_modules/b/build/x.mk",
            &format!("prebuilds/linux-{own}/a.node"),
            &format!("prebuilds/linux-arm+{own}/a.node"),
            "prebuilds/any.txt",
        ];
        let left = [
            "node_modules/.package-lock.json",
            "node_modules/a/build/Makefile",
            "node_modules/a/build/a.target.mk",
            "node_modules/a/build/config.gypi",
            "node_modules/a/build/deps/d/d.Makefile",
            "node_modules/a/build/Release/.deps/x",
            "node_modules/a/build/Release/obj.target/a.o",
            "node_modules/a/build/Release/a.a",
            "prebuilds/darwin-x64+arm64/a.node",
            "prebuilds/linux-arm/a.node",
        ];
        kept.into_iter().chain(left).for_each(write);
        fs::create_dir(app.join("node_modules/a/build/node_gyp_bins")).unwrap();
        let python = app.join("node_modules/a/build/node_gyp_bins/python3");
        std::os::unix::fs::symlink("/usr/bin/python3", &python).unwrap();
        tidy(app).unwrap();
        for name in kept {
            assert!(app.join(name).exists(), "{name}");
        }
        for name in left {
            assert!(!app.join(name).exists(), "{name}");
        }
        assert!(!python.is_symlink() && !app.join("node_modules/a/build/deps").exists());
    }

    #[test]
    fn an_addon_for_another_machine_is_told_unless_there_is_one_for_this() {
        let folder = tempfile::tempdir().unwrap();
        let app = folder.path();
        let write = |name: &str, bytes: &[u8]| {
            fs::create_dir_all(app.join(name).parent().unwrap()).unwrap();
            fs::write(app.join(name), bytes).unwrap();
            app.join(name)
        };
        let object = |machine| Object { machine, needed: Vec::new(), glibc: (0, 0) };
        let many = write("node_modules/@s/many/arm.node", b"\x7fELF");
        let own = write("node_modules/@s/many/own.node", b"\x7fELF");
        write("node_modules/text/x.node", b"a fixture");
        let mut objects = BTreeMap::from([(many, object(183)), (own, object(62))]);
        hold_to_machine(app, &objects, 62).unwrap();
        let said = |objects: &BTreeMap<_, _>| format!("{:#}", hold_to_machine(app, objects, 62).unwrap_err());
        let one = write("node_modules/@s/one/build/arm.node", b"\x7fELF");
        objects.insert(one.clone(), object(183));
        assert!(said(&objects).contains("`node_modules/@s/one/build/arm.node` is for another machine"));
        objects.remove(&one);
        fs::write(&one, b"MZ and more").unwrap();
        assert!(said(&objects).contains("one/build/arm.node"));
    }

    #[test]
    fn places_of_this_moment_are_named() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("a.js"), "const at = '/tmp/work/x';").unwrap();
        fs::write(folder.path().join("b.js"), "const at = '/tmp/other';").unwrap();
        let mut notes = Vec::new();
        tell_places(folder.path(), Path::new("/tmp/work"), &mut notes).unwrap();
        assert_eq!(notes.len(), 1);
        assert!(notes[0].starts_with("`a.js`: an install script wrote"), "{}", notes[0]);
    }
}
