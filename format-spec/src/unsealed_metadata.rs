//! The metadata of packages without a seal, as the tools of the reference release write them (SPEC §8.5). Keys that
//! their Rust launcher does not read are not read here either.

use alloc::collections::BTreeMap;
use alloc::string::{String, ToString};
use alloc::vec::Vec;

use serde::Deserialize;

/// What is signed, under the keys that it has in the JSON.
#[derive(Clone, Debug, Deserialize)]
#[expect(missing_docs, reason = "SPEC §8.5 describes each field under the same name")]
pub struct UnsealedMetadata {
    pub package: UnsealedIdentity,
    pub slots: Vec<UnsealedSlotMetadata>,
    pub build: UnsealedBuild,
    pub launcher: Option<UnsealedLauncher>,
    #[serde(default)]
    pub execution: UnsealedExecution,
    pub setup_commands: Option<Vec<SetupCommand>>,
    pub runtime: Option<UnsealedRuntime>,
    pub workenv: Option<Workenv>,
    pub policy: Option<UnsealedPolicy>,
    /// However the key is spelled, and whatever its value.
    #[serde(default, deserialize_with = "is_there")]
    pub(crate) pspf: bool,
}

/// True for a key that is there, `null` or not.
fn is_there<'de, D: serde::Deserializer<'de>>(value: D) -> Result<bool, D::Error> {
    serde::de::IgnoredAny::deserialize(value).map(|_| true)
}

/// `package`.
#[derive(Clone, Debug, Deserialize)]
#[expect(missing_docs, reason = "as above")]
pub struct UnsealedIdentity {
    pub name: String,
    pub version: String,
    pub description: Option<String>,
}

/// An element of `slots`.
#[derive(Clone, Debug, Deserialize)]
#[expect(missing_docs, reason = "as above")]
pub struct UnsealedSlotMetadata {
    pub slot: u64,
    pub id: String,
    pub target: String,
    pub size: u64,
    pub checksum: String,
    pub operations: String,
    pub purpose: String,
    pub lifecycle: String,
    pub permissions: Option<String>,
}

/// `build`.
#[derive(Clone, Debug, Deserialize)]
#[expect(missing_docs, reason = "as above")]
pub struct UnsealedBuild {
    pub tool: String,
    pub tool_version: Option<String>,
}

/// `launcher`.
#[derive(Clone, Debug, Deserialize)]
#[expect(missing_docs, reason = "as above")]
pub struct UnsealedLauncher {
    pub size: Option<u64>,
    pub checksum: Option<String>,
}

/// `execution`.
#[derive(Clone, Debug, Default, Deserialize)]
#[expect(missing_docs, reason = "as above")]
pub struct UnsealedExecution {
    pub command: Option<String>,
    #[serde(default)]
    pub env: BTreeMap<String, String>,
}

/// An element of `setup_commands`.
#[derive(Clone, Debug, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
#[expect(missing_docs, reason = "as above")]
pub enum SetupCommand {
    Execute { command: String },
    EnumerateAndExecute { command: String, enumerate: Enumerate },
    WriteFile { path: String, content: String },
    Chmod { path: String, mode: String },
}

/// `enumerate` of a setup command.
#[derive(Clone, Debug, Deserialize)]
#[expect(missing_docs, reason = "as above")]
pub struct Enumerate {
    pub path: String,
    pub pattern: String,
}

/// `runtime`.
#[derive(Clone, Debug, Deserialize)]
#[expect(missing_docs, reason = "as above")]
pub struct UnsealedRuntime {
    #[serde(default)]
    pub env: RuntimeEnv,
}

/// `runtime.env`.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
#[expect(missing_docs, reason = "as above")]
pub struct RuntimeEnv {
    pub unset: Vec<String>,
    pub pass: Vec<String>,
    pub map: BTreeMap<String, String>,
    pub set: BTreeMap<String, String>,
}

/// `policy`, and all of its text.
#[derive(Clone, Debug, Deserialize)]
#[serde(try_from = "serde_json::Value")]
#[expect(missing_docs, reason = "as above")]
pub struct UnsealedPolicy {
    pub platforms: Vec<String>,
    pub refuse_root: bool,
    pub require_env: Vec<String>,
    /// As JSON without blanks and with ascending keys.
    pub(crate) text: String,
}

impl TryFrom<serde_json::Value> for UnsealedPolicy {
    type Error = serde_json::Error;

    fn try_from(value: serde_json::Value) -> Result<Self, serde_json::Error> {
        #[derive(Default, Deserialize)]
        #[serde(default)]
        struct Rules {
            platforms: Option<Vec<String>>,
            refuse_root: Option<bool>,
            require_env: Option<Vec<String>>,
        }
        let text = value.to_string();
        let Rules { platforms, refuse_root, require_env } = serde_json::from_value(value)?;
        Ok(Self {
            platforms: platforms.unwrap_or_default(),
            refuse_root: refuse_root.unwrap_or_default(),
            require_env: require_env.unwrap_or_default(),
            text,
        })
    }
}

/// `workenv`.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
#[expect(missing_docs, reason = "as above")]
pub struct Workenv {
    pub directories: Vec<WorkenvDirectory>,
    pub env: BTreeMap<String, String>,
}

/// An element of `workenv.directories`.
#[derive(Clone, Debug, Deserialize)]
#[expect(missing_docs, reason = "as above")]
pub struct WorkenvDirectory {
    pub path: String,
    pub mode: Option<String>,
}
