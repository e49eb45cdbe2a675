//! A reader of tar archives as their writers make them: POSIX headers with pax or GNU extensions, each of bounded size.

use std::io::{self, Read};

use tar::{EntryType, Header, PaxExtensions};

const BLOCK: usize = 512;
/// The most that an extension says of one entry; a path has 4,095 bytes at most.
const MAX_EXTENSION: u64 = 64 << 10;
/// The most entries, as in a sealed package.
pub(crate) const MAX_ENTRIES: u64 = 1 << 20;

/// What an archive says of an entry.
pub(crate) struct Member {
    pub(crate) path: Vec<u8>,
    pub(crate) kind: EntryType,
    pub(crate) mode: u32,
    pub(crate) size: u64,
}

/// An archive that is read from its start to its end.
pub(crate) struct Archive<'a> {
    reader: &'a mut dyn Read,
    /// What of the last member's content and padding is still to come.
    content: u64,
    padding: u64,
    count: u64,
}

impl<'a> Archive<'a> {
    pub(crate) fn new(reader: &'a mut dyn Read) -> Self {
        Self { reader, content: 0, padding: 0, count: 0 }
    }

    /// The next member; `None` at the end.
    pub(crate) fn next(&mut self) -> io::Result<Option<Member>> {
        let (mut long_path, mut pax) = (None, Vec::new());
        loop {
            self.skip()?;
            let Some(header) = self.header()? else { return Ok(None) };
            let kind = header.entry_type();
            let len = header.entry_size()?;
            self.take(len);
            match kind {
                EntryType::GNULongName => long_path = Some(self.extension(len)?),
                EntryType::GNULongLink => drop(self.extension(len)?),
                EntryType::XHeader => pax = self.extension(len)?,
                // Of all that follow; times and comments, as git writes them.
                EntryType::XGlobalHeader => drop(self.extension(len)?),
                kind => {
                    let mut member =
                        Member { path: header.path_bytes().into_owned(), kind, mode: header.mode()?, size: len };
                    if let Some(path) = long_path.take() {
                        member.path = path.split(|byte| *byte == 0).next().unwrap_or_default().to_vec();
                    }
                    for extension in PaxExtensions::new(&pax) {
                        let extension = extension?;
                        match extension.key_bytes() {
                            b"path" => member.path = extension.value_bytes().to_vec(),
                            b"size" => member.size = number(extension.value_bytes())?,
                            // Sparse files have holes that their writers describe in ways of their own.
                            key if key.starts_with(b"GNU.sparse") => return Err(wrong("a sparse file")),
                            _ => {}
                        }
                    }
                    self.take(member.size);
                    self.count += 1;
                    if self.count > MAX_ENTRIES {
                        return Err(wrong("more than 1,048,576 entries"));
                    }
                    return Ok(Some(member));
                }
            }
        }
    }

    fn take(&mut self, len: u64) {
        self.content = len;
        self.padding = len.wrapping_neg() % BLOCK as u64;
    }

    /// The content of the last member.
    pub(crate) fn content(&mut self) -> Content<'_, 'a> {
        Content(self)
    }

    fn skip(&mut self) -> io::Result<()> {
        let len = self.content.saturating_add(self.padding);
        let skipped = io::copy(&mut (&mut *self.reader).take(len), &mut io::sink())?;
        (self.content, self.padding) = (0, 0);
        if skipped == len { Ok(()) } else { Err(wrong("an end in the middle of an entry")) }
    }

    fn extension(&mut self, len: u64) -> io::Result<Vec<u8>> {
        if len > MAX_EXTENSION {
            return Err(wrong("an extension of more than 64 KiB"));
        }
        let mut bytes = Vec::new();
        self.content().read_to_end(&mut bytes)?;
        Ok(bytes)
    }

    /// The next header; `None` at an empty block or the end of the stream.
    fn header(&mut self) -> io::Result<Option<Header>> {
        let mut header = Header::new_old();
        let mut read = 0;
        while let Some(rest) = header.as_mut_bytes().get_mut(read..).filter(|rest| !rest.is_empty()) {
            match self.reader.read(rest) {
                Ok(0) if read == 0 => return Ok(None),
                Ok(0) => return Err(wrong("an end in the middle of a header")),
                Ok(len) => read += len,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        if header.as_bytes().iter().all(|byte| *byte == 0) {
            return Ok(None);
        }
        let bytes = header.as_bytes().iter().enumerate();
        let sum: u32 = bytes.map(|(at, byte)| if (148..156).contains(&at) { 32 } else { u32::from(*byte) }).sum();
        if header.cksum()? != sum {
            return Err(wrong("a header whose checksum is wrong"));
        }
        if header.as_ustar().is_none() && header.as_gnu().is_none() {
            return Err(wrong("an archive older than POSIX.1-1988 (no `ustar`)"));
        }
        Ok(Some(header))
    }
}

/// The content of one member.
pub(crate) struct Content<'b, 'a>(&'b mut Archive<'a>);

impl Read for Content<'_, '_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let most = usize::try_from(self.0.content).unwrap_or(usize::MAX).min(buffer.len());
        let Some(buffer) = buffer.get_mut(..most).filter(|buffer| !buffer.is_empty()) else { return Ok(0) };
        let len = self.0.reader.read(buffer)?;
        if len == 0 {
            return Err(wrong("an end in the middle of an entry"));
        }
        self.0.content -= len as u64;
        Ok(len)
    }
}

fn number(text: &[u8]) -> io::Result<u64> {
    let text = std::str::from_utf8(text).ok().filter(|text| text.bytes().all(|byte| byte.is_ascii_digit()));
    text.and_then(|text| text.parse().ok()).ok_or_else(|| wrong("a size that is no number"))
}

fn wrong(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A header and its content, in the POSIX form or in GNU's.
    fn entry(mut header: Header, kind: EntryType, path: &[u8], content: &[u8]) -> Vec<u8> {
        header.as_old_mut().name[..path.len()].copy_from_slice(path);
        header.set_entry_type(kind);
        header.set_mode(0o644);
        header.set_size(content.len() as u64);
        header.set_cksum();
        [header.as_bytes(), content, &vec![0; content.len().wrapping_neg() % BLOCK]].concat()
    }

    fn file(path: &str, content: &[u8]) -> Vec<u8> {
        entry(Header::new_ustar(), EntryType::Regular, path.as_bytes(), content)
    }

    fn gnu(kind: EntryType, content: &[u8]) -> Vec<u8> {
        entry(Header::new_gnu(), kind, b"././@LongLink", content)
    }

    fn pax(kind: EntryType, words: &[(&str, &str)]) -> Vec<u8> {
        let record = |(key, value): &(&str, &str)| {
            let len = key.len() + value.len() + 3;
            let digits = (len + 2).to_string().len();
            format!("{} {key}={value}\n", len + digits)
        };
        let text: String = words.iter().map(record).collect();
        entry(Header::new_ustar(), kind, b"pax", text.as_bytes())
    }

    /// Gives what it has in small pieces, and an error of this kind before each.
    struct Pieces<'a>(&'a [u8], Option<io::ErrorKind>, bool);

    impl Read for Pieces<'_> {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            self.2 = !self.2;
            match self.1 {
                Some(kind) if self.2 => Err(kind.into()),
                _ => {
                    let most = buffer.len().min(100);
                    self.0.read(&mut buffer[..most])
                }
            }
        }
    }

    /// Paths and contents; or lengths alone, so that contents are skipped.
    fn read(reader: &mut dyn Read, whole: bool) -> io::Result<Vec<(String, Vec<u8>)>> {
        let mut archive = Archive::new(reader);
        let mut all = Vec::new();
        while let Some(member) = archive.next()? {
            assert_eq!(member.mode, 0o644);
            let mut content = member.size.to_string().into_bytes();
            if whole {
                content.clear();
                archive.content().read_to_end(&mut content)?;
            }
            all.push((String::from_utf8(member.path).unwrap(), content));
        }
        Ok(all)
    }

    #[test]
    fn archives_of_every_writer_are_read_however_they_arrive() {
        let long = "long/".repeat(60);
        let bytes = [
            file("plain", b"1"),
            gnu(EntryType::GNULongName, format!("{long}gnu\0more").as_bytes()),
            gnu(EntryType::GNULongLink, b"nowhere\0"),
            file("cut", &[2; BLOCK]),
            pax(EntryType::XGlobalHeader, &[("comment", "a commit"), ("path", "not this")]),
            pax(EntryType::XHeader, &[("mtime", "1.5"), ("path", &format!("{long}pax"))]),
            file("cut", &[3; BLOCK + 1]),
            // What was said of one entry does not hold for the next.
            file("next", b""),
        ]
        .concat();
        // The size in the header is one that old readers understand.
        let sized = file("sized", &[4; 700]);
        let mut header = Header::new_ustar();
        header.as_mut_bytes().copy_from_slice(&sized[..BLOCK]);
        header.set_size(0);
        header.set_cksum();
        let sized = [&pax(EntryType::XHeader, &[("size", "700")])[..], header.as_bytes(), &sized[BLOCK..]].concat();
        let bytes = [bytes, sized, file("last", b"5")].concat();
        let contents = [&[b'1'][..], &[2; BLOCK], &[3; BLOCK + 1], b"", &[4; 700], b"5"];
        let paths = ["plain".to_owned(), format!("{long}gnu"), format!("{long}pax")].into_iter();
        let paths = paths.chain(["next", "sized", "last"].map(str::to_owned));
        let expected: Vec<_> = paths.zip(contents.map(<[u8]>::to_vec)).collect();
        let lengths = expected.iter().map(|(path, content)| (path.clone(), content.len().to_string().into_bytes()));
        let lengths: Vec<_> = lengths.collect();
        // With and without the empty blocks at the end, behind which nothing is read.
        for bytes in [[&bytes[..], &[0; 2 * BLOCK], b"rest"].concat(), bytes] {
            assert_eq!(read(&mut &*bytes, true).unwrap(), expected);
            assert_eq!(read(&mut &*bytes, false).unwrap(), lengths);
            assert_eq!(read(&mut Pieces(&bytes, None, false), true).unwrap(), expected);
            let interrupted = Some(io::ErrorKind::Interrupted);
            assert_eq!(read(&mut Pieces(&bytes, interrupted, false), true).unwrap(), expected);
            // Also one that passes is told.
            let failed = Archive::new(&mut Pieces(&bytes, Some(io::ErrorKind::TimedOut), false)).next();
            assert!(failed.is_err_and(|error| error.kind() == io::ErrorKind::TimedOut));
        }
    }

    #[test]
    fn archives_that_are_wrong_say_what_is_wrong() {
        let plain = file("plain", &[1; 600]);
        let old = entry(Header::new_old(), EntryType::Regular, b"old", b"");
        let mut damaged = plain.clone();
        damaged[0] ^= 1;
        for (bytes, text) in [
            (&plain[..100], "an end in the middle of a header"),
            (&plain[..700], "an end in the middle of an entry"),
            (&plain[..1200], "an end in the middle of an entry"),
            (&damaged, "checksum"),
            (&old, "older than POSIX"),
            (&[pax(EntryType::XHeader, &[("GNU.sparse.major", "1")]), plain.clone()].concat(), "sparse"),
            (&[pax(EntryType::XHeader, &[("size", "+600")]), plain.clone()].concat(), "no number"),
            (&[pax(EntryType::XHeader, &[("size", "")]), plain.clone()].concat(), "no number"),
            (&gnu(EntryType::GNULongName, &[b'a'; (64 << 10) + 1]), "more than 64 KiB"),
        ] {
            for whole in [true, false] {
                let error = read(&mut &*bytes, whole).unwrap_err().to_string();
                assert!(error.contains(text), "{error} for {text}");
            }
        }
        let longest = [gnu(EntryType::GNULongName, &[b'a'; 64 << 10]), plain].concat();
        assert_eq!(read(&mut &*longest, true).unwrap()[0].0.len(), 64 << 10);
    }

    #[test]
    fn an_archive_has_as_many_entries_as_a_sealed_package_may_have() {
        let bytes = [file("a", b""), file("b", b"")].concat();
        let mut reader = &*bytes;
        let mut archive = Archive::new(&mut reader);
        archive.count = (1 << 20) - 1;
        assert!(archive.next().is_ok());
        assert!(archive.next().is_err_and(|error| error.to_string() == "more than 1,048,576 entries"));
    }
}
