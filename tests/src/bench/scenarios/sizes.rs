//! How small payload B becomes, beside what a pipeline of `tar` and `zstd` makes of it.

use std::path::Path;

use crate::bench::case::Case;
use crate::bench::figure::{Figure, Unit};
use crate::bench::report;
use crate::bench::session::Session;
use crate::bench::size::Size;
use crate::bench::spawn::Program;
use crate::bench::tools::{Stub, launcher_size};

/// What is compared is as small as can be.
const LEVEL: u32 = 19;
/// How much larger a package without its launcher may be, in percent.
const MORE: f64 = 4.0;

pub(super) fn run(session: &mut Session, tree: &Path) -> anyhow::Result<()> {
    let manifest = session.manifest("b", "'{slot:python}/bin/python3'", &[("python", tree)])?;
    let default = session.pspf.level;
    let smallest = pipe(session, tree, &format!("-{LEVEL} --long=27"))?;
    let reference = smallest.bytes;
    let mut sizes = vec![smallest, pipe(session, tree, &format!("-{default}"))?];
    let stub = session.stub();
    for level in [default, LEVEL] {
        let (size, launcher) = pack(session, &manifest, &stub, &["--level".into(), level.to_string()])?;
        if level == LEVEL {
            let percent = ((size.bytes - launcher) as f64 / reference as f64 - 1.0) * 100.0;
            let what = format!("B, {}: without launcher, to tar | zstd -{LEVEL} --long=27", stub.name);
            session.figures.push(Figure::count("size", what, Unit::Percent, percent).at_most(MORE));
        }
        sizes.push(size);
    }
    for more in session.args.pack_with.clone() {
        let words: Vec<String> = more.split_whitespace().map(str::to_owned).collect();
        sizes.push(pack(session, &manifest, &stub, &words)?.0);
    }
    report::sizes(&sizes)?;
    session.sizes.extend(sizes);
    Ok(())
}

fn pipe(session: &mut Session, tree: &Path, options: &str) -> anyhow::Result<Size> {
    let out = session.place.path("size.tar.zst");
    let script = format!("tar --sort=name -C \"$1\" -cf - . | zstd -q {options} -f -o \"$2\"");
    let case = session.tool("pipe", "sh", &[&"-c", &script, &"sh", &tree, &out])?;
    made(session, &format!("tar | zstd {options}"), case, &out)
}

/// A package, and how much of it is the launcher.
fn pack(session: &mut Session, manifest: &Path, stub: &Stub, more: &[String]) -> anyhow::Result<(Size, u64)> {
    let (out, memory) = (session.place.path("size.psp"), session.place.path("size-memory"));
    let program = Program::new(session.pspf.pack_words(manifest, &out, stub, more), session.env(&memory));
    let case = Case::new("pack", program).leaving(memory);
    let name = format!("{} pack {}", stub.name, more.join(" "));
    Ok((made(session, &name, case, &out)?, launcher_size(&out)?))
}

fn made(session: &mut Session, name: &str, case: Case, out: &Path) -> anyhow::Result<Size> {
    let command = case.program.shown();
    let seconds = Some(session.prepare(case)?.as_secs_f64());
    Ok(Size { name: name.to_owned(), command, bytes: std::fs::metadata(out)?.len(), seconds })
}
