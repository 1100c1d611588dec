//! What a start would find in a directory, told without changing a byte of it.

use std::path::Path;
use std::sync::Arc;

use replicamq_log::{Disk, DryDisk, Fill, Floor, LogOptions};
use replicamq_quorum::{Epoch, Position, Sequence};

use crate::directory::{self, Small};
use crate::table::{self, Table, TableError};
use crate::{Damage, Identity, OpenError, Options, SyncMode, lock};

/// What a directory holds, and misses.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Seen {
    /// Whose it is.
    pub identity: Identity,
    /// How far it can be trusted, by the next start.
    pub fill: Fill,
    /// The highest epoch promised, as far as can be told.
    pub promised: Epoch,
    /// The end of the log, as far as it is good.
    pub last: Position,
    /// How far the store goes.
    pub applied: Sequence,
    /// What is missing: the first that was found.
    pub damage: Option<Damage>,
}

/// What [`crate::Store::open`] would make of the directory, which no process may have open;
/// `None` if there is no store, or none that was made to the end.
pub fn look(options: &Options) -> Result<Option<Seen>, OpenError> {
    directory::check_name(options)?;
    let path = &options.directory;
    if !path.exists() || directory::is_new(path)? {
        return Ok(None);
    }
    let _lock = lock::look(path)?;
    let disk: Arc<dyn Disk> = Arc::new(DryDisk::default());
    let Small {
        identity,
        notes,
        mut damage,
    } = Small::mend(&disk, path, options)?;
    if notes.begin_run(&lock::boot_id(), options.sync == SyncMode::Memory)? {
        damage.get_or_insert(Damage::UnsyncedLost);
    }
    let promised = notes.promised()?;
    let generation = directory::generation_path(path, notes.generation());
    let mut seen = Seen {
        identity,
        fill: notes.fill(),
        promised: promised.unwrap_or_default(),
        last: Position::default(),
        applied: Sequence::default(),
        damage,
    };
    match inspect(&generation.join(directory::STORE))? {
        // It would be put aside with its log, and an empty one begun in its place.
        Err(found) => {
            seen.damage.get_or_insert(found);
        }
        Ok(floor) => {
            let log_options = LogOptions {
                disk,
                ..directory::log_options(&generation, options)
            };
            seen.applied = floor.applied.sequence;
            let preview = notes.preview(&log_options, floor, promised)?;
            (seen.last, seen.promised) = (preview.last, preview.promised);
            if let Some(found) = preview.damage {
                seen.damage.get_or_insert(found.into());
            }
        }
    }
    if seen.damage.is_some() {
        seen.fill = Fill::Unfilled;
    }
    Ok(Some(seen))
}

fn inspect(path: &Path) -> Result<Result<Floor, Damage>, OpenError> {
    let path = path.to_owned();
    match Table::inspect(&path) {
        Ok(floor) => Ok(Ok(floor)),
        Err(TableError::Damaged(reason) | TableError::Missing(reason)) => {
            Ok(Err(Damage::Store { path, reason }))
        }
        Err(TableError::Failed(reason)) => Err(OpenError::Store { path, reason }),
        Err(TableError::Newer(found)) => Err(OpenError::NewerFormat {
            path,
            found,
            known: table::FORMAT,
        }),
    }
}
