//! Places in the log, and which epoch wrote what.

use std::fmt;

/// The number of one mastership; 0 before the first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Epoch(pub u64);

/// The number of an entry in the log; the first is 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Sequence(pub u64);

impl Epoch {
    /// The one after this, if there is one.
    #[must_use]
    pub fn next(self) -> Option<Self> {
        self.0.checked_add(1).map(Self)
    }
}

impl Sequence {
    /// The one after this.
    #[must_use]
    pub fn next(self) -> Self {
        Self(self.0 + 1)
    }
}

/// An entry's place: compared by epoch first, so that a longer log of an older
/// epoch never outranks a newer one. The default lies before the first entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Position {
    /// Who wrote it.
    pub epoch: Epoch,
    /// Where it stands.
    pub sequence: Sequence,
}

impl Position {
    /// Shorthand for tests and codecs.
    #[must_use]
    pub fn new(epoch: u64, sequence: u64) -> Self {
        Self {
            epoch: Epoch(epoch),
            sequence: Sequence(sequence),
        }
    }
}

impl fmt::Display for Epoch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Display for Sequence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.epoch, self.sequence)
    }
}

/// The first entry of an epoch in a log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EpochStart {
    /// The epoch.
    pub epoch: Epoch,
    /// The sequence of its first entry.
    pub first: Sequence,
}

/// Epochs in one history. With more, the oldest is forgotten: whose log has only such
/// ones in common takes a checkpoint.
pub const EPOCHS_MAX: usize = 16_384;

/// Which epoch wrote which part of a log: the first sequence of each epoch,
/// both rising. It knows the last [`EPOCHS_MAX`].
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct EpochHistory(Vec<EpochStart>);

impl EpochHistory {
    /// From starts that rise in both fields.
    ///
    /// `None` if they do not: the list came from a disk or a network.
    #[must_use]
    pub fn new(mut starts: Vec<EpochStart>) -> Option<Self> {
        let rises = starts
            .windows(2)
            .all(|pair| pair[0].epoch < pair[1].epoch && pair[0].first < pair[1].first);
        starts.drain(..starts.len().saturating_sub(EPOCHS_MAX));
        rises.then_some(Self(starts))
    }

    /// Whether an epoch may have been forgotten.
    pub(crate) fn is_full(&self) -> bool {
        self.0.len() == EPOCHS_MAX
    }

    /// The starts, rising.
    pub fn starts(&self) -> &[EpochStart] {
        &self.0
    }

    /// Notes an entry that was appended.
    pub fn append(&mut self, position: Position) {
        match self.0.last() {
            Some(last) if last.epoch == position.epoch => {}
            last => {
                assert!(
                    last.is_none_or(|l| l.epoch < position.epoch && l.first < position.sequence),
                    "epochs and sequences rise"
                );
                if self.is_full() {
                    self.0.remove(0);
                }
                self.0.push(EpochStart {
                    epoch: position.epoch,
                    first: position.sequence,
                });
            }
        }
    }

    /// Forgets everything after `keep`.
    pub fn truncate(&mut self, keep: Sequence) {
        self.0.retain(|start| start.first <= keep);
    }

    /// Which epoch wrote the entry at `sequence`, if the log had one there.
    #[must_use]
    pub fn epoch_at(&self, sequence: Sequence) -> Option<Epoch> {
        let after = self.0.partition_point(|start| start.first <= sequence);
        after.checked_sub(1).map(|index| self.0[index].epoch)
    }

    /// The last position at which two logs agree: `self` ends at `last`, the
    /// other log is `other` and ends at `other_last`.
    ///
    /// Two entries with the same position are the same entry (one master an
    /// epoch), and logs that agree at a position agree on all before it.
    #[must_use]
    pub fn last_common(&self, last: Position, other: &Self, other_last: Position) -> Position {
        let end = |history: &Self, last: Position, epoch: Epoch| -> Option<Sequence> {
            let index = history.0.iter().position(|start| start.epoch == epoch)?;
            Some(match history.0.get(index + 1) {
                Some(next) => Sequence(next.first.0 - 1),
                None => last.sequence,
            })
        };
        for start in self.0.iter().rev() {
            let Some(mine) = end(self, last, start.epoch) else {
                continue;
            };
            if let Some(theirs) = end(other, other_last, start.epoch) {
                let sequence = mine.min(theirs);
                return Position {
                    epoch: start.epoch,
                    sequence,
                };
            }
        }
        Position::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn history(starts: &[(u64, u64)]) -> EpochHistory {
        EpochHistory::new(
            starts
                .iter()
                .map(|&(epoch, first)| EpochStart {
                    epoch: Epoch(epoch),
                    first: Sequence(first),
                })
                .collect(),
        )
        .unwrap()
    }

    #[test]
    fn a_longer_log_of_an_older_epoch_ranks_lower() {
        assert!(Position::new(2, 3) > Position::new(1, 900));
    }

    #[test]
    fn the_last_common_position_is_where_the_newest_shared_epoch_ends_first() {
        let master = history(&[(1, 1), (3, 8)]);
        let divergent = history(&[(1, 1), (2, 6)]);
        let at = master.last_common(Position::new(3, 9), &divergent, Position::new(2, 20));
        assert_eq!(at, Position::new(1, 5));
        let behind = master.last_common(
            Position::new(3, 9),
            &history(&[(1, 1)]),
            Position::new(1, 4),
        );
        assert_eq!(behind, Position::new(1, 4));
        let empty = master.last_common(Position::new(3, 9), &history(&[]), Position::default());
        assert_eq!(empty, Position::default());
    }

    #[test]
    fn an_entry_knows_its_epoch_until_it_is_cut() {
        let mut log = history(&[(1, 1), (4, 10)]);
        assert_eq!(log.epoch_at(Sequence(9)), Some(Epoch(1)));
        assert_eq!(log.epoch_at(Sequence(10)), Some(Epoch(4)));
        log.truncate(Sequence(9));
        assert_eq!(log.starts().len(), 1);
        log.append(Position::new(5, 10));
        assert_eq!(log.epoch_at(Sequence(11)), Some(Epoch(5)));
    }

    #[test]
    fn a_full_history_forgets_its_oldest_epoch() {
        let epochs = EPOCHS_MAX as u64;
        let starts: Vec<_> = (1..=epochs + 3).map(|epoch| (epoch, epoch * 10)).collect();
        let mut appended = history(&starts[..1]);
        for &(epoch, first) in &starts[1..] {
            appended.append(Position::new(epoch, first));
        }
        assert_eq!(appended, history(&starts), "however it came about");
        assert_eq!(appended.starts().len(), EPOCHS_MAX);
        assert_eq!(appended.epoch_at(Sequence(39)), None);
        assert_eq!(appended.epoch_at(Sequence(40)), Some(Epoch(4)));
    }

    #[test]
    fn a_history_that_does_not_rise_is_refused() {
        let start = |epoch, first| EpochStart {
            epoch: Epoch(epoch),
            first: Sequence(first),
        };
        assert_eq!(EpochHistory::new(vec![start(2, 1), start(1, 5)]), None);
        assert_eq!(EpochHistory::new(vec![start(1, 5), start(2, 5)]), None);
    }
}
