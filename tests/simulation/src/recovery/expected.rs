//! What must be there after a start, and what may.

use std::fmt::Debug;

use replicamq_log::{Fill, Floor};
use replicamq_quorum::{Entry, Epoch, EpochHistory, Position};

use crate::recovery::Stop;
use crate::recovery::broken;
use crate::recovery::harm::Harm;

/// A note that is replaced whole: what was told, and what was being written.
#[derive(Debug, Clone)]
pub(super) struct Noted<T> {
    told: T,
    tried: Vec<T>,
}

impl<T: Copy + PartialEq + Debug> Noted<T> {
    pub(super) fn new(value: T) -> Self {
        Self {
            told: value,
            tried: Vec::new(),
        }
    }

    pub(super) fn set(&mut self, value: T) {
        *self = Self::new(value);
    }

    pub(super) fn told(&self) -> T {
        self.told
    }

    pub(super) fn attempt(&mut self, value: T) {
        self.tried.push(value);
    }

    pub(super) fn found(&mut self, what: &'static str, value: T) -> Result<(), Stop> {
        if value != self.told && !self.tried.contains(&value) {
            return broken(what, format!("{value:?} is found, after {self:?}"));
        }
        self.set(value);
        Ok(())
    }
}

/// What one log was given, and what was heard of it. Sequences are numbers here.
#[derive(Debug)]
pub(super) struct Expected {
    /// All that may be there, from the first one ever on.
    pub(super) entries: Vec<Entry>,
    /// Given to the operating system: a process that dies alone leaves it.
    pub(super) written: u64,
    /// Reported as synced.
    pub(super) synced: u64,
    /// Had been synced when the newest synced entry was written, as that one says itself.
    pub(super) proven: u64,
    /// Where the mark is, and where it is for sure after a loss of power.
    pub(super) marked: u64,
    pub(super) marked_durable: u64,
    /// The store holds it; never cut.
    pub(super) applied: u64,
    /// A cut is under way: everything behind goes, or nothing.
    pub(super) cut: Option<u64>,
    pub(super) promised: Noted<Epoch>,
    pub(super) fill: Noted<Fill>,
    pub(super) generation: Noted<u64>,
    /// A new generation is being made, whose log begins after this.
    pub(super) installing: Option<u64>,
    /// The first entry that this generation of the log can hold.
    pub(super) begins_after: u64,
    /// The power failed since the last start, or a sync: what was only written may be gone.
    pub(super) cache_lost: bool,
    /// No entry of an epoch below may be written any more.
    pub(super) epoch: u64,
}

impl Default for Expected {
    fn default() -> Self {
        Self {
            entries: Vec::new(),
            written: 0,
            synced: 0,
            proven: 0,
            marked: 0,
            marked_durable: 0,
            applied: 0,
            cut: None,
            promised: Noted::new(Epoch(0)),
            fill: Noted::new(Fill::Filled),
            generation: Noted::new(1),
            installing: None,
            begins_after: 0,
            cache_lost: false,
            epoch: 1,
        }
    }
}

impl Expected {
    /// After damage: no lower than what was told, unless that is what is gone, and no higher
    /// than an entry.
    pub(super) fn may_be_promised(&self, epoch: Epoch, harm: Option<&Harm>) -> bool {
        let forgotten = harm.is_some_and(Harm::took_promise);
        (forgotten || epoch >= self.promised.told()) && epoch.0 <= self.epoch
    }

    pub(super) fn last(&self) -> u64 {
        self.entries.len() as u64
    }

    pub(super) fn entry(&self, sequence: u64) -> &Entry {
        let index = usize::try_from(sequence - 1).expect("logs are short");
        &self.entries[index]
    }

    /// The full position there; the default before the first.
    pub(super) fn position(&self, sequence: u64) -> Position {
        match sequence {
            0 => Position::default(),
            _ => self.entry(sequence).position,
        }
    }

    pub(super) fn history(&self, to: u64) -> EpochHistory {
        let mut history = EpochHistory::default();
        let count = usize::try_from(to).expect("logs are short");
        for entry in &self.entries[..count] {
            history.append(entry.position);
        }
        history
    }

    /// What the store says.
    pub(super) fn floor(&self) -> Floor {
        Floor {
            applied: self.position(self.applied),
            history: self.history(self.applied),
        }
    }

    /// What must be there after a start on a disk that is whole.
    pub(super) fn least(&self) -> u64 {
        if self.cache_lost {
            self.synced
        } else {
            self.written
        }
    }

    /// The highest entry whose loss something else on the disk gives away: a newer entry, or
    /// the mark.
    pub(super) fn provable(&self) -> u64 {
        self.proven.max(self.provable_by_mark())
    }

    pub(super) fn provable_by_mark(&self) -> u64 {
        if self.cache_lost {
            self.marked_durable
        } else {
            self.marked
        }
    }

    /// The log ends here, durably, and the mark says so.
    pub(super) fn settle(&mut self, last: u64) {
        self.entries
            .truncate(usize::try_from(last).expect("logs are short"));
        self.written = last;
        self.synced = last;
        self.proven = self.proven.min(last);
        self.marked = last;
        self.marked_durable = last;
        self.cut = None;
        self.cache_lost = false;
    }
}
