//! What the threads are asked, and what they answer.

use bytes::Bytes;
use replicamq_quorum::{Entry, Epoch, NodeId, Position, Sequence};

use crate::FatalError;

/// A bounded read of the store, in key order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Load {
    /// Echoed in the answer.
    pub token: u64,
    /// The first key wanted.
    pub from: Bytes,
    /// The first key no longer wanted; empty: to the end.
    pub to: Bytes,
    /// At most so many pairs…
    pub pairs_max: usize,
    /// …and no further pair once so many bytes were read.
    pub bytes_max: usize,
    /// From the last key to the first.
    pub reverse: bool,
}

/// A read of the log, for a replica that is behind.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReadLog {
    /// Echoed in the answer.
    pub to: NodeId,
    /// The entry before the first wanted.
    pub after: Sequence,
    /// Stop once so many bytes were read; at least one entry.
    pub bytes_max: usize,
}

/// What the threads report, each in its own order.
#[derive(Debug)]
pub enum StoreEvent {
    /// Everything up to here is written, and everything up to `durable` synced,
    /// whatever the sync mode: what that is worth, others decide. Once per group
    /// and, in memory mode, once more when it is synced.
    Logged {
        /// Written to the operating system.
        appended: Position,
        /// Synced.
        durable: Position,
    },
    /// The log was cut, and the cut is on the disk. A [`StoreEvent::Logged`] follows.
    Truncated {
        /// Its last entry.
        keep: Position,
    },
    /// The promise is on the disk, and so is all that was appended before it.
    PromiseStored {
        /// The epoch.
        epoch: Epoch,
    },
    /// Something that nobody has needed yet is damaged. Nothing is noted: whether this node can
    /// be done without is for others to know.
    Rotten(FatalError),
    /// Log and store were read from beginning to end, and every checksum was right.
    Scrubbed,
    /// Everything up to here is visible in the store.
    Applied {
        /// How far.
        sequence: Sequence,
    },
    /// The answer to [`Load`].
    Loaded {
        /// Of the request.
        token: u64,
        /// In the order that was asked for.
        pairs: Vec<(Bytes, Bytes)>,
        /// The range holds more.
        more: bool,
    },
    /// The answer to [`ReadLog`]; empty if the log does not reach back so far,
    /// or ends there.
    LogRead {
        /// Of the request.
        to: NodeId,
        /// Of the request.
        after: Sequence,
        /// Contiguous.
        entries: Vec<Entry>,
    },
    /// The log dropped its oldest segments.
    LogTrimmed {
        /// The first sequence it still holds.
        first: Sequence,
    },
    /// The disk cannot be trusted any more. The process must stop; the thread
    /// that says this has stopped already.
    Fatal(FatalError),
}
