//! Log that outlives its retention because a replica is on its way to it: one
//! that takes a checkpoint would otherwise find, under load, that the log has
//! moved past that checkpoint, and take another, and never arrive.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use replicamq_quorum::{NodeId, Sequence};

use replicamq_log::pace;

/// How long the log waits for a replica after a checkpoint or a read: enough to
/// put the checkpoint in place and to come back.
const PATIENCE: Duration = Duration::from_mins(1);

/// Replicas that are waited for; the others find what the retention leaves.
const HOLDS_MAX: usize = 16;

/// From where on each replica needs the log.
#[derive(Debug, Default)]
pub(crate) struct Holds(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    places: BTreeMap<NodeId, Place>,
    /// Of the last [`LogHold`] that was given.
    number: u64,
}

#[derive(Debug, Clone, Copy)]
struct Place {
    after: Sequence,
    keeps: Keeps,
}

#[derive(Debug, Clone, Copy)]
enum Keeps {
    /// While this hold lives: a checkpoint is being sent.
    Hold(u64),
    Until(Instant),
}

/// Keeps the log for one replica while it lives, and for a minute longer.
/// No more of it than four times the retention.
#[derive(Debug)]
pub struct LogHold {
    holds: Arc<Holds>,
    replica: NodeId,
    after: Sequence,
    number: u64,
}

impl Holds {
    fn state(&self) -> MutexGuard<'_, State> {
        self.0
            .lock()
            .expect("nobody panics while holding the holds")
    }

    /// Holds what follows `after` for as long as the result lives, or until
    /// the same replica takes another checkpoint.
    pub(crate) fn hold(self: &Arc<Self>, replica: &NodeId, after: Sequence) -> LogHold {
        let mut state = self.state();
        state.number += 1;
        let number = state.number;
        let keeps = Keeps::Hold(number);
        state.set(replica, Place { after, keeps });
        LogHold {
            holds: Arc::clone(self),
            replica: replica.clone(),
            after,
            number,
        }
    }

    /// A replica reads from here: it will come back for what follows. A read
    /// from before it began to take a checkpoint says nothing any more.
    pub(crate) fn reads(&self, replica: &NodeId, after: Sequence, now: Instant) {
        let mut state = self.state();
        let held = state.places.get(replica).map(|place| place.keeps);
        if let Some(Keeps::Hold(_)) = held {
            return;
        }
        let keeps = Keeps::Until(now + PATIENCE);
        state.set(replica, Place { after, keeps });
    }

    /// Where the first of them is.
    pub(crate) fn first(&self, now: Instant) -> Option<Sequence> {
        let places = &mut self.state().places;
        places.retain(|_, place| match place.keeps {
            Keeps::Hold(_) => true,
            Keeps::Until(until) => now < until,
        });
        places.values().map(|place| place.after).min()
    }
}

impl State {
    fn set(&mut self, replica: &NodeId, place: Place) {
        if self.places.len() < HOLDS_MAX || self.places.contains_key(replica) {
            self.places.insert(replica.clone(), place);
        }
    }
}

impl Drop for LogHold {
    fn drop(&mut self) {
        let mut state = self.holds.state();
        let place = state.places.get(&self.replica);
        // The replica may have begun anew meanwhile, and be sent another one.
        let ours = place.is_some_and(
            |place| matches!(place.keeps, Keeps::Hold(number) if number == self.number),
        );
        if ours {
            let (after, keeps) = (self.after, Keeps::Until(pace::now() + PATIENCE));
            state.set(&self.replica, Place { after, keeps });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_replica_is_waited_for_and_then_no_more() {
        let holds = Arc::new(Holds::default());
        let (one, two) = (NodeId::new("broker-1"), NodeId::new("broker-2"));
        let now = pace::now();
        assert_eq!(holds.first(now), None);

        let hold = holds.hold(&one, Sequence(100));
        holds.reads(&two, Sequence(50), now);
        assert_eq!(holds.first(now), Some(Sequence(50)));
        let later = now + PATIENCE;
        assert_eq!(holds.first(later), Some(Sequence(100)), "still being sent");

        drop(hold);
        assert_eq!(holds.first(later), Some(Sequence(100)), "on its way back");
        holds.reads(&one, Sequence(200), later);
        assert_eq!(holds.first(later), Some(Sequence(200)), "reading on");
        assert_eq!(holds.first(later + PATIENCE), None);
    }

    /// A replica lost its power in mid-transfer and came back for another
    /// checkpoint; the end of the first transfer let go what the second needs.
    #[test]
    fn the_end_of_an_earlier_transfer_does_not_release_a_later_one() {
        let holds = Arc::new(Holds::default());
        let one = NodeId::new("broker-1");
        let now = pace::now();
        let first = holds.hold(&one, Sequence(100));
        let second = holds.hold(&one, Sequence(200));
        drop(first);
        let later = pace::now() + 2 * PATIENCE;
        assert_eq!(holds.first(later), Some(Sequence(200)));
        holds.reads(&one, Sequence(150), now);
        assert_eq!(holds.first(later), Some(Sequence(200)), "a late read");
        drop(second);
        assert_eq!(holds.first(pace::now()), Some(Sequence(200)));
        assert_eq!(holds.first(pace::now() + 2 * PATIENCE), None);
    }

    #[test]
    fn no_more_replicas_are_waited_for_than_the_limit() {
        let holds = Holds::default();
        let now = pace::now();
        for number in (1..=HOLDS_MAX as u64 + 1).rev() {
            holds.reads(
                &NodeId::new(&format!("broker-{number}")),
                Sequence(number),
                now,
            );
        }
        assert_eq!(holds.first(now), Some(Sequence(2)));
    }
}
