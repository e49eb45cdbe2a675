//! What a program does to a directory tree, as a list that can be done again with parts of it lost.

use std::collections::HashMap;
use std::fs::{self, DirBuilder, File, Permissions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, FileExt, MetadataExt, OpenOptionsExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};

use crate::tracer::{Call, name};

/// One change. Paths are relative to the tree's root.
#[derive(Clone, Debug)]
pub(crate) enum Step {
    /// With the inode that it got.
    Directory(PathBuf, u64),
    File(PathBuf, u32),
    Write(PathBuf, u64, Vec<u8>),
    HardLink(PathBuf, PathBuf),
    SymLink(PathBuf, PathBuf),
    Mode(PathBuf, u32),
    Rename(PathBuf, PathBuf),
    Remove(PathBuf),
    /// All before this is on disk.
    Sync,
}

/// What power loss does to content that was not synced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Content {
    Kept,
    /// The file is there, and empty.
    Missing,
    /// It has its length, and holds zeros.
    Zero,
}

impl Step {
    /// What a call did below `root`, where it has been done.
    pub(crate) fn of(call: &Call, root: &Path) -> Option<Self> {
        if call.result.is_none_or(|result| result < 0) {
            return None;
        }
        let below = |path: PathBuf| path.strip_prefix(root).ok().map(Path::to_owned);
        let at = |descriptor, arg| below(call.path(Some(descriptor), arg));
        let mode = |arg: usize| (call.args[arg] & 0o7777) as u32;
        Some(match name(call.nr).as_str() {
            "mkdirat" => {
                let path = at(0, 1)?;
                let inode = fs::metadata(root.join(&path)).map_or(0, |stat| stat.ino());
                Self::Directory(path, inode)
            }
            "openat" if call.args[2] & libc::O_CREAT as u64 != 0 => Self::File(at(0, 1)?, mode(3)),
            "pwrite64" | "write" => {
                let path = below(call.descriptor(0))?;
                let bytes = call.bytes(call.args[1], usize::try_from(call.result?).ok()?);
                Self::Write(path, if name(call.nr) == "write" { 0 } else { call.args[3] }, bytes)
            }
            "linkat" => Self::HardLink(at(0, 1)?, at(2, 3)?),
            "symlinkat" => {
                use std::os::unix::ffi::OsStringExt;
                Self::SymLink(std::ffi::OsString::from_vec(call.text(0)).into(), at(1, 2)?)
            }
            "fchmodat" => Self::Mode(at(0, 1)?, mode(2)),
            "fchmod" => Self::Mode(below(call.descriptor(0))?, mode(1)),
            "renameat" | "renameat2" => Self::Rename(at(0, 1)?, at(2, 3)?),
            "unlinkat" => Self::Remove(at(0, 1)?),
            "syncfs" => Self::Sync,
            _ => return None,
        })
    }

    /// Whether it changes names or modes, each of which can be lost by itself.
    pub(crate) fn is_of_names(&self) -> bool {
        !matches!(self, Self::Write(..) | Self::Sync)
    }

    fn redo(&self, root: &Path, content: Content, inodes: &mut HashMap<u64, u64>) -> io::Result<()> {
        match self {
            Self::Directory(path, inode) => {
                DirBuilder::new().mode(0o700).create(root.join(path))?;
                inodes.insert(*inode, fs::metadata(root.join(path))?.ino());
                Ok(())
            }
            Self::File(path, mode) => {
                let mut options = File::options();
                options.write(true).create_new(true).mode(0o600).open(root.join(path))?;
                fs::set_permissions(root.join(path), Permissions::from_mode(*mode))
            }
            Self::Write(path, at, bytes) => {
                let file = File::options().write(true).open(root.join(path))?;
                match content {
                    Content::Kept => file.write_all_at(bytes, *at),
                    Content::Zero => file.write_all_at(&vec![0; bytes.len()], *at),
                    Content::Missing => Ok(()),
                }
            }
            Self::HardLink(from, to) => fs::hard_link(root.join(from), root.join(to)),
            Self::SymLink(target, path) => symlink(target, root.join(path)),
            Self::Mode(path, mode) => fs::set_permissions(root.join(path), Permissions::from_mode(*mode)),
            Self::Rename(from, to) => fs::rename(root.join(from), root.join(to)),
            Self::Remove(path) => fs::remove_file(root.join(path)).or_else(|_| fs::remove_dir(root.join(path))),
            Self::Sync => Ok(()),
        }
    }
}

/// A state that a disk may be in after the power was lost: the steps that had been made, and what of those after the
/// last sync did not reach it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Loss {
    pub(crate) made: usize,
    pub(crate) content: Content,
    /// This step is lost, and with it what needs it.
    pub(crate) lost: Option<usize>,
}

/// All such states, where each content and each name can be lost.
pub(crate) fn losses(steps: &[Step]) -> Vec<Loss> {
    let mut losses = Vec::new();
    for made in 0..=steps.len() {
        let synced = last_sync(&steps[..made]);
        let unsynced = synced..made;
        let contents: &[Content] = match steps[unsynced.clone()].iter().any(|step| matches!(step, Step::Write(..))) {
            true => &[Content::Kept, Content::Missing, Content::Zero],
            false => &[Content::Kept],
        };
        let names = unsynced.filter(|&step| steps[step].is_of_names()).map(Some);
        for lost in names.chain([None]) {
            losses.extend(contents.iter().map(|&content| Loss { made, content, lost }));
        }
    }
    losses
}

fn last_sync(steps: &[Step]) -> usize {
    steps.iter().rposition(|step| matches!(step, Step::Sync)).map_or(0, |at| at + 1)
}

/// Makes the state below `root`, which is there and empty. Returns which inode each directory has that had another when
/// the steps were recorded.
pub(crate) fn redo(steps: &[Step], loss: Loss, root: &Path) -> HashMap<u64, u64> {
    let mut inodes = HashMap::new();
    let synced = last_sync(&steps[..loss.made]);
    for (number, step) in steps[..loss.made].iter().enumerate().filter(|(number, _)| Some(*number) != loss.lost) {
        let content = if number < synced { Content::Kept } else { loss.content };
        // What needs something that is lost is lost too.
        let _ = step.redo(root, content, &mut inodes);
    }
    inodes
}
