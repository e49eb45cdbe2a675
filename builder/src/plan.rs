//! The plan: every name parsed, every input found, before a byte is packed.

use std::path::{Path, PathBuf};

use pspf_format::tree::{EntryKind, MAX_DEPTH, MAX_ENTRIES};
use pspf_format::{
    EnvRules, FileName, LauncherMetadata, Lifecycle, MAX_PATH, Metadata, Mode, Operations, Package, PackageWord,
    Platform, Pspf, Run, SEAL_VERSION, Sha256, SlotId, SlotIndexMetadata, SlotMetadata,
};

use crate::compat::{self, Compat};
use crate::failure::{At, Failure, shown};
use crate::input::Input;
use crate::manifest::{Manifest, SlotTable};
use crate::operations;
use crate::selection::Selection;
use crate::tree::{FileStamp, Links, Rules, Tree};
use crate::windows_names;

/// What will be packed.
#[derive(Debug)]
pub(crate) struct Plan {
    pub(crate) package: Package,
    pub(crate) run: Run,
    pub(crate) slots: Vec<SlotPlan>,
}

/// One slot, its content found but not yet read.
#[derive(Debug)]
pub(crate) struct SlotPlan {
    pub(crate) id: SlotId,
    pub(crate) target: FileName,
    pub(crate) lifecycle: Lifecycle,
    pub(crate) platform: Option<Platform>,
    /// How the content is stored.
    pub(crate) operations: Operations,
    pub(crate) content: SlotContent,
}

/// The content of a slot.
#[derive(Debug)]
pub(crate) enum SlotContent {
    /// A directory.
    Tree(Tree),
    /// A single file.
    File { stamp: FileStamp, mode: Mode },
}

impl Plan {
    /// Finds everything that the manifest names. `output` is the file that is being made.
    pub(crate) fn new(
        input: Input,
        package: Package,
        output: &Path,
        platform: &Platform,
        compat: Option<Compat>,
    ) -> anyhow::Result<Self> {
        let Input { manifest, base, .. } = input;
        let Manifest { run, slots, .. } = manifest;
        let env = EnvRules {
            unset: run.env.unset,
            pass: run.env.pass,
            map: run.env.map.into_iter().collect(),
            set: run.env.set.into_iter().collect(),
        };
        let run =
            Run { command: run.command, argv0: run.argv0, cwd: run.cwd, env, setup: run.setup, shutdown: run.shutdown };
        let slots = slots
            .into_iter()
            .map(|table| {
                let id = table.id.clone();
                let named = |error: anyhow::Error| error.context(format!("slot `{}`", id.escape_debug()));
                SlotPlan::new(table, &base, output, platform, compat).map_err(named)
            })
            .collect::<anyhow::Result<Vec<_>>>()?;
        let plan = Self { package, run, slots };
        plan.hold_to_rules(platform)?;
        compat.map_or(Ok(()), |Compat::Pspf2025| compat::hold(&plan))?;
        Ok(plan)
    }

    /// The metadata with these slots.
    pub(crate) fn metadata(
        &self,
        launcher: LauncherMetadata,
        platform: &Platform,
        slots: Vec<SlotMetadata>,
    ) -> anyhow::Result<Metadata> {
        Ok(Metadata {
            package: self.package.clone(),
            launcher,
            pspf: Pspf {
                seal: SEAL_VERSION,
                tool_version: PackageWord::try_from(env!("CARGO_PKG_VERSION"))?,
                platform: platform.clone(),
                run: self.run.clone(),
                slots,
            },
        })
    }

    /// Whether the usual launcher would refuse it.
    pub(crate) fn needs_full_launcher(&self) -> bool {
        self.run.needs_workenv() || self.slots.iter().any(|slot| slot.lifecycle.is_writable())
    }

    /// Asks the format's own rules before the work, with sizes that are only there to be sound: a mistake in a
    /// template is told at once and not after an hour of compression.
    fn hold_to_rules(&self, platform: &Platform) -> anyhow::Result<()> {
        let zero = Sha256([0; 32]);
        let provisional = self.slots.iter().map(|slot| {
            let operations = slot.operations;
            let index = SlotIndexMetadata { stored_size: 0, sha256: zero, expanded_size: 0, entries: 1, frames: 0 };
            let size = if operations.stores_index() { pspf_format::tree::SKIPPABLE_HEADER } else { 0 };
            slot.metadata(size, zero, 0, operations.has_index().then_some(index))
        });
        let launcher = LauncherMetadata { size: 0, sha256: zero };
        match self.metadata(launcher, platform, provisional.collect())?.to_stored() {
            Ok(_) => Ok(()),
            Err(error) => {
                let failure = Failure::usage(error.to_string());
                let names_a_slot =
                    matches!(error, pspf_format::Error::Template { reason, .. } if reason.contains("names a"));
                let ids: Vec<_> = self.slots.iter().map(|slot| format!("`{}`", slot.id)).collect();
                if names_a_slot { failure.hint(format!("the slots are {}", ids.join(", "))) } else { failure }.err()
            }
        }
    }
}

impl SlotPlan {
    fn new(
        table: SlotTable,
        base: &Path,
        output: &Path,
        platform: &Platform,
        compat: Option<Compat>,
    ) -> anyhow::Result<Self> {
        let id = SlotId::try_from(table.id.as_str()).map_err(|error| wrong("id", error))?;
        let lifecycle = lifecycle(table.lifecycle.as_deref().unwrap_or("runtime"))?;
        let own_platform =
            table.platform.as_deref().map(Platform::try_from).transpose().map_err(|e| wrong("platform", e))?;
        if own_platform.is_some() != (lifecycle == Lifecycle::Platform) {
            return Failure::usage("`platform` belongs to `lifecycle = \"platform\"` and to no other").err();
        }
        let source = base.join(&table.source);
        let metadata = source.metadata().at("reading", &source)?;
        let named = table.operations.as_deref();
        let (operations, content) = if metadata.is_dir() {
            let tree = directory(&table, &source, output, compat)?;
            tree.hold_to_platform(own_platform.as_ref().unwrap_or(platform))?;
            (operations::of_directory(named, compat)?, SlotContent::Tree(tree))
        } else if metadata.is_file() {
            if source.canonicalize().at("opening", &source)? == output {
                return Failure::usage(format!("{} is the output and an input", shown(&source)))
                    .hint("choose another output with `-o`")
                    .err();
            }
            (operations::of_file(named, compat, metadata.len())?, file(&table, source.clone(), &metadata)?)
        } else {
            let kind = crate::tree::kind(&metadata);
            return Failure::usage(format!("{} is {kind}, which cannot be packed", shown(&source))).err();
        };
        let target = match (&table.target, &content) {
            (Some(target), _) => target.clone(),
            // Not the name of the directory: the same manifest in another folder must give the same package.
            (None, SlotContent::Tree(_)) => table.id.clone(),
            (None, SlotContent::File { .. }) => file_name(&source)?,
        };
        let target = FileName::try_from(target).map_err(|error| wrong("target", error))?;
        if let SlotContent::Tree(tree) = &content {
            hold_to_limits(tree, operations.holds_target().then_some(&target), &source)?;
        }
        windows_names::hold(target.as_str(), own_platform.as_ref().unwrap_or(platform))?;
        Ok(Self { id, target, lifecycle, platform: own_platform, operations, content })
    }

    fn mode(&self) -> Mode {
        match &self.content {
            SlotContent::Tree(_) => Mode::Executable,
            SlotContent::File { mode, .. } => *mode,
        }
    }

    /// The metadata of this slot with these measures.
    pub(crate) fn metadata(
        &self,
        stored_size: u64,
        sha256: Sha256,
        expanded_size: u64,
        index: Option<SlotIndexMetadata>,
    ) -> SlotMetadata {
        SlotMetadata {
            id: self.id.clone(),
            target: self.target.clone(),
            operations: self.operations,
            lifecycle: self.lifecycle,
            platform: self.platform.clone(),
            mode: self.mode(),
            stored_size,
            sha256,
            expanded_size,
            index,
        }
    }

    /// How many bytes of files will be read.
    pub(crate) fn content_size(&self) -> u64 {
        match &self.content {
            SlotContent::Tree(tree) => tree.files.iter().map(|file| file.size).sum(),
            SlotContent::File { stamp, .. } => stamp.size,
        }
    }

    /// How many regular files it has.
    pub(crate) fn file_count(&self) -> usize {
        match &self.content {
            SlotContent::Tree(tree) => {
                tree.entries.iter().filter(|(_, kind)| matches!(kind, EntryKind::File { .. })).count()
            }
            SlotContent::File { .. } => 1,
        }
    }
}

fn directory(table: &SlotTable, source: &Path, output: &Path, compat: Option<Compat>) -> anyhow::Result<Tree> {
    if table.permissions.is_some() {
        return Failure::usage("`permissions` belongs to a single file; a directory keeps the modes of its files")
            .err();
    }
    let links = match table.links.as_deref() {
        None | Some("keep") => Links::Keep,
        Some("follow") if compat.is_some() => Links::Copy,
        Some("follow") => Links::Follow,
        Some(other) => {
            return Failure::usage(format!("links `{}` is neither `keep` nor `follow`", other.escape_debug())).err();
        }
    };
    let selection = Selection::new(&table.include, &table.exclude)?;
    Tree::walk(source, &Rules { selection: &selection, links, output })
}

fn file(table: &SlotTable, source: PathBuf, metadata: &std::fs::Metadata) -> anyhow::Result<SlotContent> {
    if !table.include.is_empty() || !table.exclude.is_empty() || table.links.is_some() {
        return Failure::usage("`include`, `exclude` and `links` belong to a directory").err();
    }
    let mode = match table.permissions.as_deref() {
        None => crate::tree::mode(metadata),
        Some("0644") => Mode::Data,
        Some("0755") => Mode::Executable,
        Some(other) => {
            return Failure::usage(format!("permissions `{}` are neither `0644` nor `0755`", other.escape_debug()))
                .err();
        }
    };
    Ok(SlotContent::File { stamp: FileStamp::new(source, metadata), mode })
}

fn lifecycle(word: &str) -> anyhow::Result<Lifecycle> {
    if let Some(lifecycle) = Lifecycle::ALL.into_iter().find(|lifecycle| lifecycle.as_str() == word) {
        return Ok(lifecycle);
    }
    let known: Vec<_> = Lifecycle::ALL.iter().map(|lifecycle| format!("`{}`", lifecycle.as_str())).collect();
    Failure::usage(format!("lifecycle `{}` is unknown", word.escape_debug()))
        .hint(format!("the lifecycles are {}; `runtime` is the default", known.join(", ")))
        .err()
}

fn wrong(field: &str, error: pspf_format::Error) -> Failure {
    Failure::usage(format!("`{field}`")).because(error)
}

/// The last name of a path as text.
pub(crate) fn file_name(path: &Path) -> anyhow::Result<String> {
    let name = path.file_name().and_then(|name| name.to_str());
    name.map(str::to_owned).ok_or_else(|| Failure::usage(format!("{}: the name is not UTF-8", shown(path))).into())
}

/// Says before any work what a reader would refuse after it. `top` is a directory that the tree will lie in.
fn hold_to_limits(tree: &Tree, top: Option<&FileName>, source: &Path) -> anyhow::Result<()> {
    let above = usize::from(top.is_some());
    let longer = top.map_or(0, |top| top.as_str().len() + 1);
    let count = tree.entries.len() + above;
    if count > MAX_ENTRIES as usize {
        return Failure::usage(format!("{} holds {count} entries, a slot at most {MAX_ENTRIES}", shown(source)))
            .hint("pack it as several slots")
            .err();
    }
    for (path, _) in &tree.entries {
        let wrong = if path.depth() + above >= MAX_DEPTH {
            format!("it lies more than {MAX_DEPTH} levels deep")
        } else if path.as_str().len() + longer > MAX_PATH {
            format!("its path has more than {MAX_PATH} bytes")
        } else {
            continue;
        };
        return Failure::usage(format!("{}: {wrong}", shown(&source.join(path.as_str()))))
            .hint("exclude it, or pack a directory below as a slot of its own")
            .err();
    }
    Ok(())
}
