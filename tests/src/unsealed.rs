//! A writer of packages without a seal, as the builder in Go of the reference release makes them: it writes the fewest
//! fields. Whatever the metadata say, index and slot table agree with them.

use pspf_keys::SecretKey;
use serde_json::{Value, json};

use crate::raw::{self, hex, put, sha256};

/// A slot: its words in the metadata, and its stored bytes.
#[derive(Clone, Debug)]
pub struct UnsealedSlot {
    id: &'static str,
    target: String,
    operations: &'static str,
    permissions: u16,
    stored: Vec<u8>,
}

impl UnsealedSlot {
    /// A slot; `operations` is `raw`, `gzip`, `tar` or `tgz`.
    pub fn new(id: &'static str, target: &str, operations: &'static str, permissions: u16, stored: Vec<u8>) -> Self {
        Self { id, target: target.to_owned(), operations, permissions, stored }
    }

    /// A program of one file.
    pub fn program(target: &str, content: &[u8]) -> Self {
        Self::new("program", target, "raw", 0o755, content.to_vec())
    }

    fn metadata(&self, number: usize) -> Value {
        json!({
            "slot": number, "id": self.id, "source": "", "target": self.target, "size": self.stored.len(),
            "checksum": format!("sha256:{}", hex(&sha256(&self.stored))), "operations": self.operations,
            "purpose": "", "lifecycle": "", "permissions": format!("{:04o}", self.permissions),
        })
    }

    fn row(&self, number: usize, offset: usize) -> [u8; 64] {
        let mut row = [0; 64];
        let code: u64 = match self.operations {
            "tgz" => 0x1001,
            "tar" => 0x01,
            "gzip" => 0x10,
            _ => 0,
        };
        let len = self.stored.len() as u64;
        for (at, number) in [(0, number as u64), (16, offset as u64), (24, len), (32, len), (40, code)] {
            put(&mut row, at, &number.to_le_bytes());
        }
        put(&mut row, 8, &sha256(self.target.as_bytes())[..8]);
        put(&mut row, 48, &sha256(&self.stored)[..8]);
        put(&mut row, 57, &[2, 128]);
        put(&mut row, 62, &self.permissions.to_le_bytes());
        row
    }
}

/// The metadata of a package that starts this command, with more keys.
pub fn metadata(command: &str, slots: &[UnsealedSlot], more: Value) -> Value {
    let slots: Vec<Value> = slots.iter().enumerate().map(|(number, slot)| slot.metadata(number)).collect();
    let mut metadata = json!({
        "format": "PSPF/2025", "package": {"name": "forged", "version": "1"}, "slots": slots,
        "execution": {"command": command, "env": {}}, "build": {"tool": "flavor-go", "tool_version": "1.0.0"},
    });
    if let (Some(metadata), Some(more)) = (metadata.as_object_mut(), more.as_object()) {
        metadata.extend(more.clone());
    }
    metadata
}

/// The package around these metadata, signed by `signer`, behind this launcher.
pub fn package(launcher: &[u8], metadata: &Value, slots: &[UnsealedSlot], signer: &SecretKey) -> Vec<u8> {
    let json = metadata.to_string();
    let stored = raw::gzip(json.as_bytes());
    let mut bytes = launcher.to_vec();
    let mut index = [0; raw::INDEX];
    let number = |index: &mut [u8; raw::INDEX], at: usize, value: usize| {
        put(index, at, &(value as u64).to_le_bytes());
    };
    let align = |bytes: &mut Vec<u8>| bytes.resize(bytes.len().next_multiple_of(8), 0);
    number(&mut index, 16, bytes.len());
    number(&mut index, 24, bytes.len());
    number(&mut index, 32, stored.len());
    bytes.extend(&stored);
    align(&mut bytes);
    let table = bytes.len();
    number(&mut index, 40, table);
    number(&mut index, 48, 64 * slots.len());
    bytes.resize(table + 64 * slots.len(), 0);
    for (position, slot) in slots.iter().enumerate() {
        align(&mut bytes);
        let row = slot.row(position, bytes.len());
        put(&mut bytes, table + 64 * position, &row);
        bytes.extend(&slot.stored);
    }
    number(&mut index, 8, bytes.len() + 8200);
    put(&mut index, 0, &0x2025_0001_u32.to_le_bytes());
    put(&mut index, 56, &(slots.len() as u32).to_le_bytes());
    put(&mut index, 64, signer.public_key().as_bytes());
    put(&mut index, 96, &sha256(&stored));
    put(&mut index, 128, &signer.sign(json.as_bytes()).to_bytes());
    put(&mut index, 1376, hex(&sha256(signer.public_key().as_bytes())).as_bytes());
    bytes.extend([0xf0, 0x9f, 0x93, 0xa6]);
    bytes.extend(index);
    bytes.extend([0xf0, 0x9f, 0xaa, 0x84]);
    raw::with_index(&bytes, index)
}
