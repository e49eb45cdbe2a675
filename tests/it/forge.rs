//! Packages that no honest packer makes: signed, and wrong in one way.
//!
//! Nothing here comes from the crate that reads packages, so a mistake there is not repeated here.

use pspf_format::keys::SecretKey;

use crate::raw::{self, Parts, hex, sha256};

/// A slot, with what is claimed of it.
#[derive(Clone, Debug)]
pub(crate) struct ForgedSlot {
    pub(crate) id: String,
    pub(crate) target: String,
    pub(crate) operations: &'static str,
    pub(crate) mode: &'static str,
    pub(crate) stored: Vec<u8>,
    pub(crate) sha256: [u8; 32],
    pub(crate) expanded_size: u64,
    pub(crate) index: Option<ForgedIndex>,
}

/// What the metadata claim of a slot index.
#[derive(Clone, Debug)]
pub(crate) struct ForgedIndex {
    pub(crate) stored_size: u64,
    pub(crate) sha256: [u8; 32],
    pub(crate) expanded_size: u64,
    pub(crate) entries: u64,
    pub(crate) frames: u64,
}

impl ForgedSlot {
    /// A sound raw slot: a program.
    pub(crate) fn raw(id: &str, content: &[u8]) -> Self {
        Self {
            id: id.to_owned(),
            target: "tool".to_owned(),
            operations: "raw",
            mode: "0755",
            stored: content.to_vec(),
            sha256: sha256(content),
            expanded_size: content.len() as u64,
            index: None,
        }
    }

    /// A slot of frames and an index, with true digests of both.
    pub(crate) fn framed(id: &str, operations: &'static str, frames: &[Vec<u8>], index: &[u8], expanded: u64) -> Self {
        let stored_index = raw::zstd_frame(index);
        let stored = [frames.concat(), raw::skippable(&stored_index)].concat();
        let count = |at: usize| u64::from(u32::from_le_bytes(index[at..at + 4].try_into().unwrap()));
        Self {
            operations,
            sha256: sha256(&stored),
            stored,
            expanded_size: expanded,
            index: Some(ForgedIndex {
                stored_size: stored_index.len() as u64,
                sha256: sha256(&stored_index),
                expanded_size: index.len() as u64,
                entries: count(16),
                frames: count(12),
            }),
            ..Self::raw(id, b"")
        }
    }

    fn code(&self) -> u64 {
        match self.operations {
            "raw" => 0,
            "zstd" => 0x1b,
            _ => 0x1b01,
        }
    }

    fn json(&self) -> String {
        let Self { id, target, operations, mode, .. } = self;
        let (size, digest, expanded) = (self.stored.len(), hex(&self.sha256), self.expanded_size);
        let index = self.index.as_ref().map_or(String::new(), |index| {
            format!(
                r#","index":{{"stored_size":{},"sha256":"{}","expanded_size":{},"entries":{},"frames":{}}}"#,
                index.stored_size,
                hex(&index.sha256),
                index.expanded_size,
                index.entries,
                index.frames
            )
        });
        format!(
            r#"{{"id":"{id}","target":"{target}","operations":"{operations}","lifecycle":"runtime","mode":"{mode}","stored_size":{size},"sha256":"{digest}","expanded_size":{expanded}{index}}}"#
        )
    }

    fn rendered(&self, position: usize) -> String {
        let Self { id, target, operations, mode, .. } = self;
        let (size, digest) = (self.stored.len(), hex(&self.sha256));
        format!(
            r#"{{"slot":{position},"id":"{id}","source":"","target":"{target}","size":{size},"checksum":"sha256:{digest}","operations":"{operations}","purpose":"payload","lifecycle":"runtime","permissions":"{mode}"}}"#
        )
    }

    fn row(&self, position: usize) -> Vec<u8> {
        let mut row = Vec::new();
        row.extend((position as u64).to_le_bytes());
        row.extend(&sha256(self.id.as_bytes())[..8]);
        // The offset is the layout's.
        row.extend([0; 8]);
        row.extend((self.stored.len() as u64).to_le_bytes());
        row.extend(self.expanded_size.to_le_bytes());
        row.extend(self.code().to_le_bytes());
        row.extend(&self.sha256[..8]);
        row.extend([0, 2, 1, 0, 0, 0]);
        row.extend(u16::from_str_radix(self.mode, 8).unwrap().to_le_bytes());
        row
    }
}

/// The metadata of a package that starts the first slot, or a program in it.
pub(crate) fn json(launcher: &[u8], program: &str, slots: &[ForgedSlot]) -> String {
    let first = &slots[0].id;
    let list = |texts: Vec<String>| texts.join(",");
    let rendered = list(slots.iter().enumerate().map(|(position, slot)| slot.rendered(position)).collect());
    let own = list(slots.iter().map(ForgedSlot::json).collect());
    let (size, digest) = (launcher.len(), hex(&sha256(launcher)));
    format!(
        r#"{{"format":"PSPF/2025","format_version":"1.0.0","package":{{"name":"forged","version":"1"}},"slots":[{rendered}],"execution":{{"command":"{{slot:0}}{program}","env":{{}}}},"verification":{{"signed":true,"require_verification":true}},"build":{{"tool":"pspf","tool_version":"0.1.0","deterministic":true}},"launcher":{{"tool":"pspf-launcher","size":{size},"checksum":"sha256:{digest}"}},"pspf":{{"seal":1,"tool_version":"0.1.0","platform":"{}","run":{{"command":["{{slot:{first}}}{program}"]}},"slots":[{own}]}}}}"#,
        platform()
    )
}

fn platform() -> &'static str {
    if cfg!(target_arch = "aarch64") { "linux_arm64" } else { "linux_amd64" }
}

/// The parts of a package around the real launcher.
pub(crate) fn parts(program: &str, slots: &[ForgedSlot]) -> Parts {
    let launcher = pspf_tests::programs::stub();
    Parts {
        metadata: raw::gzip(json(&launcher, program, slots).as_bytes()),
        table: slots.iter().enumerate().flat_map(|(position, slot)| slot.row(position)).collect(),
        slots: slots.iter().map(|slot| slot.stored.clone()).collect(),
        launcher,
    }
}

/// A signed package of these slots.
pub(crate) fn package(program: &str, slots: &[ForgedSlot]) -> Vec<u8> {
    parts(program, slots).seal(&key())
}

/// The key that signs every forged package: that of seed 1.
pub(crate) fn key() -> SecretKey {
    SecretKey::from_seed(&[1; 32])
}

/// An entry of a tree, whatever it says.
#[derive(Clone, Debug)]
pub(crate) struct ForgedEntry {
    pub(crate) kind: u8,
    pub(crate) executable: u8,
    pub(crate) path: Vec<u8>,
    pub(crate) content: Vec<u8>,
    pub(crate) file: u32,
    pub(crate) target: Vec<u8>,
}

impl ForgedEntry {
    fn new(kind: u8, path: impl AsRef<[u8]>) -> Self {
        let path = path.as_ref().to_vec();
        Self { kind, executable: 0, path, content: Vec::new(), file: 0, target: Vec::new() }
    }

    pub(crate) fn directory(path: impl AsRef<[u8]>) -> Self {
        Self::new(0, path)
    }

    pub(crate) fn file(path: impl AsRef<[u8]>, content: &[u8]) -> Self {
        Self { content: content.to_vec(), executable: 1, ..Self::new(1, path) }
    }

    pub(crate) fn hard_link(path: impl AsRef<[u8]>, file: u32) -> Self {
        Self { file, ..Self::new(2, path) }
    }

    pub(crate) fn link(path: impl AsRef<[u8]>, target: impl AsRef<[u8]>) -> Self {
        Self { target: target.as_ref().to_vec(), ..Self::new(3, path) }
    }

    fn encoded(&self) -> Vec<u8> {
        let text = |text: &[u8]| [&u16::try_from(text.len()).unwrap_or(u16::MAX).to_le_bytes(), text].concat();
        let mut bytes = vec![self.kind, self.executable];
        bytes.extend(text(&self.path));
        match self.kind {
            1 => {
                bytes.extend((self.content.len() as u64).to_le_bytes());
                bytes.extend(sha256(&self.content));
            }
            2 => bytes.extend(self.file.to_le_bytes()),
            3 => bytes.extend(text(&self.target)),
            _ => {}
        }
        bytes
    }

    /// Its headers as SPEC §7.5 has them: an extended one in front where a name or a link's text does not fit.
    fn headers(&self, linked: &[u8]) -> Vec<u8> {
        let slash: &[u8] = if self.kind == 0 { b"/" } else { b"" };
        let link = if self.kind == 2 { linked } else { &self.target };
        let name = [&self.path, slash].concat();
        let mut records = Vec::new();
        for (key, value) in [("path", &name[..]), ("linkpath", link)] {
            if value.len() > 100 {
                // The length counts its own digits.
                let rest = key.len() + value.len() + 3;
                let digits = (1..).find(|&digits| (rest + digits).to_string().len() == digits).unwrap();
                records.extend(format!("{} {key}=", rest + digits).as_bytes());
                records.extend(value);
                records.push(b'\n');
            }
        }
        let mut blocks = Vec::new();
        if !records.is_empty() {
            let name = b"././@PaxHeader".to_vec();
            blocks.extend(Self::block(&name, 0o644, b"x", b"", records.len()));
            blocks.extend(records);
            blocks.resize(blocks.len().next_multiple_of(512), 0);
        }
        let (mode, flag) = match (self.kind, self.executable) {
            (0, _) => (0o755, b"5"),
            (1, 1) => (0o755, b"0"),
            (1, _) => (0o644, b"0"),
            (2, _) => (0o644, b"1"),
            _ => (0o777, b"2"),
        };
        blocks.extend(Self::block(&name, mode, flag, link, self.content.len()));
        blocks
    }

    fn block(name: &[u8], mode: u32, flag: &[u8; 1], link: &[u8], size: usize) -> [u8; 512] {
        let mut block = [0; 512];
        let mut put = |at: usize, bytes: &[u8]| {
            let len = bytes.len().min(512 - at);
            block[at..at + len].copy_from_slice(&bytes[..len]);
        };
        put(0, &name[..name.len().min(100)]);
        put(100, format!("{mode:07o}\0{:07o}\0{:07o}\0{:011o}\0{:011o}\0", 0, 0, size, 0).as_bytes());
        put(148, b"        ");
        put(156, flag);
        put(157, &link[..link.len().min(100)]);
        put(257, b"ustar\x0000");
        put(329, format!("{:07o}\0{:07o}\0", 0, 0).as_bytes());
        let sum: u32 = block.iter().map(|&byte| u32::from(byte)).sum();
        block[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
        block
    }
}

/// The tar stream and the slot index of these entries, in one frame.
#[derive(Clone, Debug)]
pub(crate) struct ForgedTree {
    pub(crate) stream: Vec<u8>,
    pub(crate) entries: Vec<u8>,
    pub(crate) count: u32,
}

impl ForgedTree {
    pub(crate) fn new(entries: &[ForgedEntry]) -> Self {
        let mut stream = Vec::new();
        for entry in entries {
            let linked = entries.get(entry.file as usize).map_or(&b""[..], |file| &file.path);
            stream.extend(entry.headers(linked));
            stream.extend(&entry.content);
            stream.resize(stream.len().next_multiple_of(512), 0);
        }
        stream.resize(stream.len() + 1024, 0);
        let encoded = entries.iter().flat_map(ForgedEntry::encoded).collect();
        Self { stream, entries: encoded, count: u32::try_from(entries.len()).unwrap() }
    }

    /// The slot index over these frames: stored length, decoded length, digest.
    pub(crate) fn index(&self, frames: &[(u32, u32, [u8; 32])]) -> Vec<u8> {
        let mut index = b"PSPFTREE\x01\0\0\0".to_vec();
        index.extend(u32::try_from(frames.len()).unwrap().to_le_bytes());
        index.extend(self.count.to_le_bytes());
        index.extend([0; 4]);
        index.extend((self.stream.len() as u64).to_le_bytes());
        index.extend([0; 8]);
        for (stored, expanded, digest) in frames {
            index.extend(stored.to_le_bytes());
            index.extend(expanded.to_le_bytes());
            index.extend(digest);
        }
        index.extend(&self.entries);
        index
    }

    /// The slot, around this frame instead of the true one.
    pub(crate) fn slot_with(&self, frame: Vec<u8>, edit: impl FnOnce(&mut Vec<u8>)) -> ForgedSlot {
        let length = |bytes: &[u8]| u32::try_from(bytes.len()).unwrap();
        let mut index = self.index(&[(length(&frame), length(&self.stream), sha256(&frame))]);
        edit(&mut index);
        ForgedSlot::framed("app", "tar|zstd", &[frame], &index, self.stream.len() as u64)
    }

    /// The slot.
    pub(crate) fn slot(&self) -> ForgedSlot {
        self.slot_with(raw::zstd_frame(&self.stream), |_| ())
    }
}
