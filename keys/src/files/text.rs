//! From the bytes of a file to its text.

use super::limits::MAX_FILE_LEN;
use crate::KeyError;

/// Strips a UTF-8 byte order mark and the white space around the text.
///
/// The result is not empty. It is bytes, not `str`: a comment may be in any encoding.
pub(super) fn clean(bytes: &[u8]) -> Result<&[u8], KeyError> {
    if bytes.len() > MAX_FILE_LEN {
        return Err(KeyError::TooLarge { limit: MAX_FILE_LEN, found: bytes.len() });
    }
    if bytes.starts_with(b"\xff\xfe") || bytes.starts_with(b"\xfe\xff") {
        return Err(KeyError::Utf16);
    }
    let text = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
    let text = text.trim_ascii();
    if text.is_empty() {
        return Err(KeyError::Empty);
    }
    Ok(text)
}

/// The lines of the text, without their ends (LF or CRLF) and the white space around them.
pub(super) fn lines(text: &[u8]) -> impl Iterator<Item = &[u8]> {
    text.split(|byte| *byte == b'\n').map(<[u8]>::trim_ascii)
}

/// The bytes of 2·N hex digits of either case; `None` if there is anything else.
pub(super) fn hex<const N: usize>(text: &[u8]) -> Option<[u8; N]> {
    let mut bytes = [0; N];
    let (pairs, rest) = text.as_chunks::<2>();
    if pairs.len() != N || !rest.is_empty() {
        return None;
    }
    for (byte, [high, low]) in bytes.iter_mut().zip(pairs) {
        *byte = digit(*high)? << 4 | digit(*low)?;
    }
    Some(bytes)
}

fn digit(character: u8) -> Option<u8> {
    char::from(character).to_digit(16).and_then(|value| value.try_into().ok())
}
