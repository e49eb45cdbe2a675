//! What is packed: made of the files of this machine, the same every time on the same machine.

pub(super) mod blob;
pub(super) mod files;
pub(super) mod many;
pub(super) mod python;

use std::fs;
use std::path::PathBuf;

use anyhow::Context;

use super::place::Place;

/// Changes when a payload is made in another way; what an older bench left in a work directory is then made again.
const VERSION: &str = "1";

/// The directory of a payload, made by `make` unless an earlier run with the same `--work` did, from the same `source`.
pub(super) fn once(
    place: &Place,
    name: &str,
    source: &str,
    make: impl FnOnce(&PathBuf) -> anyhow::Result<()>,
) -> anyhow::Result<PathBuf> {
    let (directory, marker) = (place.path(name), place.path(format!("{name}.made")));
    let expected = format!("{VERSION} {source}\n");
    if fs::read_to_string(&marker).is_ok_and(|found| found == expected) {
        return Ok(directory);
    }
    let _ = fs::remove_file(&marker);
    let directory = place.empty(name)?;
    make(&directory).with_context(|| format!("making {}", directory.display()))?;
    fs::write(&marker, expected)?;
    Ok(directory)
}
