//! The one decoder of slots (SPEC §7.4): frames are read, compared with their digests, decoded and held to the slot
//! index in parallel.
//!
//! Stored bytes that have the signed digest decode to one content, the one that was signed: a start takes it as it
//! comes. A deep check hashes every file once more, see [`crate::check`].

use alloc::string::ToString;
use alloc::vec;
use alloc::vec::Vec;
use core::ops::Range;
use core::sync::atomic::{AtomicUsize, Ordering};

use pspf_format::deflate_frame::{self, Place};
use pspf_format::tree::{Entry, EntryKind, Frame, SlotIndex};
use pspf_format::{Coding, Error as FormatError, Hasher, Slot, tar, zstd_frame};
use zstd_safe::DCtx;

use crate::sys::pages::Pages;
use crate::sys::thread::{self, First};
use crate::{Error, PackageFile, Progress};

/// Memory for all frames in flight, in bytes.
const IN_FLIGHT: u64 = 40 << 20;
/// How much is read and hashed at once: it stays in the processor's cache between the two.
const CHUNK: usize = 256 << 10;
/// A decoding thread keeps its buffers on the heap.
const STACK: usize = 256 << 10;

/// Takes the content of files.
pub(crate) trait Sink: Sync {
    /// Called by every thread before it writes. Returns when all is there that any of them needs, or when `failure`
    /// has a value.
    fn prepare(&self, _failure: &First<Error>) {}

    /// A frame, as it is stored and as it decodes. With one thread frames come in order.
    fn frame(&self, _stored: &[u8], _expanded: &[u8]) {}

    /// `bytes` of the file that is entry number `entry`, from `offset`. A file of no bytes is one call with none.
    fn write(&self, entry: usize, offset: u64, bytes: &[u8]) -> Result<(), Error>;
}

/// Decodes a whole slot into `sink`, on at most `threads` threads; one thread passes the content on in order.
///
/// # Errors
/// [`Error::Package`] where stored or decoded bytes are not what was signed; what the sink reports.
pub(crate) fn decode(
    package: &PackageFile,
    slot: Slot<'_>,
    index: &SlotIndex,
    sink: &dyn Sink,
    threads: usize,
    progress: &Progress,
) -> Result<(), Error> {
    if !slot.metadata.operations.has_index() {
        return copy_raw(package, slot, sink, progress);
    }
    let work = Work { package, slot, index, sink, progress, next: AtomicUsize::new(0), failure: First::new() };
    if !index.is_tree() && index.frames.is_empty() {
        sink.write(0, 0, &[])?;
    }
    // Without another thread the work takes longer and is done all the same.
    let others = threads.min(threads_for(index)).saturating_sub(1);
    thread::on_all_with(others, STACK, &|| work.tools(), &|mut tools| work.run(&mut tools))?;
    work.failure.into_inner().map_or(Ok(()), Err)
}

/// As many threads as there are frames, and room in memory.
fn threads_for(index: &SlotIndex) -> usize {
    let largest = index.frames.iter().map(|frame| u64::from(frame.stored_size) + u64::from(frame.expanded_size)).max();
    let room = usize::try_from(IN_FLIGHT / largest.unwrap_or(1).max(1)).unwrap_or(1);
    index.frames.len().min(room).max(1)
}

fn copy_raw(package: &PackageFile, slot: Slot<'_>, sink: &dyn Sink, progress: &Progress) -> Result<(), Error> {
    let mut hasher = Hasher::new();
    let mut buffer = vec![0; CHUNK.min(usize::try_from(slot.span.len).unwrap_or(CHUNK)).max(1)];
    let mut at = 0;
    loop {
        let len = buffer.len().min(usize::try_from(slot.span.len.saturating_sub(at)).unwrap_or(CHUNK));
        let bytes = buffer.get_mut(..len).unwrap_or_default();
        package.read_at(bytes, slot.span.offset.saturating_add(at))?;
        hasher.update(bytes);
        sink.write(0, at, bytes)?;
        progress.advance(len as u64);
        at = at.saturating_add(len as u64);
        if at >= slot.span.len {
            break;
        }
    }
    let (expected, found) = (slot.metadata.sha256, hasher.finish());
    if expected == found {
        return Ok(());
    }
    Err(package.wrong(FormatError::SlotDigest { slot: slot.metadata.id.clone(), expected, found }))
}

struct Work<'a> {
    package: &'a PackageFile,
    slot: Slot<'a>,
    index: &'a SlotIndex,
    sink: &'a dyn Sink,
    progress: &'a Progress,
    next: AtomicUsize,
    failure: First<Error>,
}

/// What a thread decodes with.
struct Tools {
    stored: Pages,
    expanded: Pages,
    decoder: DCtx<'static>,
}

impl Work<'_> {
    /// Takes one frame after the other until there is none, or until any thread fails.
    fn run(&self, tools: &mut Tools) {
        self.sink.prepare(&self.failure);
        if let Err(error) = self.frames(tools) {
            self.failure.set(error);
        }
    }

    fn tools(&self) -> Result<Tools, Error> {
        let most = |len: fn(&Frame) -> u32| self.index.frames.iter().map(len).max().unwrap_or(0) as usize;
        let lacking = |errno| Error::io("decoding", self.package.path(), errno);
        Ok(Tools {
            stored: Pages::new(most(|frame| frame.stored_size)).map_err(lacking)?,
            expanded: Pages::new(most(|frame| frame.expanded_size)).map_err(lacking)?,
            decoder: decoder(self.package)?,
        })
    }

    fn frames(&self, tools: &mut Tools) -> Result<(), Error> {
        // In order, so that a single thread passes everything on in order.
        while let Some(frame) = self.index.frames.get(self.next.fetch_add(1, Ordering::Relaxed)) {
            if self.failure.is_set() {
                return Ok(());
            }
            let (stored, expanded) = self.frame(frame, tools)?;
            self.sink.frame(stored, expanded);
            self.contents(frame, expanded)?;
            self.progress.advance(u64::from(frame.expanded_size));
        }
        Ok(())
    }

    fn wrong(&self, at: impl ToString, reason: &'static str) -> Error {
        self.package.wrong(FormatError::Content { at: at.to_string(), reason })
    }

    /// Reads one frame once, compares that buffer with its digest, and decodes from it.
    fn frame<'t>(&self, frame: &Frame, tools: &'t mut Tools) -> Result<(&'t [u8], &'t [u8]), Error> {
        let id = &self.slot.metadata.id;
        let internal = Error::Internal { what: "a frame is longer than the longest" };
        let (Some(stored), Some(expanded)) = (
            tools.stored.get_mut(..frame.stored_size as usize),
            tools.expanded.get_mut(..frame.expanded_size as usize),
        ) else {
            return Err(internal);
        };
        let mut hasher = Hasher::new();
        let mut at = self.slot.span.offset.saturating_add(frame.offset);
        for chunk in stored.chunks_mut(CHUNK) {
            self.package.read_at(chunk, at)?;
            hasher.update(chunk);
            at = at.saturating_add(chunk.len() as u64);
        }
        let found = hasher.finish();
        if found != frame.sha256 {
            let (slot, expected) = (id.clone(), frame.sha256);
            return Err(self.package.wrong(FormatError::SlotDigest { slot, expected, found }));
        }
        let decoded = match self.slot.metadata.operations.coding() {
            Coding::Plain if stored.len() == expanded.len() => return Ok((stored, stored)),
            Coding::Plain => false,
            Coding::Deflate => deflate_frame::decode(stored, self.place(frame), expanded),
            Coding::Zstd => {
                if !zstd_frame::declares(stored, frame.expanded_size) || !is_one_frame(stored) {
                    return Err(self.wrong(
                        id,
                        "it is not one frame of this size, with a window of at most 8 MiB and without a dictionary",
                    ));
                }
                tools.decoder.decompress(&mut *expanded, stored) == Ok(expanded.len())
            }
        };
        if decoded { Ok((stored, expanded)) } else { Err(self.wrong(id, "a frame cannot be decoded")) }
    }

    fn place(&self, frame: &Frame) -> Place {
        let end = frame.offset.saturating_add(u64::from(frame.stored_size));
        Place { first: frame.offset == 0, last: end == self.index.frames_len() }
    }

    /// Holds everything in one decoded frame to the index and passes file content on.
    fn contents(&self, frame: &Frame, bytes: &[u8]) -> Result<(), Error> {
        let window = Window { start: frame.start, bytes };
        let entries = &self.index.entries;
        let first = entries.partition_point(|entry| entry.start <= frame.start).saturating_sub(1);
        let body = self.index.expanded_size.saturating_sub(if self.index.is_tree() { tar::END } else { 0 });
        let mut header = Vec::new();
        for (number, entry) in entries.iter().enumerate().skip(first) {
            if entry.start >= window.end() {
                break;
            }
            let end = entries.get(number.saturating_add(1)).map_or(body, |next| next.start);
            if self.index.is_tree() {
                header.clear();
                tar::write_header(entry, self.index.mtime, &mut header);
                if !window.agrees(entry.start, &header) {
                    return Err(self.wrong(&entry.path, "its tar header is not the one that the slot index gives"));
                }
            }
            let content_end = entry.content.saturating_add(entry.size());
            if !window.is_zero(content_end..end) {
                return Err(self.wrong(&entry.path, "the padding after it is not zero"));
            }
            self.file(number, entry, &window)?;
        }
        if window.is_zero(body..self.index.expanded_size) {
            Ok(())
        } else {
            Err(self.wrong(&self.slot.metadata.id, "the end of the tar stream is not zero"))
        }
    }

    /// Passes on what this frame holds of a file.
    fn file(&self, number: usize, entry: &Entry, window: &Window<'_>) -> Result<(), Error> {
        if !matches!(entry.kind, EntryKind::File { .. }) {
            return Ok(());
        }
        let content = entry.content..entry.content.saturating_add(entry.size());
        match window.part(content) {
            // A file without content belongs to the frame in which its header starts.
            [] if entry.size() == 0 && entry.start >= window.start => self.sink.write(number, 0, &[]),
            // The header may end one frame and the content lie in the next; the padding may begin another.
            [] => Ok(()),
            part => self.sink.write(number, window.start.saturating_sub(entry.content), part),
        }
    }
}

/// A decoder, which has all its memory from now on: what it says later is about the bytes that it gets.
pub(crate) fn decoder(package: &PackageFile) -> Result<DCtx<'static>, Error> {
    DCtx::try_create().ok_or_else(|| Error::io("decoding", package.path(), rustix::io::Errno::NOMEM))
}

/// Whether these bytes are one frame and nothing more.
pub(crate) fn is_one_frame(stored: &[u8]) -> bool {
    zstd_safe::find_frame_compressed_size(stored) == Ok(stored.len())
}

/// A decoded frame and where it lies in the stream.
struct Window<'a> {
    start: u64,
    bytes: &'a [u8],
}

impl Window<'_> {
    fn end(&self) -> u64 {
        self.start.saturating_add(self.bytes.len() as u64)
    }

    /// The positions of `range` that this frame holds, counted from its first byte.
    fn overlap(&self, range: &Range<u64>) -> Range<usize> {
        let local = |at: u64| usize::try_from(at.clamp(self.start, self.end()) - self.start).unwrap_or(0);
        local(range.start)..local(range.end)
    }

    /// The bytes of `range` that this frame holds.
    fn part(&self, range: Range<u64>) -> &[u8] {
        self.bytes.get(self.overlap(&range)).unwrap_or_default()
    }

    /// Whether what this frame holds of `expected`, which begins at `at`, is equal.
    fn agrees(&self, at: u64, expected: &[u8]) -> bool {
        let range = at..at.saturating_add(expected.len() as u64);
        let here = self.part(range.clone());
        let skipped = usize::try_from(self.start.saturating_sub(at)).unwrap_or(usize::MAX).min(expected.len());
        expected.get(skipped..skipped.saturating_add(here.len())) == Some(here)
    }

    fn is_zero(&self, range: Range<u64>) -> bool {
        let (words, rest) = self.part(range).as_chunks::<8>();
        words.iter().all(|word| u64::from_ne_bytes(*word) == 0) && rest.iter().all(|&byte| byte == 0)
    }
}
