//! What `pspf verify` says: for people a line with the verdict and the facts below it, for machines one document.

use std::borrow::Cow;
use std::io::{self, Write};
use std::path::Path;

use pspf_format::Sha256;
use pspf_keys::PublicKey;
use serde::Serialize;

use crate::verify_check::{Anchors, Examined, SlotStatus};
use crate::voice::{print_json, size};

/// Version of the JSON document. It rises when a field changes its meaning or goes away.
const SCHEMA: u32 = 2;

#[derive(Serialize)]
struct Document<'a> {
    schema: u32,
    tool: Tool,
    /// The keys that were given.
    keys: Vec<Key<'a>>,
    files: Vec<File<'a>>,
    exit_code: u8,
}

#[derive(Serialize)]
struct Tool {
    name: &'static str,
    version: &'static str,
}

#[derive(Serialize)]
struct Key<'a> {
    #[serde(flatten)]
    path: PathText<'a>,
    fingerprint: String,
}

#[derive(Serialize)]
struct File<'a> {
    /// `verified`, `bad` or `undecided`.
    result: &'static str,
    class: Option<String>,
    message: Option<&'a str>,
    hint: Option<&'a str>,
    file: Bytes<'a>,
    identity: Option<Identity<'a>>,
    signatures: Vec<Signature>,
    coverage: Option<Coverage>,
    slots: Vec<Slot<'a>>,
    launcher: Option<Launcher>,
    /// Checks that were asked for and could not be made.
    skipped: &'a [String],
}

#[derive(Serialize)]
struct Bytes<'a> {
    #[serde(flatten)]
    path: PathText<'a>,
    size: Option<u64>,
    /// Of the bytes that were checked, each of which was read once; of a bad file as it was read once more.
    sha256: Option<Sha256>,
}

/// A path in JSON, which knows Unicode only.
#[derive(Serialize)]
pub(crate) struct PathText<'a> {
    pub(crate) path: Cow<'a, str>,
    /// The path is not UTF-8: what could not be said is replaced by U+FFFD.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    path_is_lossy: bool,
}

impl<'a> PathText<'a> {
    pub(crate) fn new(path: &'a Path) -> Self {
        Self { path: path.to_string_lossy(), path_is_lossy: path.to_str().is_none() }
    }
}

#[derive(Serialize)]
struct Identity<'a> {
    package: &'a str,
    version: &'a str,
    platform: Option<&'a str>,
    package_id: Option<Sha256>,
}

#[derive(Serialize)]
struct Signature {
    fingerprint: String,
    status: &'static str,
    /// The key is one of those that were given.
    trusted: bool,
}

#[derive(Serialize)]
struct Coverage {
    bytes_total: u64,
    bytes_covered: u64,
    uncovered: Vec<Uncovered>,
}

#[derive(Serialize)]
struct Uncovered {
    offset: u64,
    len: u64,
    what: &'static str,
}

#[derive(Serialize)]
struct Slot<'a> {
    id: &'a str,
    lifecycle: Option<&'static str>,
    operations: Option<String>,
    /// SHA-256 of the stored bytes as a whole, where it was compared with what was signed: with status `match`.
    stored_sha256: Option<Sha256>,
    stored_size: u64,
    expanded_size: Option<u64>,
    /// `match`; `frames-match` where the digests of the slot index and of the frames were compared, and not that of the
    /// whole; `mismatch`; or `unchecked` where the check ended before.
    status: &'static str,
    decoded: bool,
}

#[derive(Serialize)]
struct Launcher {
    sha256: Sha256,
    size: u64,
}

/// The name of a key, as it is shown everywhere.
pub(crate) fn fingerprint(key: &PublicKey) -> String {
    format!("ed25519:{}", key.fingerprint())
}

/// Text from a package or a path, made harmless for a terminal. Quotes stay: they are no danger there.
pub(crate) fn harmless(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '\'' | '"' => safe.push(character),
            _ => safe.extend(character.escape_debug()),
        }
    }
    safe
}

impl<'a> File<'a> {
    fn new(examined: &'a Examined, anchors: &Anchors) -> Self {
        let Examined { path, size, sha256, facts, verdict } = examined;
        let problem = verdict.problem();
        let signatures = facts.signers.iter().map(|key| Signature {
            fingerprint: fingerprint(key),
            status: "valid",
            trusted: anchors.file_of(key).is_some(),
        });
        let slots = facts.slots.iter().map(|slot| Slot {
            id: &slot.id,
            lifecycle: slot.signed.as_ref().map(|signed| signed.lifecycle.as_str()),
            operations: slot.signed.as_ref().map(|signed| signed.operations.to_string()),
            stored_sha256: (slot.status == SlotStatus::Match).then_some(slot.stored_sha256),
            stored_size: slot.stored_size,
            expanded_size: slot.signed.as_ref().map(|signed| signed.expanded_size),
            status: slot.status.as_str(),
            decoded: slot.decoded,
        });
        let coverage = facts.coverage.as_ref().map(|coverage| Coverage {
            bytes_total: coverage.bytes_total,
            bytes_covered: coverage.bytes_covered,
            uncovered: coverage
                .uncovered
                .iter()
                .map(|part| Uncovered { offset: part.span.offset, len: part.span.len, what: part.what })
                .collect(),
        });
        Self {
            result: verdict.as_str(),
            class: problem.map(|problem| problem.class.to_string()),
            message: problem.map(|problem| problem.message.as_str()),
            hint: problem.and_then(|problem| problem.hint.as_deref()),
            file: Bytes { path: PathText::new(path), size: *size, sha256: *sha256 },
            identity: facts.identity.as_ref().map(|identity| Identity {
                package: &identity.package,
                version: &identity.version,
                platform: identity.platform.as_deref(),
                package_id: identity.package_id,
            }),
            signatures: signatures.collect(),
            coverage,
            slots: slots.collect(),
            launcher: facts.launcher.map(|(size, sha256)| Launcher { sha256, size }),
            skipped: &facts.skipped,
        }
    }
}

/// Prints the document on all files.
pub(crate) fn print_document(
    files: &[Examined],
    anchors: &Anchors,
    exit_code: u8,
    out: &mut dyn Write,
) -> io::Result<()> {
    let document = Document {
        schema: SCHEMA,
        tool: Tool { name: "pspf", version: env!("CARGO_PKG_VERSION") },
        keys: anchors
            .iter()
            .map(|(path, key)| Key { path: PathText::new(path), fingerprint: fingerprint(key) })
            .collect(),
        files: files.iter().map(|file| File::new(file, anchors)).collect(),
        exit_code,
    };
    print_json(&document, out)
}

/// Prints what is to be said of one file to people.
pub(crate) fn print_file(examined: &Examined, anchors: &Anchors, out: &mut dyn Write) -> io::Result<()> {
    let Examined { path, facts, verdict, .. } = examined;
    let name = harmless(&path.to_string_lossy());
    let partial = facts.coverage.as_ref().filter(|coverage| !coverage.uncovered.is_empty());
    match (verdict.problem(), partial) {
        (None, None) => writeln!(out, "{name}: verified")?,
        // Never the same words as for a file of which every byte is signed.
        (None, Some(_)) => writeln!(out, "{name}: verified in part, it has no seal")?,
        (Some(problem), _) => writeln!(out, "{name}: {} [{}]: {}", verdict.as_str(), problem.class, problem.message)?,
    }
    if let Some(hint) = verdict.problem().and_then(|problem| problem.hint.as_deref()) {
        writeln!(out, "  hint: {hint}")?;
    }
    if let Some(identity) = &facts.identity {
        let platform = identity.platform.as_ref().map(|platform| format!(" for {platform}")).unwrap_or_default();
        line("package", format!("{} {}{platform}", harmless(&identity.package), harmless(&identity.version)), out)?;
        if let Some(id) = identity.package_id {
            line("id", id, out)?;
        }
    }
    print_signers(examined, anchors, out)?;
    print_slots(examined, out)?;
    if let Some(coverage) = partial {
        let (covered, total) = (size(coverage.bytes_covered), size(coverage.bytes_total));
        line("signed", format!("{covered} of {total}; no signature reaches the rest:"), out)?;
        for part in &coverage.uncovered {
            let end = part.span.offset.saturating_add(part.span.len);
            line("", format!("{:#x}..{end:#x}  {} ({})", part.span.offset, part.what, size(part.span.len)), out)?;
        }
    }
    for skipped in &facts.skipped {
        line("skipped", skipped, out)?;
    }
    if let Some(bytes) = examined.size {
        let digest = examined.sha256.map(|sha256| format!(", sha256 {sha256}")).unwrap_or_default();
        line("file", format!("{}{digest}", size(bytes)), out)?;
    }
    Ok(())
}

fn line(label: &str, value: impl std::fmt::Display, out: &mut dyn Write) -> io::Result<()> {
    writeln!(out, "  {label:14} {value}")
}

fn print_signers(examined: &Examined, anchors: &Anchors, out: &mut dyn Write) -> io::Result<()> {
    for (number, signer) in examined.facts.signers.iter().enumerate() {
        let label = match number {
            // A name that the file gives itself: nothing vouches for it.
            0 if anchors.iter().next().is_none() => "self-signed by",
            0 => "signed by",
            _ => "and by",
        };
        let trust = match anchors.file_of(signer) {
            Some(file) => format!("trusted, {}", harmless(&file.to_string_lossy())),
            None => "untrusted".to_owned(),
        };
        line(label, format!("{} ({trust})", fingerprint(signer)), out)?;
    }
    Ok(())
}

fn print_slots(examined: &Examined, out: &mut dyn Write) -> io::Result<()> {
    let slots = &examined.facts.slots;
    if slots.is_empty() {
        return Ok(());
    }
    let count = |status| slots.iter().filter(|slot| slot.status == status).count();
    let matching = count(SlotStatus::Match) + count(SlotStatus::FramesMatch);
    let unchecked = count(SlotStatus::Unchecked);
    let decoded = match slots.iter().all(|slot| slot.decoded) {
        true if slots.iter().all(|slot| slot.signed.is_some()) => ", decoded and compared with their index",
        true => ", decoded",
        false => "",
    };
    let rest = if unchecked > 0 { format!(", {unchecked} not checked") } else { String::new() };
    line("slots", format!("{matching} of {} as signed{decoded}{rest}", slots.len()), out)?;
    for slot in slots.iter().filter(|slot| slot.status == SlotStatus::Mismatch) {
        line("", format!("{} is not what was signed", harmless(&slot.id)), out)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_harmless() {
        let cases = [
            ("it's \"ok\" größe", "it's \"ok\" größe"),
            ("\u{1b}[2J\r\n", "\\u{1b}[2J\\r\\n"),
            ("a\u{202e}b", "a\\u{202e}b"),
        ];
        for (text, expected) in cases {
            assert_eq!(harmless(text), expected);
        }
    }

    #[cfg(unix)]
    #[test]
    fn a_path_that_is_no_text_is_valid_json() {
        use std::os::unix::ffi::OsStrExt;
        let path = Path::new(std::ffi::OsStr::from_bytes(b"a\xff\n"));
        let json = serde_json::to_value(PathText::new(path)).unwrap();
        assert_eq!(json, serde_json::json!({ "path": "a\u{fffd}\n", "path_is_lossy": true }));
        let json = serde_json::to_value(PathText::new(Path::new("a"))).unwrap();
        assert_eq!(json, serde_json::json!({ "path": "a" }));
    }
}
