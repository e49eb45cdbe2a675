//! Packages without a seal (SPEC §8.4): what their signature reaches, and what it does not.

use pspf_format::{INDEX_LEN, Span};
use pspf_unsealed::Opened;

use crate::verify_coverage::Coverage;

/// What the signature reaches: the metadata, through them the slots, and the launcher where its digest is among them.
/// The magics have one value, and what lies between the parts is zero.
pub(crate) fn coverage(opened: &Opened, size: u64) -> Coverage {
    let [metadata, slot_table, trailer] = opened.parts();
    let index = Span { offset: trailer.offset.saturating_add(4), len: INDEX_LEN as u64 };
    let magics = [trailer.offset, trailer.offset.saturating_add(4 + INDEX_LEN as u64)];
    let mut covered: Vec<Span> = opened.package().slots.iter().map(|slot| slot.span).collect();
    covered.push(metadata);
    covered.extend(magics.map(|offset| Span { offset, len: 4 }));
    covered.extend(opened.package().launcher.map(|_| opened.launcher()));
    Coverage::of(size, &covered, &[("index", index), ("slot table", slot_table), ("launcher", opened.launcher())])
}
