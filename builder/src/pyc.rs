//! Compiled Python files that would never be used (PEP 552).
//!
//! By default a `.pyc` remembers the modification time of its source. In a package every file has the same time, so
//! Python finds each of them stale, compiles again at every start and cannot store the result in a read-only tree.

use std::collections::HashSet;

/// What was found in one slot.
#[derive(Debug, Default)]
pub(crate) struct StalePyc {
    pub(crate) count: usize,
    pub(crate) first: Option<String>,
}

impl StalePyc {
    /// Looks at one file by its path and its first bytes. `paths` are all paths of the slot.
    pub(crate) fn look(&mut self, path: &str, head: &[u8], paths: &HashSet<String>) {
        if is_checked_by_time(head) && source(path).is_some_and(|source| paths.contains(source.as_str())) {
            self.count += 1;
            self.first.get_or_insert_with(|| path.to_owned());
        }
    }
}

/// The source that belongs to `DIR/__pycache__/NAME.TAG.pyc`: `DIR/NAME.py`. A `.pyc` without one is used as it is.
fn source(path: &str) -> Option<String> {
    let (cache, file) = path.rsplit_once('/')?;
    let directory = cache.strip_suffix("__pycache__")?;
    let (name, _) = file.strip_suffix(".pyc")?.split_once('.')?;
    // Only `python -O` looks at the others.
    if file.contains(".opt-") {
        return None;
    }
    (directory.is_empty() || directory.ends_with('/')).then(|| format!("{directory}{name}.py"))
}

/// Magic (two bytes of version, then CR LF) and a flags word of zero, followed by the time.
fn is_checked_by_time(head: &[u8]) -> bool {
    matches!(head, [_, _, b'\r', b'\n', 0, 0, 0, 0, rest @ ..] if rest.len() >= 8)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_those_that_python_would_check_count() {
        let paths = HashSet::from(["a/m.py", "m.py"].map(String::from));
        let timed = b"\xa7\r\r\n\0\0\0\0\x01\x02\x03\x04\x05\x06\x07\x08rest";
        let hashed = b"\xa7\r\r\n\x01\0\0\0\x01\x02\x03\x04\x05\x06\x07\x08rest";
        let mut found = StalePyc::default();
        for (path, head) in [
            ("a/__pycache__/m.cpython-311.pyc", timed),
            ("__pycache__/m.cpython-311.opt-1.pyc", timed),
            ("a/__pycache__/m.cpython-311.pyc", hashed),
            ("a/__pycache__/gone.cpython-311.pyc", timed),
            ("a/m.pyc", timed),
            ("a__pycache__/m.cpython-311.pyc", timed),
        ] {
            found.look(path, head, &paths);
        }
        assert_eq!((found.count, found.first.as_deref()), (1, Some("a/__pycache__/m.cpython-311.pyc")));
    }
}
