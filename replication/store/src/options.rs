//! What can be set, and the bounds that cannot.

use std::path::PathBuf;
use std::time::Duration;

/// Commands that wait for one of the threads. The caller bounds their bytes.
pub const COMMANDS_MAX: usize = 4096;

/// Appends that one sync covers: above this, latency would suffer for no gain.
pub(crate) const GROUP_BYTES_MAX: usize = 8 << 20;

/// Entries that go into RocksDB in one write.
pub(crate) const APPLY_BYTES_MAX: usize = 2 << 20;

/// The smallest segment: a header and a few records.
pub(crate) const SEGMENT_BYTES_MIN: u64 = 16 << 10;

/// When an appended entry is synced.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SyncMode {
    /// Before it is reported.
    Disk,
    /// About once a second. A crash of the operating system then counts as damage.
    Memory,
}

/// How fast, and how often, everything on the disk is read to see that it is still whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Scrub {
    /// At most so much is read in a second, on the average.
    pub bytes_per_second: u64,
    /// From the end of one pass to the beginning of the next.
    pub every: Duration,
}

/// How a store is opened.
#[derive(Debug, Clone)]
pub struct Options {
    /// Where it lives; made if absent.
    pub directory: PathBuf,
    /// The node's configured name; a directory of another node is refused.
    pub node: String,
    /// What tells this process from those before and after it; see [`crate::Store::predecessors`].
    pub incarnation: Option<String>,
    /// Whether a directory that is made now must be filled by a master before
    /// it counts, or be declared filled by [`crate::Store::mark_filled`]. True is the safe choice: a node that the cluster knew and
    /// that lost its disk has forgotten what it promised. False for a broker
    /// that stands alone.
    pub created_unfilled: bool,
    /// Whether a directory that does not say any more whose it is becomes this node's own, to be
    /// filled by a master. False for a broker that stands alone: it may have been started in the
    /// wrong directory, and has nobody who knows better.
    pub adopts: bool,
    /// Size of one log file.
    pub segment_bytes: u64,
    /// Log kept for replicas that catch up. Older segments go once RocksDB has
    /// flushed past them.
    pub retention_bytes: u64,
    /// A log file goes, too, once a later one was begun so long ago and RocksDB has flushed past it.
    pub retention_age: Duration,
    /// Log that a start may have to replay: RocksDB flushes after so much.
    pub replay_bytes_max: u64,
    /// When an appended entry is synced.
    pub sync: SyncMode,
    /// RocksDB's block cache, with its indexes.
    pub block_cache_bytes: usize,
    /// One write buffer of RocksDB; it uses up to three.
    pub write_buffer_bytes: usize,
    /// `None`: what nobody reads may rot unseen.
    pub scrub: Option<Scrub>,
}

impl Options {
    /// The defaults for this node in this directory.
    pub fn new(directory: impl Into<PathBuf>, node: &str) -> Self {
        Self {
            directory: directory.into(),
            node: node.to_owned(),
            incarnation: None,
            created_unfilled: true,
            adopts: true,
            segment_bytes: 64 << 20,
            retention_bytes: 512 << 20,
            retention_age: Duration::MAX,
            replay_bytes_max: 64 << 20,
            sync: SyncMode::Disk,
            block_cache_bytes: 8 << 20,
            write_buffer_bytes: 8 << 20,
            scrub: None,
        }
    }

    /// Segments are whole pages, so that a write never has to read one first.
    pub(crate) fn segment_bytes(&self) -> u64 {
        self.segment_bytes
            .max(SEGMENT_BYTES_MIN)
            .next_multiple_of(replicamq_log::PAGE_BYTES)
    }
}
