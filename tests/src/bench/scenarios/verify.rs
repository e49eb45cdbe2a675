//! Verifying payload C, beside one digest of the same file.

use std::path::Path;

use crate::bench::case::{Case, Cores};
use crate::bench::figure::{Figure, Unit};
use crate::bench::session::Session;
use crate::bench::spawn::Program;
use crate::bench::tools;

/// The most against `sha256sum`: on one core, and on all of them.
const ONE: f64 = 1.1;
const ALL: f64 = 1.0;

pub(super) fn run(session: &mut Session, package: &Path) -> anyhow::Result<()> {
    let mut cases = Vec::new();
    for (name, cores) in [("one core", Cores::One), ("all cores", Cores::All)] {
        cases.push(session.tool(&format!("sha256sum, {name}"), "sha256sum", &[&package])?.on(cores));
        let pspf = session.pspf.program.as_os_str();
        let key = session.pspf.public_key.as_os_str();
        let words = [pspf, "verify".as_ref(), "--key".as_ref(), key, package.as_os_str()];
        let program = Program::new(words, session.env(&session.place.path("no-cache")));
        cases.push(Case::new(format!("pspf verify, {name}"), program).on(cores));
        // It uses what the processor has for this digest; sha256sum does so in some distributions only.
        if tools::find("openssl").is_ok() {
            let words: [&dyn AsRef<std::ffi::OsStr>; 3] = [&"dgst", &"-sha256", &package];
            cases.push(session.tool(&format!("openssl dgst, {name}"), "openssl", &words)?.on(cores));
        }
    }
    let group = session.measure("C verify", 15, cases)?;
    for (name, at_most) in [("one core", ONE), ("all cores", ALL)] {
        for (digest, at_most) in [("sha256sum", Some(at_most)), ("openssl dgst", None)] {
            let names = [format!("pspf verify, {name}"), format!("{digest}, {name}")];
            let ratio = group.per_round([names[0].as_str(), names[1].as_str()], |[verify, digest]| verify / digest);
            let what = format!("C: pspf verify / {digest}, {name}");
            let figure = Figure::median("verify", what, Unit::Times, &ratio);
            session.figures.extend(figure.map(|figure| Figure { at_most, ..figure }));
        }
    }
    session.keep(group)
}
