//! Acknowledgements: modes, rejections, dead letters.

use super::harness::*;
use crate::{AcknowledgeMode, DestinationKind, Limits, Refusal};

fn with_messages(mode: AcknowledgeMode, count: u64) -> Harness {
    let mut harness = Harness::connected(Limits::default());
    harness.subscribe_with(B, 1, "q", |subscribe| subscribe.mode = mode);
    for number in 0..count {
        harness.send(A, "q", &number.to_string());
    }
    harness.run();
    harness
}

#[test]
fn a_cumulative_acknowledgement_covers_all_before() {
    let mut harness = with_messages(AcknowledgeMode::Cumulative, 5);
    let delivered = harness.delivered();
    harness.accept(&delivered[2]);
    harness.run();
    assert_eq!(harness.depth("q"), 2);
    harness.accept(&delivered[1]);
    assert_eq!(harness.refusals, [Refusal::DeliveryUnknown]);
}

#[test]
fn an_individual_acknowledgement_covers_one() {
    let mut harness = with_messages(AcknowledgeMode::Individual, 5);
    let delivered = harness.delivered();
    harness.accept(&delivered[2]);
    harness.run();
    assert_eq!(harness.depth("q"), 4);
    harness.fail_over(0);
    harness.connect_all();
    harness.subscribe(B, 1, "q");
    harness.run();
    assert_eq!(harness.bodies(), ["0", "1", "3", "4"]);
}

#[test]
fn what_is_written_to_an_auto_subscription_is_acknowledged() {
    let mut harness = with_messages(AcknowledgeMode::Auto, 15);
    let delivered = harness.delivered();
    assert_eq!(delivered.len(), 10);
    harness.written(&delivered[9]);
    assert_eq!(harness.delivered().len(), 5);
    harness.run();
    assert_eq!(harness.depth("q"), 5);
    // An old word does no harm.
    harness.written(&delivered[3]);
    harness.run();
    assert_eq!(harness.depth("q"), 5);
    assert!(harness.refusals.is_empty());
}

#[test]
fn rejected_messages_come_again_in_order_with_the_mark() {
    let mut harness = with_messages(AcknowledgeMode::Cumulative, 3);
    let delivered = harness.delivered();
    let receipt = harness.reject(&delivered[1]);
    assert!(harness.has_receipt(receipt));
    let again = harness.delivered();
    let seen: Vec<_> = again
        .iter()
        .map(|one| (body(one), one.redelivered, one.redeliveries))
        .collect();
    assert_eq!(seen, [("0".to_owned(), true, 1), ("1".to_owned(), true, 1)]);
    assert!(again[0].delivery > delivered[2].delivery);
}

#[test]
fn too_many_rejections_lead_to_the_dead_letters() {
    let mut harness = with_messages(AcknowledgeMode::Individual, 1);
    for round in 0..7 {
        let delivered = harness.delivered();
        assert_eq!(delivered[0].redeliveries, round);
        let receipt = harness.reject(&delivered[0]);
        assert_eq!(harness.has_receipt(receipt), round < 6);
        if round < 6 {
            assert!(!harness.seal());
        }
    }
    assert!(harness.seal());
    assert_eq!(harness.batches, 2);
    harness.run();
    assert_eq!((harness.depth("q"), harness.depth("ActiveMQ.DLQ")), (0, 1));
    harness.subscribe(C, 1, "ActiveMQ.DLQ");
    harness.run();
    let letter = harness.delivered().remove(0);
    let headers: Vec<_> = letter
        .message
        .headers
        .iter()
        .map(|header| (header.name.as_str(), header.value.as_str()))
        .collect();
    assert_eq!(headers[0], ("original-destination", "q"));
    assert_eq!(headers[1].0, "dlqDeliveryFailureCause");
    assert_eq!(letter.message.destination, "/queue/ActiveMQ.DLQ");
    assert!(!letter.redelivered);
    // A dead letter stays where it is, whatever its reader does.
    let mut letter = letter;
    for _ in 0..20 {
        harness.reject(&letter);
        letter = harness.delivered().remove(0);
    }
    assert_eq!(harness.depth("ActiveMQ.DLQ"), 1);
}

#[test]
fn what_does_not_exist_is_refused() {
    let mut harness = with_messages(AcknowledgeMode::Individual, 1);
    let mut delivery = harness.delivered().remove(0);
    harness.accept(&delivery);
    harness.accept(&delivery);
    delivery.delivery = delivery_id(999);
    harness.accept(&delivery);
    delivery.subscription = crate::SubscriptionId(9);
    harness.accept(&delivery);
    delivery.connection = crate::ConnectionId(99);
    harness.accept(&delivery);
    assert_eq!(
        harness.refusals,
        [
            Refusal::DeliveryUnknown,
            Refusal::DeliveryUnknown,
            Refusal::SubscriptionUnknown,
            Refusal::NotConnected,
        ]
    );
    let status = harness.status(DestinationKind::Queue, "q");
    assert_eq!((status.dequeued, status.in_flight), (1, 0));
}
