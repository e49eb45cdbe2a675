//! SECURITY.md points at what there is.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// The names of all functions in the Rust files below these folders.
fn functions(folders: &[&str]) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    let mut left: Vec<PathBuf> = folders.iter().map(|folder| root().join(folder)).collect();
    while let Some(path) = left.pop() {
        if path.is_dir() {
            left.extend(fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().path()));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let text = fs::read_to_string(&path).unwrap();
            let names = text.lines().filter_map(|line| line.trim_start().strip_prefix("fn "));
            found.extend(names.filter_map(|rest| rest.split(['(', '<']).next()).map(str::to_owned));
        }
    }
    found
}

#[test]
fn each_promise_names_a_section_and_tests_that_exist() {
    let text = fs::read_to_string(root().join("SECURITY.md")).unwrap();
    let spec = fs::read_to_string(root().join("format-spec/SPEC.md")).unwrap();
    let functions = functions(&["keys", "format-spec", "launcher", "builder", "tests"]);
    let table = text.split("| promise | specification | tests |").nth(1).expect("the table is there");
    let mut rows = 0;
    for row in table.lines().skip(2).filter(|line| line.starts_with('|')) {
        let cells: Vec<&str> = row.trim_matches('|').split('|').map(str::trim).collect();
        let &[promise, section, tests] = &cells[..] else { panic!("three cells: {row}") };
        let heading = spec.lines().filter_map(|line| line.strip_prefix("##")).map(|line| line.trim_start_matches('#'));
        let mut headings = heading.map(|line| line.trim_start().trim_end_matches('.'));
        let starts = |line: &str| line.split(' ').next().is_some_and(|number| number.trim_end_matches('.') == section);
        assert!(section.is_empty() || headings.any(starts), "{promise}: no section {section}");
        let named: Vec<&str> = tests.split(", ").map(|name| name.trim_matches('`')).collect();
        for name in named {
            assert!(functions.contains(name), "{promise}: no test {name}");
        }
        rows += 1;
    }
    assert!(rows > 30, "{rows} rows");
}
