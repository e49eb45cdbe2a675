//! Failures of the command line tool: a class, which decides the exit code, a text and a hint.
//!
//! Everything returns [`anyhow::Error`]; what is in its chain decides how it is printed. The crates below have their
//! own typed errors with class and hint; [`Failure`] is for what only this program knows.

use std::error::Error as StdError;
use std::fmt;
use std::io;
use std::path::Path;

use pspf_format::Class;
use pspf_keys::KeyError;

/// What went wrong, and what to do next.
#[derive(Debug)]
pub(crate) struct Failure {
    class: Class,
    message: String,
    hint: Option<String>,
    cause: Option<Box<dyn StdError + Send + Sync>>,
}

impl Failure {
    /// A failure of this class. The message starts in lower case, has values in backticks and no final period.
    pub(crate) fn new(class: Class, message: impl Into<String>) -> Self {
        Self { class, message: message.into(), hint: None, cause: None }
    }

    /// The command line, the manifest or an input is not as it must be.
    pub(crate) fn usage(message: impl Into<String>) -> Self {
        Self::new(Class::Usage, message)
    }

    /// Adds what to do next.
    pub(crate) fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// Adds what it comes from.
    pub(crate) fn because(mut self, cause: impl Into<Box<dyn StdError + Send + Sync>>) -> Self {
        self.cause = Some(cause.into());
        self
    }

    /// The error as a result.
    pub(crate) fn err<T>(self) -> anyhow::Result<T> {
        Err(self.into())
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl StdError for Failure {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.cause.as_deref().map(|cause| cause as &(dyn StdError + 'static))
    }
}

/// A path in backticks, made harmless for a terminal.
pub(crate) fn shown(path: &Path) -> String {
    format!("`{}`", path.to_string_lossy().escape_debug())
}

/// Adds the path to an error of the file system, once, where it happens.
pub(crate) trait At<T> {
    /// Says what was done to which path.
    fn at(self, action: &str, path: &Path) -> anyhow::Result<T>;
}

impl<T> At<T> for io::Result<T> {
    fn at(self, action: &str, path: &Path) -> anyhow::Result<T> {
        self.map_err(|error| anyhow::Error::new(error).context(format!("{action} {}", shown(path))))
    }
}

/// The class of an error: that of the first cause that has one.
pub(crate) fn class(error: &anyhow::Error) -> Class {
    error.chain().find_map(class_of).unwrap_or(Class::Internal)
}

fn class_of(cause: &(dyn StdError + 'static)) -> Option<Class> {
    if let Some(failure) = cause.downcast_ref::<Failure>() {
        return Some(failure.class);
    }
    if let Some(error) = cause.downcast_ref::<pspf_launcher::Error>() {
        return Some(error.class());
    }
    if let Some(error) = cause.downcast_ref::<pspf_unsealed::Error>() {
        return Some(error.class());
    }
    if let Some(error) = cause.downcast_ref::<pspf_workenv::Error>() {
        return Some(error.class());
    }
    if let Some(error) = cause.downcast_ref::<pspf_format::Error>() {
        return Some(error.class());
    }
    if cause.is::<KeyError>() {
        return Some(Class::Usage);
    }
    cause.is::<io::Error>().then_some(Class::Io)
}

fn hint_of(cause: &(dyn StdError + 'static)) -> Option<String> {
    if let Some(failure) = cause.downcast_ref::<Failure>() {
        return failure.hint.clone();
    }
    let hint = if let Some(error) = cause.downcast_ref::<pspf_launcher::Error>() {
        error.hint()
    } else if let Some(error) = cause.downcast_ref::<pspf_unsealed::Error>() {
        error.hint()
    } else if let Some(error) = cause.downcast_ref::<pspf_workenv::Error>() {
        error.hint()
    } else if let Some(error) = cause.downcast_ref::<pspf_format::Error>() {
        error.hint()
    } else if let Some(error) = cause.downcast_ref::<KeyError>() {
        error.hint()
    } else {
        None
    };
    hint.map(str::to_owned)
}

/// The lines that an error is printed as: one with the whole chain of causes, then one for each hint.
pub(crate) fn lines(error: &anyhow::Error) -> String {
    let chain: Vec<String> = error.chain().map(|cause| cause.to_string()).collect();
    let mut text = format!("pspf: error[{}]: {}\n", class(error), chain.join(": ").trim_end());
    for hint in error.chain().filter_map(hint_of) {
        text += &format!("  hint: {hint}\n");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_cause_with_a_class_decides() {
        let io = io::Error::from(io::ErrorKind::NotFound);
        let error = Err::<(), _>(io).at("reading", Path::new("/x\n")).unwrap_err();
        assert_eq!(class(&error), Class::Io);
        assert_eq!(lines(&error), "pspf: error[IO]: reading `/x\\n`: entity not found\n");
        let error = anyhow::Error::new(Failure::usage("no").hint("yes")).context("manifest");
        assert_eq!(lines(&error), "pspf: error[USAGE]: manifest: no\n  hint: yes\n");
    }
}
