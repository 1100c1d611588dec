//! One message in memory, on its way to a consumer, and what memory it costs.

use std::sync::Arc;

use replicamq_proto::store::v1::Message;

/// What a message costs in memory beyond its encoded bytes.
const OVERHEAD_BYTES: usize = 256;

/// Where a message is safe, and so which limit its bytes count against.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Held {
    /// In the store, too: memory holds it only for speed.
    Stored,
    /// Nowhere but in memory: non-persistent.
    Volatile,
    /// A copy for one subscriber or browser; nobody misses it.
    Copy,
}

/// One message in memory.
#[derive(Debug, Clone)]
pub(crate) struct Entry {
    pub(crate) sequence: u64,
    pub(crate) message: Arc<Message>,
    pub(crate) bytes: usize,
    pub(crate) held: Held,
    /// How often it was handed to a consumer in this mastership.
    pub(crate) deliveries: u32,
    /// How often a consumer gave it back on purpose.
    pub(crate) failures: u32,
}

impl Entry {
    /// `encoded_bytes` is the length of the message's encoding.
    pub(crate) fn new(
        sequence: u64,
        message: Arc<Message>,
        encoded_bytes: usize,
        held: Held,
    ) -> Self {
        Self {
            sequence,
            message,
            bytes: cost(encoded_bytes),
            held,
            deliveries: 0,
            failures: 0,
        }
    }

    pub(crate) fn is_expired(&self, now_ms: u64) -> bool {
        self.message.expires_ms != 0 && self.message.expires_ms <= now_ms
    }
}

/// What a message of so many encoded bytes costs in memory.
pub(crate) fn cost(encoded_bytes: usize) -> usize {
    encoded_bytes + OVERHEAD_BYTES
}

/// Bytes of messages in memory, by the limit that bounds them.
#[derive(Debug, Default)]
pub(crate) struct Memory {
    /// Stored messages ready for consumers.
    pub(crate) windows: usize,
    /// Non-persistent messages, until they are settled.
    pub(crate) volatile: usize,
    /// Delivered and not yet acknowledged.
    pub(crate) outstanding: usize,
    /// Sent or acknowledged in open transactions.
    pub(crate) transactions: usize,
}
