//! Slots whose index follows them: gzip members, whose frames are decoded one by one, and tar streams (SPEC §7.1).

mod common;

use common::{file, path, raw_slot};
use flate2::{Compress, Compression, Crc, FlushCompress};
use pspf_format::deflate_frame::{HEADER, MemberEnd, Place, decode};
use pspf_format::tree::{EntryKind, SlotIndex};
use pspf_format::{Error, Mode, Operations, Sha256, SlotIndexMetadata, TreePath};

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
fn the_end_of_a_member_is_made_of_its_content_piece_by_piece() {
    for content in contents() {
        let (mut crc, mut end) = (Crc::new(), MemberEnd::default());
        for piece in content.chunks(content.len() / 3 + 1) {
            crc.update(piece);
            end.update(piece);
            assert_eq!(end.to_bytes()[..4], crc.sum().to_le_bytes());
            assert_eq!(end.to_bytes()[4..], crc.amount().to_le_bytes());
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

/// Reads the index of this tree, or of a file of this size, as that of a slot with these operations, in one frame.
fn read_as(
    operations: Operations,
    entries: Option<&[(TreePath, EntryKind)]>,
    frame: Option<u32>,
) -> Result<SlotIndex, Error> {
    let (mut slot, _) = raw_slot("app", "top", b"");
    let index = match entries {
        Some(entries) => SlotIndex::of_tree(entries.to_vec(), 0),
        None => SlotIndex::of_file(&"top".try_into().unwrap(), slot.mode, frame.unwrap_or(0).into(), Sha256([0; 32])),
    };
    let mut index = index.unwrap();
    let expanded = u32::try_from(index.expanded_size).unwrap();
    index.set_frames(frame.map(|stored| (stored, expanded, Sha256([0; 32])))).unwrap();
    slot.operations = operations;
    slot.stored_size = frame.unwrap_or(0).into();
    slot.expanded_size = index.expanded_size;
    slot.index = Some(SlotIndexMetadata {
        stored_size: 99,
        sha256: Sha256([0; 32]),
        expanded_size: 0,
        entries: index.entries.len() as u32,
        frames: index.frames.len() as u32,
    });
    SlotIndex::parse(&index.encode(), &slot)
}

#[test]
fn a_slot_whose_index_follows_it_is_held_to_its_operations() {
    use Operations::{Gzip, Tar, TarGzip};
    let directory = |name| (path(name), EntryKind::Directory);
    let sound = [directory("top"), file("top/f", Mode::Data, b"")];
    assert!(read_as(TarGzip, Some(&sound), Some(7)).is_ok() && read_as(Gzip, None, Some(7)).is_ok());
    let refused = |read: Result<SlotIndex, Error>, reason: &str| {
        assert!(read.is_err_and(|error| error.to_string().contains(reason)), "{reason}");
    };
    // Stored as it is, each frame has one length.
    let len = SlotIndex::of_tree(sound.to_vec(), 0).unwrap().expanded_size as u32;
    assert!(read_as(Tar, Some(&sound), Some(len)).is_ok());
    refused(read_as(Tar, Some(&sound), Some(len - 1)), "a frame that is stored as it is has two sizes");
    refused(read_as(Gzip, None, None), "at least one frame");
    for wrong in [
        &[directory("other"), file("other/f", Mode::Data, b"")][..],
        &[directory("top"), file("f", Mode::Data, b"")],
        &[directory("top"), directory("top2")],
        &[file("top", Mode::Data, b"")],
    ] {
        refused(read_as(TarGzip, Some(wrong), Some(7)), "not one directory with the slot's target as its name");
    }
}
