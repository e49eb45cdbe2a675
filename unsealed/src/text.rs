//! Placeholders in the metadata of such packages (SPEC §8.6). What is no placeholder stays as it is.

use std::ffi::OsString;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

use pspf_format::{UnsealedMetadata, UnsealedSlot};

use crate::Error;
use crate::words::split_words;

/// What placeholders stand for.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Places<'a> {
    pub(crate) metadata: &'a UnsealedMetadata,
    pub(crate) slots: &'a [UnsealedSlot],
    /// The work environment.
    pub(crate) workenv: &'a Path,
}

impl Places<'_> {
    /// Replaces each placeholder, in one pass; `{slot:N}` only where `slots` says so.
    pub(crate) fn expand(&self, text: &str, slots: bool) -> OsString {
        let mut out = Vec::new();
        let mut rest = text;
        while let Some((before, after)) = rest.split_once('{') {
            out.extend_from_slice(before.as_bytes());
            let found = after.split_once('}').and_then(|(name, rest)| Some((self.value(name, slots)?, rest)));
            match found {
                Some((value, tail)) => {
                    out.extend(value);
                    rest = tail;
                }
                None => {
                    out.push(b'{');
                    rest = after;
                }
            }
        }
        out.extend_from_slice(rest.as_bytes());
        OsString::from_vec(out)
    }

    fn value(&self, name: &str, slots: bool) -> Option<Vec<u8>> {
        let identity = &self.metadata.package;
        match name {
            "workenv" => Some(self.workenv.as_os_str().as_bytes().to_vec()),
            "package_name" => Some(identity.name.clone().into_bytes()),
            "version" => Some(identity.version.clone().into_bytes()),
            _ => {
                let digits = name.strip_prefix("slot:").filter(|_| slots)?;
                let number = digits.parse().ok().filter(|number: &usize| number.to_string() == digits)?;
                let slot = self.slots.get(number)?;
                let path = match &slot.target {
                    Some(path) if !slot.is_tree() => self.workenv.join(path.as_str()),
                    _ => self.workenv.join(""),
                };
                Some(path.into_os_string().into_vec())
            }
        }
    }

    /// The words of a command, split before anything is put in: a space in a path does not make two of one.
    pub(crate) fn words(&self, command: &str, slots: bool) -> Result<Vec<OsString>, Error> {
        let words = split_words(command);
        let words = words.ok_or_else(|| Error::metadata(format!("command `{command}` has a quote without its end")))?;
        Ok(words.iter().map(|word| self.expand(word, slots)).collect())
    }

    /// A path inside the work environment.
    pub(crate) fn path_inside(&self, text: &str) -> Result<PathBuf, Error> {
        let path = PathBuf::from(self.expand(text, false));
        let path = if path.is_absolute() { path } else { self.workenv.join(path) };
        let plain = |path: &Path| path.components().all(|part| !matches!(part, std::path::Component::ParentDir));
        match path.strip_prefix(self.workenv) {
            Ok(inside) if plain(inside) => Ok(path),
            _ => Err(Error::metadata(format!("`{text}` leads out of the work environment"))),
        }
    }
}

/// Whether a name has this form, as the reference launcher reads it: `*`, `?`, and `[…]` for one of several characters.
pub(crate) fn matches(pattern: &str, name: &str) -> bool {
    glob::Pattern::new(pattern).is_ok_and(|pattern| pattern.matches(name))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{metadata, slot};
    use pspf_format::Operation;
    use serde_json::json;

    #[test]
    fn placeholders_stand_for_what_they_name_and_others_for_themselves() {
        let metadata = metadata(json!({}));
        let (_, file) = slot(Vec::new(), b"");
        let (_, tree) = slot(vec![Operation::Tar], b"");
        let slots = [file, tree];
        let places = Places { metadata: &metadata, slots: &slots, workenv: Path::new("/w") };
        for (text, expected) in [
            ("{workenv}/a {package_name}-{version}", "/w/a forged-1.5"),
            // A slot of one file is that file, an archive is the directory that it is in.
            ("{slot:0} {slot:1}tool", "/w/target /w/tool"),
            ("{slot:2} {slot:01} {slot:} {slot:-1} {slot:+0}", "{slot:2} {slot:01} {slot:} {slot:-1} {slot:+0}"),
            ("{} {none} {WORKENV} { workenv}", "{} {none} {WORKENV} { workenv}"),
            ("{{workenv}} {x{version}", "{/w} {x1.5"),
            ("{workenv", "{workenv"),
            ("", ""),
        ] {
            assert_eq!(places.expand(text, true), OsString::from(expected), "{text}");
        }
        assert_eq!(places.expand("{slot:0} {workenv}", false), OsString::from("{slot:0} /w"));
        // What is put in is not looked at again.
        let odd = Places { workenv: Path::new("/{version} x"), ..places };
        assert_eq!(odd.expand("{workenv}", true), OsString::from("/{version} x"));
        assert_eq!(odd.words("{workenv}/a 'b {version}'", true).unwrap(), ["/{version} x/a", "b 1.5"]);
        assert_eq!(odd.words("", true).unwrap(), [""; 0]);
        assert!(odd.words("a 'b", true).unwrap_err().to_string().contains("a quote without its end"));
    }

    #[test]
    fn a_path_stays_in_the_work_environment() {
        let metadata = metadata(json!({}));
        let places = Places { metadata: &metadata, slots: &[], workenv: Path::new("/w") };
        for (text, expected) in
            [("a/b", "/w/a/b"), ("{workenv}/a", "/w/a"), ("/w/a", "/w/a"), ("{workenv}", "/w"), ("./a..b", "/w/./a..b")]
        {
            assert_eq!(places.path_inside(text).unwrap(), Path::new(expected), "{text}");
        }
        for text in ["..", "a/../b", "/w/../w/a", "/x", "/wx", "{workenv}x", "{workenv}/.."] {
            let error = places.path_inside(text).unwrap_err().to_string();
            assert!(error.contains("leads out"), "{text}: {error}");
        }
    }

    #[test]
    fn patterns_are_those_of_the_reference_launcher() {
        for (pattern, name, expected) in [
            ("GONE_*", "GONE_A", true),
            ("GONE_*", "GONE", false),
            ("A?", "AB", true),
            ("A[BC]", "AC", true),
            ("A[BC]", "AD", false),
            // What is no pattern names nothing.
            ("A[", "A[", false),
        ] {
            assert_eq!(matches(pattern, name), expected, "{pattern} {name}");
        }
    }
}
