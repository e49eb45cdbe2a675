//! The slot index (SPEC §7): every entry and every frame of a slot, read before any content is decoded.

use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec;
use alloc::vec::Vec;

use bincode::{Decode, Encode};

use crate::tree_reader::Reader;
use crate::{Coding, Error, FileName, Mode, Record, Sha256, SlotIndexMetadata, SlotMetadata, TreePath, tar};

/// Longest slot index, in bytes before compression.
pub const MAX_INDEX: u64 = 128 << 20;
/// Longest stored slot index: what does not compress grows by less than this.
pub const MAX_STORED_INDEX: u64 = MAX_INDEX + (1 << 16);
/// Most entries of a slot.
pub const MAX_ENTRIES: u32 = 1 << 20;
/// Most frames of a slot.
pub const MAX_FRAMES: u32 = 1 << 20;
/// Most components of a path, so that a reader can walk a tree with few descriptors.
pub const MAX_DEPTH: usize = 128;
/// Longest decoded frame, in bytes. A frame's window is never larger either.
pub const MAX_FRAME: u32 = 8 << 20;
/// Longest stored frame: what does not compress grows by less than this.
pub const MAX_STORED_FRAME: u32 = MAX_FRAME + (1 << 16);

pub use crate::slot_tail::{SKIPPABLE_HEADER, SKIPPABLE_MAGIC, SkippableHeader, stored_index};

const MAGIC: [u8; 8] = *b"PSPFTREE";
const VERSION: u32 = 1;

#[derive(Debug, Encode, Decode)]
struct Header {
    magic: [u8; 8],
    version: u32,
    frame_count: u32,
    entry_count: u32,
    reserved: u32,
    expanded_size: u64,
    mtime: u64,
}

impl Record for Header {
    const LEN: usize = 40;
}

#[derive(Debug, Encode, Decode)]
struct FrameRecord {
    stored_size: u32,
    expanded_size: u32,
    sha256: [u8; 32],
}

impl Record for FrameRecord {
    const LEN: usize = 40;
}

/// One zstandard frame of a slot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frame {
    /// First byte inside the slot's stored bytes.
    pub offset: u64,
    /// Length of the stored bytes.
    pub stored_size: u32,
    /// First byte inside the decoded stream.
    pub start: u64,
    /// Length of the decoded bytes.
    pub expanded_size: u32,
    /// SHA-256 of the stored bytes.
    pub sha256: Sha256,
}

/// One entry of a tree, or the file of a single-file slot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Path inside the tree.
    pub path: TreePath,
    /// What it is.
    pub kind: EntryKind,
    /// First byte of its tar header inside the decoded stream; of its content for a single-file slot.
    pub start: u64,
    /// First byte of its content inside the decoded stream.
    pub content: u64,
}

/// What an entry is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum EntryKind {
    /// A directory.
    Directory,
    /// A regular file.
    File {
        /// Executable or not.
        mode: Mode,
        /// Length in bytes.
        size: u64,
        /// SHA-256 of the content.
        sha256: Sha256,
    },
    /// Another name of an earlier file.
    HardLink {
        /// Position of that file among the entries.
        file: u32,
        /// That file's path.
        target: TreePath,
    },
    /// A symbolic link.
    SymLink {
        /// Its text.
        target: String,
    },
}

impl Entry {
    /// Length of the content in bytes.
    pub fn size(&self) -> u64 {
        if let EntryKind::File { size, .. } = self.kind { size } else { 0 }
    }

    /// The kind as it is numbered in the index; also the order in which kinds follow each other.
    fn group(&self) -> u8 {
        match self.kind {
            EntryKind::Directory => 0,
            EntryKind::File { .. } => 1,
            EntryKind::HardLink { .. } => 2,
            EntryKind::SymLink { .. } => 3,
        }
    }
}

/// A whole slot index.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SlotIndex {
    /// The frames, in the order of the stream.
    pub frames: Vec<Frame>,
    /// The entries, in the order of the stream: directories, files, hard links, symbolic links.
    pub entries: Vec<Entry>,
    /// Modification time in every tar header, in seconds since 1970.
    pub mtime: u64,
    /// Length of the decoded stream.
    pub expanded_size: u64,
    is_tree: bool,
}

impl SlotIndex {
    /// A tree's entries in order, placed in the stream; frames come with [`Self::set_frames`].
    ///
    /// # Errors
    /// What [`Self::parse`] would refuse.
    pub fn of_tree(entries: Vec<(TreePath, EntryKind)>, mtime: u64) -> Result<Self, Error> {
        let mut index = Self { frames: Vec::new(), entries: Vec::new(), mtime, expanded_size: 0, is_tree: true };
        index.place(entries)?;
        index.hold_to_rules()?;
        Ok(index)
    }

    /// The index of a single file.
    pub fn of_file(name: &FileName, mode: Mode, size: u64, sha256: Sha256) -> Result<Self, Error> {
        let mut index = Self { frames: Vec::new(), entries: Vec::new(), mtime: 0, expanded_size: 0, is_tree: false };
        index.place(vec![(TreePath::try_from(name.as_str())?, EntryKind::File { mode, size, sha256 })])?;
        Ok(index)
    }

    /// Whether the stream has tar headers.
    pub fn is_tree(&self) -> bool {
        self.is_tree
    }

    /// Places entries in the stream; a tree's ends with [`tar::END`] bytes of zero.
    fn place(&mut self, entries: Vec<(TreePath, EntryKind)>) -> Result<(), Error> {
        self.entries.reserve(entries.len());
        entries.into_iter().try_for_each(|(path, kind)| self.place_next(path, kind))?;
        self.end_stream()
    }

    /// Places one more entry behind those that are there.
    fn place_next(&mut self, path: TreePath, kind: EntryKind) -> Result<(), Error> {
        let start = self.expanded_size;
        let mut entry = Entry { path, kind, start, content: start };
        if self.is_tree {
            entry.content = start.checked_add(tar::header_len(&entry)).ok_or(Error::TooLarge)?;
        }
        let mut end = entry.content.checked_add(entry.size()).ok_or(Error::TooLarge)?;
        if self.is_tree {
            end = end.checked_next_multiple_of(tar::BLOCK).ok_or(Error::TooLarge)?;
        }
        self.expanded_size = end;
        self.entries.push(entry);
        Ok(())
    }

    fn end_stream(&mut self) -> Result<(), Error> {
        let end = if self.is_tree { tar::END } else { 0 };
        self.expanded_size = self.expanded_size.checked_add(end).ok_or(Error::TooLarge)?;
        Ok(())
    }

    /// Takes the frames that the stream was cut into: stored length, decoded length, SHA-256 of the stored bytes.
    ///
    /// # Errors
    /// [`Error::Tree`] where a length is out of bounds or the frames do not add up to the stream.
    pub fn set_frames(&mut self, frames: impl IntoIterator<Item = (u32, u32, Sha256)>) -> Result<(), Error> {
        let refuse = |at: usize, reason| Err(Error::Tree { reason, at: format!("frame {at}") });
        let (mut offset, mut start) = (0_u64, 0_u64);
        self.frames.clear();
        for (number, (stored_size, expanded_size, sha256)) in frames.into_iter().enumerate() {
            if stored_size == 0 || stored_size > MAX_STORED_FRAME || expanded_size == 0 || expanded_size > MAX_FRAME {
                return refuse(number, "its length is not between 1 byte and 8 MiB");
            }
            self.frames.push(Frame { offset, stored_size, start, expanded_size, sha256 });
            offset = offset.saturating_add(u64::from(stored_size));
            start = start.saturating_add(u64::from(expanded_size));
        }
        if start == self.expanded_size {
            Ok(())
        } else {
            refuse(self.frames.len(), "the frames do not add up to the stream")
        }
    }

    /// Length of all frames: where the skippable frame with the index starts.
    pub fn frames_len(&self) -> u64 {
        self.frames.last().map_or(0, |last| last.offset.saturating_add(u64::from(last.stored_size)))
    }

    /// The expanded digest: SHA-256 over the entries as the index encodes them, so over every path, type, mode,
    /// link target and content digest.
    pub fn expanded_digest(&self) -> Sha256 {
        Sha256::of(&self.encode_entries())
    }

    /// The encoding, before compression.
    pub fn encode(&self) -> Vec<u8> {
        let header = Header {
            magic: MAGIC,
            version: VERSION,
            frame_count: u32::try_from(self.frames.len()).unwrap_or(u32::MAX),
            entry_count: u32::try_from(self.entries.len()).unwrap_or(u32::MAX),
            reserved: 0,
            expanded_size: self.expanded_size,
            mtime: self.mtime,
        };
        let mut bytes = header.to_bytes();
        for frame in &self.frames {
            let Frame { stored_size, expanded_size, sha256, .. } = *frame;
            bytes.extend(FrameRecord { stored_size, expanded_size, sha256: sha256.0 }.to_bytes());
        }
        bytes.extend(self.encode_entries());
        bytes
    }

    fn encode_entries(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        let text = |bytes: &mut Vec<u8>, text: &str| {
            bytes.extend(u16::try_from(text.len()).unwrap_or(u16::MAX).to_le_bytes());
            bytes.extend(text.as_bytes());
        };
        for entry in &self.entries {
            let executable = matches!(entry.kind, EntryKind::File { mode: Mode::Executable, .. });
            bytes.extend([entry.group(), u8::from(executable)]);
            text(&mut bytes, entry.path.as_str());
            match &entry.kind {
                EntryKind::Directory => {}
                EntryKind::File { size, sha256, .. } => {
                    bytes.extend(size.to_le_bytes());
                    bytes.extend(sha256.0);
                }
                EntryKind::HardLink { file, .. } => bytes.extend(file.to_le_bytes()),
                EntryKind::SymLink { target } => text(&mut bytes, target),
            }
        }
        bytes
    }

    /// Reads the index of `slot`; `bytes` is its decompressed form.
    ///
    /// # Errors
    /// [`Error::Tree`], [`Error::Name`] and [`Error::LinkTarget`] for everything that SPEC §7 does not allow.
    pub fn parse(bytes: &[u8], slot: &SlotMetadata) -> Result<Self, Error> {
        let at_header = |reason| Error::Tree { reason, at: slot.id.to_string() };
        let declared = slot.index.as_ref().ok_or_else(|| at_header("the slot has no index"))?;
        let mut reader = Reader { rest: bytes };
        let header: Header = reader.record()?;
        let sound = header.magic == MAGIC && header.version == VERSION && header.reserved == 0;
        if !sound {
            return Err(at_header("its header is not that of version 1"));
        }
        if header.entry_count != declared.entries || header.frame_count != declared.frames {
            return Err(at_header("its counts are not the signed ones"));
        }
        let mut frames = Vec::new();
        for _ in 0..header.frame_count {
            let frame: FrameRecord = reader.record()?;
            frames.push((frame.stored_size, frame.expanded_size, Sha256(frame.sha256)));
        }
        let is_tree = slot.operations.is_tree();
        // No entry has fewer bytes than four, so a count alone does not make us allocate.
        let capacity = (reader.rest.len() / 4).min(header.entry_count as usize);
        let entries = Vec::with_capacity(capacity);
        let mut index = Self { frames: Vec::new(), entries, mtime: header.mtime, expanded_size: 0, is_tree };
        for _ in 0..header.entry_count {
            let (path, kind) = reader.entry(&index.entries)?;
            index.place_next(path, kind)?;
        }
        if !reader.rest.is_empty() {
            return Err(at_header("bytes follow its last entry"));
        }
        index.end_stream()?;
        index.set_frames(frames)?;
        index.hold_to_rules()?;
        index.hold_to_slot(slot, declared, header.expanded_size)?;
        Ok(index)
    }

    /// What the index must have in common with the signed metadata.
    fn hold_to_slot(&self, slot: &SlotMetadata, declared: &SlotIndexMetadata, expanded: u64) -> Result<(), Error> {
        let refuse = |reason| Err(Error::Tree { reason, at: slot.id.to_string() });
        if expanded != self.expanded_size || slot.expanded_size != self.expanded_size {
            return refuse("the length of the stream is not the signed one");
        }
        let tail =
            if slot.operations.stores_index() { SKIPPABLE_HEADER.checked_add(declared.stored_size) } else { Some(0) };
        let stored = tail.and_then(|tail| self.frames_len().checked_add(tail));
        if stored != Some(slot.stored_size) {
            return refuse("frames and index do not add up to the stored bytes");
        }
        if slot.operations.coding() == Coding::Plain
            && self.frames.iter().any(|frame| frame.stored_size != frame.expanded_size)
        {
            return refuse("a frame that is stored as it is has two sizes");
        }
        if slot.operations.coding() == Coding::Deflate && self.frames.is_empty() {
            return refuse("a gzip member has at least one frame");
        }
        if !self.is_tree {
            return match self.entries.as_slice() {
                [Entry { path, kind: EntryKind::File { mode, .. }, .. }]
                    if path.as_str() == slot.target.as_str() && *mode == slot.mode && self.mtime == 0 =>
                {
                    Ok(())
                }
                _ => refuse("a single-file slot has one file, with the slot's target and mode"),
            };
        }
        let target = slot.target.as_str();
        // Every entry has its parents listed, so the one at the top says it of all.
        let mut top = self.entries.iter().filter(|entry| entry.path.parent().is_none());
        let held = matches!((top.next(), top.next()),
            (Some(Entry { path, kind: EntryKind::Directory, .. }), None) if path.as_str() == target);
        if slot.operations.holds_target() && !held {
            return refuse("the tree of this slot is not one directory with the slot's target as its name");
        }
        Ok(())
    }

    /// Order, uniqueness, parents and links (SPEC §7.2, §7.3).
    fn hold_to_rules(&self) -> Result<(), Error> {
        if self.mtime > tar::MAX_NUMBER {
            return Err(Error::Tree { reason: "its time does not fit a tar header", at: self.mtime.to_string() });
        }
        let refuse = |entry: &Entry, reason| Err(Error::Tree { reason, at: entry.path.to_string() });
        if let Some(pair) = self.entries.windows(2).find(|pair| matches!(pair, [a, b] if a.group() > b.group())) {
            return refuse(&pair[0], "entries are not in the order directories, files, hard links, symbolic links");
        }
        let count = self.entries.partition_point(|entry| entry.group() == 0);
        let directories = self.entries.get(..count).unwrap_or_default();
        if let Some(pair) = directories.windows(2).find(|pair| matches!(pair, [a, b] if a.path >= b.path)) {
            return refuse(&pair[0], "directories are not in ascending order");
        }
        if let Some(entry) = self.listed_twice() {
            return refuse(entry, "the path is listed twice");
        }
        let mut known = "";
        for entry in &self.entries {
            // So many components take more bytes than nearly every path has.
            if entry.path.as_str().len() > 2 * MAX_DEPTH && entry.path.depth() >= MAX_DEPTH {
                return refuse(entry, "it lies more than 128 levels deep");
            }
            // Neighbours often lie in one directory.
            if let Some(parent) = entry.path.parent()
                && parent != known
            {
                if directories.binary_search_by(|directory| directory.path.as_str().cmp(parent)).is_err() {
                    return refuse(entry, "its parent is not listed as a directory");
                }
                known = parent;
            }
            if let EntryKind::SymLink { target } = &entry.kind {
                entry.path.link_stays_inside(target)?;
            }
        }
        Ok(())
    }

    /// An entry whose path another one has. Sorted by a short hash first: paths of one directory differ late.
    fn listed_twice(&self) -> Option<&Entry> {
        let mut order: Vec<(u64, &Entry)> = self.entries.iter().map(|entry| (short(&entry.path), entry)).collect();
        order.sort_unstable_by(|a, b| a.0.cmp(&b.0).then_with(|| a.1.path.cmp(&b.1.path)));
        order.windows(2).find_map(|pair| match pair {
            [a, b] if a.0 == b.0 && a.1.path == b.1.path => Some(a.1),
            _ => None,
        })
    }
}

/// A hash after FNV-1a, eight bytes at a time. Nothing but speed depends on how well it spreads.
fn short(path: &TreePath) -> u64 {
    let step = |hash: u64, word: u64| (hash ^ word).wrapping_mul(0x0000_0100_0000_01b3).rotate_left(23);
    let (words, rest) = path.as_str().as_bytes().as_chunks::<8>();
    let hash = words.iter().fold(0xcbf2_9ce4_8422_2325, |hash, word| step(hash, u64::from_le_bytes(*word)));
    rest.iter().fold(hash, |hash, byte| step(hash, u64::from(*byte)))
}
