//! Connections, subscriptions, names and their limits.

use super::harness::*;
use crate::{Command, ConnectionId, DestinationKind, Limits, Refusal};

#[test]
fn a_client_id_belongs_to_one_connection_at_a_time() {
    let mut harness = Harness::with(Limits::default());
    harness.connect(A, Some("me"));
    harness.connect(B, Some("me"));
    let in_use = Refusal::ClientIdInUse {
        client_id: "me".to_owned(),
    };
    assert_eq!(harness.refusals, [in_use]);
    harness.send(B, "q", "x");
    assert_eq!(harness.refusals[1], Refusal::NotConnected);
    harness.step(B, Command::Disconnect);
    harness.step(A, Command::Disconnect);
    harness.connect(C, Some("me"));
    harness.connect(C, Some("other"));
    assert_eq!(harness.refusals[2..], [Refusal::AlreadyConnected]);
}

#[test]
fn each_number_of_things_has_a_limit() {
    let limits = Limits {
        connections_max: 3,
        connection_subscriptions_max: 2,
        connection_transactions_max: 1,
        destinations_max: 2,
        name_bytes_max: 5,
        ..Limits::default()
    };
    let mut harness = Harness::connected(limits);
    harness.connect(ConnectionId(4), None);
    harness.subscribe(A, 1, "a");
    harness.subscribe(A, 1, "a");
    harness.subscribe(A, 2, "b");
    harness.subscribe(A, 3, "b");
    harness.subscribe(B, 1, "c");
    harness.send(B, "/topic/c", "x");
    harness.send(B, "123456", "x");
    harness.begin(A, 1);
    harness.begin(A, 1);
    harness.begin(A, 2);
    let reached: Vec<u64> = harness
        .refusals
        .iter()
        .filter_map(|refusal| {
            let Refusal::LimitReached { limit, .. } = refusal else {
                let exists = [Refusal::SubscriptionExists, Refusal::TransactionExists];
                assert!(exists.contains(refusal));
                return None;
            };
            Some(*limit)
        })
        .collect();
    assert_eq!(reached, [3, 2, 2, 2, 5, 1]);
    assert_eq!(harness.refusals[1], Refusal::SubscriptionExists);
    assert_eq!(harness.refusals[6], Refusal::TransactionExists);
    assert!(harness.deliveries.is_empty() && !harness.seal());
}

#[test]
fn an_address_that_does_not_parse_is_refused() {
    let mut harness = Harness::connected(Limits::default());
    harness.send(A, "/nothing/q", "x");
    harness.subscribe(A, 1, "");
    let all = &harness.refusals;
    assert!(
        all.iter()
            .all(|refusal| matches!(refusal, Refusal::InvalidDestination { .. }))
    );
    assert_eq!(all.len(), 2);
}

#[test]
fn a_flush_is_answered_once_all_before_is_committed() {
    let mut harness = Harness::connected(Limits::default());
    let flush = |harness: &mut Harness, connection| {
        let receipt = harness.receipt();
        harness.step(connection, Command::Flush { receipt });
        receipt
    };
    let at_once = flush(&mut harness, A);
    assert!(harness.has_receipt(at_once));
    harness.send_with(A, message("q", "x"), |send| send.receipt = None);
    harness.seal();
    let later = flush(&mut harness, A);
    // Others do not wait for it.
    let other = flush(&mut harness, B);
    assert!(harness.has_receipt(other));
    assert!(!harness.has_receipt(later));
    harness.commit_one();
    assert!(harness.has_receipt(later));
}

#[test]
fn the_last_words_of_the_gone_are_not_answered() {
    let mut harness = Harness::connected(Limits::default());
    harness.subscribe(A, 1, "q");
    harness.send(B, "q", "x");
    harness.run();
    let delivery = harness.delivered().remove(0);
    harness.unsubscribe(A, 1);
    harness.written(&delivery);
    harness.step(A, Command::Disconnect);
    harness.written(&delivery);
    harness.step(A, Command::Disconnect);
    assert!(harness.refusals.is_empty());
    harness.unsubscribe(B, 7);
    assert_eq!(harness.refusals, [Refusal::SubscriptionUnknown]);
    assert_eq!(harness.depth("q"), 1);
}

#[test]
fn operators_see_all_destinations() {
    let mut harness = Harness::connected(Limits::default());
    harness.subscribe(A, 1, "/queue/q");
    harness.subscribe(B, 1, "/topic/t");
    for _ in 0..3 {
        harness.send(C, "queue://q", "x");
        harness.send(C, "topic://t", "x");
    }
    harness.run();
    let delivered = harness.delivered();
    harness.accept(&delivered[0]);
    let queue = harness.status(DestinationKind::Queue, "q");
    let topic = harness.status(DestinationKind::Topic, "t");
    assert_eq!((queue.depth, topic.depth), (3, 0));
    assert_eq!((queue.consumers, topic.consumers), (1, 1));
    assert_eq!((queue.enqueued, topic.enqueued), (3, 3));
    assert_eq!(queue.in_flight + queue.dequeued, 3);
    assert_eq!(topic.in_flight + topic.dequeued, 3);
    assert_eq!(queue.dequeued + topic.dequeued, 1);
}
