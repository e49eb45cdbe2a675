//! The tar header that an entry encodes to (SPEC §7.5): POSIX.1-2001 `pax` interchange format, one way only.
//!
//! A reader never parses tar. It computes the header of the entry it expects and compares the bytes.

use alloc::borrow::Cow;
use alloc::format;
use alloc::string::ToString;
use alloc::vec::Vec;

use crate::Mode;
use crate::tree::{Entry, EntryKind};

/// Block length in bytes.
pub const BLOCK: u64 = 512;
/// Bytes of zero at the end of a stream.
pub const END: u64 = 1024;

/// Longest name or link target that fits a header, in bytes.
const FIELD: usize = 100;
/// Largest number that the size and time fields can say.
pub(crate) const MAX_NUMBER: u64 = 0o777_7777_7777;

/// Length of the header of `entry`, its extended header included.
pub(crate) fn header_len(entry: &Entry) -> u64 {
    let slash = usize::from(entry.kind == EntryKind::Directory);
    if entry.path.as_str().len() + slash <= FIELD && link(entry).len() <= FIELD && entry.size() <= MAX_NUMBER {
        return BLOCK;
    }
    match pax_records(entry).len() as u64 {
        0 => BLOCK,
        records => (BLOCK * 2).saturating_add(records.next_multiple_of(BLOCK)),
    }
}

/// Appends the header of `entry`, its extended header included, to `out`.
pub fn write_header(entry: &Entry, mtime: u64, out: &mut Vec<u8>) {
    let records = pax_records(entry);
    if !records.is_empty() {
        block("././@PaxHeader", 0o644, records.len() as u64, mtime, b'x', "", out);
        out.extend_from_slice(&records);
        out.resize(out.len().next_multiple_of(BLOCK as usize), 0);
    }
    let (mode, kind, link) = match &entry.kind {
        EntryKind::Directory => (0o755, b'5', ""),
        EntryKind::File { mode, .. } => (u64::from(mode.bits()), b'0', ""),
        EntryKind::HardLink { target, .. } => (u64::from(Mode::Data.bits()), b'1', target.as_str()),
        EntryKind::SymLink { target } => (0o777, b'2', target.as_str()),
    };
    let size = if entry.size() > MAX_NUMBER { 0 } else { entry.size() };
    block(&name(entry), mode, size, mtime, kind, link, out);
}

fn name(entry: &Entry) -> Cow<'_, str> {
    let path = entry.path.as_str();
    if entry.kind == EntryKind::Directory { format!("{path}/").into() } else { path.into() }
}

fn link(entry: &Entry) -> &str {
    match &entry.kind {
        EntryKind::HardLink { target, .. } => target.as_str(),
        EntryKind::SymLink { target } => target,
        _ => "",
    }
}

/// The extended header's records, where something does not fit the plain one.
fn pax_records(entry: &Entry) -> Vec<u8> {
    let mut records = Vec::new();
    let slash = usize::from(entry.kind == EntryKind::Directory);
    if entry.path.as_str().len() + slash > FIELD {
        record("path", &name(entry), &mut records);
    }
    if link(entry).len() > FIELD {
        record("linkpath", link(entry), &mut records);
    }
    if entry.size() > MAX_NUMBER {
        record("size", &entry.size().to_string(), &mut records);
    }
    records
}

/// `LENGTH KEY=VALUE\n`, where LENGTH counts the whole record, its own digits included.
fn record(key: &str, value: &str, out: &mut Vec<u8>) {
    let rest = key.len() + value.len() + 3;
    // With its own digits the length may have one digit more, but not two.
    let len = rest + rest.to_string().len();
    let len = rest + len.to_string().len();
    out.extend_from_slice(format!("{len} {key}={value}\n").as_bytes());
}

fn block(name: &str, mode: u64, size: u64, mtime: u64, kind: u8, link: &str, out: &mut Vec<u8>) {
    let mut block = [0_u8; BLOCK as usize];
    let mut sum = 0;
    let mut put = |at: usize, bytes: &[u8], most: usize| {
        let bytes = bytes.get(..most).unwrap_or(bytes);
        if let Some(place) = block.get_mut(at..at.saturating_add(bytes.len())) {
            place.copy_from_slice(bytes);
        }
        // No two of these places have a byte in common, and what lies between them is zero.
        sum += bytes.iter().map(|&byte| u64::from(byte)).sum::<u64>();
    };
    put(0, name.as_bytes(), FIELD);
    put(100, &octal::<7>(mode), 7);
    put(108, &octal::<7>(0), 7);
    put(116, &octal::<7>(0), 7);
    put(124, &octal::<11>(size), 11);
    put(136, &octal::<11>(mtime), 11);
    put(148, b"        ", 8);
    put(156, &[kind], 1);
    put(157, link.as_bytes(), FIELD);
    put(257, b"ustar\x0000", 8);
    put(329, &octal::<7>(0), 7);
    put(337, &octal::<7>(0), 7);
    for (slot, byte) in block.iter_mut().skip(148).zip(octal::<6>(sum).into_iter().chain([0, b' '])) {
        *slot = byte;
    }
    out.extend_from_slice(&block);
}

/// The low `N` octal digits of `value`, with leading zeros.
fn octal<const N: usize>(value: u64) -> [u8; N] {
    let mut digits = [b'0'; N];
    let mut rest = value;
    for digit in digits.iter_mut().rev() {
        *digit = b'0' + u8::try_from(rest % 8).unwrap_or(0);
        rest /= 8;
    }
    digits
}
