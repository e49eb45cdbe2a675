//! Reads the tokens of canonical JSON, and says what is wrong where there is something else.

use alloc::borrow::Cow;
use alloc::boxed::Box;
use alloc::format;
use alloc::string::String;
use core::fmt::Display;

use crate::Error;
use crate::digest::nibble;
use crate::json::ESCAPES;
use crate::json_scan::Scanner;

/// A text that is read from the front.
pub(crate) struct Reader<'a> {
    text: &'a str,
    at: usize,
}

impl<'a> Reader<'a> {
    /// A reader of this text.
    pub(crate) fn new(text: &'a [u8]) -> Result<Self, Box<Error>> {
        let whole =
            |error: core::str::Utf8Error| Error::Json { reason: format!("no UTF-8 at byte {}", error.valid_up_to()) };
        Ok(Self { text: core::str::from_utf8(text).map_err(whole)?, at: 0 })
    }

    /// Position of the next byte.
    pub(crate) fn position(&self) -> usize {
        self.at
    }

    fn rest(&self) -> &'a str {
        self.text.get(self.at..).unwrap_or_default()
    }

    /// Takes `literal` if it is next.
    fn takes(&mut self, literal: &str) -> bool {
        let next = self.rest().starts_with(literal);
        if next {
            self.at += literal.len();
        }
        next
    }

    /// Takes `literal`, which must be next.
    pub(crate) fn expect(&mut self, literal: &str, expected: &str) -> Result<(), Box<Error>> {
        if self.takes(literal) { Ok(()) } else { Err(self.wrong(self.at, &expected)) }
    }

    /// Takes what stands before the next element of an array or object that began at `start` with `open`, or its end.
    pub(crate) fn element(&mut self, start: usize, open: char) -> Result<bool, Box<Error>> {
        let (open, close, both, expected) = match open {
            '[' => ("[", "]", "[]", "expected an array"),
            _ => ("{", "}", "{}", "expected an object"),
        };
        let first = self.at == start;
        if self.takes(if first { both } else { close }) {
            return Ok(false);
        }
        self.expect(if first { open } else { "," }, expected)?;
        Ok(true)
    }

    /// Takes this key of the object that began at `start`, if it is next.
    pub(crate) fn field(&mut self, start: usize, key: &str) -> bool {
        let before = if self.at == start { "{\"" } else { ",\"" };
        let next = self.rest().strip_prefix(before).and_then(|rest| rest.strip_prefix(key));
        let next = next.and_then(|rest| rest.strip_prefix("\":"));
        if let Some(rest) = next {
            self.at = self.text.len() - rest.len();
        }
        next.is_some()
    }

    /// Takes this key, which must be next.
    pub(crate) fn required(&mut self, start: usize, key: &str, keys: &[(&str, bool)]) -> Result<(), Box<Error>> {
        if self.field(start, key) { Ok(()) } else { Err(self.wrong_keys(start, keys)) }
    }

    /// Takes the end of the object that began at `start`.
    pub(crate) fn end(&mut self, start: usize, keys: &[(&str, bool)]) -> Result<(), Box<Error>> {
        if self.takes(if self.at == start { "{}" } else { "}" }) { Ok(()) } else { Err(self.wrong_keys(start, keys)) }
    }

    /// Why the object that began at `start` has not these keys (and whether each must be there) in this order.
    #[cold]
    fn wrong_keys(&self, start: usize, keys: &[(&str, bool)]) -> Box<Error> {
        let mut scanner = Scanner::new(self.text.as_bytes(), start);
        let mut seen = 0_u32;
        loop {
            let key = match scanner.key() {
                Ok(Some(key)) => key,
                Ok(None) => break,
                Err(expected) => return self.wrong(scanner.position(), &expected),
            };
            // No key of ours needs an escape.
            if key.contains(&b'\\') {
                return Box::new(Error::NotCanonical);
            }
            let known = keys.iter().position(|(known, _)| known.as_bytes() == key);
            let bit = known.map_or(0, |position| 1 << position);
            if bit == 0 || seen & bit != 0 {
                let what = if bit == 0 { "unknown key" } else { "a second key" };
                let key = String::from_utf8_lossy(key);
                return self.wrong(scanner.position(), &format_args!("{what} `{key}`"));
            }
            seen |= bit;
        }
        match keys.iter().enumerate().find(|(position, (_, required))| *required && seen >> position & 1 == 0) {
            Some((_, (key, _))) => self.wrong(start, &format_args!("no key `{key}` in the object")),
            None => Box::new(Error::NotCanonical),
        }
    }

    /// Takes a number without sign, fraction and exponent.
    pub(crate) fn number(&mut self) -> Result<u64, Box<Error>> {
        let digits = self.rest().bytes().take_while(u8::is_ascii_digit).count();
        let number = self.rest().get(..digits).and_then(|digits| digits.parse().ok());
        let number = number.ok_or_else(|| self.wrong(self.at, &"expected a number of 64 bits"))?;
        self.at += digits;
        Ok(number)
    }

    /// Takes a string.
    pub(crate) fn string(&mut self) -> Result<Cow<'a, str>, Box<Error>> {
        let start = self.at;
        let mut rest = self.rest().strip_prefix('"').ok_or_else(|| self.wrong(start, &"expected a string"))?;
        let mut text = Cow::Borrowed("");
        loop {
            let end = rest.bytes().position(|byte| byte == b'"' || byte == b'\\');
            let (plain, special) = end.and_then(|end| rest.split_at_checked(end)).unwrap_or((rest, ""));
            text += plain;
            let (char, len) = match special.as_bytes() {
                [b'"', ..] => {
                    self.at = self.text.len() - special.len() + 1;
                    return Ok(text);
                }
                [b'\\', b'u', b'0', b'0', high, low, ..] => {
                    let value = nibble(*high).zip(nibble(*low)).map(|(high, low)| high << 4 | low);
                    (value.ok_or(Error::NotCanonical)?, 6)
                }
                [b'\\', letter, ..] => {
                    let escape = ESCAPES.iter().find(|(_, known)| known == letter);
                    (escape.ok_or(Error::NotCanonical)?.0, 2)
                }
                _ => return Err(self.wrong(start, &"no end of the string that begins")),
            };
            text.to_mut().push(char::from(char));
            rest = special.get(len..).unwrap_or_default();
        }
    }

    /// Takes a string and makes something of it.
    pub(crate) fn parsed<T>(&mut self, parse: impl FnOnce(&str) -> Option<T>, expected: &str) -> Result<T, Box<Error>> {
        let start = self.at;
        let text = self.string()?;
        parse(&text).ok_or_else(|| self.wrong(start, &expected))
    }

    /// Passes over any value.
    pub(crate) fn skip(&mut self) -> Result<(), Box<Error>> {
        let mut scanner = Scanner::new(self.text.as_bytes(), self.at);
        scanner.value().map_err(|expected| self.wrong(scanner.position(), &expected))?;
        self.at = scanner.position();
        Ok(())
    }

    /// Whether `null` is next.
    pub(crate) fn is_null(&self) -> bool {
        self.rest().starts_with("null")
    }

    /// What is wrong at this byte; white space is JSON, and not canonical.
    #[cold]
    pub(crate) fn wrong(&self, at: usize, what: &dyn Display) -> Box<Error> {
        match self.text.as_bytes().get(at) {
            Some(b' ' | b'\t' | b'\n' | b'\r') => Box::new(Error::NotCanonical),
            _ => Box::new(Error::Json { reason: format!("{what} at byte {at}") }),
        }
    }
}
