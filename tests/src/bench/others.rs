//! How much of the machine others used while the bench measured.

use std::fs;
use std::time::Instant;

use anyhow::Context;

/// Seconds.
const SHORT: f64 = 0.5;

/// A moment.
#[derive(Debug)]
pub(super) struct Watch {
    since: Instant,
    /// Seconds that all cores were busy, or taken away by a hypervisor.
    busy: f64,
    /// Seconds that the bench used, and all that it started and that ended.
    own: f64,
}

impl Watch {
    pub(super) fn start() -> anyhow::Result<Self> {
        let read = |path: &str| fs::read_to_string(path).with_context(|| path.to_owned());
        let ticks = rustix::param::clock_ticks_per_second() as f64;
        let busy = busy_ticks(&read("/proc/stat")?).context("/proc/stat holds no times")?;
        let own = own_ticks(&read("/proc/self/stat")?).context("/proc/self/stat holds no times")?;
        Ok(Self { since: Instant::now(), busy: busy / ticks, own: own / ticks })
    }

    /// How many cores others kept busy since then, on average. A short time tells nothing, as the kernel counts in
    /// ticks, and gives 0.
    pub(super) fn cores_of_others(&self) -> anyhow::Result<f64> {
        let now = Self::start()?;
        let seconds = (now.since - self.since).as_secs_f64();
        if seconds < SHORT {
            return Ok(0.0);
        }
        Ok((((now.busy - self.busy) - (now.own - self.own)) / seconds).max(0.0))
    }
}

/// Of the first line of `/proc/stat`: all but idle and waiting (`man 5 proc`).
fn busy_ticks(stat: &str) -> Option<f64> {
    let fields = stat.lines().next()?.strip_prefix("cpu ")?.split_whitespace();
    let times: Vec<f64> = fields.map_while(|field| field.parse().ok()).collect();
    // user, nice, system, idle, iowait, irq, softirq, steal; guests are in user.
    Some(times.get(..3)?.iter().sum::<f64>() + times.get(5..8)?.iter().sum::<f64>())
}

/// Of `/proc/self/stat`: of itself and of its children that were waited for, in both modes.
fn own_ticks(stat: &str) -> Option<f64> {
    // The second field is a name in parentheses, which may hold anything.
    let after_name = stat.rsplit_once(')')?.1;
    let times = after_name.split_whitespace().skip(11).take(4).map(str::parse::<f64>);
    times.collect::<Result<Vec<_>, _>>().ok().filter(|times| times.len() == 4).map(|times| times.iter().sum())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn busy_is_all_but_idle_and_waiting() {
        assert_eq!(busy_ticks("cpu  100 20 3 9999 8888 4 5 6 7 8\ncpu0 1 2 3\n"), Some(138.0));
        assert_eq!(busy_ticks("intr 1"), None);
    }

    #[test]
    fn own_times_follow_a_name_that_may_hold_anything() {
        let stat = "12 (a b) c) R 1 2 3 4 5 6 7 8 9 10 100 20 3 4 20 0 1";
        assert_eq!(own_ticks(stat), Some(127.0));
        assert_eq!(own_ticks("12 (a) R 1 2"), None);
    }

    #[test]
    fn what_the_bench_uses_itself_is_not_of_others() {
        let before = Watch::start().unwrap();
        let started = Instant::now();
        while started.elapsed().as_millis() < 50 {}
        let after = Watch::start().unwrap();
        assert!(after.own > before.own && after.busy > before.busy, "{before:?} {after:?}");
    }
}
