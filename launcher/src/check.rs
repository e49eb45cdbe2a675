//! The full check of a file: every byte is read once, hashed once and compared (SPEC §8.2), on all cores.

use alloc::string::ToString;
use alloc::vec;
use alloc::vec::Vec;
use core::sync::atomic::{AtomicUsize, Ordering};

use pspf_format::tree::{EntryKind, SlotIndex};
use pspf_format::{Error as FormatError, Hasher, Part, Sha256, SlotId, Span, VerifiedPackage};

use crate::frames::{self, Sink};
use crate::sys::lock::Lock;
use crate::sys::thread;
use crate::{Error, PackageFile, Progress, slot_index};

/// How much is read at once: it stays in the processor's cache until it is hashed.
const CHUNK: usize = 256 << 10;
/// A thread keeps its buffer on the heap.
const STACK: usize = 128 << 10;

/// What a full check does beside comparing every byte with what was signed.
#[derive(Clone, Copy, Debug, Default)]
pub struct Thorough {
    /// Every slot is decoded, every file in it compared with the slot index, and the stored bytes of every slot once
    /// more as a whole with the slot's `sha256`, which readers without a slot index go by.
    pub deep: bool,
    /// The SHA-256 of the whole file is taken.
    pub digest: bool,
}

/// What a full check found out beside that all is well.
#[derive(Clone, Debug)]
pub struct Checked {
    /// SHA-256 of the whole file, where it was asked for.
    pub sha256: Option<Sha256>,
    /// Length in bytes.
    pub size: u64,
}

/// Compares every byte of the file with what was signed: the launcher, the padding, every slot's stored bytes and the
/// base signature; metadata, table and trailer again. The stored bytes of a slot with an index are compared frame by
/// frame with the digests in that index, and the index with its own.
///
/// # Errors
/// [`Error::Package`] for the first part that differs.
pub fn check(file: &PackageFile, package: &VerifiedPackage, thorough: Thorough) -> Result<Checked, Error> {
    package.verify_base_signature().map_err(|error| file.wrong(error))?;
    let indexes = package.slots().map(|slot| slot_index(file, slot)).collect::<Result<Vec<_>, _>>()?;
    let mut pieces = pieces(package, &indexes, thorough)?;
    if thorough.digest {
        // The longest piece begins first.
        let whole = Span { offset: 0, len: file.size() };
        pieces.insert(0, Piece { span: whole, expected: Expected::Unknown });
    }
    let found = hash_all(file, &pieces)?;
    // The trailer was not hashed on the way; the bytes that were verified are still those in the file.
    if !package.sealed().is_from(file.trailer()?.as_slice()) {
        return Err(file.wrong(FormatError::Changed));
    }
    if thorough.deep {
        for (slot, index) in package.slots().zip(&indexes) {
            let files = Files { package: file, index, hasher: Lock::new(Hasher::new()) };
            frames::decode(file, slot, index, &files, 1, &Progress::silent())?;
        }
    }
    Ok(Checked { sha256: found.filter(|_| thorough.digest), size: file.size() })
}

/// A range of the file with what it must be.
struct Piece {
    span: Span,
    expected: Expected,
}

enum Expected {
    /// Nothing but zero.
    Padding,
    /// A part with its digest.
    Part(&'static str, Sha256),
    /// Stored bytes of a slot, with their digest.
    Slot(SlotId, Sha256),
    /// Whatever it is.
    Unknown,
}

/// The whole file in pieces: all that can be compared by itself.
fn pieces(package: &VerifiedPackage, indexes: &[SlotIndex], thorough: Thorough) -> Result<Vec<Piece>, Error> {
    let mut pieces = Vec::new();
    for (part, span) in package.layout().parts() {
        let expected = match part {
            None => Expected::Padding,
            Some(Part::Launcher) => Expected::Part("launcher", package.launcher_sha256()),
            Some(Part::Metadata) => Expected::Part("metadata", package.sealed().metadata_sha256()),
            Some(Part::SlotTable) => Expected::Part("slot table", package.sealed().slot_table_sha256()),
            Some(Part::Trailer) => continue,
            Some(Part::Slot(position)) => {
                let (Some(slot), Some(index)) = (package.slots().nth(position), indexes.get(position)) else {
                    return Err(Error::Internal { what: "a part without a slot" });
                };
                let id = &slot.metadata.id;
                // The index itself was compared when it was read.
                pieces.extend(index.frames.iter().map(|frame| Piece {
                    span: Span { offset: span.offset.saturating_add(frame.offset), len: u64::from(frame.stored_size) },
                    expected: Expected::Slot(id.clone(), frame.sha256),
                }));
                if slot.metadata.operations.has_index() && !thorough.deep {
                    continue;
                }
                Expected::Slot(id.clone(), slot.metadata.sha256)
            }
        };
        pieces.push(Piece { span, expected });
    }
    Ok(pieces)
}

/// What the threads found.
#[derive(Default)]
struct Outcome {
    whole: Option<Sha256>,
    /// The first piece that differs.
    failure: Option<(usize, Error)>,
}

/// Hashes and compares every piece. Of several that differ the first is told, whatever the threads did.
fn hash_all(file: &PackageFile, pieces: &[Piece]) -> Result<Option<Sha256>, Error> {
    let next = AtomicUsize::new(0);
    let outcome = Lock::new(Outcome::default());
    let work = || {
        let mut buffer = vec![0; CHUNK];
        loop {
            let number = next.fetch_add(1, Ordering::Relaxed);
            let Some(piece) = pieces.get(number) else { return };
            let found = piece.compare(file, &mut buffer);
            outcome.with(|outcome| match found {
                Ok(found) if matches!(piece.expected, Expected::Unknown) => outcome.whole = Some(found),
                Ok(_) => {}
                Err(error) if outcome.failure.as_ref().is_none_or(|(first, _)| number < *first) => {
                    outcome.failure = Some((number, error));
                }
                Err(_) => {}
            });
        }
    };
    thread::on_all(thread::cores().min(pieces.len()).saturating_sub(1), STACK, &work);
    let outcome = outcome.into_inner();
    outcome.failure.map_or(Ok(outcome.whole), |(_, error)| Err(error))
}

impl Piece {
    /// The digest of what is in the file.
    fn compare(&self, file: &PackageFile, buffer: &mut [u8]) -> Result<Sha256, Error> {
        let mut hasher = Hasher::new();
        let mut done = 0;
        while done < self.span.len {
            let len = usize::try_from(self.span.len.saturating_sub(done)).unwrap_or(CHUNK).min(buffer.len());
            let chunk = buffer.get_mut(..len).unwrap_or_default();
            let offset = self.span.offset.saturating_add(done);
            file.read_at(chunk, offset)?;
            if matches!(self.expected, Expected::Padding)
                && let Some(at) = chunk.iter().position(|&byte| byte != 0)
            {
                return Err(file.wrong(FormatError::Padding { offset: offset.saturating_add(at as u64) }));
            }
            hasher.update(chunk);
            done = done.saturating_add(len as u64);
        }
        let found = hasher.finish();
        let wrong = match &self.expected {
            Expected::Part(part, expected) if *expected != found => {
                FormatError::Digest { part, expected: *expected, found }
            }
            Expected::Slot(slot, expected) if *expected != found => {
                FormatError::SlotDigest { slot: slot.clone(), expected: *expected, found }
            }
            _ => return Ok(found),
        };
        Err(file.wrong(wrong))
    }
}

/// Compares every file with its digest. One thread decodes for it, so the pieces of a file come in order.
struct Files<'a> {
    package: &'a PackageFile,
    index: &'a SlotIndex,
    hasher: Lock<Hasher>,
}

impl Sink for Files<'_> {
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
            _ => {
                let (at, reason) = (entry.path.to_string(), "its content is not what the slot index says");
                Err(self.package.wrong(FormatError::Content { at, reason }))
            }
        }
    }
}
