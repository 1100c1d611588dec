//! The transfer of a checkpoint to a replica that the log no longer reaches.
//!
//! Files travel as numbered, checksummed chunks. A name is only ever a bare
//! name, and nothing is believed before its checksum, its place and its size agree.
//! A transfer that breaks off goes on with the first file that is not complete, for as
//! long as the master keeps the very same checkpoint.

#[cfg(any(test, fuzzing))]
mod fuzz;
mod outgoing;
mod receive;
mod send;
mod staging;

use std::any::Any;
use std::path::PathBuf;
use std::sync::Arc;

use replicamq_proto::replication::v1 as wire;
use replicamq_quorum::{Epoch, EpochHistory, NodeId, Position};

use crate::convert;
use crate::limits::SNAPSHOT_FILES_MAX;

pub(crate) use outgoing::Outgoing;
pub use receive::{SnapshotError, Snapshots};
pub(crate) use send::SnapshotSender;
pub(crate) use staging::Staged;

#[cfg(any(test, fuzzing))]
pub(crate) use fuzz::{fuzz_manifest, read_manifest};
#[cfg(any(test, fuzzing))]
pub(crate) use staging::Transfer;

/// Makes a checkpoint for this replica of this epoch, or says why it cannot.
/// Called on a thread that may block.
pub type CheckpointSource = Arc<dyn Fn(&NodeId, Epoch) -> Result<Checkpoint, String> + Send + Sync>;

/// A checkpoint of the store: a directory of files that do not change.
pub struct Checkpoint {
    /// Where the files lie. Nothing but them.
    pub directory: PathBuf,
    /// The last entry that the checkpoint holds.
    pub applied: Position,
    /// Which epoch wrote what, up to `applied`.
    pub history: EpochHistory,
    /// Dropped when the transfer is over, or nobody came back for the rest: the
    /// directory may go then.
    pub pin: Box<dyn Any + Send>,
}

impl std::fmt::Debug for Checkpoint {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Checkpoint")
            .field("directory", &self.directory)
            .field("applied", &self.applied)
            .finish_non_exhaustive()
    }
}

/// What a snapshot consists of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SnapshotManifest {
    /// Which checkpoint: a random number. 0 is one that cannot be resumed.
    pub checkpoint: u64,
    /// The master's epoch.
    pub epoch: Epoch,
    /// The last entry that the checkpoint holds.
    pub applied: Position,
    /// Which epoch wrote what, up to `applied`.
    pub history: EpochHistory,
    /// In the order in which they travel; names are plain and differ.
    pub files: Vec<SnapshotFile>,
}

/// One file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SnapshotFile {
    /// Its bare name.
    pub name: String,
    /// Its size.
    pub bytes: u64,
}

impl SnapshotManifest {
    /// The size of all files together.
    pub fn bytes(&self) -> u64 {
        self.files
            .iter()
            .map(|file| file.bytes)
            .fold(0, u64::saturating_add)
    }

    fn to_wire(&self) -> wire::SnapshotManifest {
        let file = |file: &SnapshotFile| wire::SnapshotFile {
            name: file.name.clone(),
            bytes: file.bytes,
        };
        wire::SnapshotManifest {
            checkpoint: self.checkpoint,
            epoch: self.epoch.0,
            applied: Some(convert::position(self.applied)),
            history: convert::history(&self.history),
            files: self.files.iter().map(file).collect(),
        }
    }

    /// `Err` names what is wrong.
    fn from_wire(manifest: wire::SnapshotManifest) -> Result<Self, String> {
        let applied = manifest.applied.ok_or("its position is missing")?;
        let history = convert::read_history(manifest.history).map_err(|error| error.to_string())?;
        let file = |file: wire::SnapshotFile| SnapshotFile {
            name: file.name,
            bytes: file.bytes,
        };
        let files: Vec<_> = manifest.files.into_iter().map(file).collect();
        if files.len() > SNAPSHOT_FILES_MAX {
            return Err(format!("it has {} files", files.len()));
        }
        let mut names = std::collections::BTreeSet::new();
        for file in &files {
            if !is_plain(&file.name) {
                return Err(format!("{:?} is not a plain file name", file.name));
            }
            if !names.insert(file.name.as_str()) {
                return Err(format!("{} appears twice", file.name));
            }
        }
        Ok(Self {
            checkpoint: manifest.checkpoint,
            epoch: Epoch(manifest.epoch),
            applied: Position::new(applied.epoch, applied.sequence),
            history,
            files,
        })
    }
}

/// A bare name of harmless characters: never a path, never hidden.
fn is_plain(name: &str) -> bool {
    let harmless = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_');
    !name.starts_with('.') && (1..=255).contains(&name.len()) && name.bytes().all(harmless)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_bare_names_are_plain() {
        for plain in [
            "CURRENT",
            "MANIFEST-000005",
            "000012.sst",
            "OPTIONS-000007",
            "a_b",
        ] {
            assert!(is_plain(plain), "{plain}");
        }
        let long = "a".repeat(256);
        for bad in [
            "", ".", "..", ".hidden", "../x", "a/b", "/etc", "a\\b", "a b", "a\0", "é", &long,
        ] {
            assert!(!is_plain(bad), "{bad:?}");
        }
    }

    #[test]
    fn a_manifest_survives_the_wire_and_a_bad_one_is_refused() {
        let file = |name: &str| SnapshotFile {
            name: name.to_owned(),
            bytes: 7,
        };
        let manifest = SnapshotManifest {
            checkpoint: 17,
            epoch: Epoch(3),
            applied: Position::new(2, 9),
            history: EpochHistory::default(),
            files: vec![file("CURRENT"), file("1.sst")],
        };
        assert_eq!(
            SnapshotManifest::from_wire(manifest.to_wire()),
            Ok(manifest.clone())
        );
        assert_eq!(manifest.bytes(), 14);
        for (name, why) in [("../x", "plain"), ("CURRENT", "twice")] {
            let mut bad = manifest.clone();
            bad.files[1] = file(name);
            let refused = SnapshotManifest::from_wire(bad.to_wire()).unwrap_err();
            assert!(refused.contains(why), "{refused}");
        }
    }
}
