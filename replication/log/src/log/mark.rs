//! The durable mark: how far the log was synced. It is written beside the log
//! after each sync, without one of its own, so that it may lag after a power
//! cut but never leads. A log that ends below it has lost what was acknowledged.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use replicamq_quorum::Position;

use crate::error::Context;
use crate::{Disk, DiskError, DiskFile, OpenError, files};

/// Two slots, written in turn, a page each: one of them is always whole.
const SLOT_BYTES: u64 = files::PAGE_BYTES;
const USED_BYTES: usize = 32;

/// In the four bytes after the checksum stands 0. A later format has its number there, within
/// what the checksum covers: so one is told from the other, and from damage.
const VERSION: u32 = 1;

#[derive(Debug)]
pub(crate) struct Mark {
    path: PathBuf,
    file: Arc<dyn DiskFile>,
    turn: u64,
    position: Position,
    synced: bool,
}

impl Mark {
    pub(crate) fn create(
        disk: &dyn Disk,
        directory: &Path,
        position: Position,
    ) -> Result<Self, DiskError> {
        let path = path(directory);
        let file = disk.create(&path).context("create", &path)?;
        files::zero(&*file, &path, 0, 2 * SLOT_BYTES)?;
        let mut mark = Self {
            path,
            file,
            turn: 0,
            position,
            synced: false,
        };
        mark.write(position)?;
        mark.write(position)?;
        mark.sync()?;
        files::sync_directory(disk, directory)?;
        Ok(mark)
    }

    /// `None` if it is missing or damaged.
    pub(crate) fn open(disk: &dyn Disk, directory: &Path) -> Result<Option<Self>, OpenError> {
        let path = path(directory);
        let Some(bytes) = files::read(disk, &path)? else {
            return Ok(None);
        };
        let slot = usize::try_from(SLOT_BYTES).expect("a page fits");
        if let Some(found) = bytes.chunks(slot).filter_map(newer).max() {
            let known = VERSION;
            return Err(OpenError::NewerFormat { path, found, known });
        }
        let Some((turn, position)) = bytes.chunks(slot).filter_map(decode).max() else {
            return Ok(None);
        };
        Ok(Some(Self {
            file: disk.open(&path).context("open", &path)?,
            path,
            turn,
            position,
            synced: true,
        }))
    }

    pub(crate) fn position(&self) -> Position {
        self.position
    }

    /// Notes what was synced.
    pub(crate) fn write(&mut self, position: Position) -> Result<(), DiskError> {
        self.turn += 1;
        let offset = self.turn % 2 * SLOT_BYTES;
        self.file
            .write_all_at(&encode(self.turn, position), offset)
            .context_at("write", &self.path, offset)?;
        self.position = position;
        self.synced = false;
        Ok(())
    }

    /// Notes this, durably, in both slots, so that the loss of one does not bring back what
    /// was true before a cut. One of them is whole at any time.
    pub(crate) fn settle(&mut self, position: Position) -> Result<(), DiskError> {
        for _ in 0..2 {
            self.write(position)?;
            self.sync()?;
        }
        Ok(())
    }

    pub(crate) fn sync(&mut self) -> Result<(), DiskError> {
        if !self.synced {
            self.file.sync_data().context("sync", &self.path)?;
            self.synced = true;
        }
        Ok(())
    }
}

pub(crate) fn path(directory: &Path) -> PathBuf {
    directory.join("durable")
}

fn encode(turn: u64, position: Position) -> [u8; USED_BYTES] {
    let mut slot = [0; USED_BYTES];
    slot[8..16].copy_from_slice(&turn.to_le_bytes());
    slot[16..24].copy_from_slice(&position.epoch.0.to_le_bytes());
    slot[24..32].copy_from_slice(&position.sequence.0.to_le_bytes());
    let checksum = crc32c::crc32c(&slot[8..]);
    slot[0..4].copy_from_slice(&checksum.to_le_bytes());
    slot
}

fn decode(slot: &[u8]) -> Option<(u64, Position)> {
    let slot: &[u8; USED_BYTES] = slot.first_chunk()?;
    let number = |at: usize| u64::from_le_bytes(slot[at..at + 8].try_into().expect("eight bytes"));
    let turn = number(8);
    let position = Position::new(number(16), number(24));
    (turn > 0 && *slot == encode(turn, position)).then_some((turn, position))
}

/// The format of a slot that a later build wrote.
fn newer(slot: &[u8]) -> Option<u32> {
    let (checksum, rest) = slot.get(..USED_BYTES)?.split_first_chunk()?;
    let version = u32::from_le_bytes(*rest.first_chunk()?);
    (version > VERSION && u32::from_le_bytes(*checksum) == crc32c::crc32c(rest)).then_some(version)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::RealDisk;

    #[test]
    fn the_newest_whole_slot_counts() {
        let directory = tempfile::tempdir().unwrap();
        let mut mark = Mark::create(&RealDisk, directory.path(), Position::default()).unwrap();
        for sequence in 1..=5 {
            mark.write(Position::new(1, sequence)).unwrap();
            let found = Mark::open(&RealDisk, directory.path()).unwrap().unwrap();
            assert_eq!(found.position(), Position::new(1, sequence));
        }
        let path = path(directory.path());
        let mut bytes = fs::read(&path).unwrap();
        bytes[usize::try_from(mark.turn % 2 * SLOT_BYTES).unwrap() + 20] ^= 1;
        fs::write(&path, &bytes).unwrap();
        let found = Mark::open(&RealDisk, directory.path()).unwrap().unwrap();
        assert_eq!(found.position(), Position::new(1, 4));
        fs::write(&path, b"").unwrap();
        assert!(Mark::open(&RealDisk, directory.path()).unwrap().is_none());
    }

    #[test]
    fn a_later_format_is_refused_and_a_flipped_bit_is_none() {
        let directory = tempfile::tempdir().unwrap();
        let open = || Mark::open(&RealDisk, directory.path());
        Mark::create(&RealDisk, directory.path(), Position::new(1, 5)).unwrap();
        let path = path(directory.path());
        let whole = fs::read(&path).unwrap();
        let mut flipped = whole.clone();
        flipped[4] ^= 2;
        fs::write(&path, &flipped).unwrap();
        assert_eq!(
            open().unwrap().unwrap().position(),
            Position::new(1, 5),
            "of the other slot"
        );
        let mut later = whole;
        later[4] = 2;
        let checksum = crc32c::crc32c(&later[4..USED_BYTES]);
        later[..4].copy_from_slice(&checksum.to_le_bytes());
        fs::write(&path, &later).unwrap();
        assert!(matches!(
            open(),
            Err(OpenError::NewerFormat { found: 2, .. })
        ));
    }
}
