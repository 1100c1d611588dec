//! Reading entries one after the other, and looking for entries behind a bad one.

use replicamq_quorum::{Position, Sequence};

use crate::error::Context;
use crate::log::record::{self, ALIGN_BYTES, HEADER_BYTES, Salt};
use crate::log::segment::Segment;
use crate::{DiskError, DiskFile};

/// Read from the file at once; larger records grow the buffer for a while.
const CHUNK_BYTES: usize = 256 << 10;

/// Walks the entries of a segment.
pub(crate) struct Scan<'a> {
    segment: &'a Segment,
    file: &'a dyn DiskFile,
    salt: Salt,
    /// Where the next entry begins.
    offset: u64,
    /// Nothing is read from here on.
    limit: u64,
    /// `buffer[at..]` is what stands at `offset`.
    buffer: Vec<u8>,
    at: usize,
}

/// An entry that checks.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Found {
    pub(crate) position: Position,
    pub(crate) durable: Sequence,
    /// Where it ends.
    pub(crate) end: u64,
}

impl<'a> Scan<'a> {
    pub(crate) fn new(segment: &'a Segment, offset: u64, limit: u64) -> Self {
        Self {
            segment,
            file: &*segment.file,
            salt: segment.salt(),
            offset,
            limit,
            buffer: Vec::new(),
            at: 0,
        }
    }

    /// Where the next entry begins.
    pub(crate) fn offset(&self) -> u64 {
        self.offset
    }

    /// The entry here, with its batch, if it is whole and stands right after `previous`.
    pub(crate) fn next(&mut self, previous: Position) -> Result<Option<(Found, &[u8])>, DiskError> {
        let Some(header) = self.header()? else {
            return Ok(None);
        };
        if !header.follows(previous) {
            return Ok(None);
        }
        self.record(header)
    }

    fn header(&mut self) -> Result<Option<record::Header>, DiskError> {
        if !self.fill(HEADER_BYTES)? {
            return Ok(None);
        }
        let bytes = self.buffer[self.at..].first_chunk().expect("it was filled");
        Ok(record::decode_header(bytes))
    }

    /// Checks the record here and steps behind it.
    fn record(&mut self, header: record::Header) -> Result<Option<(Found, &[u8])>, DiskError> {
        let bytes = record::record_bytes(header.batch_bytes);
        if bytes > self.limit - self.offset {
            return Ok(None);
        }
        let size = usize::try_from(bytes).expect("records are bounded");
        if !self.fill(size)? {
            return Ok(None);
        }
        let at = self.at;
        let (head, rest) = self.buffer[at..]
            .split_first_chunk::<HEADER_BYTES>()
            .expect("it was filled");
        let batch = &rest[..header.batch_bytes];
        if !header.check(self.salt, head, batch) {
            return Ok(None);
        }
        let found = Found {
            position: header.position,
            durable: header.durable,
            end: self.offset + bytes,
        };
        self.at += size;
        self.offset = found.end;
        Ok(Some((found, batch)))
    }

    /// The next entry that checks, at or behind the current place, whatever
    /// stands before it. It must come after `sequence`, and not by more than
    /// there is room for: few headers need their checksum computed.
    pub(crate) fn seek(&mut self, sequence: Sequence) -> Result<Option<Found>, DiskError> {
        while self.offset < self.limit {
            let room = (self.limit - self.offset) / HEADER_BYTES as u64;
            let range = sequence.0 + 1..=sequence.0.saturating_add(room);
            if let Some(header) = self.header()?
                && range.contains(&header.position.sequence.0)
                && let Some((found, _)) = self.record(header)?
            {
                return Ok(Some(found));
            }
            self.offset += ALIGN_BYTES as u64;
            self.at += ALIGN_BYTES;
        }
        Ok(None)
    }

    /// Has so many bytes ready at `at`; false if the file ends before.
    fn fill(&mut self, wanted: usize) -> Result<bool, DiskError> {
        let ready = self.buffer.len().saturating_sub(self.at);
        if ready >= wanted {
            return Ok(true);
        }
        let left = usize::try_from(self.limit.saturating_sub(self.offset)).unwrap_or(usize::MAX);
        if left < wanted {
            return Ok(false);
        }
        let at = self.at.min(self.buffer.len());
        self.buffer.drain(..at);
        self.at = 0;
        let size = wanted.max(CHUNK_BYTES).min(left);
        self.buffer.resize(size, 0);
        let from = self.offset + ready as u64;
        self.file
            .read_exact_at(&mut self.buffer[ready..], from)
            .context_at("read", &self.segment.path, from)?;
        Ok(true)
    }
}
