//! Frames in, stored bytes out: compressed on every core, written in their order, with bounded memory.
//!
//! The result does not depend on the number of threads: each frame is compressed by itself, and where the stream is cut
//! was decided before.

use std::collections::VecDeque;
use std::io::Write;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

use anyhow::Context;
use flate2::Crc;
use indicatif::ProgressBar;
use pspf_format::deflate_frame::Place;
use pspf_format::{Class, Coding, Hasher, Sha256};
use zstd::zstd_safe::{CCtx, CParameter};

use crate::build_cache::{BuildCache, Decoder, FrameKey};
use crate::coder::{Coder, member_end};
use crate::content::{Content, Running};
use crate::failure::Failure;
use crate::memory;
use crate::stream::{FilePart, Frames, Piece};

/// `--level` where none is given. What is packed once is started often: level 3 packs in half the time, and its packages
/// are a twentieth larger and start slower for the first time. Level 19 makes a sixth less in fifty times the time.
pub(crate) const DEFAULT_LEVEL: i32 = 7;

/// A window of 8 MiB is the largest that a reader has to allow (SPEC §7.1).
const WINDOW_LOG: u32 = 23;

/// One frame as it was stored: stored length, decoded length, SHA-256 of the stored bytes.
pub(crate) type FrameSizes = (u32, u32, Sha256);

/// How to compress.
#[derive(Debug)]
pub(crate) struct Settings {
    pub(crate) level: i32,
    pub(crate) threads: usize,
    /// Where frames that were compressed before are.
    pub(crate) cache: Option<BuildCache>,
    /// Counts the content of files.
    pub(crate) progress: ProgressBar,
}

impl Settings {
    /// This level, on all cores that this process may use, as far as the memory that is reckoned with goes.
    pub(crate) fn all_cores(level: i32, cache: Option<BuildCache>, progress: ProgressBar) -> Self {
        let cores = thread::available_parallelism().map_or(1, usize::from);
        Self { level, threads: cores.min(memory::threads(level)), cache, progress }
    }
}

/// A frame on its way to a compressor, with the place where its result is awaited.
struct Job<'a> {
    len: u32,
    place: Place,
    pieces: Vec<Piece<'a>>,
    reply: Sender<anyhow::Result<Done>>,
}

/// A frame as it is stored, and the files that end in it.
struct Done {
    bytes: Vec<u8>,
    expanded: u32,
    sha256: Sha256,
    reused: bool,
    contents: Vec<Content>,
    /// Of the frame's content, where the end of a gzip member will tell that of all of them.
    crc: Option<Crc>,
}

/// What became of a stream.
#[derive(Debug, Default)]
pub(crate) struct Written {
    pub(crate) frames: Vec<FrameSizes>,
    /// How many of them were not compressed, but found in the build cache.
    pub(crate) reused: usize,
    /// The files of the stream, in its order.
    pub(crate) contents: Vec<Content>,
}

/// Reads the stream of these pieces, stores it in frames of these decoded lengths and writes them to `out` in order.
/// What was written is hashed into `hasher` too.
pub(crate) fn frames<'a>(
    pieces: impl Iterator<Item = Piece<'a>>,
    sizes: &[u32],
    coding: Coding,
    settings: &Settings,
    out: &mut impl Write,
    hasher: &mut Hasher,
) -> anyhow::Result<Written> {
    let mut frames = Frames::of(pieces);
    let mut writer = Writer { out, hasher, left: sizes.len(), crc: Crc::new(), written: Written::default() };
    let (jobs, queue) = channel::<Job<'a>>();
    let queue = Arc::new(Mutex::new(queue));
    thread::scope(|scope| {
        let mut workers = Vec::new();
        // For one frame after the other no other thread is needed.
        while sizes.len() > 1 && settings.threads > 1 && workers.len() < settings.threads.min(sizes.len()) {
            let (queue, worker) = (Arc::clone(&queue), Worker::new(coding, settings)?);
            match thread::Builder::new().spawn_scoped(scope, move || work(&queue, worker)) {
                Ok(started) => workers.push(started),
                // The system has no more threads for us: fewer do the same.
                Err(_) => break,
            }
        }
        // Only the workers keep the queue: what they leave undone when they end is given up with it.
        drop(queue);
        if workers.is_empty() {
            let mut worker = Worker::new(coding, settings)?;
            for (place, len) in places(sizes) {
                writer.put(worker.frame(len, place, frames.next(len)?)?)?;
            }
        } else {
            deal(&mut frames, sizes, jobs, workers.len(), &mut writer)?;
        }
        workers.into_iter().try_for_each(|worker| worker.join().map_err(|_| internal("a compressor")))
    })?;
    frames.end()?;
    Ok(writer.written)
}

/// Which place each frame has.
fn places(sizes: &[u32]) -> impl Iterator<Item = (Place, u32)> {
    let place = |number| Place { first: number == 0, last: number + 1 == sizes.len() };
    sizes.iter().enumerate().map(move |(number, &len)| (place(number), len))
}

/// Gives the frames to this many workers, and writes what comes back.
fn deal<'a>(
    frames: &mut Frames<'a, impl Iterator<Item = Piece<'a>>>,
    sizes: &[u32],
    jobs: Sender<Job<'a>>,
    workers: usize,
    writer: &mut Writer<'_, impl Write>,
) -> anyhow::Result<()> {
    let ended = || internal("a compressor ended early");
    // Results wait here for those before them: with the frames that are being made, the bound of the memory in use.
    let mut results = VecDeque::new();
    let mut put = |result: Receiver<anyhow::Result<Done>>| writer.put(result.recv().map_err(|_| ended())??);
    for (place, len) in places(sizes) {
        let pieces = frames.next(len)?;
        if results.len() >= workers * 2
            && let Some(oldest) = results.pop_front()
        {
            put(oldest)?;
        }
        let (reply, result) = channel();
        jobs.send(Job { len, place, pieces, reply }).map_err(|_| ended())?;
        results.push_back(result);
    }
    drop(jobs);
    results.into_iter().try_for_each(put)
}

fn internal(what: &str) -> anyhow::Error {
    Failure::new(Class::Internal, format!("internal error: {what}")).into()
}

fn work(queue: &Mutex<Receiver<Job<'_>>>, mut worker: Worker<'_>) {
    loop {
        let job = queue.lock().unwrap_or_else(PoisonError::into_inner).recv();
        let Ok(Job { len, place, pieces, reply }) = job else { return };
        // Nobody waits for the result where an earlier one has failed.
        let _ = reply.send(worker.frame(len, place, pieces));
    }
}

/// Where the frames go, in their order.
struct Writer<'w, W> {
    out: &'w mut W,
    hasher: &'w mut Hasher,
    /// How many frames are still to come.
    left: usize,
    /// Of the content so far, where the frames say theirs.
    crc: Crc,
    written: Written,
}

impl<W: Write> Writer<'_, W> {
    fn put(&mut self, mut done: Done) -> anyhow::Result<()> {
        self.left = self.left.saturating_sub(1);
        if let Some(crc) = &done.crc {
            self.crc.combine(crc);
            if let Some(end) = done.bytes.last_chunk_mut().filter(|_| self.left == 0) {
                *end = member_end(&self.crc);
                done.sha256 = Sha256::of(&done.bytes);
            }
        }
        self.out.write_all(&done.bytes).context("writing the package")?;
        self.hasher.update(&done.bytes);
        let len = u32::try_from(done.bytes.len()).map_err(|_| internal("a frame is too long"))?;
        self.written.frames.push((len, done.expanded, done.sha256));
        self.written.reused += usize::from(done.reused);
        self.written.contents.extend(done.contents);
        Ok(())
    }
}

/// One thread's compressor, with buffers that it keeps from frame to frame.
struct Worker<'s> {
    settings: &'s Settings,
    coding: Coding,
    coder: Coder,
    decoder: Decoder,
    /// The key of a frame without content.
    key: FrameKey,
    content: Vec<u8>,
    stored: Vec<u8>,
}

impl<'s> Worker<'s> {
    fn new(coding: Coding, settings: &'s Settings) -> anyhow::Result<Self> {
        let coder = Coder::new(coding, settings.level)?;
        let key = FrameKey::new(&parameters(settings.level));
        let decoder = Decoder::default();
        Ok(Self { settings, coding, coder, decoder, key, content: Vec::new(), stored: Vec::new() })
    }

    /// Reads and hashes one frame, and compresses it unless that was done before.
    fn frame(&mut self, expanded: u32, place: Place, pieces: Vec<Piece<'_>>) -> anyhow::Result<Done> {
        let len = expanded as usize;
        let longer = len.saturating_sub(self.content.len());
        memory::reserve(&mut self.content, longer)?;
        self.content.resize(self.content.len() + longer, 0);
        let content = self.content.get_mut(..len).unwrap_or_default();
        let mut key = self.key.clone();
        let contents = gather(content, pieces, &self.settings.progress, &mut key)?;
        // Only Zstandard frames are the same wherever in a slot they stand, and worth keeping.
        let cache = self.settings.cache.as_ref().filter(|_| self.coding == Coding::Zstd);
        let cached = cache.map(|cache| (cache, key.finish()));
        if let Some((cache, key)) = &cached
            && let Some((bytes, sha256)) = cache.find(key, content, &mut self.decoder)
        {
            return Ok(Done { bytes, expanded, sha256, reused: true, contents, crc: None });
        }
        self.coder.store(content, place, &mut self.stored)?;
        let crc = (self.coding == Coding::Deflate).then(|| {
            let mut crc = Crc::new();
            crc.update(content);
            crc
        });
        let sha256 = Sha256::of(&self.stored);
        if let Some((cache, key)) = &cached {
            cache.keep(key, &self.stored, &sha256);
        }
        let mut bytes = Vec::new();
        memory::reserve(&mut bytes, self.stored.len())?;
        bytes.extend_from_slice(&self.stored);
        Ok(Done { bytes, expanded, sha256, reused: false, contents, crc })
    }
}

/// Fills `content` with these pieces, which `key` learns of; the files that end in it come back.
fn gather(
    mut content: &mut [u8],
    pieces: Vec<Piece<'_>>,
    progress: &ProgressBar,
    key: &mut FrameKey,
) -> anyhow::Result<Vec<Content>> {
    let mut contents = Vec::new();
    for piece in pieces {
        let len = usize::try_from(piece.len())?;
        let (place, rest) = content.split_at_mut_checked(len).ok_or_else(|| internal("a frame without room"))?;
        content = rest;
        match piece {
            Piece::Bytes(bytes) => {
                key.bytes(&bytes);
                place.copy_from_slice(&bytes);
            }
            Piece::Zeros(len) => {
                key.zeros(len);
                place.fill(0);
            }
            Piece::File(FilePart { stamp, range, before, after }) => {
                stamp.fill(place, range.start)?;
                let mut running = match before {
                    // Where that frame has failed, it is that failure which is told.
                    Some(before) => before.recv().map_err(|_| internal("the frame before"))?,
                    None => Running::default(),
                };
                running.update(place);
                key.file(&range, &running.digest());
                match after {
                    // Nobody waits for it where the next frame is not made any more.
                    Some(after) => drop(after.send(running)),
                    None => contents.push(running.finish()),
                }
                progress.inc(len as u64);
            }
        }
    }
    Ok(contents)
}

/// All settings of the compressor, which are a part of the key of every frame that it makes.
pub(crate) fn parameters(level: i32) -> [CParameter; 5] {
    // Longer matches are fewer: at the lazy levels half a per cent more bytes, and decoding is a twentieth faster.
    let min_match = if (5..=12).contains(&level) { 6 } else { 0 };
    [
        CParameter::MinMatch(min_match),
        CParameter::CompressionLevel(level),
        CParameter::ContentSizeFlag(true),
        CParameter::ChecksumFlag(false),
        CParameter::DictIdFlag(false),
    ]
}

/// A compressor with its settings.
pub(crate) struct Compressor(CCtx<'static>);

impl Compressor {
    /// One for this level.
    pub(crate) fn new(level: i32) -> anyhow::Result<Self> {
        let mut context = CCtx::try_create().ok_or_else(memory::exhausted)?;
        for parameter in parameters(level) {
            context.set_parameter(parameter).map_err(memory::zstd_failed)?;
        }
        Ok(Self(context))
    }

    /// Makes `stored` one frame that holds all of `content` and says how long that is.
    pub(crate) fn compress(&mut self, content: &[u8], stored: &mut Vec<u8>) -> anyhow::Result<()> {
        // Up to 8 MiB the window is the content itself; above that (a slot index only) it is limited here.
        let window = if content.len() > 1 << WINDOW_LOG { WINDOW_LOG } else { 0 };
        self.0.set_parameter(CParameter::WindowLog(window)).map_err(memory::zstd_failed)?;
        stored.clear();
        memory::reserve(stored, zstd::zstd_safe::compress_bound(content.len()))?;
        self.0.compress2(stored, content).map_err(memory::zstd_failed)?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tree::FileStamp;

    fn settings(threads: usize, level: i32) -> Settings {
        Settings { level, threads, cache: None, progress: ProgressBar::hidden() }
    }

    fn pack(threads: usize, level: i32) -> (Vec<u8>, Vec<FrameSizes>, Sha256) {
        let content: Vec<u8> = (0..300_000_u32).flat_map(|n| (n / 7).to_le_bytes()).collect();
        let sizes = [1, 500_000, 250_000, 449_999];
        let (mut out, mut hasher) = (Vec::new(), Hasher::new());
        let pieces = content.chunks(70_001).map(|part| Piece::Bytes(part.to_vec()));
        let frames =
            frames(pieces, &sizes, Coding::Zstd, &settings(threads, level), &mut out, &mut hasher).unwrap().frames;
        assert_eq!(zstd::stream::decode_all(out.as_slice()).unwrap(), content);
        (out, frames, hasher.finish())
    }

    #[test]
    fn the_result_does_not_depend_on_the_threads() {
        for level in [1, 3, 19, 22] {
            let one = pack(1, level);
            assert!(one == pack(2, level) && one == pack(7, level));
            assert_eq!(one.2, Sha256::of(&one.0));
            assert_eq!(one.1.iter().map(|frame| frame.0 as usize).sum::<usize>(), one.0.len());
        }
    }

    #[test]
    fn a_stream_that_does_not_fit_its_frames_is_an_error() {
        for len in [0, 9, 11] {
            let pieces = [Piece::Zeros(len)].into_iter();
            let outcome = frames(pieces, &[10], Coding::Zstd, &settings(2, 3), &mut Vec::new(), &mut Hasher::new());
            assert!(outcome.is_err(), "{len}");
        }
    }

    #[test]
    fn a_file_in_many_frames_is_hashed_in_its_order() {
        let content: Vec<u8> = (0..100_000_u32).flat_map(u32::to_le_bytes).collect();
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(&content).unwrap();
        let stamp = FileStamp::new(file.path().to_owned(), &file.as_file().metadata().unwrap());
        for threads in [1, 2, 9] {
            let mut out = Vec::new();
            let pieces = [Piece::Bytes(vec![1; 512]), Piece::file(&stamp), Piece::Zeros(112)].into_iter();
            let sizes = [10_000; 40].into_iter().chain([624]).collect::<Vec<_>>();
            let written =
                frames(pieces, &sizes, Coding::Zstd, &settings(threads, 1), &mut out, &mut Hasher::new()).unwrap();
            let [only] = written.contents.as_slice() else { panic!("one file") };
            assert_eq!((only.sha256, only.head.as_slice()), (Sha256::of(&content), &content[..64]));
            assert_eq!(written.frames.len(), 41);
            assert_eq!(zstd::stream::decode_all(out.as_slice()).unwrap()[512..][..content.len()], content);
        }
    }

    #[test]
    fn a_file_that_changes_is_told_by_whoever_reads_it() {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(&[1; 1000]).unwrap();
        let stamp = FileStamp::new(file.path().to_owned(), &file.as_file().metadata().unwrap());
        file.as_file().set_len(999).unwrap();
        for threads in [1, 4] {
            let pieces = [Piece::file(&stamp)].into_iter();
            let outcome =
                frames(pieces, &[100; 10], Coding::Zstd, &settings(threads, 1), &mut Vec::new(), &mut Hasher::new());
            let error = outcome.unwrap_err();
            assert!(format!("{error:#}").contains("changed while it was packed"), "{error:#}");
        }
    }

    #[test]
    fn the_cause_of_a_failed_write_is_told() {
        struct Full;
        impl Write for Full {
            fn write(&mut self, _: &[u8]) -> std::io::Result<usize> {
                Err(std::io::ErrorKind::StorageFull.into())
            }
            fn flush(&mut self) -> std::io::Result<()> {
                Ok(())
            }
        }
        let sizes = [1 << 16; 64];
        let pieces = [Piece::Zeros(64 << 16)].into_iter();
        let outcome = frames(pieces, &sizes, Coding::Zstd, &settings(2, 3), &mut Full, &mut Hasher::new());
        assert_eq!(crate::failure::class(&outcome.unwrap_err()), Class::Io);
    }
}
