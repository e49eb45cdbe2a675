//! Packages without a seal (SPEC §8.4): what their signature reaches, and what it does not.
//!
//! The metadata are signed and name the digest of every slot; where a slot lies, and all the rest, is signed by nobody.

use pspf_format::{
    Class, Error as FormatError, Hasher, INDEX_LEN, IndexBlock, Record, Sha256, Span, TRAILER_LEN, UnsealedIndex,
    UnsealedPackage,
};
use pspf_launcher::PackageFile;

use crate::verify_check::{Problem, each_chunk};
use crate::verify_coverage::Coverage;

/// A package without a seal whose metadata are what its embedded key signed.
#[derive(Debug)]
pub(crate) struct Opened {
    package: UnsealedPackage,
    index: IndexBlock,
    /// The parts that were read to open it, and their digests.
    read: [(Span, Sha256); 3],
}

/// Digests from one pass over the file.
#[derive(Debug)]
pub(crate) struct Measured {
    /// Of the whole file.
    pub(crate) sha256: Sha256,
    /// Of each slot's stored bytes, in the order of the slots.
    pub(crate) slots: Vec<Sha256>,
    /// Length and digest of what the index calls the launcher, where that is a part of its own.
    pub(crate) launcher: Option<(u64, Sha256)>,
}

/// Reads trailer, metadata and slot table, and verifies the signature over the metadata.
pub(crate) fn open(file: &PackageFile) -> Result<Opened, Problem> {
    let trailer = file.trailer()?;
    let index = trailer.get(4..4 + INDEX_LEN).and_then(IndexBlock::from_bytes).ok_or(FormatError::NotAPackage)?;
    let trailer_sha256 = Sha256::of(trailer.as_slice());
    let unsealed = UnsealedIndex::parse(&trailer, file.size())?;
    // Both lie inside the file and are at most as long as the format's limits.
    let read = |span: Span| -> Result<Vec<u8>, Problem> {
        let mut bytes = vec![0; usize::try_from(span.len).unwrap_or(0)];
        file.read_at(&mut bytes, span.offset)?;
        Ok(bytes)
    };
    let (metadata_span, table_span) = (unsealed.metadata_span(), unsealed.slot_table_span());
    let (metadata, table) = (read(metadata_span)?, read(table_span)?);
    let package = unsealed.open(&metadata, &table, file.size())?;
    let len = TRAILER_LEN as u64;
    let trailer_span = Span { offset: file.size().saturating_sub(len), len };
    let (metadata, table) = (Sha256::of(&metadata), Sha256::of(&table));
    let read = [(metadata_span, metadata), (table_span, table), (trailer_span, trailer_sha256)];
    Ok(Opened { package, index, read })
}

impl Opened {
    pub(crate) fn package(&self) -> &UnsealedPackage {
        &self.package
    }

    fn launcher(&self) -> Span {
        Span { offset: 0, len: self.index.launcher_size }
    }

    /// Reads the file once, for the digests of the whole, of the slots and of the launcher.
    pub(crate) fn measure(&self, file: &PackageFile) -> Result<Measured, Problem> {
        let mut spans: Vec<Span> = self.package.slots.iter().map(|slot| slot.span).collect();
        spans.extend(self.read.iter().map(|(span, _)| *span));
        let mut parts = Parts::new(&spans)?;
        let has_launcher = parts.add(self.launcher());
        let mut whole = Hasher::new();
        each_chunk(file, |at, chunk| {
            whole.update(chunk);
            parts.update(at, chunk);
        })?;
        for (span, expected) in &self.read {
            if parts.digest(*span) != *expected {
                let message = "the file changed while it was read";
                return Err(Problem::new(Class::Integrity, message, "let nobody write to it, and try again"));
            }
        }
        Ok(Measured {
            sha256: whole.finish(),
            slots: self.package.slots.iter().map(|slot| parts.digest(slot.span)).collect(),
            launcher: has_launcher.then(|| (self.launcher().len, parts.digest(self.launcher()))),
        })
    }

    /// What the signature reaches: the metadata, and the slots through them. The magics have one value.
    pub(crate) fn coverage(&self, size: u64) -> Coverage {
        let [(metadata, _), (slot_table, _), (trailer, _)] = self.read;
        let index = Span { offset: trailer.offset.saturating_add(4), len: INDEX_LEN as u64 };
        let magics = [trailer.offset, trailer.offset.saturating_add(4 + INDEX_LEN as u64)];
        let mut covered: Vec<Span> = self.package.slots.iter().map(|slot| slot.span).collect();
        covered.push(metadata);
        covered.extend(magics.map(|offset| Span { offset, len: 4 }));
        Coverage::of(size, &covered, &[("index", index), ("slot table", slot_table), ("launcher", self.launcher())])
    }
}

/// Digests of several parts of a file that is read once. Parts are equal or apart, so that every byte is hashed
/// once, however many parts a file claims to have.
struct Parts(Vec<(Span, Hasher)>);

impl Parts {
    fn new(spans: &[Span]) -> Result<Self, Problem> {
        let mut parts = Self(Vec::new());
        for span in spans {
            if !parts.add(*span) {
                let message = format!("two parts of the package overlap at {:#x}", span.offset);
                return Err(Problem { class: Class::Format, message, hint: None });
            }
        }
        Ok(parts)
    }

    /// Adds a part, unless it lies across another.
    fn add(&mut self, span: Span) -> bool {
        if span.len == 0 || self.0.iter().any(|(part, _)| *part == span) {
            return true;
        }
        let end = |span: &Span| span.offset.saturating_add(span.len);
        let apart = |part: &Span| end(part) <= span.offset || end(&span) <= part.offset;
        let fits = self.0.iter().all(|(part, _)| apart(part));
        if fits {
            self.0.push((span, Hasher::new()));
        }
        fits
    }

    /// Takes a chunk of the file that starts at `at`.
    fn update(&mut self, at: u64, chunk: &[u8]) {
        let inside =
            |position: u64| usize::try_from(position.saturating_sub(at)).unwrap_or(usize::MAX).min(chunk.len());
        for (span, hasher) in &mut self.0 {
            let range = inside(span.offset)..inside(span.offset.saturating_add(span.len));
            hasher.update(chunk.get(range).unwrap_or_default());
        }
    }

    fn digest(&self, span: Span) -> Sha256 {
        let part = self.0.iter().find(|(part, _)| *part == span);
        part.map_or_else(|| Sha256::of(&[]), |(_, hasher)| hasher.clone().finish())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_are_digested_across_chunks() {
        let bytes: Vec<u8> = (0..100).collect();
        let span = |offset, len| Span { offset, len };
        let spans = [span(0, 10), span(10, 35), span(10, 35), span(45, 0), span(60, 40)];
        for chunk in [1, 7, 33, 100] {
            let mut parts = Parts::new(&spans).unwrap();
            for (number, part) in bytes.chunks(chunk).enumerate() {
                parts.update((number * chunk) as u64, part);
            }
            for span in spans {
                let expected = Sha256::of(&bytes[span.offset as usize..(span.offset + span.len) as usize]);
                assert_eq!(parts.digest(span), expected);
            }
        }
        assert!(Parts::new(&[span(0, 10), span(9, 2)]).is_err());
        assert!(Parts::new(&[span(5, u64::MAX), span(9, 2)]).is_err());
    }
}
