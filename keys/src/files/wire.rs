//! The data types of the SSH protocol (RFC 4251, section 5), as far as key files use them.

use crate::KeyError;

/// The name of the key algorithm (RFC 8709, section 4).
pub(super) const SSH_ED25519: &[u8] = b"ssh-ed25519";

/// Reads fields one after the other; every failure names its field.
pub(super) struct Wire<'a> {
    format: &'static str,
    rest: &'a [u8],
}

impl<'a> Wire<'a> {
    pub(super) fn new(format: &'static str, bytes: &'a [u8]) -> Self {
        Self { format, rest: bytes }
    }

    /// The error for a field whose value is not allowed.
    pub(super) fn invalid(&self, field: &'static str) -> KeyError {
        KeyError::Malformed { format: self.format, field }
    }

    pub(super) fn bytes(&mut self, field: &'static str, len: usize) -> Result<&'a [u8], KeyError> {
        let (bytes, rest) = self.rest.split_at_checked(len).ok_or_else(|| self.invalid(field))?;
        self.rest = rest;
        Ok(bytes)
    }

    pub(super) fn array<const N: usize>(&mut self, field: &'static str) -> Result<&'a [u8; N], KeyError> {
        let (array, rest) = self.rest.split_first_chunk().ok_or_else(|| self.invalid(field))?;
        self.rest = rest;
        Ok(array)
    }

    pub(super) fn uint32(&mut self, field: &'static str) -> Result<u32, KeyError> {
        self.array(field).map(|bytes| u32::from_be_bytes(*bytes))
    }

    /// A length and that many bytes.
    pub(super) fn string(&mut self, field: &'static str) -> Result<&'a [u8], KeyError> {
        let len = self.uint32(field)?;
        let len = usize::try_from(len).map_err(|_| self.invalid(field))?;
        self.bytes(field, len)
    }

    /// A string of exactly N bytes.
    pub(super) fn string_array<const N: usize>(&mut self, field: &'static str) -> Result<&'a [u8; N], KeyError> {
        let string = self.string(field)?;
        string.try_into().map_err(|_| self.invalid(field))
    }

    /// A string that names the algorithm of the key that follows.
    pub(super) fn ed25519_name(&mut self, field: &'static str) -> Result<(), KeyError> {
        match self.string(field)? {
            SSH_ED25519 => Ok(()),
            other => Err(other_algorithm(other)),
        }
    }

    /// All that is left.
    pub(super) fn rest(self) -> &'a [u8] {
        self.rest
    }

    /// Refuses bytes that nothing has read.
    pub(super) fn end(self) -> Result<(), KeyError> {
        if self.rest.is_empty() {
            return Ok(());
        }
        Err(KeyError::TrailingData { format: self.format })
    }
}

/// The error for a key type that is not `ssh-ed25519`.
pub(super) fn other_algorithm(name: &[u8]) -> KeyError {
    if name.windows(6).any(|part| part == b"-cert-") {
        return KeyError::Certificate;
    }
    KeyError::OtherAlgorithm { found: printable(name) }
}

/// At most 64 characters of text from a file, safe to show on a terminal.
pub(super) fn printable(text: &[u8]) -> String {
    let shown = text.get(..64).unwrap_or(text);
    shown.escape_ascii().to_string()
}
