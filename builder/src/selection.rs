//! Which files of a source directory are packed: include and exclude patterns.
//!
//! A pattern is matched against the whole path relative to the source, with `/` between names on every system: `*` and
//! `?` stay inside one name, `**` crosses directories. A pattern that matches a directory stands for all that is in it.

use std::cell::RefCell;

use globset::{GlobBuilder, GlobSet, GlobSetBuilder};

use crate::failure::Failure;

/// Compiled patterns.
#[derive(Debug)]
pub(crate) struct Selection {
    /// `None`: everything.
    include: Option<GlobSet>,
    exclude: GlobSet,
    patterns: Vec<String>,
    /// Which of the include patterns matched something.
    matched: RefCell<Vec<bool>>,
}

impl Selection {
    /// Compiles the patterns.
    pub(crate) fn new(include: &[String], exclude: &[String]) -> anyhow::Result<Self> {
        let compiled = if include.is_empty() { None } else { Some(compile(include)?) };
        Ok(Self {
            include: compiled,
            exclude: compile(exclude)?,
            patterns: include.to_vec(),
            matched: RefCell::new(vec![false; include.len()]),
        })
    }

    /// Whether there is no include pattern, so that everything is taken that is not excluded.
    pub(crate) fn takes_all(&self) -> bool {
        self.include.is_none()
    }

    /// Whether this path, and all below it, is left out.
    pub(crate) fn excludes(&self, path: &str) -> bool {
        self.exclude.is_match(path)
    }

    /// Whether this path, and all below it, is taken.
    pub(crate) fn includes(&self, path: &str) -> bool {
        let Some(include) = &self.include else { return true };
        let matches = include.matches(path);
        let mut matched = self.matched.borrow_mut();
        for &position in &matches {
            if let Some(seen) = matched.get_mut(position) {
                *seen = true;
            }
        }
        !matches.is_empty()
    }

    /// The include patterns that have not matched anything yet.
    pub(crate) fn unmatched(&self) -> Vec<String> {
        let matched = self.matched.borrow();
        self.patterns.iter().zip(matched.iter()).filter(|(_, seen)| !**seen).map(|(text, _)| text.clone()).collect()
    }
}

fn compile(patterns: &[String]) -> anyhow::Result<GlobSet> {
    let mut set = GlobSetBuilder::new();
    for pattern in patterns {
        let refuse = |reason: String| Failure::usage(format!("pattern `{}`: {reason}", pattern.escape_debug()));
        // `build/` is how people write a directory.
        let text = pattern.strip_suffix('/').unwrap_or(pattern);
        if text.is_empty() || text.starts_with('/') || text.split('/').any(|name| name == "." || name == "..") {
            return refuse("it must be relative to the slot's source, without `.` and `..`".to_owned()).err();
        }
        let glob = GlobBuilder::new(text).literal_separator(true).backslash_escape(true).build();
        set.add(glob.map_err(|error| refuse(error.kind().to_string()))?);
    }
    set.build().map_err(|error| Failure::usage(error.to_string()).into())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(patterns: &[&str]) -> GlobSet {
        compile(&patterns.iter().map(|text| (*text).to_owned()).collect::<Vec<_>>()).unwrap()
    }

    #[test]
    fn patterns_are_relative_to_the_source() {
        for (pattern, path, expected) in [
            ("**/__pycache__", "__pycache__", true),
            ("**/__pycache__", "a/b/__pycache__", true),
            ("*.pyc", "x.pyc", true),
            ("*.pyc", "a/x.pyc", false),
            ("**/*.pyc", "a/x.pyc", true),
            ("tests/", "tests", true),
            ("tests", "a/tests", false),
            ("lib/**", "lib", false),
            ("lib/**", "lib/a/b", true),
            ("a?c", "a/c", false),
            ("{a,b}/*", "b/x", true),
            (".*", ".git", true),
            ("*", ".hidden", true),
        ] {
            assert_eq!(set(&[pattern]).is_match(path), expected, "{pattern} {path}");
        }
    }

    #[test]
    fn a_bad_pattern_is_refused() {
        for pattern in ["", "/", "/abs", "../x", "./x", "a/../b", "[", "{a"] {
            assert!(compile(&[pattern.to_owned()]).is_err(), "{pattern}");
        }
    }

    #[test]
    fn unmatched_includes_are_known() {
        let selection = Selection::new(&["a".to_owned(), "b".to_owned()], &[]).unwrap();
        assert!(selection.includes("a") && !selection.includes("c"));
        assert_eq!(selection.unmatched(), ["b"]);
    }
}
