//! Stores one slot: reads its files, writes its frames and its index, and measures what it wrote.

use std::collections::HashSet;
use std::fs::File;
use std::io::Write;

use anyhow::Context;
use indicatif::ProgressBar;
use pspf_format::tree::{EntryKind, SkippableHeader, SlotIndex};
use pspf_format::{Hasher, Mode, Operations, Sha256, SlotIndexMetadata, SlotMetadata, tar};

use crate::compress::{Compressor, FrameSink, FrameSizes, Settings, frames};
use crate::frames::cut;
use crate::plan::{SlotContent, SlotPlan};
use crate::pyc::StalePyc;
use crate::tree::{FileStamp, Tree};

/// Compression of the slot index. Half of it are digests, which do not shrink, so a high level only takes time.
const INDEX_LEVEL: i32 = 9;
/// Raw content goes through a buffer of this many bytes.
const BUFFER: usize = 1 << 20;

/// A slot whose bytes are in the spool.
#[derive(Debug)]
pub(crate) struct StoredSlot {
    pub(crate) metadata: SlotMetadata,
    /// Length of all file content.
    pub(crate) content_size: u64,
    pub(crate) files: usize,
    pub(crate) stale_pyc: StalePyc,
}

/// How slots are stored.
#[derive(Clone, Debug)]
pub(crate) struct Storing {
    pub(crate) settings: Settings,
    /// Modification time in every tar header.
    pub(crate) mtime: u64,
    pub(crate) progress: ProgressBar,
}

impl Storing {
    /// Appends the stored bytes of this slot to `spool`.
    pub(crate) fn store(&self, slot: &SlotPlan, spool: &mut File) -> anyhow::Result<StoredSlot> {
        let mut stale_pyc = StalePyc::default();
        let mut hasher = Hasher::new();
        let metadata = match &slot.content {
            SlotContent::File { stamp, operations: Operations::Raw, .. } => {
                let sha256 = self.raw(stamp, spool)?;
                slot.metadata(stamp.size, sha256, stamp.size, None)
            }
            SlotContent::File { stamp, mode, .. } => {
                let index = self.file(slot, stamp, *mode, spool, &mut hasher)?;
                finish(slot, &index, spool, hasher)?
            }
            SlotContent::Tree(tree) => {
                let index = self.tree(tree, spool, &mut hasher, &mut stale_pyc)?;
                finish(slot, &index, spool, hasher)?
            }
        };
        Ok(StoredSlot { metadata, content_size: slot.content_size(), files: slot.file_count(), stale_pyc })
    }

    fn raw(&self, stamp: &FileStamp, spool: &mut File) -> anyhow::Result<Sha256> {
        let content = stamp.read(|mut len, fill| {
            let mut buffer = vec![0; BUFFER];
            while len > 0 {
                let part = usize::try_from(len).map_or(BUFFER, |len| len.min(BUFFER));
                let part = buffer.get_mut(..part).unwrap_or_default();
                fill(part)?;
                spool.write_all(part).context("writing the package")?;
                self.progress.inc(part.len() as u64);
                len -= part.len() as u64;
            }
            Ok(())
        })?;
        Ok(content.sha256)
    }

    fn file(
        &self,
        slot: &SlotPlan,
        stamp: &FileStamp,
        mode: Mode,
        spool: &mut File,
        hasher: &mut Hasher,
    ) -> anyhow::Result<SlotIndex> {
        let sizes = cut([stamp.size], 0);
        let (stored, content) = frames(&sizes, self.settings, spool, hasher, |sink| {
            let content = stamp.stream(sink)?;
            self.progress.inc(stamp.size);
            Ok(content)
        })?;
        let mut index = SlotIndex::of_file(&slot.target, mode, stamp.size, content.sha256)?;
        index.set_frames(stored)?;
        Ok(index)
    }

    fn tree(
        &self,
        tree: &Tree,
        spool: &mut File,
        hasher: &mut Hasher,
        stale_pyc: &mut StalePyc,
    ) -> anyhow::Result<SlotIndex> {
        let mut index = SlotIndex::of_tree(tree.entries.clone(), self.mtime)?;
        let starts = index.entries.iter().map(|entry| entry.start);
        let end = index.expanded_size.saturating_sub(tar::END);
        let ends = starts.clone().skip(1).chain([end]);
        let members: Vec<u64> = starts.zip(ends).map(|(start, end)| end.saturating_sub(start)).collect();
        let sizes = cut(members, u32::try_from(tar::END)?);
        let paths: HashSet<&str> = tree.entries.iter().map(|(path, _)| path.as_str()).collect();
        let (stored, digests): (Vec<FrameSizes>, _) = frames(&sizes, self.settings, spool, hasher, |sink| {
            self.stream(&index, tree, sink, |path, head| stale_pyc.look(path, head, &paths))
        })?;
        let mut digests = digests.into_iter();
        for entry in &mut index.entries {
            if let EntryKind::File { sha256, .. } = &mut entry.kind {
                *sha256 = digests.next().context("internal error: a file without a digest")?;
            }
        }
        index.set_frames(stored)?;
        Ok(index)
    }

    /// Gives the whole tar stream to the sink; the digests of the files in their order come back.
    fn stream(
        &self,
        index: &SlotIndex,
        tree: &Tree,
        sink: &mut FrameSink<'_>,
        mut look: impl FnMut(&str, &[u8]),
    ) -> anyhow::Result<Vec<Sha256>> {
        let mut files = tree.files.iter();
        let mut digests = Vec::with_capacity(tree.files.len());
        let mut header = Vec::new();
        for entry in &index.entries {
            header.clear();
            tar::write_header(entry, self.mtime, &mut header);
            sink.put(&header)?;
            if let EntryKind::File { size, .. } = entry.kind {
                let stamp = files.next().context("internal error: a file without a source")?;
                let content = stamp.stream(sink)?;
                look(entry.path.as_str(), &content.head);
                digests.push(content.sha256);
                zeros(sink, size.next_multiple_of(tar::BLOCK) - size)?;
                self.progress.inc(size);
            }
        }
        zeros(sink, tar::END)?;
        Ok(digests)
    }
}

fn zeros(sink: &mut FrameSink<'_>, len: u64) -> anyhow::Result<()> {
    // What the sink hands out is zero already.
    sink.take(len, |_| Ok(()))
}

/// Appends the slot index in its skippable frame and gives the metadata of the whole.
fn finish(slot: &SlotPlan, index: &SlotIndex, spool: &mut File, mut hasher: Hasher) -> anyhow::Result<SlotMetadata> {
    let encoded = index.encode();
    let stored = Compressor::new(INDEX_LEVEL).map_err(anyhow::Error::msg)?.whole(&encoded)?;
    let header = SkippableHeader::new(u32::try_from(stored.len())?).to_bytes();
    for part in [header.as_slice(), &stored] {
        spool.write_all(part).context("writing the package")?;
        hasher.update(part);
    }
    let size = index.frames_len() + (header.len() + stored.len()) as u64;
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
