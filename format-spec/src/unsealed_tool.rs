//! How the tools of the reference release write a package (SPEC §8.5): what the unsigned index and slot table must hold
//! for metadata that were signed. What is not in these tables is refused.

use alloc::vec::Vec;

use crate::unsealed_metadata::{UnsealedMetadata, UnsealedSlotMetadata};
use crate::{Error, FORMAT_VERSION, IndexBlock, Sha256, SlotDescriptor};

/// A tool that makes packages without a seal, by `build.tool` in the metadata.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UnsealedTool {
    /// The builder in Rust.
    Rust,
    /// The builder in Go.
    Go,
    /// The builder in Python, and the command line around it.
    Python,
}

/// One operation of a chain, with the code that it has in a slot descriptor (SPEC §4.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "they are the names of formats")]
pub enum Operation {
    Tar = 0x01,
    Gzip = 0x10,
    Bzip2 = 0x13,
    Xz = 0x16,
    Zstd = 0x1B,
}

use Operation::{Bzip2, Gzip, Tar, Xz, Zstd};

impl Operation {
    /// Whether launchers read such a chain: one archive or none, in one code or none.
    pub fn are_read(chain: &[Self]) -> bool {
        matches!(chain.strip_prefix(&[Tar]).unwrap_or(chain), [] | [Gzip | Bzip2 | Xz | Zstd])
    }
}

impl UnsealedTool {
    pub(crate) fn of(metadata: &UnsealedMetadata) -> Result<Self, Error> {
        match metadata.build.tool.as_str() {
            "flavor-rs" => Ok(Self::Rust),
            "flavor-go" => Ok(Self::Go),
            "flavor-python" => Ok(Self::Python),
            tool => Err(Error::Json {
                reason: alloc::format!(
                    "`build.tool` is `{tool}`, which is none of flavor-rs, flavor-go, flavor-python"
                ),
            }),
        }
    }

    /// The chain that the tool makes of this text. The builders in Rust and Go take what they do not know for nothing.
    pub fn operations(self, text: &str) -> Option<Vec<Operation>> {
        Some(match self {
            Self::Go => match text {
                "tgz" | "tar.gz" => [Tar, Gzip].into(),
                "tar" => [Tar].into(),
                "gzip" => [Gzip].into(),
                _ => Vec::new(),
            },
            Self::Rust if text == "tgz" => [Tar, Gzip].into(),
            Self::Rust => text
                .split(',')
                .filter_map(|word| match word.trim() {
                    "tar" => Some(Tar),
                    "gzip" => Some(Gzip),
                    _ => None,
                })
                .collect(),
            Self::Python => {
                let text = text.to_ascii_lowercase();
                match text.as_str() {
                    "" | "raw" | "none" => Vec::new(),
                    "tar.gz" | "tgz" => [Tar, Gzip].into(),
                    "tar.bz2" | "tbz2" => [Tar, Bzip2].into(),
                    "tar.xz" | "txz" => [Tar, Xz].into(),
                    "tar.zst" => [Tar, Zstd].into(),
                    _ => {
                        let words = text.split('|').map(str::trim).filter(|word| !word.is_empty());
                        words
                            .map(|word| match word {
                                "tar" => Some(Tar),
                                "gzip" => Some(Gzip),
                                "bzip2" => Some(Bzip2),
                                "xz" => Some(Xz),
                                "zstd" => Some(Zstd),
                                _ => None,
                            })
                            .collect::<Option<_>>()?
                    }
                }
            }
        })
    }

    /// The permissions that the tool makes of this text.
    fn permissions(self, text: Option<&str>) -> Option<u16> {
        let octal = |digits: &str| {
            // A sign in front is taken by the one in Rust.
            let is_signed = self != Self::Rust && digits.starts_with('+');
            u16::from_str_radix(digits, 8).ok().filter(|_| !is_signed)
        };
        match (self, text) {
            // What it makes of these is not known.
            (Self::Python, Some(text)) if text.contains(['_', '+', '-']) => None,
            (Self::Python, text) => {
                let bare = text.map(str::trim).map(|text| match text.strip_prefix("0o") {
                    Some(digits) => digits,
                    None if text.len() > 1 => text.strip_prefix('0').unwrap_or(text).trim(),
                    None => text,
                });
                let digits = bare.map(|digits| digits.strip_prefix("0o").unwrap_or(digits));
                let bits = digits.and_then(|digits| u64::from_str_radix(digits, 8).ok());
                // The low and the high byte are stored, and no more.
                Some(bits.map_or(0o644, |bits| (bits & 0xFFFF) as u16))
            }
            (Self::Go, Some("0")) | (_, None) => Some(0o600),
            (Self::Go, Some(text)) => Some(octal(text).unwrap_or(0o600)),
            (Self::Rust, Some(text)) => Some(octal(text).filter(|&bits| bits != 0).unwrap_or(0o600)),
        }
    }

    fn purpose(self, word: &str) -> u8 {
        let words: [&[&str]; 3] = match self {
            Self::Rust | Self::Go => [&["runtime"], &["tool"], &[]],
            Self::Python => [&["code"], &["config"], &["media"]],
        };
        let word = self.word(word);
        (1..).zip(words).find(|(_, words)| words.contains(&&*word)).map_or(0, |(code, _)| code)
    }

    fn lifecycle(self, word: &str) -> u8 {
        const WORDS: [&str; 12] = [
            "init",
            "startup",
            "runtime",
            "shutdown",
            "cache",
            "temporary",
            "lazy",
            "eager",
            "dev",
            "config",
            "platform",
            "attestation",
        ];
        const RUNTIME: u8 = 2;
        let word = self.word(word);
        let code = (0..).zip(WORDS).find(|(_, known)| *known == &*word).map_or(RUNTIME, |(code, _)| code);
        if code == 11 && self != Self::Python { RUNTIME } else { code }
    }

    /// A word as the tool compares it.
    fn word(self, word: &str) -> alloc::string::String {
        if self == Self::Python { word.to_ascii_lowercase() } else { word.into() }
    }

    /// Fails where a slot descriptor is not the one that this tool writes for the signed metadata of the slot, whose
    /// stored bytes have this digest. Where they lie, and what length Python states for their content, is left open.
    pub(crate) fn hold_descriptor(
        self,
        position: u64,
        row: &SlotDescriptor,
        slot: &UnsealedSlotMetadata,
        sha256: Sha256,
    ) -> Result<(Vec<Operation>, u16), Error> {
        let named = if self == Self::Go { &slot.target } else { &slot.id };
        let wrong = |field: &'static str| Error::UnsealedField { slot: slot.id.clone(), field };
        let operations = self.operations(&slot.operations).ok_or_else(|| wrong("operations"))?;
        let permissions = self.permissions(slot.permissions.as_deref()).ok_or_else(|| wrong("permissions"))?;
        if !Operation::are_read(&operations) {
            return Err(Error::Json {
                reason: alloc::format!("slot `{}`: no launcher reads such operations", slot.id),
            });
        }
        let code = operations.iter().rev().fold(0, |code, operation| code << 8 | *operation as u64);
        let length = if self == Self::Python { row.original_size } else { row.size };
        let agrees: [(&str, bool); 9] = [
            ("id", row.id == position && slot.slot == position),
            ("name_hash", row.name_hash == Sha256::of(named.as_bytes()).short()),
            ("size", row.original_size == length && (self == Self::Python || slot.size == row.size)),
            ("operations", row.operations == code),
            ("checksum", row.checksum == sha256.short()),
            ("purpose", row.purpose == self.purpose(&slot.purpose)),
            ("lifecycle", row.lifecycle == self.lifecycle(&slot.lifecycle)),
            ("priority", row.priority == if self == Self::Go { 128 } else { 1 } && row.platform == 0),
            ("permissions", row.permissions == permissions && row.reserved == [0; 2]),
        ];
        match agrees.iter().find(|(_, agrees)| !agrees) {
            Some((field, _)) => Err(wrong(field)),
            None => Ok((operations, permissions)),
        }
    }

    /// Fails where a field of the index is not what this tool writes for the signed metadata.
    pub(crate) fn hold_index(self, index: &IndexBlock, metadata: &UnsealedMetadata) -> Result<(), Error> {
        let named = |name: &[u8; 64], digest: Option<Sha256>| match digest {
            Some(digest) => name == digest.to_hex().as_slice(),
            None => *name == [0; 64],
        };
        let signer = named(&index.attestation_key_fp, Some(Sha256::of(&index.public_key)));
        let policy = metadata.policy.as_ref().filter(|_| self == Self::Python);
        let policy = policy.map(|policy| Sha256::of(policy.text.as_bytes()));
        let base = !matches!(self, Self::Go);
        let python = self == Self::Python;
        let when = |condition: bool, value: u64| if condition { value } else { 0 };
        let launcher = metadata.launcher.as_ref().and_then(|launcher| launcher.size);
        let fields: [(&'static str, bool); 20] = [
            ("flags", index.flags == 0),
            ("launcher_size", launcher.is_none_or(|size| size == index.launcher_size)),
            ("slot_table_size", index.slot_table_size == 64 * u64::from(index.slot_count)),
            ("integrity_signature", index.integrity_signature.iter().skip(64).all(|byte| *byte == 0)),
            ("access_mode", u64::from(index.access_mode) == when(python, 2)),
            ("cache_strategy", u64::from(index.cache_strategy) == when(python, 1)),
            ("encryption_type", (index.encryption_type, index.reserved_hint) == (0, 0)),
            ("page_size", u64::from(index.page_size) == when(base, 4096)),
            ("max_memory", index.max_memory == when(python, 128 << 20)),
            ("min_memory", index.min_memory == when(python, 8 << 20)),
            ("cpu_features", [index.cpu_features, index.gpu_requirements, index.numa_hints] == [0; 3]),
            ("stream_chunk_size", u64::from(index.stream_chunk_size) == when(python, 1 << 16)),
            ("build_timestamp", index.build_timestamp == 0 && index.padding == [0; 12]),
            (
                "build_machine",
                [index.build_machine, index.source_hash, index.dependency_hash] == [[0; 32]; 3]
                    && index.license_id == [0; 16]
                    && index.provenance_uri == [0; 8],
            ),
            // Two options of the builder in Python are bits of it.
            ("capabilities", index.capabilities | when(python, 3) == when(base, 0x81) | when(python, 3)),
            ("requirements", [index.requirements, index.extensions] == [0; 2]),
            ("compatibility", u64::from(index.compatibility) == when(base, u64::from(FORMAT_VERSION))),
            ("protocol_version", u64::from(index.protocol_version) == when(base, 1)),
            ("future_crypto", index.future_crypto == [0; 512]),
            // Zero in what older versions wrote.
            ("attestation_key_fp", signer || index.attestation_key_fp == [0; 64]),
        ];
        let last = [("attestation_policy_hash", named(&index.attestation_policy_hash, policy))];
        match fields.iter().chain(&last).find(|(_, holds)| !holds) {
            Some((field, _)) => Err(Error::UnsealedIndex { field }),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use UnsealedTool::{Go, Python, Rust};

    /// What the three tools of flavorpack 0.5.4 were seen to write.
    #[test]
    fn operations_are_those_that_the_tools_write() {
        let code = |tool: UnsealedTool, text: &str| {
            let chain = tool.operations(text)?;
            Some(chain.iter().rev().fold(0_u64, |code, operation| code << 8 | *operation as u64))
        };
        for (text, rust, go, python) in [
            ("", 0, 0, Some(0)),
            ("none", 0, 0, Some(0)),
            ("raw", 0, 0, Some(0)),
            ("RAW", 0, 0, Some(0)),
            ("gzip", 0x10, 0x10, Some(0x10)),
            ("GZIP", 0, 0, Some(0x10)),
            ("tar", 1, 1, Some(1)),
            ("tgz", 0x1001, 0x1001, Some(0x1001)),
            ("TGZ", 0, 0, Some(0x1001)),
            ("tar.gz", 0, 0x1001, Some(0x1001)),
            ("tar|gzip", 0, 0, Some(0x1001)),
            ("tar,gzip", 0x1001, 0, None),
            ("tar, gzip", 0x1001, 0, None),
            ("TAR,GZIP", 0, 0, None),
            ("gzip,tar", 0x0110, 0, None),
            ("tar,foo", 1, 0, None),
            (" gzip", 0x10, 0, Some(0x10)),
            ("none,gzip", 0x10, 0, None),
            ("gzip,", 0x10, 0, None),
            ("zstd", 0, 0, Some(0x1B)),
            ("xz", 0, 0, Some(0x16)),
            ("bzip2", 0, 0, Some(0x13)),
            ("tar.bz2", 0, 0, Some(0x1301)),
            ("tbz2", 0, 0, Some(0x1301)),
            ("tar.xz", 0, 0, Some(0x1601)),
            ("txz", 0, 0, Some(0x1601)),
            ("tar.zst", 0, 0, Some(0x1B01)),
            ("TAR | ZSTD", 0, 0, Some(0x1B01)),
            ("tar|bzip2|", 0, 0, Some(0x1301)),
            ("foo", 0, 0, None),
        ] {
            assert_eq!(
                (code(Rust, text), code(Go, text), code(Python, text)),
                (Some(rust), Some(go), python),
                "{text}"
            );
        }
    }

    #[test]
    fn permissions_are_those_that_the_tools_write() {
        for (text, rust, go, python) in [
            (None, Some(0o600), Some(0o600), Some(0o644)),
            (Some(""), Some(0o600), Some(0o600), Some(0o644)),
            (Some("0755"), Some(0o755), Some(0o755), Some(0o755)),
            (Some("755"), Some(0o755), Some(0o755), Some(0o755)),
            (Some("0o755"), Some(0o600), Some(0o600), Some(0o755)),
            (Some("04755"), Some(0o4755), Some(0o4755), Some(0o4755)),
            (Some("rwx"), Some(0o600), Some(0o600), Some(0o644)),
            (Some("0"), Some(0o600), Some(0o600), Some(0)),
            (Some("00"), Some(0o600), Some(0), Some(0)),
            (Some("1000755"), Some(0o600), Some(0o600), Some(0o755)),
            (Some("9"), Some(0o600), Some(0o600), Some(0o644)),
            (Some(" 755"), Some(0o600), Some(0o600), Some(0o755)),
            (Some("0 755"), Some(0o600), Some(0o600), Some(0o755)),
            (Some("00o755"), Some(0o600), Some(0o600), Some(0o755)),
            (Some("+755"), Some(0o755), Some(0o600), None),
            (Some("7_5"), Some(0o600), Some(0o600), None),
        ] {
            let found = [Rust, Go, Python].map(|tool| tool.permissions(text));
            assert_eq!(found, [rust, go, python], "{text:?}");
        }
    }

    #[test]
    fn words_have_the_codes_that_the_tools_write() {
        for (word, others, python) in [
            ("payload", 0, 0),
            ("runtime", 1, 0),
            ("tool", 2, 0),
            ("Tool", 0, 0),
            ("code", 0, 1),
            ("CONFIG", 0, 2),
            ("media", 0, 3),
        ] {
            assert_eq!([Rust, Go, Python].map(|tool| tool.purpose(word)), [others, others, python], "{word}");
        }
        let words = [
            "init",
            "startup",
            "runtime",
            "shutdown",
            "cache",
            "temporary",
            "lazy",
            "eager",
            "dev",
            "config",
            "platform",
        ];
        for (code, word) in (0..).zip(words) {
            assert_eq!([Rust, Go, Python].map(|tool| tool.lifecycle(word)), [code; 3], "{word}");
        }
        for (word, others, python) in [("INIT", 2, 0), ("temp", 2, 2), ("attestation", 2, 11), ("", 2, 2)] {
            assert_eq!([Rust, Go, Python].map(|tool| tool.lifecycle(word)), [others, others, python], "{word}");
        }
    }

    /// A raw slot of six bytes as each tool describes it, and what is wrong with it after each change.
    #[test]
    fn a_descriptor_is_the_one_that_the_tool_writes() {
        let sha256 = Sha256::of(b"stored");
        let slot = UnsealedSlotMetadata {
            slot: 1,
            id: "id".into(),
            target: "target".into(),
            size: 6,
            checksum: alloc::string::String::new(),
            operations: "raw".into(),
            purpose: "data".into(),
            lifecycle: "cache".into(),
            permissions: Some("0755".into()),
        };
        for tool in [Rust, Go, Python] {
            let name = if tool == Go { "target" } else { "id" };
            let sound = SlotDescriptor {
                id: 1,
                name_hash: Sha256::of(name.as_bytes()).short(),
                offset: 99,
                size: 6,
                original_size: 6,
                operations: 0,
                checksum: sha256.short(),
                purpose: 0,
                lifecycle: 4,
                priority: if tool == Go { 128 } else { 1 },
                platform: 0,
                reserved: [0; 2],
                permissions: 0o755,
            };
            let hold = |row: &SlotDescriptor, slot: &UnsealedSlotMetadata| {
                tool.hold_descriptor(1, row, slot, sha256).map_err(|error| match error {
                    Error::UnsealedField { field, .. } => field,
                    error => panic!("{error}"),
                })
            };
            assert_eq!(hold(&sound, &slot), Ok((Vec::new(), 0o755)), "{tool:?}");
            let held = |is_held: bool, field| if is_held { Err(field) } else { Ok((Vec::new(), 0o755)) };
            // Lengths that Python states are of something else.
            let is_held = tool != Python;
            let row = SlotDescriptor { original_size: 7, ..sound.clone() };
            assert_eq!(hold(&row, &slot), held(is_held, "size"), "{tool:?}");
            assert_eq!(
                hold(&sound, &UnsealedSlotMetadata { size: 7, ..slot.clone() }),
                held(is_held, "size"),
                "{tool:?}"
            );
            let row = SlotDescriptor { priority: sound.priority + 1, ..sound.clone() };
            assert_eq!(hold(&row, &slot), Err("priority"), "{tool:?}");
        }
    }
}
