//! Browsers see and take nothing.

use super::harness::*;
use crate::{AcknowledgeMode, Command, Limits, Refusal};

fn browse(harness: &mut Harness, number: u64, credit: u32) {
    harness.subscribe_with(B, number, "q", |subscribe| {
        subscribe.browse = true;
        subscribe.mode = AcknowledgeMode::Auto;
        subscribe.credit = credit;
    });
}

#[test]
fn a_browser_sees_everything_once_page_by_page() {
    let limits = Limits {
        browse_page_messages: 10,
        ..Limits::default()
    };
    let mut harness = Harness::connected(limits);
    for number in 0..100 {
        let text = number.to_string();
        if number % 9 == 0 {
            harness.send_with(A, volatile("q", &text), |_| {});
        } else {
            harness.send(A, "q", &text);
        }
    }
    harness.run();
    browse(&mut harness, 1, 4);
    harness.send(A, "q", "too late");
    let mut seen = Vec::new();
    loop {
        harness.run();
        let delivered = harness.delivered();
        assert!(delivered.len() <= 4);
        let Some(last) = delivered.last() else {
            break;
        };
        harness.written(last);
        seen.extend(delivered.iter().map(body));
    }
    let expected: Vec<_> = (0..100).map(|number| number.to_string()).collect();
    assert_eq!(seen, expected);
    assert_eq!(harness.browse_ends, 1);
    assert_eq!(harness.depth("q"), 101);
    // A consumer gets them all the same, without a mark.
    harness.subscribe_with(C, 1, "q", |subscribe| subscribe.credit = 1_000);
    harness.run();
    let delivered = harness.delivered();
    assert_eq!(delivered.len(), 101);
    assert!(delivered.iter().all(|one| !one.redelivered));
}

#[test]
fn what_a_consumer_holds_is_shown_too() {
    let mut harness = Harness::connected(Limits::default());
    harness.subscribe_with(A, 1, "q", |subscribe| subscribe.credit = 1);
    harness.send(C, "q", "0");
    harness.send(C, "q", "1");
    harness.run();
    harness.delivered();
    browse(&mut harness, 1, 10);
    harness.run();
    assert_eq!(harness.bodies(), ["0", "1"]);
    assert_eq!(harness.browse_ends, 1);
}

#[test]
fn an_empty_queue_ends_at_once() {
    let mut harness = Harness::connected(Limits::default());
    browse(&mut harness, 1, 10);
    assert_eq!(harness.browse_ends, 1);
}

#[test]
fn a_browser_that_leaves_is_not_answered() {
    let mut harness = Harness::connected(Limits::default());
    harness.send(A, "q", "x");
    harness.run();
    browse(&mut harness, 1, 10);
    harness.step(B, Command::Disconnect);
    harness.run();
    assert!(harness.deliveries.is_empty());
    assert_eq!(harness.browse_ends, 0);
}

#[test]
fn a_topic_cannot_be_browsed() {
    let mut harness = Harness::connected(Limits::default());
    harness.subscribe_with(B, 1, "/topic/q", |subscribe| subscribe.browse = true);
    assert!(matches!(harness.refusals[..], [Refusal::WrongKind { .. }]));
}
