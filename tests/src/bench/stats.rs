//! Medians and percentiles.

use serde_json::{Value, json};

/// What is said of many values.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Summary {
    pub(super) median: f64,
    pub(super) p10: f64,
    pub(super) p90: f64,
    pub(super) min: f64,
    pub(super) max: f64,
}

impl Summary {
    /// Of at least one value; `None` without.
    pub(super) fn of(values: &[f64]) -> Option<Self> {
        let mut sorted = values.to_vec();
        sorted.sort_by(f64::total_cmp);
        let (min, max) = (*sorted.first()?, *sorted.last()?);
        let rank = |percent: usize| {
            // Nearest rank: the smallest value that so many percent of all are not above.
            let at = (sorted.len() * percent).div_ceil(100).max(1) - 1;
            sorted[at]
        };
        let middle = sorted.len() / 2;
        let median =
            if sorted.len() % 2 == 1 { sorted[middle] } else { f64::midpoint(sorted[middle - 1], sorted[middle]) };
        Some(Self { median, p10: rank(10), p90: rank(90), min, max })
    }

    pub(super) fn json(self) -> Value {
        json!({ "median": self.median, "p10": self.p10, "p90": self.p90, "min": self.min, "max": self.max })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_order_of_values_does_not_matter() {
        for values in [[3.0, 1.0, 2.0], [2.0, 3.0, 1.0]] {
            let expected = Summary { median: 2.0, p10: 1.0, p90: 3.0, min: 1.0, max: 3.0 };
            assert_eq!(Summary::of(&values), Some(expected));
        }
    }

    #[test]
    fn a_median_of_an_even_number_is_between_the_two_in_the_middle() {
        assert_eq!(Summary::of(&[10.0, 1.0, 2.0, 4.0]).unwrap().median, 3.0);
        assert_eq!(Summary::of(&[]), None);
    }

    #[test]
    fn percentiles_are_values_that_were_measured() {
        let values: Vec<f64> = (1..=200).map(f64::from).collect();
        let summary = Summary::of(&values).unwrap();
        assert_eq!((summary.p10, summary.p90, summary.median), (20.0, 180.0, 100.5));
    }
}
