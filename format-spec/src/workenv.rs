//! What needs a work environment (SPEC §6.8): a directory that the application may change.
//!
//! Readers without the feature `workenv` refuse such packages as malformed; they need a launcher that knows more.

use alloc::boxed::Box;
use alloc::string::String;

use crate::lifecycle::Moment;
use crate::template::{Piece, pieces};
use crate::{Error, Lifecycle, Pspf, Run};

impl Lifecycle {
    /// Every one.
    pub const ALL: [Self; 11] = [
        Self::Runtime,
        Self::Eager,
        Self::Lazy,
        Self::Dev,
        Self::Platform,
        Self::Init,
        Self::Config,
        Self::Cache,
        Self::Startup,
        Self::Temporary,
        Self::Shutdown,
    ];

    /// Whether its slots lie outside of the cache's slots, where they can be changed.
    pub fn is_writable(self) -> bool {
        matches!(self, Self::Init | Self::Startup | Self::Cache | Self::Config) || self.is_of_one_start()
    }

    /// Whether its slots lie in a directory of one start alone.
    pub fn is_of_one_start(self) -> bool {
        matches!(self, Self::Temporary | Self::Shutdown)
    }
}

impl Run {
    /// Every template, in their order.
    pub fn templates(&self) -> impl Iterator<Item = &str> {
        let commands = self.setup.iter().chain(&self.shutdown).flatten();
        let values = self.env.set.into_iter().map(|(_, value)| value.as_str());
        self.command.iter().chain(&self.cwd).chain(commands).map(String::as_str).chain(values)
    }

    /// Whether it has commands for a work environment, or names it.
    pub fn needs_workenv(&self) -> bool {
        let names_it =
            |template| pieces(template).is_ok_and(|pieces| pieces.iter().any(|piece| matches!(piece, Piece::WorkEnv)));
        !self.setup.is_empty() || !self.shutdown.is_empty() || self.templates().any(names_it)
    }
}

impl Pspf {
    /// Whether a start needs a work environment.
    pub fn has_workenv(&self) -> bool {
        self.run.needs_workenv() || self.slots.iter().any(|slot| slot.lifecycle.is_writable())
    }

    /// Whether something is left to do when the application has ended.
    pub fn has_end(&self) -> bool {
        !self.run.shutdown.is_empty() || self.slots.iter().any(|slot| slot.lifecycle.is_of_one_start())
    }
}

/// What the types alone cannot say.
pub(crate) fn hold_to_rules(pspf: &Pspf) -> Result<(), Box<Error>> {
    for command in &pspf.run.setup {
        pspf.hold_command(command, Moment::Setup)?;
    }
    for command in &pspf.run.shutdown {
        pspf.hold_command(command, Moment::End)?;
    }
    let beside = |lifecycle: Lifecycle| lifecycle.is_writable().then_some(lifecycle.is_of_one_start());
    for (position, slot) in pspf.slots.iter().enumerate() {
        let Some(place) = beside(slot.lifecycle) else { continue };
        let is_same =
            |other: &&crate::SlotMetadata| beside(other.lifecycle) == Some(place) && other.target == slot.target;
        if pspf.slots.iter().take(position).any(|other| is_same(&other)) {
            let reason = "another slot has the same `target` in the work environment";
            return Err(Box::new(Error::Slot { slot: slot.id.clone(), reason }));
        }
        if slot.lifecycle == Lifecycle::Shutdown && pspf.run.shutdown.is_empty() {
            let reason = "it is for the end, and there is no `run.shutdown`";
            return Err(Box::new(Error::Slot { slot: slot.id.clone(), reason }));
        }
        if slot.lifecycle == Lifecycle::Init && pspf.run.setup.is_empty() {
            let reason = "it is for the setup, and there is no `run.setup`";
            return Err(Box::new(Error::Slot { slot: slot.id.clone(), reason }));
        }
    }
    Ok(())
}
