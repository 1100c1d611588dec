//! A node's disk: the log, the promise and the store, and what a crash leaves of them.
//!
//! Log operations run in the order in which they were given, in groups: one
//! write, one sync. A killed process leaves all that was written; a power loss
//! leaves what was synced and any prefix of the rest.

use std::collections::VecDeque;

use replicamq_quorum::{Entry, Epoch, Event, Position, Recovered, Sequence};

use crate::log::Log;
use crate::random::Random;
use crate::store::{Pairs, Store, StoreState};

/// What the one writer does.
#[derive(Debug, Clone)]
pub enum LogOperation {
    /// Entries at the end.
    Append(Vec<Entry>),
    /// Cut what follows.
    Truncate(Position),
    /// Keep a promise.
    Promise(Epoch),
}

/// The log and the promise, in one of the disk's two states.
#[derive(Debug, Clone, Default)]
pub struct Image {
    /// The log.
    pub log: Log,
    /// The highest epoch promised.
    pub promised: Epoch,
}

impl Image {
    /// One operation is done.
    pub fn run(&mut self, operation: LogOperation) {
        match operation {
            LogOperation::Append(entries) => {
                for entry in entries {
                    self.log.append(entry);
                }
            }
            LogOperation::Truncate(keep) => self.log.truncate(keep),
            LogOperation::Promise(epoch) => self.promised = self.promised.max(epoch),
        }
    }
}

/// Whether the store may be built upon, as the server keeps it on the disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Filled {
    /// It is whole.
    #[default]
    Yes,
    /// A checkpoint was installed; the log has not caught up.
    Filling,
    /// Wiped or damaged.
    No,
}

/// One node's disk.
#[derive(Debug, Default)]
pub struct Disk {
    /// What the operating system has.
    pub written: Image,
    /// What is on the platter.
    pub durable: Image,
    /// Written, not synced.
    unsynced: Vec<LogOperation>,
    /// The key-value store that the log builds.
    pub store: Store,
    /// Whether the store may be built upon.
    pub filled: Filled,
    /// The store's own name: a wiped one gets a new name.
    pub store_id: u64,
    /// It was wiped or damaged, and is not whole again: known to the simulator alone.
    pub lost: bool,
    /// Counts losses and checkpoints.
    pub fillings: u64,
}

impl Disk {
    /// Empty.
    #[must_use]
    pub fn new(store_id: u64) -> Self {
        Self {
            store_id,
            ..Self::default()
        }
    }

    /// The group is written; it is not synced.
    pub fn write(&mut self, group: &[LogOperation]) {
        for operation in group {
            self.written.run(operation.clone());
            self.unsynced.push(operation.clone());
        }
    }

    /// Everything written is synced; what the writer reports.
    pub fn sync(&mut self, logged_after_cut: bool, reports: &mut Vec<Event>) {
        let group = std::mem::take(&mut self.unsynced);
        let mut appended = false;
        for operation in group {
            self.durable.run(operation.clone());
            let last = self.durable.log.last();
            let logged = Event::Logged {
                appended: last,
                durable: last,
            };
            match operation {
                LogOperation::Append(_) => appended = true,
                LogOperation::Truncate(keep) => {
                    reports.push(Event::Truncated { keep });
                    appended = logged_after_cut;
                }
                LogOperation::Promise(epoch) => {
                    if std::mem::take(&mut appended) {
                        reports.push(logged);
                    }
                    reports.push(Event::PromiseStored { epoch });
                }
            }
        }
        if appended {
            let last = self.durable.log.last();
            reports.push(Event::Logged {
                appended: last,
                durable: last,
            });
        }
    }

    /// The process died. `queued` was on its way to the writer.
    pub fn killed(&mut self, random: &mut Random, queued: VecDeque<LogOperation>) {
        self.write_some(random, queued.into());
        self.unsynced.clear();
        self.durable = self.written.clone();
        self.store.crash();
    }

    /// The power failed. What was queued never reached the disk.
    pub fn lost_power(&mut self, random: &mut Random) {
        let unsynced = std::mem::take(&mut self.unsynced);
        let promised = self.written.promised;
        let before = std::mem::replace(&mut self.written, self.durable.clone());
        self.write_some(random, unsynced);
        self.unsynced.clear();
        self.begin_behind_the_store(&before.log);
        // The promise lies in a file of its own: it may survive what stood before it.
        if random.chance(300_000) {
            self.written.promised = promised;
        }
        self.durable = self.written.clone();
        self.store.crash();
    }

    /// Where a log need not be synced, the store may have been flushed beyond what is left of
    /// it: the next start puts such a log aside and begins one after what the store holds.
    fn begin_behind_the_store(&mut self, before: &Log) {
        let applied = self.store.flushed();
        if applied <= self.written.log.last().sequence {
            return;
        }
        let last = before
            .position(applied)
            .expect("what is applied was written");
        let mut history = before.history().clone();
        history.truncate(applied);
        self.written.log = Log::after_checkpoint(last, history);
    }

    /// Any prefix, down to single entries.
    fn write_some(&mut self, random: &mut Random, operations: Vec<LogOperation>) {
        if operations.is_empty() {
            return;
        }
        let whole = random.index(operations.len() + 1);
        for (index, operation) in operations.into_iter().enumerate() {
            if index < whole {
                self.written.run(operation);
                continue;
            }
            if let LogOperation::Append(mut entries) = operation {
                entries.truncate(random.index(entries.len() + 1));
                self.written.run(LogOperation::Append(entries));
            }
            return;
        }
    }

    /// Emptied. Its new name tells it from the old one.
    pub fn wipe(&mut self, store_id: u64) {
        *self = Self {
            store_id,
            lost: true,
            fillings: self.fillings + 1,
            ..Self::default()
        };
    }

    /// Found to be damaged: what is there is not to be built upon.
    pub fn damage(&mut self) {
        self.filled = Filled::No;
        self.lost = true;
        self.fillings += 1;
    }

    /// A checkpoint takes the place of the store and the log. The promise stays.
    /// A store that was whole, and ends no later than the checkpoint, stays
    /// whole: whatever it had acknowledged is in there or was never committed.
    pub fn install(&mut self, checkpoint: &Checkpoint) {
        assert!(
            self.written.promised == self.durable.promised,
            "a checkpoint comes after the promise is synced"
        );
        let covered = checkpoint.last >= self.durable.log.last();
        let log = Log::after_checkpoint(checkpoint.last, checkpoint.history.clone());
        self.unsynced.clear();
        self.written.log = log.clone();
        self.durable.log = log;
        self.store = Store::from_checkpoint(checkpoint.state, checkpoint.pairs.clone());
        if self.filled != Filled::Yes || !covered {
            self.filled = Filled::Filling;
        }
        self.fillings += 1;
    }

    /// Drops the log before `first`.
    pub fn trim(&mut self, first: Sequence) {
        self.written.log.trim(first);
        self.durable.log.trim(first);
    }

    /// What a process finds.
    pub fn recovered(&self) -> Recovered {
        Recovered {
            promised: self.durable.promised,
            last: self.durable.log.last(),
            applied: self.store.applied(),
            history: self.durable.log.history().clone(),
            log_first: self.durable.log.first(),
            unfilled: self.filled == Filled::No,
            filling: self.filled == Filled::Filling,
        }
    }
}

/// A checkpoint of a master's store.
#[derive(Debug, Clone)]
pub struct Checkpoint {
    /// How far the store is.
    pub state: StoreState,
    /// What it holds.
    pub pairs: Pairs,
    /// The last entry in it.
    pub last: Position,
    /// Which epoch wrote what, up to there.
    pub history: replicamq_quorum::EpochHistory,
}
