//! A work environment that was set up in one place, made to be packed and extracted to any other.

use std::fs;
use std::io::Read;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::process::{Command, Stdio};

use crate::each_file::each_file;
use crate::failure::{At, shown};

/// How much of a file is searched at once.
const CHUNK: usize = 1 << 20;
/// Says where the wheels of an installed package were; the program that installed it writes it for itself.
const ORIGIN: &str = "direct_url.json";

/// Takes the place out of what was set up there, and returns who names it in a way that cannot be changed without knowing
/// the program.
pub(crate) fn relocate(tree: &Path) -> anyhow::Result<Option<String>> {
    compile(tree)?;
    let mut bound = Vec::new();
    each_file(tree, &mut |path| {
        if !names(path, tree)? {
            return Ok(());
        }
        let is_origin = path.file_name().is_some_and(|name| name == ORIGIN);
        let is_program = path.parent().is_some_and(|folder| folder == tree.join("bin"));
        if is_origin {
            fs::remove_file(path).at("removing", path)?;
        } else if !is_program || !any_interpreter(path, tree)? {
            bound.push(path.strip_prefix(tree).unwrap_or(path).to_owned());
        }
        Ok(())
    })?;
    let Some(first) = bound.first() else { return Ok(None) };
    let more = if bound.len() > 1 { format!(", and {} more", bound.len() - 1) } else { String::new() };
    Ok(Some(format!("{} names it{more}", shown(first))))
}

/// Byte code that is never compared with the time of its source: the tree will be read-only, and its times fixed.
fn compile(tree: &Path) -> anyhow::Result<()> {
    let python = tree.join("bin/python3");
    if !python.exists() {
        return Ok(());
    }
    let mut compile = Command::new(&python);
    compile.args(["-I", "-m", "compileall", "-q", "-f", "--invalidation-mode", "unchecked-hash", "-p", "/", "-s"]);
    compile.arg(tree).arg(tree.join("lib")).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    // A file that does not compile is not imported either: the exit code says no more than that there is one.
    compile.status().at("executing", &python).map(drop)
}

/// Whether a file holds the path of the tree.
fn names(path: &Path, tree: &Path) -> anyhow::Result<bool> {
    let needle = tree.as_os_str().as_bytes();
    let mut file = fs::File::open(path).at("reading", path)?;
    let (mut window, mut kept) = (vec![0; CHUNK + needle.len()], 0);
    loop {
        let len = file.read(window.get_mut(kept..).unwrap_or_default()).at("reading", path)?;
        let held = window.get(..kept + len).unwrap_or_default();
        if held.windows(needle.len()).any(|bytes| bytes == needle) {
            return Ok(true);
        }
        if len == 0 {
            return Ok(false);
        }
        // The end of one piece and the start of the next.
        let from = held.len().saturating_sub(needle.len() - 1);
        let end = held.len();
        window.copy_within(from..end, 0);
        kept = end - from;
    }
}

/// Lets a script find the interpreter beside it, in place of one at the path of the tree; false where it names that
/// path elsewhere too.
fn any_interpreter(path: &Path, tree: &Path) -> anyhow::Result<bool> {
    let bytes = fs::read(path).at("reading", path)?;
    let Ok(text) = String::from_utf8(bytes) else { return Ok(false) };
    let tree = tree.to_string_lossy();
    let Some((name, rest)) = interpreter(&text, &tree) else { return Ok(false) };
    if rest.contains(&*tree) {
        return Ok(false);
    }
    let beside = "\"$(dirname -- \"$(realpath -- \"$0\")\")\"";
    let text = format!("#!/bin/sh\n'''exec' {beside}/'{name}' \"$0\" \"$@\"\n' '''\n{rest}");
    let mode = path.metadata().at("reading", path)?.permissions();
    fs::write(path, text).at("writing", path)?;
    fs::set_permissions(path, mode).at("setting the mode of", path)?;
    Ok(true)
}

/// The Python beside a script that its first lines name by the path of the tree, and what follows these lines. They are
/// `#!PATH`, or, where that is too long, three lines that are a program for a shell and a text for Python.
pub(crate) fn interpreter<'a>(text: &'a str, tree: &str) -> Option<(&'a str, &'a str)> {
    let (first, rest) = text.split_once('\n')?;
    let (line, rest) = if first == "#!/bin/sh" {
        let (line, rest) = rest.strip_prefix("'''exec' ")?.split_once('\n')?;
        (line.strip_suffix("\"$0\" \"$@\"")?, rest.strip_prefix("' '''\n")?)
    } else {
        (first.strip_prefix("#!")?, rest)
    };
    let program = line.trim().trim_matches(['"', '\'']);
    let name = program.strip_prefix(tree)?.strip_prefix("/bin/")?;
    let is_python = name.starts_with("python") && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'.');
    is_python.then_some((name, rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scripts_lose_the_place_that_they_were_made_in() {
        let short = "#!/p/bin/python3\nimport sys\n";
        let long = "#!/bin/sh\n'''exec' \"/p/bin/python3.11\" \"$0\" \"$@\"\n' '''\nimport sys\n";
        assert_eq!(interpreter(short, "/p"), Some(("python3", "import sys\n")));
        assert_eq!(interpreter(long, "/p"), Some(("python3.11", "import sys\n")));
        for other in ["#!/bin/sh\necho\n", "#!/q/bin/python3\n", "#!/p/bin/python3 -E\n", "#!/p/bin/perl\n", "\x7fELF"]
        {
            assert_eq!(interpreter(other, "/p"), None, "{other}");
        }
    }

    #[test]
    fn a_path_is_found_across_pieces() {
        let folder = tempfile::tempdir().unwrap();
        let tree = folder.path().join("tree-with-a-long-name");
        fs::create_dir(&tree).unwrap();
        let needle = tree.as_os_str().as_bytes().to_vec();
        for at in [0, 1, CHUNK - 5, CHUNK, CHUNK + needle.len() - 1, 2 * CHUNK - 3] {
            let mut bytes = vec![b'x'; 3 * CHUNK];
            bytes[at..at + needle.len()].copy_from_slice(&needle);
            let file = folder.path().join("file");
            fs::write(&file, &bytes).unwrap();
            assert!(names(&file, &tree).unwrap(), "{at}");
            bytes[at] = b'y';
            fs::write(&file, &bytes).unwrap();
            assert!(!names(&file, &tree).unwrap(), "{at}");
        }
    }
}
