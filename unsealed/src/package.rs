//! A package without a seal: opened, and measured as a whole.

use std::cell::Cell;

use pspf_format::keys::PublicKey;
use pspf_format::{
    Error as FormatError, Hasher, INDEX_LEN, IndexBlock, Record, Sha256, Span, TRAILER_LEN, UnsealedIndex,
    UnsealedPackage,
};
use pspf_launcher::{Error, PackageFile};

/// How much of a file is read at once.
const CHUNK: usize = 1 << 20;

/// A package without a seal whose metadata are what its embedded key signed, and whose index and slot table are what
/// follows from them.
#[derive(Debug)]
pub struct Opened {
    package: UnsealedPackage,
    index: IndexBlock,
    /// The parts that were read to open it, and their digests.
    read: [(Span, Sha256); 3],
    /// Whether the rest of the file was compared.
    checked: Cell<bool>,
}

/// Digests from one pass over the file.
#[derive(Debug)]
pub struct Measured {
    /// Of the whole file.
    pub sha256: Sha256,
    /// Of each slot's stored bytes, in the order of the slots.
    pub slots: Vec<Sha256>,
    /// Length and digest of what the index calls the launcher.
    pub launcher: (u64, Sha256),
}

impl Opened {
    /// Reads trailer, metadata and slot table, verifies the signature over the metadata and holds the rest to it.
    ///
    /// # Errors
    /// What does not hold.
    pub fn open(file: &PackageFile) -> Result<Self, Error> {
        let wrong = |error| file.wrong(error);
        let trailer = file.trailer()?;
        let index = trailer.get(4..4 + INDEX_LEN).and_then(IndexBlock::from_bytes);
        let index = index.ok_or_else(|| wrong(FormatError::NotAPackage))?;
        let trailer_sha256 = Sha256::of(trailer.as_slice());
        let unsealed = UnsealedIndex::parse(&trailer, file.size()).map_err(wrong)?;
        // Both lie inside the file and are at most as long as the format's limits.
        let read = |span: Span| -> Result<Vec<u8>, Error> {
            let mut bytes = vec![0; usize::try_from(span.len).unwrap_or(0)];
            file.read_at(&mut bytes, span.offset)?;
            Ok(bytes)
        };
        let (metadata_span, table_span) = (unsealed.metadata_span(), unsealed.slot_table_span());
        let (metadata, table) = (read(metadata_span)?, read(table_span)?);
        let package = unsealed.open(&metadata, &table, file.size()).map_err(wrong)?;
        let len = TRAILER_LEN as u64;
        let trailer_span = Span { offset: file.size().saturating_sub(len), len };
        let (metadata, table) = (Sha256::of(&metadata), Sha256::of(&table));
        let read = [(metadata_span, metadata), (table_span, table), (trailer_span, trailer_sha256)];
        Ok(Self { package, index, read, checked: Cell::new(false) })
    }

    /// What is signed.
    pub fn package(&self) -> &UnsealedPackage {
        &self.package
    }

    /// Whose signature it is.
    pub fn signer(&self) -> &PublicKey {
        &self.package.signer
    }

    /// Where the index says that the launcher is.
    pub fn launcher(&self) -> Span {
        Span { offset: 0, len: self.index.launcher_size }
    }

    /// Where metadata, slot table and trailer are.
    pub fn parts(&self) -> [Span; 3] {
        self.read.each_ref().map(|(span, _)| *span)
    }

    /// Reads the file once, for the digests of the whole, of the slots and of the launcher.
    ///
    /// # Errors
    /// Parts that overlap, what lies between them and is not zero, a file that changes.
    pub fn measure(&self, file: &PackageFile) -> Result<Measured, Error> {
        let wrong = |error| file.wrong(error);
        let mut spans: Vec<Span> = self.package.slots.iter().map(|slot| slot.span).collect();
        spans.extend(self.parts());
        let mut parts = Parts::new(&spans).map_err(wrong)?;
        if !parts.add(self.launcher()) {
            return Err(wrong(FormatError::UnsealedIndex { field: "launcher_size" }));
        }
        let mut whole = Hasher::new();
        let mut padding = None;
        let gaps = parts.gaps(file.size());
        each_chunk(file, |at, chunk| {
            whole.update(chunk);
            parts.update(at, chunk);
            padding = padding.or_else(|| gaps.iter().find_map(|gap| not_zero(*gap, at, chunk)));
        })?;
        for (span, expected) in &self.read {
            if parts.digest(*span) != *expected {
                return Err(wrong(FormatError::Changed));
            }
        }
        if let Some(offset) = padding {
            return Err(wrong(FormatError::Padding { offset }));
        }
        Ok(Measured {
            sha256: whole.finish(),
            slots: self.package.slots.iter().map(|slot| parts.digest(slot.span)).collect(),
            launcher: (self.launcher().len, parts.digest(self.launcher())),
        })
    }

    /// Measures the file and compares all that is signed of it.
    ///
    /// # Errors
    /// As [`Self::measure`], and what is not what was signed.
    pub fn check(&self, file: &PackageFile) -> Result<Measured, Error> {
        let measured = self.measure(file)?;
        self.compare(&measured).map_err(|error| file.wrong(error))?;
        self.checked.set(true);
        Ok(measured)
    }

    /// The same, unless it was done before.
    pub(crate) fn check_once(&self, file: &PackageFile) -> Result<(), Error> {
        if self.checked.get() { Ok(()) } else { self.check(file).map(drop) }
    }

    /// Compares digests with those that are signed.
    ///
    /// # Errors
    /// [`FormatError::UnsealedSlot`] and [`FormatError::Digest`].
    pub fn compare(&self, measured: &Measured) -> Result<(), FormatError> {
        for (slot, found) in self.package.slots.iter().zip(&measured.slots) {
            if slot.sha256 != *found {
                return Err(FormatError::UnsealedSlot { slot: slot.id.clone(), expected: slot.sha256, found: *found });
            }
        }
        // Its length was compared with the index when that was held to the metadata.
        if let Some((_, expected)) = self.package.launcher {
            let (_, found) = measured.launcher;
            if found != expected {
                return Err(FormatError::Digest { part: "launcher", expected, found });
            }
        }
        Ok(())
    }
}

/// Reads a file once, from the first to the last byte.
///
/// # Errors
/// Where it cannot be read.
pub fn each_chunk(file: &PackageFile, mut take: impl FnMut(u64, &[u8])) -> Result<(), Error> {
    let mut buffer = vec![0; CHUNK];
    let mut at = 0;
    while at < file.size() {
        let len = usize::try_from(file.size() - at).unwrap_or(CHUNK).min(CHUNK);
        let chunk = buffer.get_mut(..len).unwrap_or_default();
        file.read_at(chunk, at)?;
        take(at, chunk);
        at += len as u64;
    }
    Ok(())
}

/// Where the first byte of this part is that is in the chunk at `at` and not zero.
fn not_zero(span: Span, at: u64, chunk: &[u8]) -> Option<u64> {
    let (start, bytes) = inside(span, at, chunk);
    bytes.iter().position(|byte| *byte != 0).map(|position| start + position as u64)
}

/// What of a part is in the chunk at `at`, and where it starts in the file.
fn inside(span: Span, at: u64, chunk: &[u8]) -> (u64, &[u8]) {
    let position = |position: u64| usize::try_from(position.saturating_sub(at)).unwrap_or(usize::MAX).min(chunk.len());
    let range = position(span.offset)..position(span.offset.saturating_add(span.len));
    (span.offset.max(at), chunk.get(range).unwrap_or_default())
}

/// Digests of several parts of a file that is read once. Parts are equal or apart, so that every byte is hashed
/// once, however many parts a file claims to have.
struct Parts(Vec<(Span, Hasher)>);

impl Parts {
    fn new(spans: &[Span]) -> Result<Self, FormatError> {
        let mut parts = Self(Vec::new());
        for span in spans {
            if !parts.add(*span) {
                return Err(FormatError::Overlap { offset: span.offset });
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

    /// What is between them in a file of this length.
    fn gaps(&self, len: u64) -> Vec<Span> {
        let mut spans: Vec<Span> = self.0.iter().map(|(span, _)| *span).collect();
        spans.sort_by_key(|span| span.offset);
        spans.push(Span { offset: len, len: 0 });
        let mut at = 0;
        let mut gaps = Vec::new();
        for span in spans {
            gaps.push(Span { offset: at, len: span.offset.saturating_sub(at) });
            at = span.offset.saturating_add(span.len);
        }
        gaps.retain(|gap| gap.len > 0);
        gaps
    }

    /// Takes a chunk of the file that starts at `at`.
    fn update(&mut self, at: u64, chunk: &[u8]) {
        for (span, hasher) in &mut self.0 {
            hasher.update(inside(*span, at, chunk).1);
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
    use crate::testing::in_file;
    use pspf_format::Class;
    use pspf_tests::forge::key;
    use pspf_tests::raw;
    use pspf_tests::unsealed::{UnsealedSlot, metadata, package};
    use serde_json::{Value, json};
    use std::os::unix::fs::FileExt;

    /// A package of two slots, of which the first is longer than a chunk, and what is signed of its launcher.
    fn forged(launcher: &[u8], more: Value) -> Vec<u8> {
        let large: Vec<u8> = (0..CHUNK as u32 + 5003).map(|number| (number % 251 + 1) as u8).collect();
        let slots = [
            UnsealedSlot::program("tool", &large),
            UnsealedSlot::new("other", "other", "raw", 0o644, b"other".to_vec()),
        ];
        package(launcher, &metadata("{workenv}/tool", &slots, more), &slots, &key())
    }

    fn span_of(bytes: &[u8], span: Span) -> &[u8] {
        &bytes[span.offset as usize..(span.offset + span.len) as usize]
    }

    /// The same with other bytes in the index, which nobody signed.
    fn with_number(bytes: &[u8], at: usize, number: u64) -> Vec<u8> {
        let mut index = raw::index(bytes);
        raw::put(&mut index, at, &number.to_le_bytes());
        raw::with_index(bytes, index)
    }

    /// Where the second slot's row of the table is.
    fn second_row(bytes: &[u8]) -> usize {
        usize::from_le_bytes(raw::index(bytes)[40..48].try_into().unwrap()) + 64
    }

    #[test]
    fn every_part_is_measured_in_one_pass() {
        let bytes = forged(b"a launcher", json!({}));
        let file = in_file(&bytes);
        let opened = Opened::open(&file).unwrap();
        let measured = opened.check(&file).unwrap();
        assert_eq!(measured.sha256, Sha256::of(&bytes));
        assert_eq!(measured.launcher, (10, Sha256::of(b"a launcher")));
        let slots: Vec<Sha256> = opened.package().slots.iter().map(|slot| slot.sha256).collect();
        assert_eq!(measured.slots, slots);
        assert_eq!(opened.signer().as_bytes(), key().public_key().as_bytes());
        assert_eq!(opened.launcher(), Span { offset: 0, len: 10 });
        let [stored, table, trailer] = opened.parts().map(|span| span_of(&bytes, span));
        assert_eq!(stored[..2], [0x1f, 0x8b]);
        assert_eq!((table.len(), trailer), (128, &bytes[bytes.len() - 8200..]));
        let mut all = Vec::new();
        each_chunk(&file, |at, chunk| {
            assert_eq!((at, all.len() < bytes.len()), (all.len() as u64, true));
            all.extend_from_slice(chunk);
        })
        .unwrap();
        assert!(all == bytes);
    }

    #[test]
    fn a_byte_that_is_not_what_was_signed_is_told_with_its_part() {
        let launcher = *b"a launcher";
        let signed = |size: u64, bytes: &[u8]| json!({"launcher": {"size": size, "checksum": format!("sha256:{}", raw::hex(&raw::sha256(bytes)))}});
        let sound = forged(&launcher, signed(10, &launcher));
        let opened = Opened::open(&in_file(&sound)).unwrap();
        let slots: Vec<Span> = opened.package().slots.iter().map(|slot| slot.span).collect();
        let changed = |at: u64| {
            let mut bytes = sound.clone();
            bytes[at as usize] ^= 1;
            bytes
        };
        // Five bytes are between the slots.
        let gap = slots[0].offset + slots[0].len + 1;
        let row = second_row(&sound);
        let unsigned = forged(&launcher, json!({}));
        let at = |offset: u64| {
            let mut bytes = sound.clone();
            raw::put(&mut bytes, row + 16, &offset.to_le_bytes());
            bytes
        };
        for (bytes, text) in [
            (changed(slots[0].offset), "slot `program`"),
            (changed(slots[0].offset + slots[0].len - 1), "slot `program`"),
            (changed(slots[1].offset), "slot `other`"),
            (changed(9), "launcher"),
            (changed(gap), &format!("{gap:#x}")),
            (forged(&launcher, signed(10, b"another one")), "launcher"),
            (forged(&launcher, signed(9, &launcher)), "launcher_size"),
            (with_number(&unsigned, 16, 9), "0x9"),
            (with_number(&unsigned, 16, 17), "launcher_size"),
            (at(slots[0].offset + slots[0].len - 1), "overlap"),
            (at(slots[0].offset - 1), "overlap"),
        ] {
            let file = in_file(&bytes);
            let checked = Opened::open(&file).and_then(|opened| opened.check_once(&file));
            let error = checked.unwrap_err().to_string();
            assert!(error.contains(text), "{error} for {text}");
        }
    }

    #[test]
    fn a_file_that_changes_between_two_looks_is_noticed_once_and_for_all() {
        let bytes = forged(b"a launcher", json!({}));
        let path = tempfile::NamedTempFile::new().unwrap();
        let name = std::ffi::CString::new(path.path().to_str().unwrap()).unwrap();
        for (part, what) in ["metadata", "slot table", "trailer"].iter().enumerate() {
            path.as_file().write_all_at(&bytes, 0).unwrap();
            let file = PackageFile::open(&name).unwrap();
            let opened = Opened::open(&file).unwrap();
            let span = opened.parts()[part];
            let at = span.offset + span.len - 2;
            path.as_file().write_all_at(&[!bytes[at as usize]], at).unwrap();
            let error = opened.measure(&file).unwrap_err();
            assert_eq!(error.class(), Class::Integrity, "{what}: {error}");
            assert!(error.to_string().contains("changed"), "{what}: {error}");
        }
        // A start compares the whole file once, however often it tries.
        path.as_file().write_all_at(&bytes, 0).unwrap();
        let file = PackageFile::open(&name).unwrap();
        let opened = Opened::open(&file).unwrap();
        opened.check_once(&file).unwrap();
        path.as_file().write_all_at(b"A", 0).unwrap();
        opened.check_once(&file).unwrap();
    }

    #[test]
    fn what_is_not_zero_between_parts_is_told_with_its_place() {
        let gap = Span { offset: 10, len: 10 };
        let mut bytes = [0; 30];
        (bytes[9], bytes[20]) = (1, 1);
        assert_eq!(not_zero(gap, 0, &bytes), None);
        bytes[17] = 1;
        for (at, len) in [(0, 30), (12, 18), (17, 1), (15, 5)] {
            assert_eq!(not_zero(gap, at as u64, &bytes[at..at + len]), Some(17), "{at}");
        }
        assert_eq!(not_zero(gap, 18, &bytes[18..]), None);
    }

    #[test]
    fn parts_are_digested_across_chunks_and_what_is_between_them_is_known() {
        let bytes: Vec<u8> = (0..100).collect();
        let span = |offset, len| Span { offset, len };
        let spans = [span(1, 9), span(10, 35), span(10, 35), span(45, 0), span(60, 39)];
        for chunk in [1, 7, 33, 100] {
            let mut parts = Parts::new(&spans).unwrap();
            assert_eq!(parts.gaps(100), [span(0, 1), span(45, 15), span(99, 1)]);
            let mut first = None;
            for (number, part) in bytes.chunks(chunk).enumerate() {
                let at = (number * chunk) as u64;
                parts.update(at, part);
                first = first.or_else(|| parts.gaps(100).iter().find_map(|gap| not_zero(*gap, at, part)));
            }
            assert_eq!(first, Some(45), "the first byte is zero");
            for span in spans {
                let expected = Sha256::of(&bytes[span.offset as usize..(span.offset + span.len) as usize]);
                assert_eq!(parts.digest(span), expected);
            }
        }
        assert!(Parts::new(&[span(0, 10), span(9, 2)]).is_err());
        assert!(Parts::new(&[span(5, u64::MAX), span(9, 2)]).is_err());
    }
}
