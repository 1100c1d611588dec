//! A log as a list, without a disk: what was given, what is written, what is synced.

use std::collections::VecDeque;

use replicamq_quorum::{Entry, EpochHistory, Position, Sequence};

/// Contiguous entries, the history of all that ever stood before them, and the last position.
#[derive(Debug, Clone, Default)]
pub struct Log {
    entries: VecDeque<Entry>,
    history: EpochHistory,
    last: Position,
}

impl Log {
    /// As a checkpoint leaves it: no entries, but a past.
    #[must_use]
    pub fn after_checkpoint(last: Position, history: EpochHistory) -> Self {
        Self {
            entries: VecDeque::new(),
            history,
            last,
        }
    }

    /// As a start finds it: these entries, and the history of all before them too.
    #[must_use]
    pub fn found(entries: Vec<Entry>, history: EpochHistory, last: Position) -> Self {
        Self {
            entries: entries.into(),
            history,
            last,
        }
    }

    /// The part of it that is left, where it cannot be read.
    #[must_use]
    pub fn within(&self, first: Sequence, last: Position) -> Self {
        let mut part = self.clone();
        part.truncate(last);
        part.trim(first);
        part
    }

    /// The last position.
    pub fn last(&self) -> Position {
        self.last
    }

    /// The first sequence that is still held.
    pub fn first(&self) -> Sequence {
        self.entries
            .front()
            .map_or(self.last.sequence.next(), |entry| entry.position.sequence)
    }

    /// Which epoch wrote what.
    pub fn history(&self) -> &EpochHistory {
        &self.history
    }

    fn index(&self, sequence: Sequence) -> Option<usize> {
        let index = sequence.0.checked_sub(self.first().0)?;
        usize::try_from(index).ok()
    }

    /// The entry there, if it is held.
    pub fn get(&self, sequence: Sequence) -> Option<&Entry> {
        self.entries.get(self.index(sequence)?)
    }

    /// The full position there, also of what was trimmed.
    pub fn position(&self, sequence: Sequence) -> Option<Position> {
        if sequence > self.last.sequence {
            return None;
        }
        let epoch = self.history.epoch_at(sequence)?;
        Some(Position { epoch, sequence })
    }

    /// Whether exactly this entry is, or was before trimming, in it.
    pub fn holds(&self, position: Position) -> bool {
        position == Position::default() || self.position(position.sequence) == Some(position)
    }

    /// Adds one.
    pub fn append(&mut self, entry: Entry) {
        assert_eq!(
            entry.position.sequence,
            self.last.sequence.next(),
            "an append continues the log"
        );
        self.history.append(entry.position);
        self.last = entry.position;
        self.entries.push_back(entry);
    }

    /// Cuts what follows.
    pub fn truncate(&mut self, keep: Position) {
        assert!(self.holds(keep), "the log is cut at one of its entries");
        while self
            .entries
            .back()
            .is_some_and(|entry| entry.position.sequence > keep.sequence)
        {
            self.entries.pop_back();
        }
        self.history.truncate(keep.sequence);
        self.last = keep;
    }

    /// Drops what lies before `first`.
    pub fn trim(&mut self, first: Sequence) {
        while self
            .entries
            .front()
            .is_some_and(|entry| entry.position.sequence < first)
        {
            self.entries.pop_front();
        }
    }

    /// From after `after`, until `bytes_max` are reached; at least one. Empty if it does not reach back.
    pub fn read(&self, after: Sequence, bytes_max: usize) -> Vec<Entry> {
        let Some(start) = self.index(after.next()) else {
            return Vec::new();
        };
        let mut bytes = 0;
        let mut read = Vec::new();
        for entry in self.entries.iter().skip(start) {
            bytes += entry.batch.len();
            if bytes > bytes_max && !read.is_empty() {
                break;
            }
            read.push(entry.clone());
        }
        read
    }
}
