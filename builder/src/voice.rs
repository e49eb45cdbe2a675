//! What is said beside the result: on standard error, one line each.

use std::io::{self, Write};

use serde::Serialize;

/// A warning.
pub(crate) fn warn(text: &str) {
    say(&format!("pspf: warning: {text}\n"));
}

/// Text as it is. Where nobody can hear it there is nothing to do about that.
pub(crate) fn say(text: &str) {
    let _ = std::io::stderr().lock().write_all(text.as_bytes());
}

/// A report for machines. People look at it too, so that what could steer their terminal is written as an escape, as in
/// every other text: JSON by itself asks for that only below U+0020.
pub(crate) fn print_json(report: &impl Serialize, out: &mut dyn Write) -> io::Result<()> {
    let plain = serde_json::to_string_pretty(report)?;
    let mut text = String::with_capacity(plain.len() + 1);
    for c in plain.chars() {
        // What stands between the strings is ASCII.
        if c < '\u{7f}' || c.escape_debug().len() == 1 {
            text.push(c);
        } else {
            c.encode_utf16(&mut [0; 2]).iter().for_each(|unit| text.push_str(&format!("\\u{unit:04x}")));
        }
    }
    text.push('\n');
    out.write_all(text.as_bytes())
}

/// Standard output that may lose its reader: what is left to say is dropped then, what is left to do is done, and the
/// exit code is that of the work.
pub(crate) struct UntilClosed<W> {
    inner: W,
    closed: bool,
}

impl<W> UntilClosed<W> {
    /// Wraps a writer.
    pub(crate) fn new(inner: W) -> Self {
        Self { inner, closed: false }
    }

    fn or_drop<T>(&mut self, outcome: io::Result<T>, dropped: T) -> io::Result<T> {
        match outcome {
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => {
                self.closed = true;
                Ok(dropped)
            }
            outcome => outcome,
        }
    }
}

impl<W: Write> Write for UntilClosed<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let outcome = if self.closed { Ok(bytes.len()) } else { self.inner.write(bytes) };
        self.or_drop(outcome, bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        let outcome = if self.closed { Ok(()) } else { self.inner.flush() };
        self.or_drop(outcome, ())
    }
}

/// A length for people.
pub(crate) fn size(bytes: u64) -> String {
    const UNITS: [&str; 4] = ["kB", "MB", "GB", "TB"];
    let mut unit = "B";
    let mut value = bytes as f64;
    for next in UNITS {
        if value < 999.5 {
            break;
        }
        value /= 1000.0;
        unit = next;
    }
    match unit {
        "B" => format!("{bytes} B"),
        _ if value < 99.95 => format!("{value:.1} {unit}"),
        _ => format!("{value:.0} {unit}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_have_three_digits() {
        for (bytes, expected) in [
            (0, "0 B"),
            (999, "999 B"),
            (1000, "1.0 kB"),
            (99_949, "99.9 kB"),
            (99_950, "100 kB"),
            (999_499, "999 kB"),
            (999_500, "1.0 MB"),
            (12_345_678, "12.3 MB"),
            (5_000_000_000_000, "5.0 TB"),
        ] {
            assert_eq!(size(bytes), expected);
        }
    }
}
