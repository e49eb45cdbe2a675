//! Tools that put a JavaScript engine and a program into one file, which runs from there.

use std::ffi::OsString;
use std::fs;

use super::Job;
use crate::bench::scenarios::HELLO_JS;
use crate::bench::tools;

pub(super) fn node_sea(job: &Job<'_>) -> anyhow::Result<Vec<OsString>> {
    fs::write(job.work.join("hello.js"), HELLO_JS)?;
    let config = r#"{ "main": "hello.js", "output": "blob", "disableExperimentalSEAWarning": true }"#;
    fs::write(job.work.join("sea.json"), config)?;
    let node = tools::find("node")?;
    job.run(&node, &["--experimental-sea-config", "sea.json"])?;
    fs::copy(&node, job.work.join("out"))?;
    // What Node looks for in itself; the same in every version.
    let fuse = "NODE_SEA_FUSE_fce680ab2cc467b6e072b8b5df1996b2";
    let postject = job.tools.join("npm/node_modules/.bin/postject");
    job.run(postject, &["out", "NODE_SEA_BLOB", "blob", "--sentinel-fuse", fuse])?;
    Ok(job.made("out"))
}

pub(super) fn bun(job: &Job<'_>) -> anyhow::Result<Vec<OsString>> {
    fs::write(job.work.join("hello.js"), HELLO_JS)?;
    let bun = job.tools.join("npm/node_modules/.bin/bun");
    job.run(bun, &["build", "--compile", "hello.js", "--outfile", "out"])?;
    Ok(job.made("out"))
}
