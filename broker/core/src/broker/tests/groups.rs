//! Message groups: each to one consumer at a time, in order, and nobody waits for another's.

use replicamq_proto::store::v1::Message;

use super::harness::*;
use crate::{ConnectionId, Limits};

const QUEUE: &str = "/queue/groups";

fn grouped(group: &str, body: &str) -> Message {
    with_header(message(QUEUE, body), "JMSXGroupID", group)
}

impl Harness {
    fn send_grouped(&mut self, group: &str, body: &str) {
        self.send_with(A, grouped(group, body), |_| {});
        self.run();
    }

    fn close_group(&mut self, group: &str, body: &str) {
        let message = with_header(grouped(group, body), "JMSXGroupSeq", "-1");
        self.send_with(A, message, |_| {});
        self.run();
    }

    fn consumer(&mut self, connection: ConnectionId, credit: u32) {
        self.subscribe_with(connection, 1, QUEUE, |subscribe| subscribe.credit = credit);
        self.run();
    }
}

#[test]
fn a_group_stays_with_its_consumer_and_groups_are_shared_out() {
    let mut harness = Harness::connected(Limits::default());
    harness.consumer(B, 10);
    harness.consumer(C, 10);
    for (group, body) in [
        ("g", "g1"),
        ("h", "h1"),
        ("g", "g2"),
        ("g", "g3"),
        ("h", "h2"),
    ] {
        harness.send_grouped(group, body);
    }
    assert_eq!(harness.bodies_of(B), ["g1", "g2", "g3"]);
    assert_eq!(harness.bodies_of(C), ["h1", "h2"]);
}

#[test]
fn what_waits_for_an_owner_without_credit_keeps_nobody_from_the_rest() {
    let mut harness = Harness::connected(Limits::default());
    harness.consumer(B, 1);
    harness.consumer(C, 10);
    for (group, body) in [
        ("g", "g1"),
        ("g", "g2"),
        ("g", "g3"),
        ("h", "h1"),
        ("i", "i1"),
    ] {
        harness.send_grouped(group, body);
    }
    assert_eq!(harness.bodies_of(B), ["g1"]);
    assert_eq!(harness.bodies_of(C), ["h1", "i1"]);
    for body in ["g1", "g2", "g3"] {
        let at = harness
            .deliveries
            .iter()
            .position(|one| one.connection == B);
        let delivery = harness.deliveries.remove(at.unwrap()).unwrap();
        assert_eq!(super::harness::body(&delivery), body);
        harness.accept(&delivery);
        harness.run();
    }
    assert_eq!(harness.depth("groups"), 2);
    assert_eq!(harness.broker.memory.windows, 0);
}

#[test]
fn the_groups_of_a_consumer_that_goes_find_others_in_order() {
    let mut harness = Harness::connected(Limits::default());
    harness.consumer(B, 2);
    harness.consumer(C, 10);
    for number in 0..6 {
        harness.send_grouped("g", &number.to_string());
    }
    assert_eq!(
        (harness.bodies_of(B).len(), harness.bodies_of(C).len()),
        (2, 0)
    );
    harness.delivered();
    harness.unsubscribe(B, 1);
    harness.run();
    assert_eq!(harness.bodies_of(C), ["0", "1", "2", "3", "4", "5"]);
    let marks: Vec<bool> = harness
        .deliveries
        .iter()
        .map(|one| one.redelivered)
        .collect();
    let (first, second) = (true, true);
    assert_eq!(
        marks,
        [first, second, false, false, false, false],
        "those that B had"
    );
}

#[test]
fn a_closed_group_begins_anew_with_whose_turn_it_is() {
    let mut harness = Harness::connected(Limits::default());
    harness.consumer(B, 10);
    harness.consumer(C, 10);
    harness.send_grouped("g", "1");
    harness.close_group("g", "2");
    harness.send_grouped("g", "3");
    harness.send_grouped("g", "4");
    assert_eq!(harness.bodies_of(B), ["1", "2"]);
    assert_eq!(harness.bodies_of(C), ["3", "4"]);
}

/// A message that comes back goes before what waits for the same owner.
#[test]
fn what_an_owner_gives_back_comes_first_again() {
    let mut harness = Harness::connected(Limits::default());
    harness.consumer(B, 1);
    harness.consumer(C, 1);
    for number in 0..3 {
        harness.send_grouped("g", &number.to_string());
    }
    let first = harness.deliveries.pop_front().unwrap();
    harness.reject(&first);
    harness.run();
    assert_eq!(harness.bodies_of(B), ["0"]);
}

#[test]
fn too_many_groups_are_forgotten_and_too_much_is_not_held() {
    let limits = Limits {
        groups_max: 2,
        window_messages_max: 4,
        ..Limits::default()
    };
    let mut harness = Harness::connected(limits);
    harness.consumer(B, 1);
    harness.consumer(C, 100);
    for number in 0..20 {
        harness.send_grouped("g", &number.to_string());
    }
    harness.send_grouped("h", "behind");
    assert_eq!(
        harness.bodies_of(C),
        [""; 0],
        "a window of others is held, and no more"
    );
    let first = harness.deliveries.pop_front().unwrap();
    harness.unsubscribe(first.connection, 1);
    harness.run();
    assert_eq!(harness.bodies_of(C).len(), 21);
    for group in ["i", "j", "k", "l"] {
        harness.send_grouped(group, group);
    }
    assert_eq!(harness.bodies_of(C).len(), 25);
}

#[test]
fn owners_may_select() {
    let mut harness = Harness::connected(Limits::default());
    harness.subscribe_with(B, 1, QUEUE, |subscribe| {
        subscribe.selector = Some("JMSPriority < 10".to_owned());
    });
    harness.consumer(C, 10);
    for number in 0..10 {
        let group = if number % 2 == 0 { "g" } else { "h" };
        harness.send_grouped(group, &number.to_string());
    }
    let (one, other) = (harness.bodies_of(B), harness.bodies_of(C));
    assert_eq!((one.len(), other.len()), (5, 5), "{one:?} {other:?}");
    for own in [one, other] {
        let parities: Vec<u32> = own
            .iter()
            .map(|one| one.parse::<u32>().unwrap() % 2)
            .collect();
        assert!(
            parities.iter().all(|parity| *parity == parities[0]),
            "{own:?}"
        );
    }
}

/// The owner of a group used to get what it does not select.
#[test]
fn an_owner_that_selects_gets_of_its_group_what_it_selects() {
    let mut harness = Harness::connected(Limits::default());
    harness.subscribe_with(B, 1, QUEUE, |subscribe| {
        subscribe.selector = Some("JMSPriority < 5".to_owned());
    });
    harness.send_grouped("g", "low");
    harness.consumer(C, 10);
    let mut urgent = grouped("g", "high");
    urgent.priority = 9;
    harness.send_with(A, urgent, |_| {});
    harness.run();
    harness.send_grouped("g", "low again");
    assert_eq!(harness.bodies_of(B), ["low", "low again"]);
    assert_eq!(harness.bodies_of(C), ["high"]);
}

/// What waited for the owner used to reach it beside the exclusive consumer.
#[test]
fn an_exclusive_consumer_gets_what_waited_for_owners_too() {
    let mut harness = Harness::connected(Limits::default());
    harness.consumer(B, 1);
    for number in 0..3 {
        harness.send_grouped("g", &number.to_string());
    }
    harness.consumer(C, 10);
    harness.send_grouped("g", "3");
    harness.unsubscribe(C, 1);
    harness.subscribe_with(C, 1, QUEUE, |subscribe| subscribe.exclusive = true);
    harness.run();
    let first = harness.deliveries.pop_front().unwrap();
    harness.accept(&first);
    harness.run();
    assert_eq!(harness.bodies_of(C), ["1", "2", "3"]);
    assert_eq!(harness.bodies_of(B), [""; 0]);
}
