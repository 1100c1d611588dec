//! Destinations that nobody uses any more.

use super::harness::*;
use crate::{ConnectionId, Limits, Refusal};

/// As configured by default.
const AFTER_MS: u64 = 600_000;
const T: &str = "/topic/t";

fn names(harness: &Harness) -> Vec<String> {
    let all = harness.broker.destinations().into_iter();
    all.map(|one| one.name).collect()
}

/// Ticks as they come, for so long.
fn rest(harness: &mut Harness, ms: u64) {
    let until_ms = harness.now_ms + ms;
    while harness.now_ms < until_ms {
        harness.tick((harness.now_ms + 10_000).min(until_ms));
        harness.run();
    }
}

/// A queue and a topic that were used once and are empty.
fn used() -> Harness {
    let mut harness = Harness::connected(Limits {
        destinations_max: 2,
        ..Limits::default()
    });
    harness.send(A, "q", "1");
    harness.send(A, T, "1");
    harness.subscribe(B, 1, "q");
    harness.run();
    let delivery = harness.deliveries.pop_front().unwrap();
    harness.accept(&delivery);
    harness.unsubscribe(B, 1);
    harness.run();
    assert_eq!(names(&harness), ["q", "t"]);
    harness
}

#[test]
fn what_nobody_used_for_long_is_forgotten_and_makes_room() {
    let mut harness = used();
    harness.send(A, "other", "1");
    assert!(matches!(
        harness.refusals.pop(),
        Some(Refusal::LimitReached { limit: 2, .. })
    ));
    rest(&mut harness, AFTER_MS / 2);
    assert_eq!(names(&harness), ["q", "t"]);
    rest(&mut harness, AFTER_MS);
    assert_eq!(names(&harness), [""; 0]);
    assert!(
        harness
            .store
            .keys()
            .all(|key| key[0] == b'W' || key[0] == b'w')
    );
    // The same connection, which knew where its last send went.
    let receipt = harness.send(A, T, "2");
    harness.send(A, "q", "2");
    harness.run();
    assert!(harness.has_receipt(receipt));
    assert_eq!((names(&harness).len(), harness.depth("q")), (2, 1));
    harness.fail_over(10);
    assert_eq!(harness.depth("q"), 1);
}

#[test]
fn each_use_begins_the_time_anew() {
    let mut harness = used();
    rest(&mut harness, AFTER_MS / 2);
    harness.subscribe(C, 1, "q");
    harness.unsubscribe(C, 1);
    harness.send(A, T, "2");
    harness.run();
    rest(&mut harness, AFTER_MS / 2 + AFTER_MS / 4);
    assert_eq!(names(&harness), ["q", "t"]);
    rest(&mut harness, AFTER_MS / 2);
    assert_eq!(names(&harness), [""; 0]);
}

#[test]
fn what_anything_holds_on_to_stays() {
    let consumer = |harness: &mut Harness| {
        harness.subscribe(C, 1, "q");
        harness.subscribe(C, 2, T);
    };
    let browser = |harness: &mut Harness| {
        harness.subscribe_with(C, 1, "q", |subscribe| subscribe.browse = true);
        harness.subscribe(C, 2, T);
    };
    let sends = |harness: &mut Harness| {
        harness.begin(C, 1);
        for to in ["q", T] {
            harness.send_with(C, message(to, "x"), |send| {
                send.transaction = Some(crate::TransactionId(1));
            });
        }
    };
    let messages = |harness: &mut Harness| {
        harness.send(C, "q", "x");
        reconnect(harness, C, "c");
        harness.subscribe_with(C, 1, T, |subscribe| {
            subscribe.durable = Some("s".to_owned());
        });
        harness.run();
        harness.unsubscribe(C, 1);
    };
    let holds: [&dyn Fn(&mut Harness); 4] = [&consumer, &browser, &sends, &messages];
    for (number, hold) in holds.into_iter().enumerate() {
        let mut harness = used();
        hold(&mut harness);
        harness.run();
        rest(&mut harness, 3 * AFTER_MS);
        assert_eq!(names(&harness), ["q", "t"], "{number}");
        if number == 2 {
            harness.commit_transaction(C, 1);
            harness.run();
            assert_eq!(harness.depth("q"), 1);
        }
    }
}

fn reconnect(harness: &mut Harness, connection: ConnectionId, client_id: &str) {
    harness.step(connection, crate::Command::Disconnect);
    harness.connect(connection, Some(client_id));
}

#[test]
fn a_copy_acknowledged_in_a_transaction_keeps_its_topic() {
    let mut harness = used();
    harness.subscribe(C, 1, T);
    harness.send(A, T, "2");
    harness.run();
    harness.begin(C, 1);
    let delivery = harness.deliveries.pop_front().unwrap();
    harness.settle_delivery(&delivery, crate::Disposition::Accepted, Some(1));
    harness.unsubscribe(C, 1);
    rest(&mut harness, 3 * AFTER_MS);
    assert_eq!(names(&harness), ["t"]);
    harness.commit_transaction(C, 1);
    rest(&mut harness, 3 * AFTER_MS);
    assert_eq!(names(&harness), [""; 0]);
}

#[test]
fn after_a_failover_it_is_there_and_empty_or_not_there() {
    for survivors in [0, 1] {
        let mut harness = used();
        while !names(&harness).is_empty() {
            harness.tick(harness.now_ms + 10_000);
        }
        harness.fail_over(survivors);
        harness.connect_all();
        let left = if survivors == 0 { &["q"][..] } else { &[] };
        assert_eq!(
            names(&harness),
            left,
            "a topic without durables has no record"
        );
        // Its number may be given again: nothing of the old one is found under it.
        harness.send(A, "new", "n");
        harness.subscribe(B, 1, "new");
        harness.run();
        assert_eq!(harness.bodies(), ["n"]);
        rest(&mut harness, 2 * AFTER_MS);
        assert_eq!(names(&harness), ["new"]);
    }
}
