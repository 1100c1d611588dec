//! Who lost its place to another node, and still has a stream.

use super::*;

/// ZooKeeper's word on who has a place in a cluster of three.
fn voters(names: &[&str]) -> Event {
    let Event::Keeper(mut read) = keeper(2, "b") else {
        unreachable!("it makes nothing else");
    };
    read.voters = names.iter().map(|name| NodeId::new(name)).collect();
    let voters = &read.voters;
    read.members.retain(|member| voters.contains(&member.node));
    Event::Keeper(read)
}

/// Master of epoch 2 with its own entry on its disk and a stream to `c` alone.
pub(super) fn master() -> Quorum {
    let mut node = candidate();
    step(&mut node, claimed(2, true), 20);
    step(&mut node, promise_stored(2), 30);
    let promise = promised(2, Position::new(1, 5));
    step(&mut node, received("a", promise), 40);
    let greeting = hello(Position::new(1, 10), false);
    step(&mut node, received("c", greeting), 50);
    let logged = Event::Logged {
        appended: Position::new(2, 11),
        durable: Position::new(2, 11),
    };
    step(&mut node, logged, 60);
    node
}

pub(super) fn copy_of(from: &str, stamp_ms: u64) -> Event {
    let answer = Message::Appended(Appended {
        epoch: crate::Epoch(2),
        appended: Position::new(2, 11),
        durable: Position::new(2, 11),
        applied: crate::Sequence(0),
        stamp_ms,
    });
    received(from, answer)
}

fn commits(effects: &[Effect]) -> bool {
    let mut effects = effects.iter();
    effects.any(|effect| matches!(effect, Effect::Committed { .. }))
}

/// The replaced node's copy committed an entry that its successor, once filled, did not
/// have: that one and the third elected a master without it.
#[test]
fn a_replaced_node_is_no_copy_and_no_lease() {
    let mut node = master();
    assert!(commits(&step(&mut node, copy_of("c", 60), 70)));

    let mut node = master();
    let effects = step(&mut node, voters(&["a", "b", "d"]), 65);
    let dismissed = NodeId::new("c");
    assert!(
        effects.contains(&Effect::Unlink { node: dismissed }),
        "{effects:?}"
    );
    assert!(!commits(&step(&mut node, copy_of("c", 60), 70)));
    let greeting = hello(Position::new(2, 11), false);
    let effects = step(&mut node, received("c", greeting), 80);
    assert!(effects.iter().any(|effect| matches!(
        effect,
        Effect::Send {
            message: Message::Refused { .. },
            ..
        }
    )));
    for now_ms in (100..2_000).step_by(50) {
        step(&mut node, copy_of("c", now_ms), now_ms);
    }
    assert!(!node.lease_held(2_000));
}

#[test]
fn a_replaced_nodes_promise_and_its_question_count_for_nothing() {
    let mut node = candidate();
    step(&mut node, claimed(2, true), 20);
    step(&mut node, promise_stored(2), 30);
    step(&mut node, voters(&["a", "b", "d"]), 35);
    let due = promised(2, Position::new(1, 5));
    step(&mut node, received("c", due.clone()), 40);
    let epoch = crate::Epoch(2);
    assert_eq!(node.role(), &Role::Candidate { epoch });
    assert!(!stores_promise(
        &step(&mut node, received("c", promise(3)), 45),
        3
    ));
    step(&mut node, received("a", due), 50);
    assert_eq!(node.role(), &Role::Rising { epoch });
}

/// The promise came first, then the news.
#[test]
fn a_promise_of_a_node_that_is_replaced_meanwhile_does_not_count() {
    let mut node = candidate();
    step(&mut node, claimed(2, true), 20);
    let promise = promised(2, Position::new(1, 5));
    step(&mut node, received("c", promise), 25);
    step(&mut node, voters(&["a", "b", "d"]), 28);
    step(&mut node, promise_stored(2), 30);
    let epoch = crate::Epoch(2);
    assert_eq!(node.role(), &Role::Candidate { epoch });
}

/// ZooKeeper lost its data, and a master dropped its replicas because they registered after it.
#[test]
fn who_has_not_registered_again_is_not_replaced() {
    let mut node = master();
    step(&mut node, voters(&["b"]), 65);
    assert!(commits(&step(&mut node, copy_of("c", 60), 70)));
}
