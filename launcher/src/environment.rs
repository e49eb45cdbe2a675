//! The environment as bytes: as the caller gave it, and as the application gets it (SPEC §6.5).

use alloc::borrow::Cow;
use alloc::ffi::CString;
use alloc::vec::Vec;
use core::ffi::CStr;

use pspf_format::EnvRules;

use crate::path;

/// A list of `NAME=value` entries, in the caller's order.
#[derive(Clone, Debug, Default)]
pub struct Environment(Vec<Cow<'static, CStr>>);

impl Environment {
    /// The process's own.
    pub fn of_process() -> Self {
        Self(crate::sys::process::environment())
    }

    /// The entries, for execve.
    pub fn entries(&self) -> &[Cow<'static, CStr>] {
        &self.0
    }

    /// The value of a variable.
    pub fn get(&self, name: &str) -> Option<&[u8]> {
        self.0.iter().find_map(|entry| value(entry, name.as_bytes()))
    }

    /// The value of a variable, where it is an absolute path.
    pub fn absolute_path(&self, name: &str) -> Option<CString> {
        self.get(name).filter(|path| path::is_absolute(path)).map(|path| path::concat(&[path]))
    }

    /// Removes a variable.
    pub fn remove(&mut self, name: &str) {
        self.0.retain(|entry| value(entry, name.as_bytes()).is_none());
    }

    /// Sets a variable.
    pub fn set(&mut self, name: &str, value: &CStr) {
        self.remove(name);
        self.0.push(Cow::Owned(path::concat(&[name.as_bytes(), b"=", value.to_bytes()])));
    }

    /// Applies the rules of a package: unset, then map, then set. `expand` replaces the placeholders of a value.
    ///
    /// # Errors
    /// Those of `expand`.
    pub fn apply<E>(&mut self, rules: &EnvRules, mut expand: impl FnMut(&str) -> Result<CString, E>) -> Result<(), E> {
        let passed = |name: &[u8]| rules.pass.iter().any(|pattern| matches(pattern.as_bytes(), name));
        // The caller's values, before `unset` takes them.
        let mut mapped = Vec::new();
        for (old, new) in &rules.map {
            if let Some(value) = self.get(old).filter(|_| !passed(old.as_bytes())) {
                mapped.push((new, path::concat(&[value])));
            }
        }
        if !rules.unset.is_empty() || !rules.map.is_empty() {
            self.0.retain(|entry| {
                let name = name(entry);
                let unset = rules.unset.iter().any(|pattern| matches(pattern.as_bytes(), name))
                    || rules.map.keys().any(|old| old.as_bytes() == name);
                !unset || passed(name)
            });
        }
        for (name, value) in mapped {
            self.set(name, &value);
        }
        for (name, template) in &rules.set {
            self.set(name, &expand(template)?);
        }
        Ok(())
    }
}

fn name(entry: &CStr) -> &[u8] {
    entry.to_bytes().split(|&byte| byte == b'=').next().unwrap_or_default()
}

fn value<'a>(entry: &'a CStr, name: &[u8]) -> Option<&'a [u8]> {
    entry.to_bytes().strip_prefix(name)?.strip_prefix(b"=")
}

/// Whether `name` matches `pattern`: `*` stands for any bytes, `?` for one. Going back to the last star is enough, so
/// no pattern makes this slow.
pub fn matches(pattern: &[u8], name: &[u8]) -> bool {
    let (mut at, mut done) = (0, 0);
    let mut star = None;
    while done < name.len() {
        match pattern.get(at) {
            Some(b'*') => {
                star = Some((at, done));
                at += 1;
            }
            Some(&byte) if byte == b'?' || Some(&byte) == name.get(done) => {
                at += 1;
                done += 1;
            }
            _ => {
                let Some((pattern_at, name_at)) = star else { return false };
                star = Some((pattern_at, name_at + 1));
                at = pattern_at + 1;
                done = name_at + 1;
            }
        }
    }
    pattern.get(at..).is_some_and(|rest| rest.iter().all(|&byte| byte == b'*'))
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec;

    fn environment(entries: &[&str]) -> Environment {
        Environment(entries.iter().map(|&entry| Cow::Owned(CString::new(entry).unwrap())).collect())
    }

    #[test]
    fn patterns() {
        for (pattern, name, expected) in [
            ("*", "", true),
            ("PY*", "PYTHONPATH", true),
            ("PY*", "MYPY", false),
            ("A?C", "ABC", true),
            ("A?C", "AC", false),
            ("*_*_X", "a_b_X", true),
            ("*_*_X", "a_b_Y", false),
            ("a*b*c", "axbxbxc", true),
            ("a**", "a", true),
            ("", "", true),
            ("*a*a*a*a*a*a*a*a*a*a*b", &"a".repeat(5000), false),
        ] {
            assert_eq!(matches(pattern.as_bytes(), name.as_bytes()), expected, "{pattern} {name}");
        }
    }

    #[test]
    fn rules_apply_in_order() {
        let rules = EnvRules {
            unset: vec!["*".into()],
            pass: vec!["HOME".into()],
            map: [("OLD".into(), "NEW".into()), ("HOME".into(), "HOUSE".into())].into(),
            set: [("SET".into(), "value".into())].into(),
        };
        let mut env = environment(&["HOME=/h", "OLD=1", "LEFT=x", "odd"]);
        env.apply(&rules, |text| CString::new(text)).unwrap();
        let entries: Vec<_> = env.entries().iter().map(|entry| entry.to_str().unwrap()).collect();
        assert_eq!(entries, ["HOME=/h", "NEW=1", "SET=value"]);
    }
}
