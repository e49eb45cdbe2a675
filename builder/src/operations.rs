//! Which operations a slot gets: those the manifest names, or the best that its readers know.

use pspf_format::Operations;

use crate::compat::Compat;
use crate::failure::Failure;

/// The operations of a directory.
pub(crate) fn of_directory(named: Option<&str>, compat: Option<Compat>) -> anyhow::Result<Operations> {
    let default = if compat.is_some() { Operations::TarGzip } else { Operations::TarZstd };
    choose(named, default, &[Operations::TarZstd, Operations::TarGzip, Operations::Tar], "a directory")
}

/// The operations of a file of this length in bytes.
pub(crate) fn of_file(named: Option<&str>, compat: Option<Compat>, size: u64) -> anyhow::Result<Operations> {
    let default = match compat {
        None => Operations::Zstd,
        // A gzip member of nothing would have no frame.
        Some(_) if size == 0 => Operations::Raw,
        Some(_) => Operations::Gzip,
    };
    let operations = choose(named, default, &[Operations::Zstd, Operations::Gzip, Operations::Raw], "a single file")?;
    if operations == Operations::Gzip && size == 0 {
        return Failure::usage("operations `gzip` do not fit an empty file").hint("use `raw`").err();
    }
    Ok(operations)
}

fn choose(named: Option<&str>, default: Operations, all: &[Operations], what: &str) -> anyhow::Result<Operations> {
    let Some(named) = named else { return Ok(default) };
    let texts: Vec<_> = all.iter().map(|operations| format!("`{operations}`")).collect();
    match all.iter().find(|operations| operations.to_string() == named) {
        Some(operations) => Ok(*operations),
        None => Failure::usage(format!("operations `{}` do not fit {what}", named.escape_debug()))
            .hint(format!("leave `operations` out, or use one of {}", texts.join(", ")))
            .err(),
    }
}
