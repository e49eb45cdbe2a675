//! Frames of a gzip member: where all of them are accepted one by one, a decoder that knows nothing of frames makes the
//! same of the member, and every frame of another encoder is accepted.

use flate2::{Compress, Compression, Decompress, FlushCompress, FlushDecompress, Status};
use pspf_format::deflate_frame::{HEADER, Place, TRAILER_LEN, decode};

use crate::input::Input;

/// The first byte decides whether the frames are the input's own bytes or another encoder's, changed or not.
pub fn target(data: &[u8]) {
    let mut input = Input(data);
    let mode = input.byte();
    let count = usize::from(mode >> 6) + 1;
    let mut frames = Vec::new();
    for number in 0..count {
        let place = Place { first: number == 0, last: number + 1 == count };
        let expanded = input.short().max(1);
        let mut stored = if place.first { HEADER.to_vec() } else { Vec::new() };
        if mode & 1 == 0 {
            let len = input.short();
            stored.extend(input.bytes(len));
        } else {
            let content: Vec<u8> = input.bytes(30).iter().copied().chain([0]).cycle().take(expanded).collect();
            stored.extend(encoded(&content, u32::from(mode >> 1) % 10, place.last));
        }
        if place.last {
            stored.extend([0; TRAILER_LEN]);
        }
        frames.push((stored, place, expanded));
    }
    let changed = mode & 0x20 != 0;
    if changed {
        let at = usize::from(input.byte()) % count;
        input.edit(&mut frames[at].0, false);
    }
    let read: Option<Vec<Vec<u8>>> = frames.iter().map(|(stored, place, len)| one(stored, *place, *len)).collect();
    assert!(read.is_some() || changed || mode & 1 == 0, "a frame of another encoder is refused");
    let Some(read) = read else { return };
    let member: Vec<u8> = frames.into_iter().flat_map(|(stored, ..)| stored).collect();
    let blocks = &member[HEADER.len()..member.len() - TRAILER_LEN];
    assert_eq!(whole(blocks), Some(read.concat()), "the member holds something else than its frames");
}

fn one(stored: &[u8], place: Place, len: usize) -> Option<Vec<u8>> {
    let mut expanded = vec![0; len];
    decode(stored, place, &mut expanded).then_some(expanded)
}

fn encoded(content: &[u8], level: u32, last: bool) -> Vec<u8> {
    let mut stored = Vec::with_capacity(content.len() * 2 + 100);
    let flush = if last { FlushCompress::Finish } else { FlushCompress::Sync };
    Compress::new(Compression::new(level), false).compress_vec(content, &mut stored, flush).unwrap();
    stored
}

/// What a stream of blocks decodes to, if that is all that it holds.
fn whole(blocks: &[u8]) -> Option<Vec<u8>> {
    let mut decoder = Decompress::new(false);
    let mut content = Vec::with_capacity(1 << 19);
    let status = decoder.decompress_vec(blocks, &mut content, FlushDecompress::Finish).ok()?;
    (status == Status::StreamEnd && decoder.total_in() == blocks.len() as u64).then_some(content)
}
