//! Packages that no honest packer makes: signed, and wrong in one way.
//!
//! Nothing here comes from the crate that reads packages, so a mistake there is not repeated here.

use pspf_format::keys::SecretKey;

use crate::raw::{self, Parts, hex, sha256};

/// A slot, with what is claimed of it.
#[derive(Clone, Debug)]
#[expect(missing_docs, reason = "SPEC §6.2 describes each field under the same name")]
pub struct ForgedSlot {
    pub id: String,
    pub target: String,
    pub operations: &'static str,
    pub lifecycle: &'static str,
    pub platform: Option<&'static str>,
    pub mode: &'static str,
    pub stored: Vec<u8>,
    /// What follows the stored bytes and is counted in no length: the slot index, with some operations.
    pub behind: Vec<u8>,
    pub sha256: [u8; 32],
    pub expanded_size: u64,
    pub index: Option<ForgedIndex>,
}

/// What the metadata claim of a slot index.
#[derive(Clone, Debug)]
#[expect(missing_docs, reason = "SPEC §6.2 describes each field under the same name")]
pub struct ForgedIndex {
    pub stored_size: u64,
    pub sha256: [u8; 32],
    pub expanded_size: u64,
    pub entries: u64,
    pub frames: u64,
}

impl ForgedSlot {
    /// A sound raw slot: a program.
    pub fn raw(id: &str, content: &[u8]) -> Self {
        Self {
            id: id.to_owned(),
            target: "tool".to_owned(),
            operations: "raw",
            lifecycle: "runtime",
            platform: None,
            mode: "0755",
            stored: content.to_vec(),
            behind: Vec::new(),
            sha256: sha256(content),
            expanded_size: content.len() as u64,
            index: None,
        }
    }

    /// A slot of frames and an index, with true digests of both.
    pub fn framed(id: &str, operations: &'static str, frames: &[Vec<u8>], index: &[u8], expanded: u64) -> Self {
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

    /// The same where the index follows the stored bytes.
    pub fn followed(id: &str, operations: &'static str, frames: &[Vec<u8>], index: &[u8], expanded: u64) -> Self {
        let mut slot = Self::framed(id, operations, frames, index, expanded);
        slot.behind = slot.stored.split_off(frames.concat().len());
        slot.sha256 = sha256(&slot.stored);
        slot
    }

    fn code(&self) -> u64 {
        match self.operations {
            "raw" => 0,
            "tar" => 0x01,
            "gzip" => 0x10,
            "tar|gzip" => 0x1001,
            "zstd" => 0x1b,
            "zstd|tar" => 0x011b,
            _ => 0x1b01,
        }
    }

    fn json(&self) -> String {
        let Self { id, target, operations, lifecycle, mode, .. } = self;
        let platform = self.platform.map_or(String::new(), |platform| format!(r#","platform":"{platform}""#));
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
            r#"{{"id":"{id}","target":"{target}","operations":"{operations}","lifecycle":"{lifecycle}"{platform},"mode":"{mode}","stored_size":{size},"sha256":"{digest}","expanded_size":{expanded}{index}}}"#
        )
    }

    fn rendered(&self, position: usize) -> String {
        let Self { id, target, operations, lifecycle, mode, .. } = self;
        let (size, digest) = (self.stored.len(), hex(&self.sha256));
        format!(
            r#"{{"slot":{position},"id":"{id}","source":"","target":"{target}","size":{size},"checksum":"sha256:{digest}","operations":"{operations}","purpose":"payload","lifecycle":"{lifecycle}","permissions":"{mode}"}}"#
        )
    }

    /// The slot table, but for the offsets.
    pub fn table(slots: &[Self]) -> Vec<u8> {
        slots.iter().enumerate().flat_map(|(position, slot)| slot.row(position)).collect()
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
        let words = ["init", "startup", "runtime", "shutdown", "cache", "temporary", "lazy", "eager", "dev", "config"];
        let code = words.iter().position(|word| *word == self.lifecycle).map_or(10, |code| code as u8);
        row.extend([0, code, 1, 0, 0, 0]);
        row.extend(u16::from_str_radix(self.mode, 8).unwrap().to_le_bytes());
        row
    }
}

/// What the metadata say beside the slots and the launcher: the text of each JSON value.
#[derive(Clone, Debug)]
#[expect(missing_docs, reason = "SPEC §6 describes each value under the same name")]
pub struct ForgedWords {
    pub package: String,
    pub platform: String,
    pub run: String,
    pub execution: String,
}

impl ForgedWords {
    /// A package that starts this slot at position 0, or a program in it.
    pub fn starting(id: &str, program: &str) -> Self {
        Self {
            package: r#"{"name":"forged","version":"1"}"#.to_owned(),
            platform: platform().to_owned(),
            run: format!(r#"{{"command":["{{slot:{id}}}{program}"]}}"#),
            execution: format!(r#"{{"command":"'{{slot:0}}{program}'","env":{{}}}}"#),
        }
    }

    /// The metadata.
    pub fn json(&self, launcher: &[u8], slots: &[ForgedSlot]) -> String {
        let Self { package, platform, run, execution } = self;
        let list = |texts: Vec<String>| texts.join(",");
        let rendered = list(slots.iter().enumerate().map(|(position, slot)| slot.rendered(position)).collect());
        let own = list(slots.iter().map(ForgedSlot::json).collect());
        let (size, digest) = (launcher.len(), hex(&sha256(launcher)));
        format!(
            r#"{{"format":"PSPF/2025","format_version":"1.0.0","package":{package},"slots":[{rendered}],"execution":{execution},"launcher":{{"tool":"pspf-launcher","tool_version":"","size":{size},"checksum":"sha256:{digest}","capabilities":[]}},"pspf":{{"seal":1,"tool_version":"0.1.0","platform":"{platform}","run":{run},"slots":[{own}]}}}}"#
        )
    }

    /// The parts of a package around this launcher.
    pub fn parts(&self, launcher: Vec<u8>, slots: &[ForgedSlot]) -> Parts {
        Parts {
            metadata: raw::gzip(self.json(&launcher, slots).as_bytes()),
            table: ForgedSlot::table(slots),
            slots: slots.iter().map(|slot| [&slot.stored[..], &slot.behind].concat()).collect(),
            launcher,
        }
    }
}

/// The metadata of a package that starts the first slot, or a program in it.
pub fn json(launcher: &[u8], program: &str, slots: &[ForgedSlot]) -> String {
    ForgedWords::starting(&slots[0].id, program).json(launcher, slots)
}

fn platform() -> &'static str {
    if cfg!(target_arch = "aarch64") { "linux_arm64" } else { "linux_amd64" }
}

/// The parts of a package around the real launcher.
pub fn parts(program: &str, slots: &[ForgedSlot]) -> Parts {
    ForgedWords::starting(&slots[0].id, program).parts(crate::programs::stub(), slots)
}

/// A signed package of these slots.
pub fn package(program: &str, slots: &[ForgedSlot]) -> Vec<u8> {
    parts(program, slots).seal(&key())
}

/// The key that signs every forged package: that of seed 1.
pub fn key() -> SecretKey {
    SecretKey::from_seed(&[1; 32])
}

/// An entry of a tree, whatever it says.
#[derive(Clone, Debug)]
pub struct ForgedEntry {
    /// 0 directory, 1 file, 2 hard link, 3 symbolic link.
    pub kind: u8,
    /// 1 for a program.
    pub executable: u8,
    /// Path inside the tree.
    pub path: Vec<u8>,
    /// Content of a file.
    pub content: Vec<u8>,
    /// Position of the file that a hard link names.
    pub file: u32,
    /// Text of a symbolic link.
    pub target: Vec<u8>,
}

impl ForgedEntry {
    fn new(kind: u8, path: impl AsRef<[u8]>) -> Self {
        let path = path.as_ref().to_vec();
        Self { kind, executable: 0, path, content: Vec::new(), file: 0, target: Vec::new() }
    }

    /// A directory.
    pub fn directory(path: impl AsRef<[u8]>) -> Self {
        Self::new(0, path)
    }

    /// An executable file.
    pub fn file(path: impl AsRef<[u8]>, content: &[u8]) -> Self {
        Self { content: content.to_vec(), executable: 1, ..Self::new(1, path) }
    }

    /// A hard link to the file at this position.
    pub fn hard_link(path: impl AsRef<[u8]>, file: u32) -> Self {
        Self { file, ..Self::new(2, path) }
    }

    /// A symbolic link.
    pub fn link(path: impl AsRef<[u8]>, target: impl AsRef<[u8]>) -> Self {
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

    /// Its headers as SPEC §7.5 has them.
    fn headers(&self, linked: &[u8], mtime: u64) -> Vec<u8> {
        let slash: &[u8] = if self.kind == 0 { b"/" } else { b"" };
        let name = [&self.path, slash].concat();
        let (mode, flag) = match (self.kind, self.executable) {
            (0, _) => (0o755, b'5'),
            (1, 1) => (0o755, b'0'),
            (1, _) => (0o644, b'0'),
            (2, _) => (0o644, b'1'),
            _ => (0o777, b'2'),
        };
        let link = if self.kind == 2 { linked } else { &self.target };
        let mut records = Vec::new();
        for (key, value) in [("path", &name[..]), ("linkpath", link)] {
            if value.len() > 100 {
                records.extend(pax_record(key, value));
            }
        }
        let mut bytes = Vec::new();
        if !records.is_empty() {
            bytes.extend(block(b"././@PaxHeader", 0o644, records.len(), mtime, b'x', b""));
            bytes.extend(records);
            bytes.resize(bytes.len().next_multiple_of(512), 0);
        }
        bytes.extend(block(&name, mode, self.content.len(), mtime, flag, link));
        bytes
    }
}

/// A record that counts its own length.
fn pax_record(key: &str, value: &[u8]) -> Vec<u8> {
    let record = |len: usize| [format!("{len} {key}=").as_bytes(), value, b"\n"].concat();
    (1..).map(|len| (len, record(len))).find(|(len, record)| *len == record.len()).expect("some length fits").1
}

/// One header block, with what fits of each text.
fn block(name: &[u8], mode: u32, size: usize, mtime: u64, flag: u8, link: &[u8]) -> [u8; 512] {
    let mut block = [0; 512];
    raw::put(&mut block, 0, &name[..name.len().min(100)]);
    raw::put(&mut block, 100, format!("{mode:07o}\0{:07o}\0{:07o}\0{size:011o}\0{mtime:011o}\0", 0, 0).as_bytes());
    raw::put(&mut block, 148, b"        ");
    block[156] = flag;
    raw::put(&mut block, 157, &link[..link.len().min(100)]);
    raw::put(&mut block, 257, b"ustar\x0000");
    raw::put(&mut block, 329, format!("{:07o}\0{:07o}\0", 0, 0).as_bytes());
    let sum: u32 = block.iter().map(|&byte| u32::from(byte)).sum();
    raw::put(&mut block, 148, format!("{sum:06o}\0 ").as_bytes());
    block
}

/// The tar stream and the slot index of these entries, in one frame.
#[derive(Clone, Debug)]
pub struct ForgedTree {
    /// The tar stream.
    pub stream: Vec<u8>,
    /// The entries as the slot index encodes them.
    pub entries: Vec<u8>,
    /// How many there are.
    pub count: u32,
    /// The time in every header.
    pub mtime: u64,
}

impl ForgedTree {
    /// A tree of exactly these entries.
    pub fn new(entries: &[ForgedEntry]) -> Self {
        Self::at(entries, 0)
    }

    /// The same with a time.
    pub fn at(entries: &[ForgedEntry], mtime: u64) -> Self {
        let mut stream = Vec::new();
        for entry in entries {
            let linked = entries.get(entry.file as usize).map_or(&b""[..], |file| &file.path);
            stream.extend(entry.headers(linked, mtime));
            stream.extend(&entry.content);
            stream.resize(stream.len().next_multiple_of(512), 0);
        }
        stream.resize(stream.len() + 1024, 0);
        let encoded = entries.iter().flat_map(ForgedEntry::encoded).collect();
        Self { stream, entries: encoded, count: u32::try_from(entries.len()).unwrap(), mtime }
    }

    /// The slot index over these frames: stored length, decoded length, digest.
    pub fn index(&self, frames: &[(u32, u32, [u8; 32])]) -> Vec<u8> {
        let mut index = b"PSPFTREE\x01\0\0\0".to_vec();
        index.extend(u32::try_from(frames.len()).unwrap().to_le_bytes());
        index.extend(self.count.to_le_bytes());
        index.extend([0; 4]);
        index.extend((self.stream.len() as u64).to_le_bytes());
        index.extend(self.mtime.to_le_bytes());
        for (stored, expanded, digest) in frames {
            index.extend(stored.to_le_bytes());
            index.extend(expanded.to_le_bytes());
            index.extend(digest);
        }
        index.extend(&self.entries);
        index
    }

    /// The slot, around this frame instead of the true one.
    pub fn slot_with(&self, frame: Vec<u8>, edit: impl FnOnce(&mut Vec<u8>)) -> ForgedSlot {
        self.slot_of(&[(frame, self.stream.len())], edit)
    }

    /// The slot, in these frames: stored bytes and decoded length of each.
    pub fn slot_of(&self, frames: &[(Vec<u8>, usize)], edit: impl FnOnce(&mut Vec<u8>)) -> ForgedSlot {
        let length = |len: usize| u32::try_from(len).unwrap();
        let rows: Vec<_> =
            frames.iter().map(|(frame, len)| (length(frame.len()), length(*len), sha256(frame))).collect();
        let mut index = self.index(&rows);
        edit(&mut index);
        let stored: Vec<Vec<u8>> = frames.iter().map(|(frame, _)| frame.clone()).collect();
        ForgedSlot::framed("app", "tar|zstd", &stored, &index, self.stream.len() as u64)
    }

    /// The slot.
    pub fn slot(&self) -> ForgedSlot {
        self.slot_with(raw::zstd_frame(&self.stream), |_| ())
    }
}
