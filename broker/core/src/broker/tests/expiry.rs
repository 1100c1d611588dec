//! Messages that expire, wherever they are at that time.

use super::harness::*;
use crate::{Delivery, Limits};

fn mortal(to: &str, body: &str, expires_ms: u64) -> replicamq_proto::store::v1::Message {
    let mut message = message(to, body);
    message.expires_ms = expires_ms;
    message
}

fn next(harness: &mut Harness) -> Delivery {
    harness.deliveries.pop_front().expect("a delivery is due")
}

/// 3 is with its consumer, 4 to 6 are in memory, 7 is in the store alone and
/// being read, and 8, which is to expire at 2 seconds, is behind it in memory.
fn with_one_behind() -> Harness {
    let mut harness = Harness::connected(Limits {
        window_messages_max: 6,
        ..Limits::default()
    });
    harness.subscribe_with(B, 1, "q", |subscribe| subscribe.credit = 1);
    harness.send(A, "q", "0");
    harness.run();
    for number in 1..8 {
        harness.send(A, "q", &number.to_string());
    }
    harness.run();
    for _ in 0..3 {
        let delivery = next(&mut harness);
        harness.accept(&delivery);
        while harness.seal() || harness.commit_one() {}
    }
    assert_eq!(harness.loads.len(), 1);
    harness.send_with(A, mortal("q", "8", 2_000), |_| {});
    while harness.seal() || harness.commit_one() {}
    harness
}

#[test]
fn what_expires_behind_a_gap_that_grows_over_it_is_consumed_once() {
    let mut harness = with_one_behind();
    harness.tick(2_000);
    // The fourth finds no room: the gap grows over all that is behind it.
    for number in 9..13 {
        harness.send(A, "q", &number.to_string());
    }
    harness.load_one();
    let delivery = next(&mut harness);
    harness.accept(&delivery);
    // Nothing since the tick is committed, when the page from 8 is read.
    harness.load_one();
    let mut seen = Vec::new();
    loop {
        harness.run();
        let Some(delivery) = harness.deliveries.pop_front() else {
            break;
        };
        seen.push(body(&delivery));
        harness.accept(&delivery);
    }
    assert_eq!(seen, ["4", "5", "6", "7", "9", "10", "11", "12"]);
    assert_eq!((harness.depth("q"), harness.stored(b'm')), (0, 0));
}

#[test]
fn what_expires_behind_a_gap_goes_when_the_gap_has_closed() {
    let mut harness = with_one_behind();
    harness.tick(2_000);
    harness.run();
    assert_eq!(harness.depth("q"), 6);
    let delivery = next(&mut harness);
    harness.accept(&delivery);
    harness.run();
    // The consumer is busy: only a tick can find it.
    harness.tick(3_000);
    harness.run();
    assert_eq!((harness.depth("q"), harness.stored(b'm')), (4, 4));
}

/// It looked again only when the calendar came to where it had been before.
#[test]
fn a_calendar_that_was_put_back_puts_off_nothing() {
    const HOUR_MS: u64 = 3_600_000;
    let mut harness = Harness::connected(Limits {
        forget_after_ms: 600_000,
        ..Limits::default()
    });
    harness.send(A, "unused", "1");
    harness.subscribe_with(B, 1, "unused", |_| {});
    harness.run();
    let delivery = next(&mut harness);
    harness.accept(&delivery);
    harness.unsubscribe(B, 1);
    harness.run();
    harness.tick(5 * HOUR_MS);
    harness.send_with(A, mortal("q", "2", HOUR_MS + 1_000), |_| {});
    harness.run();
    harness.tick(HOUR_MS);
    harness.run();
    assert_eq!(harness.depth("q"), 1);
    for passed_ms in (1_000..2 * 600_000).step_by(1_000) {
        harness.tick(HOUR_MS + passed_ms);
        harness.run();
    }
    assert_eq!(harness.stored(b'm'), 0);
    assert_eq!(harness.broker.destinations(), []);
}
