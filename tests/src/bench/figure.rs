//! What was to be shown: one number, the target, and whether it is met.

use serde_json::{Value, json};

use super::stats::Summary;

/// What a number counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Unit {
    Milliseconds,
    /// So many times as much.
    Times,
    Bytes,
    Count,
    Percent,
}

/// A number with its target.
#[derive(Clone, Debug)]
pub(super) struct Figure {
    /// What it belongs to, such as `warm`.
    pub(super) topic: &'static str,
    pub(super) what: String,
    pub(super) unit: Unit,
    pub(super) value: f64,
    /// Where most rounds were, where there were any: the tenth and the ninetieth percentile.
    pub(super) most: Option<(f64, f64)>,
    /// The target: no more than this.
    pub(super) at_most: Option<f64>,
}

impl Figure {
    /// The median of a value that was taken round by round; nothing without rounds.
    pub(super) fn median(topic: &'static str, what: impl Into<String>, unit: Unit, values: &[f64]) -> Option<Self> {
        let summary = Summary::of(values)?;
        let most = Some((summary.p10, summary.p90));
        Some(Self { topic, what: what.into(), unit, value: summary.median, most, at_most: None })
    }

    /// A value that is counted, not measured.
    pub(super) fn count(topic: &'static str, what: impl Into<String>, unit: Unit, value: f64) -> Self {
        Self { topic, what: what.into(), unit, value, most: None, at_most: None }
    }

    /// Sets the target.
    pub(super) fn at_most(mut self, target: f64) -> Self {
        self.at_most = Some(target);
        self
    }

    /// Whether the target is met; `None` without one.
    pub(super) fn met(&self) -> Option<bool> {
        self.at_most.map(|target| self.value <= target)
    }

    pub(super) fn json(&self) -> Value {
        json!({
            "topic": self.topic,
            "what": self.what,
            "unit": format!("{:?}", self.unit).to_lowercase(),
            "value": self.value,
            "p10": self.most.map(|most| most.0),
            "p90": self.most.map(|most| most.1),
            "at_most": self.at_most,
            "met": self.met(),
        })
    }
}

impl Unit {
    /// A number in this unit, for a person.
    pub(super) fn shown(self, value: f64) -> String {
        match self {
            Self::Milliseconds => format!("{} ms", milliseconds(value)),
            Self::Times => format!("{value:.3} x"),
            Self::Bytes => grouped(value),
            Self::Count => grouped(value),
            Self::Percent => format!("{value:+.2} %"),
        }
    }
}

/// As many decimals as a person can use.
pub(super) fn milliseconds(value: f64) -> String {
    match value.abs() {
        small if small < 10.0 => format!("{value:.3}"),
        medium if medium < 1000.0 => format!("{value:.1}"),
        _ => format!("{value:.0}"),
    }
}

/// A whole number with commas.
fn grouped(value: f64) -> String {
    let digits = format!("{:.0}", value.abs());
    let mut text = String::from(if value < 0.0 { "-" } else { "" });
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at) % 3 == 0 {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_target_is_met_or_missed() {
        let figure = Figure::median("warm", "one", Unit::Milliseconds, &[0.3, 0.1, 0.2]).unwrap();
        assert_eq!((figure.value, figure.met()), (0.2, None));
        assert_eq!((figure.clone().at_most(0.2).met(), figure.at_most(0.1).met()), (Some(true), Some(false)));
        assert!(Figure::median("warm", "none", Unit::Times, &[]).is_none());
    }

    #[test]
    fn numbers_are_shown_as_people_read_them() {
        for (unit, value, expected) in [
            (Unit::Milliseconds, 0.2468, "0.247 ms"),
            (Unit::Milliseconds, 123.45, "123.5 ms"),
            (Unit::Times, 1.5, "1.500 x"),
            (Unit::Bytes, 1_091_000.0, "1,091,000"),
            (Unit::Count, 25.0, "25"),
            (Unit::Percent, 3.9, "+3.90 %"),
            (Unit::Bytes, -1234.0, "-1,234"),
        ] {
            assert_eq!(unit.shown(value), expected);
        }
    }
}
