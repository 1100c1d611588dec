//! Putting a checkpoint in place of log and store.

use std::path::Path;

use replicamq_log::Floor;
use replicamq_quorum::Position;

use crate::directory::Locked;
use crate::table::Table;
use crate::{CheckpointInfo, InstallError, OpenError};

/// Puts the checkpoint in `staging` in place of log and store, which must be
/// closed. The new log is empty and continues after what the checkpoint holds.
/// A crash at any moment leaves the old store or the new one, whole; `staging`
/// is gone afterwards. The promise and the identity stay.
///
/// `held` is the end of the log that is replaced, if nothing that this node
/// ever acknowledged was missing from it. A checkpoint that does not end below
/// it misses nothing either, and the node goes on counting. Otherwise it is
/// filling from now on, until [`crate::Store::mark_filled`].
///
/// The caller has checked the files' contents, and with [`verify`] the tables; here they are
/// opened and held against `info`.
pub fn install(
    directory: &Path,
    staging: &Path,
    info: &CheckpointInfo,
    held: Option<Position>,
) -> Result<(), InstallError> {
    let directory = Locked::take(directory)?.read()?;
    announced(staging, info)?;
    let floor = Floor {
        applied: info.applied,
        history: info.history.clone(),
    };
    directory
        .install(staging, floor, held)
        .map_err(|error| InstallError::Open(OpenError::Disk(error)))
}

/// Reads all of the checkpoint in `staging`, while the old store is in use. What rotted on the
/// master's disk has come with the right checksums of its files.
pub fn verify(staging: &Path, info: &CheckpointInfo) -> Result<(), InstallError> {
    announced(staging, info)?;
    Table::verify(staging).map_err(|error| InstallError::Rotten {
        staging: staging.to_owned(),
        reason: error.into_reason(),
    })
}

fn announced(staging: &Path, info: &CheckpointInfo) -> Result<(), InstallError> {
    let differs = |reason: String| InstallError::NotAsAnnounced {
        staging: staging.to_owned(),
        reason,
    };
    let found = Table::inspect(staging).map_err(|error| differs(error.into_reason()))?;
    if found.applied != info.applied || found.history != info.history {
        return Err(differs(format!(
            "it holds entries up to {}, not {}",
            found.applied, info.applied
        )));
    }
    Ok(())
}
