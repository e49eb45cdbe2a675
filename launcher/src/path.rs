//! Paths as bytes and C strings.

use alloc::ffi::CString;
use core::ffi::CStr;
use core::fmt::{self, Write};

/// The parts in one C string. None of them holds a NUL: they come from C strings, or from names that the format
/// holds to rules. Were it otherwise, the empty path that this gives is one that nothing has.
pub(crate) fn concat(parts: &[&[u8]]) -> CString {
    CString::new(parts.concat()).unwrap_or_default()
}

/// `name` below `directory`.
pub(crate) fn join(directory: &CStr, name: &[u8]) -> CString {
    let directory = directory.to_bytes();
    match (directory, name) {
        (_, [] | [b'/', ..]) | ([] | [.., b'/'], _) => concat(&[directory, name]),
        _ => concat(&[directory, b"/", name]),
    }
}

/// Whether `path` is `directory` or lies below it, by its text.
pub(crate) fn is_below(path: &CStr, directory: &CStr) -> bool {
    let rest = path.to_bytes().strip_prefix(directory.to_bytes());
    rest.is_some_and(|rest| matches!(rest, [] | [b'/', ..]) || directory.to_bytes().ends_with(b"/"))
}

pub(crate) fn is_absolute(path: &[u8]) -> bool {
    path.starts_with(b"/")
}

/// The directory of `path` and the name in it.
pub(crate) fn split(path: &CStr) -> Option<(&[u8], &[u8])> {
    let path = path.to_bytes();
    let at = path.iter().rposition(|&byte| byte == b'/')?;
    let (directory, name) = path.split_at_checked(at)?;
    let name = name.get(1..).filter(|name| !name.is_empty())?;
    Some((if directory.is_empty() { b"/" } else { directory }, name))
}

/// A path in backticks, made harmless for a terminal.
pub(crate) fn shown(path: &CStr) -> Shown<'_> {
    Shown(path.to_bytes())
}

/// What [`shown`] gives.
pub(crate) struct Shown<'a>(&'a [u8]);

impl fmt::Display for Shown<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_char('`')?;
        for chunk in self.0.utf8_chunks() {
            write!(f, "{}", pspf_format::Shown(chunk.valid()))?;
            if !chunk.invalid().is_empty() {
                f.write_char(char::REPLACEMENT_CHARACTER)?;
            }
        }
        f.write_char('`')
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::string::ToString;

    #[test]
    fn names_below_directories() {
        for (directory, name, expected) in
            [(c"/a", "b", c"/a/b"), (c"/", "b", c"/b"), (c"/a/", "b", c"/a/b"), (c"", "b", c"b"), (c"/a", "", c"/a")]
        {
            assert_eq!(join(directory, name.as_bytes()).as_c_str(), expected);
        }
    }

    #[test]
    fn what_lies_below() {
        for (path, directory, expected) in [
            (c"/a/b", c"/a", true),
            (c"/a", c"/a", true),
            (c"/ab", c"/a", false),
            (c"/a", c"/", true),
            (c"/", c"/a", false),
        ] {
            assert_eq!(is_below(path, directory), expected, "{path:?} {directory:?}");
        }
    }

    #[test]
    fn directories_and_names() {
        let parts =
            |path| split(path).map(|(directory, name)| [directory, name].map(|b| core::str::from_utf8(b).unwrap()));
        assert_eq!(parts(c"/a/b"), Some(["/a", "b"]));
        assert_eq!(parts(c"/b"), Some(["/", "b"]));
        assert_eq!(parts(c"a/b"), Some(["a", "b"]));
        assert_eq!(parts(c"b"), None);
        assert_eq!(parts(c"/"), None);
        assert!(is_absolute(b"/a") && !is_absolute(b"a/") && !is_absolute(b""));
    }

    #[test]
    fn a_terminal_gets_no_control_characters() {
        assert_eq!(shown(c"/gr\xc3\xb6\xc3\x9fe\x1b[2J\n\xff").to_string(), "`/größe\\u{1b}[2J\\n\u{fffd}`");
    }
}
