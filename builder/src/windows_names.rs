//! Names that Windows takes for something else than a file of that name.

use pspf_format::Platform;

use crate::failure::Failure;

/// Why Windows cannot have a file of this name; none where it can.
pub(crate) fn refusal(name: &str) -> Option<&'static str> {
    if name.contains(['<', '>', ':', '"', '|', '?', '*', '\\']) {
        return Some("has a character with another meaning there");
    }
    if name.ends_with(['.', ' ']) {
        return Some("loses its last character there");
    }
    let stem = name.split('.').next().unwrap_or_default().trim_end().to_uppercase();
    // Superscript digits count as digits.
    let is_port =
        |rest: &str| matches!(rest, "¹" | "²" | "³") || rest.len() == 1 && rest.as_bytes()[0].is_ascii_digit();
    let port = stem.strip_prefix("COM").or_else(|| stem.strip_prefix("LPT"));
    let is_device = matches!(stem.as_str(), "CON" | "PRN" | "AUX" | "NUL" | "CONIN$" | "CONOUT$");
    (is_device || port.is_some_and(is_port)).then_some("is a device there, whatever follows a dot")
}

/// Refuses such a name where the platform is Windows.
pub(crate) fn hold(name: &str, platform: &Platform) -> anyhow::Result<()> {
    match refusal(name).filter(|_| platform.as_str().starts_with("windows_")) {
        Some(reason) => {
            let failure = Failure::usage(format!("`{}` {reason}, on {platform}", name.escape_debug()));
            failure.hint("rename or exclude it").err()
        }
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a26_names_of_devices_streams_and_names_that_lose_their_end() {
        for name in [
            "CON",
            "con",
            "Con.txt",
            "nul",
            "NUL.tar.gz",
            "aux ",
            "aux .c",
            "PRN",
            "COM1",
            "com9.log",
            "COM¹",
            "lpt²",
            "LPT0",
            "CONIN$",
            "conout$",
            "dot.",
            "dots..",
            "space ",
            "a:b",
            "a:$DATA",
            "c:",
            "a\\b",
            "a?",
            "a*",
            "<",
            "x|y",
            "\"q\"",
        ] {
            assert!(refusal(name).is_some(), "{name}");
        }
        for name in
            ["console", "com", "com10", "COMx", "nu l", "lpt", "a.con", ".nul", "größe", "x.y z", "com¹¹", "a'b"]
        {
            assert_eq!(refusal(name), None, "{name}");
        }
    }
}
