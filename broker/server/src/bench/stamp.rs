//! The first bytes of each body: by them a consumer knows what it got, and how late.

/// Length of a stamp.
pub(super) const STAMP_BYTES: usize = 32;

const MAGIC: [u8; 4] = *b"rmqB";

/// Who sent a message, and when.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Stamp {
    /// Tells this run's messages from those that lie in the queue from before.
    pub(super) run: u64,
    pub(super) producer: u32,
    /// Counted from 0 by each producer.
    pub(super) sequence: u64,
    /// On the clock of this process.
    pub(super) sent_ns: u64,
}

impl Stamp {
    pub(super) fn to_bytes(self) -> [u8; STAMP_BYTES] {
        let mut bytes = [0; STAMP_BYTES];
        bytes[0..4].copy_from_slice(&MAGIC);
        bytes[4..8].copy_from_slice(&self.producer.to_le_bytes());
        bytes[8..16].copy_from_slice(&self.run.to_le_bytes());
        bytes[16..24].copy_from_slice(&self.sequence.to_le_bytes());
        bytes[24..32].copy_from_slice(&self.sent_ns.to_le_bytes());
        bytes
    }

    /// `None`: no bench has sent this body.
    pub(super) fn from_body(body: &[u8]) -> Option<Self> {
        let bytes: &[u8; STAMP_BYTES] = body.first_chunk()?;
        let number = |at: usize| {
            let bytes = bytes[at..at + 8].try_into().expect("these are eight bytes");
            u64::from_le_bytes(bytes)
        };
        let (magic, rest) = bytes.split_first_chunk::<4>()?;
        let producer = u32::from_le_bytes(*rest.first_chunk()?);
        (*magic == MAGIC).then(|| Self {
            run: number(8),
            producer,
            sequence: number(16),
            sent_ns: number(24),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stamp_is_read_as_it_was_written_and_nothing_else_is() {
        let stamp = Stamp {
            run: u64::MAX,
            producer: 7,
            sequence: 1 << 40,
            sent_ns: 12_345,
        };
        let mut body = stamp.to_bytes().to_vec();
        body.extend_from_slice(b"and more");
        assert_eq!(Stamp::from_body(&body), Some(stamp));
        assert_eq!(Stamp::from_body(&body[..STAMP_BYTES - 1]), None);
        body[0] = b'x';
        assert_eq!(Stamp::from_body(&body), None);
    }
}
