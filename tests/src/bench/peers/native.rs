//! Tools that pack any program.

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use serde_json::{Value, json};

use super::{Job, site_packages};
use crate::bench::args::Payload;
use crate::bench::tools;

pub(super) fn flavor_rs(job: &Job<'_>) -> anyhow::Result<Vec<OsString>> {
    flavor(job, "rs")
}

pub(super) fn flavor_go(job: &Job<'_>) -> anyhow::Result<Vec<OsString>> {
    flavor(job, "go")
}

/// With its own builder; slots are given as they are stored: a tree as `tar.gz`.
fn flavor(job: &Job<'_>, kind: &str) -> anyhow::Result<Vec<OsString>> {
    let helpers = site_packages(job.tools)?.join("flavor/helpers/bin");
    let helper = |role: &str| -> anyhow::Result<PathBuf> {
        let prefix = format!("flavor-{kind}-{role}-");
        let names = crate::sandbox::names(&helpers);
        let name = names.into_iter().find(|name| name.starts_with(&prefix));
        Ok(helpers.join(name.with_context(|| format!("flavorpack has no {prefix}* for this machine"))?))
    };
    let slot = |id: &str, source: &str, target: &str, operations: &str| {
        json!({ "id": id, "source": source, "target": target, "operations": operations, "purpose": "payload",
                "lifecycle": "runtime", "permissions": "0755" })
    };
    let hello = || slot("hello", &job.hello.display().to_string(), "{workenv}/bin/hello", "raw");
    let (command, slots): (&str, Vec<Value>) = match (job.payload, job.content) {
        (Payload::A, _) => ("{workenv}/bin/hello", vec![hello()]),
        (Payload::B, Some(tree)) => {
            let archive = job.path("python.tgz")?;
            job.run(tools::find("tar")?, &["-C", text(tree)?, "--sort=name", "-czf", &archive, "."])?;
            ("{workenv}/bin/python3", vec![slot("python", &archive, "{workenv}", "tgz")])
        }
        (Payload::C, Some(blob)) => {
            // As an archive too: one of the launchers takes any content that looks like an archive for one.
            let (archive, directory) =
                (job.path("blob.tgz")?, blob.parent().context("the large file has no directory")?);
            job.run(tools::find("tar")?, &["-C", text(directory)?, "-czf", &archive, "blob"])?;
            ("{workenv}/bin/hello", vec![hello(), slot("blob", &archive, "{workenv}", "tgz")])
        }
        (payload, _) => bail!("it does not pack {payload}"),
    };
    let manifest = json!({
        "format": "PSPF/2025",
        "package": { "name": "bench", "version": "1" },
        "execution": { "command": command },
        "slots": slots,
    });
    fs::write(job.work.join("manifest.json"), manifest.to_string())?;
    let launcher = helper("launcher")?;
    let options = ["--key-seed", "bench", "--log-level", "error", "-m", "manifest.json", "-o", "out", "--launcher-bin"];
    job.run(helper("builder")?, &[options.as_slice(), &[text(&launcher)?]].concat())?;
    Ok(job.made("out"))
}

pub(super) fn caxa(job: &Job<'_>) -> anyhow::Result<Vec<OsString>> {
    let (input, program) = directory(job)?;
    let command = format!("{{{{caxa}}}}/{program}");
    let options = ["--no-dedupe", "--no-include-node", "--output", "out", "--input", &input, "--", &command];
    job.run(job.tools.join("npm/node_modules/.bin/caxa"), &options)?;
    Ok(job.made("out"))
}

/// With the compressor and the level that packages of `pspf` have, and its SHA-256 check.
pub(super) fn makeself(job: &Job<'_>) -> anyhow::Result<Vec<OsString>> {
    let (input, program) = directory(job)?;
    let (start, level) = (format!("./{program}"), job.level.to_string());
    let options =
        ["--zstd", "--complevel", &level, "--sha256", "--nox11", "--noprogress", &input, "out", "bench", &start];
    job.run(tools::find("makeself")?, &options)?;
    let mut words = job.made("out");
    words.extend(["--quiet", "--"].map(OsString::from));
    Ok(words)
}

/// The payload as one directory, and the program in it.
fn directory(job: &Job<'_>) -> anyhow::Result<(String, &'static str)> {
    if let (Payload::B, Some(tree)) = (job.payload, job.content) {
        return Ok((text(tree)?.to_owned(), "bin/python3"));
    }
    let input = job.path("input")?;
    fs::create_dir(&input)?;
    fs::copy(job.hello, Path::new(&input).join("hello"))?;
    if let Some(blob) = job.content {
        fs::hard_link(blob, Path::new(&input).join("blob"))?;
    }
    Ok((input, "hello"))
}

fn text(path: &Path) -> anyhow::Result<&str> {
    path.to_str().context("the path of the work directory is not UTF-8")
}
