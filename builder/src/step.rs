//! A step of a recipe: another program does it, and what it says when it fails is shown whole, under a line that says at what.

use std::path::PathBuf;
use std::process::{Command, Stdio};

use pspf_format::Class;

use crate::failure::{At, Failure};

/// How many lines of what a program said are shown: from the start, where some say it all, and from the end.
const FIRST_LINES: usize = 12;
const LAST_LINES: usize = 28;

/// What a program that did its work has said.
pub(crate) struct Said {
    pub(crate) out: String,
    pub(crate) err: String,
}

/// Runs a step and returns what it printed. `hint` says what may help, by what the program has said in lower case.
pub(crate) fn run(command: &mut Command, step: &str, hint: fn(&str) -> &'static str) -> anyhow::Result<String> {
    Ok(said(command, step, hint)?.out)
}

/// The same with what it told of its work.
pub(crate) fn said(command: &mut Command, step: &str, hint: fn(&str) -> &'static str) -> anyhow::Result<Said> {
    let program = PathBuf::from(command.get_program());
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let output = crate::interrupt::output(command).at("executing", &program)?;
    if output.status.success() {
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        return Ok(Said { out: text(&output.stdout), err: text(&output.stderr) });
    }
    let name = program.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let said = [output.stdout, output.stderr].concat();
    let said = String::from_utf8_lossy(&said);
    let lines: Vec<&str> = said.lines().filter(|line| !line.trim().is_empty()).collect();
    let (first, rest) = lines.split_at(FIRST_LINES.min(lines.len()));
    let (left_out, last) = rest.split_at(rest.len().saturating_sub(LAST_LINES));
    let gap = (!left_out.is_empty()).then_some("...");
    let shown = first.iter().copied().chain(gap).chain(last.iter().copied());
    let shown: String = shown.map(|line| format!("\n  | {}", harmless(line))).collect();
    let failure = Failure::new(Class::Usage, format!("{step} failed: `{name}` ended with {}{shown}", output.status));
    failure.hint(hint(&said.to_ascii_lowercase())).err()
}

/// A line without what could steer a terminal; quotes stay as they are.
fn harmless(line: &str) -> String {
    line.chars()
        .map(|c| {
            if matches!(c, '"' | '\'' | '\\') { c.to_string() } else { pspf_format::Shown(&c.to_string()).to_string() }
        })
        .collect()
}

/// A program in PATH.
pub(crate) fn in_path(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).map(|folder| folder.join(name)).find(|path| {
        path.metadata().is_ok_and(|found| found.is_file() && crate::tree::mode(&found) == pspf_format::Mode::Executable)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_ends_of_a_long_message_are_shown() {
        let mut command = Command::new("sh");
        command.args(["-c", "seq 1 100 >&2; exit 3"]);
        let said = format!("{:#}", run(&mut command, "counting", |_| "count again").unwrap_err());
        let lines: Vec<_> = said.lines().collect();
        assert_eq!(lines.len(), 42, "{said}");
        assert_eq!(lines[0], "counting failed: `sh` ended with exit status: 3");
        assert_eq!(
            (lines[1], lines[12], lines[13], lines[14], lines[41]),
            ("  | 1", "  | 12", "  | ...", "  | 73", "  | 100")
        );
    }
}
