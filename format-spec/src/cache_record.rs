//! The cache's own records (SPEC §10.3). They are not part of a package; they are here because their layout is fixed too.

use alloc::borrow::ToOwned;
use alloc::string::String;
use alloc::vec::Vec;

use bincode::{Decode, Encode};

use crate::{Record, Sha256};

/// Version of the cache's layout and of both records.
pub const CACHE_SCHEMA: u32 = 1;

/// One extracted slot as it stands on disk. Nobody but its owner and root can change these four numbers at will.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Encode, Decode)]
#[expect(missing_docs, reason = "named after `struct stat`")]
pub struct SlotStamp {
    pub key: [u8; 32],
    pub device: u64,
    pub inode: u64,
    pub ctime: i64,
    pub ctime_nsec: i64,
}

impl Record for SlotStamp {
    const LEN: usize = 64;
}

/// When a record's claim holds. `durable` 1: everything was synced before it was written, so it outlives a crash;
/// 0: while the boot id is this one. `portable` 1: it was filled ahead, synced and compared in full; in a copy of
/// the cache, as in a container image, it holds after one more comparison, or where the copy cannot be written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Encode, Decode)]
#[expect(missing_docs, reason = "explained above")]
pub struct Validity {
    pub durable: u32,
    pub portable: u32,
    pub boot_id: [u8; 16],
}

#[derive(Debug, Encode, Decode)]
struct SlotRecord {
    magic: [u8; 8],
    schema: u32,
    reserved: u32,
    validity: Validity,
    stamp: SlotStamp,
}

impl Record for SlotRecord {
    const LEN: usize = 104;
}

#[derive(Debug, Encode, Decode)]
struct ReceiptHeader {
    magic: [u8; 8],
    schema: u32,
    slot_count: u32,
    package_id: [u8; 32],
    label: [u8; LABEL_LEN],
    validity: Validity,
}

impl Record for ReceiptHeader {
    const LEN: usize = 72 + LABEL_LEN;
}

const SLOT_MAGIC: [u8; 8] = *b"PSPFSLOT";
const RECEIPT_MAGIC: [u8; 8] = *b"PSPFRCPT";
const DIGEST_LEN: usize = 32;
/// Room for a package's name and version in its receipt, in bytes.
const LABEL_LEN: usize = 128;
/// Longest receipt, in bytes.
pub const MAX_RECEIPT: usize = ReceiptHeader::LEN + crate::MAX_SLOTS * SlotStamp::LEN + DIGEST_LEN;

fn seal(mut bytes: Vec<u8>) -> Vec<u8> {
    bytes.extend(Sha256::of(&bytes).0);
    bytes
}

fn unseal(bytes: &[u8]) -> Option<&[u8]> {
    let (body, digest) = bytes.split_last_chunk::<DIGEST_LEN>()?;
    (Sha256::of(body).0 == *digest).then_some(body)
}

/// The record of one slot: `slots/<key>.ok`.
pub fn encode_slot_record(stamp: SlotStamp, validity: Validity) -> Vec<u8> {
    seal(SlotRecord { magic: SLOT_MAGIC, schema: CACHE_SCHEMA, reserved: 0, validity, stamp }.to_bytes())
}

/// Reads the record of one slot; `None` for anything but a sound one.
pub fn parse_slot_record(bytes: &[u8]) -> Option<(SlotStamp, Validity)> {
    let record = SlotRecord::from_bytes(unseal(bytes)?)?;
    let sound = record.magic == SLOT_MAGIC && record.schema == CACHE_SCHEMA && record.reserved == 0;
    sound.then_some((record.stamp, record.validity))
}

/// The launch receipt of a package: `receipts/<package id>`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Receipt {
    /// The package it was written for.
    pub package_id: Sha256,
    /// Its name and version for people, cut to 128 bytes; decides nothing.
    pub label: String,
    /// When it holds.
    pub validity: Validity,
    /// The slots that were there when it was written, in the order of the slot table.
    pub slots: Vec<SlotStamp>,
}

impl Receipt {
    /// The bytes of the file.
    pub fn to_bytes(&self) -> Vec<u8> {
        let header = ReceiptHeader {
            magic: RECEIPT_MAGIC,
            schema: CACHE_SCHEMA,
            slot_count: u32::try_from(self.slots.len()).unwrap_or(u32::MAX),
            package_id: self.package_id.0,
            label: core::array::from_fn(|at| self.label.as_bytes().get(at).copied().unwrap_or(0)),
            validity: self.validity,
        };
        seal(self.slots.iter().fold(header.to_bytes(), |mut bytes, slot| {
            bytes.extend(slot.to_bytes());
            bytes
        }))
    }

    /// Reads a receipt; `None` for anything but a sound one.
    pub fn parse(bytes: &[u8]) -> Option<Self> {
        let (header, slots) = unseal(bytes)?.split_at_checked(ReceiptHeader::LEN)?;
        let header = ReceiptHeader::from_bytes(header)?;
        let slots: Vec<SlotStamp> = slots.chunks(SlotStamp::LEN).map(SlotStamp::from_bytes).collect::<Option<_>>()?;
        let sound = header.magic == RECEIPT_MAGIC
            && header.schema == CACHE_SCHEMA
            && header.slot_count as usize == slots.len()
            && slots.len() <= crate::MAX_SLOTS;
        let label = String::from_utf8_lossy(&header.label).trim_end_matches('\0').to_owned();
        sound.then_some(Self { package_id: Sha256(header.package_id), label, validity: header.validity, slots })
    }
}
