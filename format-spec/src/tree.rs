//! The slot index (SPEC §7): every entry and every frame of a slot, read before any content is decoded.

use bincode::{Decode, Encode};

use crate::tree_reader::Reader;
use crate::{Error, FileName, Mode, Record, Sha256, SlotIndexMetadata, SlotMetadata, TreePath, tar};

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

    /// The stream up to which the entries reach; a tree's ends with [`tar::END`] more bytes of zero.
    fn place(&mut self, entries: Vec<(TreePath, EntryKind)>) -> Result<(), Error> {
        let mut at = 0_u64;
        self.entries.reserve(entries.len());
        for (path, kind) in entries {
            let mut entry = Entry { path, kind, start: at, content: at };
            if self.is_tree {
                entry.content = at.checked_add(tar::header_len(&entry)).ok_or(Error::TooLarge)?;
            }
            at = entry.content.checked_add(entry.size()).ok_or(Error::TooLarge)?;
            if self.is_tree {
                at = at.checked_next_multiple_of(tar::BLOCK).ok_or(Error::TooLarge)?;
            }
            self.entries.push(entry);
        }
        let end = if self.is_tree { tar::END } else { 0 };
        self.expanded_size = at.checked_add(end).ok_or(Error::TooLarge)?;
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
        let mut entries = Vec::new();
        for _ in 0..header.entry_count {
            let entry = reader.entry(&entries)?;
            entries.push(entry);
        }
        if !reader.rest.is_empty() {
            return Err(at_header("bytes follow its last entry"));
        }
        let is_tree = slot.operations.is_tree();
        let mut index =
            Self { frames: Vec::new(), entries: Vec::new(), mtime: header.mtime, expanded_size: 0, is_tree };
        index.place(entries)?;
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
        let stored =
            self.frames_len().checked_add(SKIPPABLE_HEADER).and_then(|at| at.checked_add(declared.stored_size));
        if stored != Some(slot.stored_size) {
            return refuse("frames and index do not add up to the stored bytes");
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
        let mut paths: Vec<&TreePath> = self.entries.iter().map(|entry| &entry.path).collect();
        paths.sort_unstable();
        if let Some(pair) = paths.windows(2).find(|pair| matches!(pair, [a, b] if a == b)) {
            return Err(Error::Tree { reason: "the path is listed twice", at: pair[0].to_string() });
        }
        for entry in &self.entries {
            if entry.path.depth() >= MAX_DEPTH {
                return refuse(entry, "it lies more than 128 levels deep");
            }
            if let Some(parent) = entry.path.parent()
                && directories.binary_search_by(|directory| directory.path.as_str().cmp(parent)).is_err()
            {
                return refuse(entry, "its parent is not listed as a directory");
            }
            if let EntryKind::SymLink { target } = &entry.kind {
                entry.path.link_stays_inside(target)?;
            }
        }
        Ok(())
    }
}
