//! What `pspf inspect` shows of a package without a seal.

use pspf_format::{UnsealedMetadata, UnsealedSlot};
use serde::Serialize;

use crate::cache_command::count;
use crate::verify_report::harmless;

/// The signed metadata of a package without a seal, under their own names.
#[derive(Serialize)]
pub(crate) struct UnsealedReport<'a> {
    /// `build.tool`.
    tool: &'a str,
    /// `execution.command`, one line of text.
    command: Option<&'a str>,
    /// How many setup commands run before the first start.
    setup_commands: usize,
}

/// What the metadata of a package without a seal say of a slot.
#[derive(Serialize)]
pub(crate) struct UnsealedDetails<'a> {
    /// Inside the work environment; empty for its top.
    target: &'a str,
    operations: String,
    lifecycle: &'a str,
    mode: String,
}

impl<'a> UnsealedReport<'a> {
    pub(crate) fn of(metadata: &'a UnsealedMetadata) -> Self {
        Self {
            tool: &metadata.build.tool,
            command: metadata.execution.command.as_deref(),
            setup_commands: metadata.setup_commands.as_ref().map_or(0, Vec::len),
        }
    }

    /// Label and text of each line for people.
    pub(crate) fn lines(&self) -> Vec<(&'static str, String)> {
        let command = self.command.map_or_else(|| "none".to_owned(), harmless);
        let mut lines = vec![("made by", harmless(self.tool)), ("command", command)];
        if self.setup_commands > 0 {
            let commands = count(self.setup_commands as u64, "command");
            lines.push(("setup", format!("{commands}, before the first start")));
        }
        lines
    }
}

impl<'a> UnsealedDetails<'a> {
    pub(crate) fn new(slot: &'a UnsealedSlot) -> Self {
        Self {
            target: slot.target.as_ref().map_or("", |target| target.as_str()),
            operations: slot.operations_text(),
            lifecycle: &slot.lifecycle,
            mode: format!("{:04o}", slot.permissions),
        }
    }

    /// The slot for people; `stored` is its size.
    pub(crate) fn line(&self, stored: &str) -> String {
        let Self { target, operations, lifecycle, mode } = self;
        let place = if target.is_empty() { "at the top".to_owned() } else { format!("as {}", harmless(target)) };
        format!("{operations:8}  {}  {mode}  {stored} stored, {place}", harmless(lifecycle))
    }
}
