//! What each sync mode waits for, and what it must not wait for.

use super::*;
use crate::{Copy, Sequence};

/// A master whose own first entry, 11, is on its way; one replica is linked.
fn master(local: Copy, remote: Copy) -> Quorum {
    let mut node = standing(with_sync(SyncMode { local, remote }, &ten()));
    step(&mut node, claimed(2, true), 20);
    step(&mut node, promise_stored(2), 30);
    let promise = promised(2, Position::new(1, 5));
    step(&mut node, received("a", promise), 40);
    let greeting = hello(Position::new(1, 10), false);
    step(&mut node, received("a", greeting), 50);
    node
}

fn answer(appended: u64, durable: u64) -> Event {
    let at = |sequence| match sequence {
        0 => Position::default(),
        11 => Position::new(2, 11),
        _ => Position::new(1, sequence),
    };
    let answer = Appended {
        epoch: crate::Epoch(2),
        appended: at(appended),
        durable: at(durable),
        applied: Sequence(0),
        stamp_ms: 50,
    };
    received("a", Message::Appended(answer))
}

/// How far it had to come, here and there, before 11 was committed.
fn commits_at(local: Copy, remote: Copy) -> (u8, u8) {
    let logged = [(10, 10), (11, 10), (11, 11)];
    for (there, told) in (0..).zip([(10, 10), (11, 10), (11, 11)]) {
        for (here, (appended, durable)) in (0..).zip(logged) {
            let mut node = master(local, remote);
            let place = |sequence| node.log.position(Sequence(sequence));
            let (appended, durable) = (place(appended), place(durable));
            step(&mut node, answer(told.0, told.1), 60);
            let mut effects = step(&mut node, Event::Logged { appended, durable }, 70);
            if node.positions().2 == Sequence(11) {
                // What is committed can be read.
                node.flush(&mut effects);
                let applies = effects.iter().any(|effect| {
                    matches!(effect, Effect::Apply(entries) if entries.iter().any(|one| one.position == node.log.last))
                });
                assert!(applies, "{local:?} {remote:?}: {effects:?}");
                return (here, there);
            }
        }
    }
    panic!("{local:?} {remote:?} never commits");
}

#[test]
fn a_commit_waits_for_what_the_mode_says_and_no_longer() {
    assert_eq!(commits_at(Copy::Disk, Copy::Disk), (2, 2));
    assert_eq!(commits_at(Copy::Memory, Copy::Memory), (1, 1));
    assert_eq!(commits_at(Copy::None, Copy::Disk), (1, 2));
    assert_eq!(commits_at(Copy::Memory, Copy::Disk), (1, 2));
    assert_eq!(commits_at(Copy::Disk, Copy::Memory), (2, 1));
    assert_eq!(commits_at(Copy::None, Copy::Memory), (1, 1));
    assert_eq!(commits_at(Copy::Disk, Copy::None), (2, 0));
    assert_eq!(commits_at(Copy::Memory, Copy::None), (1, 0));
}

/// In a memory mode the disk is up to a second behind: an election must not wait for it.
#[test]
fn who_has_written_but_not_synced_may_stand() {
    let mut node = quorum(&ten());
    step(&mut node, keeper(1, "a"), 10);
    let heartbeat = Message::Entries(Entries {
        epoch: crate::Epoch(1),
        previous: Position::new(1, 10),
        entries: vec![entry(1, 11)],
        committed: Sequence(10),
        stamp_ms: 1,
    });
    step(&mut node, received("a", heartbeat), 20);
    let (appended, durable) = (Position::new(1, 11), Position::new(1, 10));
    step(&mut node, Event::Logged { appended, durable }, 30);
    let unlinked = Event::Unlinked {
        node: NodeId::new("a"),
    };
    step(&mut node, unlinked, 40);
    let effects = step(&mut node, received("c", willing(Position::new(1, 10))), 50);
    assert!(claims(&effects), "{effects:?}");
    step(&mut node, claimed(2, true), 60);
    // The other had synced it before; ours is synced with our own promise.
    let promise = promised(2, Position::new(1, 11));
    step(&mut node, received("c", promise), 70);
    let epoch = crate::Epoch(2);
    assert_eq!(node.role(), &Role::Candidate { epoch });
    let durable = appended;
    step(&mut node, Event::Logged { appended, durable }, 80);
    step(&mut node, promise_stored(2), 90);
    assert_eq!(node.role(), &Role::Rising { epoch });
}

/// What a memory mode has not synced yet is no sign of a disk that hangs.
#[test]
fn a_disk_that_need_not_sync_owes_nothing() {
    for (mode, hangs) in [(Copy::Memory, false), (Copy::Disk, true)] {
        let mut node = master(mode, mode);
        let (appended, durable) = (Position::new(2, 11), Position::new(1, 10));
        step(&mut node, Event::Logged { appended, durable }, 60);
        step(&mut node, Event::Tick, 60);
        let late_ms = 61 + Limits::default().disk_stall_ms;
        step(&mut node, Event::Tick, late_ms);
        assert_eq!(node.disk_stalled().is_some(), hangs, "{mode:?}");
    }
}

/// Both replicas of a new master had committed what it lacks. They waited for its checkpoint
/// without a vote, and when it died nobody could lead any more.
#[test]
fn who_is_to_take_back_commits_votes_until_it_has() {
    let committed = Recovered {
        applied: Sequence(10),
        ..ten()
    };
    let local = SyncMode {
        local: Copy::Disk,
        remote: Copy::None,
    };
    let mut node = with_sync(local, &committed);
    step(&mut node, keeper(2, "a"), 10);
    step(&mut node, promise_stored(2), 20);
    let cut = Message::Truncate {
        epoch: crate::Epoch(2),
        keep: Position::new(1, 8),
    };
    let effects = step(&mut node, received("a", cut), 30);
    assert!(effects.contains(&Effect::Unfollow), "{effects:?}");
    let greeting = greeting(&effects).expect("it greets again");
    assert!(greeting.unfilled, "to be filled");
    assert_eq!(greeting.last, Position::new(1, 10), "with all it has");

    let effects = step(&mut node, received("c", promise(3)), 40);
    assert!(stores_promise(&effects, 3), "{effects:?}");
    let effects = step(&mut node, promise_stored(3), 50);
    let greeting = super::greeting(&effects).expect("it follows its choice");
    assert!(!greeting.unfilled, "who may have all it has");
}
