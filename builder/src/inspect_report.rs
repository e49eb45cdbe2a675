//! What `pspf inspect` shows; the fields of [`Report`] are those of its JSON.

use std::io::{self, Write};

use pspf_format::{EnvRules, LauncherMetadata, Platform, Run, Sha256, SlotMetadata};
use serde::Serialize;

use crate::inspect_fields::Entry;
use crate::inspect_files::Files;
use crate::inspect_layout::{LayoutReport, print_layout};
use crate::inspect_package::{Inspection, Status};
use crate::inspect_unsealed::{UnsealedDetails, UnsealedReport};
use crate::verify_check::Problem;
use crate::verify_report::{PathText, fingerprint, harmless};
use crate::voice::size;

/// Version of the JSON report. It rises when a field changes its meaning or goes away.
const SCHEMA: u32 = 1;

#[derive(Serialize)]
pub(crate) struct Report<'a> {
    schema: u32,
    file: FileReport<'a>,
    /// `verified`: identity, run, slots and launcher digest are what the signers signed. `unsealed`: identity and slot
    /// digests are what the package's own key signed. `claimed`: nothing is proven.
    status: &'static str,
    /// Why it is not `verified`.
    problem: Option<ProblemReport>,
    /// Why the metadata could not be read.
    metadata_problem: Option<ProblemReport>,
    /// The signatures in the seal.
    signatures: Vec<SignatureReport>,
    /// Whose valid signature over its metadata a package without a seal holds.
    base_signer: Option<String>,
    package_id: Option<Sha256>,
    identity: Option<Identity<'a>>,
    build_timestamp: u64,
    run: Option<&'a Run>,
    /// What a package without a seal says of its start.
    #[serde(skip_serializing_if = "Option::is_none")]
    unsealed: Option<UnsealedReport<'a>>,
    launcher: LauncherReport,
    slots: Vec<SlotReport<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    layout: Option<LayoutReport>,
    #[serde(skip_serializing_if = "Option::is_none")]
    files: Option<Files<'a>>,
    #[serde(skip)]
    of: Status,
}

#[derive(Serialize)]
struct FileReport<'a> {
    #[serde(flatten)]
    path: PathText<'a>,
    size: u64,
}

#[derive(Serialize)]
pub(crate) struct ProblemReport {
    class: String,
    message: String,
    hint: Option<String>,
}

impl From<&Problem> for ProblemReport {
    fn from(problem: &Problem) -> Self {
        Self { class: problem.class.to_string(), message: problem.message.clone(), hint: problem.hint.clone() }
    }
}

#[derive(Serialize)]
struct SignatureReport {
    /// `null` for a key that is none.
    fingerprint: Option<String>,
    /// As it is in the file, in hexadecimal digits.
    public_key: String,
    /// `valid`, `invalid` or `bad key`. Valid says that the key signed this index, not whose key it is.
    status: &'static str,
}

#[derive(Serialize)]
struct Identity<'a> {
    package: &'a str,
    version: &'a str,
    description: Option<&'a str>,
    platform: Option<&'a Platform>,
    /// Version of the program that packed.
    tool_version: Option<&'a str>,
}

#[derive(Serialize)]
struct LauncherReport {
    size: u64,
    sha256: Option<Sha256>,
}

#[derive(Serialize)]
struct SlotReport<'a> {
    id: String,
    /// Where its stored bytes are; `null` where the slot table cannot be read.
    offset: Option<u64>,
    stored_size: Option<u64>,
    sha256: Option<Sha256>,
    #[serde(flatten)]
    metadata: Option<SlotDetails<'a>>,
    #[serde(flatten)]
    unsealed: Option<UnsealedDetails<'a>>,
}

/// What only sealed metadata say of a slot.
#[derive(Serialize)]
struct SlotDetails<'a> {
    target: &'a str,
    operations: String,
    lifecycle: &'static str,
    platform: Option<&'a Platform>,
    mode: String,
    expanded_size: u64,
    index: Option<IndexReport>,
}

#[derive(Serialize)]
struct IndexReport {
    stored_size: u64,
    expanded_size: u64,
    sha256: Sha256,
    entries: u32,
    frames: u32,
}

impl<'a> Report<'a> {
    /// The report, with each part that was asked for.
    pub(crate) fn new(inspection: &'a Inspection, layout: bool, files: bool) -> Self {
        let metadata = inspection.metadata.as_ref();
        let launcher = metadata.map(|metadata| metadata.launcher);
        Self {
            schema: SCHEMA,
            file: FileReport { path: PathText::new(&inspection.path), size: inspection.file.size() },
            status: inspection.status.as_str(),
            problem: inspection.problem.as_ref().map(ProblemReport::from),
            metadata_problem: inspection.metadata_problem.as_ref().map(ProblemReport::from),
            signatures: inspection.entries.iter().map(SignatureReport::new).collect(),
            base_signer: inspection.unsealed.as_ref().map(|package| fingerprint(&package.signer)),
            package_id: inspection.package_id,
            identity: Identity::of(inspection),
            build_timestamp: inspection.index.build_timestamp,
            run: metadata.map(|metadata| &metadata.pspf.run),
            unsealed: inspection.unsealed.as_ref().map(|package| UnsealedReport::of(&package.metadata)),
            launcher: LauncherReport {
                size: launcher.map_or(inspection.index.launcher_size, |LauncherMetadata { size, .. }| size),
                sha256: launcher.map(|LauncherMetadata { sha256, .. }| sha256),
            },
            slots: slots(inspection),
            layout: layout.then(|| LayoutReport::of(inspection)),
            files: files.then(|| Files::of(inspection)),
            of: inspection.status,
        }
    }
}

impl SignatureReport {
    fn new(entry: &Entry) -> Self {
        let status = match (&entry.key, entry.valid) {
            (None, _) => "bad key",
            (Some(_), true) => "valid",
            (Some(_), false) => "invalid",
        };
        let public_key = entry.public_key.iter().map(|byte| format!("{byte:02x}")).collect();
        Self { fingerprint: entry.key.as_ref().map(fingerprint), public_key, status }
    }
}

impl<'a> Identity<'a> {
    fn of(inspection: &'a Inspection) -> Option<Self> {
        if let Some(metadata) = &inspection.metadata {
            return Some(Self {
                package: metadata.package.name.as_str(),
                version: metadata.package.version.as_str(),
                description: metadata.package.description.as_deref(),
                platform: Some(&metadata.pspf.platform),
                tool_version: Some(metadata.pspf.tool_version.as_str()),
            });
        }
        let package = inspection.unsealed.as_ref()?;
        let identity = &package.metadata.package;
        let (package, version) = (identity.name.as_str(), identity.version.as_str());
        Some(Self {
            package,
            version,
            description: identity.description.as_deref(),
            platform: None,
            tool_version: None,
        })
    }
}

fn slots(inspection: &Inspection) -> Vec<SlotReport<'_>> {
    let sealed = inspection.metadata.as_ref().map(|metadata| metadata.pspf.slots.as_slice()).unwrap_or_default();
    let unsealed = inspection.unsealed.as_ref().map(|package| package.slots.as_slice()).unwrap_or_default();
    let count = sealed.len().max(unsealed.len()).max(inspection.slots.len());
    let slot = |position: usize| {
        let (span, metadata) = (inspection.slots.get(position), sealed.get(position));
        SlotReport {
            id: inspection.slot_name(position),
            offset: span.map(|span| span.offset),
            stored_size: metadata.map(|slot| slot.stored_size).or(span.map(|span| span.len)),
            sha256: metadata.map(|slot| slot.sha256).or(unsealed.get(position).map(|slot| slot.sha256)),
            metadata: metadata.map(SlotDetails::new),
            unsealed: unsealed.get(position).map(UnsealedDetails::new),
        }
    };
    (0..count).map(slot).collect()
}

impl<'a> SlotDetails<'a> {
    fn new(slot: &'a SlotMetadata) -> Self {
        Self {
            target: slot.target.as_str(),
            operations: slot.operations.to_string(),
            lifecycle: slot.lifecycle.as_str(),
            platform: slot.platform.as_ref(),
            mode: format!("{:04o}", slot.mode.bits()),
            expanded_size: slot.expanded_size,
            index: slot.index.map(|index| IndexReport {
                stored_size: index.stored_size,
                expanded_size: index.expanded_size,
                sha256: index.sha256,
                entries: index.entries,
                frames: index.frames,
            }),
        }
    }
}

impl Report<'_> {
    /// Prints it for people. Without a part that was asked for, the usual view.
    pub(crate) fn print(&self, out: &mut dyn Write) -> io::Result<()> {
        self.print_status(out)?;
        if self.layout.is_none() && self.files.is_none() {
            self.print_usual(out)?;
        }
        if let Some(layout) = &self.layout {
            print_layout(layout, self.claimed(), out)?;
        }
        if let Some(files) = &self.files {
            files.print(self.claimed(), out)?;
        }
        Ok(())
    }

    /// What stands before that which is not proven.
    fn claimed(&self) -> &'static str {
        if self.of == Status::Verified { "" } else { "claimed " }
    }

    fn line(&self, label: &str, value: impl std::fmt::Display, out: &mut dyn Write) -> io::Result<()> {
        let claimed = self.claimed();
        let width = if claimed.is_empty() { 11 } else { 19 };
        writeln!(out, "  {:width$}{value}", format!("{}{label}", if label.is_empty() { "" } else { claimed }))
    }

    fn print_status(&self, out: &mut dyn Write) -> io::Result<()> {
        let (name, bytes) = (harmless(&self.file.path.path), size(self.file.size));
        match self.of {
            Status::Verified => {
                writeln!(out, "{name}: sealed package, {bytes}; every signature is valid")?;
                writeln!(
                    out,
                    "  what follows is what was signed; the bytes of launcher and slots were not compared with"
                )?;
                writeln!(out, "  it, and whose the key is nobody says: `pspf verify --key` checks both")?;
            }
            Status::Unsealed => {
                writeln!(out, "{name}: package without a seal, {bytes}")?;
                writeln!(out, "  its own key signed name, version and slot digests; nothing covers all the rest")?;
            }
            Status::Claimed => writeln!(out, "{name}: not verified, {bytes}; nothing that follows is proven")?,
        }
        for problem in self.problem.iter().filter(|_| self.of == Status::Claimed).chain(&self.metadata_problem) {
            writeln!(out, "  problem [{}]: {}", problem.class, problem.message)?;
            if let Some(hint) = &problem.hint {
                writeln!(out, "  hint: {hint}")?;
            }
        }
        Ok(())
    }

    fn print_usual(&self, out: &mut dyn Write) -> io::Result<()> {
        if let Some(identity) = &self.identity {
            let platform = identity.platform.map(|platform| format!(" for {platform}")).unwrap_or_default();
            let (name, version) = (harmless(identity.package), harmless(identity.version));
            self.line("package", format!("{name} {version}{platform}"), out)?;
            if let Some(description) = identity.description {
                self.line("", harmless(description), out)?;
            }
            if let Some(tool) = identity.tool_version {
                self.line("packed by", format!("pspf {tool}"), out)?;
            }
        }
        if let Some(id) = self.package_id {
            self.line("id", id, out)?;
        }
        for (number, signature) in self.signatures.iter().enumerate() {
            let key = signature.fingerprint.as_ref().unwrap_or(&signature.public_key);
            let note = if number == 0 { "; whoever made the file chose this key" } else { "" };
            let label = if number == 0 { "signed by" } else { "and by" };
            self.line(label, format!("{key} (signature {}{note})", signature.status), out)?;
        }
        if let Some(signer) = &self.base_signer {
            self.line("signed by", format!("{signer} (its metadata only; whoever made the file chose this key)"), out)?;
        }
        if let Some(run) = self.run {
            self.print_run(run, out)?;
        }
        for (label, text) in self.unsealed.iter().flat_map(UnsealedReport::lines) {
            self.line(label, text, out)?;
        }
        let digest = self.launcher.sha256.map(|sha256| format!(", sha256 {sha256}")).unwrap_or_default();
        self.line("launcher", format!("{}{digest}", size(self.launcher.size)), out)?;
        self.print_slots(out)
    }

    fn print_run(&self, run: &Run, out: &mut dyn Write) -> io::Result<()> {
        let line = |command: &[String]| command.iter().map(|word| quoted(word)).collect::<Vec<_>>().join(" ");
        self.line("command", line(&run.command), out)?;
        for (label, commands) in [("setup", &run.setup), ("shutdown", &run.shutdown)] {
            for command in commands {
                self.line(label, line(command), out)?;
            }
        }
        for (label, value) in [("argv0", &run.argv0), ("directory", &run.cwd)] {
            if let Some(value) = value {
                self.line(label, quoted(value), out)?;
            }
        }
        let EnvRules { unset, pass, map, set } = &run.env;
        let rules = [("unset", unset), ("pass", pass)];
        let plain = rules.into_iter().filter(|(_, names)| !names.is_empty());
        let plain = plain.map(|(rule, names)| {
            format!("{rule} {}", names.iter().map(|name| quoted(name)).collect::<Vec<_>>().join(" "))
        });
        let map = map.iter().map(|(from, to)| format!("map {} to {}", quoted(from), quoted(to)));
        let set = set.iter().map(|(name, value)| format!("set {}={}", quoted(name), quoted(value)));
        for (number, rule) in plain.chain(map).chain(set).enumerate() {
            self.line(if number == 0 { "variables" } else { "" }, rule, out)?;
        }
        Ok(())
    }

    fn print_slots(&self, out: &mut dyn Write) -> io::Result<()> {
        let names: Vec<String> = self.slots.iter().map(|slot| harmless(&slot.id)).collect();
        let width = names.iter().map(|name| name.chars().count()).max().unwrap_or(0);
        for (number, (slot, name)) in self.slots.iter().zip(&names).enumerate() {
            let stored = slot.stored_size.map_or_else(|| "?".to_owned(), size);
            let details = match &slot.metadata {
                None => match &slot.unsealed {
                    None => format!("{stored} stored"),
                    Some(slot) => slot.line(&stored),
                },
                Some(slot) => {
                    let platform = slot.platform.map(|platform| format!(" {platform}")).unwrap_or_default();
                    let entries = slot.index.as_ref().map(|index| match index.entries {
                        1 => ", 1 entry".to_owned(),
                        entries => format!(", {entries} entries"),
                    });
                    format!(
                        "{:8}  {}{platform}  {}  {stored} stored, {} expanded{}, as `{}`",
                        slot.operations,
                        slot.lifecycle,
                        slot.mode,
                        size(slot.expanded_size),
                        entries.unwrap_or_default(),
                        harmless(slot.target),
                    )
                }
            };
            self.line(if number == 0 { "slots" } else { "" }, format!("{name:width$}  {details}"), out)?;
        }
        Ok(())
    }
}

/// A word of a command or a variable, in quotes where it would be taken for several or for none.
fn quoted(word: &str) -> String {
    let plain = |c: char| c.is_alphanumeric() || "{}:/._-+=,@%*?".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        harmless(word)
    } else {
        format!("\"{}\"", harmless(word).replace('"', "\\\""))
    }
}
