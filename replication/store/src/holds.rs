//! Log that outlives its retention because a replica is on its way to it: one
//! that takes a checkpoint would otherwise find, under load, that the log has
//! moved past that checkpoint, and take another, and never arrive.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use replicamq_quorum::{NodeId, Sequence};

use crate::pace;

/// How long the log waits for a replica after a checkpoint or a read: enough to
/// put the checkpoint in place and to come back.
const PATIENCE: Duration = Duration::from_mins(1);

/// Replicas that are waited for; the others find what the retention leaves.
const HOLDS_MAX: usize = 16;

/// From where on each replica needs the log.
#[derive(Debug, Default)]
pub(crate) struct Holds(Mutex<BTreeMap<NodeId, Place>>);

#[derive(Debug, Clone, Copy)]
struct Place {
    after: Sequence,
    /// `None` while a checkpoint is being sent.
    until: Option<Instant>,
}

/// Keeps the log for one replica while it lives, and for a minute longer.
/// No more of it than four times the retention.
#[derive(Debug)]
pub struct LogHold {
    holds: Arc<Holds>,
    replica: NodeId,
    after: Sequence,
}

impl Holds {
    fn places(&self) -> MutexGuard<'_, BTreeMap<NodeId, Place>> {
        self.0
            .lock()
            .expect("nobody panics while holding the holds")
    }

    fn set(&self, replica: &NodeId, place: Place) {
        let mut places = self.places();
        if places.len() < HOLDS_MAX || places.contains_key(replica) {
            places.insert(replica.clone(), place);
        }
    }

    /// Holds what follows `after` for as long as the result lives.
    pub(crate) fn hold(self: &Arc<Self>, replica: &NodeId, after: Sequence) -> LogHold {
        self.set(replica, Place { after, until: None });
        LogHold {
            holds: Arc::clone(self),
            replica: replica.clone(),
            after,
        }
    }

    /// A replica reads from here: it will come back for what follows.
    pub(crate) fn reads(&self, replica: &NodeId, after: Sequence, now: Instant) {
        let until = Some(now + PATIENCE);
        self.set(replica, Place { after, until });
    }

    /// Where the first of them is.
    pub(crate) fn first(&self, now: Instant) -> Option<Sequence> {
        let mut places = self.places();
        places.retain(|_, place| place.until.is_none_or(|until| now < until));
        places.values().map(|place| place.after).min()
    }
}

impl Drop for LogHold {
    fn drop(&mut self) {
        self.holds.reads(&self.replica, self.after, pace::now());
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
