//! More messages than memory may hold.

use super::harness::*;
use crate::{AcknowledgeMode, Limits};

fn small() -> Limits {
    Limits {
        window_messages_max: 10,
        dispatched_step: 7,
        ..Limits::default()
    }
}

#[test]
fn a_million_waiting_messages_cost_one_window() {
    const COUNT: u64 = 1_000_000;
    let mut harness = Harness::connected(Limits::default());
    for number in 0..COUNT {
        let message = message("q", &number.to_string());
        harness.send_with(A, message, |send| send.receipt = None);
        if number % 1_000 == 0 {
            harness.run();
        }
        assert_eq!(harness.broker.memory.windows, 0);
    }
    harness.run();
    harness.fail_over(0);
    assert_eq!(harness.depth("q"), COUNT);
    harness.connect_all();
    harness.subscribe_with(B, 1, "q", |subscribe| {
        subscribe.mode = AcknowledgeMode::Cumulative;
        subscribe.credit = 100;
    });
    // The window, and what is reserved for the page being read.
    let bound = harness.limits.window_messages_max * 400 + harness.limits.window_bytes_max / 2;
    for number in 0..COUNT {
        if harness.deliveries.is_empty() {
            harness.run();
        }
        let delivery = harness.deliveries.pop_front().unwrap();
        assert_eq!(delivery.message.body, number.to_string().as_bytes());
        assert!(!delivery.redelivered);
        if number % 50 == 49 {
            harness.accept(&delivery);
        }
        assert!(harness.broker.memory.windows <= bound);
    }
    harness.run();
    assert_eq!((harness.depth("q"), harness.stored(b'm')), (0, 0));
}

#[test]
fn the_next_page_is_read_before_the_window_is_empty() {
    let mut harness = Harness::connected(small());
    for number in 0..100 {
        harness.send(A, "q", &number.to_string());
    }
    harness.run();
    harness.subscribe_with(B, 1, "q", |subscribe| subscribe.credit = 1);
    for number in 0..100 {
        harness.run();
        let delivery = harness.delivered().remove(0);
        assert_eq!(body(&delivery), number.to_string());
        if number > 0 && number < 90 {
            let feed = harness.broker.queues_by_name["q"];
            assert!(harness.broker.feeds[feed].backlog.ready().is_some());
        }
        harness.accept(&delivery);
    }
    harness.run();
    assert_eq!(harness.depth("q"), 0);
}

#[test]
fn a_steady_stream_finds_back_to_memory_after_a_backlog() {
    let mut harness = Harness::connected(small());
    for number in 0..100 {
        harness.send(A, "q", &number.to_string());
    }
    harness.run();
    harness.subscribe_with(B, 1, "q", |subscribe| subscribe.credit = 3);
    let mut sent = 100;
    let mut reads_late = 0;
    for number in 0..300 {
        // One message is always uncommitted, so that the end is never quiet.
        if number > 95 {
            harness.send(A, "q", &sent.to_string());
            sent += 1;
        }
        harness.seal();
        if harness.log.len() > 1 {
            harness.commit_one();
        }
        while harness.deliveries.is_empty() {
            reads_late += usize::from(number > 200 && !harness.loads.is_empty());
            assert!(harness.load_one() || harness.commit_one() || harness.seal());
        }
        let delivery = harness.deliveries.pop_front().unwrap();
        assert_eq!(body(&delivery), number.to_string());
        harness.accept(&delivery);
    }
    assert_eq!(reads_late, 0);
}

#[test]
fn volatile_messages_keep_their_place_among_paged_ones() {
    let mut harness = Harness::connected(small());
    for number in 0..60 {
        let text = number.to_string();
        if number % 7 == 3 {
            harness.send_with(A, volatile("q", &text), |_| {});
        } else {
            harness.send(A, "q", &text);
        }
        if number % 11 == 0 {
            harness.run();
        }
    }
    harness.run();
    harness.subscribe_with(B, 1, "q", |subscribe| subscribe.credit = 4);
    for number in 0..60 {
        harness.run();
        let delivery = harness.deliveries.pop_front().unwrap();
        assert_eq!(body(&delivery), number.to_string());
        harness.accept(&delivery);
    }
    harness.run();
    assert_eq!(harness.depth("q"), 0);
    assert_eq!(harness.broker.memory.volatile, 0);
}

#[test]
fn feeds_without_consumers_give_up_their_memory_when_it_is_short() {
    let limits = Limits {
        windows_bytes_max: 200_000,
        ..Limits::default()
    };
    let mut harness = Harness::connected(limits);
    for queue in ["a", "b"] {
        harness.subscribe_with(B, 1, queue, |subscribe| subscribe.credit = 1);
        for number in 0..40 {
            harness.send(A, queue, &format!("{number:010000}"));
        }
        harness.run();
        harness.delivered();
        // Never more than one smallest page beyond the limit.
        assert!(harness.broker.memory.windows <= 300_000);
        let feed = harness.broker.queues_by_name[queue];
        assert!(harness.broker.feeds[feed].backlog.is_keeping());
        harness.unsubscribe(B, 1);
    }
    for queue in ["a", "b"] {
        harness.subscribe_with(B, 1, queue, |subscribe| subscribe.credit = 1);
        for number in 0..40 {
            harness.run();
            let delivery = harness.deliveries.pop_front().unwrap();
            assert_eq!(body(&delivery), format!("{number:010000}"));
            harness.accept(&delivery);
            assert!(harness.broker.memory.windows <= 300_000);
        }
        harness.unsubscribe(B, 1);
    }
    assert_eq!(harness.broker.memory.windows, 0);
}

#[test]
fn the_head_moves_on_so_that_a_new_master_seeks_past_what_is_gone() {
    let mut harness = Harness::connected(small());
    harness.subscribe_with(B, 1, "q", |subscribe| subscribe.credit = 5);
    for number in 0..50 {
        harness.send(A, "q", &number.to_string());
    }
    harness.run();
    for _ in 0..30 {
        let delivery = harness.deliveries.pop_front().unwrap();
        harness.accept(&delivery);
        harness.run();
    }
    harness.fail_over(0);
    harness.connect_all();
    harness.subscribe(B, 1, "q");
    let request = harness.loads.front().unwrap();
    let first = harness.store.keys().find(|key| key[0] == b'm').unwrap();
    assert_eq!(request.from, *first);
}
