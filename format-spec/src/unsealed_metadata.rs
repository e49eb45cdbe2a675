//! The metadata of packages without a seal, as the tools of the reference release write them (SPEC §8.5). Keys that
//! their Rust launcher does not read are not read here either.

use alloc::collections::BTreeMap;
use alloc::string::String;
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
    pub policy: Option<serde_json::Value>,
    /// However the key is spelled.
    pub(crate) pspf: Option<serde::de::IgnoredAny>,
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
