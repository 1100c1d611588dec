//! What the master knows of one replica.

use std::collections::VecDeque;

use crate::{Copy, Position, Sequence};

/// A replica whose stream is open and whose log agrees with ours up to
/// `next - 1`, once it has cut what it was told to cut.
#[derive(Debug, Clone)]
pub(crate) struct Progress {
    /// The next entry to ship.
    pub(crate) next: Sequence,
    /// What it answered on this stream; nothing is assumed from its greeting.
    pub(crate) appended: Position,
    pub(crate) durable: Position,
    pub(crate) applied: Sequence,
    /// The stamp of ours that it last answered.
    pub(crate) heard_ms: u64,
    /// When it last had everything that we had.
    pub(crate) level_ms: u64,
    /// When we last sent it something.
    pub(crate) sent_ms: u64,
    /// A read of the log for it is under way.
    pub(crate) reading: bool,
    /// It was told to take a checkpoint; nothing is shipped meanwhile.
    pub(crate) snapshot: bool,
    /// The first commit of our epoch that it was told of while it had that entry, and when.
    told: Option<(Sequence, u64)>,
    /// It has answered that: had it to be filled, it is, and its promise counts.
    pub(crate) filled: bool,
    /// Shipped and unanswered: the last sequence and the bytes of each message.
    in_flight: VecDeque<(Sequence, usize)>,
    in_flight_bytes: usize,
}

impl Progress {
    pub(crate) fn new(next: Sequence, now_ms: u64) -> Self {
        Self {
            next,
            appended: Position::default(),
            durable: Position::default(),
            applied: Sequence(0),
            heard_ms: 0,
            level_ms: now_ms,
            sent_ms: 0,
            reading: false,
            snapshot: false,
            told: None,
            filled: false,
            in_flight: VecDeque::new(),
            in_flight_bytes: 0,
        }
    }

    pub(crate) fn shipped(&mut self, last: Sequence, bytes: usize) {
        self.next = last.next();
        self.in_flight.push_back((last, bytes));
        self.in_flight_bytes += bytes;
    }

    /// A message went to it, with or after all entries before `next`. It tells of this commit,
    /// if that is one of our epoch.
    pub(crate) fn sent(&mut self, committed: Option<Sequence>, now_ms: u64) {
        self.sent_ms = now_ms;
        let has = |committed: &Sequence| !self.snapshot && *committed < self.next;
        if let Some(committed) = committed.filter(has) {
            self.told.get_or_insert((committed, now_ms));
        }
    }

    /// It answered a message that was sent then. One of the same moment may have come before it.
    pub(crate) fn answered_at(&mut self, stamp_ms: u64) {
        let told = self.told;
        self.filled |= told.is_some_and(|(committed, told_ms)| {
            stamp_ms > told_ms && self.durable.sequence >= committed
        });
    }

    pub(crate) fn answered(&mut self, appended: Position, durable: Position) {
        self.appended = self.appended.max(appended);
        self.durable = self.durable.max(durable);
        while let Some(&(last, bytes)) = self.in_flight.front() {
            if last > appended.sequence {
                return;
            }
            self.in_flight_bytes -= bytes;
            self.in_flight.pop_front();
        }
    }

    /// How far its copy goes, if it must be so safe.
    pub(crate) fn copy(&self, safe: Copy) -> Position {
        match safe {
            Copy::Disk => self.durable,
            Copy::Memory | Copy::None => self.appended,
        }
    }

    pub(crate) fn has_room(&self, bytes_max: usize) -> bool {
        !self.snapshot && !self.reading && self.in_flight_bytes < bytes_max
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn room_comes_back_with_cumulative_answers() {
        let mut progress = Progress::new(Sequence(1), 0);
        progress.shipped(Sequence(3), 600);
        progress.shipped(Sequence(5), 600);
        assert!(!progress.has_room(1_000));
        progress.answered(Position::new(1, 4), Position::new(1, 2));
        assert!(progress.has_room(1_000));
        assert_eq!(progress.durable, Position::new(1, 2));
        progress.answered(Position::new(1, 5), Position::new(1, 5));
        assert!(progress.has_room(1));
    }
}
