//! How far this node's log is written, durable, committed and applied.
//!
//! `applied <= handed over <= committed` and `durable <= written <= last`;
//! handed over is also no more than the own copy, durable or written by the mode.

use std::collections::VecDeque;

use crate::tail::{Tail, weight};
use crate::{Copy, Effect, Entry, EpochHistory, Position, Recovered, Sequence};

/// So many committed entries are worth waking the store for; fewer wait for the next tick.
const HAND_OVER_ENTRIES: u64 = 64;

/// So many of their bytes are worth it as well, and do not push each other out of the tail.
const HAND_OVER_BYTES: usize = 1 << 20;

/// Orders to the store that it has not carried out; far below what its queue takes.
const HANDED_ORDERS_MAX: usize = 1_024;

#[derive(Debug, Clone)]
pub(crate) struct Cursors {
    /// The last entry given to the log.
    pub(crate) last: Position,
    pub(crate) written: Position,
    pub(crate) durable: Position,
    pub(crate) committed: Sequence,
    /// Handed to the store to be applied.
    handed: Sequence,
    /// The orders that are not carried out: up to where, and their bytes in memory.
    applying: VecDeque<(Sequence, usize)>,
    applying_bytes: usize,
    applying_bytes_max: usize,
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
    pub(crate) fn new(recovered: &Recovered, own: Copy, applying_bytes_max: usize) -> Self {
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
            applying: VecDeque::new(),
            applying_bytes: 0,
            applying_bytes_max,
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

    /// The own copy is as good as it must be, and nothing is under way.
    pub(crate) fn is_level(&self) -> bool {
        self.own_copy() == self.last && self.truncating == 0
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

    /// The store has applied so far.
    pub(crate) fn applied(&mut self, sequence: Sequence) {
        self.applied = self.applied.max(sequence);
        while let Some(&(last, bytes)) = self.applying.front()
            && last <= self.applied
        {
            self.applying_bytes -= bytes;
            self.applying.pop_front();
        }
    }

    /// Hands over once it is worth waking the store for it. Nobody reads the
    /// store meanwhile: who wants to, calls [`Cursors::flush`] first.
    pub(crate) fn hand_over_some(&mut self, effects: &mut Vec<Effect>) {
        let to = self.applicable();
        let many = || to.0 >= self.handed.0 + HAND_OVER_ENTRIES;
        let much = || self.tail.bytes_within(self.handed, to) >= HAND_OVER_BYTES;
        if self.has_room() && (many() || much()) {
            self.hand_over(effects);
        }
    }

    /// Hands over what the store has room for. Where it has none, entries wait
    /// in the log, and may leave the memory: they are replayed from there later.
    pub(crate) fn hand_over(&mut self, effects: &mut Vec<Effect>) {
        let to = self.applicable();
        if to <= self.handed || !self.has_room() {
            return;
        }
        let first = self.tail.first().unwrap_or(self.last.sequence.next());
        if self.handed.next() < first {
            self.replay(to.min(Sequence(first.0 - 1)), effects);
        }
        if self.handed < to {
            let room = self.applying_bytes_max - self.applying_bytes;
            let entries = self.tail.slice(self.handed.next(), to, room);
            let last = entries.last().expect("the tail reaches to the end");
            self.handed = last.position.sequence;
            let bytes = entries.iter().map(weight).sum();
            self.applying.push_back((self.handed, bytes));
            self.applying_bytes += bytes;
            effects.push(Effect::Apply(entries));
        }
    }

    /// Makes everything committed visible to reads that follow: what the store
    /// has no room for in memory it reads from the log.
    pub(crate) fn flush(&mut self, effects: &mut Vec<Effect>) {
        self.hand_over(effects);
        let to = self.applicable();
        if self.handed < to {
            self.replay(to, effects);
        }
    }

    fn replay(&mut self, to: Sequence, effects: &mut Vec<Effect>) {
        self.handed = to;
        self.applying.push_back((to, 0));
        effects.push(Effect::Replay { to });
    }

    fn applicable(&self) -> Sequence {
        self.committed.min(self.own_copy().sequence)
    }

    fn has_room(&self) -> bool {
        self.applying_bytes < self.applying_bytes_max && self.applying.len() < HANDED_ORDERS_MAX
    }
}
