//! The launcher that a package starts with: the built-in one, or a file.

use std::fs::File;
use std::path::Path;

use goblin::Hint;
use goblin::elf::Elf;
use goblin::elf::header::{EM_386, EM_AARCH64, EM_ARM, EM_PPC64, EM_RISCV, EM_S390, EM_X86_64, ET_DYN, ET_EXEC};
use pspf_format::{Class, LauncherMetadata, Platform, Sha256};

use crate::failure::{At, Failure, shown};
use crate::plan::Plan;

/// The stub that `build.rs` built.
pub(crate) const BUILT_IN: &[u8] = include_bytes!(env!("PSPF_STUB"));
/// The one that starts every package.
pub(crate) const FULL: &[u8] = include_bytes!(env!("PSPF_STUB_FULL"));

/// A launcher that can stand in front of a package.
#[derive(Debug)]
pub(crate) struct Launcher {
    pub(crate) bytes: Vec<u8>,
    pub(crate) platform: Platform,
    /// How it is linked, or where it is from.
    pub(crate) kind: String,
}

impl Launcher {
    /// The built-in launcher, or the one in this file.
    pub(crate) fn load(file: Option<&Path>) -> anyhow::Result<Self> {
        let Some(path) = file else {
            let platform = platform(BUILT_IN).map_err(|reason| {
                Failure::new(Class::Internal, format!("internal error: the built-in launcher: {reason}"))
            })?;
            return Ok(Self { bytes: BUILT_IN.to_vec(), platform, kind: env!("PSPF_STUB_KIND").to_owned() });
        };
        let named = |reason: &str| Failure::new(Class::Format, format!("launcher {}: {reason}", shown(path)));
        if !path.metadata().at("reading", path)?.is_file() {
            return named("it is no regular file").err();
        }
        if crate::output::is_package(&mut File::open(path).at("opening", path)?).at("reading", path)? {
            return named("it is a package already")
                .hint("a launcher has no payload; leave `--launcher` out to use the built-in one")
                .err();
        }
        let bytes = std::fs::read(path).at("reading", path)?;
        let platform = platform(&bytes).map_err(|reason| named(&reason).hint("packages are made for Linux so far"))?;
        Ok(Self { bytes, platform, kind: path.to_string_lossy().into_owned() })
    }

    /// A launcher that starts this package: the built-in one grows where it has to.
    pub(crate) fn for_plan(self, plan: &Plan, file: Option<&Path>) -> anyhow::Result<Self> {
        if !plan.needs_full_launcher() || self.has(pspf_workenv::MARKER) {
            return Ok(self);
        }
        match file {
            None => Ok(Self { bytes: FULL.to_vec(), kind: format!("{}, full", self.kind), ..self }),
            Some(path) => Failure::usage(format!("launcher {} makes no work environments", shown(path)))
                .hint("leave `--launcher` out, or name one that `pspf launcher --full` has written")
                .err(),
        }
    }

    fn has(&self, marker: &[u8]) -> bool {
        self.bytes.windows(marker.len()).any(|window| window == marker)
    }

    /// What is odd about it, where something is.
    pub(crate) fn oddity(&self) -> Option<String> {
        (!self.has(pspf_launcher::MARKER))
            .then(|| format!("launcher `{}` is not one of pspf: does it start packages?", self.kind.escape_debug()))
    }

    /// What the metadata says of it.
    pub(crate) fn metadata(&self) -> LauncherMetadata {
        LauncherMetadata { size: self.bytes.len() as u64, sha256: Sha256::of(&self.bytes) }
    }
}

/// The platform of an executable, or why it cannot be a launcher.
fn platform(bytes: &[u8]) -> Result<Platform, String> {
    let head: [u8; 16] = bytes.first_chunk().copied().ok_or("it is no executable")?;
    match goblin::peek_bytes(&head).map_err(|error| error.to_string())? {
        Hint::Elf(_) => {}
        Hint::PE => return Err("it is a PE file; the layout of Windows packages is not specified yet".to_owned()),
        Hint::Mach(_) | Hint::MachFat(_) => {
            return Err("it is a Mach-O file; the layout of macOS packages is not specified yet".to_owned());
        }
        _ => return Err("it is no ELF executable".to_owned()),
    }
    let header = Elf::parse_header(bytes).map_err(|error| error.to_string())?;
    if !matches!(header.e_type, ET_EXEC | ET_DYN) {
        return Err("it is an ELF file, but no executable".to_owned());
    }
    machine(header.e_machine, head)
        .and_then(|machine| Platform::try_from(format!("linux_{machine}")).ok())
        .ok_or_else(|| format!("its machine {} is unknown", header.e_machine))
}

/// The platform of a program, from the first bytes of its file; `None` for what is no ELF, such as a script.
pub(crate) fn elf_machine(head: &[u8]) -> Option<String> {
    let ident: [u8; 16] = head.first_chunk().copied()?;
    if !ident.starts_with(b"\x7fELF") {
        return None;
    }
    let field: [u8; 2] = head.get(18..20)?.try_into().ok()?;
    let number = if ident[5] == 2 { u16::from_be_bytes(field) } else { u16::from_le_bytes(field) };
    Some(machine(number, ident).map_or_else(|| format!("machine {number}"), str::to_owned))
}

fn machine(number: u16, ident: [u8; 16]) -> Option<&'static str> {
    let (wide, big) = (ident[4] == 2, ident[5] == 2);
    Some(match (number, wide, big) {
        (EM_X86_64, true, false) => "amd64",
        (EM_AARCH64, true, false) => "arm64",
        (EM_386, false, false) => "386",
        (EM_ARM, false, false) => "arm",
        (EM_RISCV, true, false) => "riscv64",
        (EM_S390, true, true) => "s390x",
        (EM_PPC64, true, false) => "ppc64le",
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_built_in_launcher_is_for_this_machine() {
        let launcher = Launcher::load(None).unwrap();
        assert!(launcher.platform.as_str().starts_with("linux_"));
        let machine = elf_machine(&launcher.bytes).unwrap();
        assert_eq!(launcher.platform.as_str(), format!("linux_{machine}"));
    }

    #[test]
    fn other_executables_are_refused_by_name() {
        let mut pe = [0; 512];
        pe[..2].copy_from_slice(b"MZ");
        let mut fat = [0; 512];
        fat[..8].copy_from_slice(&[0xca, 0xfe, 0xba, 0xbe, 0, 0, 0, 2]);
        let mut mach = [0; 512];
        mach[..4].copy_from_slice(&[0xcf, 0xfa, 0xed, 0xfe]);
        for (bytes, expected) in [
            (pe.as_slice(), "PE file"),
            (&fat, "Mach-O file"),
            (&mach, "Mach-O file"),
            (b"#!/bin/sh\nexit 0\n", "no ELF"),
            (b"", "no executable"),
        ] {
            assert!(platform(bytes).unwrap_err().contains(expected), "{expected}");
        }
        assert_eq!(elf_machine(b"#!/bin/sh and more"), None);
    }
}
