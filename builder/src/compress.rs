//! Frames in, stored bytes out: compressed on every core, written in their order, with bounded memory.
//!
//! The result does not depend on the number of threads: each frame is compressed by itself, and where the stream is cut
//! was decided before.

use std::io::Write;
use std::sync::mpsc::{Receiver, Sender, SyncSender, channel, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

use anyhow::Context;
use pspf_format::{Class, Hasher, Sha256};
use zstd::zstd_safe::{CCtx, CParameter};

use crate::failure::Failure;

/// `--level` where none is given: the speed of `tar | zstd`. Level 19 makes a fifth less in a hundred times the time.
pub(crate) const DEFAULT_LEVEL: i32 = 3;

/// A window of 8 MiB is the largest that a reader has to allow (SPEC §7.1).
const WINDOW_LOG: u32 = 23;

/// One frame as it was stored: stored length, decoded length, SHA-256 of the stored bytes.
pub(crate) type FrameSizes = (u32, u32, Sha256);

/// How to compress.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Settings {
    pub(crate) level: i32,
    pub(crate) threads: usize,
}

impl Settings {
    /// This level, on all cores of this machine.
    pub(crate) fn all_cores(level: i32) -> Self {
        Self { level, threads: thread::available_parallelism().map_or(1, usize::from) }
    }
}

/// A frame on its way to a compressor, with the place where its result is awaited.
struct Job {
    content: Vec<u8>,
    reply: Sender<anyhow::Result<Stored>>,
}

struct Stored {
    bytes: Vec<u8>,
    expanded: u32,
    sha256: Sha256,
}

/// The end of the pipeline that takes the stream.
pub(crate) struct FrameSink<'a> {
    jobs: SyncSender<Job>,
    order: SyncSender<Receiver<anyhow::Result<Stored>>>,
    sizes: std::slice::Iter<'a, u32>,
    current: Vec<u8>,
    /// Bytes still missing in the current frame.
    missing: usize,
}

/// The stream could not be taken further, because whoever stores it has failed and says why.
#[derive(Debug)]
struct Stopped;

impl std::fmt::Display for Stopped {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("the frames could not be stored")
    }
}

impl std::error::Error for Stopped {}

impl<'a> FrameSink<'a> {
    /// Takes the next `len` bytes of the stream; `fill` is called with one or more parts of them in order.
    pub(crate) fn take(
        &mut self,
        mut len: u64,
        mut fill: impl FnMut(&mut [u8]) -> anyhow::Result<()>,
    ) -> anyhow::Result<()> {
        while len > 0 {
            if self.missing == 0 {
                let size = *self.sizes.next().context("internal error: the stream is longer than its frames")?;
                self.missing = size as usize;
                self.current = Vec::with_capacity(self.missing);
            }
            let part = usize::try_from(len).map_or(self.missing, |len| len.min(self.missing));
            let start = self.current.len();
            self.current.resize(start + part, 0);
            fill(self.current.get_mut(start..).unwrap_or_default())?;
            self.missing -= part;
            len -= part as u64;
            if self.missing == 0 {
                self.send()?;
            }
        }
        Ok(())
    }

    /// Takes these bytes.
    pub(crate) fn put(&mut self, mut bytes: &[u8]) -> anyhow::Result<()> {
        self.take(bytes.len() as u64, |part| {
            let (head, tail) = bytes.split_at(part.len().min(bytes.len()));
            part.copy_from_slice(head);
            bytes = tail;
            Ok(())
        })
    }

    fn send(&mut self) -> anyhow::Result<()> {
        let (reply, result) = channel();
        // This one waits while enough frames are on their way: the bound of the memory in use.
        self.order.send(result).map_err(|_| Stopped)?;
        self.jobs.send(Job { content: std::mem::take(&mut self.current), reply }).map_err(|_| Stopped)?;
        Ok(())
    }
}

/// Compresses the stream that `read` gives into frames of these decoded lengths and writes them to `out` in order.
/// What was written is hashed into `hasher` too.
pub(crate) fn frames<R>(
    sizes: &[u32],
    settings: Settings,
    out: &mut (impl Write + Send),
    hasher: &mut Hasher,
    read: impl FnOnce(&mut FrameSink<'_>) -> anyhow::Result<R>,
) -> anyhow::Result<(Vec<FrameSizes>, R)> {
    let threads = settings.threads.max(1);
    thread::scope(|scope| {
        let (jobs, queue) = sync_channel::<Job>(threads);
        let (order, results) = sync_channel(threads * 2);
        let queue = Arc::new(Mutex::new(queue));
        let workers: Vec<_> = (0..threads)
            .map(|_| {
                let queue = Arc::clone(&queue);
                scope.spawn(move || work(&queue, settings.level))
            })
            .collect();
        // Only the compressors keep the queue: without them the sender must not wait.
        drop(queue);
        let writer = scope.spawn(move || write(&results, out, hasher));
        let mut sink = FrameSink { jobs, order, sizes: sizes.iter(), current: Vec::new(), missing: 0 };
        let outcome = read(&mut sink);
        let complete = sink.missing == 0 && sink.sizes.len() == 0;
        drop(sink);
        let written = writer.join().map_err(|_| internal("the writer"))?;
        for worker in workers {
            worker.join().map_err(|_| internal("a compressor"))?;
        }
        // Where storing failed, reading failed only because of that.
        let (outcome, written) = match (outcome, written) {
            (Err(error), Err(cause)) if error.is::<Stopped>() => return Err(cause),
            (outcome, written) => (outcome?, written?),
        };
        if !complete {
            return Err(internal("the stream is shorter than its frames"));
        }
        Ok((written, outcome))
    })
}

fn internal(what: &str) -> anyhow::Error {
    Failure::new(Class::Internal, format!("internal error: {what}")).into()
}

fn work(queue: &Mutex<Receiver<Job>>, level: i32) {
    let mut compressor = Compressor::new(level);
    loop {
        let job = queue.lock().unwrap_or_else(PoisonError::into_inner).recv();
        let Ok(Job { content, reply }) = job else { return };
        // Nobody waits for the result where storing an earlier one has failed.
        let _ = reply.send(compressor.as_mut().map_err(|error| internal(error)).and_then(|c| c.frame(&content)));
    }
}

fn write(
    results: &Receiver<Receiver<anyhow::Result<Stored>>>,
    out: &mut impl Write,
    hasher: &mut Hasher,
) -> anyhow::Result<Vec<FrameSizes>> {
    let mut sizes = Vec::new();
    for result in results {
        let stored = result.recv().map_err(|_| internal("a compressor ended early"))??;
        out.write_all(&stored.bytes).context("writing the package")?;
        hasher.update(&stored.bytes);
        let len = u32::try_from(stored.bytes.len()).map_err(|_| internal("a frame is too long"))?;
        sizes.push((len, stored.expanded, stored.sha256));
    }
    Ok(sizes)
}

/// A compressor with its settings.
pub(crate) struct Compressor(CCtx<'static>);

impl Compressor {
    /// One for this level.
    pub(crate) fn new(level: i32) -> Result<Self, &'static str> {
        let mut context = CCtx::create();
        for parameter in [
            CParameter::CompressionLevel(level),
            CParameter::ContentSizeFlag(true),
            CParameter::ChecksumFlag(false),
            CParameter::DictIdFlag(false),
        ] {
            context.set_parameter(parameter).map_err(zstd::zstd_safe::get_error_name)?;
        }
        Ok(Self(context))
    }

    /// One frame that holds all of `content` and says how long that is.
    pub(crate) fn whole(&mut self, content: &[u8]) -> anyhow::Result<Vec<u8>> {
        // Up to 8 MiB the window is the content itself; above that (a slot index only) it is limited here.
        let window = if content.len() > 1 << WINDOW_LOG { WINDOW_LOG } else { 0 };
        let named = |code| internal(zstd::zstd_safe::get_error_name(code));
        self.0.set_parameter(CParameter::WindowLog(window)).map_err(named)?;
        let mut bytes = Vec::with_capacity(zstd::zstd_safe::compress_bound(content.len()));
        self.0.compress2(&mut bytes, content).map_err(named)?;
        Ok(bytes)
    }

    fn frame(&mut self, content: &[u8]) -> anyhow::Result<Stored> {
        let bytes = self.whole(content)?;
        let expanded = u32::try_from(content.len()).map_err(|_| internal("a frame is too long"))?;
        if !pspf_format::zstd_frame::declares(&bytes, expanded) {
            return Err(internal("a frame is not of the form that readers accept"));
        }
        let sha256 = Sha256::of(&bytes);
        Ok(Stored { bytes, expanded, sha256 })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pack(threads: usize, level: i32) -> (Vec<u8>, Vec<FrameSizes>, Sha256) {
        let content: Vec<u8> = (0..300_000_u32).flat_map(|n| (n / 7).to_le_bytes()).collect();
        let sizes = [1, 500_000, 250_000, 449_999];
        let (mut out, mut hasher) = (Vec::new(), Hasher::new());
        let (frames, ()) = frames(&sizes, Settings { level, threads }, &mut out, &mut hasher, |sink| {
            content.chunks(70_001).try_for_each(|part| sink.put(part))
        })
        .unwrap();
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
        let settings = Settings { level: 3, threads: 2 };
        for len in [0_usize, 9, 11] {
            let mut out = Vec::new();
            let outcome = frames(&[10], settings, &mut out, &mut Hasher::new(), |sink| sink.put(&vec![7; len]));
            assert!(outcome.is_err(), "{len}");
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
        let settings = Settings { level: 3, threads: 2 };
        let outcome = frames(&sizes, settings, &mut Full, &mut Hasher::new(), |sink| sink.put(&vec![1; 64 << 16]));
        assert_eq!(crate::failure::class(&outcome.unwrap_err()), Class::Io);
    }
}
