//! PEM blocks (RFC 7468).

use base64ct::{Base64, Encoding};
use zeroize::Zeroizing;

use super::text;
use crate::KeyError;

const BEGIN: &[u8] = b"-----BEGIN ";
const END: &[u8] = b"-----END ";
const DASHES: &[u8] = b"-----";
const FORMAT: &str = "PEM";

/// One decoded block. The content may be a secret and is wiped when dropped.
pub(super) struct Pem {
    pub(super) label: String,
    pub(super) content: Zeroizing<Vec<u8>>,
}

/// Whether the text has a BEGIN line anywhere, so that a reader would call it PEM.
pub(super) fn looks_like_pem(text: &[u8]) -> bool {
    text::lines(text).any(|line| line.starts_with(BEGIN))
}

/// Whether some BEGIN line announces a private key, of whatever form and however damaged.
pub(super) fn announces_private(text: &[u8]) -> bool {
    text::lines(text).filter_map(|line| boundary_label(line, BEGIN)).any(|label| label.ends_with(b"PRIVATE KEY"))
}

/// Reads the only block of the text.
///
/// Lines may have any length and white space around them: mail and configuration files rewrap and indent.
pub(super) fn parse(text: &[u8]) -> Result<Pem, KeyError> {
    let mut lines = text::lines(text);
    let first = lines.next().unwrap_or_default();
    let label = boundary_label(first, BEGIN).ok_or(KeyError::LeadingText)?;
    let label = String::from_utf8_lossy(label).into_owned();

    let mut body = Zeroizing::new(String::with_capacity(text.len()));
    let closed = loop {
        match lines.next() {
            None => break false,
            Some(line) if line.starts_with(DASHES) => {
                break boundary_label(line, END) == Some(label.as_bytes());
            }
            Some(line) => {
                let line = str::from_utf8(line);
                body.push_str(line.map_err(|_| KeyError::BadBase64 { format: FORMAT })?);
            }
        }
    };
    if !closed {
        return Err(KeyError::PemWithoutEnd { label });
    }
    if let Some(line) = lines.find(|line| !line.is_empty()) {
        return Err(if line.starts_with(BEGIN) {
            KeyError::SeveralKeys
        } else {
            KeyError::TrailingData { format: FORMAT }
        });
    }

    let content = Base64::decode_vec(&body).map_err(|_| KeyError::BadBase64 { format: FORMAT })?;
    Ok(Pem { label, content: Zeroizing::new(content) })
}

/// The label of a BEGIN or END line, if it is one.
fn boundary_label<'a>(line: &'a [u8], start: &[u8]) -> Option<&'a [u8]> {
    line.strip_prefix(start)?.strip_suffix(DASHES)
}

/// Writes a block with lines of 64 characters, the last one ended too.
pub(super) fn write(label: &str, content: &[u8]) -> Zeroizing<String> {
    let body = Zeroizing::new(Base64::encode_string(content));
    // Large enough to never grow: a reallocation would leave a copy of a secret behind.
    let mut pem = Zeroizing::new(String::with_capacity(2 * (body.len() + label.len()) + 64));
    pem.push_str("-----BEGIN ");
    pem.push_str(label);
    pem.push_str("-----\n");
    let mut rest = body.as_str();
    while !rest.is_empty() {
        let (line, next) = rest.split_at_checked(64).unwrap_or((rest, ""));
        pem.push_str(line);
        pem.push('\n');
        rest = next;
    }
    pem.push_str("-----END ");
    pem.push_str(label);
    pem.push_str("-----\n");
    pem
}
