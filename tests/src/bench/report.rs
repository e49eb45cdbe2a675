//! Tables for a person: 120 columns, wins and losses alike.

use std::io::{self, Write};

use super::figure::{Figure, Unit, milliseconds};
use super::group::{Group, Series, pairs};
use super::session::Session;
use super::size::Size;
use super::stats::Summary;

/// More than so many cores of others disturb a measurement.
const QUIET: f64 = 0.3;

/// What the figures depend on.
pub(super) fn heading(session: &Session) -> io::Result<()> {
    let machine = &session.machine;
    let mut out = io::stdout().lock();
    writeln!(out, "{}, commit {}", machine.date, machine.commit)?;
    let gigabytes = machine.memory_bytes as f64 / 1e9;
    writeln!(out, "{} cores, {}, {gigabytes:.1} GB, Linux {}", machine.cores, machine.cpu, machine.kernel)?;
    writeln!(out, "{}", session.pspf.version.replace('\n', "; "))?;
    let versions: Vec<&str> = machine.versions.iter().map(|(_, version)| version.as_str()).collect();
    writeln!(out, "{}", versions.join("; "))?;
    let place = &session.place;
    writeln!(out, "working in {} ({}), load {:.2}", place.root.display(), place.file_system, session.load_before)
}

/// The cases of a group, in milliseconds.
pub(super) fn table(group: &Group) -> io::Result<()> {
    let mut out = io::stdout().lock();
    let rounds = group.bare().map_or(0, |bare| bare.samples.len());
    let title = format!("{}, {rounds} rounds", group.name);
    writeln!(
        out,
        "\n{title:35}{:>10}{:>9}{:>9}{:>9}{:>10}{:>9}{:>10}{:>9}{:>9}",
        "median ms", "p10", "p90", "min", "max", "x first", "+ first", "CPU ms", "RSS MB"
    )?;
    for series in &group.series {
        writeln!(out, "{}", row(group, series).unwrap_or_default())?;
    }
    if group.others > QUIET {
        writeln!(out, "  others kept {:.1} cores busy meanwhile", group.others)?;
    }
    out.flush()
}

fn row(group: &Group, series: &Series) -> Option<String> {
    let wall = Summary::of(&series.walls())?;
    let cpu = Summary::of(&series.cpus())?.median;
    let bare = group.bare()?;
    let (mut ratio, mut difference) = (String::new(), String::new());
    if bare.name != series.name {
        ratio = format!("{:.3}", Summary::of(&pairs(series, bare, |one, bare| one / bare))?.median);
        let median = Summary::of(&pairs(series, bare, |one, bare| one - bare))?.median;
        difference = format!("{}{}", if median < 0.0 { "" } else { "+" }, milliseconds(median));
    }
    let rss = series.peak_rss.map_or_else(String::new, |bytes| format!("{:.2}", bytes as f64 / 1e6));
    let [median, p10, p90, min, max, cpu] =
        [wall.median, wall.p10, wall.p90, wall.min, wall.max, cpu].map(milliseconds);
    let name: String = format!("  {}", series.name).chars().take(34).collect();
    Some(format!("{name:35}{median:>10}{p10:>9}{p90:>9}{min:>9}{max:>10}{ratio:>9}{difference:>10}{cpu:>9}{rss:>9}"))
}

/// What was made of a payload.
pub(super) fn sizes(sizes: &[Size]) -> io::Result<()> {
    let mut out = io::stdout().lock();
    writeln!(out, "\n{:60}{:>16}{:>12}{:>12}", "sizes", "bytes", "x first", "seconds")?;
    let first = sizes.first().map_or(1, |size| size.bytes);
    for size in sizes {
        let (bytes, ratio) = (Unit::Bytes.shown(size.bytes as f64), size.bytes as f64 / first as f64);
        let name: String = format!("  {}", size.name).chars().take(59).collect();
        let seconds = size.seconds.map_or_else(String::new, |seconds| format!("{seconds:.1}"));
        writeln!(out, "{name:60}{bytes:>16}{ratio:>12.4}{seconds:>12}")?;
    }
    out.flush()
}

/// Counts, figures with their targets, and what must be known besides.
pub(super) fn closing(session: &Session, load_after: &f64) -> io::Result<()> {
    let mut out = io::stdout().lock();
    for counts in &session.counts {
        let calls = counts.calls.as_deref().unwrap_or_default();
        writeln!(out, "\nsystem calls of the launcher, {}: {}", counts.name, calls.len())?;
        for line in wrapped(&calls.join(" "), 116) {
            writeln!(out, "  {line}")?;
        }
    }
    writeln!(out, "\n{:64}{:>16}{:>20}{:>14}", "figures", "value", "p10 to p90", "target")?;
    for figure in &session.figures {
        writeln!(out, "{}", line(figure))?;
    }
    let targets = session.figures.iter().filter_map(Figure::met);
    let (met, missed): (Vec<bool>, Vec<bool>) = targets.partition(|met| *met);
    writeln!(out, "{} targets are met, {} are missed", met.len(), missed.len())?;
    writeln!(out)?;
    for note in &session.notes {
        writeln!(out, "{note}")?;
    }
    let cores = session.machine.cores;
    writeln!(out, "load average {:.2} before, {load_after:.2} after, on {cores} cores", session.load_before)?;
    let disturbed: Vec<&str> =
        session.groups.iter().filter(|group| group.others > QUIET).map(|group| group.name.as_str()).collect();
    if !disturbed.is_empty() {
        writeln!(out, "MEASURE AGAIN when the machine is quiet: {}", disturbed.join(", "))?;
    }
    Ok(())
}

fn line(figure: &Figure) -> String {
    let what: String = format!("  {:7}{}", figure.topic, figure.what).chars().take(63).collect();
    let bare = |value: f64| figure.unit.shown(value).split(' ').next().unwrap_or_default().to_owned();
    let most = figure.most.map_or_else(String::new, |(low, high)| format!("{} to {}", bare(low), bare(high)));
    let target = match (figure.at_most, figure.met()) {
        (Some(target), Some(met)) => format!("{} {}", bare(target), if met { "ok" } else { "MISSED" }),
        _ => String::new(),
    };
    format!("{what:64}{:>16}{most:>20}{target:>18}", figure.unit.shown(figure.value)).trim_end().to_owned()
}

/// Words on lines of so many columns.
fn wrapped(text: &str, columns: usize) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    for word in text.split(' ') {
        match lines.last_mut() {
            Some(line) if line.len() + 1 + word.len() <= columns => {
                line.push(' ');
                line.push_str(word);
            }
            _ => lines.push(word.to_owned()),
        }
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::group::Sample;
    use std::time::Duration;

    #[test]
    fn a_row_compares_with_the_first_case_and_fits() {
        let series = |name: &str, ms: u64| {
            let sample = Sample { wall: Duration::from_millis(ms), cpu: Duration::from_millis(2 * ms) };
            Series { name: name.into(), command: String::new(), samples: vec![sample; 3], peak_rss: Some(1_250_000) }
        };
        let group =
            Group { name: "B cold".into(), series: vec![series("bare", 100), series("pspf", 123_456)], others: 0.0 };
        let [bare, start] = [0, 1].map(|at| row(&group, &group.series[at]).unwrap());
        let words: Vec<&str> = start.split_whitespace().collect();
        assert_eq!(words[..2], ["pspf", "123456"]);
        assert_eq!(words[6..], ["1234.560", "+123356", "246912", "1.25"]);
        assert!(bare.ends_with("1.25") && bare.len() == start.len() && start.len() <= 120, "{start}");
    }

    #[test]
    fn a_figure_says_whether_it_is_met() {
        let mut figure = Figure::median("cold", "B: (start - bare) / tar -xf", Unit::Times, &[1.5, 2.5, 2.0]).unwrap();
        assert!(line(&figure).ends_with("1.500 to 2.500"));
        figure = figure.at_most(0.7);
        let missed = line(&figure);
        assert!(missed.ends_with("0.700 MISSED") && missed.len() <= 120, "{missed}");
        assert!(line(&figure.at_most(2.0)).ends_with("2.000 ok"));
    }

    #[test]
    fn words_are_wrapped() {
        assert_eq!(wrapped("open read close", 9), ["open read", "close"]);
    }
}
