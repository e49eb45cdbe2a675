//! Payload E: a great many files.

use std::fs;
use std::path::Path;

use anyhow::bail;

use super::files;

/// How many files there are at least, and how many bytes.
const FILES: u64 = 45_000;
const BYTES: u64 = 650_000_000;

/// Copies `source` as often as it takes. Every file of a further copy is changed, so that none equals its original.
pub(in crate::bench) fn make(to: &Path, source: &Path) -> anyhow::Result<()> {
    let (mut files, mut bytes, mut copies) = (0, 0, 0_u32);
    while files < FILES || bytes < BYTES {
        let before = files;
        let below = to.join(format!("copy-{copies}"));
        files::walk(source, &|_| true, &mut |path, len| {
            if copies > 0 && files >= FILES && bytes >= BYTES {
                return Ok(());
            }
            // What only its owner may read is nothing to build a payload of.
            if fs::File::open(source.join(path)).is_err() {
                return Ok(());
            }
            let target = below.join(path);
            files::copy(&source.join(path), &target)?;
            if copies > 0 {
                change(&target, copies)?;
            }
            files += 1;
            bytes += len;
            Ok(())
        })?;
        if files == before {
            bail!("{} holds no file", source.display());
        }
        copies += 1;
    }
    Ok(())
}

/// Overwrites a few bytes in every 4 KiB, and adds some.
fn change(path: &Path, copy: u32) -> anyhow::Result<()> {
    let mut bytes = fs::read(path)?;
    let mark = crate::tree_files::noise(copy.into(), 8);
    for block in bytes.chunks_mut(4096) {
        for (byte, mark) in block.iter_mut().rev().zip(&mark) {
            *byte ^= mark;
        }
    }
    bytes.extend(mark);
    Ok(fs::write(path, bytes)?)
}
