//! Reading and writing whole files and listing directories, by descriptor.

use alloc::ffi::CString;
use alloc::vec::Vec;
use core::ffi::CStr;

use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::fs::{AtFlags, CWD, Mode, OFlags, RawDir};
use rustix::io::{Errno, retry_on_intr};
use rustix::path::Arg;

/// How much is read at once where nobody knows how much there is.
const CHUNK: usize = 16 << 10;

/// Opens whatever it is: the one way to do so, because on some file systems a signal interrupts it.
pub(crate) fn open_at(
    parent: impl AsFd,
    name: impl Arg + Copy,
    flags: OFlags,
    mode: Mode,
) -> rustix::io::Result<OwnedFd> {
    let parent = parent.as_fd();
    retry_on_intr(|| rustix::fs::openat(parent, name, flags, mode))
}

/// Opens for reading.
pub(crate) fn open(path: &CStr) -> rustix::io::Result<OwnedFd> {
    open_at(CWD, path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())
}

/// Opens a directory that is no symbolic link.
pub(crate) fn open_directory(parent: BorrowedFd<'_>, name: &CStr) -> rustix::io::Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    open_at(parent, name, flags, Mode::empty())
}

/// A new directory with mode 0700; none is left where it cannot be opened, as when descriptors end.
pub(crate) fn create_directory(parent: BorrowedFd<'_>, name: &CStr) -> rustix::io::Result<OwnedFd> {
    rustix::fs::mkdirat(parent, name, Mode::RWXU)?;
    open_directory(parent, name).inspect_err(|_| {
        let _ = rustix::fs::unlinkat(parent, name, AtFlags::REMOVEDIR);
    })
}

/// Fills `buffer` from `offset`, as far as the file reaches; says how far.
pub(crate) fn read_at(file: BorrowedFd<'_>, buffer: &mut [u8], offset: u64) -> rustix::io::Result<usize> {
    let mut done = 0;
    while let Some(rest) = buffer.get_mut(done..).filter(|rest| !rest.is_empty()) {
        match retry_on_intr(|| rustix::io::pread(file, &mut *rest, offset.saturating_add(done as u64)))? {
            0 => break,
            len => done += len,
        }
    }
    Ok(done)
}

/// Writes all of `bytes` at `offset`.
pub(crate) fn write_at(file: BorrowedFd<'_>, mut bytes: &[u8], mut offset: u64) -> rustix::io::Result<()> {
    while !bytes.is_empty() {
        match retry_on_intr(|| rustix::io::pwrite(file, bytes, offset))? {
            0 => return Err(Errno::IO),
            len => {
                bytes = bytes.get(len..).unwrap_or_default();
                offset = offset.saturating_add(len as u64);
            }
        }
    }
    Ok(())
}

/// The whole of a file of the system, as in /proc, whose length nobody knows beforehand.
pub(crate) fn read(path: &CStr) -> rustix::io::Result<Vec<u8>> {
    let file = open(path)?;
    let mut bytes = Vec::new();
    loop {
        let start = bytes.len();
        bytes.resize(start + CHUNK, 0);
        let len = retry_on_intr(|| rustix::io::read(&file, bytes.get_mut(start..).unwrap_or_default()))?;
        bytes.truncate(start + len);
        if len == 0 {
            return Ok(bytes);
        }
    }
}

/// The text of a symbolic link.
pub(crate) fn read_link(directory: BorrowedFd<'_>, name: &CStr) -> rustix::io::Result<CString> {
    // As long as Linux makes one.
    let mut buffer = [0; 4096];
    let len = rustix::fs::readlinkat_raw(directory, name, &mut buffer)?;
    Ok(crate::path::concat(&[buffer.get(..len).unwrap_or_default()]))
}

/// The names in a directory that was just opened, without `.` and `..`. The listing is complete before anybody goes on.
pub(crate) fn names(directory: impl AsFd) -> rustix::io::Result<Vec<CString>> {
    let mut names = Vec::new();
    let mut buffer: Vec<u8> = Vec::with_capacity(CHUNK);
    let mut entries = RawDir::new(directory.as_fd(), buffer.spare_capacity_mut());
    while let Some(entry) = entries.next() {
        let entry = entry?;
        if !matches!(entry.file_name().to_bytes(), b"." | b"..") {
            names.push(entry.file_name().into());
        }
    }
    Ok(names)
}
