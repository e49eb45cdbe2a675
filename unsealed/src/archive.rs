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
