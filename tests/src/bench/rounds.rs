//! The rounds: every case once in each, in order; the first round is dropped.

use std::fs;
use std::time::Duration;

use anyhow::{Context, bail};
use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};

use super::case::{Case, Cores};
use super::group::{Group, Sample, Series};
use super::others::Watch;
use super::session::Session;
use super::spawn::{self, Run};

/// Runs that only tell how much memory a case needs: few of a case that is slow.
const METERED: (usize, usize) = (5, 1);
const SLOW: Duration = Duration::from_millis(100);

impl Session {
    /// Measures these cases against the first of them, the bare one.
    pub(super) fn measure(&mut self, group: &str, rounds: u32, mut cases: Vec<Case>) -> anyhow::Result<Group> {
        let rounds = self.args.rounds.unwrap_or(rounds);
        let mut samples: Vec<Vec<Sample>> = cases.iter().map(|_| Vec::new()).collect();
        let watch = Watch::start()?;
        for round in 0..=rounds {
            for (case, samples) in cases.iter_mut().zip(&mut samples) {
                let run = self.once(case, round).with_context(|| format!("{group}, {}, round {round}", case.name))?;
                if round > 0 {
                    samples.push(Sample { wall: run.wall, cpu: run.cpu });
                }
            }
        }
        let others = watch.cores_of_others()?;
        let mut all = Vec::new();
        for (mut case, samples) in cases.into_iter().zip(samples) {
            let slow = samples.iter().any(|sample| sample.wall > SLOW);
            let peak = self.peak(&mut case, if slow { METERED.1 } else { METERED.0 }, rounds)?;
            let command = case.program.shown();
            all.push(Series { name: case.name, command, samples, peak_rss: Some(peak) });
        }
        Ok(Group { name: group.to_owned(), series: all, others })
    }

    /// Runs a case that prepares something; it is not measured.
    pub(super) fn prepare(&mut self, mut case: Case) -> anyhow::Result<Duration> {
        Ok(self.once(&mut case, 0)?.wall)
    }

    /// One run, with what belongs around it.
    fn once(&mut self, case: &mut Case, round: u32) -> anyhow::Result<Run> {
        for path in case.fresh.iter().chain(&case.leaves) {
            self.place.discard(path)?;
        }
        for path in &case.fresh {
            fs::create_dir_all(path).with_context(|| path.display().to_string())?;
        }
        if let Some(before) = &mut case.before {
            before(round)?;
        }
        let run = match case.cores {
            Cores::All => spawn::run(&case.program, &mut self.streams),
            Cores::One => on_one_core(|| spawn::run(&case.program, &mut self.streams))?,
        };
        let run = run.with_context(|| case.program.shown())?;
        self.held_to(case, run)?;
        for path in &case.leaves {
            self.place.discard(path)?;
        }
        Ok(run)
    }

    /// A case that did something else than was expected is no measurement.
    fn held_to(&mut self, case: &Case, run: Run) -> anyhow::Result<()> {
        let (out, err) = self.streams.said()?;
        let as_said = case.says.as_ref().is_none_or(|says| *says == out);
        if run.status == 0 && as_said {
            return Ok(());
        }
        let told = |text: &[u8]| String::from_utf8_lossy(text).chars().take(2000).collect::<String>();
        bail!("{}\nended with {:#x} and said:\n{}{}", case.program.shown(), run.status, told(&out), told(&err));
    }

    /// The most memory that any of a few further runs used, in bytes.
    fn peak(&mut self, case: &mut Case, runs: usize, round: u32) -> anyhow::Result<u64> {
        let metered = case.program.under(&self.meter);
        let program = std::mem::replace(&mut case.program, metered);
        let says = case.says.take();
        let mut peak = 0;
        for _ in 0..runs {
            self.once(case, round).with_context(|| format!("{}, under the meter", case.name))?;
            let (out, _) = self.streams.said()?;
            let last = out.trim_ascii_end().rsplit(|byte| *byte == b'\n').next().unwrap_or_default();
            let number = String::from_utf8_lossy(last).strip_prefix("peak").and_then(|n| n.trim().parse::<u64>().ok());
            peak = peak.max(number.context("the meter gave no number")? * 1024);
        }
        (case.program, case.says) = (program, says);
        Ok(peak)
    }
}

/// Does something on one core; what it starts stays there too.
pub(super) fn on_one_core<R>(action: impl FnOnce() -> R) -> anyhow::Result<R> {
    let all = sched_getaffinity(None)?;
    let first = (0..CpuSet::MAX_CPU).find(|core| all.is_set(*core)).context("this process may use no core")?;
    let mut one = CpuSet::new();
    one.set(first);
    sched_setaffinity(None, &one)?;
    let result = action();
    sched_setaffinity(None, &all)?;
    Ok(result)
}
