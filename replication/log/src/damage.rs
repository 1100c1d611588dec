//! What a start can find missing of the log. The node goes on, but does not
//! count until a master has filled it: whatever it acknowledged may be gone.

use std::path::PathBuf;

use replicamq_quorum::{Position, Sequence};
use thiserror::Error;

/// The first thing that was found. The log opens all the same, as far as it is good.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum Damage {
    #[error("log entry {sequence} in {} at byte {offset} is damaged, and good entries follow it", .path.display())]
    LogEntry {
        /// The segment.
        path: PathBuf,
        /// Where the record begins.
        offset: u64,
        /// Which entry was expected there.
        sequence: Sequence,
    },
    /// A segment's header does not check.
    #[error("the header of log segment {} is damaged", .path.display())]
    LogHeader {
        /// The segment.
        path: PathBuf,
    },
    /// The row of segments has a hole.
    #[error("log segment {} is missing", .path.display())]
    LogSegmentMissing {
        /// The segment.
        path: PathBuf,
    },
    /// The log does not hold what the store holds, or what was synced.
    #[error("the log ends at {last}, in {} at byte {offset}, but this node {evidence} {needed}", .path.display())]
    LogShort {
        /// The last segment, or the directory if there is none.
        path: PathBuf,
        /// Where what is missing would begin.
        offset: u64,
        /// Its last entry.
        last: Position,
        /// How it is known.
        evidence: &'static str,
        /// What it should hold.
        needed: Position,
    },
    /// The log begins after what the store holds.
    #[error("the log begins at {first}, but the store ends at {applied}")]
    LogGap {
        /// Its first entry.
        first: Sequence,
        /// The store's last.
        applied: Sequence,
    },
    /// A small file is gone or does not check.
    #[error("{} is missing or damaged", .path.display())]
    File {
        /// Which.
        path: PathBuf,
    },
}
