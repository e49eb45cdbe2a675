//! Every input that is kept, through its target, on any compiler.

use std::fs;
use std::path::Path;
use std::process::Command;

use pspf_format::tree::EntryKind;

use crate::file::Directory;
use crate::{TARGETS, package_verify, tar_stream};

/// The kept inputs of a target, in order of their names.
fn corpus(name: &str) -> Vec<(String, Vec<u8>)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz/corpus").join(name);
    let mut files: Vec<_> = fs::read_dir(&folder)
        .unwrap_or_else(|error| panic!("{}: {error}", folder.display()))
        .map(|entry| entry.unwrap())
        .map(|entry| (entry.file_name().into_string().unwrap(), fs::read(entry.path()).unwrap()))
        .collect();
    files.sort();
    files
}

#[allow(clippy::print_stdout, reason = "shown where a target panics: the input's name")]
fn replay(name: &str) {
    let (_, target) = TARGETS.iter().find(|(target, _)| *target == name).unwrap();
    target(b"");
    let files = corpus(name);
    assert!(files.len() >= 10, "only {} inputs of {name}", files.len());
    for (file, bytes) in files {
        println!("corpus/{name}/{file}");
        target(&bytes);
    }
}

macro_rules! replays {
    ($($name:ident)*) => {
        $(#[test] fn $name() { replay(stringify!($name)) })*

        #[test]
        fn no_target_is_left_out() {
            let mut names = vec![$(stringify!($name)),*];
            names.sort_unstable();
            assert_eq!(names, TARGETS.map(|(name, _)| name));
        }
    };
}
replays!(deflate_frame keys manifest metadata package_open package_verify records slot_index tar_stream trailer unsealed unsealed_slot zstd_frame);

#[test]
fn the_package_itself_is_accepted() {
    assert!(crate::file::verify(package_verify::seed(), true).is_ok());
}

/// Every member of every archive, as Python's tarfile sees it.
const LIST: &str = "
import sys, tarfile
for name in sys.argv[1:]:
    print('archive', name)
    with tarfile.open(name, errorlevel=2) as archive:
        for m in archive:
            print(m.name.encode().hex(), m.type.decode(), oct(m.mode), m.uid, m.gid, m.size, m.mtime, m.linkname.encode().hex(), sep='|')
";

fn output(program: &str, arguments: &[&str], place: &Path) -> String {
    let mut command = Command::new(program);
    command.args(arguments).env("LC_ALL", "C.UTF-8").env("TZ", "UTC").current_dir(place);
    let output = command.output().unwrap_or_else(|error| panic!("this test needs {program}: {error}"));
    assert!(output.status.success(), "{program} {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

fn hex(text: &str) -> String {
    text.bytes().map(|byte| format!("{byte:02x}")).collect()
}

#[test]
fn gnu_tar_and_python_read_every_stream_of_the_corpus_alike() {
    let place = Directory::new();
    let mut expected = String::new();
    let mut names = Vec::new();
    for (file, bytes) in corpus("tar_stream") {
        let Some((index, stream)) = tar_stream::stream_of(&bytes) else { continue };
        fs::write(place.0.join(&file), &stream).unwrap();
        expected.push_str(&format!("archive {file}\n"));
        let mut listed = String::new();
        for entry in &index.entries {
            let (kind, mode, link) = match &entry.kind {
                EntryKind::Directory => (5, 0o755, ""),
                EntryKind::File { mode, .. } => (0, mode.bits(), ""),
                EntryKind::HardLink { target, .. } => (1, 0o644, target.as_str()),
                EntryKind::SymLink { target } => (2, 0o777, target.as_str()),
            };
            let (path, size, mtime) = (hex(entry.path.as_str()), entry.size(), index.mtime);
            expected.push_str(&format!("{path}|{kind}|0o{mode:o}|0|0|{size}|{mtime}|{}\n", hex(link)));
            let slash = if kind == 5 { "/" } else { "" };
            listed.push_str(&format!("{}{slash}\n", entry.path));
        }
        assert_eq!(output("tar", &["--quoting-style=literal", "-tf", &file], &place.0), listed, "{file}");
        names.push(file);
    }
    assert!(names.len() >= 10, "only {} of the inputs make a tree", names.len());
    let arguments: Vec<&str> = ["-c", LIST].into_iter().chain(names.iter().map(String::as_str)).collect();
    assert_eq!(output("python3", &arguments, &place.0), expected);
}
