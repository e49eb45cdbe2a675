//! Writes the vectors into a folder: `cargo run -p pspf-tests --bin vectors -- tests/vectors`.

use std::path::PathBuf;
use std::{env, fs};

use anyhow::Context;

fn main() -> anyhow::Result<()> {
    let folder = PathBuf::from(env::args_os().nth(1).context("usage: vectors DIR")?);
    fs::create_dir_all(&folder)?;
    let files = pspf_tests::vectors::files();
    for name in pspf_tests::sandbox::names(&folder) {
        if name.ends_with(".gz") && !files.contains_key(&name) {
            fs::remove_file(folder.join(name))?;
        }
    }
    for (name, content) in files {
        fs::write(folder.join(&name), content).with_context(|| name)?;
    }
    Ok(())
}
