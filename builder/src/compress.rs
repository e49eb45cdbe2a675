//! Frames in, stored bytes out: compressed on every core, written in their order, with bounded memory.
//!
//! The result does not depend on the number of threads: each frame is compressed by itself, and where the stream is cut
//! was decided before.

use std::io::Write;
use std::sync::mpsc::{Receiver, Sender, SyncSender, channel, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

use anyhow::Context;
use indicatif::ProgressBar;
use pspf_format::{Class, Hasher, Sha256};
use zstd::zstd_safe::{CCtx, CParameter};

use crate::build_cache::{BuildCache, Decoder, FrameKey};
use crate::content::{Content, Running};
use crate::failure::Failure;
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
    /// This level, on all cores that this process may use.
    pub(crate) fn all_cores(level: i32, cache: Option<BuildCache>, progress: ProgressBar) -> Self {
        Self { level, threads: thread::available_parallelism().map_or(1, usize::from), cache, progress }
    }
}

/// A frame on its way to a compressor, with the place where its result is awaited.
struct Job<'a> {
    len: u32,
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

/// A frame could not be taken further, because whoever had one before it has failed and says why.
#[derive(Debug)]
struct Stopped;

impl std::fmt::Display for Stopped {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("the frames could not be stored")
    }
}

impl std::error::Error for Stopped {}

/// Reads the stream of these pieces, compresses it into frames of these decoded lengths and writes them to `out` in
/// order. What was written is hashed into `hasher` too.
pub(crate) fn frames<'a>(
    pieces: impl Iterator<Item = Piece<'a>>,
    sizes: &[u32],
    settings: &Settings,
    out: &mut (impl Write + Send),
    hasher: &mut Hasher,
) -> anyhow::Result<Written> {
    let threads = settings.threads.min(sizes.len()).max(1);
    thread::scope(|scope| {
        let (jobs, queue) = sync_channel::<Job<'a>>(threads);
        // Results wait here for those before them: with the frames that are being made, the bound of the memory in use.
        let (order, results) = sync_channel(threads * 2);
        let queue = Arc::new(Mutex::new(queue));
        let workers: Vec<_> = (0..threads)
            .map(|_| {
                let queue = Arc::clone(&queue);
                scope.spawn(move || work(&queue, settings))
            })
            .collect();
        // Only the compressors keep the queue: without them the sender must not wait.
        drop(queue);
        let writer = scope.spawn(move || write(&results, out, hasher));
        let outcome = dispatch(pieces, sizes, &jobs, &order);
        drop((jobs, order));
        let written = writer.join().map_err(|_| internal("the writer"))?;
        for worker in workers {
            worker.join().map_err(|_| internal("a compressor"))?;
        }
        // Where storing failed, going on failed only because of that.
        match (outcome, written) {
            (Err(error), Err(cause)) if error.is::<Stopped>() => Err(cause),
            (outcome, written) => outcome.and(written),
        }
    })
}

/// Gives the frames to the compressors, and to the writer the places where their results will be.
fn dispatch<'a>(
    pieces: impl Iterator<Item = Piece<'a>>,
    sizes: &[u32],
    jobs: &SyncSender<Job<'a>>,
    order: &SyncSender<Receiver<anyhow::Result<Done>>>,
) -> anyhow::Result<()> {
    let mut frames = Frames::of(pieces);
    for &len in sizes {
        let pieces = frames.next(len)?;
        let (reply, result) = channel();
        order.send(result).map_err(|_| Stopped)?;
        jobs.send(Job { len, pieces, reply }).map_err(|_| Stopped)?;
    }
    frames.end()
}

fn internal(what: &str) -> anyhow::Error {
    Failure::new(Class::Internal, format!("internal error: {what}")).into()
}

fn work(queue: &Mutex<Receiver<Job<'_>>>, settings: &Settings) {
    let mut worker = Worker::new(settings);
    loop {
        let job = queue.lock().unwrap_or_else(PoisonError::into_inner).recv();
        let Ok(Job { len, pieces, reply }) = job else { return };
        let done = worker.as_mut().map_err(|error| internal(error)).and_then(|worker| worker.frame(len, pieces));
        // Nobody waits for the result where storing an earlier one has failed.
        let _ = reply.send(done);
    }
}

fn write(
    results: &Receiver<Receiver<anyhow::Result<Done>>>,
    out: &mut impl Write,
    hasher: &mut Hasher,
) -> anyhow::Result<Written> {
    let mut written = Written::default();
    for result in results {
        let done = result.recv().map_err(|_| internal("a compressor ended early"))??;
        out.write_all(&done.bytes).context("writing the package")?;
        hasher.update(&done.bytes);
        let len = u32::try_from(done.bytes.len()).map_err(|_| internal("a frame is too long"))?;
        written.frames.push((len, done.expanded, done.sha256));
        written.reused += usize::from(done.reused);
        written.contents.extend(done.contents);
    }
    Ok(written)
}

/// One thread's compressor, with buffers that it keeps from frame to frame.
struct Worker<'s> {
    settings: &'s Settings,
    compressor: Compressor,
    decoder: Decoder,
    /// The key of a frame without content.
    key: FrameKey,
    content: Vec<u8>,
    stored: Vec<u8>,
}

impl<'s> Worker<'s> {
    fn new(settings: &'s Settings) -> Result<Self, &'static str> {
        let compressor = Compressor::new(settings.level)?;
        let key = FrameKey::new(&parameters(settings.level));
        let decoder = Decoder::default();
        Ok(Self { settings, compressor, decoder, key, content: Vec::new(), stored: Vec::new() })
    }

    /// Reads and hashes one frame, and compresses it unless that was done before.
    fn frame(&mut self, expanded: u32, pieces: Vec<Piece<'_>>) -> anyhow::Result<Done> {
        let len = expanded as usize;
        if self.content.len() < len {
            self.content.resize(len, 0);
        }
        let content = self.content.get_mut(..len).unwrap_or_default();
        let mut key = self.key.clone();
        let contents = gather(content, pieces, &self.settings.progress, &mut key)?;
        let cached = self.settings.cache.as_ref().map(|cache| (cache, key.finish()));
        if let Some((cache, key)) = &cached
            && let Some((bytes, sha256)) = cache.find(key, content, &mut self.decoder)
        {
            return Ok(Done { bytes, expanded, sha256, reused: true, contents });
        }
        self.compressor.compress(content, &mut self.stored)?;
        if !pspf_format::zstd_frame::declares(&self.stored, expanded) {
            return Err(internal("a frame is not of the form that readers accept"));
        }
        let sha256 = Sha256::of(&self.stored);
        if let Some((cache, key)) = &cached {
            cache.keep(key, &self.stored, &sha256);
        }
        Ok(Done { bytes: self.stored.clone(), expanded, sha256, reused: false, contents })
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
                    Some(before) => before.recv().map_err(|_| Stopped)?,
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
fn parameters(level: i32) -> [CParameter; 5] {
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
    pub(crate) fn new(level: i32) -> Result<Self, &'static str> {
        let mut context = CCtx::create();
        for parameter in parameters(level) {
            context.set_parameter(parameter).map_err(zstd::zstd_safe::get_error_name)?;
        }
        Ok(Self(context))
    }

    /// Makes `stored` one frame that holds all of `content` and says how long that is.
    pub(crate) fn compress(&mut self, content: &[u8], stored: &mut Vec<u8>) -> anyhow::Result<()> {
        // Up to 8 MiB the window is the content itself; above that (a slot index only) it is limited here.
        let window = if content.len() > 1 << WINDOW_LOG { WINDOW_LOG } else { 0 };
        let named = |code| internal(zstd::zstd_safe::get_error_name(code));
        self.0.set_parameter(CParameter::WindowLog(window)).map_err(named)?;
        stored.clear();
        stored.reserve(zstd::zstd_safe::compress_bound(content.len()));
        self.0.compress2(stored, content).map_err(named)?;
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
        let frames = frames(pieces, &sizes, &settings(threads, level), &mut out, &mut hasher).unwrap().frames;
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
            let outcome = frames(pieces, &[10], &settings(2, 3), &mut Vec::new(), &mut Hasher::new());
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
            let written = frames(pieces, &sizes, &settings(threads, 1), &mut out, &mut Hasher::new()).unwrap();
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
            let outcome = frames(pieces, &[100; 10], &settings(threads, 1), &mut Vec::new(), &mut Hasher::new());
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
        let outcome = frames(pieces, &sizes, &settings(2, 3), &mut Full, &mut Hasher::new());
        assert_eq!(crate::failure::class(&outcome.unwrap_err()), Class::Io);
    }
}
