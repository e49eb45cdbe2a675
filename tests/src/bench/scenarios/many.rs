//! Payload E: 45,000 files beside the program of A. What a file costs.

use super::COLD_RSS;
use super::hello::HELLO;
use crate::bench::args::Phase;
use crate::bench::figure::{Figure, Unit};
use crate::bench::session::Session;

/// The most that a first start may add, against `tar -xf` of the same tree.
const COLD: f64 = 0.6;

pub(super) fn run(session: &mut Session) -> anyhow::Result<()> {
    if !session.args.wants(Phase::Cold) {
        return Ok(());
    }
    let (hello, tree, stub) = (session.hello.clone(), session.many()?, session.stub());
    let manifest = session.manifest("e", "'{slot:hello}'", &[("hello", &hello), ("many", &tree)])?;
    let package = session.place.path("e.psp");
    session.pspf.pack(&manifest, &package, &stub, &[])?;
    let archive = session.archive("many", &tree)?;
    let cases = vec![session.bare(&hello, HELLO), session.cold(&stub, &package, HELLO), session.untar(&archive)?];
    let group = session.measure("E cold", 5, cases)?;
    let names = [stub.name.as_str(), "bare", "tar -xf"];
    let ratio = group.per_round(names, |[start, bare, tar]| (start - bare) / tar);
    let what = format!("E, {}: (first start - bare) / tar -xf", stub.name);
    session.figures.extend(Figure::median("cold", what, Unit::Times, &ratio).map(|figure| figure.at_most(COLD)));
    session.judge_memory("cold", &group, &stub.name, COLD_RSS);
    session.keep(group)
}
