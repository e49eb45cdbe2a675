//! Programs and libraries of Linux: what they need, and where they look for it.

use std::fs;
use std::path::Path;

use goblin::elf::Elf;
use goblin::elf::dynamic::{DT_RPATH, DT_RUNPATH, DT_STRTAB};
use goblin::elf::program_header::PT_LOAD;

use crate::failure::At;

/// A program or library.
#[derive(Debug)]
pub(crate) struct Object {
    pub(crate) machine: u16,
    /// Names of the libraries that it is linked with.
    pub(crate) needed: Vec<String>,
    /// The newest version of glibc whose symbols it has; 0.0 without.
    pub(crate) glibc: (u32, u32),
}

impl Object {
    /// Reads a file; `None` for what is no ELF, or has no dynamic part.
    pub(crate) fn read(path: &Path) -> anyhow::Result<Option<Self>> {
        let Some(bytes) = elf_bytes(path)? else { return Ok(None) };
        Ok(Elf::parse(&bytes).ok().map(|elf| Self::of(&elf)))
    }

    fn of(elf: &Elf<'_>) -> Self {
        let mut glibc = (0, 0);
        for need in elf.verneed.iter().flat_map(goblin::elf::symver::VerneedSection::iter) {
            for version in need.iter() {
                let text = elf.dynstrtab.get_at(version.vna_name).and_then(|name| name.strip_prefix("GLIBC_"));
                let mut numbers = text.unwrap_or_default().split('.').map_while(|number| number.parse().ok());
                if let (Some(major), Some(minor)) = (numbers.next(), numbers.next()) {
                    glibc = glibc.max((major, minor));
                }
            }
        }
        let needed = elf.libraries.iter().map(|&name| name.to_owned()).collect();
        Self { machine: elf.header.e_machine, needed, glibc }
    }
}

/// The content of a file that begins as an ELF does.
fn elf_bytes(path: &Path) -> anyhow::Result<Option<Vec<u8>>> {
    let mut head = [0; 4];
    let mut file = fs::File::open(path).at("reading", path)?;
    if std::io::Read::read_exact(&mut file, &mut head).is_err() || head != *b"\x7fELF" {
        return Ok(None);
    }
    fs::read(path).at("reading", path).map(Some)
}

/// Where a text lies in a file, and how long it is.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Text {
    pub(crate) offset: usize,
    pub(crate) value: String,
}

/// The paths (`DT_RPATH`, `DT_RUNPATH`) in which an object looks for its libraries.
pub(crate) fn run_paths(bytes: &[u8]) -> Vec<Text> {
    let Ok(elf) = Elf::parse(bytes) else { return Vec::new() };
    let Some(dynamic) = &elf.dynamic else { return Vec::new() };
    let address = |tag| dynamic.dyns.iter().filter(move |entry| entry.d_tag == tag).map(|entry| entry.d_val);
    let Some(table) = address(DT_STRTAB).next() else { return Vec::new() };
    let mut segments = elf.program_headers.iter().filter(|segment| segment.p_type == PT_LOAD);
    let segment =
        segments.find(|segment| (segment.p_vaddr..segment.p_vaddr.saturating_add(segment.p_filesz)).contains(&table));
    let Some(segment) = segment else { return Vec::new() };
    let base = segment.p_offset + (table - segment.p_vaddr);
    let found = address(DT_RPATH).chain(address(DT_RUNPATH)).filter_map(|index| {
        let offset = usize::try_from(base.checked_add(index)?).ok()?;
        let rest = bytes.get(offset..)?;
        let end = rest.iter().position(|byte| *byte == 0)?;
        let value = std::str::from_utf8(rest.get(..end)?).ok()?.to_owned();
        Some(Text { offset, value })
    });
    found.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_program_needs_is_read() {
        // A program of this machine; its tests are one.
        let own = std::env::current_exe().unwrap();
        let object = Object::read(&own).unwrap().unwrap();
        assert!(object.needed.iter().any(|name| name.starts_with("libc.so")), "{object:?}");
        assert!(object.glibc >= (2, 2), "{object:?}");
        let folder = tempfile::tempdir().unwrap();
        let text = folder.path().join("text");
        fs::write(&text, "#!/bin/sh\n").unwrap();
        assert!(Object::read(&text).unwrap().is_none());
        assert_eq!(run_paths(b"\x7fELF and nothing else"), []);
    }
}
