//! A program that is measured, and what surrounds each of its runs without being measured.

use std::path::PathBuf;

use super::spawn::Program;

/// How many cores a program may use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Cores {
    All,
    One,
}

/// One case of a round.
pub(super) struct Case {
    pub(super) name: String,
    pub(super) program: Program,
    /// All of its standard output, where that is known.
    pub(super) says: Option<Vec<u8>>,
    pub(super) cores: Cores,
    /// Directories that are made, and empty, before every run.
    pub(super) fresh: Vec<PathBuf>,
    /// Removed before and after every run.
    pub(super) leaves: Vec<PathBuf>,
    /// Done before every run, with the number of the round.
    pub(super) before: Option<Box<dyn FnMut(u32) -> anyhow::Result<()>>>,
}

impl Case {
    pub(super) fn new(name: impl Into<String>, program: Program) -> Self {
        let (fresh, leaves) = (Vec::new(), Vec::new());
        Self { name: name.into(), program, says: None, cores: Cores::All, fresh, leaves, before: None }
    }

    /// Every run is checked to have said this.
    pub(super) fn saying(mut self, text: impl Into<Vec<u8>>) -> Self {
        self.says = Some(text.into());
        self
    }

    pub(super) fn on(mut self, cores: Cores) -> Self {
        self.cores = cores;
        self
    }

    /// Starts with this directory there and empty.
    pub(super) fn into_fresh(mut self, directory: impl Into<PathBuf>) -> Self {
        self.fresh.push(directory.into());
        self
    }

    /// Removes this before and after every run.
    pub(super) fn leaving(mut self, path: impl Into<PathBuf>) -> Self {
        self.leaves.push(path.into());
        self
    }

    pub(super) fn before(mut self, action: impl FnMut(u32) -> anyhow::Result<()> + 'static) -> Self {
        self.before = Some(Box::new(action));
        self
    }
}
