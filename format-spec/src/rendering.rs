//! The JSON as it stands in the file (SPEC §6.1): the `pspf` key, and around it what PSPF/2025 readers need.
//!
//! Everything outside `package` and `pspf` is computed from them.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::template::{Piece, pieces};
use crate::{Error, LauncherMetadata, Metadata, Package, Pspf, Sha256, SlotMetadata};

/// All keys, in their order.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Rendering {
    format: String,
    format_version: String,
    package: Package,
    slots: Vec<BaseSlot>,
    execution: Execution,
    verification: Verification,
    build: Build,
    launcher: Launcher,
    pspf: Pspf,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct BaseSlot {
    slot: u32,
    id: String,
    source: String,
    target: String,
    size: u64,
    checksum: String,
    operations: String,
    purpose: String,
    lifecycle: String,
    permissions: String,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Execution {
    command: String,
    env: BTreeMap<String, String>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Verification {
    signed: bool,
    require_verification: bool,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Build {
    tool: String,
    tool_version: String,
    deterministic: bool,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Launcher {
    tool: String,
    size: u64,
    checksum: String,
}

impl Rendering {
    pub(crate) fn of(metadata: &Metadata) -> Self {
        let pspf = &metadata.pspf;
        let tool_version = pspf.tool_version.to_string();
        let render = |template: &String| render(template, pspf);
        Self {
            format: "PSPF/2025".to_owned(),
            format_version: "1.0.0".to_owned(),
            package: metadata.package.clone(),
            slots: (0..).zip(&pspf.slots).map(|(position, slot)| BaseSlot::of(position, slot)).collect(),
            execution: Execution {
                command: pspf.run.command.iter().map(|arg| quote(&render(arg))).collect::<Vec<_>>().join(" "),
                env: pspf.run.env.set.iter().map(|(name, value)| (name.clone(), render(value))).collect(),
            },
            verification: Verification { signed: true, require_verification: true },
            build: Build { tool: "pspf".to_owned(), tool_version, deterministic: true },
            launcher: Launcher {
                tool: "pspf-launcher".to_owned(),
                size: metadata.launcher.size,
                checksum: checksum(&metadata.launcher.sha256),
            },
            pspf: pspf.clone(),
        }
    }

    /// The metadata; whether the rendering agrees with it is for the caller to compare.
    pub(crate) fn into_metadata(self) -> Result<Metadata, Error> {
        let digest = self.launcher.checksum.strip_prefix("sha256:").and_then(Sha256::from_hex);
        Ok(Metadata {
            package: self.package,
            launcher: LauncherMetadata { size: self.launcher.size, sha256: digest.ok_or(Error::NotCanonical)? },
            pspf: self.pspf,
        })
    }
}

impl BaseSlot {
    fn of(position: u32, slot: &SlotMetadata) -> Self {
        Self {
            slot: position,
            id: slot.id.to_string(),
            source: String::new(),
            target: slot.target.to_string(),
            size: slot.stored_size,
            checksum: checksum(&slot.sha256),
            operations: slot.operations.to_string(),
            purpose: "payload".to_owned(),
            lifecycle: slot.lifecycle.as_str().to_owned(),
            permissions: format!("{:04o}", slot.mode.bits()),
        }
    }
}

fn checksum(digest: &Sha256) -> String {
    format!("sha256:{digest}")
}

/// A template with slots by position, as PSPF/2025 has them.
fn render(template: &str, pspf: &Pspf) -> String {
    let rendered = pieces(template).unwrap_or_default().into_iter().map(|piece| match piece {
        Piece::Text(text) => text.to_owned(),
        Piece::Slot(id) => match pspf.slots.iter().position(|slot| slot.id == id) {
            Some(position) => format!("{{slot:{position}}}"),
            None => format!("{{slot:{id}}}"),
        },
        Piece::PackageDir => "{package_dir}".to_owned(),
        Piece::Cache => "{cache}".to_owned(),
    });
    rendered.collect()
}

/// One argument in the shell-like form that PSPF/2025 readers split.
fn quote(argument: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "{}:/._+=@%,-".contains(c);
    if !argument.is_empty() && argument.chars().all(plain) {
        return argument.to_owned();
    }
    format!("'{}'", argument.replace('\'', r"'\''"))
}
