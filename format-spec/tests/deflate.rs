//! Frames of a gzip member, which are decoded one by one (SPEC §7.1).

use flate2::{Compress, Compression, Crc, FlushCompress};
use pspf_format::deflate_frame::{HEADER, Place, decode};

/// Content that compresses, and content that does not.
fn contents() -> Vec<Vec<u8>> {
    let noise = |len: u32| (0..len).map(|n| (n.wrapping_mul(2_654_435_761) >> 13) as u8).collect();
    let text = |len: u32| (0..len).flat_map(|n| (n / 9).to_string().into_bytes()).collect();
    vec![b"x".to_vec(), vec![0; 100_000], noise(1), noise(70_000), text(30_000)]
}

/// A member of these parts, each a frame, by another hand.
fn frames(parts: &[&[u8]], level: u32) -> Vec<(Vec<u8>, Place)> {
    let mut crc = Crc::new();
    let frame = |(number, part): (usize, &&[u8])| {
        let place = Place { first: number == 0, last: number + 1 == parts.len() };
        let mut stored = Vec::with_capacity(part.len() * 2 + 100);
        stored.extend(if place.first { &HEADER[..] } else { &[] });
        let flush = if place.last { FlushCompress::Finish } else { FlushCompress::Sync };
        Compress::new(Compression::new(level), false).compress_vec(part, &mut stored, flush).unwrap();
        crc.update(part);
        if place.last {
            stored.extend(crc.sum().to_le_bytes());
            stored.extend(crc.amount().to_le_bytes());
        }
        (stored, place)
    };
    parts.iter().enumerate().map(frame).collect()
}

#[test]
fn frames_decode_alone_to_what_the_member_holds() {
    for content in contents() {
        for level in [0, 1, 6, 9] {
            for cut in [1, content.len() / 2 + 1, content.len()] {
                let parts: Vec<&[u8]> = content.chunks(cut).take(4).collect();
                let frames = frames(&parts, level);
                let member: Vec<u8> = frames.iter().flat_map(|(stored, _)| stored.clone()).collect();
                let mut read = Vec::new();
                std::io::Read::read_to_end(&mut flate2::read::GzDecoder::new(&member[..]), &mut read).unwrap();
                assert_eq!(read, parts.concat(), "level {level}");
                for ((stored, place), part) in frames.iter().zip(&parts) {
                    let mut expanded = vec![0; part.len()];
                    assert!(decode(stored, *place, &mut expanded) && expanded == *part, "level {level}, {place:?}");
                }
            }
        }
    }
}

#[test]
fn what_is_no_frame_of_this_place_and_length_is_refused() {
    for content in contents() {
        let parts: Vec<&[u8]> = content.chunks(content.len() / 3 + 1).collect();
        for (number, (stored, place)) in frames(&parts, 6).iter().enumerate() {
            let len = parts[number].len();
            for wrong in [len - 1, len + 1] {
                assert!(!decode(stored, *place, &mut vec![0; wrong]), "{wrong} bytes in place of {len}");
            }
            for first in [false, true] {
                for last in [false, true] {
                    let other = Place { first, last };
                    assert_eq!(decode(stored, other, &mut vec![0; len]), other == *place, "{other:?} for {place:?}");
                }
            }
            for cut in 0..stored.len() {
                // A long frame is cut at its ends and here and there.
                // Without the empty block at its end a frame is one too, where the block before happens to end a byte.
                let empty_block = !place.last && stored.len() - cut == 5;
                if !empty_block && (cut < 40 || stored.len() - cut < 40 || cut % 997 == 0) {
                    assert!(!decode(&stored[..cut], *place, &mut vec![0; len]), "{cut} of {} bytes", stored.len());
                }
            }
            assert!(!decode(&[&stored[..], b"\0"].concat(), *place, &mut vec![0; len]));
            assert!(!decode(&[b"\0", &stored[..]].concat(), *place, &mut vec![0; len]));
        }
    }
}
