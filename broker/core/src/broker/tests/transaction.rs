//! Transactions: all or nothing, in one batch.

use super::harness::*;
use crate::{Command, Delivery, Disposition, Limits, Refusal, SubscriptionId, TransactionId};

fn send_in(harness: &mut Harness, transaction: u64, to: &str, body: &str) -> crate::Receipt {
    harness.send_with(A, message(to, body), |send| {
        send.transaction = Some(TransactionId(transaction));
    })
}

#[test]
fn nothing_is_seen_before_the_commit_and_all_after_it() {
    let mut harness = Harness::connected(Limits::default());
    harness.subscribe(B, 1, "q");
    harness.send(C, "q", "0");
    harness.run();
    let first = harness.delivered().remove(0);
    harness.subscribe(A, 1, "other");
    harness.begin(B, 1);
    let accepted = harness.settle_delivery(&first, Disposition::Accepted, Some(1));
    let sent = harness.send_with(B, message("other", "x"), |send| {
        send.transaction = Some(TransactionId(1));
    });
    assert!(harness.has_receipt(accepted) && harness.has_receipt(sent));
    assert!(!harness.seal());
    let before = harness.batches;
    let committed = harness.commit_transaction(B, 1);
    assert!(!harness.has_receipt(committed));
    harness.run();
    assert!(harness.has_receipt(committed));
    assert_eq!(harness.batches, before + 1);
    assert_eq!(harness.bodies(), ["x"]);
    assert_eq!(harness.depth("q"), 0);
    harness.commit_transaction(B, 1);
    assert_eq!(harness.refusals, [Refusal::TransactionUnknown]);
}

#[test]
fn an_abort_forgets_sends_and_redelivers_what_was_acknowledged() {
    let mut harness = Harness::connected(Limits::default());
    harness.subscribe_with(B, 1, "q", |subscribe| subscribe.credit = 1);
    for number in 0..3 {
        harness.send(C, "q", &number.to_string());
    }
    harness.run();
    harness.begin(B, 1);
    // Credit is free again within the transaction, or none could take two.
    for number in 0..2 {
        let delivery = harness.delivered().remove(0);
        assert_eq!(body(&delivery), number.to_string());
        harness.settle_delivery(&delivery, Disposition::Accepted, Some(1));
    }
    let third = harness.delivered().remove(0);
    harness.send_with(B, message("q", "never"), |send| {
        send.transaction = Some(TransactionId(1));
    });
    harness.abort(B, 1);
    harness.accept(&third);
    let mut seen = Vec::new();
    while let Some(delivery) = harness.deliveries.pop_front() {
        seen.push((body(&delivery), delivery.redelivered));
        harness.accept(&delivery);
    }
    assert_eq!(seen, [("0".to_owned(), true), ("1".to_owned(), true)]);
    harness.run();
    assert_eq!(harness.depth("q"), 0);
    assert_eq!(harness.broker.memory.transactions, 0);
}

#[test]
fn a_disconnect_rolls_back() {
    let mut harness = Harness::connected(Limits::default());
    harness.subscribe(B, 1, "q");
    harness.send(C, "q", "0");
    harness.run();
    let delivery = harness.delivered().remove(0);
    harness.begin(B, 1);
    harness.settle_delivery(&delivery, Disposition::Accepted, Some(1));
    harness.subscribe(A, 1, "q");
    harness.step(B, Command::Disconnect);
    let again = harness.delivered().remove(0);
    assert_eq!((again.connection, again.redelivered), (A, true));
}

#[test]
fn what_was_acknowledged_stays_so_when_its_subscription_ends() {
    let mut harness = Harness::connected(Limits::default());
    harness.subscribe(B, 1, "q");
    harness.subscribe(B, 2, "/topic/t");
    harness.send(C, "q", "0");
    harness.send(C, "/topic/t", "1");
    harness.run();
    let delivered = harness.delivered();
    for transaction in [1, 2] {
        harness.begin(B, transaction);
    }
    harness.settle_delivery(&delivered[1], Disposition::Accepted, Some(1));
    harness.settle_delivery(&delivered[0], Disposition::Accepted, Some(2));
    harness.unsubscribe(B, 1);
    harness.unsubscribe(B, 2);
    harness.commit_transaction(B, 1);
    harness.abort(B, 2);
    harness.run();
    assert_eq!(harness.depth("q"), 0);
    assert!(harness.deliveries.is_empty() && harness.refusals.is_empty());
}

#[test]
fn a_durable_subscription_is_in_use_while_a_transaction_has_something_of_it() {
    let mut harness = Harness::with(Limits::default());
    harness.connect(A, Some("a"));
    harness.subscribe_with(A, 1, "/topic/t", |subscribe| {
        subscribe.durable = Some("s".to_owned());
    });
    harness.run();
    harness.send(A, "/topic/t", "x");
    harness.run();
    let delivery = harness.delivered().remove(0);
    harness.begin(A, 1);
    harness.settle_delivery(&delivery, Disposition::Accepted, Some(1));
    harness.unsubscribe(A, 1);
    let delete = Command::DeleteDurable {
        name: "s".to_owned(),
        receipt: None,
    };
    harness.step(A, delete.clone());
    assert!(matches!(
        harness.refusals[..],
        [Refusal::DurableInUse { .. }]
    ));
    harness.commit_transaction(A, 1);
    harness.step(A, delete);
    harness.run();
    assert_eq!((harness.refusals.len(), harness.stored(b't')), (1, 0));
}

#[test]
fn a_transaction_over_a_limit_can_only_be_aborted() {
    let limits = Limits {
        transaction_operations_max: 3,
        transaction_bytes_max: 5_000,
        transactions_bytes_max: 8_000,
        ..Limits::default()
    };
    let mut harness = Harness::connected(limits);
    for (bodies, limit) in [([1, 1, 1, 1], 3), ([1, 5_000, 1, 1], 5_000)] {
        harness.begin(A, 1);
        for bytes in bodies {
            send_in(&mut harness, 1, "q", &"x".repeat(bytes));
        }
        harness.commit_transaction(A, 1);
        assert!(harness.refusals.len() > 1);
        for refusal in harness.refusals.drain(..) {
            assert!(
                matches!(refusal, Refusal::LimitReached { limit: known, .. } if known == limit)
            );
        }
        harness.abort(A, 1);
    }
    for transaction in 1..4 {
        harness.begin(A, transaction);
        send_in(&mut harness, transaction, "q", &"x".repeat(3_000));
    }
    assert!(matches!(
        harness.refusals[..],
        [Refusal::LimitReached { limit: 8_000, .. }]
    ));
    assert!(!harness.seal());
    harness.step(A, Command::Disconnect);
    assert_eq!(harness.broker.memory.transactions, 0);
}

/// What a client has sent before it hears of a refusal comes all the same.
#[test]
fn a_transaction_with_a_refused_send_is_not_committed_in_part() {
    let limits = Limits {
        destinations_max: 1,
        message_bytes_max: 1_000,
        ..Limits::default()
    };
    let too_large = "x".repeat(1_001);
    for (to, body) in [
        ("/nothing/q", "x"),
        ("one-too-many", "x"),
        ("q", &too_large),
    ] {
        let mut harness = Harness::connected(limits.clone());
        harness.begin(A, 1);
        send_in(&mut harness, 1, "q", "first");
        send_in(&mut harness, 1, to, body);
        send_in(&mut harness, 1, "q", "last");
        let receipt = harness.commit_transaction(A, 1);
        harness.run();
        assert_eq!(harness.depth("q"), 0, "{to}");
        assert!(!harness.has_receipt(receipt));
        // The refusal of the commit is the one that was the cause.
        assert_eq!(harness.refusals.len(), 3);
        assert_eq!(harness.refusals[0], harness.refusals[2]);
        harness.abort(A, 1);
        assert_eq!(harness.refusals.len(), 3);
        assert_eq!(harness.broker.memory.transactions, 0);
    }
}

#[test]
fn a_transaction_with_a_refused_acknowledgement_is_not_committed_in_part() {
    let mut harness = Harness::connected(Limits::default());
    harness.subscribe(A, 1, "q");
    harness.send(B, "q", "x");
    harness.run();
    let known = harness.delivered().remove(0);
    let delivery_unknown = Delivery {
        delivery: delivery_id(known.delivery.0 + 1),
        ..known.clone()
    };
    let subscription_unknown = Delivery {
        subscription: SubscriptionId(2),
        ..known
    };
    for (unknown, refusal) in [
        (delivery_unknown, Refusal::DeliveryUnknown),
        (subscription_unknown, Refusal::SubscriptionUnknown),
    ] {
        harness.begin(A, 1);
        send_in(&mut harness, 1, "other", "x");
        harness.settle_delivery(&unknown, Disposition::Accepted, Some(1));
        harness.commit_transaction(A, 1);
        harness.run();
        assert_eq!(harness.depth("other"), 0);
        assert_eq!(harness.refusals, [refusal.clone(), refusal]);
        harness.refusals.clear();
        harness.abort(A, 1);
    }
}

#[test]
fn volatile_messages_over_the_limit_refuse_the_commit_until_there_is_room() {
    let limits = Limits {
        volatile_bytes_max: 1_000,
        ..Limits::default()
    };
    let mut harness = Harness::connected(limits);
    harness.begin(A, 1);
    for _ in 0..2 {
        harness.send_with(A, volatile("q", "x"), |send| {
            send.transaction = Some(TransactionId(1));
        });
    }
    for _ in 0..2 {
        harness.send_with(A, volatile("q", "y"), |_| {});
    }
    harness.commit_transaction(A, 1);
    assert!(matches!(
        harness.refusals[..],
        [Refusal::LimitReached { limit: 1_000, .. }]
    ));
    harness.subscribe(B, 1, "q");
    for delivery in harness.delivered() {
        harness.accept(&delivery);
    }
    let receipt = harness.commit_transaction(A, 1);
    assert!(harness.has_receipt(receipt));
    assert_eq!(harness.bodies(), ["x", "x"]);
}

#[test]
fn volatile_messages_of_a_transaction_count_where_they_go() {
    let limits = Limits {
        volatile_bytes_max: 2_000,
        volatile_queue_bytes_max: 1_000,
        ..Limits::default()
    };
    let mut harness = Harness::connected(limits);
    for (places, limit) in [
        (
            vec!["a", "b", "a", "b", "/topic/t", "/topic/t", "/topic/t"],
            None,
        ),
        (vec!["a", "a", "a", "a"], Some(1_000)),
        (vec!["c", "d", "e", "c", "d", "e"], Some(2_000)),
    ] {
        harness.begin(A, 1);
        for place in places {
            harness.send_with(A, volatile(place, "x"), |send| {
                send.transaction = Some(TransactionId(1));
            });
        }
        harness.commit_transaction(A, 1);
        let reached = harness.refusals.pop().map(|refusal| {
            let Refusal::LimitReached { limit, .. } = refusal else {
                panic!("{refusal}")
            };
            limit
        });
        assert_eq!(reached, limit);
        if reached.is_some() {
            harness.abort(A, 1);
        }
    }
    assert_eq!((harness.depth("a"), harness.depth("b")), (2, 2));
}

#[test]
fn a_failover_undoes_an_open_transaction() {
    let mut harness = Harness::connected(Limits::default());
    harness.begin(A, 1);
    send_in(&mut harness, 1, "q", "x");
    harness.commit_transaction(A, 1);
    harness.begin(A, 2);
    send_in(&mut harness, 2, "q", "y");
    harness.fail_over(1);
    harness.connect_all();
    harness.subscribe(B, 1, "q");
    harness.run();
    assert_eq!(harness.bodies(), ["x"]);
}
