//! How much memory compressing may take, and what is said where there is not enough.

use pspf_format::Class;
use zstd::zstd_safe::{get_error_name, zstd_sys::ZSTD_ErrorCode};

use crate::failure::Failure;
use crate::frames;

const MIB: usize = 1 << 20;

/// The most that all compressors of a packing may take together, in bytes, unless one alone takes more. The threads are
/// as many as that allows: the highest levels take so much that a machine with many cores would run out of memory.
const BUDGET: usize = 2048 * MIB;

/// What zstandard takes for itself, at most, to compress a frame of this level, in bytes.
fn context(level: i32) -> usize {
    MIB * match level {
        ..=6 => 3,
        7..=9 => 11,
        10..=11 => 21,
        12..=18 => 65,
        19 => 82,
        _ => 130,
    }
}

/// How many threads may compress at this level; one always may.
pub(crate) fn threads(level: i32) -> usize {
    // What was read, what became of it, what the build cache has of it, and two results that wait to be written.
    let buffers = 5 * frames::target(level) as usize;
    (BUDGET / (context(level) + buffers)).max(1)
}

/// The system gives no more memory.
pub(crate) fn exhausted() -> anyhow::Error {
    let hint = "a lower `--level` needs less, and so does packing on one core: `taskset -c 0 pspf pack …`";
    Failure::new(Class::Io, "there is not enough memory").hint(hint).into()
}

/// What zstandard reports.
pub(crate) fn zstd_failed(code: usize) -> anyhow::Error {
    const EXHAUSTED: usize = (ZSTD_ErrorCode::ZSTD_error_memory_allocation as usize).wrapping_neg();
    if code == EXHAUSTED {
        return exhausted();
    }
    Failure::new(Class::Internal, format!("internal error: {}", get_error_name(code))).into()
}

/// Makes room for this many more bytes. The buffers of a frame are large enough for this to fail.
pub(crate) fn reserve(buffer: &mut Vec<u8>, len: usize) -> anyhow::Result<()> {
    buffer.try_reserve_exact(len).map_err(|_| exhausted())
}

#[cfg(test)]
mod tests {
    use zstd::zstd_safe::{CCtx, compress_bound};

    use super::*;
    use crate::compress::parameters;

    #[test]
    fn threads_are_as_many_as_the_memory_allows() {
        for (level, expected) in [(1, 256), (7, 128), (12, 24), (18, 19), (19, 16), (22, 12)] {
            assert_eq!(threads(level), expected, "level {level}");
        }
    }

    #[test]
    fn no_compressor_takes_more_than_is_reckoned_with() {
        for level in 1..=22 {
            let content = vec![0; frames::target(level) as usize];
            let (mut compressor, mut stored) = (CCtx::create(), Vec::new());
            for parameter in parameters(level) {
                compressor.set_parameter(parameter).unwrap();
            }
            stored.reserve(compress_bound(content.len()));
            compressor.compress2(&mut stored, &content).unwrap();
            assert!(compressor.sizeof() <= context(level), "level {level}: {} bytes", compressor.sizeof());
        }
    }
}
