//! Names with rules: slot ids, file names, paths inside a tree, link targets, platforms.
//!
//! Each is made by parsing only, so that whoever holds one need not look at it again.

use alloc::borrow::ToOwned;
use alloc::boxed::Box;
use alloc::string::{String, ToString};
use alloc::sync::Arc;
use core::fmt;

use crate::Error;
use crate::json::{self, Json};
use crate::json_reader::Reader;

/// Longest path inside a tree, in bytes (Linux `PATH_MAX` less its NUL).
pub const MAX_PATH: usize = 4095;
/// Longest component of a path, in bytes (Linux `NAME_MAX`).
pub const MAX_COMPONENT: usize = 255;
/// Longest slot id, in bytes.
pub const MAX_ID: usize = 64;

macro_rules! name {
    ($(#[$doc:meta])* $type:ident, $reason:ident) => {
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $type(Arc<str>);

        impl $type {
            /// The text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl TryFrom<String> for $type {
            type Error = Error;
            fn try_from(text: String) -> Result<Self, Error> {
                text.as_str().try_into()
            }
        }

        impl TryFrom<&str> for $type {
            type Error = Error;
            fn try_from(text: &str) -> Result<Self, Error> {
                match $reason(text) {
                    None => Ok(Self(text.into())),
                    Some(reason) => Err(Error::Name { name: text.to_owned(), reason }),
                }
            }
        }

        impl Json for $type {
            fn write(&self, out: &mut json::Writer<'_>) {
                json::put_string(out, &self.0);
            }

            fn read(reader: &mut Reader<'_>) -> Result<Self, Box<Error>> {
                let start = reader.position();
                let text = reader.string()?;
                Self::try_from(&*text).map_err(|error| reader.wrong(start, &error))
            }
        }

        impl From<$type> for String {
            fn from(name: $type) -> Self {
                name.0.as_ref().to_owned()
            }
        }

        impl fmt::Display for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
    };
}

name! {
    /// A slot's id: 1 to 64 of `a-z A-Z 0-9 . _ -`, first a letter, digit or `_`, and not digits alone
    /// (`{slot:3}` is a position in PSPF/2025).
    SlotId, slot_id_reason
}

name! {
    /// The name of one file: a single component of a [`TreePath`].
    FileName, component_reason
}

name! {
    /// A path inside a tree: relative, in normal form, UTF-8, at most 4,095 bytes, each component at most 255,
    /// without `.`, `..`, NUL or control characters.
    TreePath, path_reason
}

name! {
    /// A package's name or version: 1 to 128 of `a-z A-Z 0-9 . _ + -`, first a letter, digit or `_`.
    PackageWord, word_reason
}

name! {
    /// An operating system and an architecture as `linux_amd64` (SPEC §6.3).
    Platform, platform_reason
}

fn slot_id_reason(text: &str) -> Option<&'static str> {
    if text.len() > MAX_ID {
        Some("a slot id has at most 64 bytes")
    } else if text.bytes().all(|b| b.is_ascii_digit()) {
        Some("a slot id is not empty and not digits alone")
    } else {
        word_characters(text, "._-")
    }
}

fn word_reason(text: &str) -> Option<&'static str> {
    if text.is_empty() || text.len() > 128 { Some("it has 1 to 128 bytes") } else { word_characters(text, "._+-") }
}

fn word_characters(text: &str, more: &str) -> Option<&'static str> {
    let first_fits = text.starts_with(|c: char| c.is_ascii_alphanumeric() || c == '_');
    let all_fit = text.chars().all(|c| c.is_ascii_alphanumeric() || more.contains(c));
    if first_fits && all_fit {
        None
    } else {
        Some("it may hold letters, digits and `._+-`, and starts with a letter or digit")
    }
}

fn platform_reason(text: &str) -> Option<&'static str> {
    match text.split_once('_') {
        Some(("linux" | "darwin" | "windows", "amd64" | "arm64" | "386" | "arm" | "riscv64" | "s390x" | "ppc64le")) => {
            None
        }
        _ => Some("a platform is written like `linux_amd64`"),
    }
}

fn component_reason(text: &str) -> Option<&'static str> {
    if text.is_empty() {
        Some("a component is empty")
    } else if text == "." || text == ".." {
        Some("`.` and `..` are no names")
    } else if text.len() > MAX_COMPONENT {
        Some("a component is longer than 255 bytes")
    } else if text.contains('/') {
        Some("a file name holds no `/`")
    } else if has_control(text) {
        Some("it holds a control character")
    } else {
        None
    }
}

/// Whether one of its characters is a control character (Unicode category Cc), of which only two forms exist in UTF-8.
fn has_control(text: &str) -> bool {
    let bytes = text.as_bytes();
    bytes.iter().any(|&byte| byte < 0x20 || byte == 0x7f)
        || bytes.windows(2).any(|pair| matches!(pair, [0xc2, 0x80..=0x9f]))
}

/// Whether this is a path of printable ASCII that breaks no rule: one quick look at what nearly every path is.
fn is_plain_path(text: &str) -> bool {
    let mut component = 0;
    let mut dots = 0;
    for byte in text.bytes().chain([b'/']) {
        match byte {
            // Too long, or nothing but at most two dots.
            b'/' if component > MAX_COMPONENT || (component == dots && dots <= 2) => return false,
            b'/' => (component, dots) = (0, 0),
            b'.' => (component, dots) = (component + 1, dots + 1),
            b' '..=b'~' => component += 1,
            _ => return false,
        }
    }
    text.len() <= MAX_PATH
}

fn path_reason(text: &str) -> Option<&'static str> {
    if is_plain_path(text) {
        return None;
    }
    if text.starts_with('/') {
        return Some("it is absolute");
    }
    if text.len() > MAX_PATH {
        return Some("it is longer than 4095 bytes");
    }
    text.split('/').find_map(component_reason)
}

impl TreePath {
    /// The directory that holds it; `None` at the top of the tree.
    pub fn parent(&self) -> Option<&str> {
        self.0.get(..self.0.bytes().rposition(|byte| byte == b'/')?)
    }

    /// How many directories lie above it inside the tree.
    pub fn depth(&self) -> usize {
        self.0.bytes().filter(|&b| b == b'/').count()
    }

    /// Fails unless a symbolic link at this path with this target stays inside the tree.
    ///
    /// `..` is legal at the front of a target only, and at most as often as there are directories above the
    /// link. A link's parents are real directories, so those climb inside the tree; what follows only descends,
    /// through links that hold to the same rule. No chain of links can leave the tree (SPEC §7.3).
    ///
    /// # Errors
    /// [`Error::LinkTarget`] names both ends and the reason.
    pub fn link_stays_inside(&self, target: &str) -> Result<(), Error> {
        let refuse = |reason| Err(Error::LinkTarget { path: self.to_string(), target: target.to_owned(), reason });
        if target.is_empty() || target.len() > MAX_PATH {
            return refuse("a target has 1 to 4095 bytes");
        }
        if target.starts_with('/') {
            return refuse("it is absolute");
        }
        if target.chars().any(char::is_control) {
            return refuse("it holds a control character");
        }
        let mut climbed = 0;
        let mut descended = false;
        for component in target.split('/') {
            match component {
                ".." if descended => return refuse("`..` follows a name"),
                ".." => climbed += 1,
                "" | "." => {}
                _ => descended = true,
            }
        }
        if climbed > self.depth() { refuse("it leaves the slot") } else { Ok(()) }
    }
}
