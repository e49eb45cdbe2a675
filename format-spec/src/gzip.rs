//! The gzip member that holds the metadata (RFC 1952).

use alloc::borrow::Cow;
use alloc::vec;
use alloc::vec::Vec;

use miniz_oxide::deflate::compress_to_vec;

use crate::crc32::crc32;
use crate::deflate_frame::decode_blocks;
use crate::{Error, MAX_JSON};

/// Magic, method "deflate", no optional field, no time, "slowest algorithm", unknown system.
pub const HEADER: [u8; 10] = [0x1F, 0x8B, 8, 0, 0, 0, 0, 0, 2, 255];
/// Not compressed: every start reads the metadata, and to build the tables of a code takes longer than to read the
/// kilobyte that they would save.
const LEVEL: u8 = 0;

/// Flags of the optional fields; the first bit of all only says "text".
const HEADER_CHECKSUM: u8 = 1 << 1;
const EXTRA: u8 = 1 << 2;
const NAME: u8 = 1 << 3;
const COMMENT: u8 = 1 << 4;
const RESERVED: u8 = 0b1110_0000;

/// One member with this content, which is shorter than 4 GiB.
pub(crate) fn compress(content: &[u8]) -> Vec<u8> {
    let len = u32::try_from(content.len()).unwrap_or(u32::MAX);
    [&HEADER[..], &compress_to_vec(content, LEVEL), &crc32(content).to_le_bytes(), &len.to_le_bytes()].concat()
}

/// The content of `stored`, which must be one member and nothing more, of at most [`MAX_JSON`] bytes.
pub(crate) fn expand(stored: &[u8]) -> Result<Cow<'_, [u8]>, Error> {
    let (body, len) = stored.split_last_chunk::<4>().ok_or(Error::Gzip)?;
    let (body, checksum) = body.split_last_chunk::<4>().ok_or(Error::Gzip)?;
    let stream = after_header(body).ok_or(Error::Gzip)?;
    let len = u32::from_le_bytes(*len);
    if u64::from(len) > MAX_JSON {
        return Err(Error::Limit { what: "bytes of metadata JSON", most: MAX_JSON, found: u64::from(len) });
    }
    let content = match stored_blocks(stream) {
        Some(content) => content,
        None => inflated(stream, len as usize)?.into(),
    };
    let sound = content.len() == len as usize && crc32(&content) == u32::from_le_bytes(*checksum);
    if sound { Ok(content) } else { Err(Error::Gzip) }
}

/// The content of a stream that is nothing but stored blocks (RFC 1951 §3.2.4): what [`compress`] writes.
fn stored_blocks(mut stream: &[u8]) -> Option<Cow<'_, [u8]>> {
    let mut content = Cow::Borrowed(&[][..]);
    loop {
        let (&[kind @ (0 | 1), a, b, not_a, not_b], rest) = stream.split_first_chunk()? else { return None };
        let len = u16::from_le_bytes([a, b]);
        let (block, rest) = rest.split_at_checked(usize::from(len))?;
        if u16::from_le_bytes([not_a, not_b]) != !len || (kind == 1 && !rest.is_empty()) {
            return None;
        }
        match content.is_empty() {
            true => content = block.into(),
            false => content.to_mut().extend_from_slice(block),
        }
        if kind == 1 {
            return Some(content);
        }
        stream = rest;
    }
}

/// The content of any stream that makes `len` bytes. Our own are not of this kind, so it is kept apart from the rest.
#[inline(never)]
fn inflated(stream: &[u8], len: usize) -> Result<Vec<u8>, Error> {
    let mut content = vec![0; len];
    if decode_blocks(stream, true, &mut content) { Ok(content) } else { Err(Error::Gzip) }
}

/// What follows the header of a member, its optional fields included.
fn after_header(member: &[u8]) -> Option<&[u8]> {
    let (&[0x1F, 0x8B, 8, flags, ..], mut rest) = member.split_first_chunk::<{ HEADER.len() }>()? else { return None };
    if flags & RESERVED != 0 {
        return None;
    }
    if flags & EXTRA != 0 {
        let (len, after) = rest.split_first_chunk()?;
        rest = after.get(usize::from(u16::from_le_bytes(*len))..)?;
    }
    for _ in 0..(flags & (NAME | COMMENT)).count_ones() {
        let end = rest.iter().position(|&byte| byte == 0)?;
        rest = rest.get(end + 1..)?;
    }
    if flags & HEADER_CHECKSUM != 0 {
        let (checksum, after) = rest.split_first_chunk()?;
        let header = member.get(..member.len() - rest.len())?;
        if u32::from(u16::from_le_bytes(*checksum)) != crc32(header) & 0xFFFF {
            return None;
        }
        rest = after;
    }
    Some(rest)
}

#[cfg(test)]
mod tests {
    extern crate std;

    use std::io::{Read, Write};

    use super::*;

    /// What another encoder makes of this.
    fn by_flate2(content: &[u8], level: u32) -> Vec<u8> {
        let mut gzip =
            flate2::GzBuilder::new().operating_system(255).write(Vec::new(), flate2::Compression::new(level));
        gzip.write_all(content).unwrap();
        gzip.finish().unwrap()
    }

    /// Text that repeats itself more or less.
    fn text(len: usize, variety: u32) -> Vec<u8> {
        let mut state = 1_u32;
        let mut next = || {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            b"{}[]\",:abcdefghijklmnopqrstuvwxyz0123456789ABCDEFGHIJKLMNOPQRST"
                [(state >> 24) as usize % variety as usize]
        };
        (0..len).map(|_| next()).collect()
    }

    #[test]
    fn a_member_is_one_that_flate2_reads_and_one_of_flate2_is_read() {
        for len in [0, 1, 2, 100, 1_000, 4_096, 32_768, 65_537, 1 << 20] {
            for variety in [1, 2, 20, 63] {
                let content = text(len, variety);
                let stored = compress(&content);
                for level in [0, 1, 6, 9] {
                    assert!(
                        expand(&by_flate2(&content, level)) == Ok(content[..].into()),
                        "level {level}: {len} bytes"
                    );
                }
                let mut again = Vec::new();
                flate2::bufread::GzDecoder::new(&stored[..]).read_to_end(&mut again).unwrap();
                assert!(again == content && expand(&stored) == Ok(content.into()), "{len} bytes of {variety} letters");
            }
        }
    }

    #[test]
    fn optional_fields_are_passed_over_and_their_checksum_is_held_to() {
        let plain = compress(b"content");
        let member = |flags: u8, fields: &[u8]| [&[0x1F, 0x8B, 8, flags], &plain[4..10], fields, &plain[10..]].concat();
        for (flags, fields) in [
            (1, &b""[..]),
            (EXTRA, b"\x03\0abc"),
            (EXTRA, b"\0\0"),
            (NAME, b"name\0"),
            (COMMENT, b"\0"),
            (EXTRA | NAME | COMMENT, b"\x01\0\0name\0comment\0"),
        ] {
            assert_eq!(expand(&member(flags, fields)), Ok(b"content"[..].into()), "{flags:#x}");
            let sum = crc32(&[&[0x1F, 0x8B, 8, flags | HEADER_CHECKSUM], &plain[4..10], fields].concat()).to_le_bytes();
            let with_sum = |low| member(flags | HEADER_CHECKSUM, &[fields, &[low, sum[1]]].concat());
            assert_eq!(expand(&with_sum(sum[0])), Ok(b"content"[..].into()), "{flags:#x}");
            assert_eq!(expand(&with_sum(sum[0] ^ 1)), Err(Error::Gzip), "{flags:#x}");
        }
        for (flags, fields) in [(0x20, &b""[..]), (0x80, b""), (EXTRA, b"\xff\xff"), (0, b"\0")] {
            assert_eq!(expand(&member(flags, fields)), Err(Error::Gzip), "{flags:#x}");
        }
    }

    #[test]
    fn everything_else_is_refused() {
        let content = text(500, 20);
        let sound = compress(&content);
        for len in 0..sound.len() {
            assert!(expand(&sound[..len]).is_err(), "{len} bytes");
        }
        for bit in 0..sound.len() * 8 {
            let mut changed = sound.clone();
            changed[bit / 8] ^= 1 << (bit % 8);
            // The time, the level and the system mean nothing; neither does "text", nor what fills the first byte of
            // the block.
            let free = (4..10).contains(&(bit / 8)) || bit == 24 || (83..88).contains(&bit);
            assert!(expand(&changed).map_or(true, |found| free && found == content), "bit {bit}");
        }
        assert_eq!(expand(&[&sound[..], b"\0"].concat()), Err(Error::Gzip));
        // The length of a stored block, where its complement belongs.
        let repeated = [&sound[..13], &sound[11..13], &sound[15..]].concat();
        assert_eq!(expand(&repeated), Err(Error::Gzip));
        assert!(expand(&[sound.clone(), sound].concat()).is_err());
        let long = by_flate2(&text((1 << 20) + 1, 1), 9);
        assert!(matches!(expand(&long), Err(Error::Limit { found: 0x10_0001, .. })));
        // A length that lies, upwards and downwards.
        for len in [0_u32, 1, 1 << 20] {
            let lie = [&long[..long.len() - 4], &len.to_le_bytes()].concat();
            assert_eq!(expand(&lie), Err(Error::Gzip), "{len}");
        }
    }
}
