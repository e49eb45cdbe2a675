//! One zstandard frame of a slot: accepted exactly where the streaming decoder, held to the same window, makes the
//! declared bytes of it.

use std::io::Read as _;

use pspf_format::tree::{MAX_FRAME, SlotIndex};
use pspf_format::{Mode, Operations, Sha256, SlotIndexMetadata};
use zstd::zstd_safe;

use crate::common::{self, key, raw};
use crate::file;
use crate::input::Input;

/// The first byte decides whether the rest is a frame, or changes to a sound one, and whether the declared size is
/// the true one.
pub fn target(data: &[u8]) {
    let mut input = Input(data);
    let mode = input.byte();
    let claim = input.number();
    let frame = if mode & 1 == 0 {
        input.0.to_vec()
    } else {
        let len = input.short();
        let content: Vec<u8> = input.bytes(40).iter().copied().chain([0]).cycle().take(len).collect();
        // Not the highest levels: some C compilers make the address sanitizer misread a constant table in their code.
        let mut frame = zstd::bulk::compress(&content, i32::from(mode >> 5)).unwrap();
        input.edit(&mut frame, false);
        frame
    };
    let content = reference(&frame);
    let size = match &content {
        Some(content) if mode & 2 == 0 => content.len() as u64,
        _ => claim,
    };
    let digest = Sha256::of(content.as_deref().unwrap_or_default());
    let Ok(mut index) = SlotIndex::of_file(&"file".try_into().unwrap(), Mode::Data, size, digest) else { return };
    let (Ok(stored), Ok(expanded)) = (u32::try_from(frame.len()), u32::try_from(size)) else { return };
    if index.set_frames([(stored, expanded, Sha256::of(&frame))]).is_err() {
        return;
    }
    let accepted = file::verify(&package(&index, &frame), true);
    let expected = content.is_some_and(|content| content.len() as u64 == size);
    assert_eq!(accepted.is_ok(), expected, "{:?}", accepted.err());
}

/// What one frame without a dictionary and with a declared size decodes to, in a window of at most 8 MiB.
fn reference(frame: &[u8]) -> Option<Vec<u8>> {
    let declared = zstd_safe::get_frame_content_size(frame).ok()??;
    let whole = zstd_safe::find_frame_compressed_size(frame).ok()? == frame.len();
    let sound = whole && frame.starts_with(&[0x28, 0xB5, 0x2F, 0xFD]) && frame[4] & 3 == 0;
    if !sound || declared > u64::from(MAX_FRAME) {
        return None;
    }
    let mut decoder = zstd::stream::read::Decoder::with_buffer(frame).ok()?.single_frame();
    decoder.window_log_max(23).ok()?;
    let mut content = Vec::new();
    decoder.take(u64::from(MAX_FRAME) + 1).read_to_end(&mut content).ok()?;
    (content.len() as u64 == declared).then_some(content)
}

fn package(index: &SlotIndex, frame: &[u8]) -> Vec<u8> {
    let bytes = index.encode();
    let compressed = raw::zstd_frame(&bytes);
    let stored = [frame, &raw::skippable(&compressed)].concat();
    let (mut slot, _) = common::raw_slot("app", "file", b"");
    slot.operations = Operations::Zstd;
    slot.mode = Mode::Data;
    slot.stored_size = stored.len() as u64;
    slot.sha256 = Sha256::of(&stored);
    slot.expanded_size = index.expanded_size;
    slot.index = Some(SlotIndexMetadata {
        stored_size: compressed.len() as u64,
        sha256: Sha256::of(&compressed),
        expanded_size: bytes.len() as u64,
        entries: 1,
        frames: 1,
    });
    // A slot that is no program cannot be started, and need not be.
    let slots = [common::raw_slot("bin", "hello", b"hello\n"), (slot, stored)];
    common::package(&common::metadata(&slots), &slots, &[&key(1)], false)
}
