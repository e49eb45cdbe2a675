//! The signed metadata (SPEC §6): one gzip member of canonical JSON.
//!
//! What the package means stands under the key `pspf`; the other keys are a rendering of it for PSPF/2025
//! readers. The JSON is canonical: a reader encodes again what it understood and compares every byte, so there
//! is no key it skipped, no duplicate it dropped and no rendering that says something else.

use alloc::borrow::ToOwned;
use alloc::boxed::Box;
use alloc::string::String;
use alloc::vec::Vec;

use crate::json::{self, Optional, object, words};
use crate::lifecycle::Moment;
use crate::{
    Error, FileName, Lifecycle, Operations, PackageWord, Platform, Sha256, SlotId, TextMap, gzip, template, tree,
};

/// Longest JSON, in bytes: the reference readers stop there.
pub const MAX_JSON: u64 = 1 << 20;
/// Longest stored metadata, in bytes.
pub const MAX_METADATA: u64 = MAX_JSON + (1 << 16);
/// Most slots of a package.
pub const MAX_SLOTS: usize = 256;

/// The whole metadata.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Metadata {
    /// Name, version and description.
    pub package: Package,
    /// Size and digest of the launcher, as the PSPF/2025 rendering says them.
    pub launcher: LauncherMetadata,
    /// What the package means.
    pub pspf: Pspf,
}

/// Who the package is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Package {
    /// Name, also that of the file by default.
    pub name: PackageWord,
    /// Version, free in form.
    pub version: PackageWord,
    /// One line for people.
    pub description: Option<String>,
}

object!(Package { required name, required version, optional description });

/// The launcher as the metadata names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LauncherMetadata {
    /// Length in bytes.
    pub size: u64,
    /// SHA-256 of its bytes; the seal holds it too.
    pub sha256: Sha256,
}

/// The key `pspf`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pspf {
    /// Version of the seal: 1. With this and no seal, the seal was removed.
    pub seal: u32,
    /// Version of the program that packed.
    pub tool_version: PackageWord,
    /// What the launcher runs on.
    pub platform: Platform,
    /// What to start.
    pub run: Run,
    /// The slots, in the order of the slot table.
    pub slots: Vec<SlotMetadata>,
}

object!(Pspf { required seal, required tool_version, required platform, required run, required slots });

/// What to start, and how.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Run {
    /// The command, one template an argument; the first is the program.
    pub command: Vec<String>,
    /// What the application sees as `argv[0]` instead of the resolved program.
    pub argv0: Option<String>,
    /// The directory to start in, a template; the caller's where there is none.
    pub cwd: Option<String>,
    /// Rules for the environment.
    pub env: EnvRules,
    /// What is done once, in the new work environment, before the first start (SPEC §6.8): commands as `command`.
    #[cfg(feature = "workenv")]
    pub setup: Vec<Vec<String>>,
    /// What is done after the application has ended: commands as `command`.
    #[cfg(feature = "workenv")]
    pub shutdown: Vec<Vec<String>>,
}

#[cfg(not(feature = "workenv"))]
object!(Run { required command, optional argv0, optional cwd, optional env });
#[cfg(feature = "workenv")]
object!(Run { required command, optional argv0, optional cwd, optional env, optional setup, optional shutdown });

/// Rules for the application's environment, applied in this order: unset, map, set (SPEC §6.5).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct EnvRules {
    /// Patterns (`*`, `?`) of variables to remove.
    pub unset: Vec<String>,
    /// Patterns of variables that `unset` and `map` leave alone.
    pub pass: Vec<String>,
    /// Variables to rename, old name to new name.
    pub map: TextMap,
    /// Variables to set; values are templates.
    pub set: TextMap,
}

object!(EnvRules { optional unset, optional pass, optional map, optional set });

impl Optional for EnvRules {
    fn is_absent(&self) -> bool {
        self.unset.is_empty() && self.pass.is_empty() && self.map.is_empty() && self.set.is_empty()
    }
}

/// One slot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SlotMetadata {
    /// Its name in `{slot:ID}` and in every command.
    pub id: SlotId,
    /// The file's name for a single file; the directory's name for an extraction by hand.
    pub target: FileName,
    /// How its content is stored.
    pub operations: Operations,
    /// When it is extracted.
    pub lifecycle: Lifecycle,
    /// The platform it is for; with lifecycle `platform` only.
    pub platform: Option<Platform>,
    /// Executable or not, for a single file; a directory is `0755`.
    pub mode: Mode,
    /// Length of the stored bytes.
    pub stored_size: u64,
    /// SHA-256 of the stored bytes.
    pub sha256: Sha256,
    /// Length of the decoded stream.
    pub expanded_size: u64,
    /// Its slot index; absent where the operations are `raw`.
    pub index: Option<SlotIndexMetadata>,
}

object!(SlotMetadata {
    required id,
    required target,
    required operations,
    required lifecycle,
    optional platform,
    required mode,
    required stored_size,
    required sha256,
    required expanded_size,
    optional index,
});

/// Where a slot's index is and how much it may make a reader allocate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SlotIndexMetadata {
    /// Length of its compressed form, at the end of the stored bytes.
    pub stored_size: u64,
    /// SHA-256 of its compressed form.
    pub sha256: Sha256,
    /// Length of the index itself.
    pub expanded_size: u64,
    /// How many entries it lists.
    pub entries: u32,
    /// How many frames it lists.
    pub frames: u32,
}

object!(SlotIndexMetadata {
    required stored_size,
    required sha256,
    required expanded_size,
    required entries,
    required frames,
});

/// The two modes that content can have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Data.
    Data,
    /// A program, or a directory.
    Executable,
}

words!(Mode { Data, Executable });

impl Mode {
    /// Permission bits.
    pub fn bits(self) -> u16 {
        match self {
            Self::Data => 0o644,
            Self::Executable => 0o755,
        }
    }

    /// The text in the metadata: four octal digits.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Data => "0644",
            Self::Executable => "0755",
        }
    }
}

impl Metadata {
    /// The canonical JSON (SPEC §6.1).
    pub fn to_json(&self) -> Vec<u8> {
        json::written(self)
    }

    /// The stored form: the canonical JSON as one gzip member.
    ///
    /// # Errors
    /// [`Error::Limit`] where the JSON is longer than [`MAX_JSON`]; otherwise as [`Metadata::parse`].
    pub fn to_stored(&self) -> Result<Vec<u8>, Error> {
        let json = self.to_json();
        // What cannot be read again is never written.
        Self::from_json(&json)?;
        Ok(gzip::compress(&json))
    }

    /// Reads the stored form.
    ///
    /// # Errors
    /// Everything that is not the canonical encoding of sound metadata is refused.
    pub fn parse(stored: &[u8]) -> Result<Self, Error> {
        Self::from_json(&gzip::expand(stored)?)
    }

    fn from_json(json: &[u8]) -> Result<Self, Error> {
        if json.len() as u64 > MAX_JSON {
            return Err(Error::Limit { what: "bytes of metadata JSON", most: MAX_JSON, found: json.len() as u64 });
        }
        let metadata: Self = json::read(json)?;
        metadata.pspf.hold_to_rules()?;
        Ok(metadata)
    }
}

impl Pspf {
    /// The slot with this id.
    pub fn slot(&self, id: &SlotId) -> Option<&SlotMetadata> {
        self.slots.iter().find(|slot| slot.id == *id)
    }

    /// What the types alone cannot say (SPEC §6.2).
    fn hold_to_rules(&self) -> Result<(), Box<Error>> {
        if self.seal != crate::SEAL_VERSION {
            return Err(Box::new(Error::SealVersion { found: self.seal }));
        }
        if self.slots.is_empty() || self.slots.len() > MAX_SLOTS {
            let found = self.slots.len() as u64;
            return Err(Box::new(Error::Limit { what: "slots (at least one)", most: MAX_SLOTS as u64, found }));
        }
        for (position, slot) in self.slots.iter().enumerate() {
            if self.slots.iter().take(position).any(|other| other.id == slot.id) {
                return Err(Box::new(Error::Slot { slot: slot.id.clone(), reason: "its id is used twice" }));
            }
            slot.hold_to_rules()?;
        }
        #[cfg(feature = "workenv")]
        crate::workenv::hold_to_rules(self)?;
        self.run.hold_to_rules(self)
    }

    /// A template whose slots are there at this moment.
    fn hold_template(&self, template: &str, moment: Moment) -> Result<(), Box<Error>> {
        without_nul(template)?;
        for id in template::slots_named(template)? {
            let reason = match self.slot(&id).map(|slot| slot.lifecycle.absence(moment)) {
                None => "it names a slot that is not in the package",
                Some(Some(reason)) => reason,
                Some(None) => continue,
            };
            return Err(Box::new(Error::Template { template: template.to_owned(), reason }));
        }
        Ok(())
    }

    /// A command that is given at this moment, and which starts nothing that is looked up somewhere.
    pub(crate) fn hold_command(&self, command: &[String], moment: Moment) -> Result<(), Box<Error>> {
        let program = command.first().map_or("", String::as_str);
        if !starts(program, PROGRAM_STARTS) {
            return Err(Box::new(Error::Template {
                template: program.to_owned(),
                reason: "the program must start with `{slot:ID}`, `{package_dir}/` or `/`: nothing is looked up in PATH",
            }));
        }
        command.iter().try_for_each(|template| self.hold_template(template, moment))
    }
}

/// What the program of a command begins with, and a directory to start in.
#[cfg(not(feature = "workenv"))]
const PROGRAM_STARTS: &[&str] = &["/", "{slot:", "{package_dir}/"];
#[cfg(not(feature = "workenv"))]
const CWD_STARTS: &[&str] = &["/", "{slot:", "{package_dir}", "{cache}"];
#[cfg(feature = "workenv")]
const PROGRAM_STARTS: &[&str] = &["/", "{slot:", "{package_dir}/", "{workenv}/"];
#[cfg(feature = "workenv")]
const CWD_STARTS: &[&str] = &["/", "{slot:", "{package_dir}", "{cache}", "{workenv}"];

fn starts(template: &str, starts: &[&str]) -> bool {
    starts.iter().any(|start| template.starts_with(start))
}

impl Run {
    fn hold_to_rules(&self, pspf: &Pspf) -> Result<(), Box<Error>> {
        pspf.hold_command(&self.command, Moment::Start)?;
        if let Some(cwd) = self.cwd.as_ref().filter(|cwd| !starts(cwd, CWD_STARTS)) {
            return Err(Box::new(Error::Template {
                template: cwd.clone(),
                reason: "the directory must start with `{slot:ID}`, `{package_dir}`, `{cache}` or `/`",
            }));
        }
        if let Some(cwd) = &self.cwd {
            pspf.hold_template(cwd, Moment::Start)?;
        }
        if let Some(argv0) = &self.argv0 {
            without_nul(argv0)?;
        }
        for name in self.env.unset.iter().chain(&self.env.pass) {
            hold_name(name)?;
        }
        for (old, new) in &self.env.map {
            hold_name(old)?;
            hold_name(new)?;
        }
        for (name, value) in &self.env.set {
            hold_name(name)?;
            pspf.hold_template(value, Moment::Start)?;
        }
        Ok(())
    }
}

fn without_nul(text: &str) -> Result<(), Box<Error>> {
    match text.contains('\0') {
        true => Err(Box::new(Error::Template { template: text.to_owned(), reason: "it holds a NUL" })),
        false => Ok(()),
    }
}

/// The name of a variable, or a pattern for names.
fn hold_name(name: &str) -> Result<(), Box<Error>> {
    if name.is_empty() || name.contains(['=', '\0']) {
        return Err(Box::new(Error::Name { name: name.to_owned(), reason: "it cannot be the name of a variable" }));
    }
    Ok(())
}

impl SlotMetadata {
    /// The JSON of this slot alone, for the cache's own use.
    pub fn to_json(&self) -> Vec<u8> {
        json::written(self)
    }

    /// Reads what [`Self::to_json`] wrote.
    ///
    /// # Errors
    /// [`Error::Json`], or what the metadata of a package would be refused for.
    pub fn from_json(json: &[u8]) -> Result<Self, Error> {
        let slot: Self = json::read(json)?;
        slot.hold_to_rules()?;
        Ok(slot)
    }

    /// How many bytes of the file the slot takes: its stored bytes, with the slot index where that follows them.
    /// `None` where that exceeds 64 bits.
    pub fn extent(&self) -> Option<u64> {
        match &self.index {
            Some(index) if !self.operations.stores_index() => {
                self.stored_size.checked_add(tree::SKIPPABLE_HEADER)?.checked_add(index.stored_size)
            }
            _ => Some(self.stored_size),
        }
    }

    fn hold_to_rules(&self) -> Result<(), Box<Error>> {
        let refuse = |reason| Err(Box::new(Error::Slot { slot: self.id.clone(), reason }));
        if self.platform.is_some() != (self.lifecycle == Lifecycle::Platform) {
            return refuse("`platform` belongs to lifecycle `platform` and to no other");
        }
        if self.operations.is_tree() && self.mode != Mode::Executable {
            return refuse("the mode of a directory is `0755`");
        }
        match &self.index {
            None if self.operations.has_index() => refuse("its slot index is missing"),
            Some(_) if !self.operations.has_index() => refuse("a raw slot has no slot index"),
            None if self.stored_size != self.expanded_size => refuse("a raw slot's two sizes differ"),
            None => Ok(()),
            Some(index) => index.hold_to_rules(self),
        }
    }
}

impl SlotIndexMetadata {
    fn hold_to_rules(&self, slot: &SlotMetadata) -> Result<(), Box<Error>> {
        let refuse = |reason| Err(Box::new(Error::Slot { slot: slot.id.clone(), reason }));
        if self.expanded_size > tree::MAX_INDEX {
            return refuse("its slot index is longer than 128 MiB");
        }
        if self.stored_size > tree::MAX_STORED_INDEX {
            return refuse("its stored slot index is longer than 128 MiB and 64 KiB");
        }
        if self.entries > tree::MAX_ENTRIES || self.frames > tree::MAX_FRAMES {
            return refuse("it has more than 1048576 entries or frames");
        }
        let inside = self.stored_size.saturating_add(tree::SKIPPABLE_HEADER);
        if slot.operations.stores_index() && inside > slot.stored_size {
            return refuse("its slot index is longer than the slot");
        }
        if !slot.operations.is_tree() && self.entries != 1 {
            return refuse("the slot index of a single file has one entry");
        }
        Ok(())
    }
}
