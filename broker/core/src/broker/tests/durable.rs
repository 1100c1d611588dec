//! Durable subscriptions: one stored log a topic, one cursor a subscription.

use super::harness::*;
use crate::{Command, ConnectionId, DestinationKind, Limits, Receipt, Refusal};

const T: &str = "/topic/t";

fn durable(harness: &mut Harness, connection: ConnectionId, name: &str, credit: u32) -> Receipt {
    harness.subscribe_with(connection, 1, T, |subscribe| {
        subscribe.durable = Some(name.to_owned());
        subscribe.credit = credit;
    })
}

fn delete(harness: &mut Harness, connection: ConnectionId, name: &str) -> Receipt {
    let receipt = harness.receipt();
    let command = Command::DeleteDurable {
        name: name.to_owned(),
        receipt: Some(receipt),
    };
    harness.step(connection, command);
    receipt
}

/// A and B have client ids, C has none.
fn harness(limits: Limits) -> Harness {
    let mut harness = Harness::with(limits);
    reconnect(&mut harness);
    harness
}

fn reconnect(harness: &mut Harness) {
    harness.connect(A, Some("a"));
    harness.connect(B, Some("b"));
    harness.connect(C, None);
}

fn send_numbers(harness: &mut Harness, numbers: std::ops::Range<u64>) {
    for number in numbers {
        harness.send(C, T, &number.to_string());
    }
}

#[test]
fn it_exists_once_committed_and_gets_what_comes_later() {
    let mut harness = harness(Limits::default());
    harness.send(C, T, "too early");
    let receipt = durable(&mut harness, A, "s", 10);
    assert!(!harness.has_receipt(receipt));
    harness.run();
    assert!(harness.has_receipt(receipt));
    let receipt = harness.send(C, T, "x");
    assert!(!harness.has_receipt(receipt));
    assert!(harness.deliveries.is_empty());
    let before = harness.batches;
    harness.run();
    assert!(harness.has_receipt(receipt));
    assert_eq!(harness.bodies(), ["x"]);
    // The watermark came along with the message.
    assert_eq!(harness.batches, before + 1);
}

#[test]
fn a_message_is_stored_once_for_all_and_deleted_when_all_have_it() {
    let limits = Limits {
        topic_trim_messages: 1,
        ..Limits::default()
    };
    let mut harness = harness(limits);
    durable(&mut harness, A, "s", 100);
    durable(&mut harness, B, "s", 100);
    harness.run();
    send_numbers(&mut harness, 0..20);
    harness.run();
    assert_eq!(harness.stored(b't'), 20);
    let delivered = harness.delivered();
    assert_eq!(delivered.len(), 40);
    for delivery in delivered.iter().filter(|one| one.connection == A) {
        harness.accept(delivery);
    }
    harness.run();
    assert_eq!(harness.stored(b't'), 20);
    assert_eq!(harness.status(DestinationKind::Topic, "t").depth, 20);
    for delivery in delivered.iter().filter(|one| one.connection == B) {
        harness.accept(delivery);
    }
    harness.run();
    assert_eq!((harness.stored(b't'), harness.stored(b'a')), (0, 0));
    assert_eq!(harness.status(DestinationKind::Topic, "t").depth, 0);
}

#[test]
fn what_came_while_it_was_away_waits_for_it() {
    let mut harness = harness(Limits {
        window_messages_max: 10,
        ..Limits::default()
    });
    durable(&mut harness, A, "s", 3);
    harness.run();
    harness.step(A, Command::Disconnect);
    send_numbers(&mut harness, 0..100);
    harness.run();
    harness.fail_over(0);
    reconnect(&mut harness);
    send_numbers(&mut harness, 100..150);
    harness.run();
    durable(&mut harness, A, "s", 3);
    for number in 0..150 {
        harness.run();
        let delivery = harness.deliveries.pop_front().unwrap();
        assert_eq!(body(&delivery), number.to_string());
        assert!(!delivery.redelivered);
        harness.accept(&delivery);
        assert!(harness.broker.memory.windows < 20 * 400 + harness.limits.window_bytes_max);
    }
    assert!(harness.refusals.is_empty());
}

#[test]
fn acknowledgements_out_of_order_survive_a_failover() {
    let mut harness = harness(Limits::default());
    durable(&mut harness, A, "s", 100);
    harness.run();
    send_numbers(&mut harness, 0..10);
    harness.run();
    let delivered = harness.delivered();
    for index in [0, 2, 3, 7] {
        harness.accept(&delivered[index]);
    }
    harness.run();
    assert_eq!(harness.stored(b'a'), 3);
    harness.fail_over(0);
    reconnect(&mut harness);
    durable(&mut harness, A, "s", 100);
    harness.run();
    let again = harness.delivered();
    assert!(again.iter().all(|one| one.redelivered));
    let bodies: Vec<_> = again.iter().map(body).collect();
    assert_eq!(bodies, ["1", "4", "5", "6", "8", "9"]);
    for delivery in &again {
        harness.accept(delivery);
    }
    harness.run();
    assert_eq!(harness.stored(b'a'), 0);
}

#[test]
fn marks_ahead_of_one_open_message_are_bounded() {
    let mut harness = harness(Limits {
        durable_marks_max: 5,
        ..Limits::default()
    });
    durable(&mut harness, A, "s", 2);
    harness.run();
    send_numbers(&mut harness, 0..50);
    harness.run();
    let first = harness.deliveries.pop_front().unwrap();
    for _ in 0..5 {
        let delivery = harness.deliveries.pop_front().unwrap();
        harness.accept(&delivery);
        harness.run();
    }
    assert!(harness.deliveries.is_empty());
    assert_eq!(harness.stored(b'a'), 5);
    // The same after a failover: the oldest comes first, and then the others.
    harness.fail_over(0);
    reconnect(&mut harness);
    durable(&mut harness, A, "s", 2);
    harness.run();
    let again = harness.deliveries.pop_front().unwrap();
    assert_eq!((body(&again), again.redelivered), (body(&first), true));
    harness.accept(&again);
    for number in 6..50 {
        harness.run();
        let delivery = harness.deliveries.pop_front().unwrap();
        assert_eq!(body(&delivery), number.to_string());
        harness.accept(&delivery);
    }
    harness.run();
    assert_eq!(harness.stored(b'a'), 0);
}

#[test]
fn one_consumer_at_a_time_and_only_with_a_client_id() {
    let mut harness = harness(Limits::default());
    durable(&mut harness, A, "s", 1);
    harness.subscribe_with(A, 2, T, |subscribe| {
        subscribe.durable = Some("s".to_owned());
    });
    delete(&mut harness, A, "s");
    durable(&mut harness, C, "s", 1);
    delete(&mut harness, A, "other");
    harness.subscribe_with(A, 3, "/queue/t", |subscribe| {
        subscribe.durable = Some("s".to_owned());
    });
    let name = || "s".to_owned();
    assert_eq!(
        harness.refusals[..4],
        [
            Refusal::DurableInUse { name: name() },
            Refusal::DurableInUse { name: name() },
            Refusal::ClientIdMissing,
            Refusal::DurableUnknown {
                name: "other".to_owned()
            },
        ]
    );
    assert!(matches!(harness.refusals[4], Refusal::WrongKind { .. }));
    // Another client may use the same name.
    durable(&mut harness, B, "s", 1);
    assert_eq!(harness.refusals.len(), 5);
}

#[test]
fn a_deleted_one_leaves_nothing_behind() {
    let mut harness = harness(Limits::default());
    durable(&mut harness, A, "s", 100);
    harness.run();
    send_numbers(&mut harness, 0..10);
    harness.run();
    let delivered = harness.delivered();
    harness.accept(&delivered[4]);
    harness.run();
    harness.unsubscribe(A, 1);
    let receipt = delete(&mut harness, A, "s");
    assert!(!harness.has_receipt(receipt));
    harness.run();
    assert!(harness.has_receipt(receipt));
    assert_eq!((harness.stored(b't'), harness.stored(b'a')), (0, 0));
    assert_eq!(harness.stored(b'd'), 0);
    assert_eq!(harness.broker.memory.windows, 0);
    // Made again, it begins anew.
    harness.fail_over(0);
    reconnect(&mut harness);
    durable(&mut harness, A, "s", 100);
    send_numbers(&mut harness, 10..11);
    harness.run();
    assert_eq!(harness.bodies(), ["10"]);
}

#[test]
fn with_another_topic_it_is_another_subscription() {
    let mut harness = harness(Limits::default());
    durable(&mut harness, A, "s", 100);
    harness.run();
    harness.unsubscribe(A, 1);
    send_numbers(&mut harness, 0..3);
    harness.run();
    harness.subscribe_with(A, 1, "/topic/u", |subscribe| {
        subscribe.durable = Some("s".to_owned());
    });
    harness.send(C, "/topic/u", "x");
    harness.run();
    assert_eq!(harness.bodies(), ["x"]);
    assert_eq!((harness.stored(b't'), harness.stored(b'd')), (1, 1));
}

#[test]
fn volatile_messages_reach_it_while_it_listens_and_keep_their_place() {
    let mut harness = harness(Limits::default());
    durable(&mut harness, A, "s", 100);
    harness.run();
    harness.send(C, T, "0");
    harness.send_with(C, volatile(T, "1"), |_| {});
    harness.send(C, T, "2");
    harness.subscribe(B, 9, T);
    assert!(harness.deliveries.is_empty());
    harness.run();
    let (durable_ones, others): (Vec<_>, Vec<_>) = harness
        .delivered()
        .into_iter()
        .partition(|one| one.connection == A);
    for seen in [&durable_ones, &others] {
        let bodies: Vec<_> = seen.iter().map(body).collect();
        assert_eq!(bodies, ["0", "1", "2"]);
    }
    for delivery in &durable_ones {
        harness.accept(delivery);
    }
    harness.run();
    assert_eq!(harness.broker.memory.volatile, 0);
}

#[test]
fn numbers_go_on_behind_a_volatile_message_that_it_passed() {
    let mut harness = harness(Limits::default());
    durable(&mut harness, A, "s", 100);
    harness.run();
    harness.send(C, T, "0");
    harness.run();
    harness.send_with(C, volatile(T, "1"), |_| {});
    let delivered = harness.delivered();
    harness.accept(&delivered[1]);
    harness.accept(&delivered[0]);
    harness.run();
    // The subscription's record is past the last number in the topic's.
    harness.fail_over(0);
    reconnect(&mut harness);
    harness.send(C, T, "2");
    harness.run();
    harness.fail_over(0);
    reconnect(&mut harness);
    durable(&mut harness, A, "s", 100);
    harness.run();
    assert_eq!(harness.bodies(), ["2"]);
}

#[test]
fn an_open_volatile_message_does_not_hide_an_acknowledgement() {
    let mut harness = harness(Limits::default());
    durable(&mut harness, A, "s", 100);
    harness.run();
    harness.send_with(C, volatile(T, "0"), |_| {});
    harness.send(C, T, "1");
    harness.run();
    let delivered = harness.delivered();
    harness.accept(&delivered[1]);
    harness.step(A, Command::Disconnect);
    harness.run();
    harness.fail_over(0);
    reconnect(&mut harness);
    durable(&mut harness, A, "s", 100);
    harness.run();
    assert!(harness.deliveries.is_empty());
}
