//! Packages without a seal, as the reference tools make them (SPEC §8.4, §8.5): what their signature covers, what
//! follows from that, and what not.

use alloc::borrow::ToOwned;
use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;

use pspf_keys::{PublicKey, Signature};

use crate::unsealed::says_sealed;
use crate::unsealed_metadata::{UnsealedMetadata, UnsealedSlotMetadata};
use crate::unsealed_tool::{Operation, UnsealedTool};
use crate::{Error, IndexBlock, Record, Sha256, SlotDescriptor, Span, TreePath, UnsealedIndex, gzip};

/// A slot of a package without a seal. Everything but its place follows from what is signed.
#[derive(Clone, Debug)]
pub struct UnsealedSlot {
    /// Its id, as the metadata has it.
    pub id: String,
    /// Its stored bytes, as the unsigned slot table places them.
    pub span: Span,
    /// The digest of its stored bytes.
    pub sha256: Sha256,
    /// Whether only the first 64 bits of that digest are signed.
    pub is_short: bool,
    /// What was done to the content, in this order.
    pub operations: Vec<Operation>,
    /// Where a single file goes inside the work environment; `None` for its top.
    pub target: Option<TreePath>,
    /// Unix mode of a single file, without setuid, setgid and sticky bits.
    pub permissions: u16,
    /// As the metadata has it.
    pub lifecycle: String,
}

impl UnsealedSlot {
    /// The path inside the work environment that a `target` names; `None` for its top.
    ///
    /// # Errors
    /// [`Error::Name`] where it leads elsewhere.
    pub fn target_of(target: &str) -> Result<Option<TreePath>, Error> {
        if target.starts_with('/') {
            return Err(Error::Name { name: target.to_owned(), reason: "a target is not absolute" });
        }
        let path = target.strip_prefix("{workenv}").unwrap_or(target);
        let plain: Vec<&str> = path.split('/').filter(|name| !name.is_empty() && *name != ".").collect();
        if plain.is_empty() { Ok(None) } else { TreePath::try_from(plain.join("/").as_str()).map(Some) }
    }

    /// Whether its content is a tar archive, which goes to the top of the work environment.
    pub fn is_tree(&self) -> bool {
        self.operations.first() == Some(&Operation::Tar)
    }

    /// The operations as text, as SPEC §4.2 writes them.
    pub fn operations_text(&self) -> String {
        let name = |operation: &Operation| match operation {
            Operation::Tar => "tar",
            Operation::Gzip => "gzip",
            Operation::Bzip2 => "bzip2",
            Operation::Xz => "xz",
            Operation::Zstd => "zstd",
        };
        let names: Vec<_> = self.operations.iter().map(name).collect();
        if names.is_empty() { "raw".to_owned() } else { names.join("|") }
    }

    /// Whether it is gone once the setup is done.
    pub fn is_init(&self) -> bool {
        self.lifecycle == "init"
    }
}

/// A package without a seal whose metadata is what its embedded key signed.
#[derive(Clone, Debug)]
pub struct UnsealedPackage {
    /// The tool that made it, by its own account.
    pub tool: UnsealedTool,
    /// All of the metadata that means something.
    pub metadata: UnsealedMetadata,
    /// The embedded key.
    pub signer: PublicKey,
    /// The slots.
    pub slots: Vec<UnsealedSlot>,
    /// Length and digest of the launcher, where they are signed.
    pub launcher: Option<(u64, Sha256)>,
    /// Names what the package does: SHA-256 of the key and of the JSON that it signed.
    pub id: Sha256,
}

impl UnsealedIndex {
    /// Verifies the base signature, and holds everything else to the signed metadata, as the tool encodes them that
    /// made the package.
    ///
    /// # Errors
    /// [`Error::SealRemoved`] where the metadata says that the package is sealed; otherwise what does not hold.
    pub fn open(&self, stored: &[u8], slot_table: &[u8], file_len: u64) -> Result<UnsealedPackage, Error> {
        let head = &self.0.head;
        let found = Sha256::of(stored);
        if found.0 != head.metadata_checksum {
            return Err(Error::Digest { part: "metadata", expected: Sha256(head.metadata_checksum), found });
        }
        let json = gzip::expand(stored)?;
        if says_sealed(&json) {
            return Err(Error::SealRemoved);
        }
        let metadata: UnsealedMetadata = serde_json::from_slice(&json)
            .map_err(|error| Error::Json { reason: error.to_string().chars().take(200).collect() })?;
        if metadata.pspf {
            return Err(Error::SealRemoved);
        }
        let signer = PublicKey::from_bytes(&head.public_key).map_err(|_| Error::SignerKey { position: 0 })?;
        if signer.verify(&json, &Signature::from_bytes(&self.0.base_signature())).is_err() {
            return Err(Error::Signature { position: 0, signer: signer.fingerprint() });
        }
        let tool = UnsealedTool::of(&metadata)?;
        let index = self.0.block();
        tool.hold_index(&index, &metadata)?;
        let slots = slots(tool, &index, &metadata, slot_table, file_len)?;
        let launcher = launcher(&metadata)?;
        let mut id = b"PSPF unsealed version 1\n".to_vec();
        id.extend_from_slice(&head.public_key);
        id.extend_from_slice(&Sha256::of(&json).0);
        Ok(UnsealedPackage { tool, metadata, signer, slots, launcher, id: Sha256::of(&id) })
    }
}

fn slots(
    tool: UnsealedTool,
    index: &IndexBlock,
    metadata: &UnsealedMetadata,
    slot_table: &[u8],
    file_len: u64,
) -> Result<Vec<UnsealedSlot>, Error> {
    let rows: Vec<_> = slot_table.chunks(SlotDescriptor::LEN).filter_map(SlotDescriptor::from_bytes).collect();
    if rows.len() != metadata.slots.len() {
        return Err(Error::Layout { part: "slot table" });
    }
    let mut attested = false;
    let slots = (0..).zip(rows.iter().zip(&metadata.slots)).map(|(position, (row, slot))| {
        let span = Span { offset: row.offset, len: row.size };
        if span.end().is_none_or(|end| end > file_len) {
            return Err(Error::Layout { part: "slot table" });
        }
        let is_short = tool == UnsealedTool::Python && slot.id == ATTESTATION && slot.lifecycle == "attestation";
        let sha256 = if is_short {
            attested = true;
            attestation(index, slot)?
        } else {
            let digits = slot.checksum.strip_prefix("sha256:");
            digits
                .and_then(Sha256::from_hex)
                .ok_or_else(|| Error::Json { reason: format!("slot `{}` has no full SHA-256", slot.id) })?
        };
        let (operations, permissions) = tool.hold_descriptor(position, row, slot, sha256)?;
        // An archive goes to the top, whatever its target says.
        let target = match operations.first() {
            Some(Operation::Tar) => UnsealedSlot::target_of(&slot.target).unwrap_or(None),
            _ => UnsealedSlot::target_of(&slot.target)?,
        };
        let slot = UnsealedSlot {
            id: slot.id.clone(),
            span,
            sha256,
            is_short,
            operations,
            target,
            permissions: permissions & 0o777,
            lifecycle: slot.lifecycle.clone(),
        };
        if slot.target.is_none() && !slot.is_tree() {
            return Err(Error::Name { name: slot.id, reason: "a single file needs a name in the work environment" });
        }
        Ok(slot)
    });
    let slots = slots.collect::<Result<_, _>>()?;
    if !attested && index.attestation_sbom_digest != [0; 64] {
        return Err(Error::UnsealedIndex { field: "attestation_sbom_digest" });
    }
    Ok(slots)
}

/// The slot that the builder in Python adds by itself.
const ATTESTATION: &str = "_attestation";

/// The digest of the attestation: its first 16 digits are signed, all of them stand in the index.
fn attestation(index: &IndexBlock, slot: &UnsealedSlotMetadata) -> Result<Sha256, Error> {
    let digits = core::str::from_utf8(&index.attestation_sbom_digest).ok();
    let digest = digits.and_then(Sha256::from_hex);
    let agrees = |digest: &Sha256| slot.checksum.len() == 16 && digest.to_string().starts_with(&slot.checksum);
    digest.filter(agrees).ok_or(Error::UnsealedIndex { field: "attestation_sbom_digest" })
}

/// The builder in Python writes the prefix of a digest twice, that in Go nothing at all.
fn launcher(metadata: &UnsealedMetadata) -> Result<Option<(u64, Sha256)>, Error> {
    let Some((launcher, checksum)) =
        metadata.launcher.as_ref().and_then(|launcher| Some((launcher, launcher.checksum.as_deref()?)))
    else {
        return Ok(None);
    };
    let digits = checksum.strip_prefix("sha256:");
    let digits = digits.map(|digits| digits.strip_prefix("sha256:").unwrap_or(digits));
    match (digits.and_then(Sha256::from_hex), launcher.size) {
        (Some(sha256), Some(size)) => Ok(Some((size, sha256))),
        _ => Err(Error::Json { reason: "`launcher` has no size and SHA-256".to_owned() }),
    }
}
