//! CRC-32 as gzip has it (RFC 1952 §8), with a table of half a kilobyte.

/// The polynomial, its bits in reverse order.
const POLYNOMIAL: u32 = 0xEDB8_8320;

/// `TABLES[s][n]`: what the half byte `n` becomes `s + 1` half bytes later.
const TABLES: [[u32; 16]; 8] = tables();

#[expect(clippy::indexing_slicing, reason = "computed while compiling, where a wrong index does not compile")]
const fn tables() -> [[u32; 16]; 8] {
    let mut tables = [[0; 16]; 8];
    let mut at = 0;
    while at < 8 * 16 {
        let (step, half) = (at / 16, at % 16);
        let mut crc = if step == 0 { half as u32 } else { tables[step - 1][half] };
        let mut bit = 0;
        while bit < 4 {
            crc = (crc >> 1) ^ if crc & 1 == 1 { POLYNOMIAL } else { 0 };
            bit += 1;
        }
        tables[step][half] = crc;
        at += 1;
    }
    tables
}

/// The checksum of `bytes`.
pub(crate) fn crc32(bytes: &[u8]) -> u32 {
    let [one, ..] = &TABLES;
    let half = |table: &[u32; 16], half: u32| table.get(half as usize & 15).copied().unwrap_or(0);
    let mut crc = u32::MAX;
    let (words, rest) = bytes.as_chunks::<4>();
    for word in words {
        let mixed = crc ^ u32::from_le_bytes(*word);
        // Eight independent look-ups: the first half byte is shifted through all the others.
        crc = TABLES.iter().rev().enumerate().fold(0, |sum, (at, table)| sum ^ half(table, mixed >> (at * 4)));
    }
    for byte in rest {
        crc ^= u32::from(*byte);
        crc = (crc >> 4) ^ half(one, crc);
        crc = (crc >> 4) ^ half(one, crc);
    }
    !crc
}

#[cfg(test)]
mod tests {
    use super::crc32;

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
        }
    }
}
