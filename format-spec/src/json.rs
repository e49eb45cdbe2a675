//! Canonical JSON (SPEC §6.1): each value has one text.
//!
//! [`Json`] writes that text and reads it; `object!` makes both for a struct from the list of its keys. Reading is
//! not strict about spelling, because [`read`] writes again what was understood and compares every byte.

use alloc::borrow::Cow;
use alloc::boxed::Box;
use alloc::string::{String, ToString};
use alloc::vec::Vec;

use crate::json_reader::Reader;
use crate::{Error, Sha256, TextMap};

/// A value of the metadata.
pub(crate) trait Json: Sized {
    /// Appends the text.
    fn write(&self, out: &mut Writer<'_>);

    /// Reads a value of this type.
    fn read(reader: &mut Reader<'_>) -> Result<Self, Box<Error>>;
}

/// A value whose key is left out where there is nothing to say.
pub(crate) trait Optional: Json + Default {
    fn is_absent(&self) -> bool;
}

/// Where the text of a value goes.
pub(crate) enum Writer<'t> {
    /// Into memory.
    Into(Vec<u8>),
    /// Beside a text that it shall be the same as: what is left of that; nothing once they differ.
    Beside(Option<&'t [u8]>),
}

impl Writer<'_> {
    /// Appends bytes as they are.
    #[inline(never)]
    pub(crate) fn put(&mut self, bytes: &[u8]) {
        match self {
            Self::Into(text) => text.extend_from_slice(bytes),
            Self::Beside(left) => *left = left.and_then(|left| left.strip_prefix(bytes)),
        }
    }
}

/// Reads a whole text, which must be the one that its value is written as.
pub(crate) fn read<T: Json>(text: &[u8]) -> Result<T, Error> {
    let value = Reader::new(text).and_then(|mut reader| T::read(&mut reader)).map_err(|error| *error)?;
    let mut canonical = Writer::Beside(Some(text));
    value.write(&mut canonical);
    if matches!(canonical, Writer::Beside(Some([]))) { Ok(value) } else { Err(Error::NotCanonical) }
}

/// The text of a value.
pub(crate) fn written(value: &impl Json) -> Vec<u8> {
    let mut text = Writer::Into(Vec::new());
    value.write(&mut text);
    if let Writer::Into(text) = text { text } else { Vec::new() }
}

/// Appends text as it is.
pub(crate) fn put(out: &mut Writer<'_>, text: &str) {
    out.put(text.as_bytes());
}

/// Characters with a short escape, and its letter.
pub(crate) const ESCAPES: [(u8, u8); 7] =
    [(b'"', b'"'), (b'\\', b'\\'), (8, b'b'), (b'\t', b't'), (b'\n', b'n'), (0xC, b'f'), (b'\r', b'r')];

/// Appends a string with its quotes.
pub(crate) fn put_string(out: &mut Writer<'_>, text: &str) {
    out.put(b"\"");
    let mut rest = text.as_bytes();
    while let Some((plain, [escaped, after @ ..])) =
        rest.iter().position(|&byte| byte < 0x20 || byte == b'"' || byte == b'\\').map(|at| rest.split_at(at))
    {
        out.put(plain);
        out.put(b"\\");
        match ESCAPES.iter().find(|(byte, _)| byte == escaped) {
            Some((_, letter)) => out.put(&[*letter]),
            None => {
                put(out, "u00");
                out.put(&crate::digest::digits(*escaped));
            }
        }
        rest = after;
    }
    out.put(rest);
    out.put(b"\"");
}

/// The struct's keys, in their order; `optional` ones are absent where their value is.
macro_rules! object {
    ($type:ident { $($need:ident $key:ident),* $(,)? }) => {
        impl $crate::json::Json for $type {
            fn write(&self, out: &mut $crate::json::Writer<'_>) {
                let mut before = "{\"";
                $($crate::json::object!(write $need out, before, self.$key, stringify!($key));)*
                $crate::json::put(out, if before == "{\"" { "{}" } else { "}" });
            }

            fn read(reader: &mut $crate::json_reader::Reader<'_>) -> Result<Self, alloc::boxed::Box<$crate::Error>> {
                const KEYS: &[(&str, bool)] = &[$((stringify!($key), $crate::json::object!($need))),*];
                let start = reader.position();
                let value = Self { $($key: $crate::json::object!(read $need reader, start, stringify!($key), KEYS)),* };
                reader.end(start, KEYS)?;
                Ok(value)
            }
        }
    };
    (required) => { true };
    (optional) => { false };
    (write required $out:ident, $before:ident, $value:expr, $key:expr) => {
        $crate::json::put_key($out, &mut $before, $key);
        $crate::json::Json::write(&$value, $out);
    };
    (write optional $out:ident, $before:ident, $value:expr, $key:expr) => {
        if !$crate::json::Optional::is_absent(&$value) {
            $crate::json::object!(write required $out, $before, $value, $key);
        }
    };
    (read required $reader:ident, $start:ident, $key:expr, $keys:ident) => {{
        $reader.required($start, $key, $keys)?;
        $crate::json::Json::read($reader)?
    }};
    (read optional $reader:ident, $start:ident, $key:expr, $keys:ident) => {
        if $reader.field($start, $key) { $crate::json::Json::read($reader)? } else { Default::default() }
    };
}
pub(crate) use object;

/// Appends a key with what stands before and after it; `before` is for the next key then.
pub(crate) fn put_key(out: &mut Writer<'_>, before: &mut &str, key: &str) {
    put(out, before);
    put(out, key);
    put(out, "\":");
    *before = ",\"";
}

/// The variants of an enum that is one of a few words.
macro_rules! words {
    ($type:ident { $($variant:ident),* }) => {
        impl $crate::json::Json for $type {
            fn write(&self, out: &mut $crate::json::Writer<'_>) {
                $crate::json::put_string(out, self.as_str());
            }

            fn read(reader: &mut $crate::json_reader::Reader<'_>) -> Result<Self, alloc::boxed::Box<$crate::Error>> {
                let known = [$(Self::$variant),*];
                let expected = concat!("expected one of the words for `", stringify!($type), "`");
                reader.parsed(|text| known.into_iter().find(|known| known.as_str() == text), expected)
            }
        }
    };
}
pub(crate) use words;

impl Json for u64 {
    fn write(&self, out: &mut Writer<'_>) {
        put(out, &self.to_string());
    }

    fn read(reader: &mut Reader<'_>) -> Result<Self, Box<Error>> {
        reader.number()
    }
}

impl Json for u32 {
    fn write(&self, out: &mut Writer<'_>) {
        u64::from(*self).write(out);
    }

    fn read(reader: &mut Reader<'_>) -> Result<Self, Box<Error>> {
        let start = reader.position();
        Self::try_from(reader.number()?).map_err(|_| reader.wrong(start, &"expected a number of 32 bits"))
    }
}

impl Json for String {
    fn write(&self, out: &mut Writer<'_>) {
        put_string(out, self);
    }

    fn read(reader: &mut Reader<'_>) -> Result<Self, Box<Error>> {
        reader.string().map(Cow::into_owned)
    }
}

impl Json for Sha256 {
    fn write(&self, out: &mut Writer<'_>) {
        out.put(b"\"");
        out.put(&self.to_hex());
        out.put(b"\"");
    }

    fn read(reader: &mut Reader<'_>) -> Result<Self, Box<Error>> {
        reader.parsed(Self::from_hex, "expected 64 lowercase hexadecimal digits")
    }
}

impl<T: Json> Json for Option<T> {
    fn write(&self, out: &mut Writer<'_>) {
        if let Some(value) = self {
            value.write(out);
        }
    }

    fn read(reader: &mut Reader<'_>) -> Result<Self, Box<Error>> {
        // What has no value has no key either.
        if reader.is_null() { Err(Box::new(Error::NotCanonical)) } else { T::read(reader).map(Some) }
    }
}

impl<T: Json> Optional for Option<T> {
    fn is_absent(&self) -> bool {
        self.is_none()
    }
}

impl<T: Json> Json for Vec<T> {
    fn write(&self, out: &mut Writer<'_>) {
        let mut before = "[";
        for value in self {
            put(out, before);
            value.write(out);
            before = ",";
        }
        put(out, if self.is_empty() { "[]" } else { "]" });
    }

    fn read(reader: &mut Reader<'_>) -> Result<Self, Box<Error>> {
        let mut values = Self::new();
        let start = reader.position();
        while reader.element(start, '[')? {
            values.push(T::read(reader)?);
        }
        Ok(values)
    }
}

impl<T: Json> Optional for Vec<T> {
    fn is_absent(&self) -> bool {
        self.is_empty()
    }
}

impl Json for TextMap {
    fn write(&self, out: &mut Writer<'_>) {
        let mut before = "{";
        for (key, value) in self {
            put(out, before);
            put_string(out, key);
            put(out, ":");
            put_string(out, value);
            before = ",";
        }
        put(out, if self.is_empty() { "{}" } else { "}" });
    }

    fn read(reader: &mut Reader<'_>) -> Result<Self, Box<Error>> {
        let mut values = Self::default();
        let start = reader.position();
        while reader.element(start, '{')? {
            let key = String::read(reader)?;
            reader.expect(":", "expected `:`")?;
            // In order, as they are written: each goes to the end, however many there are.
            if !values.push(key, String::read(reader)?) {
                return Err(Box::new(Error::NotCanonical));
            }
        }
        Ok(values)
    }
}

impl Optional for TextMap {
    fn is_absent(&self) -> bool {
        self.is_empty()
    }
}
