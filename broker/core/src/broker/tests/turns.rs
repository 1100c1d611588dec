//! Whose turn it is among the consumers of a queue.

use super::harness::*;
use crate::{ConnectionId, Limits};

const QUEUE: &str = "/queue/turns";

fn sends(harness: &mut Harness, count: u32) {
    for number in 0..count {
        harness.send(A, QUEUE, &number.to_string());
        harness.run();
    }
}

fn with_priority(harness: &mut Harness, connection: ConnectionId, priority: i8, credit: u32) {
    harness.subscribe_with(connection, 1, QUEUE, |subscribe| {
        subscribe.priority = priority;
        subscribe.credit = credit;
    });
}

#[test]
fn a_higher_priority_gets_all_as_long_as_it_has_credit() {
    let mut harness = Harness::connected(Limits::default());
    with_priority(&mut harness, B, 0, 10);
    with_priority(&mut harness, C, 5, 2);
    sends(&mut harness, 4);
    assert_eq!(harness.bodies_of(C), ["0", "1"]);
    assert_eq!(harness.bodies_of(B), ["2", "3"]);
    let first = harness.deliveries.pop_front().unwrap();
    harness.accept(&first);
    sends(&mut harness, 1);
    assert_eq!(harness.deliveries.back().unwrap().connection, C);
}

#[test]
fn a_higher_priority_counts_whatever_the_others_select() {
    let mut harness = Harness::connected(Limits::default());
    harness.subscribe(B, 1, QUEUE);
    harness.subscribe_with(C, 1, QUEUE, |subscribe| {
        subscribe.priority = 1;
        subscribe.selector = Some("JMSPriority >= 0".to_owned());
    });
    sends(&mut harness, 5);
    assert_eq!(harness.bodies_of(C).len(), 5);
    assert_eq!(harness.bodies_of(B).len(), 0);
}

/// Who takes everything must not get all that others select.
#[test]
fn consumers_with_and_without_a_selector_take_turns() {
    let mut harness = Harness::connected(Limits::default());
    let big = |subscribe: &mut crate::Subscribe| subscribe.credit = 100;
    harness.subscribe_with(B, 1, QUEUE, big);
    harness.subscribe_with(C, 1, QUEUE, |subscribe| {
        big(subscribe);
        subscribe.selector = Some("JMSPriority >= 0".to_owned());
    });
    harness.subscribe_with(A, 1, QUEUE, |subscribe| {
        big(subscribe);
        subscribe.selector = Some("JMSPriority < 10".to_owned());
    });
    sends(&mut harness, 30);
    for connection in [A, B, C] {
        assert_eq!(harness.bodies_of(connection).len(), 10, "{connection:?}");
    }
}

fn exclusively(harness: &mut Harness, connection: ConnectionId, priority: i8) {
    harness.subscribe_with(connection, 1, QUEUE, |subscribe| {
        subscribe.exclusive = true;
        subscribe.priority = priority;
    });
}

#[test]
fn an_exclusive_consumer_gets_everything_and_the_next_one_after_it() {
    let mut harness = Harness::connected(Limits::default());
    harness.subscribe_with(A, 1, QUEUE, |subscribe| {
        subscribe.selector = Some("JMSPriority >= 0".to_owned());
    });
    exclusively(&mut harness, B, 0);
    exclusively(&mut harness, C, 0);
    sends(&mut harness, 15);
    assert_eq!(harness.bodies_of(B).len(), 10, "it has no more credit");
    assert_eq!(harness.deliveries.len(), 10, "and nobody stands in for it");
    harness.delivered();
    harness.unsubscribe(B, 1);
    harness.run();
    let all: Vec<String> = (0..10).map(|number: u32| number.to_string()).collect();
    assert_eq!(harness.bodies_of(C), all);
    harness.delivered();
    harness.unsubscribe(C, 1);
    harness.run();
    assert_eq!(harness.bodies_of(A), all, "nobody is exclusive any more");
}

#[test]
fn of_exclusive_consumers_the_highest_priority_counts() {
    let mut harness = Harness::connected(Limits::default());
    exclusively(&mut harness, B, 0);
    sends(&mut harness, 1);
    exclusively(&mut harness, C, 3);
    sends(&mut harness, 1);
    exclusively(&mut harness, A, 3);
    sends(&mut harness, 1);
    assert_eq!(
        (harness.bodies_of(B).len(), harness.bodies_of(C).len()),
        (1, 2)
    );
}
