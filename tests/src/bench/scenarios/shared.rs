//! Payload D: ten packages of one runtime. The first start extracts it, the other nine find it.

use std::fs;
use std::path::{Path, PathBuf};

use super::Start;
use crate::bench::args::Phase;
use crate::bench::case::Case;
use crate::bench::figure::{Figure, Unit};
use crate::bench::payloads::files::extent;
use crate::bench::session::Session;
use crate::sandbox::names;

/// How many packages share the runtime.
const PACKAGES: usize = 10;
/// The most that the first start of another package may add, against that of the first one.
const OTHERS: f64 = 0.1;

pub(super) fn run(session: &mut Session) -> anyhow::Result<()> {
    if !session.args.wants(Phase::Cold) {
        return Ok(());
    }
    let tree = session.python()?;
    let (stub, cache) = (session.stub(), session.place.path("shared"));
    let python = tree.join("bin/python3");
    let command = "'{slot:python}/bin/python3', '{slot:app}/main.py'";
    let (mut cases, mut own) = (Vec::new(), 0);
    for number in 1..=PACKAGES {
        let app = session.place.empty(&format!("app-{number}"))?;
        let text = format!("import json,ssl,asyncio\nprint('application {number}')\n");
        own += text.len();
        fs::write(app.join("main.py"), text)?;
        let manifest = session.manifest(&format!("d{number}"), command, &[("python", &tree), ("app", &app)])?;
        let package = session.place.path(format!("d{number}.psp"));
        session.pspf.pack(&manifest, &package, &stub, &[])?;
        let says = format!("application {number}\n");
        if number == 1 {
            let main = app.join("main.py").display().to_string();
            cases.push(session.bare(&python, Start { args: &[&main], says: says.as_bytes() }));
        }
        let case = session.start(&name(number), &package, Start { args: &[], says: says.as_bytes() }, &cache);
        cases.push(if number == 1 { case.into_fresh(&cache) } else { case });
    }
    let packages: Vec<PathBuf> = (1..=PACKAGES).map(|number| session.place.path(format!("d{number}.psp"))).collect();
    growth(session, &packages, &cache, own)?;
    let group = session.measure("D cold", 7, cases)?;
    let mut names = vec!["bare".to_owned()];
    names.extend((1..=PACKAGES).map(name));
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let Ok(names) = <[&str; PACKAGES + 1]>::try_from(names) else { return Ok(()) };
    let others = |[bare, first, others @ ..]: [f64; PACKAGES + 1]| {
        let mean = others.iter().map(|start| start - bare).sum::<f64>() / others.len() as f64;
        mean / (first - bare)
    };
    let ratio = group.per_round(names, others);
    let what = format!("D, {}: 2nd to 10th / 1st, of (first start - bare)", stub.name);
    session.figures.extend(Figure::median("shared", what, Unit::Times, &ratio).map(|figure| figure.at_most(OTHERS)));
    session.keep(group)
}

fn name(number: usize) -> String {
    format!("package {number} of {PACKAGES}")
}

/// How much the other nine add to the cache.
fn growth(session: &mut Session, packages: &[PathBuf], cache: &Path, own: usize) -> anyhow::Result<()> {
    let slots = || names(&cache.join("v1/slots")).into_iter().filter(|name| name.len() == 64).count();
    let mut seen = Vec::new();
    session.place.discard(cache)?;
    for package in packages {
        let start = session.start("preparation", package, Start { args: &[], says: b"" }, cache);
        session.prepare(Case { says: None, ..start })?;
        seen.push((slots(), extent(cache)?.bytes));
    }
    if let (Some(first), Some(last)) = (seen.first(), seen.last()) {
        let added = (last.0 - first.0) as f64;
        let figure = Figure::count("shared", "D: slots that packages 2 to 10 add", Unit::Count, added);
        session.figures.push(figure.at_most((PACKAGES - 1) as f64));
        let what = format!("D: bytes that packages 2 to 10 add, {own} of them theirs");
        session.figures.push(Figure::count("shared", what, Unit::Bytes, (last.1 - first.1) as f64));
    }
    session.place.discard(cache)
}
