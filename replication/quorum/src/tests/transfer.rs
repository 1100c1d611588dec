//! A mastership that changes hands because somebody wants it to.

use super::voters::{copy_of, master};
use super::*;
use crate::TransferError;

/// Master of epoch 2, whose own entry it and `c` have, and which serves.
fn serving() -> Quorum {
    let mut node = master();
    step(&mut node, copy_of("c", 60), 70);
    let sequence = crate::Sequence(11);
    step(&mut node, Event::Applied { sequence }, 80);
    assert!(matches!(node.role(), Role::Master { .. }));
    node
}

fn transfer(node: &mut Quorum, to: Option<&str>) -> Result<Vec<Effect>, TransferError> {
    let mut effects = Vec::new();
    node.transfer(to.map(NodeId::new).as_ref(), &mut effects)
        .map(|_| effects)
}

fn tells_to_lead(effects: &[Effect], node: &str) -> bool {
    effects.contains(&Effect::Send {
        to: NodeId::new(node),
        message: Message::Lead {
            epoch: crate::Epoch(2),
        },
    })
}

/// Whether the answer to an ask from this node is yes.
fn is_willing(node: &mut Quorum, from: &str, now_ms: u64) -> bool {
    let effects = step(node, received(from, Message::Ask), now_ms);
    let mut answers = effects.iter().filter_map(|effect| match effect {
        Effect::Send {
            message: Message::AskAnswer(answer),
            ..
        } => Some(answer.unwilling.is_none() && answer.master.is_none()),
        _ => None,
    });
    answers.next().unwrap()
}

#[test]
fn a_level_successor_is_told_at_once_and_is_the_only_one_who_may_stand() {
    let mut node = serving();
    assert!(!is_willing(&mut node, "c", 90));
    let effects = transfer(&mut node, Some("c")).unwrap();
    assert!(tells_to_lead(&effects, "c"));
    assert!(!node.accepts());
    assert!(is_willing(&mut node, "c", 100));
    assert!(!is_willing(&mut node, "a", 100));
    assert_eq!(
        transfer(&mut node, None),
        Err(TransferError::UnderWay(NodeId::new("c")))
    );
    // Its claim is what ends our epoch.
    assert!(stores_promise(
        &step(&mut node, received("c", promise(3)), 110),
        3
    ));
    assert_eq!(*node.role(), Role::Electing);
}

#[test]
fn a_successor_is_told_only_once_it_has_everything() {
    let mut node = serving();
    let mut effects = Vec::new();
    node.propose(Bytes::from_static(b"more"), &mut effects);
    assert!(!tells_to_lead(&transfer(&mut node, None).unwrap(), "c"));
    assert!(!is_willing(&mut node, "c", 90));
    let at = Position::new(2, 12);
    let logged = Event::Logged {
        appended: at,
        durable: at,
    };
    assert!(!tells_to_lead(&step(&mut node, logged, 100), "c"));
    let all = Message::Appended(Appended {
        epoch: crate::Epoch(2),
        appended: at,
        durable: at,
        applied: crate::Sequence(0),
        stamp_ms: 100,
    });
    assert!(tells_to_lead(
        &step(&mut node, received("c", all), 110),
        "c"
    ));
}

/// It follows, and has what it was sent; but its promise counts only once it has what was
/// committed, and knows it.
#[test]
fn a_replica_that_may_be_filling_does_not_make_its_master_dispensable() {
    let mut node = serving();
    let greeting = hello(Position::new(1, 10), false);
    step(&mut node, received("a", greeting), 80);
    step(&mut node, copy_of("a", 60), 90);
    assert!(!node.is_dispensable());
    step(&mut node, Event::Tick, 200);
    step(&mut node, copy_of("a", 200), 210);
    step(&mut node, copy_of("c", 200), 210);
    assert!(!node.is_dispensable(), "answered in the same moment");
    step(&mut node, Event::Tick, 260);
    step(&mut node, copy_of("a", 260), 270);
    assert!(!node.is_dispensable(), "the other one may be filling");
    step(&mut node, copy_of("c", 260), 270);
    assert!(node.is_dispensable());
    let unlinked = Event::Unlinked {
        node: NodeId::new("c"),
    };
    step(&mut node, unlinked, 280);
    assert!(!node.is_dispensable());
}

#[test]
fn a_successor_that_is_gone_is_not_waited_for() {
    let mut node = serving();
    let mut effects = Vec::new();
    node.propose(Bytes::from_static(b"more"), &mut effects);
    transfer(&mut node, None).unwrap();
    assert!(node.is_leaving());
    let unlinked = Event::Unlinked {
        node: NodeId::new("c"),
    };
    step(&mut node, unlinked, 90);
    assert!(!node.is_leaving() && node.accepts());
}

#[test]
fn a_master_whose_successor_does_not_come_serves_again() {
    let mut node = serving();
    transfer(&mut node, None).unwrap();
    for now_ms in (100..1_200).step_by(50) {
        step(&mut node, copy_of("c", now_ms), now_ms);
    }
    assert!(node.accepts());
    assert!(!is_willing(&mut node, "c", 1_200));
    assert!(matches!(node.role(), Role::Master { .. }));
}

#[test]
fn who_cannot_take_over_is_named() {
    let named = |name: &str| NodeId::new(name);
    let mut node = serving();
    let refused = [
        ("a", TransferError::NotReady(named("a"))),
        ("z", TransferError::NotReady(named("z"))),
        ("b", TransferError::Already(named("b"))),
    ];
    for (name, error) in refused {
        assert_eq!(transfer(&mut node, Some(name)), Err(error));
    }
    // Silent for longer than the lease, it might be gone.
    step(&mut node, Event::Tick, 700);
    assert_eq!(transfer(&mut node, None), Err(TransferError::Nobody));
    step(&mut node, Event::KeeperLost, 700);
    assert_eq!(transfer(&mut node, None), Err(TransferError::KeeperLost));
    assert_eq!(
        transfer(&mut quorum(&ten()), None),
        Err(TransferError::NotMaster)
    );
    assert!(node.accepts());
}

/// In a cluster of five, three others still hear the master that leaves.
#[test]
fn the_word_of_the_master_that_leaves_is_enough_to_stand() {
    let mut five = quorum(&ten());
    five.config.replicas = 5;
    called(five);
}

#[test]
fn a_designated_replica_waits_for_nobody_better() {
    called(quorum(&ten()));
}

fn called(mut node: Quorum) {
    step(&mut node, keeper(1, "a"), 0);
    step(&mut node, promise_stored(1), 10);
    let beat = Entries {
        epoch: crate::Epoch(1),
        previous: Position::new(1, 10),
        entries: Vec::new(),
        committed: crate::Sequence(10),
        stamp_ms: 5,
    };
    step(&mut node, received("a", Message::Entries(beat)), 20);
    let lead = Message::Lead {
        epoch: crate::Epoch(1),
    };
    // Not of our master, or not of this epoch: no concern of ours.
    assert_eq!(step(&mut node, received("c", lead.clone()), 30), []);
    let effects = step(&mut node, received("a", lead), 30);
    let asks = |effects: &[Effect], name: &str| {
        effects.contains(&Effect::Send {
            to: NodeId::new(name),
            message: Message::Ask,
        })
    };
    assert!(effects.contains(&Effect::Unfollow));
    assert!(asks(&effects, "a") && asks(&effects, "c"));
    // The master came first and would stand before us.
    let Message::AskAnswer(mut first) = willing(Position::new(1, 10)) else {
        unreachable!("it is one");
    };
    first.rank = 1;
    let effects = step(&mut node, received("a", Message::AskAnswer(first)), 40);
    assert!(claims(&effects), "{effects:?}");
}
