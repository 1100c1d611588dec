//! A disk that hangs without an error, and those who would wait for it for ever.

use super::*;

/// Master of epoch 2, whose disk answers for nothing after its promise.
fn master_of_a_hung_disk() -> Quorum {
    let mut node = candidate();
    step(&mut node, claimed(2, true), 20);
    step(&mut node, promise_stored(2), 30);
    let promise = promised(2, Position::new(1, 5));
    step(&mut node, received("a", promise), 40);
    for replica in ["a", "c"] {
        let greeting = hello(Position::new(1, 10), false);
        step(&mut node, received(replica, greeting), 50);
    }
    node
}

fn echo(node: &mut Quorum, now_ms: u64) -> Vec<Effect> {
    let answer = |replica| {
        let answer = Appended {
            epoch: crate::Epoch(2),
            appended: Position::new(2, 11),
            durable: Position::new(2, 11),
            applied: crate::Sequence(0),
            stamp_ms: now_ms,
        };
        received(replica, Message::Appended(answer))
    };
    let mut effects = step(node, answer("a"), now_ms);
    effects.extend(step(node, answer("c"), now_ms));
    effects
}

fn asked(node: &mut Quorum, now_ms: u64) -> AskAnswer {
    let effects = step(node, received("c", Message::Ask), now_ms);
    let answer = effects.into_iter().find_map(|effect| match effect {
        Effect::Send {
            message: Message::AskAnswer(answer),
            ..
        } => Some(answer),
        _ => None,
    });
    answer.expect("an ask is answered")
}

/// It echoed heartbeats, kept its lease, and a healthy quorum stayed unused.
#[test]
fn a_master_whose_disk_hangs_gives_up_and_does_not_stand_before_it_answers() {
    let mut node = master_of_a_hung_disk();
    for now_ms in (50..2_000).step_by(50) {
        echo(&mut node, now_ms);
        assert!(matches!(node.role(), Role::Rising { .. }), "{now_ms}");
    }
    let effects = echo(&mut node, 2_100);
    assert_eq!(node.role(), &Role::Electing);
    let notes = |part: &str| {
        let mut notes = effects.iter();
        notes.any(|effect| matches!(effect, Effect::Note(note) if note.contains(part)))
    };
    assert!(notes("disk has not answered for"), "{effects:?}");
    assert!(asked(&mut node, 2_200).unwilling.is_some());
    let two_willing = |node: &mut Quorum, now_ms| {
        step(node, received("c", willing(Position::new(1, 5))), now_ms);
        step(node, received("a", willing(Position::new(1, 5))), now_ms)
    };
    assert!(!claims(&two_willing(&mut node, 2_300)));
    let logged = Event::Logged {
        appended: Position::new(2, 11),
        durable: Position::new(2, 11),
    };
    assert!(claims(&step(&mut node, logged, 2_400)));
}

/// A disk that is slow and answers is what a quorum of slow disks has.
#[test]
fn a_master_whose_disk_is_slow_stays() {
    let mut node = master_of_a_hung_disk();
    let mut batches = 11;
    for now_ms in (50..20_000).step_by(50) {
        node.propose(Bytes::new(), &mut Vec::new()).unwrap();
        if now_ms % 1_500 == 0 {
            batches += 1;
            let durable = Position::new(2, batches);
            let event = Event::Logged {
                appended: durable,
                durable,
            };
            step(&mut node, event, now_ms);
        }
        echo(&mut node, now_ms);
        assert_ne!(node.role(), &Role::Electing, "{now_ms}");
    }
}

/// It said that it would promise, and that it was level: the others waited for it to stand.
#[test]
fn a_node_whose_promise_is_not_stored_in_time_is_unwilling() {
    let mut node = quorum(&ten());
    step(&mut node, keeper(1, "gone"), 0);
    step(&mut node, received("a", promise(2)), 10);
    assert!(asked(&mut node, 1_000).unwilling.is_none());
    assert!(asked(&mut node, 2_100).unwilling.is_some());
    // Being asked again is no answer of the disk.
    step(&mut node, received("c", promise(3)), 2_200);
    assert!(asked(&mut node, 2_300).unwilling.is_some());
    step(&mut node, promise_stored(3), 2_400);
    step(&mut node, Event::Tick, 4_000);
    assert!(asked(&mut node, 4_100).unwilling.is_none());
}

/// A node that should stand first, and for whatever reason does not, was waited for for ever.
#[test]
fn the_next_best_stands_when_the_best_had_its_time() {
    let mut node = quorum(&ten());
    step(&mut node, keeper(1, "gone"), 0);
    let answers = |node: &mut Quorum, now_ms| {
        let mut effects = step(node, received("c", willing(Position::new(1, 12))), now_ms);
        effects.extend(step(
            node,
            received("a", willing(Position::new(1, 5))),
            now_ms,
        ));
        effects
    };
    for now_ms in (10..1_000).step_by(50) {
        assert!(!claims(&answers(&mut node, now_ms)), "{now_ms}");
    }
    assert!(claims(&answers(&mut node, 1_010)));
    step(&mut node, claimed(2, true), 1_020);
    step(&mut node, promise_stored(2), 1_030);
    // It is further on: its promise does not count, and ends nothing.
    let ahead = promised(2, Position::new(1, 12));
    step(&mut node, received("c", ahead.clone()), 1_040);
    let epoch = crate::Epoch(2);
    assert_eq!(node.role(), &Role::Candidate { epoch });
    step(&mut node, received("c", ahead), 1_050);
    assert_eq!(node.role(), &Role::Candidate { epoch });
    let due = promised(2, Position::new(1, 10));
    step(&mut node, received("a", due), 1_060);
    assert_eq!(node.role(), &Role::Rising { epoch });
}

/// Two of three further on than the third: what they have may be committed.
#[test]
fn a_candidate_whom_a_quorum_is_ahead_of_gives_up_at_once() {
    let mut node = candidate();
    step(&mut node, claimed(2, true), 20);
    step(&mut node, promise_stored(2), 30);
    for other in ["a", "c"] {
        assert_ne!(node.role(), &Role::Electing);
        let ahead = promised(2, Position::new(1, 11));
        step(&mut node, received(other, ahead), 40);
    }
    assert_eq!(node.role(), &Role::Electing);
}
