//! The build cache: frames that were compressed before, so that packing again compresses only what changed.
//!
//! It decides how long packing takes and never what is packed. A frame is found by what it is made of: every tar
//! header, the digest of every file, the compressor and its settings. What is found is decoded and compared with the
//! content that was just read; so nothing that anybody puts into the cache can change what a package holds. A cache
//! that is missing, full, read-only or damaged only means that more is compressed.
//!
//! How the content is compressed is taken from the cache as it is: whoever can write to the cache, which is its owner
//! and root, can put another compressor's frame of the same content there, and the package then has other bytes than a
//! clean build gives. So a release is packed without the cache.

use std::fs::FileTimes;
use std::io::{Read, Write};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::SystemTime;

use pspf_format::{Hasher, Sha256};
use zstd::zstd_safe::{CParameter, DCtx, find_frame_compressed_size, version_string};

use crate::build_cache_files::{Folder, PREFIX, limit, space};
use crate::{interrupt, memory};

/// What an entry begins with: the SHA-256 of the stored bytes that follow.
const DIGEST: usize = 32;

/// The build cache, as one packing uses it.
#[derive(Debug)]
pub(crate) struct BuildCache {
    folder: Folder,
    limit: u64,
    /// What this packing may still use of the limit, so that one that is larger than the cache does not push out its
    /// own frames one after the other.
    room: AtomicU64,
}

impl BuildCache {
    /// Opens the cache, or makes it, and holds it to its limit: an earlier packing that was interrupted did not.
    /// `None` where it is turned off, where its place cannot be used, and where it would lie inside one of `sources`: a
    /// package must not depend on what was packed before.
    ///
    /// # Errors
    /// Only where the limit that the user set is none.
    pub(crate) fn open(sources: &[PathBuf]) -> anyhow::Result<Option<Self>> {
        let limit = limit()?;
        let folder = if limit == 0 { None } else { Folder::make(sources) };
        let cache = folder.map(|folder| Self::new(folder, limit));
        cache.iter().for_each(Self::hold_to_limit);
        Ok(cache)
    }

    fn new(folder: Folder, limit: u64) -> Self {
        Self { folder, limit, room: AtomicU64::new(limit) }
    }

    /// Its directory.
    pub(crate) fn path(&self) -> &Path {
        self.folder.path()
    }

    /// The stored bytes of the frame with this key and exactly this content.
    pub(crate) fn find(&self, key: &Sha256, content: &[u8], decoder: &mut Decoder) -> Option<(Vec<u8>, Sha256)> {
        let (mut file, len) = self.folder.open(key)?;
        let len = usize::try_from(len).ok()?;
        let most = DIGEST + zstd::zstd_safe::compress_bound(content.len());
        if !(DIGEST..=most).contains(&len) {
            return None;
        }
        let mut recorded = [0; DIGEST];
        file.read_exact(&mut recorded).ok()?;
        let mut stored = Vec::new();
        memory::reserve(&mut stored, len - DIGEST).ok()?;
        Read::by_ref(&mut file).take(len as u64).read_to_end(&mut stored).ok()?;
        let sha256 = Sha256::of(&stored);
        if sha256 != Sha256(recorded) || !decoder.gives(&stored, content) {
            return None;
        }
        self.take(space(len as u64));
        // The time of its last use, by which the oldest are removed.
        let _ = file.set_times(FileTimes::new().set_modified(SystemTime::now()));
        Some((stored, sha256))
    }

    /// Keeps a frame, if there is room.
    pub(crate) fn keep(&self, key: &Sha256, stored: &[u8], sha256: &Sha256) {
        let len = (DIGEST + stored.len()) as u64;
        if !self.take(space(len)) {
            return;
        }
        let mut builder = tempfile::Builder::new();
        builder.prefix(PREFIX);
        let made = interrupt::create(|| builder.tempfile_in(self.folder.path()), |file| file.path().to_owned());
        let Ok(mut file) = made else { return self.give_up() };
        let temporary = file.path().to_owned();
        let written = file.write_all(&sha256.0).and_then(|()| file.write_all(stored));
        if written.is_err() {
            self.give_up();
        }
        interrupt::conclude(&temporary, || match written {
            // What cannot be replaced, such as a directory of that name, is no reason not to keep the others.
            Ok(()) => drop(file.persist(self.folder.entry(key))),
            Err(_) => drop(file),
        });
    }

    /// Where one frame cannot be written, the next one cannot either.
    fn give_up(&self) {
        self.room.store(0, Ordering::Relaxed);
    }

    /// Whether there is room for this many bytes, which is then taken.
    fn take(&self, bytes: u64) -> bool {
        self.room.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |room| room.checked_sub(bytes)).is_ok()
    }

    /// Removes what was not used for the longest time, until the rest is within the limit.
    pub(crate) fn hold_to_limit(&self) {
        self.folder.shrink(self.limit);
    }
}

/// The key of a frame on its way: everything that decides its stored bytes.
#[derive(Clone)]
pub(crate) struct FrameKey(Hasher);

impl FrameKey {
    /// The key of frames that this compressor makes.
    pub(crate) fn new(parameters: &[CParameter]) -> Self {
        let (version, zstd) = (env!("CARGO_PKG_VERSION"), version_string());
        let mut hasher = Hasher::new();
        hasher.update(format!("pspf {version}, zstd {zstd}, {parameters:?}\n").as_bytes());
        Self(hasher)
    }

    /// These bytes come next.
    pub(crate) fn bytes(&mut self, bytes: &[u8]) {
        self.part(b'b', bytes.len() as u64);
        self.0.update(bytes);
    }

    /// So many zeros come next.
    pub(crate) fn zeros(&mut self, len: u64) {
        self.part(b'z', len);
    }

    /// This range of a file comes next; `digest` is that of the file up to the end of the range, so no byte is hashed
    /// for the key alone.
    pub(crate) fn file(&mut self, range: &Range<u64>, digest: &Sha256) {
        self.part(b'f', range.start);
        self.0.update(&range.end.to_le_bytes());
        self.0.update(&digest.0);
    }

    fn part(&mut self, kind: u8, number: u64) {
        self.0.update(&[kind]);
        self.0.update(&number.to_le_bytes());
    }

    /// The key.
    pub(crate) fn finish(self) -> Sha256 {
        self.0.finish()
    }
}

/// Decodes what the cache holds, to compare it with what should be in it.
#[derive(Default)]
pub(crate) struct Decoder {
    context: Option<DCtx<'static>>,
    decoded: Vec<u8>,
}

impl Decoder {
    /// Whether these stored bytes are one frame of the form that readers accept, with this content.
    fn gives(&mut self, stored: &[u8], content: &[u8]) -> bool {
        let Ok(expanded) = u32::try_from(content.len()) else { return false };
        if !pspf_format::zstd_frame::declares(stored, expanded)
            || find_frame_compressed_size(stored) != Ok(stored.len())
        {
            return false;
        }
        self.decoded.clear();
        // Without the memory to look at it there is nothing to be found.
        if self.context.is_none() {
            self.context = DCtx::try_create();
        }
        let Some(context) = &mut self.context else { return false };
        if memory::reserve(&mut self.decoded, content.len()).is_err() {
            return false;
        }
        context.decompress(&mut self.decoded, stored).is_ok() && self.decoded == content
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cache(limit: u64) -> (tempfile::TempDir, BuildCache) {
        let directory = tempfile::tempdir().unwrap();
        let folder = Folder::at(directory.path().to_owned());
        (directory, BuildCache::new(folder, limit))
    }

    fn frame(content: &[u8]) -> (Vec<u8>, Sha256) {
        let stored = zstd::bulk::compress(content, 3).unwrap();
        let sha256 = Sha256::of(&stored);
        (stored, sha256)
    }

    #[test]
    fn a_frame_is_found_by_its_key_and_only_with_its_content() {
        let (_directory, cache) = cache(1 << 20);
        let (key, other) = (Sha256::of(b"key"), Sha256::of(b"other"));
        let (stored, sha256) = frame(b"content");
        cache.keep(&key, &stored, &sha256);
        let mut decoder = Decoder::default();
        assert_eq!(cache.find(&key, b"content", &mut decoder), Some((stored.clone(), sha256)));
        assert_eq!(cache.find(&other, b"content", &mut decoder), None);
        // A frame that was put there under another's key, sound in itself.
        cache.keep(&other, &stored, &sha256);
        for content in [b"Content".as_slice(), b"", b"content and more"] {
            assert_eq!(cache.find(&other, content, &mut decoder), None);
        }
    }

    #[test]
    fn a_damaged_entry_is_no_entry_and_is_replaced() {
        let (_directory, cache) = cache(1 << 20);
        let key = Sha256::of(b"key");
        let (stored, sha256) = frame(&[7; 3000]);
        cache.keep(&key, &stored, &sha256);
        let path = cache.folder.entry(&key);
        let sound = std::fs::read(&path).unwrap();
        let mut decoder = Decoder::default();
        for at in 0..sound.len() {
            let mut bytes = sound.clone();
            bytes[at] ^= 1;
            std::fs::write(&path, &bytes).unwrap();
            assert_eq!(cache.find(&key, &[7; 3000], &mut decoder), None, "byte {at}");
            std::fs::write(&path, &sound[..at]).unwrap();
            assert_eq!(cache.find(&key, &[7; 3000], &mut decoder), None, "cut at {at}");
        }
        std::fs::write(&path, [&sound[..], b"x"].concat()).unwrap();
        assert_eq!(cache.find(&key, &[7; 3000], &mut decoder), None);
        cache.keep(&key, &stored, &sha256);
        assert_eq!(cache.find(&key, &[7; 3000], &mut decoder), Some((stored, sha256)));
    }

    #[test]
    fn keys_differ_in_all_that_decides() {
        let base = FrameKey::new(&[CParameter::CompressionLevel(3)]);
        let key = |feed: &dyn Fn(&mut FrameKey)| {
            let mut key = base.clone();
            feed(&mut key);
            key.finish()
        };
        let digest = Sha256::of(b"");
        let keys = [
            FrameKey::new(&[CParameter::CompressionLevel(4)]).finish(),
            FrameKey::new(&[CParameter::CompressionLevel(3), CParameter::ChecksumFlag(true)]).finish(),
            key(&|_| {}),
            key(&|key| key.zeros(1)),
            key(&|key| key.zeros(2)),
            key(&|key| key.bytes(&[0])),
            key(&|key| key.bytes(b"ab")),
            key(&|key| {
                key.bytes(b"a");
                key.bytes(b"b");
            }),
            key(&|key| key.file(&(0..1), &digest)),
            key(&|key| key.file(&(0..2), &digest)),
            key(&|key| key.file(&(1..2), &digest)),
            key(&|key| key.file(&(0..1), &Sha256::of(b"x"))),
        ];
        let different: std::collections::HashSet<_> = keys.iter().collect();
        assert_eq!(different.len(), keys.len());
    }

    #[test]
    fn no_more_than_the_limit_is_written_in_one_go() {
        let (directory, cache) = cache(10_000);
        let (stored, sha256) = frame(b"small");
        for number in 0..9_u8 {
            cache.keep(&Sha256::of(&[number]), &stored, &sha256);
        }
        // Each takes a block of 4,096 bytes on disk.
        assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 2);
    }
}
