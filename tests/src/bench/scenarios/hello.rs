//! Payload A: one static program. What is left of a start when the program itself costs nothing.

use super::peers::{Packed, beside};
use super::{Start, WARM_RSS};
use crate::bench::args::{Payload, Phase};
use crate::bench::compile::GREETING;
use crate::bench::figure::{Figure, Unit};
use crate::bench::session::Session;
use crate::bench::tools::launcher_size;

/// The most that a start may cost more than the bare program, in milliseconds, and the most bytes of the launcher:
/// of the one that a plain build makes, and of that of a release.
const PLAIN: (f64, f64) = (0.30, 650e3);
const RELEASE: (f64, f64) = (0.20, 350e3);

pub(super) const HELLO: Start<'_> = Start { args: &[], says: GREETING };

pub(super) fn run(session: &mut Session) -> anyhow::Result<()> {
    let hello = session.hello.clone();
    let bytes = std::fs::metadata(&hello)?.len();
    session.note(format!("A is a static program of {bytes} bytes, compiled by rustc, without a C library"));
    let packages = session.packages("a", &hello)?;
    if session.args.wants(Phase::Warm) {
        let starts = packages.iter().map(|(stub, package)| session.warm(stub, package, HELLO));
        let cases = std::iter::once(session.bare(&hello, HELLO)).chain(starts).collect();
        let group = session.measure("A warm", 200, cases)?;
        for (stub, package) in &packages {
            let is_release = stub.file.is_some() || session.pspf.version.contains("release recipe");
            let (added, size) = if is_release { RELEASE } else { PLAIN };
            let more = group.per_round([stub.name.as_str(), "bare"], |[start, bare]| start - bare);
            let figure = Figure::median("warm", format!("A, {}: start - bare", stub.name), Unit::Milliseconds, &more);
            session.figures.extend(figure.map(|figure| figure.at_most(added)));
            session.judge_memory("warm", &group, &stub.name, WARM_RSS);
            let bytes = launcher_size(package)? as f64;
            let what = format!("launcher, {}", stub.name);
            session.figures.push(Figure::count("size", what, Unit::Bytes, bytes).at_most(size));
        }
        session.keep(group)?;
    }
    if session.args.wants(Phase::Count) {
        for (stub, package) in &packages {
            session.count("A", stub, package, HELLO)?;
        }
    }
    if session.args.wants(Phase::Cold) {
        let starts = packages.iter().map(|(stub, package)| session.cold(stub, package, HELLO));
        let cases = std::iter::once(session.bare(&hello, HELLO)).chain(starts).collect();
        let group = session.measure("A cold", 100, cases)?;
        for (stub, _) in &packages {
            let more = group.per_round([stub.name.as_str(), "bare"], |[start, bare]| start - bare);
            let what = format!("A, {}: first start - bare", stub.name);
            session.figures.extend(Figure::median("cold", what, Unit::Milliseconds, &more));
        }
        session.keep(group)?;
    }
    let packed = Packed { payload: Payload::A, bare: &hello, start: HELLO, content: None, packages: &packages };
    beside(session, &packed)
}
