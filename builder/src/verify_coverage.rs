//! Which bytes of a file a signature holds, and which ones nothing holds.

use pspf_format::Span;

/// How much of a file is covered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Coverage {
    pub(crate) bytes_total: u64,
    pub(crate) bytes_covered: u64,
    pub(crate) uncovered: Vec<Uncovered>,
}

/// Bytes that anybody can change unnoticed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Uncovered {
    pub(crate) span: Span,
    pub(crate) what: &'static str,
}

impl Coverage {
    /// Every byte: a sealed package that was checked.
    pub(crate) fn full(bytes_total: u64) -> Self {
        Self { bytes_total, bytes_covered: bytes_total, uncovered: Vec::new() }
    }

    /// What `covered` leaves of a file of this length, named after the first of `named` that holds it; `gap` where
    /// none does. Spans may overlap, be empty and reach beyond the file: nothing is counted twice.
    pub(crate) fn of(bytes_total: u64, covered: &[Span], named: &[(&'static str, Span)]) -> Self {
        // Between two neighbouring bounds every byte is alike.
        let spans = covered.iter().chain(named.iter().map(|(_, span)| span));
        let mut bounds: Vec<u64> = spans.flat_map(|span| [span.offset, end(*span)]).collect();
        bounds.extend([0, bytes_total]);
        bounds.iter_mut().for_each(|bound| *bound = (*bound).min(bytes_total));
        bounds.sort_unstable();
        bounds.dedup();

        let mut uncovered: Vec<Uncovered> = Vec::new();
        let mut bytes_covered = 0;
        for pair in bounds.windows(2) {
            let &[offset, next] = pair else { continue };
            let len = next - offset;
            let holds = |span: &Span| span.offset <= offset && end(*span) > offset;
            if covered.iter().any(holds) {
                bytes_covered += len;
                continue;
            }
            let what = named.iter().find(|(_, span)| holds(span)).map_or("gap", |(what, _)| what);
            match uncovered.last_mut() {
                Some(last) if last.what == what && end(last.span) == offset => last.span.len += len,
                _ => uncovered.push(Uncovered { span: Span { offset, len }, what }),
            }
        }
        Self { bytes_total, bytes_covered, uncovered }
    }
}

fn end(span: Span) -> u64 {
    span.offset.saturating_add(span.len)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn span(offset: u64, len: u64) -> Span {
        Span { offset, len }
    }

    fn found(total: u64, covered: &[Span], named: &[(&'static str, Span)]) -> (u64, Vec<(u64, u64, &'static str)>) {
        let Coverage { bytes_total, bytes_covered, uncovered } = Coverage::of(total, covered, named);
        assert_eq!(bytes_total, total);
        assert_eq!(bytes_covered + uncovered.iter().map(|part| part.span.len).sum::<u64>(), total);
        (bytes_covered, uncovered.iter().map(|part| (part.span.offset, part.span.len, part.what)).collect())
    }

    #[test]
    fn what_is_left_has_a_name() {
        let named = [("launcher", span(0, 10)), ("index", span(90, 10))];
        let left = vec![(0, 10, "launcher"), (10, 5, "gap"), (30, 10, "gap"), (90, 10, "index")];
        assert_eq!(found(100, &[span(15, 15), span(40, 50)], &named), (65, left));
    }

    #[test]
    fn overlaps_and_wild_spans_count_once() {
        assert_eq!(found(100, &[span(0, 60), span(40, 60), span(40, 0)], &[]), (100, vec![]));
        assert_eq!(found(10, &[span(5, u64::MAX)], &[("launcher", span(0, u64::MAX))]), (5, vec![(0, 5, "launcher")]));
        assert_eq!(found(10, &[span(20, 5), span(3, 0)], &[]), (0, vec![(0, 10, "gap")]));
        assert_eq!(found(0, &[], &[]), (0, vec![]));
    }

    #[test]
    fn all_is_all() {
        assert_eq!(Coverage::full(9), Coverage::of(9, &[span(0, 9)], &[]));
    }
}
