//! When a log may be cut.

use super::{
    claimed, entry, keeper, promise_stored, promised, quorum, received, step, takes_snapshot, ten,
    willing,
};
use crate::{
    EPOCHS_MAX, Effect, Entries, Entry, Epoch, EpochHistory, EpochStart, Event, Hello, Message,
    Position, Quorum, Recovered, Role, Sequence,
};

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

/// A master that had forgotten the only epoch that both had would have had the replica cut all
/// that it held.
#[test]
fn a_replica_of_a_forgotten_epoch_takes_a_checkpoint() {
    let epochs = EPOCHS_MAX as u64 + 1;
    let start = |epoch| EpochStart {
        epoch: Epoch(epoch),
        first: Sequence(epoch),
    };
    let mut node = quorum(&Recovered {
        promised: Epoch(epochs),
        last: Position::new(epochs, epochs),
        history: EpochHistory::new((1..=epochs).map(start).collect()).unwrap(),
        log_first: Sequence(1),
        ..Recovered::default()
    });
    step(&mut node, keeper(epochs, "gone"), 0);
    for other in ["a", "c"] {
        let answer = received(other, willing(Position::new(1, 5)));
        step(&mut node, answer, 10);
    }
    let epoch = epochs + 1;
    step(&mut node, claimed(epoch, true), 20);
    step(&mut node, promise_stored(epoch), 30);
    let promise = received("a", promised(epoch, Position::new(1, 5)));
    step(&mut node, promise, 40);
    assert!(matches!(node.role(), Role::Rising { .. }));
    let hello = Message::Hello(Hello {
        epoch: Epoch(epoch),
        last: Position::new(1, 1),
        history: EpochHistory::new(vec![start(1)]).unwrap(),
        unfilled: false,
    });
    let effects = step(&mut node, received("a", hello), 50);
    assert!(takes_snapshot(&effects), "{effects:?}");
}
