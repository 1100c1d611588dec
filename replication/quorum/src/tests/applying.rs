//! A store that applies more slowly than entries are committed.

use super::*;
use crate::Sequence;

fn limits() -> Limits {
    Limits {
        tail_bytes_max: 20_000,
        applying_bytes_max: 10_000,
        unapplied_bytes_max: 50_000,
        unapplied_entries_max: 1_000,
        ..Limits::default()
    }
}

/// Stands alone, leads, and has applied its first entry.
fn alone(limits: Limits) -> Quorum {
    let config = Config {
        node: NodeId::new("b"),
        replicas: 1,
        weight: 1,
        sync: SyncMode::QUORUM_DISK,
        limits,
    };
    let mut node = Quorum::new(config, &Recovered::default(), 0);
    let alone = Keeper {
        members: vec![Member {
            node: NodeId::new("b"),
            rank: 1,
            weight: 1,
            durable: Position::default(),
        }],
        voters: [NodeId::new("b")].into(),
        epoch: EpochRecord::default(),
    };
    let mut effects = step(&mut node, Event::Keeper(alone), 10);
    effects.extend(step(&mut node, Event::Tick, 200));
    assert!(claims(&effects), "{effects:?}");
    step(&mut node, claimed(1, true), 210);
    step(&mut node, promise_stored(1), 220);
    logged(&mut node, 1);
    applied(&mut node, 1);
    let epoch = crate::Epoch(1);
    assert_eq!(node.role(), &Role::Master { epoch });
    node
}

fn logged(node: &mut Quorum, to: u64) -> Vec<Effect> {
    let (appended, durable) = (Position::new(1, to), Position::new(1, to));
    step(node, Event::Logged { appended, durable }, 300)
}

fn applied(node: &mut Quorum, to: u64) -> Vec<Effect> {
    let sequence = Sequence(to);
    step(node, Event::Applied { sequence }, 300)
}

/// One more entry of so many bytes, durable and committed.
fn commit(node: &mut Quorum, bytes: usize) -> (u64, Vec<Effect>) {
    let mut effects = Vec::new();
    let batch = Bytes::from(vec![b'x'; bytes]);
    let sequence = node.propose(batch, &mut effects).expect("it is master").0;
    effects.extend(logged(node, sequence));
    assert_eq!(node.positions().2, Sequence(sequence));
    (sequence, effects)
}

/// The bytes that went to the store in memory, and the last entry that it is to apply.
fn handed(effects: &[Effect]) -> (usize, Option<u64>) {
    let mut bytes = 0;
    let mut last = None;
    for effect in effects {
        match effect {
            Effect::Apply(entries) => {
                bytes += entries.iter().map(|one| one.batch.len()).sum::<usize>();
                last = entries.last().map(|one| one.position.sequence.0);
            }
            Effect::Replay { to } => last = Some(to.0),
            _ => {}
        }
    }
    (bytes, last)
}

/// Its queue took whatever was committed, until memory ran out.
#[test]
fn a_store_that_stands_still_is_handed_no_more_than_the_limit() {
    let mut node = alone(limits());
    let mut bytes = 0;
    for _ in 0..500 {
        bytes += handed(&commit(&mut node, 1_000).1).0;
        bytes += handed(&step(&mut node, Event::Tick, 300)).0;
    }
    assert!((5_000..=10_000).contains(&bytes), "{bytes}");

    // What left the memory meanwhile comes from the disk, in order and once.
    let mut reached = 1 + bytes as u64 / 1_000;
    let mut rounds = 0;
    while reached < 501 {
        let mut effects = applied(&mut node, reached);
        effects.extend(step(&mut node, Event::Tick, 300));
        let (bytes, last) = handed(&effects);
        assert!(bytes <= 10_000, "{bytes}");
        reached = last.expect("it goes on");
        rounds += 1;
        assert!(rounds < 100, "{reached}");
    }
    assert_eq!(reached, 501);
}

#[test]
fn a_read_of_the_store_sees_all_that_is_committed_however_far_behind_it_is() {
    let mut node = alone(limits());
    for _ in 0..100 {
        commit(&mut node, 1_000);
        step(&mut node, Event::Tick, 300);
    }
    let mut effects = Vec::new();
    node.flush(&mut effects);
    assert_eq!(handed(&effects), (0, Some(101)));
    effects.clear();
    node.flush(&mut effects);
    assert_eq!(effects, []);
}

#[test]
fn producers_wait_for_a_store_that_is_far_behind() {
    let mut node = alone(limits());
    let mut last = 1;
    while node.accepts() {
        last = commit(&mut node, 1_000).0;
        assert!(last < 100, "nothing holds producers back");
    }
    assert!(last > 40, "{last}");
    applied(&mut node, last / 2);
    assert!(node.accepts());

    // Small ones weigh little, but each has a place in a queue.
    let mut node = alone(limits());
    let mut count = 0;
    node.config.limits.unapplied_bytes_max = usize::MAX;
    while node.accepts() {
        commit(&mut node, 0);
        count += 1;
    }
    assert_eq!(count, limits().unapplied_entries_max);
}

/// Large ones were pushed out of memory before they were handed over.
#[test]
fn large_entries_are_handed_over_before_they_must_be_read_again() {
    let mut node = alone(Limits::default());
    for _ in 0..32 {
        let (sequence, effects) = commit(&mut node, 1 << 20);
        assert_eq!(handed(&effects), (1 << 20, Some(sequence)));
        applied(&mut node, sequence);
    }
}
