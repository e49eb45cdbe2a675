//! What was measured: groups of cases that ran in the same rounds.

use std::time::Duration;

use serde_json::{Value, json};

use super::stats::Summary;

/// One run of one case.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sample {
    pub(super) wall: Duration,
    pub(super) cpu: Duration,
}

/// A case, round by round.
#[derive(Clone, Debug)]
pub(super) struct Series {
    pub(super) name: String,
    pub(super) command: String,
    pub(super) samples: Vec<Sample>,
    /// The most memory of a few runs more, in bytes.
    pub(super) peak_rss: Option<u64>,
}

/// Cases of the same rounds; the first one is what the others are compared with.
#[derive(Clone, Debug)]
pub(super) struct Group {
    pub(super) name: String,
    pub(super) series: Vec<Series>,
    /// How many cores others kept busy meanwhile.
    pub(super) others: f64,
}

impl Series {
    /// Milliseconds, round by round.
    pub(super) fn walls(&self) -> Vec<f64> {
        self.samples.iter().map(|sample| milliseconds(sample.wall)).collect()
    }

    /// Milliseconds of all cores.
    pub(super) fn cpus(&self) -> Vec<f64> {
        self.samples.iter().map(|sample| milliseconds(sample.cpu)).collect()
    }

    fn json(&self, bare: &Self) -> Value {
        let all = |values: &[f64]| Summary::of(values).map(Summary::json);
        json!({
            "name": self.name,
            "command": self.command,
            "wall_ms": self.walls(),
            "cpu_ms": self.cpus(),
            "peak_rss_bytes": self.peak_rss,
            "wall": all(&self.walls()),
            "cpu": all(&self.cpus()),
            "ratio_to_bare": all(&pairs(self, bare, |one, bare| one / bare)),
            "difference_to_bare_ms": all(&pairs(self, bare, |one, bare| one - bare)),
        })
    }
}

impl Group {
    /// The case of this name.
    pub(super) fn find(&self, name: &str) -> Option<&Series> {
        self.series.iter().find(|series| series.name == name)
    }

    /// What the others are compared with.
    pub(super) fn bare(&self) -> Option<&Series> {
        self.series.first()
    }

    /// Something of several cases, round by round: their milliseconds come in the order of `names`.
    pub(super) fn per_round<const N: usize>(&self, names: [&str; N], value: impl Fn([f64; N]) -> f64) -> Vec<f64> {
        let walls = names.map(|name| self.find(name).map(Series::walls).unwrap_or_default());
        let rounds = walls.iter().map(Vec::len).min().unwrap_or_default();
        (0..rounds).map(|round| value(std::array::from_fn(|at| walls[at][round]))).collect()
    }

    pub(super) fn json(&self) -> Value {
        let bare = self.bare();
        let cases: Vec<Value> = self.series.iter().filter_map(|series| bare.map(|bare| series.json(bare))).collect();
        json!({ "name": self.name, "cores_of_others": self.others, "cases": cases })
    }
}

/// Something of two cases, round by round.
pub(super) fn pairs(one: &Series, other: &Series, value: impl Fn(f64, f64) -> f64) -> Vec<f64> {
    one.walls().into_iter().zip(other.walls()).map(|(one, other)| value(one, other)).collect()
}

fn milliseconds(time: Duration) -> f64 {
    time.as_secs_f64() * 1000.0
}

#[cfg(test)]
mod tests {
    use super::*;

    fn series(name: &str, milliseconds: &[u64]) -> Series {
        let sample = |ms: &u64| Sample { wall: Duration::from_millis(*ms), cpu: Duration::ZERO };
        let samples = milliseconds.iter().map(sample).collect();
        Series { name: name.into(), command: String::new(), samples, peak_rss: None }
    }

    #[test]
    fn values_are_compared_within_their_round() {
        let series = vec![series("bare", &[10, 20, 40]), series("tar", &[5, 10, 20]), series("start", &[20, 30, 50])];
        let group = Group { name: String::new(), series, others: 0.0 };
        // The medians alone would give another value.
        let ratios = group.per_round(["start", "bare", "tar"], |[start, bare, tar]| (start - bare) / tar);
        assert_eq!(ratios, [2.0, 1.0, 0.5]);
        assert_eq!(group.per_round(["start", "nothing"], |[start, _]| start), [0.0; 0]);
        let start = &group.json()["cases"][2];
        assert_eq!(
            (&start["difference_to_bare_ms"]["median"], &start["ratio_to_bare"]["max"]),
            (&json!(10.0), &json!(2.0))
        );
    }
}
