//! The slot index. What is accepted encodes to the same bytes, and is a tree that stays where it is put.

use pspf_format::SlotIndexMetadata;
use pspf_format::tree::SlotIndex;

use crate::common;
use crate::input::Input;
use crate::tree;

/// The first byte decides whether the rest is an index, or a tree with changes to its index; the metadata are made to
/// say what the header says, so that the counts alone refuse nothing.
pub fn target(data: &[u8]) {
    let mut input = Input(data);
    let mode = input.byte();
    let bytes = if mode & 1 == 0 {
        input.0.to_vec()
    } else {
        let Some((mut index, contents)) = tree::from_input(&mut input) else { return };
        let stream = tree::stream(&index, &contents);
        common::stored_slot("app", &mut index, &stream, 4096);
        let mut bytes = index.encode();
        input.edit(&mut bytes, false);
        bytes
    };
    let word = |at: usize| bytes.get(at..at + 4).map_or(0, |word| u32::from_le_bytes(word.try_into().unwrap()));
    let (frames, entries) = (word(12), word(16));
    let (mut slot, _) = common::sample_slots().remove(1);
    if mode & 2 != 0 {
        slot.operations = pspf_format::Operations::Zstd;
    }
    slot.expanded_size = u64::from(word(24)) | u64::from(word(28)) << 32;
    let stored = bytes.get(40..).unwrap_or_default().chunks_exact(40).take(frames as usize);
    let stored: u64 = stored.map(|row| u64::from(u32::from_le_bytes(row[..4].try_into().unwrap()))).sum();
    slot.stored_size = stored + 8 + 100;
    let expanded_size = bytes.len() as u64;
    slot.index = Some(SlotIndexMetadata { stored_size: 100, expanded_size, entries, frames, ..slot.index.unwrap() });
    let Ok(index) = SlotIndex::parse(&bytes, &slot) else { return };
    assert_eq!(index.encode(), bytes);
    assert_eq!(index.frames.iter().map(|frame| u64::from(frame.expanded_size)).sum::<u64>(), index.expanded_size);
    tree::hold_together(&index);
}
