//! When a log may be cut.

use super::{entry, keeper, promise_stored, quorum, received, step, ten};
use crate::{Effect, Entries, Entry, Epoch, Event, Message, Position, Quorum, Role, Sequence};

const EPOCH: Epoch = Epoch(2);

/// Follows `a` in epoch 2, with ten entries of epoch 1.
fn replica() -> Quorum {
    let mut node = quorum(&ten());
    step(&mut node, keeper(2, "a"), 10);
    step(&mut node, promise_stored(2), 20);
    assert!(matches!(node.role(), Role::Replica { epoch: EPOCH, .. }));
    node
}

fn cut(keep: Position) -> Event {
    let epoch = EPOCH;
    received("a", Message::Truncate { epoch, keep })
}

fn entries(previous: Position, entries: Vec<Entry>, committed: u64) -> Event {
    received(
        "a",
        Message::Entries(Entries {
            epoch: EPOCH,
            previous,
            entries,
            committed: Sequence(committed),
            stamp_ms: 5,
        }),
    )
}

/// A master that took two greetings of a replica in one turn, the first of which had waited
/// while it was stopped, answered both on the stream of the second: the replica cut what it had
/// acknowledged meanwhile, or stopped for good because it knew that to be committed.
#[test]
fn a_cut_comes_before_all_entries_or_not_at_all() {
    for committed in [8, 9] {
        let mut node = replica();
        let keep = Position::new(1, 8);
        let effects = step(&mut node, cut(keep), 30);
        assert!(effects.contains(&Effect::Truncate { keep }), "{effects:?}");
        step(&mut node, Event::Truncated { keep }, 31);
        step(&mut node, entries(keep, Vec::new(), 8), 32);
        step(&mut node, entries(keep, vec![entry(2, 9)], committed), 33);
        let appended = Position::new(2, 9);
        let durable = appended;
        step(&mut node, Event::Logged { appended, durable }, 34);

        let effects = step(&mut node, cut(keep), 40);
        assert_eq!(node.positions().1, appended, "{effects:?}");
        assert!(effects.contains(&Effect::Unfollow), "{effects:?}");
        let stops = |effect: &Effect| matches!(effect, Effect::Diverged(_));
        assert!(!effects.iter().any(stops), "{effects:?}");
    }
}
