//! Every part of the file in its order, and every field of the trailer.

use std::io::{self, Write};

use pspf_format::Span;
use serde::Serialize;

use crate::inspect_fields::{Field, fields};
use crate::inspect_package::Inspection;
use crate::verify_report::harmless;

#[derive(Serialize)]
pub(crate) struct LayoutReport {
    parts: Vec<Part>,
    /// The fields of the trailer.
    fields: Vec<Field>,
}

#[derive(Debug, PartialEq, Eq, Serialize)]
struct Part {
    offset: u64,
    size: u64,
    name: String,
    /// It reaches into the part before, or beyond the file.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    impossible: bool,
}

impl LayoutReport {
    pub(crate) fn of(inspection: &Inspection) -> Self {
        let index = &inspection.index;
        let mut named = vec![("launcher".to_owned(), Span { offset: 0, len: index.launcher_size })];
        named.push(("metadata".to_owned(), index.metadata_span()));
        named.push(("slot table".to_owned(), index.slot_table_span()));
        let slots = inspection.slots.iter().enumerate();
        named.extend(slots.map(|(position, span)| (format!("slot `{}`", inspection.slot_name(position)), *span)));
        named.push(("trailer".to_owned(), inspection.trailer_span()));
        let parts = in_order(named, inspection.file.size());
        Self { parts, fields: fields(inspection.trailer.as_slice(), inspection.trailer_span().offset) }
    }
}

/// The parts by their offset, with what lies between them.
fn in_order(mut named: Vec<(String, Span)>, file_len: u64) -> Vec<Part> {
    named.sort_by_key(|(_, span)| span.offset);
    let mut parts = Vec::new();
    let mut end = 0;
    for (name, Span { offset, len }) in named {
        if offset > end && end < file_len {
            // As in the specification: what brings the next part to a multiple of 8.
            let padding = end.checked_next_multiple_of(pspf_format::ALIGNMENT) == Some(offset);
            let name = if padding { "padding" } else { "gap" }.to_owned();
            parts.push(Part { offset: end, size: offset.min(file_len) - end, name, impossible: false });
        }
        let after = offset.checked_add(len);
        let impossible = offset < end || after.is_none_or(|after| after > file_len);
        parts.push(Part { offset, size: len, name, impossible });
        end = end.max(after.unwrap_or(u64::MAX));
    }
    parts
}

/// Prints it for people.
pub(crate) fn print_layout(layout: &LayoutReport, claimed: &str, out: &mut dyn Write) -> io::Result<()> {
    writeln!(out, "  {claimed}layout")?;
    for part in &layout.parts {
        let note = if part.impossible { "  (impossible: it overlaps, or leaves the file)" } else { "" };
        writeln!(out, "  {:#12x} {:>12}  {}{note}", part.offset, part.size, harmless(&part.name))?;
    }
    writeln!(out, "  {claimed}fields of the trailer")?;
    let width = layout.fields.iter().map(|field| field.name.len()).max().unwrap_or(0);
    for field in &layout.fields {
        writeln!(out, "  {:#12x} {:>12}  {:width$}  {}", field.offset, field.size, field.name, harmless(&field.value))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parts(named: &[(&str, u64, u64)], len: u64) -> Vec<(u64, u64, String, bool)> {
        let named = named.iter().map(|&(name, offset, len)| (name.to_owned(), Span { offset, len })).collect();
        in_order(named, len).into_iter().map(|part| (part.offset, part.size, part.name, part.impossible)).collect()
    }

    #[test]
    fn nothing_between_parts_is_hidden() {
        let all = parts(&[("c", 40, 60), ("a", 0, 10), ("b", 16, 4)], 100);
        let expected = [(0, 10, "a"), (10, 6, "padding"), (16, 4, "b"), (20, 20, "gap"), (40, 60, "c")];
        assert_eq!(all, expected.map(|(offset, size, name)| (offset, size, name.to_owned(), false)));
    }

    #[test]
    fn what_cannot_be_is_said() {
        let all = parts(&[("a", 0, 10), ("b", 9, 1), ("c", 90, 11), ("d", u64::MAX, 2)], 100);
        let impossible: Vec<_> = all.iter().filter(|part| part.3).map(|part| part.2.as_str()).collect();
        assert_eq!(impossible, ["b", "c", "d"]);
        assert_eq!(
            parts(&[("far", 500, 1)], 100),
            [(0, 100, "gap".to_owned(), false), (500, 1, "far".to_owned(), true)]
        );
    }
}
