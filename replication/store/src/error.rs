//! What can go wrong with a disk, said so that an operator can act on it.

use std::io;
use std::path::PathBuf;

use replicamq_log::{DiskError, LogError, remedy};
use replicamq_quorum::Sequence;
use thiserror::Error;

/// RocksDB hands on the system's words, not its numbers.
const SYSTEM_WORDS: [(&str, io::ErrorKind); 7] = [
    ("No space left on device", io::ErrorKind::StorageFull),
    ("Disk quota exceeded", io::ErrorKind::QuotaExceeded),
    ("File too large", io::ErrorKind::FileTooLarge),
    ("Permission denied", io::ErrorKind::PermissionDenied),
    ("Operation not permitted", io::ErrorKind::PermissionDenied),
    ("Read-only file system", io::ErrorKind::ReadOnlyFilesystem),
    ("Invalid cross-device link", io::ErrorKind::CrossesDevices),
];

/// The same for what RocksDB said.
fn remedy_in(reason: &str) -> Option<&'static str> {
    let said = SYSTEM_WORDS
        .iter()
        .find(|(words, _)| reason.contains(words));
    said.and_then(|(_, kind)| remedy(*kind))
}

/// The node is unsafe: the process must stop, and nothing is tried again,
/// because after a failed write or sync the page cache cannot be trusted.
#[derive(Debug, Error)]
pub enum FatalError {
    /// A file could not be read, written or synced.
    #[error(transparent)]
    Disk(#[from] DiskError),
    /// The log holds, or was given, what it must not.
    #[error(transparent)]
    Log(LogError),
    /// RocksDB failed.
    #[error("cannot {operation} the store in {}: {reason}; {}, then start the node again", .path.display(), remedy_in(.reason).unwrap_or("check the disk (dmesg, smartctl)"))]
    Store {
        /// What was tried, as a verb.
        operation: &'static str,
        /// Its directory.
        path: PathBuf,
        /// What RocksDB said.
        reason: String,
    },
    /// RocksDB found a bad checksum.
    #[error("the store in {} is damaged: {reason}", .path.display())]
    StoreDamaged {
        /// Its directory.
        path: PathBuf,
        /// What RocksDB said.
        reason: String,
    },
    /// A batch does not decode although its checksum is right.
    #[error(
        "entry {sequence} is not a batch of store changes: {reason}; it was written by another version or a defect: keep the log and report it"
    )]
    BatchInvalid {
        /// Which entry.
        sequence: Sequence,
        /// What is wrong with it.
        reason: String,
    },
    /// An order to replay entries that the log does not hold.
    #[error(
        "entries {from} to {to} cannot be replayed: the log does not hold them; this is a defect: report it"
    )]
    ReplayRefused {
        /// The first one.
        from: Sequence,
        /// The last one.
        to: Sequence,
    },
}

impl From<LogError> for FatalError {
    fn from(error: LogError) -> Self {
        match error {
            LogError::Disk(error) => Self::Disk(error),
            other => Self::Log(other),
        }
    }
}

impl From<replicamq_log::OpenError> for OpenError {
    fn from(error: replicamq_log::OpenError) -> Self {
        match error {
            replicamq_log::OpenError::Disk(error) => Self::Disk(error),
            replicamq_log::OpenError::NewerFormat { path, found, known } => {
                Self::NewerFormat { path, found, known }
            }
        }
    }
}

/// Why a store was not opened. Nothing was changed, except that a directory
/// may have been made.
#[derive(Debug, Error)]
pub enum OpenError {
    /// A file could not be read, written or synced.
    #[error(transparent)]
    Disk(#[from] DiskError),
    /// Another process has it open.
    #[error("{} is in use by process {}; stop that one, or choose another directory", .directory.display(), .holder)]
    Locked {
        /// Which directory.
        directory: PathBuf,
        /// The process that holds it, as it wrote itself down.
        holder: String,
    },
    /// The directory was copied, or the node renamed.
    #[error("{} belongs to node {found:?}, not {wanted:?}; each node needs a directory of its own: choose another, or give the node its old name", .directory.display())]
    OtherNode {
        /// Which directory.
        directory: PathBuf,
        /// Whose it is.
        found: String,
        /// Who asks.
        wanted: String,
    },
    /// Written by a later version.
    #[error("{} has format {found}, and this version knows up to {known}; start the version that wrote it, or a later one", .path.display())]
    NewerFormat {
        /// Which file.
        path: PathBuf,
        /// Its format.
        found: u32,
        /// The newest that is known.
        known: u32,
    },
    /// One of the files that say what the directory is.
    #[error("{} is missing or damaged, so that it cannot be told what the directory holds; move the directory away: a node of a cluster starts with an empty one, which the master fills, and a broker that stands alone with a backup", .path.display())]
    Unreadable {
        /// Which file.
        path: PathBuf,
    },
    /// Whose directory it is.
    #[error("{} is missing or damaged, so that it cannot be told whose directory this is; if it is this broker's, make it that again: replicamq cluster accept-loss --directory {}, or with the --config that it is served with", .path.display(), .path.parent().unwrap_or(.path).display())]
    Unidentified {
        /// Which file.
        path: PathBuf,
    },
    /// RocksDB does not open, for a reason other than damage.
    #[error("cannot open the store in {}: {reason}; {}, then start the node again", .path.display(), remedy_in(.reason).unwrap_or("see the reason"))]
    Store {
        /// Its directory.
        path: PathBuf,
        /// What RocksDB said.
        reason: String,
    },
    /// A name that cannot be written down.
    #[error("node name {name:?} cannot be used; give it 1 to 255 printable characters")]
    NameInvalid {
        /// As configured.
        name: String,
    },
}

/// Why a cluster was not adopted.
#[derive(Debug, Error)]
pub enum ClusterError {
    /// A file could not be written or synced.
    #[error(transparent)]
    Disk(#[from] DiskError),
    /// The store has entries of another cluster.
    #[error(
        "this store belongs to cluster {found:?}, not {wanted:?}; point the node at its own cluster, or start with an empty directory"
    )]
    OtherCluster {
        /// Whose entries it has.
        found: String,
        /// Who asks.
        wanted: String,
    },
    /// An id that cannot be written down.
    #[error("cluster id {cluster:?} cannot be used; give it 1 to 255 printable characters")]
    IdInvalid {
        /// As given.
        cluster: String,
    },
}

/// Why no checkpoint was made. What is refused leaves the store as it was, and the node goes on.
#[derive(Debug, Error)]
pub enum CheckpointError {
    /// The system refused what a checkpoint needs.
    #[error("cannot make a checkpoint in {}: {reason}; {}", .directory.display(), remedy_in(.reason).unwrap_or("see that the disk is mounted and that nobody but the node changes its directory"))]
    Refused {
        /// Where it was to be.
        directory: PathBuf,
        /// What RocksDB or the system said.
        reason: String,
    },
    /// The store's own files are damaged or missing.
    #[error("the store in {} is damaged: {reason}", .path.display())]
    StoreDamaged {
        /// Its directory.
        path: PathBuf,
        /// What RocksDB said.
        reason: String,
    },
    /// The store is damaged, or could not be flushed: the node stops.
    #[error("this node stops: {0}")]
    Fatal(String),
}

/// Why a checkpoint was not put in place. The old store is untouched.
#[derive(Debug, Error)]
pub enum InstallError {
    /// The directory could not be opened.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// The staged files are not the checkpoint that was announced.
    #[error("the checkpoint in {} is not what was announced: {reason}; fetch it again", .staging.display())]
    NotAsAnnounced {
        /// Where it was staged.
        staging: PathBuf,
        /// What differs.
        reason: String,
    },
    /// The tables are damaged.
    #[error("the tables of the checkpoint in {} are damaged, as they are on the master's disk: {reason}", .staging.display())]
    Rotten {
        /// Where it was staged.
        staging: PathBuf,
        /// What RocksDB said.
        reason: String,
    },
}

impl From<DiskError> for InstallError {
    fn from(error: DiskError) -> Self {
        Self::Open(OpenError::Disk(error))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As RocksDB words them.
    #[test]
    fn what_rocksdb_says_of_the_system_leads_to_the_cure() {
        let cures = [
            (
                "IO error: No space left on device: While appending to file: /data/store/000012.sst: No space left on device",
                "; free space on its file system",
            ),
            (
                "IO error: While open a file for appending: /data/outgoing/0.tmp/MANIFEST-000005: Permission denied",
                "; make it readable and writable",
            ),
            (
                "IO error: While mkdir: /data/outgoing/0.tmp: Read-only file system",
                "; make it readable and writable",
            ),
            (
                "IO error: While appending to file: /data/x: File too large",
                "; raise the file size limit",
            ),
            ("IO error: While fsync: /data/x: Input/output error", "; "),
        ];
        for (reason, cure) in cures {
            let (path, reason) = (PathBuf::from("/data/outgoing/0"), reason.to_owned());
            let refused = CheckpointError::Refused {
                directory: path.clone(),
                reason: reason.clone(),
            };
            let fatal = FatalError::Store {
                operation: "write to",
                path: path.clone(),
                reason: reason.clone(),
            };
            let open = OpenError::Store { path, reason };
            assert!(refused.to_string().contains(cure), "{refused}");
            assert!(!refused.to_string().contains("damaged"), "{refused}");
            for text in [fatal.to_string(), open.to_string()] {
                assert!(
                    text.contains(cure) && text.ends_with(", then start the node again"),
                    "{text}"
                );
            }
        }
    }
}
