//! Queues: visibility, order, competing consumers, failover.

use super::harness::*;
use crate::{AcknowledgeMode, Limits, Refusal};

#[test]
fn a_message_is_seen_and_receipted_only_when_committed() {
    let mut harness = Harness::connected(Limits::default());
    harness.subscribe(B, 1, "/queue/q");
    let receipt = harness.send(A, "/queue/q", "one");
    assert!(harness.seal());
    assert!(!harness.has_receipt(receipt));
    assert!(harness.deliveries.is_empty());
    harness.commit_one();
    assert!(harness.has_receipt(receipt));
    let delivered = harness.delivered();
    assert_eq!(delivered.len(), 1);
    assert!(!delivered[0].redelivered);
    assert_eq!(delivered[0].message.id, "ID:replicamq-1-1");
    assert_eq!(delivered[0].message.timestamp_ms, 1_000);
    // The watermark came along: one batch is enough.
    assert_eq!(harness.batches, 1);
}

#[test]
fn many_commands_of_a_turn_share_a_batch() {
    let mut harness = Harness::connected(Limits::default());
    let receipts: Vec<_> = (0..10)
        .map(|number| harness.send(A, "q", &number.to_string()))
        .collect();
    harness.run();
    assert_eq!(harness.batches, 1);
    assert!(receipts.iter().all(|receipt| harness.has_receipt(*receipt)));
    assert_eq!(harness.stored(b'm'), 10);
    assert_eq!(harness.stored(b'q'), 1);
}

#[test]
fn an_acknowledged_message_is_gone_for_good() {
    let mut harness = Harness::connected(Limits::default());
    harness.subscribe(B, 1, "q");
    harness.send(A, "q", "one");
    harness.run();
    let delivery = harness.delivered().remove(0);
    let receipt = harness.accept(&delivery);
    assert!(!harness.has_receipt(receipt));
    harness.run();
    assert!(harness.has_receipt(receipt));
    assert_eq!((harness.stored(b'm'), harness.depth("q")), (0, 0));
    harness.fail_over(0);
    harness.connect_all();
    harness.subscribe(B, 1, "q");
    harness.run();
    assert!(harness.deliveries.is_empty());
}

#[test]
fn a_delete_that_is_not_committed_is_not_undone_by_a_disconnect() {
    let mut harness = Harness::connected(Limits::default());
    harness.subscribe(B, 1, "q");
    harness.send(A, "q", "one");
    harness.run();
    let delivery = harness.delivered().remove(0);
    harness.accept(&delivery);
    harness.step(B, crate::Command::Disconnect);
    harness.subscribe(C, 1, "q");
    while harness.load_one() {}
    harness.run();
    assert!(harness.deliveries.is_empty());
}

#[test]
fn competing_consumers_take_turns_within_their_credit() {
    let mut harness = Harness::connected(Limits::default());
    harness.subscribe_with(A, 1, "q", |subscribe| subscribe.credit = 1);
    harness.subscribe_with(B, 1, "q", |subscribe| subscribe.credit = 2);
    for number in 0..5 {
        harness.send(C, "q", &number.to_string());
    }
    harness.run();
    let delivered = harness.delivered();
    let whom: Vec<_> = delivered.iter().map(|one| one.connection).collect();
    assert_eq!(whom, [A, B, B]);
    harness.accept(&delivered[0]);
    harness.run();
    let next = harness.delivered();
    assert_eq!((next[0].connection, body(&next[0])), (A, "3".to_owned()));
    assert_eq!(
        harness.status(crate::DestinationKind::Queue, "q").in_flight,
        3
    );
}

#[test]
fn what_a_lost_consumer_had_returns_in_order_with_the_mark() {
    let mut harness = Harness::connected(Limits::default());
    harness.subscribe_with(A, 1, "q", |subscribe| subscribe.credit = 3);
    for number in 0..5 {
        harness.send(C, "q", &number.to_string());
    }
    harness.run();
    let delivered = harness.delivered();
    harness.accept(&delivered[1]);
    harness.run();
    harness.delivered();
    harness.step(A, crate::Command::Disconnect);
    harness.subscribe(B, 1, "q");
    harness.run();
    let again = harness.delivered();
    let seen: Vec<_> = again
        .iter()
        .map(|one| (body(one), one.redelivered))
        .collect();
    let expected = [("0", true), ("2", true), ("3", true), ("4", false)];
    let expected: Vec<_> = expected.map(|(text, mark)| (text.to_owned(), mark)).into();
    assert_eq!(seen, expected);
}

#[test]
fn after_a_failover_what_may_have_been_delivered_carries_the_mark() {
    let mut harness = Harness::connected(Limits::default());
    harness.subscribe_with(B, 1, "q", |subscribe| subscribe.credit = 2);
    harness.send(A, "q", "0");
    harness.send(A, "q", "1");
    harness.run();
    let delivered = harness.delivered();
    harness.accept(&delivered[0]);
    harness.run();
    harness.unsubscribe(B, 1);
    harness.send(A, "q", "never delivered");
    harness.run();
    harness.fail_over(0);
    harness.connect_all();
    harness.subscribe(B, 1, "q");
    harness.run();
    let again = harness.delivered();
    let seen: Vec<_> = again
        .iter()
        .map(|one| (body(one), one.redelivered, one.redeliveries))
        .collect();
    let expected = [
        ("1".to_owned(), true, 1),
        ("never delivered".to_owned(), false, 0),
    ];
    assert_eq!(seen, expected);
    assert_eq!(again[0].message.id, "ID:replicamq-1-2");
}

#[test]
fn an_uncommitted_message_may_survive_a_failover_or_not() {
    for survivors in [0, 1] {
        let mut harness = Harness::connected(Limits::default());
        let receipt = harness.send(A, "q", "one");
        harness.seal();
        harness.fail_over(survivors);
        assert!(!harness.has_receipt(receipt));
        assert_eq!(harness.stored(b'm'), survivors);
        harness.connect_all();
        harness.subscribe(B, 1, "q");
        harness.run();
        assert_eq!(harness.bodies().len(), survivors);
    }
}

#[test]
fn a_volatile_message_is_seen_at_once_and_never_stored() {
    let mut harness = Harness::connected(Limits::default());
    harness.subscribe(B, 1, "q");
    let receipt = harness.send_with(A, volatile("q", "one"), |_| {});
    assert!(harness.has_receipt(receipt));
    let delivery = harness.delivered().remove(0);
    let receipt = harness.accept(&delivery);
    assert!(harness.has_receipt(receipt));
    assert!(!harness.seal());
    assert_eq!(harness.broker.memory.volatile, 0);
}

#[test]
fn a_volatile_message_does_not_overtake_a_persistent_one() {
    let mut harness = Harness::connected(Limits::default());
    harness.subscribe(B, 1, "q");
    harness.send(A, "q", "0");
    harness.send_with(A, volatile("q", "1"), |_| {});
    assert!(harness.seal());
    harness.send_with(A, volatile("q", "2"), |_| {});
    assert!(harness.deliveries.is_empty());
    harness.commit_one();
    assert_eq!(harness.bodies(), ["0", "1", "2"]);
}

#[test]
fn volatile_messages_have_a_limit() {
    let limits = Limits {
        volatile_bytes_max: 1_000,
        ..Limits::default()
    };
    let mut harness = Harness::connected(limits);
    for _ in 0..10 {
        harness.send_with(A, volatile("q", "x"), |_| {});
    }
    assert!(matches!(
        harness.refusals.first(),
        Some(Refusal::LimitReached { limit: 1_000, .. })
    ));
    let depth = harness.depth("q");
    assert_eq!(depth + harness.refusals.len() as u64, 10);
    harness.subscribe(B, 1, "q");
    for delivery in harness.delivered() {
        harness.accept(&delivery);
    }
    harness.refusals.clear();
    harness.send_with(A, volatile("q", "x"), |_| {});
    assert!(harness.refusals.is_empty());
}

#[test]
fn an_abandoned_queue_of_volatile_messages_stops_no_other_producer() {
    let limits = Limits {
        volatile_bytes_max: 10_000,
        volatile_queue_bytes_max: 2_000,
        ..Limits::default()
    };
    let mut harness = Harness::connected(limits);
    for _ in 0..20 {
        harness.send_with(A, volatile("abandoned", "x"), |_| {});
    }
    assert!(matches!(
        harness.refusals.first(),
        Some(Refusal::LimitReached { limit: 2_000, .. })
    ));
    let kept = 20 - harness.refusals.drain(..).len() as u64;
    assert_eq!(harness.depth("abandoned"), kept);
    for _ in 0..kept {
        harness.send_with(A, volatile("other", "x"), |_| {});
    }
    // One is always allowed, as long as all together have room.
    let large = "x".repeat(4_000);
    harness.send_with(A, volatile("large", &large), |_| {});
    assert_eq!((harness.refusals.len(), harness.depth("large")), (0, 1));
    harness.send_with(A, volatile("large", "x"), |_| {});
    harness.send_with(A, volatile("larger", &large), |_| {});
    let reached: Vec<_> = harness.refusals.drain(..).collect();
    assert!(matches!(
        reached[..],
        [
            Refusal::LimitReached { limit: 2_000, .. },
            Refusal::LimitReached { limit: 10_000, .. }
        ]
    ));
    // Messages of topics wait nowhere but with their subscribers.
    harness.subscribe(B, 1, "/topic/t");
    harness.send_with(A, volatile("/topic/t", &large), |_| {});
    assert_eq!((harness.refusals.len(), harness.delivered().len()), (0, 1));
    harness.subscribe(B, 2, "abandoned");
    for delivery in harness.delivered() {
        harness.accept(&delivery);
    }
    harness.send_with(A, volatile("abandoned", "x"), |_| {});
    assert!(harness.refusals.is_empty());
}

#[test]
fn a_client_that_never_reads_costs_bounded_memory() {
    let limits = Limits {
        connection_outstanding_bytes_max: 10_000,
        ..Limits::default()
    };
    let mut harness = Harness::connected(limits);
    harness.subscribe_with(B, 1, "q", |subscribe| {
        subscribe.credit = 1_000;
        subscribe.mode = AcknowledgeMode::Cumulative;
    });
    let text = "x".repeat(4_000);
    for _ in 0..20 {
        harness.send(A, "q", &text);
    }
    harness.run();
    let delivered = harness.delivered();
    assert_eq!(delivered.len(), 3);
    // Another consumer is not held up, and acknowledgements let it go on.
    harness.subscribe_with(C, 1, "q", |subscribe| subscribe.credit = 2);
    harness.run();
    assert_eq!(harness.delivered().len(), 2);
    harness.accept(&delivered[2]);
    harness.run();
    assert_eq!(harness.delivered().len(), 3);
}

#[test]
fn one_message_is_always_allowed_however_large() {
    let limits = Limits {
        connection_outstanding_bytes_max: 10,
        outstanding_bytes_max: 10,
        windows_bytes_max: 10,
        window_bytes_max: 10,
        ..Limits::default()
    };
    let mut harness = Harness::connected(limits);
    harness.subscribe(B, 1, "q");
    for number in 0..5 {
        harness.send(A, "q", &number.to_string());
    }
    harness.run();
    for number in 0..5 {
        let delivered = harness.delivered();
        assert_eq!(delivered.len(), 1);
        assert_eq!(body(&delivered[0]), number.to_string());
        harness.accept(&delivered[0]);
        harness.run();
    }
}

#[test]
fn too_much_outstanding_over_all_connections_waits_for_any_of_them() {
    let limits = Limits {
        outstanding_bytes_max: 1_000,
        ..Limits::default()
    };
    let mut harness = Harness::connected(limits);
    harness.subscribe(A, 1, "a");
    for _ in 0..20 {
        harness.send(C, "a", "x");
        harness.send(C, "b", "x");
    }
    harness.run();
    let first = harness.delivered();
    assert_eq!(first.len(), 4);
    harness.subscribe(B, 1, "b");
    harness.run();
    let second = harness.delivered();
    // One is always allowed.
    assert_eq!(second.len(), 1);
    harness.unsubscribe(A, 1);
    harness.run();
    assert_eq!(harness.delivered().len(), 3);
}

#[test]
fn who_waited_for_itself_waits_for_all_once_it_has_room() {
    let limits = Limits {
        connection_outstanding_bytes_max: 2_000,
        outstanding_bytes_max: 3_000,
        ..Limits::default()
    };
    let mut harness = Harness::connected(limits);
    let text = "x".repeat(1_000);
    for _ in 0..4 {
        for queue in ["a", "b", "c"] {
            harness.send(A, queue, &text);
        }
    }
    harness.run();
    // Its own bytes stop A, while all together have room.
    harness.subscribe(A, 1, "a");
    harness.run();
    let of_a = harness.delivered();
    assert_eq!(of_a.len(), 2);
    harness.subscribe(B, 1, "b");
    harness.subscribe(C, 1, "c");
    harness.run();
    assert_eq!(harness.delivered().len(), 2);
    // Now it has room, and all together have not.
    harness.accept(&of_a[0]);
    harness.run();
    assert_eq!(harness.delivered().len(), 0);
    harness.unsubscribe(B, 1);
    harness.unsubscribe(C, 1);
    assert!(harness.delivered().iter().any(|one| one.connection == A));
}

#[test]
fn expired_messages_are_dropped_when_their_turn_comes_and_by_ticks() {
    let mut harness = Harness::connected(Limits::default());
    let mut mortal = message("q", "mortal");
    mortal.expires_ms = 2_000;
    harness.send_with(A, mortal.clone(), |_| {});
    harness.send(A, "q", "lasting");
    harness.run();
    harness.now_ms = 2_000;
    harness.subscribe_with(B, 1, "q", |subscribe| subscribe.credit = 1);
    harness.run();
    assert_eq!(harness.bodies(), ["lasting"]);
    assert_eq!((harness.stored(b'm'), harness.depth("q")), (1, 1));
    // The consumer is busy: only a tick can find these.
    mortal.expires_ms = 3_000;
    harness.send_with(A, mortal.clone(), |_| {});
    mortal.persistent = false;
    harness.send_with(A, mortal, |_| {});
    harness.run();
    assert_eq!(harness.depth("q"), 3);
    harness.tick(2_999);
    assert!(!harness.seal());
    harness.tick(4_000);
    harness.run();
    assert_eq!((harness.stored(b'm'), harness.depth("q")), (1, 1));
    assert_eq!(harness.broker.memory.volatile, 0);
}

#[test]
fn a_message_over_the_limit_is_refused() {
    let limits = Limits {
        message_bytes_max: 100,
        ..Limits::default()
    };
    let mut harness = Harness::connected(limits);
    harness.send(A, "q", &"x".repeat(100));
    assert!(matches!(
        harness.refusals[..],
        [Refusal::LimitReached { limit: 100, .. }]
    ));
    assert!(!harness.seal());
}

#[test]
fn a_batch_of_acknowledgements_that_nobody_waits_for_is_not_urgent() {
    let mut harness = Harness::connected(Limits::default());
    harness.subscribe_with(B, 1, "q", |subscribe| {
        subscribe.mode = AcknowledgeMode::Auto;
    });
    harness.send(A, "q", "0");
    assert!(harness.broker.is_urgent());
    harness.run();
    let delivery = harness.delivered().remove(0);
    harness.written(&delivery);
    assert!(!harness.broker.is_urgent());
    harness.send(A, "q", "1");
    assert!(harness.broker.is_urgent());
    harness.run();
    assert_eq!(harness.depth("q"), 1);
    // A consumer who waits for the watermark waits for its batch.
    harness.unsubscribe(B, 1);
    harness.send(A, "q", "2");
    harness.run();
    harness.subscribe(B, 2, "q");
    while harness.load_one() {}
    assert!(harness.broker.is_urgent());
}
