//! Packing payload B with a small application: for the first time, and again after the application has changed.

use std::fs;
use std::path::Path;

use anyhow::Context;

use crate::bench::case::Case;
use crate::bench::figure::{Figure, Unit};
use crate::bench::session::Session;
use crate::bench::spawn::Program;

/// The most against `tar | zstd` at the same level.
const PACK: f64 = 1.10;

pub(super) fn run(session: &mut Session, tree: &Path) -> anyhow::Result<()> {
    let app = session.place.empty("app")?;
    let main = app.join("main.py");
    fs::write(&main, "print(0)\n")?;
    let command = "'{slot:python}/bin/python3', '{slot:app}/main.py'";
    let manifest = session.manifest("pack", command, &[("python", tree), ("app", &app)])?;
    let (clean, kept) = (session.place.path("pack-clean"), session.place.path("pack-kept"));
    let (first, again) = (session.place.path("first.psp"), session.place.path("again.psp"));

    let level = session.pspf.level;
    let out = session.place.path("packed.tar.zst");
    let script = format!("tar -C \"$1\" -cf - . | zstd -q -{level} -T0 -f -o \"$2\"");
    let pipe = format!("tar | zstd -{level} -T0");
    let change = main.clone();
    let cases = vec![
        session.tool(&pipe, "sh", &[&"-c", &script, &"sh", &tree, &out])?.leaving(&out),
        pack(session, "pspf pack", &manifest, &first, &clean).leaving(&clean).leaving(&first),
        pack(session, "pspf pack, application changed", &manifest, &again, &kept)
            .before(move |round| fs::write(&change, format!("print({round})\n")).context("changing the application")),
    ];
    let group = session.measure("B pack", 9, cases)?;
    let ratio = group.per_round(["pspf pack", pipe.as_str()], |[pack, pipe]| pack / pipe);
    let figure = Figure::median("pack", format!("B: pspf pack / {pipe}"), Unit::Times, &ratio);
    session.figures.extend(figure.map(|figure| figure.at_most(PACK)));
    let ratio = group.per_round(["pspf pack, application changed", "pspf pack"], |[again, first]| again / first);
    let what = "B: pspf pack again with a changed application / first";
    session.figures.extend(Figure::median("pack", what, Unit::Times, &ratio));
    if let Some(bytes) = group.find("pspf pack").and_then(|series| series.peak_rss) {
        session.figures.push(Figure::count("pack", "B: peak RSS", Unit::Bytes, bytes as f64));
    }

    // The same input once more, as if nothing had ever been packed here.
    let build = pack(session, "pspf pack", &manifest, &first, &clean).leaving(&clean);
    session.prepare(build)?;
    let differ = u8::from(fs::read(&first)? != fs::read(&again)?);
    let what = "B: packages that differ from those of a clean build";
    session.figures.push(Figure::count("pack", what, Unit::Count, differ.into()).at_most(0.0));
    session.keep(group)
}

/// `pspf pack`, where all that it may remember is in a directory.
fn pack(session: &Session, name: &str, manifest: &Path, out: &Path, memory: &Path) -> Case {
    let words = session.pspf.pack_words(manifest, out, &session.stub(), &[]);
    let env =
        session.env(memory).into_iter().filter(|(name, _)| name != "HOME").chain([("HOME".into(), memory.into())]);
    Case::new(name, Program::new(words, env))
}
