//! Reads the fields of a slot index from its bytes (SPEC §7.2).

use alloc::string::{String, ToString};

use crate::tree::{Entry, EntryKind};
use crate::{Error, Mode, Record, Sha256, TreePath};

/// A slice that is read from the front; running out of it is an error.
pub(crate) struct Reader<'a> {
    pub(crate) rest: &'a [u8],
}

impl<'a> Reader<'a> {
    fn take(&mut self, len: usize) -> Result<&'a [u8], Error> {
        let (bytes, rest) =
            self.rest.split_at_checked(len).ok_or(Error::Tree { reason: "it ends early", at: String::new() })?;
        self.rest = rest;
        Ok(bytes)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], Error> {
        let bytes = self.take(N)?;
        bytes.try_into().map_err(|_| Error::Tree { reason: "it ends early", at: String::new() })
    }

    pub(crate) fn record<R: Record>(&mut self) -> Result<R, Error> {
        let bytes = self.take(R::LEN)?;
        R::from_bytes(bytes).ok_or(Error::Tree { reason: "it ends early", at: String::new() })
    }

    fn text(&mut self) -> Result<&'a str, Error> {
        let len = usize::from(u16::from_le_bytes(self.array()?));
        let bytes = self.take(len)?;
        core::str::from_utf8(bytes)
            .map_err(|_| Error::Tree { reason: "it is not UTF-8", at: String::from_utf8_lossy(bytes).into_owned() })
    }

    pub(crate) fn entry(&mut self, earlier: &[Entry]) -> Result<(TreePath, EntryKind), Error> {
        let [group, executable] = self.array()?;
        let path = TreePath::try_from(self.text()?)?;
        let refuse = |reason| Err(Error::Tree { reason, at: path.to_string() });
        let mode = match (group, executable) {
            (_, 0) => Mode::Data,
            (1, 1) => Mode::Executable,
            _ => return refuse("its mode is neither 0644 nor 0755"),
        };
        let kind = match group {
            0 => EntryKind::Directory,
            1 => {
                let size = u64::from_le_bytes(self.array()?);
                EntryKind::File { mode, size, sha256: Sha256(self.array()?) }
            }
            2 => {
                let file = u32::from_le_bytes(self.array()?);
                match earlier.get(file as usize) {
                    Some(Entry { path: target, kind: EntryKind::File { .. }, .. }) => {
                        EntryKind::HardLink { file, target: target.clone() }
                    }
                    _ => return refuse("a hard link must name an earlier file"),
                }
            }
            3 => EntryKind::SymLink { target: self.text()?.to_string() },
            _ => return refuse("its type is unknown"),
        };
        Ok((path, kind))
    }
}
