//! The thread that reads log and store over and over, at leisure: what rots unread is
//! found while other nodes still hold it.

use std::cell::Cell;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::Duration;

use replicamq_log::{Fill, Index, LogError};
use replicamq_quorum::Sequence;

use crate::directory::Directory;
use crate::options::Scrub;
use crate::store::Notify;
use crate::table::Table;
use crate::{FatalError, StoreEvent};

/// Read in one go, before the next pause.
const SLICE_BYTES: usize = 512 << 10;

/// Before it is looked again whether the store is filled.
const UNFILLED_PAUSE: Duration = Duration::from_secs(1);

/// `EIO`: what a disk says of a sector that it cannot read.
const UNREADABLE: i32 = 5;

/// It ends when the other end is dropped.
pub(crate) enum Command {
    /// Begin the next pass without waiting for its time.
    Now,
}

pub(crate) struct Scrubber {
    pub(crate) table: Arc<Table>,
    pub(crate) index: Arc<Index>,
    pub(crate) directory: Arc<Directory>,
    pub(crate) notify: Notify,
    pub(crate) scrub: Scrub,
    /// What was asked for in the middle of a pass: it may have come too late for that one.
    pub(crate) again: Cell<bool>,
}

/// Why it reads no further.
enum Stop {
    /// The store is being closed.
    Closed,
    Fatal(FatalError),
}

impl From<FatalError> for Stop {
    fn from(error: FatalError) -> Self {
        Self::Fatal(error)
    }
}

impl Scrubber {
    pub(crate) fn run(self, commands: &Receiver<Command>) {
        match self.serve(commands) {
            Stop::Closed => {}
            Stop::Fatal(error) => (self.notify)(StoreEvent::Fatal(error)),
        }
    }

    fn serve(&self, commands: &Receiver<Command>) -> Stop {
        loop {
            // What a master has yet to fill is not relied on by anybody.
            if self.directory.notes().fill() != Fill::Filled {
                if let Err(stop) = wait(commands, UNFILLED_PAUSE) {
                    return stop;
                }
                continue;
            }
            let found = match self.log(commands).and_then(|()| self.table(commands)) {
                Ok(()) => StoreEvent::Scrubbed,
                Err(Stop::Closed) => return Stop::Closed,
                Err(Stop::Fatal(error)) => match rot(error) {
                    Ok(rot) => StoreEvent::Rotten(rot),
                    Err(error) => return Stop::Fatal(error),
                },
            };
            (self.notify)(found);
            if !self.again.take()
                && let Err(stop) = wait(commands, self.scrub.every)
            {
                return stop;
            }
        }
    }

    /// As far as it goes by now: what comes faster than we read must not keep us here.
    fn log(&self, commands: &Receiver<Command>) -> Result<(), Stop> {
        let end = self.index.last();
        let mut after = Sequence::default();
        let mut cursor = None;
        while after < end {
            // It may be dropped or cut under our hands.
            let before = Sequence(self.index.first().0.saturating_sub(1));
            after = after.max(before);
            let (entries, next) = self
                .index
                .read(after, SLICE_BYTES, cursor)
                .map_err(FatalError::from)?;
            let Some(last) = entries.last() else {
                if self.index.first() > after.next() {
                    continue;
                }
                return Ok(());
            };
            (after, cursor) = (last.position.sequence, next);
            self.pause(commands)?;
        }
        Ok(())
    }

    fn table(&self, commands: &Receiver<Command>) -> Result<(), Stop> {
        let mut from = Some(Vec::new());
        while let Some(key) = from {
            from = self.table.check(&key, SLICE_BYTES)?;
            self.pause(commands)?;
        }
        Ok(())
    }

    /// As long as a slice may take.
    fn pause(&self, commands: &Receiver<Command>) -> Result<(), Stop> {
        let nanos = SLICE_BYTES as u64 * 1_000_000_000 / self.scrub.bytes_per_second.max(1);
        let asked = wait(commands, Duration::from_nanos(nanos))?;
        self.again.set(self.again.get() || asked);
        Ok(())
    }
}

/// What can be repaired by filling the store anew: a bad checksum, or a sector that cannot be
/// read. Anything else is returned as it is.
fn rot(error: FatalError) -> Result<FatalError, FatalError> {
    match error {
        FatalError::Log(LogError::Damaged { .. }) | FatalError::StoreDamaged { .. } => Ok(error),
        FatalError::Disk(disk) if disk.error.raw_os_error() == Some(UNREADABLE) => {
            Ok(FatalError::StoreDamaged {
                reason: disk.to_string(),
                path: disk.path,
            })
        }
        FatalError::Store { path, reason, .. } if reason.contains("Input/output error") => {
            Ok(FatalError::StoreDamaged { path, reason })
        }
        other => Err(other),
    }
}

/// Whether it was asked for the next pass before the time was over.
fn wait(commands: &Receiver<Command>, time: Duration) -> Result<bool, Stop> {
    match commands.recv_timeout(time) {
        Ok(Command::Now) => Ok(true),
        Err(RecvTimeoutError::Timeout) => Ok(false),
        Err(RecvTimeoutError::Disconnected) => Err(Stop::Closed),
    }
}
