//! Short histories of one node, each of which went wrong once under simulated faults.

mod cuts;
mod hung_disk;
mod nonsense;
mod outlook;
mod transfer;
mod voters;

use bytes::Bytes;

use crate::{
    Appended, AskAnswer, Config, Effect, Entries, Entry, EpochHistory, EpochRecord, EpochStart,
    Event, Hello, Keeper, Limits, Member, Message, NodeId, Position, PromiseAnswer, Quorum,
    Recovered, Role, SyncMode,
};

mod applying;
mod modes;

fn quorum(recovered: &Recovered) -> Quorum {
    with_sync(SyncMode::QUORUM_DISK, recovered)
}

fn with_sync(sync: SyncMode, recovered: &Recovered) -> Quorum {
    let config = Config {
        node: NodeId::new("b"),
        replicas: 3,
        weight: 1,
        sync,
        limits: Limits::default(),
    };
    Quorum::new(config, recovered, 0)
}

fn step(quorum: &mut Quorum, event: Event, now_ms: u64) -> Vec<Effect> {
    let mut effects = Vec::new();
    quorum.step(event, now_ms, &mut effects);
    effects
}

fn keeper(epoch: u64, master: &str) -> Event {
    let member = |(rank, name): (i64, &str)| Member {
        node: NodeId::new(name),
        rank,
        weight: 1,
        durable: Position::default(),
    };
    let present = [(1, "a"), (2, "b"), (3, "c")];
    Event::Keeper(Keeper {
        members: present.into_iter().map(member).collect(),
        voters: present.map(|(_, name)| NodeId::new(name)).into(),
        epoch: EpochRecord {
            epoch: crate::Epoch(epoch),
            master: (epoch > 0).then(|| NodeId::new(master)),
            version: i32::try_from(epoch).unwrap(),
        },
    })
}

fn received(from: &str, message: Message) -> Event {
    Event::Received {
        from: NodeId::new(from),
        message,
    }
}

fn promise(epoch: u64) -> Message {
    Message::Promise {
        epoch: crate::Epoch(epoch),
    }
}

fn promise_stored(epoch: u64) -> Event {
    Event::PromiseStored {
        epoch: crate::Epoch(epoch),
    }
}

fn stores_promise(effects: &[Effect], epoch: u64) -> bool {
    let epoch = crate::Epoch(epoch);
    effects.contains(&Effect::StorePromise { epoch })
}

fn greeting(effects: &[Effect]) -> Option<&Hello> {
    effects.iter().find_map(|effect| match effect {
        Effect::Follow { hello, .. } => Some(hello),
        _ => None,
    })
}

fn entry(epoch: u64, sequence: u64) -> Entry {
    Entry {
        position: Position::new(epoch, sequence),
        batch: Bytes::new(),
    }
}

/// A log of ten entries of epoch 1.
fn ten() -> Recovered {
    Recovered {
        promised: crate::Epoch(1),
        last: Position::new(1, 10),
        history: EpochHistory::new(vec![EpochStart {
            epoch: crate::Epoch(1),
            first: crate::Sequence(1),
        }])
        .unwrap(),
        log_first: crate::Sequence(1),
        ..Recovered::default()
    }
}

fn willing(durable: Position) -> Message {
    Message::AskAnswer(AskAnswer {
        unwilling: None,
        promised: crate::Epoch(1),
        durable,
        weight: 1,
        rank: 3,
        master: None,
    })
}

fn claimed(epoch: u64, won: bool) -> Event {
    Event::Claimed {
        epoch: crate::Epoch(epoch),
        won,
    }
}

fn claims(effects: &[Effect]) -> bool {
    effects
        .iter()
        .any(|effect| matches!(effect, Effect::Claim { .. }))
}

/// A node with ten entries that just claimed epoch 2.
fn candidate() -> Quorum {
    standing(quorum(&ten()))
}

fn standing(mut node: Quorum) -> Quorum {
    step(&mut node, keeper(1, "gone"), 0);
    step(&mut node, received("c", willing(Position::new(1, 5))), 10);
    let effects = step(&mut node, received("a", willing(Position::new(1, 5))), 10);
    assert!(claims(&effects));
    node
}

/// A wiped node looked like a new one, and its promise elected a master that
/// lacked what only the wiped disk and a dead one had held.
#[test]
fn an_empty_store_promises_nothing_before_zookeeper_was_read() {
    let mut node = quorum(&Recovered::default());
    let effects = step(&mut node, received("a", promise(4)), 10);
    assert!(!stores_promise(&effects, 4));
    let refused = effects.iter().any(|effect| {
        matches!(effect, Effect::Send { message: Message::PromiseAnswer(answer), .. } if answer.refused.is_some())
    });
    assert!(refused);
    step(&mut node, keeper(0, ""), 20);
    let effects = step(&mut node, received("a", promise(1)), 30);
    assert!(stores_promise(&effects, 1));
}

/// A wiped node had forgotten that it promised epoch 9, and gave copies to the
/// master of epoch 8, which that promise had fenced.
#[test]
fn a_lost_store_is_bound_by_the_last_epoch_that_was_claimed() {
    let mut node = quorum(&Recovered {
        unfilled: true,
        ..Recovered::default()
    });
    let old = AskAnswer {
        unwilling: Some("c is master".to_owned()),
        promised: crate::Epoch(8),
        durable: Position::new(8, 90),
        weight: 1,
        rank: 3,
        master: Some((NodeId::new("c"), crate::Epoch(8))),
    };
    let answer = received("c", Message::AskAnswer(old));
    assert_eq!(step(&mut node, answer.clone(), 10), []);
    assert!(stores_promise(&step(&mut node, keeper(9, "a"), 20), 9));
    step(&mut node, promise_stored(9), 30);
    assert_eq!(greeting(&step(&mut node, answer, 40)), None);
}

/// ZooKeeper lost epoch 6, which two of five had promised, and the other three elected a
/// master of epoch 4: the two stayed out for good.
#[test]
fn who_promised_an_epoch_that_zookeeper_lost_has_it_claimed_again() {
    let recovered = Recovered {
        promised: crate::Epoch(6),
        ..ten()
    };
    let led = AskAnswer {
        unwilling: Some("a is master".to_owned()),
        promised: crate::Epoch(4),
        durable: Position::new(4, 90),
        weight: 1,
        rank: 1,
        master: Some((NodeId::new("a"), crate::Epoch(4))),
    };
    let answer = received("a", Message::AskAnswer(led));
    let mut node = quorum(&recovered);
    step(&mut node, keeper(4, "a"), 0);
    let claim = Effect::Claim {
        epoch: crate::Epoch(6),
        version: 4,
    };
    assert!(step(&mut node, answer.clone(), 10).contains(&claim));
    // The claim stands there: the master reads it too, and gives way.
    step(&mut node, claimed(6, true), 20);
    step(&mut node, keeper(6, "b"), 20);
    assert!(!claims(&step(&mut node, answer, 30)));
    assert_eq!(*node.role(), Role::Electing);
}

/// It went on as a replica that counts, and nobody ever filled it.
#[test]
fn a_replica_whose_store_turns_out_to_be_lost_greets_again() {
    let mut node = quorum(&Recovered::default());
    step(&mut node, keeper(1, "a"), 10);
    let effects = step(&mut node, promise_stored(1), 20);
    assert!(!greeting(&effects).unwrap().unfilled);
    let effects = step(&mut node, Event::Unfilled, 30);
    assert!(effects.contains(&Effect::Unfollow));
    let master = AskAnswer {
        unwilling: Some("I am master".to_owned()),
        promised: crate::Epoch(1),
        durable: Position::default(),
        weight: 1,
        rank: 1,
        master: Some((NodeId::new("a"), crate::Epoch(1))),
    };
    let effects = step(&mut node, received("a", Message::AskAnswer(master)), 40);
    assert!(greeting(&effects).unwrap().unfilled);
}

/// ZooKeeper told of a claim before the candidate asked for the promise, and the
/// candidate was refused: each such election took half a second longer.
#[test]
fn a_claim_that_is_followed_before_it_asks_is_promised_all_the_same() {
    let promised = |effects: &[Effect]| {
        effects.iter().any(|effect| {
            matches!(effect, Effect::Send { message: Message::PromiseAnswer(answer), .. } if answer.refused.is_none())
        })
    };
    let mut node = quorum(&Recovered::default());
    assert!(stores_promise(&step(&mut node, keeper(2, "a"), 10), 2));
    assert!(!promised(&step(&mut node, received("a", promise(2)), 20)));
    let effects = step(&mut node, promise_stored(2), 30);
    assert!(promised(&effects) && greeting(&effects).is_some());
    assert!(promised(&step(&mut node, received("a", promise(2)), 40)));
    assert!(!promised(&step(&mut node, received("c", promise(2)), 50)));
}

/// A ZooKeeper that was set back gave an epoch twice, and a node that had forgotten in a restart
/// whom it had promised it followed the second one, and promised it to that one too.
#[test]
fn an_epoch_that_was_promised_before_a_restart_is_promised_to_nobody() {
    let mut node = quorum(&Recovered {
        promised: crate::Epoch(2),
        ..ten()
    });
    let effects = step(&mut node, keeper(2, "a"), 10);
    assert!(greeting(&effects).is_some(), "a master of it may be there");
    for candidate in ["a", "c"] {
        let effects = step(&mut node, received(candidate, promise(2)), 20);
        let refused = effects.iter().any(|effect| {
            matches!(effect, Effect::Send { message: Message::PromiseAnswer(answer), .. } if answer.refused.is_some())
        });
        assert!(refused, "{candidate}: {effects:?}");
    }
}

/// The answer told of what was synced so far. The one further behind stood, met
/// the later position in a promise, and an election was lost.
#[test]
fn an_answer_counts_what_will_be_synced_before_the_promise() {
    let mut node = quorum(&Recovered::default());
    step(&mut node, keeper(1, "a"), 10);
    step(&mut node, promise_stored(1), 20);
    let entries = Entries {
        epoch: crate::Epoch(1),
        previous: Position::default(),
        entries: vec![entry(1, 1)],
        committed: crate::Sequence(0),
        stamp_ms: 0,
    };
    step(&mut node, received("a", Message::Entries(entries)), 30);
    let effects = step(&mut node, received("c", Message::Ask), 40);
    assert!(effects.iter().any(|effect| {
        matches!(effect, Effect::Send { message: Message::AskAnswer(answer), .. } if answer.durable == Position::new(1, 1))
    }));
}

/// A node that had lost ZooKeeper for long stood on what others had said
/// before, and took a healthy master's epoch away.
#[test]
fn an_old_answer_elects_nobody() {
    let mut node = quorum(&ten());
    step(&mut node, keeper(1, "gone"), 0);
    step(&mut node, Event::KeeperLost, 1);
    step(&mut node, received("c", willing(Position::new(1, 5))), 2);
    step(&mut node, received("a", willing(Position::new(1, 5))), 2);
    assert!(!claims(&step(&mut node, keeper(1, "gone"), 9_000)));
}

/// Slow ZooKeeper: a claim was made again, and the second answer ended the
/// candidacy that the first had won.
#[test]
fn a_second_answer_to_a_claim_changes_nothing() {
    let mut node = candidate();
    assert!(stores_promise(&step(&mut node, claimed(2, true), 20), 2));
    for won in [true, false] {
        step(&mut node, claimed(2, won), 30);
        assert_eq!(
            node.role(),
            &Role::Candidate {
                epoch: crate::Epoch(2)
            }
        );
    }
}

/// The epoch was known from a refusal, and its master's name never noticed.
#[test]
fn the_name_of_a_master_is_learned_after_its_epoch() {
    let mut node = quorum(&ten());
    step(&mut node, keeper(1, "a"), 10);
    let refused = Message::Refused {
        epoch: crate::Epoch(2),
        reason: String::new(),
    };
    step(&mut node, received("a", refused), 20);
    assert_eq!(node.known_epoch(), (crate::Epoch(2), None));
    step(&mut node, keeper(2, "c"), 30);
    assert_eq!(
        node.known_epoch(),
        (crate::Epoch(2), Some(&NodeId::new("c")))
    );
}

/// A master whose only living replica fetched a checkpoint for longer than two
/// seconds stepped down, which ended the transfer: for ever.
#[test]
fn a_replica_that_fetches_a_checkpoint_is_heard_but_is_no_copy() {
    let mut node = quorum(&ten());
    step(&mut node, keeper(1, "a"), 10);
    let epoch = crate::Epoch(1);
    step(
        &mut node,
        received("a", Message::TakeSnapshot { epoch }),
        20,
    );
    let heartbeat = Message::Entries(Entries {
        epoch,
        previous: Position::new(1, 90),
        entries: Vec::new(),
        committed: crate::Sequence(90),
        stamp_ms: 77,
    });
    let effects = step(&mut node, received("a", heartbeat), 30);
    let answer = Appended {
        epoch,
        appended: Position::default(),
        durable: Position::default(),
        applied: crate::Sequence(0),
        stamp_ms: 77,
    };
    assert!(effects.contains(&Effect::Send {
        to: NodeId::new("a"),
        message: Message::Appended(answer),
    }));
}

fn promised(epoch: u64, durable: Position) -> Message {
    Message::PromiseAnswer(PromiseAnswer {
        refused: None,
        epoch: crate::Epoch(epoch),
        durable,
    })
}

fn hello(last: Position, unfilled: bool) -> Message {
    Message::Hello(Hello {
        epoch: crate::Epoch(2),
        last,
        history: ten().history,
        unfilled,
    })
}

/// The simulator needs more luck for these two than a night has.
#[test]
fn a_promise_of_an_earlier_epoch_elects_nobody() {
    let mut node = candidate();
    step(&mut node, claimed(2, true), 20);
    step(&mut node, promise_stored(2), 30);
    let epoch = crate::Epoch(2);
    let late = received("a", promised(1, Position::new(1, 5)));
    step(&mut node, late, 40);
    assert_eq!(node.role(), &Role::Candidate { epoch });
    let due = received("a", promised(2, Position::new(1, 5)));
    step(&mut node, due, 50);
    assert_eq!(node.role(), &Role::Rising { epoch });
}

#[test]
fn a_replica_that_greets_again_has_what_it_answers_from_then_on() {
    let commits = |effects: &[Effect]| {
        effects
            .iter()
            .any(|effect| matches!(effect, Effect::Committed { .. }))
    };
    let logged = Event::Logged {
        appended: Position::new(2, 11),
        durable: Position::new(2, 11),
    };
    for wiped in [false, true] {
        let mut node = candidate();
        step(&mut node, claimed(2, true), 20);
        step(&mut node, promise_stored(2), 30);
        step(
            &mut node,
            received("a", promised(2, Position::new(1, 5))),
            40,
        );
        step(
            &mut node,
            received("a", hello(Position::new(1, 10), false)),
            50,
        );
        let answer = Message::Appended(Appended {
            epoch: crate::Epoch(2),
            appended: Position::new(2, 11),
            durable: Position::new(2, 11),
            applied: crate::Sequence(0),
            stamp_ms: 50,
        });
        step(&mut node, received("a", answer), 60);
        if wiped {
            step(
                &mut node,
                received("a", hello(Position::default(), true)),
                70,
            );
        }
        assert_eq!(commits(&step(&mut node, logged.clone(), 80)), !wiped);
    }
}

/// A read of the log from an earlier mastership sent a healthy replica to fetch
/// a checkpoint, which may end before what it had already answered for.
#[test]
fn a_read_from_before_a_cut_is_made_again() {
    let mut node = candidate();
    step(&mut node, claimed(2, true), 20);
    step(&mut node, promise_stored(2), 30);
    step(
        &mut node,
        received("a", promised(2, Position::new(1, 5))),
        40,
    );
    let reads = |effects: &[Effect]| {
        effects
            .iter()
            .any(|effect| matches!(effect, Effect::ReadLog { .. }))
    };
    assert!(reads(&step(
        &mut node,
        received("a", hello(Position::new(1, 5), false)),
        50
    )));
    let read = |entries| Event::LogRead {
        to: NodeId::new("a"),
        after: crate::Sequence(5),
        entries,
    };
    let effects = step(&mut node, read(vec![entry(9, 6)]), 60);
    assert!(reads(&effects), "{effects:?}");
    let effects = step(&mut node, read(Vec::new()), 62);
    assert!(!takes_snapshot(&effects), "{effects:?}");
    let nothing_new = Message::Appended(Appended {
        epoch: crate::Epoch(2),
        appended: Position::new(1, 5),
        durable: Position::new(1, 5),
        applied: crate::Sequence(0),
        stamp_ms: 50,
    });
    let effects = step(&mut node, received("a", nothing_new), 64);
    assert!(reads(&effects), "{effects:?}");
    let effects = step(&mut node, read(vec![entry(1, 6)]), 70);
    assert!(effects.iter().any(|effect| {
        matches!(effect, Effect::Send { message: Message::Entries(entries), .. } if entries.entries.len() == 1)
    }));

    // Empty because the log begins later.
    let first = crate::Sequence(9);
    step(&mut node, Event::LogTrimmed { first }, 80);
    let read = Event::LogRead {
        to: NodeId::new("a"),
        after: crate::Sequence(6),
        entries: Vec::new(),
    };
    let effects = step(&mut node, read, 90);
    assert!(takes_snapshot(&effects), "{effects:?}");
}

fn takes_snapshot(effects: &[Effect]) -> bool {
    effects.iter().any(|effect| {
        matches!(
            effect,
            Effect::Send {
                message: Message::TakeSnapshot { .. },
                ..
            }
        )
    })
}
