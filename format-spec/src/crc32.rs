//! CRC-32 as gzip has it (RFC 1952 §8).

/// The polynomial, its bits in reverse order.
const POLYNOMIAL: u32 = 0xEDB8_8320;

/// What each byte becomes eight bits later.
static TABLE: [u32; 256] = table();

#[expect(clippy::indexing_slicing, reason = "computed while compiling, where a wrong index does not compile")]
const fn table() -> [u32; 256] {
    let mut table = [0; 256];
    let mut at = 0;
    while at < 256 {
        let mut crc = at as u32;
        let mut bit = 0;
        while bit < 8 {
            crc = (crc >> 1) ^ if crc & 1 == 1 { POLYNOMIAL } else { 0 };
            bit += 1;
        }
        table[at] = crc;
        at += 1;
    }
    table
}

/// The checksum of `bytes`.
pub(crate) fn crc32(bytes: &[u8]) -> u32 {
    crc32_on(0, bytes)
}

/// The checksum of what has the checksum `before` with `bytes` behind it.
pub(crate) fn crc32_on(before: u32, bytes: &[u8]) -> u32 {
    let step = |crc: u32, byte: &u8| (crc >> 8) ^ TABLE.get(usize::from(crc as u8 ^ byte)).copied().unwrap_or(0);
    !bytes.iter().fold(!before, step)
}

#[cfg(test)]
mod tests {
    use super::{crc32, crc32_on};

    #[test]
    fn known_checksums() {
        for (bytes, expected) in [
            (&b""[..], 0),
            (b"a", 0xE8B7_BE43),
            (b"123456789", 0xCBF4_3926),
            (&[0; 32], 0x190A_55AD),
            (&[0xFF; 32], 0xFF6C_AB0B),
        ] {
            assert_eq!(crc32(bytes), expected, "{bytes:?}");
            let (one, two) = bytes.split_at(bytes.len() / 3);
            assert_eq!(crc32_on(crc32(one), two), expected, "{bytes:?}");
        }
    }
}
