//! The content of a slot: its stored bytes, read and hashed once, through the operations backwards.

use std::cell::RefCell;
use std::io::{self, BufReader, Read};
use std::rc::Rc;

use pspf_format::{Error as FormatError, Hasher, Operation, UnsealedSlot};
use pspf_launcher::PackageFile;

use crate::Error;

/// What a decoder may use (SPEC §8.6).
#[cfg(feature = "all-codes")]
const XZ_MEMORY: u64 = 64 << 20;
const ZSTD_WINDOW_LOG: u32 = 23;
/// How much a slot may decode to: so many times its stored bytes, which DEFLATE cannot exceed, and so many more.
const MAX_RATIO: u64 = 1100;
const MAX_MORE: u64 = 64 << 20;

/// The stored bytes of a slot, hashed as they are read.
struct Stored<'a> {
    file: &'a PackageFile,
    at: u64,
    left: u64,
    state: Rc<RefCell<State>>,
}

#[derive(Default)]
struct State {
    hasher: Hasher,
    /// What reading failed with: a decoder may have its own words for it.
    failure: Option<pspf_launcher::Error>,
}

impl Read for Stored<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let len = buffer.len().min(usize::try_from(self.left).unwrap_or(usize::MAX));
        let Some(buffer) = buffer.get_mut(..len).filter(|buffer| !buffer.is_empty()) else { return Ok(0) };
        let mut state = self.state.borrow_mut();
        if let Err(error) = self.file.read_at(buffer, self.at) {
            state.failure = Some(error);
            return Err(io::Error::other("the package cannot be read"));
        }
        state.hasher.update(buffer);
        self.at += len as u64;
        self.left -= len as u64;
        Ok(len)
    }
}

/// Gives the decoded content of a slot to `take`, then compares what was read with the signed digest: until this
/// returns, nothing of it may get its final name.
pub(crate) fn decoded<T>(
    file: &PackageFile,
    slot: &UnsealedSlot,
    take: impl FnOnce(&mut dyn Read) -> Result<T, Error>,
) -> Result<T, Error> {
    let state = Rc::new(RefCell::new(State::default()));
    let mut stored = Stored { file, at: slot.span.offset, left: slot.span.len, state: Rc::clone(&state) };
    let taken = {
        let mut reader: Box<dyn Read + '_> = Box::new(&mut stored);
        for operation in slot.operations.iter().rev() {
            reader = decoder(*operation, reader).map_err(|error| Error::content(&slot.id, error))?;
        }
        let most = slot.span.len.saturating_mul(MAX_RATIO).saturating_add(MAX_MORE);
        let mut reader = Bounded { reader, left: most };
        let taken = take(&mut reader);
        // An archive ends before its stream does.
        match taken {
            Ok(taken) => {
                io::copy(&mut reader, &mut io::sink()).map(|_| taken).map_err(|error| Error::content(&slot.id, error))
            }
            Err(error) => Err(error),
        }
    };
    let rest = io::copy(&mut stored, &mut io::sink());
    drop(stored);
    let State { hasher, failure } = state.take();
    if let Some(error) = failure {
        return Err(error.into());
    }
    rest.map_err(|error| Error::content(&slot.id, error))?;
    let found = hasher.finish();
    if found != slot.sha256 {
        // Whatever the decoder said: these are not the bytes that were signed.
        return Err(file.wrong(FormatError::Digest { part: "slot", expected: slot.sha256, found }).into());
    }
    taken
}

/// A reader of at most so many bytes, which does not take more for an end.
struct Bounded<'a> {
    reader: Box<dyn Read + 'a>,
    left: u64,
}

impl Read for Bounded<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let len = self.reader.read(buffer)?;
        let left = self.left.checked_sub(len as u64);
        self.left = left.ok_or_else(|| io::Error::other("it is more than 1,100 times as large as it is stored"))?;
        Ok(len)
    }
}

fn decoder<'a>(operation: Operation, stored: Box<dyn Read + 'a>) -> io::Result<Box<dyn Read + 'a>> {
    Ok(match operation {
        Operation::Tar => stored,
        // The first member is the content, as for the reference launcher in Rust.
        Operation::Gzip => Box::new(flate2::bufread::GzDecoder::new(BufReader::new(stored))),
        Operation::Zstd => {
            let mut decoder = zstd::Decoder::new(stored)?;
            decoder.window_log_max(ZSTD_WINDOW_LOG)?;
            Box::new(decoder)
        }
        #[cfg(feature = "all-codes")]
        Operation::Bzip2 => Box::new(bzip2::bufread::MultiBzDecoder::new(BufReader::new(stored))),
        #[cfg(feature = "all-codes")]
        Operation::Xz => {
            let stream = liblzma::stream::Stream::new_stream_decoder(XZ_MEMORY, liblzma::stream::CONCATENATED)?;
            Box::new(liblzma::bufread::XzDecoder::new_stream(BufReader::new(stored), stream))
        }
        #[cfg(not(feature = "all-codes"))]
        Operation::Bzip2 | Operation::Xz => {
            return Err(io::Error::other("bzip2 and xz are read by `pspf` alone; no launcher starts such a package"));
        }
    })
}

/// Decodes a slot and looks at every entry where it is a tree, without keeping anything.
///
/// # Errors
/// What is wrong with it.
pub fn decode_all(file: &PackageFile, slot: &UnsealedSlot) -> Result<(), Error> {
    decoded(file, slot, |reader| {
        if slot.is_tree() {
            return crate::unpack::each_entry(&slot.id, reader, |_, content| {
                io::copy(content, &mut io::sink()).map(|_| ()).map_err(|error| Error::content(&slot.id, error))
            });
        }
        io::copy(reader, &mut io::sink()).map(|_| ()).map_err(|error| Error::content(&slot.id, error))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::slot;

    fn decoded_len(operation: Operation, stored: &[u8]) -> Result<u64, Error> {
        let (file, slot) = slot(vec![operation], stored);
        decoded(&file, &slot, |reader| Ok(io::copy(reader, &mut io::sink()).unwrap_or(0)))
    }

    fn zeros(len: u64) -> Vec<u8> {
        zstd::encode_all(io::repeat(0).take(len), 1).unwrap()
    }

    #[test]
    fn what_is_packed_well_is_unpacked_and_what_fills_a_disk_is_not() {
        // More than 1,100 times as large as it is stored, and small all the same.
        let stored = zeros(60 << 20);
        assert!(stored.len() < (60 << 20) / 1100);
        assert_eq!(decoded_len(Operation::Zstd, &stored).unwrap(), 60 << 20);
        let error = decoded_len(Operation::Zstd, &zeros(80 << 20)).unwrap_err().to_string();
        assert!(error.contains("1,100 times"), "{error}");
    }

    #[test]
    fn a_window_of_8_mib_is_read_and_no_larger_one() {
        for (log, fits) in [(23, true), (24, false)] {
            let mut encoder = zstd::Encoder::new(Vec::new(), 1).unwrap();
            encoder.window_log(log).unwrap();
            io::copy(&mut io::repeat(7).take((8 << 20) + 1), &mut encoder).unwrap();
            assert_eq!(decoded_len(Operation::Zstd, &encoder.finish().unwrap()).is_ok(), fits, "{log}");
        }
    }

    #[test]
    fn a_slot_is_compared_with_its_digest_to_its_last_byte() {
        let content: Vec<u8> = (0..300_000_u32).map(|number| (number % 251) as u8).collect();
        let (file, slot) = slot(Vec::new(), &content);
        let read = |most: u64, slot: &UnsealedSlot| {
            decoded(&file, slot, |reader| {
                let mut bytes = Vec::new();
                reader.take(most).read_to_end(&mut bytes).unwrap();
                Ok(bytes)
            })
        };
        assert!(read(u64::MAX, &slot).unwrap() == content);
        // Whatever of it is taken, all of it is hashed.
        assert_eq!(read(3, &slot).unwrap(), content[..3]);
        decode_all(&file, &slot).unwrap();
        let other = UnsealedSlot { sha256: pspf_format::Sha256::of(b"other"), ..slot.clone() };
        for error in [read(u64::MAX, &other).unwrap_err(), decode_all(&file, &other).unwrap_err()] {
            assert_eq!(error.class(), pspf_format::Class::Integrity, "{error}");
        }
    }

    /// `pspf` reads what no launcher starts.
    #[cfg(feature = "all-codes")]
    #[test]
    fn xz_is_read_within_64_mib_of_memory() {
        // As many MiB as its dictionary, and a little.
        for (dictionary, fits) in [(32 << 20, true), (80 << 20, false)] {
            let mut options = liblzma::stream::LzmaOptions::new_preset(0).unwrap();
            options.dict_size(dictionary);
            let mut filters = liblzma::stream::Filters::new();
            let stream = filters.lzma2(&options);
            let stream = liblzma::stream::Stream::new_stream_encoder(stream, liblzma::stream::Check::None).unwrap();
            let mut stored = Vec::new();
            liblzma::bufread::XzEncoder::new_stream(&b"content"[..], stream).read_to_end(&mut stored).unwrap();
            let found = decoded_len(Operation::Xz, &stored);
            assert_eq!(found.is_ok_and(|len| len == 7), fits, "{dictionary}");
        }
    }
}
