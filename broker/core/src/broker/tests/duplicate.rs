//! Sends that are repeated with their keys.

use super::harness::*;
use crate::{Limits, Receipt, TransactionId};

fn send_keyed(harness: &mut Harness, to: &str, key: &str) -> Receipt {
    harness.send_with(A, message(to, key), |send| {
        send.duplicate_key = Some(key.to_owned());
    })
}

#[test]
fn a_repeated_send_is_stored_once_and_receipted_after_the_first() {
    let mut harness = Harness::connected(Limits::default());
    let first = send_keyed(&mut harness, "q", "k");
    harness.seal();
    let second = send_keyed(&mut harness, "/queue/q", "k");
    assert!(!harness.seal());
    assert!(!harness.has_receipt(second));
    harness.commit_one();
    assert!(harness.has_receipt(first) && harness.has_receipt(second));
    assert_eq!(harness.depth("q"), 1);
    let third = send_keyed(&mut harness, "q", "k");
    assert!(harness.has_receipt(third));
    // Keys count within their destination.
    send_keyed(&mut harness, "other", "k");
    assert_eq!(harness.depth("other"), 1);
}

#[test]
fn the_window_survives_a_failover_and_slides() {
    let limits = Limits {
        duplicate_window: 10,
        ..Limits::default()
    };
    let mut harness = Harness::connected(limits);
    for number in 0..25 {
        send_keyed(&mut harness, "q", &number.to_string());
    }
    harness.run();
    assert_eq!(harness.depth("q"), 25);
    harness.fail_over(0);
    harness.connect_all();
    for number in 15..25 {
        let receipt = send_keyed(&mut harness, "q", &number.to_string());
        assert!(harness.has_receipt(receipt));
    }
    assert_eq!(harness.depth("q"), 25);
    send_keyed(&mut harness, "q", "14");
    assert_eq!(harness.depth("q"), 26);
}

#[test]
fn an_uncommitted_key_is_forgotten_with_its_message() {
    let mut harness = Harness::connected(Limits::default());
    send_keyed(&mut harness, "q", "k");
    harness.fail_over(0);
    harness.connect_all();
    send_keyed(&mut harness, "q", "k");
    harness.run();
    assert_eq!(harness.depth("q"), 1);
}

#[test]
fn in_a_transaction_a_key_counts_from_the_commit() {
    let mut harness = Harness::connected(Limits::default());
    let in_transaction = |harness: &mut Harness| {
        harness.begin(A, 1);
        harness.send_with(A, message("q", "x"), |send| {
            send.duplicate_key = Some("k".to_owned());
            send.transaction = Some(TransactionId(1));
        });
    };
    in_transaction(&mut harness);
    harness.abort(A, 1);
    in_transaction(&mut harness);
    harness.commit_transaction(A, 1);
    harness.run();
    in_transaction(&mut harness);
    let receipt = harness.commit_transaction(A, 1);
    assert!(harness.has_receipt(receipt));
    assert_eq!(harness.depth("q"), 1);
}

#[test]
fn a_flood_of_volatile_messages_makes_no_stored_key_forgotten() {
    let limits = Limits {
        duplicate_window: 10,
        duplicate_window_volatile: 10,
        ..Limits::default()
    };
    let mut harness = Harness::connected(limits);
    for number in 0..10 {
        send_keyed(&mut harness, "q", &number.to_string());
    }
    harness.run();
    for number in 0..100 {
        harness.send_with(A, volatile("other", "x"), |send| {
            send.duplicate_key = Some(number.to_string());
        });
        // Nobody listens to it, and so it is not stored.
        send_keyed(&mut harness, "/topic/t", &number.to_string());
    }
    for number in 0..10 {
        send_keyed(&mut harness, "q", &number.to_string());
    }
    harness.run();
    assert_eq!((harness.depth("q"), harness.depth("other")), (10, 100));
}

#[test]
fn keys_of_volatile_messages_are_not_stored() {
    let mut harness = Harness::connected(Limits::default());
    for _ in 0..2 {
        harness.send_with(A, volatile("q", "x"), |send| {
            send.duplicate_key = Some("k".to_owned());
        });
    }
    assert_eq!(harness.depth("q"), 1);
    assert!(!harness.seal());
}
