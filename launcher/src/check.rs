//! The full check of a file: every byte is compared with what was signed (SPEC §8.2).
//!
//! Where several digests of the same bytes are wanted, as of a frame, of its slot and of the file, the bytes are read
//! once and every hasher gets that buffer: what is told of a file is true of one content, whatever happens to it
//! meanwhile. Where one digest is enough, the parts are hashed on all cores.

use alloc::string::ToString;
use alloc::vec::Vec;
use core::sync::atomic::{AtomicUsize, Ordering};

use pspf_format::deflate_frame::{MemberEnd, TRAILER_LEN};
use pspf_format::tree::{EntryKind, SkippableHeader, SlotIndex};
use pspf_format::{
    Coding, Error as FormatError, Hasher, Part, SealedIndex, Sha256, Slot, SlotId, Span, VerifiedPackage,
};

use crate::frames::{self, Sink};
use crate::slot_reader::untrue;
use crate::sys::lock::Lock;
use crate::sys::pages::Pages;
use crate::sys::thread;
use crate::{Error, PackageFile, Progress, slot_index};

/// How much is read at once: it stays in the processor's cache until it is hashed.
const CHUNK: usize = 256 << 10;
/// How much is read at once where two threads hash the same bytes: enough to be worth the start of the second one.
const SHARED_CHUNK: usize = 4 << 20;
/// Fewer bytes than these are hashed by one thread.
const WORTH_A_THREAD: usize = 256 << 10;
/// As many parts and frames are collected before they are compared, so that small slots keep all cores busy too.
const BATCH: usize = 64;
/// A thread keeps its buffer outside.
const STACK: usize = 128 << 10;

/// What of a slot is compared.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Depth {
    /// All stored bytes: of a slot with an index by the digests of the index and of the frames, of a raw slot by its
    /// `sha256`.
    #[default]
    Frames,
    /// Also the stored bytes of every slot as a whole with its `sha256`, which readers without a slot index go by.
    Whole,
    /// Also the content: every slot is decoded, and every file in it compared with the slot index.
    Content,
}

/// What a full check does beside comparing every byte with what was signed.
#[derive(Clone, Copy, Debug, Default)]
pub struct Thorough {
    /// What of the slots is compared.
    pub depth: Depth,
    /// The SHA-256 of the whole file is taken, from the bytes that are compared.
    pub digest: bool,
}

/// What a full check found out beside that all is well.
#[derive(Clone, Debug)]
pub struct Checked {
    /// SHA-256 of the whole file, where it was asked for: of the very bytes that were compared.
    pub sha256: Option<Sha256>,
    /// Length in bytes.
    pub size: u64,
}

/// Compares every byte of the file with what was signed: the launcher, the padding, every slot's stored bytes and the
/// base signature; metadata, table, slot indexes and trailer again. One slot index is in memory at a time.
///
/// # Errors
/// [`Error::Package`] for the first part that differs; [`Error::Io`] where the system does not let us look.
pub fn check(file: &PackageFile, package: &VerifiedPackage, thorough: Thorough) -> Result<Checked, Error> {
    package.verify_base_signature().map_err(|error| file.wrong(error))?;
    let mut check = Check { file, package, waiting: Vec::new(), whole: thorough.digest.then(Hasher::new) };
    for (part, span) in package.layout().parts() {
        let expected = match part {
            None => Expected::Padding,
            Some(Part::Launcher) => Expected::Part("launcher", package.launcher_sha256()),
            Some(Part::Metadata) => Expected::Part("metadata", package.sealed().metadata_sha256()),
            Some(Part::SlotTable) => Expected::Part("slot table", package.sealed().slot_table_sha256()),
            Some(Part::Trailer) => Expected::Trailer(package.sealed()),
            Some(Part::Slot(position)) => {
                check.slot(position, thorough.depth)?;
                continue;
            }
        };
        check.waiting.push(Piece { span, expected });
    }
    check.compare_waiting(None)?;
    Ok(Checked { sha256: check.whole.map(Hasher::finish), size: file.size() })
}

/// A check on its way through the file.
struct Check<'a> {
    file: &'a PackageFile,
    package: &'a VerifiedPackage,
    /// What comes next in the file and was not compared yet, without a gap.
    waiting: Vec<Piece<'a>>,
    /// Hasher of the file.
    whole: Option<Hasher>,
}

impl<'a> Check<'a> {
    fn slot(&mut self, position: usize, depth: Depth) -> Result<(), Error> {
        let Some(slot) = self.package.slots().nth(position) else {
            return Err(Error::Internal { what: "a part without a slot" });
        };
        let index = slot_index(self.file, slot)?;
        let mut hasher = (depth >= Depth::Whole && slot.metadata.index.is_some()).then(Hasher::new);
        if hasher.is_some() || self.waiting.len() >= BATCH {
            self.compare_waiting(None)?;
        }
        let mut pieces = pieces(slot, &index);
        // A slot index that is no part of the stored bytes is compared after their digest was taken.
        let behind =
            if slot.metadata.operations.stores_index() { Vec::new() } else { pieces.split_off(index.frames.len()) };
        self.waiting.extend(pieces);
        if let Some(hasher) = &mut hasher {
            self.compare_waiting(Some(hasher))?;
        }
        self.waiting.extend(behind);
        if let Some(hasher) = hasher {
            Expected::Slot(&slot.metadata.id, slot.metadata.sha256).hold(self.file, hasher.finish())?;
        }
        if depth == Depth::Content {
            let (hasher, member) = (Lock::new(Hasher::new()), Lock::new(Member::default()));
            let files = Files { package: self.file, index: &index, hasher, member };
            frames::decode(self.file, slot, &index, &files, 1, &Progress::silent())?;
            let Member { expected, found } = files.member.into_inner();
            if slot.metadata.operations.coding() == Coding::Deflate && found.to_bytes() != expected {
                let (reason, at) = ("its gzip member has another CRC-32 or length", slot.metadata.id.to_string());
                return Err(self.file.wrong(FormatError::Content { reason, at }));
            }
        }
        Ok(())
    }

    /// Compares what waits, in order and with these hashers beside, or where there are none on all cores.
    fn compare_waiting(&mut self, slot: Option<&mut Hasher>) -> Result<(), Error> {
        let pieces = core::mem::take(&mut self.waiting);
        let mut also: Vec<&mut Hasher> = self.whole.iter_mut().chain(slot).collect();
        if also.is_empty() {
            return compare_on_all(self.file, &pieces);
        }
        let mut buffer = buffer(self.file, SHARED_CHUNK)?;
        pieces.iter().try_for_each(|piece| piece.compare(self.file, &mut buffer, &mut also))
    }
}

/// All stored bytes of a slot, in order.
fn pieces<'a>(slot: Slot<'a>, index: &SlotIndex) -> Vec<Piece<'a>> {
    let Slot { metadata, span } = slot;
    let Some(stored) = &metadata.index else {
        return Vec::from([Piece { span, expected: Expected::Slot(&metadata.id, metadata.sha256) }]);
    };
    let header = SkippableHeader::new(u32::try_from(stored.stored_size).unwrap_or(0)).to_bytes();
    let frames = index.frames.iter().map(|frame| (u64::from(frame.stored_size), frame.sha256));
    let tail = [(header.len() as u64, Sha256::of(&header)), (stored.stored_size, stored.sha256)];
    let mut offset = span.offset;
    let place = |(len, sha256)| {
        let span = Span { offset, len };
        offset = offset.saturating_add(len);
        Piece { span, expected: Expected::Slot(&metadata.id, sha256) }
    };
    frames.chain(tail).map(place).collect()
}

fn buffer(file: &PackageFile, len: usize) -> Result<Pages, Error> {
    Pages::new(len).map_err(|errno| Error::io("checking", file.path(), errno))
}

/// A range of the file with what it must be.
struct Piece<'a> {
    span: Span,
    expected: Expected<'a>,
}

enum Expected<'a> {
    /// Nothing but zero.
    Padding,
    /// A part with its digest.
    Part(&'static str, Sha256),
    /// Stored bytes of a slot, with their digest.
    Slot(&'a SlotId, Sha256),
    /// The trailer that was verified.
    Trailer(&'a SealedIndex),
}

/// Hashes and compares every piece. Of several that differ the first is told, whatever the threads did.
fn compare_on_all(file: &PackageFile, pieces: &[Piece<'_>]) -> Result<(), Error> {
    let next = AtomicUsize::new(0);
    let failure = Lock::new(None::<(usize, Error)>);
    let work = |mut buffer: Pages| {
        loop {
            let number = next.fetch_add(1, Ordering::Relaxed);
            let Some(piece) = pieces.get(number) else { return };
            if let Err(error) = piece.compare(file, &mut buffer, &mut []) {
                failure.with(|failure| {
                    if failure.as_ref().is_none_or(|(first, _)| number < *first) {
                        *failure = Some((number, error));
                    }
                });
            }
        }
    };
    let others = thread::cores().min(pieces.len()).saturating_sub(1);
    thread::on_all_with(others, STACK, &|| buffer(file, CHUNK), &work)?;
    failure.into_inner().map_or(Ok(()), |(_, error)| Err(error))
}

impl Piece<'_> {
    /// Reads it once, for its own digest and for what `also` hashes, on another core where there is one.
    fn compare(&self, file: &PackageFile, buffer: &mut [u8], also: &mut [&mut Hasher]) -> Result<(), Error> {
        let mut hasher = Hasher::new();
        let mut done = 0;
        while done < self.span.len {
            let len = usize::try_from(self.span.len.saturating_sub(done)).unwrap_or(usize::MAX).min(buffer.len());
            let chunk = buffer.get_mut(..len).unwrap_or_default();
            let offset = self.span.offset.saturating_add(done);
            file.read_at(chunk, offset)?;
            let chunk = &*chunk;
            self.expected.look_at(file, chunk, offset)?;
            let alone = also.is_empty() || len < WORTH_A_THREAD;
            let mut beside = || also.iter_mut().for_each(|hasher| hasher.update(chunk));
            if alone {
                beside();
                hasher.update(chunk);
            } else {
                thread::beside(STACK, &mut beside, || hasher.update(chunk));
            }
            done = done.saturating_add(len as u64);
        }
        self.expected.hold(file, hasher.finish())
    }
}

impl Expected<'_> {
    /// Compares bytes that no digest is known of; a trailer comes in one piece.
    fn look_at(&self, file: &PackageFile, chunk: &[u8], offset: u64) -> Result<(), Error> {
        match self {
            Self::Padding => match chunk.iter().position(|&byte| byte != 0) {
                Some(at) => Err(file.wrong(FormatError::Padding { offset: offset.saturating_add(at as u64) })),
                None => Ok(()),
            },
            // Its signatures were verified; the bytes that they were verified of are still those in the file.
            Self::Trailer(sealed) if !sealed.is_from(chunk) => Err(file.wrong(FormatError::Changed)),
            Self::Trailer(_) | Self::Part(..) | Self::Slot(..) => Ok(()),
        }
    }

    /// Compares a digest with the expected one, where one is known.
    fn hold(&self, file: &PackageFile, found: Sha256) -> Result<(), Error> {
        Err(file.wrong(match *self {
            Self::Part(part, expected) if expected != found => FormatError::Digest { part, expected, found },
            Self::Slot(slot, expected) if expected != found => {
                FormatError::SlotDigest { slot: slot.clone(), expected, found }
            }
            _ => return Ok(()),
        }))
    }
}

/// Compares every file with its digest. One thread decodes for it, so the pieces of a file come in order.
struct Files<'a> {
    package: &'a PackageFile,
    index: &'a SlotIndex,
    hasher: Lock<Hasher>,
    member: Lock<Member>,
}

/// What other readers compare of a gzip member: a start need not, its frames have their digests.
#[derive(Default)]
struct Member {
    /// The last bytes that are stored.
    expected: [u8; TRAILER_LEN],
    found: MemberEnd,
}

impl Sink for Files<'_> {
    fn frame(&self, stored: &[u8], expanded: &[u8]) {
        self.member.with(|member| {
            member.expected = stored.last_chunk().copied().unwrap_or_default();
            member.found.update(expanded);
        });
    }

    fn write(&self, entry: usize, offset: u64, bytes: &[u8]) -> Result<(), Error> {
        let Some(entry) = self.index.entries.get(entry) else {
            return Err(Error::Internal { what: "content without an entry" });
        };
        let ended = offset.saturating_add(bytes.len() as u64) >= entry.size();
        let found = self.hasher.with(|hasher| {
            hasher.update(bytes);
            ended.then(|| core::mem::take(hasher).finish())
        });
        let Some(found) = found else { return Ok(()) };
        match entry.kind {
            EntryKind::File { sha256, .. } if sha256 == found => Ok(()),
            _ => Err(untrue(self.package, entry.path.as_str())),
        }
    }
}
