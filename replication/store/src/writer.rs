//! The thread that owns the log. Whatever queued while the last sync ran goes
//! with the next: one write and one sync for all.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::Duration;

use replicamq_log::{Log, LogError};
use replicamq_quorum::{Entry, Epoch, Position, Sequence};

use crate::directory::Directory;
use crate::options::GROUP_BYTES_MAX;
use crate::store::{Notify, Progress};
use crate::{FatalError, StoreEvent, SyncMode};
use replicamq_log::pace::{self, Pace};

/// The mark is synced, and in memory mode the log, at least so often.
const UPKEEP_EVERY: Duration = Duration::from_secs(1);

pub(crate) enum Command {
    Append(Vec<Entry>),
    Truncate(Position),
    StorePromise(Epoch),
}

pub(crate) struct Writer {
    pub(crate) log: Log,
    pub(crate) sync: SyncMode,
    pub(crate) directory: Arc<Directory>,
    pub(crate) progress: Arc<Progress>,
    pub(crate) notify: Notify,
}

impl Writer {
    pub(crate) fn run(mut self, commands: &Receiver<Command>) {
        if let Err(error) = self.serve(commands) {
            if self.loses(&error) {
                self.directory.notes().record_damage();
            }
            (self.notify)(StoreEvent::Fatal(error));
        }
    }

    /// Whether what was told of the log may hold no more. In memory mode a failed sync is
    /// such an end too: the system may have dropped what was acknowledged before it.
    fn loses(&self, error: &FatalError) -> bool {
        match error {
            FatalError::Log(LogError::Damaged { .. }) => true,
            FatalError::Disk(disk) => self.sync == SyncMode::Memory && disk.operation == "sync",
            _ => false,
        }
    }

    fn serve(&mut self, commands: &Receiver<Command>) -> Result<(), FatalError> {
        let mut pace = Pace::new(UPKEEP_EVERY);
        let mut held = None;
        loop {
            let command = match held.take() {
                Some(command) => Ok(command),
                None => commands.recv_timeout(UPKEEP_EVERY),
            };
            match command {
                Ok(Command::Append(entries)) => held = self.append(&entries, commands)?,
                Ok(Command::Truncate(keep)) => self.truncate(keep)?,
                Ok(Command::StorePromise(epoch)) => self.store_promise(epoch)?,
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => break,
            }
            if pace.due() {
                self.sync()?;
                self.log.sync_mark()?;
                self.trim()?;
            }
        }
        self.log.sync()?;
        self.log.sync_mark()?;
        if self.sync == SyncMode::Memory {
            self.directory.notes().record_synced()?;
        }
        Ok(())
    }

    /// Writes these and whatever else waits to be appended. Returns the first
    /// command that was something else.
    fn append(
        &mut self,
        entries: &[Entry],
        commands: &Receiver<Command>,
    ) -> Result<Option<Command>, FatalError> {
        self.log.stage(entries)?;
        let mut bytes = bytes(entries);
        let mut held = None;
        while bytes < GROUP_BYTES_MAX {
            match commands.try_recv() {
                Ok(Command::Append(entries)) => {
                    self.log.stage(&entries)?;
                    bytes += self::bytes(&entries);
                }
                Ok(other) => {
                    held = Some(other);
                    break;
                }
                Err(_) => break,
            }
        }
        self.log.write()?;
        if self.sync == SyncMode::Disk {
            self.log.sync()?;
        }
        self.logged();
        self.log.mark()?;
        self.log.prepare()?;
        self.trim()?;
        Ok(held)
    }

    fn truncate(&mut self, keep: Position) -> Result<(), FatalError> {
        let applied = Sequence(self.progress.submitted.load(Ordering::Acquire));
        self.log.cut(keep, applied)?;
        (self.notify)(StoreEvent::Truncated { keep });
        self.logged();
        Ok(())
    }

    fn store_promise(&mut self, epoch: Epoch) -> Result<(), FatalError> {
        // Who hears of the promise takes all before it to be durable.
        self.sync()?;
        self.directory.notes().store_promise(epoch)?;
        (self.notify)(StoreEvent::PromiseStored { epoch });
        Ok(())
    }

    fn logged(&self) {
        (self.notify)(StoreEvent::Logged {
            appended: self.log.last(),
            durable: self.log.synced(),
        });
    }

    /// In memory mode there may be something to sync.
    fn sync(&mut self) -> Result<(), FatalError> {
        if self.log.synced() != self.log.last() {
            self.log.sync()?;
            self.logged();
        }
        Ok(())
    }

    fn trim(&mut self) -> Result<(), FatalError> {
        let flushed = Sequence(self.progress.flushed.load(Ordering::Acquire));
        let held = self.progress.holds.first(pace::now());
        if let Some(first) = self.log.trim(flushed, held)? {
            (self.notify)(StoreEvent::LogTrimmed { first });
        }
        Ok(())
    }
}

fn bytes(entries: &[Entry]) -> usize {
    entries.iter().map(|entry| entry.batch.len()).sum()
}

#[cfg(test)]
mod tests;
