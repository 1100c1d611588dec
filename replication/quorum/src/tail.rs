//! The last entries of the log, in memory: what is being shipped and applied.

use std::collections::VecDeque;

use crate::{Entry, Position, Sequence};

/// A contiguous end of the log, bounded in bytes. Older entries are read from
/// the disk.
#[derive(Debug, Clone, Default)]
pub(crate) struct Tail {
    entries: VecDeque<Entry>,
    bytes: usize,
}

impl Tail {
    pub(crate) fn push(&mut self, entry: Entry) {
        debug_assert!(
            self.entries
                .back()
                .is_none_or(|last| last.position.sequence.next() == entry.position.sequence),
            "the tail is contiguous"
        );
        self.bytes += weight(&entry);
        self.entries.push_back(entry);
    }

    /// Drops the oldest entries over `bytes_max`, but only such as are readable
    /// from the log: those up to `written`.
    pub(crate) fn evict(&mut self, bytes_max: usize, written: Sequence) {
        while self.bytes > bytes_max {
            match self.entries.front() {
                Some(entry) if entry.position.sequence <= written => {
                    self.bytes -= weight(entry);
                    self.entries.pop_front();
                }
                _ => return,
            }
        }
    }

    pub(crate) fn truncate(&mut self, keep: Position) {
        while let Some(entry) = self.entries.back() {
            if entry.position.sequence <= keep.sequence {
                return;
            }
            self.bytes -= weight(entry);
            self.entries.pop_back();
        }
    }

    /// The first sequence held; `None` when empty.
    pub(crate) fn first(&self) -> Option<Sequence> {
        self.entries.front().map(|entry| entry.position.sequence)
    }

    /// Entries from `from` on, up to and including `to`, until `bytes_max` is
    /// reached; at least one if `from` is held.
    pub(crate) fn slice(&self, from: Sequence, to: Sequence, bytes_max: usize) -> Vec<Entry> {
        let Some(start) = self
            .first()
            .and_then(|first| from.0.checked_sub(first.0))
            .and_then(|index| usize::try_from(index).ok())
            .filter(|&index| index < self.entries.len())
        else {
            return Vec::new();
        };
        let mut bytes = 0;
        self.entries
            .range(start..)
            .take_while(|entry| {
                let fits = bytes == 0 || bytes + weight(entry) <= bytes_max;
                bytes += weight(entry);
                fits && entry.position.sequence <= to
            })
            .cloned()
            .collect()
    }

    /// The bytes of the held entries after `after`, up to and including `to`.
    pub(crate) fn bytes_within(&self, after: Sequence, to: Sequence) -> usize {
        let first = self.first().map_or(0, |first| first.0);
        let start = usize::try_from(after.next().0.saturating_sub(first)).unwrap_or(usize::MAX);
        self.entries
            .range(start.min(self.entries.len())..)
            .take_while(|entry| entry.position.sequence <= to)
            .map(weight)
            .sum()
    }

    /// The bytes of the held entries after `sequence`, and how many they are.
    pub(crate) fn bytes_after(&self, sequence: Sequence) -> (u64, u64) {
        self.entries
            .iter()
            .rev()
            .take_while(|entry| entry.position.sequence > sequence)
            .fold((0, 0), |(bytes, count), entry| {
                (bytes + weight(entry) as u64, count + 1)
            })
    }
}

/// What an entry costs in memory and on the wire, about.
pub(crate) fn weight(entry: &Entry) -> usize {
    entry.batch.len() + 64
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;

    fn tail(range: std::ops::RangeInclusive<u64>, size: usize) -> Tail {
        let mut tail = Tail::default();
        for sequence in range {
            tail.push(Entry {
                position: Position::new(1, sequence),
                batch: Bytes::from(vec![0; size]),
            });
        }
        tail
    }

    #[test]
    fn eviction_keeps_what_the_log_cannot_yet_give_back() {
        let mut tail = tail(1..=10, 1_000);
        tail.evict(2_000, Sequence(4));
        assert_eq!(tail.first(), Some(Sequence(5)));
        tail.evict(2_200, Sequence(10));
        assert_eq!(tail.first(), Some(Sequence(9)));
    }

    #[test]
    fn a_slice_is_bounded_but_never_empty_where_entries_are() {
        let tail = tail(5..=10, 1_000);
        assert_eq!(tail.slice(Sequence(6), Sequence(10), 10).len(), 1);
        assert_eq!(tail.slice(Sequence(6), Sequence(10), 2_200).len(), 2);
        assert_eq!(tail.slice(Sequence(6), Sequence(8), 1 << 20).len(), 3);
        assert_eq!(tail.slice(Sequence(4), Sequence(8), 1 << 20).len(), 0);
        assert_eq!(tail.slice(Sequence(11), Sequence(12), 1 << 20).len(), 0);
    }

    #[test]
    fn truncation_drops_what_follows() {
        let mut tail = tail(5..=10, 1);
        tail.truncate(Position::new(1, 7));
        let held = tail.slice(Sequence(5), Sequence(10), usize::MAX);
        assert_eq!(held.last().map(|e| e.position.sequence), Some(Sequence(7)));
    }
}
