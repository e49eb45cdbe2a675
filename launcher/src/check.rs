//! The full check of a file: every byte is hashed and compared (SPEC §8.2).

use std::sync::mpsc;

use pspf_format::{Error as FormatError, Hasher, Part, Sha256, Span, VerifiedPackage};

use crate::frames::{Discard, decode};
use crate::{Error, PackageFile, Progress, slot_index};

const CHUNK: usize = 1 << 20;
/// Chunks between the reader and the digest of the whole file.
const AHEAD: usize = 4;

/// What a full check found out beside that all is well.
#[derive(Clone, Debug)]
pub struct Checked {
    /// SHA-256 of the whole file, of the bytes that were checked.
    pub sha256: Sha256,
    /// Length in bytes.
    pub size: u64,
}

/// Compares every byte of the file with what was signed: the launcher, the padding, every slot's stored bytes and the
/// base signature; metadata, table and trailer again, as they are read on the way. With `deep` every slot is decoded
/// and compared with its index too.
///
/// # Errors
/// [`Error::Package`] for the first part that differs.
pub fn check(file: &PackageFile, package: &VerifiedPackage, deep: bool) -> Result<Checked, Error> {
    package.verify_base_signature().map_err(|error| file.wrong(error))?;
    let sha256 = parts(file, package)?;
    // The trailer was not hashed on the way; the bytes that were verified are still those in the file.
    if !package.sealed().is_from(&file.trailer()?) {
        return Err(file.wrong(FormatError::Changed));
    }
    if deep {
        for slot in package.slots() {
            let index = slot_index(file, slot)?;
            decode(file, slot, &index, &Discard, &Progress::silent())?;
        }
    }
    Ok(Checked { sha256, size: file.size() })
}

/// Reads the file once, from the first to the last byte. The digest of the whole is taken on another thread.
fn parts(file: &PackageFile, package: &VerifiedPackage) -> Result<Sha256, Error> {
    std::thread::scope(|scope| {
        let (send, receive) = mpsc::sync_channel::<std::sync::Arc<Vec<u8>>>(AHEAD);
        let whole = scope.spawn(move || {
            let mut hasher = Hasher::new();
            receive.iter().for_each(|chunk| hasher.update(&chunk));
            hasher.finish()
        });
        for (part, span) in package.layout().parts() {
            let found = read_part(file, part, span, &send)?;
            compare(file, package, part, found)?;
        }
        drop(send);
        whole.join().map_err(|_| Error::Internal { what: "a digest thread ended early" })
    })
}

fn read_part(
    file: &PackageFile,
    part: Option<Part>,
    span: Span,
    send: &mpsc::SyncSender<std::sync::Arc<Vec<u8>>>,
) -> Result<Sha256, Error> {
    let mut hasher = Hasher::new();
    let mut done = 0;
    while done < span.len {
        let len = usize::try_from(span.len - done).unwrap_or(CHUNK).min(CHUNK);
        let mut chunk = vec![0; len];
        file.read_at(&mut chunk, span.offset + done)?;
        match part {
            // Padding is shorter than a chunk.
            None => {
                if let Some(at) = chunk.iter().position(|&byte| byte != 0) {
                    return Err(file.wrong(FormatError::Padding { offset: span.offset + at as u64 }));
                }
            }
            Some(_) => hasher.update(&chunk),
        }
        let _ = send.send(std::sync::Arc::new(chunk));
        done += len as u64;
    }
    Ok(hasher.finish())
}

fn compare(file: &PackageFile, package: &VerifiedPackage, part: Option<Part>, found: Sha256) -> Result<(), Error> {
    let (name, expected) = match part {
        Some(Part::Launcher) => ("launcher", package.launcher_sha256()),
        Some(Part::Metadata) => ("metadata", package.sealed().metadata_sha256()),
        Some(Part::SlotTable) => ("slot table", package.sealed().slot_table_sha256()),
        Some(Part::Slot(position)) => match package.slots().nth(position) {
            Some(slot) if slot.metadata.sha256 == found => return Ok(()),
            Some(slot) => {
                let (slot, expected) = (slot.metadata.id.clone(), slot.metadata.sha256);
                return Err(file.wrong(FormatError::SlotDigest { slot, expected, found }));
            }
            None => return Err(Error::Internal { what: "a part without a slot" }),
        },
        Some(Part::Trailer) | None => return Ok(()),
    };
    if expected == found { Ok(()) } else { Err(file.wrong(FormatError::Digest { part: name, expected, found })) }
}
