//! How long to wait before a checkpoint is asked for again, and which failures are told.
//!
//! A number and a text, without a clock or a task: the loop waits and tells.

use std::time::Duration;

use replicamq_quorum::{Epoch, NodeId};

/// The pause after the first failure; doubled with each further one, …
const PAUSE_MIN: Duration = Duration::from_millis(250);
/// … up to this: then a master that can give a checkpoint again is noticed soon enough.
const PAUSE_MAX: Duration = Duration::from_secs(10);

/// A reason that stays the same is told at the first, second, fourth … failure, and
/// at the latest after so many more: about every ten minutes.
const TELL_EVERY: u32 = 64;

/// The attempts to fetch one master's checkpoint. A checkpoint that was fetched ends the
/// life of the loop, and this with it.
#[derive(Debug, Default)]
pub(super) struct Attempts {
    of: Option<(NodeId, Epoch)>,
    failed: u32,
    /// The reason that was told last, as [`kind`] has it.
    told: String,
}

impl Attempts {
    /// How long to wait before this master is asked.
    pub(super) fn pause(&mut self, master: &NodeId, epoch: Epoch) -> Duration {
        let of = Some((master.clone(), epoch));
        if self.of != of {
            *self = Self {
                of,
                ..Self::default()
            };
        }
        match self.failed.checked_sub(1) {
            None => Duration::ZERO,
            Some(doublings) => 2_u32
                .checked_pow(doublings)
                .and_then(|factor| PAUSE_MIN.checked_mul(factor))
                .map_or(PAUSE_MAX, |pause| pause.min(PAUSE_MAX)),
        }
    }

    /// Counts a failure; how many there were, if it should be told.
    pub(super) fn failed(&mut self, reason: &str) -> Option<u32> {
        self.failed = self.failed.saturating_add(1);
        let due = self.failed.is_power_of_two() || self.failed.is_multiple_of(TELL_EVERY);
        let kind = kind(reason);
        if !due && self.told == kind {
            return None;
        }
        self.told = kind;
        Some(self.failed)
    }

    /// Counts an attempt that was given up because the stream to the master broke: a
    /// master whose streams break again and again is not asked each time at once.
    pub(super) fn abandoned(&mut self) {
        self.failed = self.failed.saturating_add(1);
    }
}

/// The reason without its numbers: how many bytes had come, or the name of a directory,
/// differ each time and make no new reason.
fn kind(reason: &str) -> String {
    reason
        .chars()
        .filter(|letter| !letter.is_ascii_digit())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pause_ms(attempts: &mut Attempts, master: &str, epoch: u64) -> u128 {
        attempts
            .pause(&NodeId::new(master), Epoch(epoch))
            .as_millis()
    }

    #[test]
    fn the_first_attempt_is_made_at_once_and_the_others_more_and_more_slowly() {
        let mut attempts = Attempts::default();
        for pause in [0, 250, 500, 1_000, 2_000, 4_000, 8_000, 10_000, 10_000] {
            assert_eq!(pause_ms(&mut attempts, "a", 1), pause);
            attempts.failed("busy");
        }
        attempts.failed = u32::MAX;
        attempts.abandoned();
        assert_eq!(pause_ms(&mut attempts, "a", 1), 10_000);
    }

    #[test]
    fn another_master_or_another_epoch_of_the_same_is_asked_at_once() {
        let mut attempts = Attempts::default();
        for (master, epoch) in [("a", 1), ("b", 2), ("b", 3)] {
            assert_eq!(pause_ms(&mut attempts, master, epoch), 0);
            assert_eq!(attempts.failed("busy"), Some(1), "a new state is told");
            assert_eq!(pause_ms(&mut attempts, master, epoch), 250);
        }
    }

    #[test]
    fn an_attempt_that_broke_off_counts() {
        let mut attempts = Attempts::default();
        pause_ms(&mut attempts, "a", 1);
        attempts.abandoned();
        assert_eq!(pause_ms(&mut attempts, "a", 1), 250);
    }

    #[test]
    fn a_failure_is_told_when_it_is_new_and_now_and_then() {
        let mut attempts = Attempts::default();
        let told: Vec<u32> = (0..200).filter_map(|_| attempts.failed("busy")).collect();
        assert_eq!(told, [1, 2, 4, 8, 16, 32, 64, 128, 192]);
        assert_eq!(attempts.failed("ended after 7 bytes"), Some(201));
        assert_eq!(attempts.failed("ended after 12 bytes"), None);
    }
}
