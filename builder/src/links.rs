//! Symbolic links of a source tree: which text they get in the package.
//!
//! A link keeps its text where the format allows it. A target that only takes a detour (`name/../other`, or an absolute
//! path into the tree itself) gets the shortest text with the same meaning. What leaves the tree is an error.

use std::path::{Path, PathBuf};

use pspf_format::TreePath;

use crate::failure::Failure;

/// The target that the link at `path` gets. `is_directory` says whether a path of the tree is a real directory, not a
/// link to one: only over those does `name/..` cancel out.
pub(crate) fn target(
    root: &Path,
    path: &TreePath,
    text: &str,
    is_directory: impl Fn(&str) -> bool,
) -> anyhow::Result<String> {
    let refusal = match path.link_stays_inside(text) {
        Ok(()) => return Ok(text.to_owned()),
        Err(error) => error,
    };
    if let Some(place) = place(root, path, text, is_directory) {
        let short = relative(path, &place);
        if path.link_stays_inside(&short).is_ok() {
            return Ok(short);
        }
    }
    let source = crate::failure::shown(&root.join(path.as_str()));
    Failure::usage(format!("link {source} -> `{}` cannot be packed", text.escape_debug()))
        .because(refusal)
        .hint("make it a relative link inside the slot, exclude it, or set the slot's `links = \"follow\"` to pack copies")
        .err()
}

/// The path inside the tree that the target names, by its components; `None` where it leaves the tree.
fn place(root: &Path, path: &TreePath, text: &str, is_directory: impl Fn(&str) -> bool) -> Option<Vec<String>> {
    let mut place: Vec<String> = Vec::new();
    if text.is_empty() {
        return None;
    }
    let rest = if Path::new(text).is_absolute() {
        // Only a target below the root by its very text; whatever it is reached through on this machine is not packed.
        Path::new(text).strip_prefix(root).ok()?.to_str()?.to_owned()
    } else {
        place.extend(path.parent().into_iter().flat_map(|parent| parent.split('/')).map(str::to_owned));
        text.to_owned()
    };
    for component in rest.split('/') {
        match component {
            "" | "." => {}
            ".." => {
                let parent = place.join("/");
                place.pop()?;
                if !is_directory(&parent) {
                    return None;
                }
            }
            name => place.push(name.to_owned()),
        }
    }
    Some(place)
}

/// The shortest text from the link's directory to the place.
fn relative(path: &TreePath, place: &[String]) -> String {
    let from: Vec<&str> = path.parent().into_iter().flat_map(|parent| parent.split('/')).collect();
    let common = from.iter().zip(place).take_while(|(a, b)| **a == b.as_str()).count();
    let up = std::iter::repeat_n("..", from.len().saturating_sub(common));
    let down = place.iter().skip(common).map(String::as_str);
    let text = up.chain(down).collect::<Vec<_>>().join("/");
    if text.is_empty() { ".".to_owned() } else { text }
}

/// The text of a link as UTF-8.
pub(crate) fn read(source: &Path) -> anyhow::Result<String> {
    use crate::failure::At;
    let target: PathBuf = std::fs::read_link(source).at("reading the link", source)?;
    target
        .into_os_string()
        .into_string()
        .map_err(|_| Failure::usage(format!("link {}: its target is not UTF-8", crate::failure::shown(source))).into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_inside_are_kept_or_shortened() {
        let real = ["a", "a/b", "lib", "a/real"];
        for (path, text, expected) in [
            ("l", "x", Some("x")),
            ("a/l", "../x", Some("../x")),
            ("a/l", "./b//x", Some("./b//x")),
            ("a/l", "b/../x", Some("x")),
            ("a/b/l", "../../lib/../a/x", Some("../x")),
            ("a/l", "/src/tree/lib/x", Some("../lib/x")),
            ("a/l", "/src/tree", Some("..")),
            ("a/l", "/src/tree/a", Some(".")),
            ("a/l", "linked/../x", None),
            ("a/l", "../../x", None),
            ("l", "../tree/x", None),
            ("l", "/etc/passwd", None),
            ("l", "/src/treehouse", None),
            ("l", "", None),
            ("l", "a\nb", None),
        ] {
            let path = TreePath::try_from(path).unwrap();
            let found = target(Path::new("/src/tree"), &path, text, |name| real.contains(&name));
            assert_eq!(found.as_deref().ok(), expected, "{path} -> {text}");
        }
    }

    #[test]
    fn the_error_names_both_ends_and_the_way_out() {
        let path = TreePath::try_from("bin/python").unwrap();
        let error = target(Path::new("/src"), &path, "/usr/bin/python3", |_| false).unwrap_err();
        let text = crate::failure::lines(&error);
        for part in ["`/src/bin/python`", "`/usr/bin/python3`", "links = \"follow\"", "error[USAGE]"] {
            assert!(text.contains(part), "{text}");
        }
    }
}
