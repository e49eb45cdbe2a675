//! Where each part of a sealed package stands (SPEC §2): one order, one alignment, no gap.
//!
//! The layout and the whole slot table follow from the sizes of the parts and the signed metadata. The builder
//! writes what this computes; the reader computes it again and compares.

use alloc::vec::Vec;

use crate::index::TRAILER_LEN;
use crate::span::align;
use crate::{Error, Pspf, Record, SlotDescriptor, Span};

/// The place of every part.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Layout {
    /// The launcher, from the first byte.
    pub launcher: Span,
    /// The stored metadata.
    pub metadata: Span,
    /// The slot table.
    pub slot_table: Span,
    /// The stored bytes of each slot, in the order of the table.
    pub slots: Vec<Span>,
    /// The trailer.
    pub trailer: Span,
    /// The bytes of the slot table.
    pub table: Vec<u8>,
}

impl Layout {
    /// The layout of a package with these parts.
    ///
    /// # Errors
    /// [`Error::TooLarge`] where a position exceeds 64 bits.
    pub fn new(launcher_size: u64, metadata_size: u64, pspf: &Pspf) -> Result<Self, Error> {
        Self::compute(launcher_size, metadata_size, pspf).ok_or(Error::TooLarge)
    }

    fn compute(launcher_size: u64, metadata_size: u64, pspf: &Pspf) -> Option<Self> {
        let launcher = Span { offset: 0, len: launcher_size };
        let metadata = Span { offset: align(launcher.end()?)?, len: metadata_size };
        let table_len = (SlotDescriptor::LEN as u64).checked_mul(pspf.slots.len() as u64)?;
        let slot_table = Span { offset: align(metadata.end()?)?, len: table_len };
        let mut slots = Vec::with_capacity(pspf.slots.len());
        let mut table = Vec::new();
        let mut end = slot_table.end()?;
        for (position, slot) in (0..).zip(&pspf.slots) {
            let span = Span { offset: align(end)?, len: slot.extent()? };
            table.extend(SlotDescriptor::of(position, span.offset, slot).to_bytes());
            end = span.end()?;
            slots.push(span);
        }
        let trailer = Span { offset: align(end)?, len: TRAILER_LEN as u64 };
        trailer.end()?;
        Some(Self { launcher, metadata, slot_table, slots, trailer, table })
    }

    /// Length of the package in bytes.
    pub fn package_size(&self) -> u64 {
        self.trailer.offset.saturating_add(self.trailer.len)
    }

    /// Every byte of the file as named parts in their order; `None` is padding.
    pub fn parts(&self) -> Vec<(Option<Part>, Span)> {
        let mut parts = Vec::new();
        let mut end = 0;
        let slots = self.slots.iter().enumerate().map(|(position, span)| (Part::Slot(position), *span));
        let head =
            [(Part::Launcher, self.launcher), (Part::Metadata, self.metadata), (Part::SlotTable, self.slot_table)];
        for (part, span) in head.into_iter().chain(slots).chain([(Part::Trailer, self.trailer)]) {
            if span.offset > end {
                parts.push((None, Span { offset: end, len: span.offset.saturating_sub(end) }));
            }
            end = span.offset.saturating_add(span.len);
            parts.push((Some(part), span));
        }
        parts
    }
}

/// A part of a package.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// The launcher.
    Launcher,
    /// The stored metadata.
    Metadata,
    /// The slot table.
    SlotTable,
    /// The slot at this position.
    Slot(usize),
    /// The trailer.
    Trailer,
}
