//! Walks over JSON without taking it apart: which keys an object has, and where a value ends.
//!
//! It accepts every JSON text, with white space and in any order, and some that are none: no decision that lets
//! something pass rests on it.

/// A place in a text.
pub(crate) struct Scanner<'a> {
    text: &'a [u8],
    at: usize,
    inside: bool,
}

impl<'a> Scanner<'a> {
    /// From this byte on.
    pub(crate) fn new(text: &'a [u8], at: usize) -> Self {
        Self { text, at, inside: false }
    }

    /// Position of the next byte.
    pub(crate) fn position(&self) -> usize {
        self.at
    }

    /// The next byte that is no white space.
    fn next(&mut self) -> Option<u8> {
        let rest = self.text.get(self.at..)?;
        self.at += rest.iter().take_while(|byte| matches!(byte, b' ' | b'\t' | b'\n' | b'\r')).count();
        self.text.get(self.at).copied()
    }

    fn takes(&mut self, byte: u8) -> bool {
        let next = self.next() == Some(byte);
        self.at += usize::from(next);
        next
    }

    /// The next key of the object that begins here, as it is written; its value is passed over by the next call.
    pub(crate) fn key(&mut self) -> Result<Option<&'a [u8]>, &'static str> {
        if self.inside {
            if !self.takes(b':') {
                return Err("expected `:`");
            }
            self.value()?;
            if self.takes(b'}') {
                return Ok(None);
            }
            if !self.takes(b',') {
                return Err("expected `,` or `}`");
            }
        } else if !self.takes(b'{') {
            return Err("expected an object");
        } else if self.takes(b'}') {
            return Ok(None);
        }
        self.inside = true;
        self.string().map(Some)
    }

    /// What stands between the quotes.
    fn string(&mut self) -> Result<&'a [u8], &'static str> {
        if !self.takes(b'"') {
            return Err("expected a string");
        }
        let start = self.at;
        loop {
            let byte = self.text.get(self.at).ok_or("expected the end of a string")?;
            self.at += 1;
            match byte {
                b'"' => return Ok(self.text.get(start..self.at - 1).unwrap_or_default()),
                b'\\' => self.at += 1,
                _ => {}
            }
        }
    }

    /// Passes over a value, however deep it is.
    pub(crate) fn value(&mut self) -> Result<(), &'static str> {
        let mut depth = 0_usize;
        loop {
            match self.next() {
                Some(b'"') => {
                    self.string()?;
                }
                Some(b'{' | b'[') => {
                    self.at += 1;
                    depth += 1;
                    continue;
                }
                Some(b'}' | b']') if depth > 0 => {
                    self.at += 1;
                    depth -= 1;
                }
                Some(b',' | b':') if depth > 0 => {
                    self.at += 1;
                    continue;
                }
                Some(byte) if byte.is_ascii_alphanumeric() || byte == b'-' => {
                    let rest = self.text.get(self.at..).unwrap_or_default();
                    let word = |byte: &&u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'+' | b'.');
                    self.at += rest.iter().take_while(word).count();
                }
                _ => return Err("expected a value"),
            }
            if depth == 0 {
                return Ok(());
            }
        }
    }
}

/// Whether the top level of a text has this key.
pub(crate) fn has_key(text: &[u8], key: &str) -> bool {
    let mut scanner = Scanner::new(text, 0);
    core::iter::from_fn(|| scanner.key().ok().flatten()).any(|found| found == key.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_of_the_top_level_are_found_in_any_form() {
        for text in ["{\"a\":1,\"pspf\":2}", " { \"b\" : [ {\"x\": [-1.5e+3, null]} , {} ] , \"pspf\" : {} } "] {
            assert!(has_key(text.as_bytes(), "pspf"), "{text}");
            assert!(!has_key(text.as_bytes(), "x"), "{text}");
        }
    }

    #[test]
    fn a_text_that_is_no_json_ends_the_walk() {
        // A value that is missing, where something is closed that was never opened.
        for text in ["{\"a\":},\"pspf\":1}", "{\"a\":],\"pspf\":1}", "{\"a\":,\"pspf\":1}", "{\"a\":", "{\"a", "{", ""]
        {
            assert!(!has_key(text.as_bytes(), "pspf"), "{text}");
        }
    }
}
