//! The one decoder of slots (SPEC §7.4): frames are read, compared with their digests, decoded and compared with
//! the slot index in parallel; only content that passed reaches a sink.

use std::collections::HashMap;
use std::ops::Range;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Condvar, Mutex, PoisonError};
use std::time::Duration;

use pspf_format::tree::{Entry, EntryKind, Frame, SlotIndex};
use pspf_format::{Error as FormatError, Hasher, Sha256, Slot, tar, zstd_frame};
use zstd::zstd_safe::DCtx;

use crate::{Error, PackageFile, Progress};

/// Memory for all frames in flight, in bytes.
const IN_FLIGHT: u64 = 40 << 20;
/// How much of a raw slot is read at once.
const CHUNK: usize = 1 << 20;
/// A decoding thread keeps its buffers on the heap.
const STACK: usize = 256 << 10;

/// Takes the content of files.
pub(crate) trait Sink: Sync {
    /// `bytes` of the file that is entry number `entry`, from `offset`. A file of no bytes is one call with none.
    fn write(&self, entry: usize, offset: u64, bytes: &[u8]) -> Result<(), Error>;
}

/// Compares and drops: for a deep check.
pub(crate) struct Discard;

impl Sink for Discard {
    fn write(&self, _entry: usize, _offset: u64, _bytes: &[u8]) -> Result<(), Error> {
        Ok(())
    }
}

/// Decodes a whole slot into `sink`.
///
/// # Errors
/// [`Error::Package`] where stored or decoded bytes are not what was signed; what the sink reports.
pub(crate) fn decode(
    package: &PackageFile,
    slot: Slot<'_>,
    index: &SlotIndex,
    sink: &dyn Sink,
    progress: &Progress,
) -> Result<(), Error> {
    if !slot.metadata.operations.has_index() {
        return copy_raw(package, slot, sink, progress);
    }
    let work = Work::new(package, slot, index, sink, progress);
    if !index.is_tree() && index.frames.is_empty() {
        work.whole_file(0, &[])?;
    }
    let threads = threads_for(index);
    std::thread::scope(|scope| {
        for _ in 1..threads {
            // Without another thread the work takes longer and is done all the same.
            let _ = std::thread::Builder::new().stack_size(STACK).spawn_scoped(scope, || work.run());
        }
        work.run();
    });
    match work.failure.into_inner().unwrap_or_else(PoisonError::into_inner) {
        Some(error) => Err(error),
        None => Ok(()),
    }
}

/// As many threads as there are cores, frames, and room in memory.
fn threads_for(index: &SlotIndex) -> usize {
    if index.frames.len() < 2 {
        return 1;
    }
    let largest = index.frames.iter().map(|frame| u64::from(frame.stored_size) + u64::from(frame.expanded_size)).max();
    let room = usize::try_from(IN_FLIGHT / largest.unwrap_or(1).max(1)).unwrap_or(1);
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    cores.min(index.frames.len()).min(room).max(1)
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

/// The digest of a file that lies in several frames: fed in order, whichever thread decodes which frame.
struct Turnstile {
    state: Mutex<(u64, Hasher)>,
    turn: Condvar,
}

struct Work<'a> {
    package: &'a PackageFile,
    slot: Slot<'a>,
    index: &'a SlotIndex,
    sink: &'a dyn Sink,
    progress: &'a Progress,
    next: AtomicUsize,
    stop: AtomicBool,
    failure: Mutex<Option<Error>>,
    turnstiles: HashMap<usize, Turnstile>,
}

impl<'a> Work<'a> {
    fn new(
        package: &'a PackageFile,
        slot: Slot<'a>,
        index: &'a SlotIndex,
        sink: &'a dyn Sink,
        progress: &'a Progress,
    ) -> Self {
        let mut turnstiles = HashMap::new();
        // Only a file that holds a frame's first byte, and not as its own first, began in an earlier frame.
        for frame in index.frames.iter().skip(1) {
            let number = index.entries.partition_point(|entry| entry.start <= frame.start).saturating_sub(1);
            if index.entries.get(number).is_some_and(|entry| {
                entry.content < frame.start && entry.content.saturating_add(entry.size()) > frame.start
            }) {
                let state = Mutex::new((0, Hasher::new()));
                turnstiles.entry(number).or_insert(Turnstile { state, turn: Condvar::new() });
            }
        }
        Self {
            package,
            slot,
            index,
            sink,
            progress,
            next: AtomicUsize::new(0),
            stop: AtomicBool::new(false),
            failure: Mutex::new(None),
            turnstiles,
        }
    }

    /// Takes one frame after the other until there is none, or until any thread fails.
    fn run(&self) {
        let mut stored = Vec::new();
        let mut expanded = Vec::new();
        let Some(mut decoder) = DCtx::try_create() else {
            let source = std::io::Error::from(std::io::ErrorKind::OutOfMemory);
            return self.fail(Error::io("decoding", self.package.path(), source));
        };
        while !self.stop.load(Ordering::Relaxed) {
            // In order, so that whoever waits at a turnstile waits for a frame that somebody has.
            let Some(frame) = self.index.frames.get(self.next.fetch_add(1, Ordering::Relaxed)) else { return };
            let done = self
                .frame(frame, &mut stored, &mut expanded, &mut decoder)
                .and_then(|()| self.contents(frame, &expanded));
            if let Err(error) = done {
                return self.fail(error);
            }
            self.progress.advance(u64::from(frame.expanded_size));
        }
    }

    fn fail(&self, error: Error) {
        self.failure.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(error);
        self.stop.store(true, Ordering::SeqCst);
        self.turnstiles.values().for_each(|turnstile| turnstile.turn.notify_all());
    }

    fn wrong(&self, at: impl ToString, reason: &'static str) -> Error {
        self.package.wrong(FormatError::Content { at: at.to_string(), reason })
    }

    /// Reads one frame once, compares that buffer with its digest, and decodes from it.
    fn frame(
        &self,
        frame: &Frame,
        stored: &mut Vec<u8>,
        expanded: &mut Vec<u8>,
        decoder: &mut DCtx<'_>,
    ) -> Result<(), Error> {
        let id = &self.slot.metadata.id;
        stored.resize(frame.stored_size as usize, 0);
        self.package.read_at(stored, self.slot.span.offset.saturating_add(frame.offset))?;
        let found = Sha256::of(stored);
        if found != frame.sha256 {
            return Err(self.package.wrong(FormatError::SlotDigest {
                slot: id.clone(),
                expected: frame.sha256,
                found,
            }));
        }
        if !zstd_frame::declares(stored, frame.expanded_size) || !is_one_frame(stored) {
            return Err(self.wrong(
                id,
                "it is not one frame of this size, with a window of at most 8 MiB and without a dictionary",
            ));
        }
        expanded.clear();
        expanded.reserve_exact(frame.expanded_size as usize);
        match decoder.decompress(expanded, stored) {
            Ok(len) if len == frame.expanded_size as usize => Ok(()),
            _ => Err(self.wrong(id, "a frame cannot be decoded")),
        }
    }

    /// Compares everything in one decoded frame with the index and passes file content on.
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

    fn file(&self, number: usize, entry: &Entry, window: &Window<'_>) -> Result<(), Error> {
        if !matches!(entry.kind, EntryKind::File { .. }) {
            return Ok(());
        }
        let end = entry.content.saturating_add(entry.size());
        match self.turnstiles.get(&number) {
            Some(turnstile) => match window.part(entry.content..end) {
                [] => Ok(()),
                part => self.piece(number, turnstile, window.start.saturating_sub(entry.content), part),
            },
            // A file without content belongs to the frame in which its header starts.
            None if entry.size() == 0 && entry.start < window.start => Ok(()),
            // The header may end one frame and the content lie in the next; the padding may begin another.
            None if entry.size() > 0 && (entry.content >= window.end() || end <= window.start) => Ok(()),
            None => self.whole_file(number, window.part(entry.content..end)),
        }
    }

    fn whole_file(&self, number: usize, bytes: &[u8]) -> Result<(), Error> {
        self.same_digest(number, Sha256::of(bytes))?;
        self.sink.write(number, 0, bytes)
    }

    /// A piece of a file that lies in several frames, from `offset` in the file.
    fn piece(&self, number: usize, turnstile: &Turnstile, offset: u64, bytes: &[u8]) -> Result<(), Error> {
        self.sink.write(number, offset, bytes)?;
        let mut state = turnstile.state.lock().unwrap_or_else(PoisonError::into_inner);
        while state.0 != offset {
            if self.stop.load(Ordering::SeqCst) {
                return Ok(());
            }
            let waited = turnstile.turn.wait_timeout(state, Duration::from_millis(100));
            state = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
        state.1.update(bytes);
        state.0 = offset.saturating_add(bytes.len() as u64);
        let done = self.index.entries.get(number).is_some_and(|entry| state.0 == entry.size());
        let digest = done.then(|| std::mem::take(&mut state.1).finish());
        drop(state);
        turnstile.turn.notify_all();
        digest.map_or(Ok(()), |digest| self.same_digest(number, digest))
    }

    fn same_digest(&self, number: usize, found: Sha256) -> Result<(), Error> {
        match self.index.entries.get(number) {
            Some(Entry { kind: EntryKind::File { sha256, .. }, .. }) if *sha256 == found => Ok(()),
            Some(entry) => Err(self.wrong(&entry.path, "its content is not what the slot index says")),
            None => Err(Error::Internal { what: "content without an entry" }),
        }
    }
}

/// Whether these bytes are one frame and nothing more.
pub(crate) fn is_one_frame(stored: &[u8]) -> bool {
    zstd::zstd_safe::find_frame_compressed_size(stored) == Ok(stored.len())
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
        self.part(range).iter().all(|&byte| byte == 0)
    }
}
