//! How far this node's log is written, durable, committed and applied.
//!
//! `applied <= handed over <= committed` and `durable <= written <= last`;
//! handed over is also no more than the own copy, durable or written by the mode.

use crate::tail::Tail;
use crate::{Copy, Effect, Entry, EpochHistory, Position, Recovered, Sequence};

/// So many committed entries are worth waking the store for; fewer wait for the next tick.
const HAND_OVER_ENTRIES: u64 = 64;

#[derive(Debug)]
pub(crate) struct Cursors {
    /// The last entry given to the log.
    pub(crate) last: Position,
    pub(crate) written: Position,
    pub(crate) durable: Position,
    pub(crate) committed: Sequence,
    /// Handed to the store to be applied.
    handed: Sequence,
    pub(crate) applied: Sequence,
    pub(crate) history: EpochHistory,
    /// The first sequence that the log on disk still holds.
    pub(crate) first: Sequence,
    pub(crate) tail: Tail,
    /// Truncations whose end was not yet reported.
    truncating: u32,
    /// How safe an own copy must be to be applied.
    own: Copy,
}

impl Cursors {
    pub(crate) fn new(recovered: &Recovered, own: Copy) -> Self {
        assert!(
            recovered.unfilled || recovered.applied <= recovered.last.sequence,
            "what was applied was in the log first"
        );
        Self {
            last: recovered.last,
            written: recovered.last,
            durable: recovered.last,
            committed: recovered.applied,
            handed: recovered.applied,
            applied: recovered.applied,
            history: recovered.history.clone(),
            first: recovered.log_first,
            tail: Tail::default(),
            truncating: 0,
            own,
        }
    }

    /// Whether the log holds exactly this entry (or it is the place before the first).
    pub(crate) fn holds(&self, position: Position) -> bool {
        position == Position::default()
            || (position.sequence <= self.last.sequence
                && self.history.epoch_at(position.sequence) == Some(position.epoch))
    }

    /// The full position of a sequence in this log.
    pub(crate) fn position(&self, sequence: Sequence) -> Position {
        Position {
            epoch: self.history.epoch_at(sequence).unwrap_or_default(),
            sequence,
        }
    }

    pub(crate) fn append(&mut self, entries: Vec<Entry>, effects: &mut Vec<Effect>) {
        for entry in &entries {
            assert_eq!(
                entry.position.sequence,
                self.last.sequence.next(),
                "the log is contiguous"
            );
            self.history.append(entry.position);
            self.last = entry.position;
            self.tail.push(entry.clone());
        }
        effects.push(Effect::Append(entries));
    }

    /// Cuts the log. The caller has checked that nothing committed is lost.
    pub(crate) fn truncate(&mut self, keep: Position, effects: &mut Vec<Effect>) {
        assert!(
            keep.sequence >= self.committed,
            "a committed entry is never cut: keep {keep}, committed {}",
            self.committed
        );
        assert!(self.holds(keep), "only an own entry can be the last");
        self.history.truncate(keep.sequence);
        self.tail.truncate(keep);
        self.last = keep;
        self.written = self.written.min(keep);
        self.durable = self.durable.min(keep);
        self.truncating += 1;
        effects.push(Effect::Truncate { keep });
    }

    pub(crate) fn truncated(&mut self) {
        self.truncating = self
            .truncating
            .checked_sub(1)
            .expect("each truncation is reported once");
    }

    /// The log's report. Reports from before a truncation say nothing.
    pub(crate) fn logged(&mut self, appended: Position, durable: Position, tail_bytes_max: usize) {
        if self.truncating > 0 {
            return;
        }
        assert!(
            self.holds(appended) && self.holds(durable) && durable <= appended,
            "the log reports what it was given: {appended}, {durable}, last {}",
            self.last
        );
        self.written = self.written.max(appended);
        self.durable = self.durable.max(durable);
        self.tail.evict(tail_bytes_max, self.written.sequence);
    }

    /// Everything is on the disk and nothing is under way.
    pub(crate) fn settled(&self) -> bool {
        self.durable == self.last && self.truncating == 0
    }

    /// Nothing is under way to the log. A promise syncs what is only written.
    pub(crate) fn written_out(&self) -> bool {
        self.written == self.last && self.truncating == 0
    }

    /// As far as this node's own copy goes: what may be committed and applied here.
    pub(crate) fn own_copy(&self) -> Position {
        match self.own {
            Copy::Disk => self.durable,
            // A memory mode syncs about once a second: nothing may wait for that.
            Copy::Memory | Copy::None => self.written,
        }
    }

    /// Notes a commit, and hands over to the store what may be applied: what is
    /// committed and safe enough here.
    pub(crate) fn commit(&mut self, sequence: Sequence, effects: &mut Vec<Effect>) {
        if sequence > self.committed {
            self.committed = sequence;
            effects.push(Effect::Committed { sequence });
        }
        self.hand_over_some(effects);
    }

    /// Hands over once it is worth waking the store for it. Nobody reads the
    /// store meanwhile: who wants to, calls [`Cursors::hand_over`] first.
    pub(crate) fn hand_over_some(&mut self, effects: &mut Vec<Effect>) {
        let to = self.committed.min(self.own_copy().sequence);
        if to.0 >= self.handed.0 + HAND_OVER_ENTRIES {
            self.hand_over(effects);
        }
    }

    pub(crate) fn hand_over(&mut self, effects: &mut Vec<Effect>) {
        let to = self.committed.min(self.own_copy().sequence);
        if to <= self.handed {
            return;
        }
        let first = self.tail.first().unwrap_or(self.last.sequence.next());
        if self.handed.next() < first {
            let on_disk = to.min(Sequence(first.0 - 1));
            effects.push(Effect::Replay { to: on_disk });
            self.handed = on_disk;
        }
        if self.handed < to {
            let entries = self.tail.slice(self.handed.next(), to, usize::MAX);
            self.handed = to;
            effects.push(Effect::Apply(entries));
        }
    }
}
