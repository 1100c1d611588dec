//! Whether the disk still answers.
//!
//! A disk may hang without an error. Its node looks healthy to all others: it
//! sends heartbeats, and answers whatever needs no sync. This tells such a node
//! from one whose disk is merely slow; it never says that anything is durable.

/// How long the disk has owed an answer.
#[derive(Debug, Clone, Default)]
pub(crate) struct Stall {
    /// Since when it has owed something and reported nothing.
    since_ms: Option<u64>,
    /// An operator knows.
    pub(crate) told: bool,
}

impl Stall {
    /// After each step: whether the disk `owes` anything, and whether it just `answered`.
    pub(crate) fn look(&mut self, owes: bool, answered: bool, now_ms: u64) {
        if !owes {
            self.since_ms = None;
        } else if answered || self.since_ms.is_none() {
            self.since_ms = Some(now_ms);
        }
    }

    pub(crate) fn ms(&self, now_ms: u64) -> u64 {
        self.since_ms
            .map_or(0, |since_ms| now_ms.saturating_sub(since_ms))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slow_disk_that_answers_is_not_stalled() {
        let mut stall = Stall::default();
        stall.look(true, false, 10);
        stall.look(true, false, 900);
        assert_eq!(stall.ms(900), 890);
        stall.look(true, true, 900);
        assert_eq!(stall.ms(1_000), 100);
        stall.look(false, true, 1_000);
        assert_eq!(stall.ms(9_000), 0);
        stall.look(true, true, 9_000);
        assert_eq!(stall.ms(9_500), 500);
    }
}
