//! Payload B: a CPython. Starts of a real program, first and later ones; packing, and sizes.

use super::peers::{Packed, beside};
use super::{COLD_RSS, Start};
use crate::bench::args::{Payload, Phase};
use crate::bench::figure::{Figure, Unit};
use crate::bench::payloads::python::{PROGRAM, SAYS};
use crate::bench::session::Session;

/// The most that a start may take, against the bare program.
const WARM: f64 = 1.02;
/// The most that a first start may add, against `tar -xf` of the same tree.
const COLD: f64 = 0.7;

const OK: Start<'_> = Start { args: &["-c", PROGRAM], says: SAYS };

pub(super) fn run(session: &mut Session) -> anyhow::Result<()> {
    let tree = session.python()?;
    let bare = tree.join("bin/python3");
    let (warm, cold) = (session.args.wants(Phase::Warm), session.args.wants(Phase::Cold));
    if warm || cold {
        let manifest = session.manifest("b", "'{slot:python}/bin/python3'", &[("python", &tree)])?;
        let packages = session.packages("b", &manifest)?;
        if warm {
            let starts = packages.iter().map(|(stub, package)| session.warm(stub, package, OK));
            let cases = std::iter::once(session.bare(&bare, OK)).chain(starts).collect();
            let group = session.measure("B warm", 100, cases)?;
            for (stub, _) in &packages {
                let ratio = group.per_round([stub.name.as_str(), "bare"], |[start, bare]| start / bare);
                let what = format!("B, {}: start / bare", stub.name);
                let figure = Figure::median("warm", what, Unit::Times, &ratio);
                session.figures.extend(figure.map(|figure| figure.at_most(WARM)));
            }
            session.keep(group)?;
        }
        if cold && let Some((stub, package)) = packages.last() {
            let archive = session.archive("python", &tree)?;
            let cases = vec![session.bare(&bare, OK), session.cold(stub, package, OK), session.untar(&archive)?];
            let group = session.measure("B cold", 20, cases)?;
            let names = [stub.name.as_str(), "bare", "tar -xf"];
            let ratio = group.per_round(names, |[start, bare, tar]| (start - bare) / tar);
            let what = format!("B, {}: (first start - bare) / tar -xf", stub.name);
            let figure = Figure::median("cold", what, Unit::Times, &ratio);
            session.figures.extend(figure.map(|figure| figure.at_most(COLD)));
            session.judge_memory("cold", &group, &stub.name, COLD_RSS);
            session.keep(group)?;
        }
        let content = Some(tree.as_path());
        beside(session, &Packed { payload: Payload::B, bare: &bare, start: OK, content, packages: &packages })?;
    }
    if session.args.wants(Phase::Pack) {
        super::pack::run(session, &tree)?;
    }
    if session.args.wants(Phase::Sizes) {
        super::sizes::run(session, &tree)?;
    }
    Ok(())
}
