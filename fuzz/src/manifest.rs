//! The manifest: what is accepted says what another pass over the same text says.

use std::fs::File;
use std::io::Write as _;
use std::os::fd::AsRawFd as _;

use rustix::fs::MemfdFlags;

use crate::manifest_file::Manifest;

/// The bytes are the file.
pub fn target(data: &[u8]) {
    let mut file = File::from(rustix::fs::memfd_create("manifest", MemfdFlags::CLOEXEC).unwrap());
    file.write_all(data).unwrap();
    let path = format!("/proc/self/fd/{}", file.as_raw_fd());
    match Manifest::read(path.as_ref()) {
        Err(error) => assert!(!format!("{error:#}").is_empty()),
        Ok(manifest) => {
            let table: toml::Table = str::from_utf8(data).unwrap().parse().unwrap();
            assert_eq!(table["package"]["name"].as_str(), Some(manifest.package.name.as_str()));
            assert_eq!(table["package"]["version"].as_str(), Some(manifest.package.version.as_str()));
            assert_eq!(table["run"]["command"].as_array().unwrap().len(), manifest.run.command.len());
            let slots = table["slot"].as_array().unwrap();
            assert_eq!(slots.len(), manifest.slots.len());
            for (table, slot) in slots.iter().zip(&manifest.slots) {
                assert_eq!(table["id"].as_str(), Some(slot.id.as_str()));
                assert!(!slot.source.as_os_str().is_empty());
            }
        }
    }
}
