//! Stores one slot: reads its files, writes its frames and its index, and measures what it wrote.

use std::collections::HashSet;
use std::fs::File;
use std::io::Write;

use anyhow::Context;
use pspf_format::tree::{EntryKind, SkippableHeader, SlotIndex};
use pspf_format::{FileName, Hasher, Mode, Operations, Sha256, SlotIndexMetadata, SlotMetadata, TreePath, tar};

use crate::compress::{Compressor, Settings, frames};
use crate::frames::cut;
use crate::plan::{SlotContent, SlotPlan};
use crate::pyc::StalePyc;
use crate::stream::Piece;
use crate::tree::{FileStamp, Tree};

/// The most that a slot index is compressed. Half of it are digests, which do not shrink, so more only takes time.
const INDEX_LEVEL: i32 = 9;

/// A slot whose bytes are in the spool.
#[derive(Debug)]
pub(crate) struct StoredSlot {
    pub(crate) metadata: SlotMetadata,
    /// Length of all file content.
    pub(crate) content_size: u64,
    pub(crate) files: usize,
    pub(crate) stale_pyc: StalePyc,
    pub(crate) frames: FrameCount,
}

/// The frames of a slot, and how many of them came from the build cache.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct FrameCount {
    pub(crate) all: usize,
    pub(crate) reused: usize,
}

/// A slot's frames, written.
struct Stream {
    index: SlotIndex,
    /// Has seen the frames.
    hasher: Hasher,
    reused: usize,
    stale_pyc: StalePyc,
}

/// How slots are stored.
#[derive(Debug)]
pub(crate) struct Storing {
    pub(crate) settings: Settings,
    /// Modification time in every tar header.
    pub(crate) mtime: u64,
}

impl Storing {
    /// Appends the stored bytes of this slot to `spool`.
    pub(crate) fn store(&self, slot: &SlotPlan, spool: &mut File) -> anyhow::Result<StoredSlot> {
        let stored = |metadata, frames, stale_pyc| StoredSlot {
            metadata,
            content_size: slot.content_size(),
            files: slot.file_count(),
            stale_pyc,
            frames,
        };
        let stream = match &slot.content {
            SlotContent::File { stamp, .. } if slot.operations == Operations::Raw => {
                let sha256 = self.raw(stamp, spool)?;
                let metadata = slot.metadata(stamp.size, sha256, stamp.size, None);
                return Ok(stored(metadata, FrameCount::default(), StalePyc::default()));
            }
            SlotContent::File { stamp, mode } => self.file(slot, stamp, *mode, spool)?,
            SlotContent::Tree(tree) => self.tree(slot, tree, spool)?,
        };
        let frames = FrameCount { all: stream.index.frames.len(), reused: stream.reused };
        let level = self.settings.level.min(INDEX_LEVEL);
        Ok(stored(finish(slot, &stream.index, level, spool, stream.hasher)?, frames, stream.stale_pyc))
    }

    fn raw(&self, stamp: &FileStamp, spool: &mut File) -> anyhow::Result<Sha256> {
        let content = stamp.read(|part| {
            spool.write_all(part).context("writing the package")?;
            self.settings.progress.inc(part.len() as u64);
            Ok(())
        })?;
        Ok(content.sha256)
    }

    fn file(&self, slot: &SlotPlan, stamp: &FileStamp, mode: Mode, spool: &mut File) -> anyhow::Result<Stream> {
        let mut hasher = Hasher::new();
        let sizes = cut([stamp.size], 0, self.settings.level);
        let pieces = (!sizes.is_empty()).then(|| Piece::file(stamp));
        let coding = slot.operations.coding();
        let written = frames(pieces.into_iter(), &sizes, coding, &self.settings, spool, &mut hasher)?;
        let content = match written.contents.into_iter().next() {
            Some(content) => content,
            // No content, no frame.
            None => stamp.read(|_| Ok(()))?,
        };
        let mut index = SlotIndex::of_file(&slot.target, mode, stamp.size, content.sha256)?;
        index.set_frames(written.frames)?;
        Ok(Stream { index, hasher, reused: written.reused, stale_pyc: StalePyc::default() })
    }

    fn tree(&self, slot: &SlotPlan, tree: &Tree, spool: &mut File) -> anyhow::Result<Stream> {
        let (mut hasher, mut stale_pyc) = (Hasher::new(), StalePyc::default());
        let mut entries = tree.entries.clone();
        if slot.operations.holds_target() {
            entries = below(&slot.target, entries)?;
        }
        let paths: HashSet<String> = entries.iter().map(|(path, _)| path.to_string()).collect();
        let mut index = SlotIndex::of_tree(entries, self.mtime)?;
        let starts = index.entries.iter().map(|entry| entry.start);
        let end = index.expanded_size.saturating_sub(tar::END);
        let ends = starts.clone().skip(1).chain([end]);
        let members: Vec<u64> = starts.zip(ends).map(|(start, end)| end.saturating_sub(start)).collect();
        let sizes = cut(members, u32::try_from(tar::END)?, self.settings.level);
        let coding = slot.operations.coding();
        let written = frames(self.pieces(&index, tree), &sizes, coding, &self.settings, spool, &mut hasher)?;
        let mut contents = written.contents.into_iter();
        for entry in &mut index.entries {
            if let EntryKind::File { sha256, .. } = &mut entry.kind {
                let content = contents.next().context("internal error: a file without a digest")?;
                stale_pyc.look(entry.path.as_str(), &content.head, &paths);
                *sha256 = content.sha256;
            }
        }
        index.set_frames(written.frames)?;
        Ok(Stream { index, hasher, reused: written.reused, stale_pyc })
    }

    /// The whole tar stream.
    fn pieces<'a>(&self, index: &'a SlotIndex, tree: &'a Tree) -> impl Iterator<Item = Piece<'a>> {
        let mtime = self.mtime;
        let mut files = tree.files.iter();
        let members = index.entries.iter().flat_map(move |entry| {
            let mut header = Vec::new();
            tar::write_header(entry, mtime, &mut header);
            let file = if matches!(entry.kind, EntryKind::File { .. }) { files.next() } else { None };
            let padding = file.map(|stamp| stamp.size.next_multiple_of(tar::BLOCK) - stamp.size);
            [Some(Piece::Bytes(header)), file.map(Piece::file), padding.filter(|&len| len > 0).map(Piece::Zeros)]
        });
        members.flatten().chain([Piece::Zeros(tar::END)])
    }
}

/// The entries of a tree inside a directory of this name.
fn below(target: &FileName, entries: Vec<(TreePath, EntryKind)>) -> anyhow::Result<Vec<(TreePath, EntryKind)>> {
    let inside = |path: &TreePath| TreePath::try_from(format!("{target}/{path}"));
    let top = (TreePath::try_from(target.as_str())?, EntryKind::Directory);
    let moved = entries.into_iter().map(|(path, kind)| {
        let kind = match kind {
            // There is one entry more before it.
            EntryKind::HardLink { file, target } => {
                EntryKind::HardLink { file: file.saturating_add(1), target: inside(&target)? }
            }
            other => other,
        };
        Ok((inside(&path)?, kind))
    });
    std::iter::once(Ok(top)).chain(moved).collect()
}

/// Appends the slot index in its skippable frame and gives the metadata of the whole.
fn finish(
    slot: &SlotPlan,
    index: &SlotIndex,
    level: i32,
    spool: &mut File,
    mut hasher: Hasher,
) -> anyhow::Result<SlotMetadata> {
    let encoded = index.encode();
    let mut stored = Vec::new();
    Compressor::new(level)?.compress(&encoded, &mut stored)?;
    let header = SkippableHeader::new(u32::try_from(stored.len())?).to_bytes();
    let mut size = index.frames_len();
    for part in [header.as_slice(), &stored] {
        spool.write_all(part).context("writing the package")?;
        if slot.operations.stores_index() {
            hasher.update(part);
            size += part.len() as u64;
        }
    }
    let index_metadata = SlotIndexMetadata {
        stored_size: stored.len() as u64,
        sha256: Sha256::of(&stored),
        expanded_size: encoded.len() as u64,
        entries: u32::try_from(index.entries.len())?,
        frames: u32::try_from(index.frames.len())?,
    };
    let metadata = slot.metadata(size, hasher.finish(), index.expanded_size, Some(index_metadata));
    // Whatever is written can be read: the reader's own parser has the last word.
    SlotIndex::parse(&encoded, &metadata)?;
    Ok(metadata)
}
