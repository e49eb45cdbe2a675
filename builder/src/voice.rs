//! What is said beside the result: on standard error, one line each.

use std::io::{self, Write};

/// A warning.
pub(crate) fn warn(text: &str) {
    say(&format!("pspf: warning: {text}\n"));
}

/// Text as it is. Where nobody can hear it there is nothing to do about that.
pub(crate) fn say(text: &str) {
    let _ = std::io::stderr().lock().write_all(text.as_bytes());
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
