//! The JSON manifest of the reference builders.

use std::path::{Path, PathBuf};

use pspf_format::{Operation, Sha256, Span, UnsealedMetadata, UnsealedSlot, UnsealedTool};
use pspf_launcher::PackageFile;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::failure::{At, Failure, shown};
use crate::input::Input;
use crate::paths::c_path;
use crate::reference_package;

/// What a slot of it says; other keys mean nothing to the reference launchers either.
#[derive(Debug, Deserialize)]
struct Slot {
    id: String,
    source: String,
    target: String,
    #[serde(default)]
    operations: String,
    #[serde(default)]
    purpose: String,
    #[serde(default)]
    lifecycle: String,
    permissions: Option<String>,
}

/// The keys that are taken over.
const KEYS: [&str; 6] = ["package", "execution", "slots", "setup_commands", "runtime", "workenv"];

/// Reads the manifest and unpacks what it names, as a reference launcher would at the first start of its package.
pub(crate) fn read(path: &Path) -> anyhow::Result<Input> {
    let text = std::fs::read(path).at("reading", path)?;
    let value: Value = serde_json::from_slice(&text).map_err(|error| wrong(path, error.to_string()))?;
    let (metadata, sources) = parse(value.clone()).map_err(|error| reference_package::named(error, path))?;
    let base = path.parent().unwrap_or(Path::new(""));
    let (mut files, mut slots) = (Vec::new(), Vec::new());
    for (slot, source) in metadata.slots.iter().zip(&sources) {
        let source = base.join(source.trim_start_matches("{workenv}/"));
        let named = || format!("slot `{}`", slot.id.escape_debug());
        let file = PackageFile::open(&c_path(&source)).map_err(|error| anyhow::Error::new(error).context(named()))?;
        slots.push(described(slot, &file, &source).map_err(|error| error.context(named()))?);
        files.push(file);
    }
    let files: Vec<&PackageFile> = files.iter().collect();
    crate::interrupt::prepare().at("preparing to be interrupted for", path)?;
    let mut input = reference_package::input(&metadata, &slots, &files, Vec::new())
        .map_err(|error| reference_package::named(error, path))?;
    for key in value.as_object().into_iter().flat_map(|keys| keys.keys()).filter(|key| !KEYS.contains(&key.as_str())) {
        if key != "format" {
            input.notes.push(format!("`{}` of the manifest is ignored", key.escape_debug()));
        }
    }
    input.file = Some(path.to_owned());
    Ok(input)
}

fn wrong(path: &Path, reason: impl Into<String>) -> anyhow::Error {
    Failure::usage(format!("{}: {}", shown(path), reason.into()))
        .hint("a JSON file is taken for a manifest of the reference builders; `pspf pack --help` shows one of pspf")
        .into()
}

/// The manifest as the metadata that a builder would make of it, and the source of each slot.
fn parse(mut value: Value) -> anyhow::Result<(UnsealedMetadata, Vec<String>)> {
    let usage = |error: serde_json::Error| Failure::usage(error.to_string());
    let slots: Vec<Slot> = serde_json::from_value(value.get("slots").cloned().unwrap_or_default()).map_err(usage)?;
    let described = slots.iter().enumerate().map(|(number, slot)| {
        json!({
            "slot": number, "id": slot.id, "target": slot.target, "size": 0, "checksum": "",
            "operations": slot.operations, "purpose": slot.purpose, "lifecycle": slot.lifecycle,
            "permissions": slot.permissions,
        })
    });
    let described: Vec<Value> = described.collect();
    let Some(keys) = value.as_object_mut() else { return Failure::usage("it is no object").err() };
    keys.insert("slots".to_owned(), described.into());
    keys.insert("build".to_owned(), json!({"tool": "flavor-rs"}));
    keys.remove("launcher");
    let metadata = serde_json::from_value(value).map_err(usage)?;
    Ok((metadata, slots.into_iter().map(|slot| slot.source).collect()))
}

/// The slot that a builder would make of this file: it is in the form already that the operations name.
fn described(
    slot: &pspf_format::UnsealedSlotMetadata,
    file: &PackageFile,
    source: &PathBuf,
) -> anyhow::Result<UnsealedSlot> {
    let Some(operations) = operations(&slot.operations) else {
        return Failure::usage(format!("operations `{}` are unknown", slot.operations.escape_debug()))
            .hint("the reference builders would take them for none; use raw, gzip, tar or tgz")
            .err();
    };
    let bytes = std::fs::read(source).at("reading", source)?;
    let permissions = slot.permissions.as_deref().unwrap_or("0600");
    let permissions = u16::from_str_radix(permissions.trim_start_matches("0o"), 8)
        .map_err(|_| Failure::usage(format!("permissions `{}` are no octal number", permissions.escape_debug())))?;
    let target = UnsealedSlot::target_of(&slot.target).map_err(|error| Failure::usage(error.to_string()))?;
    if target.is_none() && operations.first() != Some(&Operation::Tar) {
        return Failure::usage("a single file needs a name in the work environment").err();
    }
    Ok(UnsealedSlot {
        id: slot.id.clone(),
        span: Span { offset: 0, len: file.size() },
        sha256: Sha256::of(&bytes),
        is_short: false,
        operations,
        target,
        permissions: permissions & 0o777,
        lifecycle: slot.lifecycle.clone(),
    })
}

/// Every word that one of the builders knows: commas are those of the one in Rust, all others of the one in Python.
fn operations(text: &str) -> Option<Vec<Operation>> {
    UnsealedTool::Python.operations(&text.replace(',', "|")).filter(|operations| Operation::are_read(operations))
}
