//! One entry in a segment, little endian, at a multiple of eight bytes:
//!
//! ```text
//! length u32 | CRC-32C u32 | epoch u64 | sequence u64 | durable u64 | batch | zeros to a multiple of 8
//! ```
//!
//! The checksum covers all but itself, and begins with the segment's number, so
//! that what an earlier life of a recycled file left behind is no entry.
//! `durable` is what was synced when this was written. It tells a torn group
//! from damage: a bad entry that a later one calls durable had been whole.

use replicamq_quorum::{Position, Sequence};

use crate::BATCH_BYTES_MAX;

pub(crate) const HEADER_BYTES: usize = 32;
pub(crate) const ALIGN_BYTES: usize = 8;

/// The start value of a segment's checksums.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Salt(u32);

impl Salt {
    pub(crate) fn of_segment(number: u64) -> Self {
        Self(crc32c::crc32c(&number.to_le_bytes()))
    }
}

/// What stands before a batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Header {
    pub(crate) batch_bytes: usize,
    pub(crate) position: Position,
    pub(crate) durable: Sequence,
    checksum: u32,
}

/// What an entry with such a batch takes in the file.
pub(crate) fn record_bytes(batch_bytes: usize) -> u64 {
    (HEADER_BYTES + batch_bytes).next_multiple_of(ALIGN_BYTES) as u64
}

/// Zeros after a batch.
pub(crate) fn padding(batch_bytes: usize) -> usize {
    batch_bytes.next_multiple_of(ALIGN_BYTES) - batch_bytes
}

pub(crate) fn encode_header(
    salt: Salt,
    position: Position,
    durable: Sequence,
    batch: &[u8],
) -> [u8; HEADER_BYTES] {
    let length = u32::try_from(batch.len()).expect("a batch is bounded");
    let mut bytes = [0; HEADER_BYTES];
    bytes[0..4].copy_from_slice(&length.to_le_bytes());
    bytes[8..16].copy_from_slice(&position.epoch.0.to_le_bytes());
    bytes[16..24].copy_from_slice(&position.sequence.0.to_le_bytes());
    bytes[24..32].copy_from_slice(&durable.0.to_le_bytes());
    let checksum = checksum(salt, &bytes, batch);
    bytes[4..8].copy_from_slice(&checksum.to_le_bytes());
    bytes
}

/// Reads a header; `None` if it cannot be one. Whether it is one, only
/// [`Header::check`] tells.
pub(crate) fn decode_header(bytes: &[u8; HEADER_BYTES]) -> Option<Header> {
    let batch_bytes = u32_at(bytes, 0) as usize;
    let header = Header {
        batch_bytes,
        checksum: u32_at(bytes, 4),
        position: Position::new(u64_at(bytes, 8), u64_at(bytes, 16)),
        durable: Sequence(u64_at(bytes, 24)),
    };
    let plausible = batch_bytes <= BATCH_BYTES_MAX
        && header.position.sequence.0 > 0
        && header.durable < header.position.sequence;
    plausible.then_some(header)
}

impl Header {
    /// Whether header and batch are what was written here.
    pub(crate) fn check(&self, salt: Salt, bytes: &[u8; HEADER_BYTES], batch: &[u8]) -> bool {
        self.checksum == checksum(salt, bytes, batch)
    }

    /// Whether this entry can stand right after `previous`.
    pub(crate) fn follows(&self, previous: Position) -> bool {
        self.position.sequence == previous.sequence.next() && self.position.epoch >= previous.epoch
    }
}

fn checksum(salt: Salt, header: &[u8; HEADER_BYTES], batch: &[u8]) -> u32 {
    let length = crc32c::crc32c_append(salt.0, &header[0..4]);
    crc32c::crc32c_append(crc32c::crc32c_append(length, &header[8..]), batch)
}

fn u32_at(bytes: &[u8; HEADER_BYTES], at: usize) -> u32 {
    u32::from_le_bytes(bytes[at..at + 4].try_into().expect("four bytes"))
}

fn u64_at(bytes: &[u8; HEADER_BYTES], at: usize) -> u64 {
    u64::from_le_bytes(bytes[at..at + 8].try_into().expect("eight bytes"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_checks_in_its_own_segment_only() {
        let salt = Salt::of_segment(7);
        let bytes = encode_header(salt, Position::new(2, 9), Sequence(8), b"batch");
        let header = decode_header(&bytes).unwrap();
        assert!(header.check(salt, &bytes, b"batch"));
        assert!(!header.check(Salt::of_segment(8), &bytes, b"batch"));
        assert!(!header.check(salt, &bytes, b"botch"));
        assert!(header.follows(Position::new(2, 8)));
        assert!(!header.follows(Position::new(3, 8)));
        assert!(!header.follows(Position::new(2, 7)));
    }

    #[test]
    fn zeros_are_no_record() {
        assert_eq!(decode_header(&[0; HEADER_BYTES]), None);
    }
}
