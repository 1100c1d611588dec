//! The thread that makes committed entries visible in the store and reads it.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::Duration;

use prost::Message as _;
use replicamq_log::{Floor, Index, LogError};
use replicamq_proto::store::v1::Batch;
use replicamq_proto::store::v1::op::Kind;
use replicamq_quorum::{Entry, Sequence};

use crate::directory::Directory;
use crate::flush::FlushPolicy;
use crate::options::APPLY_BYTES_MAX;
use crate::store::{Notify, Progress};
use crate::table::{Changes, Table};
use crate::{FatalError, Load, StoreEvent};
use replicamq_log::pace::Pace;

const UPKEEP_EVERY: Duration = Duration::from_secs(1);

pub(crate) enum Command {
    Apply(Vec<Entry>),
    Replay(Sequence),
    Load(Load),
    /// The store counts again: nobody needs what was put aside any more.
    RemoveAside,
}

pub(crate) struct Applier {
    pub(crate) table: Arc<Table>,
    pub(crate) index: Arc<Index>,
    pub(crate) directory: Arc<Directory>,
    pub(crate) progress: Arc<Progress>,
    pub(crate) notify: Notify,
    /// What the store holds.
    pub(crate) floor: Floor,
    pub(crate) flush: FlushPolicy,
}

impl Applier {
    pub(crate) fn run(mut self, commands: &Receiver<Command>) {
        if let Err(error) = self.serve(commands) {
            if let FatalError::StoreDamaged { .. } | FatalError::Log(LogError::Damaged { .. }) =
                error
            {
                self.directory.notes().record_damage();
            }
            (self.notify)(StoreEvent::Fatal(error));
        }
    }

    fn serve(&mut self, commands: &Receiver<Command>) -> Result<(), FatalError> {
        let mut pace = Pace::new(UPKEEP_EVERY);
        let mut waiting = VecDeque::new();
        loop {
            if waiting.is_empty() {
                match commands.recv_timeout(UPKEEP_EVERY) {
                    Ok(command) => waiting.push_back(command),
                    Err(RecvTimeoutError::Timeout) => {}
                    Err(RecvTimeoutError::Disconnected) => break,
                }
            }
            match waiting.pop_front() {
                Some(Command::Apply(entries)) => self.apply(&entries, commands, &mut waiting)?,
                Some(Command::Replay(to)) => self.replay(to)?,
                Some(Command::Load(load)) => self.load(&load)?,
                // If it fails, the next start tries again, and tells.
                Some(Command::RemoveAside) => drop(self.directory.remove_aside()),
                None => {}
            }
            if pace.due() || self.flush.wants_look() {
                self.check_flushed()?;
            }
        }
        self.table.flush(true)
    }

    /// Applies these and whatever else waits to be applied, in few writes.
    fn apply(
        &mut self,
        entries: &[Entry],
        commands: &Receiver<Command>,
        waiting: &mut VecDeque<Command>,
    ) -> Result<(), FatalError> {
        let table = Arc::clone(&self.table);
        let mut changes = table.changes();
        let mut bytes = self.collect(entries, &mut changes)?;
        while bytes < APPLY_BYTES_MAX {
            match commands.try_recv() {
                Ok(Command::Apply(entries)) => bytes += self.collect(&entries, &mut changes)?,
                Ok(other) => {
                    waiting.push_back(other);
                    break;
                }
                Err(_) => break,
            }
        }
        self.write(changes, bytes)
    }

    /// Applies entries from the log, where the writer put them.
    fn replay(&mut self, to: Sequence) -> Result<(), FatalError> {
        let table = Arc::clone(&self.table);
        let mut cursor = None;
        if self.floor.applied.sequence >= to {
            self.applied();
        }
        while self.floor.applied.sequence < to {
            let after = self.floor.applied.sequence;
            let (mut entries, next) = self.index.read(after, APPLY_BYTES_MAX, cursor)?;
            cursor = next;
            entries.retain(|entry| entry.position.sequence <= to);
            if entries.is_empty() {
                return Err(FatalError::ReplayRefused {
                    from: after.next(),
                    to,
                });
            }
            let mut changes = table.changes();
            let bytes = self.collect(&entries, &mut changes)?;
            self.write(changes, bytes)?;
            if self.flush.wants_look() {
                self.check_flushed()?;
            }
        }
        Ok(())
    }

    /// Adds entries to a write; those that the store has already are left out.
    fn collect(
        &mut self,
        entries: &[Entry],
        changes: &mut Changes<'_>,
    ) -> Result<usize, FatalError> {
        let mut bytes = 0;
        for entry in entries {
            let applied = self.floor.applied;
            if entry.position.sequence <= applied.sequence {
                continue;
            }
            if entry.position.sequence != applied.sequence.next()
                || entry.position.epoch < applied.epoch
            {
                return Err(FatalError::Log(LogError::Gap {
                    previous: applied,
                    found: entry.position,
                }));
            }
            add(entry, changes)?;
            bytes += entry.batch.len();
            let epochs = self.floor.history.starts().len();
            self.floor.history.append(entry.position);
            if self.floor.history.starts().len() > epochs {
                changes.history(&self.floor.history);
            }
            self.floor.applied = entry.position;
        }
        Ok(bytes)
    }

    fn write(&mut self, changes: Changes<'_>, bytes: usize) -> Result<(), FatalError> {
        self.table.write(changes, self.floor.applied)?;
        self.flush.applied(bytes as u64);
        self.applied();
        Ok(())
    }

    fn applied(&self) {
        (self.notify)(StoreEvent::Applied {
            sequence: self.floor.applied.sequence,
        });
    }

    fn load(&self, load: &Load) -> Result<(), FatalError> {
        let (pairs, more) = self.table.load(load)?;
        (self.notify)(StoreEvent::Loaded {
            token: load.token,
            pairs,
            more,
        });
        Ok(())
    }

    /// Tells the writer which segments may go, and has RocksDB flush in time.
    fn check_flushed(&mut self) -> Result<(), FatalError> {
        let flushed = self.table.flushed()?;
        self.progress.flushed.store(flushed.0, Ordering::Release);
        if self.flush.look(self.floor.applied.sequence, flushed) {
            self.table.flush(false)?;
        }
        Ok(())
    }
}

fn add(entry: &Entry, changes: &mut Changes<'_>) -> Result<(), FatalError> {
    let invalid = |reason: String| FatalError::BatchInvalid {
        sequence: entry.position.sequence,
        reason,
    };
    let batch = Batch::decode(entry.batch.clone()).map_err(|error| invalid(error.to_string()))?;
    for op in batch.ops {
        match op.kind {
            Some(Kind::Put(put)) => changes.put(&put.key, &put.value),
            Some(Kind::Delete(key)) => changes.delete(&key),
            Some(Kind::DeleteRange(range)) => changes.delete_range(&range.from, &range.to),
            None => return Err(invalid("an op has no kind".to_owned())),
        }
    }
    Ok(())
}
