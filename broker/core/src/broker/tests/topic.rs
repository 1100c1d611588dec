//! Topics without durable subscriptions.

use super::harness::*;
use crate::{DestinationKind, Limits};

const T: &str = "/topic/t";

#[test]
fn every_subscriber_gets_its_own_copy_and_nothing_is_stored() {
    let mut harness = Harness::connected(Limits::default());
    harness.send(C, T, "before anybody came");
    harness.subscribe(A, 1, T);
    harness.subscribe(A, 2, T);
    harness.subscribe(B, 1, T);
    let receipt = harness.send(C, T, "x");
    assert!(harness.has_receipt(receipt));
    assert_eq!(harness.bodies(), ["x", "x", "x"]);
    assert!(!harness.seal());
}

#[test]
fn a_slow_subscriber_loses_the_oldest_and_holds_up_nobody() {
    let limits = Limits {
        topic_pending_messages_max: 3,
        ..Limits::default()
    };
    let mut harness = Harness::connected(limits);
    harness.subscribe_with(A, 1, T, |subscribe| subscribe.credit = 1);
    harness.subscribe_with(B, 1, T, |subscribe| subscribe.credit = 100);
    for number in 0..10 {
        harness.send(C, T, &number.to_string());
    }
    let (slow, fast): (Vec<_>, Vec<_>) = harness
        .delivered()
        .into_iter()
        .partition(|one| one.connection == A);
    assert_eq!((slow.len(), fast.len()), (1, 10));
    let mut delivery = slow[0].clone();
    let mut seen = vec![body(&delivery)];
    for _ in 0..3 {
        harness.accept(&delivery);
        delivery = harness.delivered().remove(0);
        seen.push(body(&delivery));
    }
    assert_eq!(seen, ["0", "7", "8", "9"]);
    harness.accept(&delivery);
    assert!(harness.deliveries.is_empty());
    let key = harness.broker.clients.connections[harness.broker.clients.by_id[&A]].subscriptions
        [&crate::SubscriptionId(1)];
    assert_eq!(harness.broker.clients.subscriptions[key].dropped, 6);
}

#[test]
fn a_slow_subscriber_holds_bounded_bytes() {
    let limits = Limits {
        topic_pending_bytes_max: 3_000,
        ..Limits::default()
    };
    let mut harness = Harness::connected(limits);
    harness.subscribe_with(A, 1, T, |subscribe| subscribe.credit = 1);
    for _ in 0..10 {
        harness.send(C, T, &"x".repeat(1_000));
    }
    // One larger than the limit is kept, alone.
    harness.send(C, T, &"y".repeat(5_000));
    let first = harness.delivered().remove(0);
    harness.accept(&first);
    let second = harness.delivered().remove(0);
    assert!(body(&second).starts_with('y'));
}

#[test]
fn a_rejected_copy_comes_again_to_the_same_subscriber() {
    let mut harness = Harness::connected(Limits::default());
    harness.subscribe_with(A, 1, T, |subscribe| {
        subscribe.credit = 3;
        subscribe.mode = crate::AcknowledgeMode::Cumulative;
    });
    for number in 0..4 {
        harness.send(C, T, &number.to_string());
    }
    let delivered = harness.delivered();
    harness.reject(&delivered[1]);
    let again = harness.delivered();
    let seen: Vec<_> = again
        .iter()
        .map(|one| (body(one), one.redelivered))
        .collect();
    assert_eq!(seen, [("0".to_owned(), true), ("1".to_owned(), true)]);
    for _ in 0..6 {
        let delivered = harness.delivered();
        let last = delivered.last().unwrap_or(&again[1]).clone();
        harness.reject(&last);
    }
    harness.run();
    assert_eq!(harness.depth("ActiveMQ.DLQ"), 2);
}

#[test]
fn a_queue_and_a_topic_of_one_name_are_two() {
    let mut harness = Harness::connected(Limits::default());
    harness.subscribe(A, 1, T);
    harness.send(C, "/queue/t", "x");
    harness.run();
    assert!(harness.deliveries.is_empty());
    assert_eq!(harness.depth("t"), 1);
    assert_eq!(harness.status(DestinationKind::Topic, "t").enqueued, 0);
}

#[test]
fn expired_copies_are_not_delivered() {
    let mut harness = Harness::connected(Limits::default());
    harness.subscribe_with(A, 1, T, |subscribe| subscribe.credit = 1);
    harness.send(C, T, "first");
    let mut mortal = message(T, "mortal");
    mortal.expires_ms = 2_000;
    harness.send_with(C, mortal, |_| {});
    harness.send(C, T, "last");
    harness.now_ms = 2_000;
    let first = harness.delivered().remove(0);
    harness.accept(&first);
    assert_eq!(harness.bodies(), ["last"]);
}
