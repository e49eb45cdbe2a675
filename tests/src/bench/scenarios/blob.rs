//! Payload C: the program of A, with 300 MiB beside it. A start must not notice; a first start has to write it.

use std::path::PathBuf;

use super::COLD_RSS;
use super::hello::HELLO;
use super::peers::{Packed, beside};
use crate::bench::args::{Payload, Phase};
use crate::bench::counts::differing;
use crate::bench::figure::{Figure, Unit};
use crate::bench::session::Session;
use crate::bench::tools::Stub;

/// The most that a first start may add, against `zstd -d`.
const COLD: f64 = 1.2;
/// How much more instructions a start may take than that of A, in percent.
const INSTRUCTIONS: f64 = 1.0;

pub(super) fn run(session: &mut Session) -> anyhow::Result<()> {
    let (hello, blob) = (session.hello.clone(), session.blob()?);
    let manifest = session.manifest("c", "'{slot:hello}'", &[("hello", &hello), ("blob", &blob)])?;
    let packages = session.packages("c", &manifest)?;
    if session.args.wants(Phase::Warm) {
        warm(session, &packages)?;
    }
    if session.args.wants(Phase::Count) {
        count(session, &packages)?;
    }
    let Some((stub, package)) = packages.last() else { return Ok(()) };
    if session.args.wants(Phase::Cold) {
        let (compressed, out) = (session.place.path("blob.zst"), session.place.path("blob.out"));
        let zstd = session.tool("zstd", "zstd", &[&"-q", &"-3", &"-T0", &"-f", &blob, &"-o", &compressed])?;
        session.prepare(zstd)?;
        let cases = vec![
            session.bare(&hello, HELLO),
            session.cold(stub, package, HELLO),
            session.tool("zstd -d", "zstd", &[&"-q", &"-d", &compressed, &"-o", &out])?.leaving(&out),
            session.tool("cp", "cp", &[&blob, &out])?.leaving(&out),
        ];
        let group = session.measure("C cold", 15, cases)?;
        let names = [stub.name.as_str(), "bare", "zstd -d"];
        let ratio = group.per_round(names, |[start, bare, zstd]| (start - bare) / zstd);
        let what = format!("C, {}: (first start - bare) / zstd -d", stub.name);
        let figure = Figure::median("cold", what, Unit::Times, &ratio);
        session.figures.extend(figure.map(|figure| figure.at_most(COLD)));
        session.judge_memory("cold", &group, &stub.name, COLD_RSS);
        session.keep(group)?;
    }
    if session.args.wants(Phase::Verify) {
        super::verify::run(session, package)?;
    }
    let content = Some(blob.as_path());
    beside(session, &Packed { payload: Payload::C, bare: &hello, start: HELLO, content, packages: &packages })
}

/// C with 4 KiB in place of the 300 MiB: what a second slot costs is not what a large one costs.
fn control(session: &mut Session) -> anyhow::Result<Vec<(Stub, PathBuf)>> {
    let directory = session.place.empty("small")?;
    let (hello, blob) = (session.hello.clone(), directory.join("blob"));
    std::fs::write(&blob, [b'\n'; 4 << 10])?;
    let manifest = session.manifest("c4k", "'{slot:hello}'", &[("hello", &hello), ("blob", &blob)])?;
    session.packages("c4k", &manifest)
}

/// A and C in the same rounds, and C with 4 KiB: whatever differs from that grows with the package.
fn warm(session: &mut Session, packages: &[(Stub, PathBuf)]) -> anyhow::Result<()> {
    let hello = session.hello.clone();
    let small = session.packages("a", &hello)?;
    let control = control(session)?;
    let mut cases = vec![session.bare(&hello, HELLO)];
    let named = |stub: &Stub, payload: &str| Stub { name: format!("{} {payload}", stub.name), file: None };
    for (((stub, small), (_, few)), (_, large)) in small.iter().zip(&control).zip(packages) {
        cases.push(session.warm(&named(stub, "A"), small, HELLO));
        cases.push(session.warm(&named(stub, "C4K"), few, HELLO));
        cases.push(session.warm(&named(stub, "C"), large, HELLO));
    }
    let group = session.measure("C warm", 200, cases)?;
    for (stub, _) in packages {
        for (other, words) in [("A", "of A"), ("C4K", "with 4 KiB")] {
            let names = [format!("{} C", stub.name), format!("{} {other}", stub.name)];
            let more = group.per_round([names[0].as_str(), names[1].as_str()], |[c, other]| c - other);
            let what = format!("C, {}: start - start {words}", stub.name);
            session.figures.extend(Figure::median("warm", what, Unit::Milliseconds, &more));
        }
    }
    session.keep(group)
}

/// What a start asks for must be the same, however large the package is.
fn count(session: &mut Session, packages: &[(Stub, PathBuf)]) -> anyhow::Result<()> {
    let hello = session.hello.clone();
    let small = session.packages("a", &hello)?;
    let control = control(session)?;
    for (((stub, small), (_, few)), (_, large)) in small.iter().zip(&control).zip(packages) {
        let a = session.count("A", stub, small, HELLO)?;
        let small_c = session.count("C4K", stub, few, HELLO)?;
        let c = session.count("C", stub, large, HELLO)?;
        for (other, words, limit) in [(&a, "A", None), (&small_c, "4 KiB", Some((0.0, INSTRUCTIONS)))] {
            let mut figures = Vec::new();
            if let (Some(c), Some(other)) = (&c.calls, &other.calls) {
                let what = format!("C, {}: system calls that differ from those with {words}", stub.name);
                figures
                    .push((Figure::count("count", what, Unit::Count, differing(c, other) as f64), limit.map(|l| l.0)));
            }
            if let (Some(c), Some(other)) = (c.instructions, other.instructions) {
                let percent = (c as f64 / other as f64 - 1.0) * 100.0;
                let what = format!("C, {}: instructions more than with {words}", stub.name);
                figures.push((Figure::count("count", what, Unit::Percent, percent), limit.map(|l| l.1)));
            }
            session.figures.extend(figures.into_iter().map(|(figure, limit)| match limit {
                Some(limit) => figure.at_most(limit),
                None => figure,
            }));
        }
    }
    Ok(())
}
