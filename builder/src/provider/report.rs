//! What `pspf provider mirror` says.

use std::io::Write;

use serde::Serialize;

use super::MirrorArgs;
use super::mirror::{Mirrored, Version};
use crate::failure::shown;
use crate::voice::{print_json, size, warn};

/// Version of the JSON report. It rises when a field changes its meaning or goes away.
const SCHEMA: u32 = 1;

#[derive(Serialize)]
struct Report<'a> {
    schema: u32,
    /// Characters that are not UTF-8 are replaced: JSON cannot hold them.
    folder: String,
    provider: String,
    versions: Vec<VersionReport<'a>>,
}

#[derive(Serialize)]
struct VersionReport<'a> {
    #[serde(flatten)]
    version: &'a Version,
    /// The entry of `.terraform.lock.hcl`.
    lock: String,
}

/// Says what is worth knowing, then prints the report.
pub(super) fn print(args: &MirrorArgs, mirrored: &Mirrored, out: &mut dyn Write) -> anyhow::Result<()> {
    let folder = &mirrored.folder;
    for version in &mirrored.versions {
        if let Some(signature) = &version.stale_signature {
            let signature = shown(&folder.join(signature));
            warn(&format!("{signature} was made for another list: sign `{}` again", version.shasums));
        }
    }
    let provider = args.provider.to_string();
    if args.json {
        let versions = &mirrored.versions;
        let report = Report {
            schema: SCHEMA,
            folder: folder.to_string_lossy().into_owned(),
            versions: versions
                .iter()
                .map(|version| VersionReport { version, lock: lock(&provider, version) })
                .collect(),
            provider,
        };
        return Ok(print_json(&report, out)?);
    }
    for version in &mirrored.versions {
        writeln!(out, "{provider} {} in {}", version.version, shown(folder))?;
        for archive in &version.archives {
            let added = if archive.added { "" } else { ", was there" };
            writeln!(out, "  {:12} {} ({}{added})", archive.platform, archive.file, size(archive.size))?;
        }
        let protocols = version.protocols.join(", ");
        let unsaid = if args.protocol.is_empty() { "; `--protocol` says another" } else { "" };
        writeln!(out, "  {:12} {} (protocol {protocols}{unsaid})", "manifest", version.manifest)?;
        writeln!(
            out,
            "  {:12} {}; a registry asks for its GPG signature, which is yours to make",
            "list", version.shasums
        )?;
    }
    for version in &mirrored.versions {
        writeln!(out, "\nwhat a lock file (.terraform.lock.hcl) can hold of {}:\n", version.version)?;
        write!(out, "{}", lock(&provider, version))?;
    }
    Ok(out.flush()?)
}

/// The entry of a lock file that takes every archive of this version, in the form that the CLIs write it.
fn lock(provider: &str, version: &Version) -> String {
    let mut hashes: Vec<&str> =
        version.archives.iter().flat_map(|archive| [archive.hashes.h1.as_str(), &archive.hashes.zh]).collect();
    hashes.sort_unstable();
    let hashes: String = hashes.iter().map(|hash| format!("    \"{hash}\",\n")).collect();
    format!("provider \"{provider}\" {{\n  version = \"{}\"\n  hashes = [\n{hashes}  ]\n}}\n", version.version)
}
