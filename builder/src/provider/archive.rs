//! The zip archive that a provider is distributed in, and the two hashes by which lock files know it.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom, Write};

use base64ct::{Base64, Encoding};
use pspf_format::{Class, Hasher, Sha256};
use serde::Serialize;
use zip::result::ZipError;
use zip::write::SimpleFileOptions;
use zip::{CompressionMethod, DateTime, System, ZipArchive, ZipWriter};

use crate::failure::Failure;

/// From here on an archive needs the fields of zip64; a margin is left for what stands around the program.
const LARGE: u64 = 0xff00_0000;

/// The hashes of an archive.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub(super) struct Hashes {
    /// Of names and contents, as Go's `dirhash` computes it: for an archive of files alone the same as for what is
    /// extracted of it. Directories count as empty files.
    pub(super) h1: String,
    /// Of the archive itself, which is what `SHA256SUMS` holds too.
    pub(super) zh: String,
}

/// Writes an archive that holds this program alone. A package is compressed already, so it is stored; its time is always
/// the same.
pub(super) fn write(target: &mut File, name: &str, program: &mut File) -> io::Result<()> {
    let len = program.seek(SeekFrom::End(0))?;
    program.seek(SeekFrom::Start(0))?;
    let options = SimpleFileOptions::default()
        .compression_method(CompressionMethod::Stored)
        .system(System::Unix)
        .last_modified_time(DateTime::DEFAULT)
        .unix_permissions(0o755)
        .large_file(len >= LARGE);
    let mut archive = ZipWriter::new(Kept { file: target, error: None });
    archive.start_file(name, options)?;
    io::copy(program, &mut archive)?;
    let Kept { file, error } = archive.finish()?;
    error.map_or_else(|| file.flush(), Err)
}

/// Keeps the first error for the end: a writer of archives that meets one tells it on standard error by itself.
struct Kept<'a> {
    file: &'a mut File,
    error: Option<io::Error>,
}

impl Write for Kept<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.error.is_none() {
            match self.file.write(bytes) {
                Err(error) if error.kind() != io::ErrorKind::Interrupted => self.error = Some(error),
                written => return written,
            }
        }
        // Everything else finds its place as if this were written.
        self.file.seek_relative(i64::try_from(bytes.len()).unwrap_or(i64::MAX))?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Seek for Kept<'_> {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        self.file.seek(to)
    }
}

/// The hashes of an archive, read as a whole. What is no archive is a failure without a path.
pub(super) fn hashes(file: &File) -> anyhow::Result<Hashes> {
    let mut reader = io::BufReader::with_capacity(256 << 10, file);
    reader.rewind()?;
    let zh = digest(&mut reader)?;
    let mut archive = ZipArchive::new(reader).map_err(broken)?;
    let mut contents = Vec::new();
    for index in 0..archive.len() {
        let mut entry = archive.by_index(index).map_err(broken)?;
        let name = entry.name().map_err(broken)?.into_owned();
        contents.push((name, digest(&mut entry).map_err(|error| broken(error.into()))?));
    }
    Ok(Hashes { h1: h1(contents), zh: format!("zh:{zh}") })
}

/// The hash of these names and contents.
pub(super) fn h1(mut contents: Vec<(String, Sha256)>) -> String {
    contents.sort();
    let mut hasher = Hasher::new();
    for (name, sha256) in contents {
        hasher.update(format!("{sha256}  {name}\n").as_bytes());
    }
    format!("h1:{}", Base64::encode_string(&hasher.finish().0))
}

/// The SHA-256 of all that can be read.
pub(super) fn digest(reader: &mut impl Read) -> io::Result<Sha256> {
    let mut hasher = Hasher::new();
    let mut buffer = vec![0; 256 << 10];
    loop {
        match reader.read(&mut buffer)? {
            0 => return Ok(hasher.finish()),
            len => hasher.update(buffer.get(..len).unwrap_or_default()),
        }
    }
}

fn broken(error: ZipError) -> Failure {
    Failure::new(Class::Format, "it is no archive that the CLIs could install").because(error)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_archive_holds_the_program_and_depends_on_nothing_else() {
        let mut program = tempfile::tempfile().unwrap();
        program.write_all(b"#!/bin/sh\n").unwrap();
        let make = |program: &mut File| {
            let mut target = tempfile::tempfile().unwrap();
            write(&mut target, "terraform-provider-demo_v1.0.0", program).unwrap();
            target
        };
        let (one, two) = (make(&mut program), make(&mut program));
        assert_eq!(hashes(&one).unwrap(), hashes(&two).unwrap());
        let mut bytes = Vec::new();
        (&one).rewind().unwrap();
        (&one).read_to_end(&mut bytes).unwrap();
        assert_eq!(hashes(&one).unwrap().zh, format!("zh:{}", Sha256::of(&bytes)));
        let mut archive = ZipArchive::new(&one).unwrap();
        assert_eq!(archive.len(), 1);
        let mut entry = archive.by_index(0).unwrap();
        assert_eq!(entry.name().unwrap(), "terraform-provider-demo_v1.0.0");
        assert_eq!(entry.unix_mode(), Some(0o100_755));
        assert_eq!(entry.compression(), CompressionMethod::Stored);
        let mut content = String::new();
        entry.read_to_string(&mut content).unwrap();
        assert_eq!(content, "#!/bin/sh\n");
        // As `echo -n 'HASH  NAME\n' | sha256sum`, in base64.
        let expected = h1(vec![("terraform-provider-demo_v1.0.0".to_owned(), Sha256::of(b"#!/bin/sh\n"))]);
        assert_eq!(hashes(&one).unwrap().h1, expected);
    }

    #[test]
    fn what_is_no_archive_is_told() {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(b"no archive").unwrap();
        let said = format!("{:#}", hashes(&file).unwrap_err());
        assert!(said.contains("no archive that the CLIs could install"), "{said}");
    }
}
