//! What can go wrong with a disk, said so that an operator can act on it.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use replicamq_quorum::{Position, Sequence};
use thiserror::Error;

/// The operating system refused something.
#[derive(Debug, Error)]
#[error("cannot {operation} {}{}: {error}; {}", .path.display(), At(*.offset), cure(.error))]
pub struct DiskError {
    /// What was tried, as a verb.
    pub operation: &'static str,
    /// On which file or directory.
    pub path: PathBuf,
    /// At which byte, where that is known.
    pub offset: Option<u64>,
    /// What the operating system said.
    pub error: io::Error,
}

struct At(Option<u64>);

impl fmt::Display for At {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0
            .map_or(Ok(()), |offset| write!(f, " at byte {offset}"))
    }
}

fn cure(error: &io::Error) -> String {
    let kind = error.kind();
    match remedy(kind) {
        Some(remedy) => format!("{remedy}, then start the node again"),
        None if kind == io::ErrorKind::NotFound => {
            "if the disk is mounted, the file was removed: restore it, or start with an empty directory".to_owned()
        }
        None => {
            "check the disk (dmesg, smartctl); replace a bad one and start with an empty directory: the master fills it".to_owned()
        }
    }
}

/// What an operator can do at once, where the system says what is the matter.
pub fn remedy(kind: io::ErrorKind) -> Option<&'static str> {
    match kind {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
            Some("free space on its file system")
        }
        io::ErrorKind::FileTooLarge => {
            Some("raise the file size limit of the process (ulimit -f, LimitFSIZE=)")
        }
        io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => Some(
            "make it readable and writable for the user that runs the node, or choose another directory",
        ),
        io::ErrorKind::CrossesDevices => Some("put both on one file system"),
        _ => None,
    }
}

/// Attaches what was tried to an [`io::Result`].
pub trait Context<T> {
    fn context(self, operation: &'static str, path: &Path) -> Result<T, DiskError>;
    fn context_at(self, operation: &'static str, path: &Path, offset: u64) -> Result<T, DiskError>;
}

impl<T> Context<T> for io::Result<T> {
    fn context(self, operation: &'static str, path: &Path) -> Result<T, DiskError> {
        self.map_err(|error| DiskError {
            operation,
            path: path.to_owned(),
            offset: None,
            error,
        })
    }

    fn context_at(self, operation: &'static str, path: &Path, offset: u64) -> Result<T, DiskError> {
        self.map_err(|error| DiskError {
            operation,
            path: path.to_owned(),
            offset: Some(offset),
            error,
        })
    }
}

/// The log is unsafe: the process must stop, and nothing is tried again,
/// because after a failed write or sync the page cache cannot be trusted.
#[derive(Debug, Error)]
pub enum LogError {
    /// A file could not be read, written or synced.
    #[error(transparent)]
    Disk(#[from] DiskError),
    /// A record that was whole when it was written no longer is.
    #[error("log entry {sequence} in {} at byte {offset} is damaged", .path.display())]
    Damaged {
        /// The segment.
        path: PathBuf,
        /// Where the record begins.
        offset: u64,
        /// Which entry was expected there.
        sequence: Sequence,
    },
    /// A batch above [`crate::BATCH_BYTES_MAX`].
    #[error(
        "entry {sequence} has {bytes} bytes, more than the {} that a batch may have; this is a defect: report it",
        crate::BATCH_BYTES_MAX
    )]
    BatchTooLarge {
        /// Which entry.
        sequence: Sequence,
        /// Its size.
        bytes: usize,
    },
    /// An entry does not follow the one before it.
    #[error("entry {found} does not follow {previous}; this is a defect: report it")]
    Gap {
        /// The last entry.
        previous: Position,
        /// The one that came.
        found: Position,
    },
    /// An order to cut what is not there, or what is applied already.
    #[error(
        "the log cannot be cut after {keep}: it holds {first} to {last}, and everything up to {applied} is applied; this is a defect: report it"
    )]
    CutRefused {
        /// The last entry that was to stay.
        keep: Position,
        /// The first entry in the log.
        first: Sequence,
        /// The last entry in the log.
        last: Position,
        /// Committed and handed to the store.
        applied: Sequence,
    },
}

/// Why what is there cannot be judged. Nothing was changed.
#[derive(Debug, Error)]
pub enum OpenError {
    /// A file could not be read, written or synced.
    #[error(transparent)]
    Disk(#[from] DiskError),
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
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_disk_error_names_operation_path_offset_and_cure() {
        let error = Err::<(), _>(io::Error::from(io::ErrorKind::StorageFull))
            .context_at("write", Path::new("/data/log/1.segment"), 4096)
            .unwrap_err();
        let text = error.to_string();
        for part in [
            "cannot write",
            "/data/log/1.segment",
            "byte 4096",
            "free space",
        ] {
            assert!(text.contains(part), "{text}");
        }
    }
}
