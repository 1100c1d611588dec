//! What a node can find missing when it starts. It goes on, but does not count
//! until a master has filled it: whatever it promised or acknowledged may be gone.

use std::path::PathBuf;

use thiserror::Error;

/// The first thing that was found. The store opens all the same, unfilled.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum Damage {
    /// Of the log, or of what is noted beside it.
    #[error(transparent)]
    Log(#[from] replicamq_log::Damage),
    /// RocksDB does not open.
    #[error("the store in {} is damaged: {reason}", .path.display())]
    Store {
        /// Its directory.
        path: PathBuf,
        /// What RocksDB said.
        reason: String,
    },
    /// The operating system crashed while entries were only in its memory.
    #[error(
        "the machine went down while the newest entries were only in memory (sync mode memory)"
    )]
    UnsyncedLost,
}
