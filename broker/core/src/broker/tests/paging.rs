//! More messages than memory may hold.

use super::harness::*;
use crate::backlog::Backlog;
use crate::{AcknowledgeMode, Disposition, Limits};

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
    assert_eq!(request.0.from, *first);
}

fn short() -> Limits {
    Limits {
        windows_bytes_max: 200_000,
        redeliveries_max: 2,
        ..Limits::default()
    }
}

fn large(number: u32) -> String {
    format!("{number:010000}")
}

/// Enough work on a queue to make memory short.
fn press(harness: &mut Harness) {
    harness.subscribe_with(C, 9, "press", |subscribe| subscribe.credit = 1);
    for number in 0..30 {
        harness.send(A, "press", &large(number));
        harness.run();
    }
    for _ in 0..30 {
        let delivery = harness.deliveries.pop_front().unwrap();
        harness.accept(&delivery);
        harness.run();
    }
    harness.unsubscribe(C, 9);
}

fn backlog<'h>(harness: &'h Harness, place: &str) -> &'h Backlog {
    let broker = &harness.broker;
    let durables = &broker.durables_by_name;
    let queue = broker.queues_by_name.get(place);
    let feed = queue.or_else(|| durables.values().next()).unwrap();
    &broker.feeds[*feed].backlog
}

#[test]
fn what_came_back_leaves_memory_too_and_returns_as_it_was() {
    for (place, durable) in [("q", None), ("/topic/t", Some("s".to_owned()))] {
        let mut harness = Harness::with(short());
        for (connection, client_id) in [(A, None), (B, Some("b")), (C, None)] {
            harness.connect(connection, client_id);
        }
        let subscribe = |harness: &mut Harness| {
            harness.subscribe_with(B, 1, place, |subscribe| {
                subscribe.credit = 100;
                subscribe.durable.clone_from(&durable);
            });
        };
        subscribe(&mut harness);
        for number in 0..50 {
            harness.send(A, place, &large(number));
        }
        harness.run();
        // One is refused, some are done with, one of these in a transaction.
        let delivered = harness.delivered();
        harness.reject(&delivered[40]);
        for delivery in &delivered[10..20] {
            harness.accept(delivery);
        }
        harness.begin(B, 1);
        harness.settle_delivery(&delivered[20], Disposition::Accepted, Some(1));
        harness.run();
        harness.unsubscribe(B, 1);
        harness.delivered();
        assert!(harness.broker.memory.windows > 300_000);
        press(&mut harness);
        assert!(!backlog(&harness, place).is_keeping());
        assert_eq!(harness.broker.memory.windows, 0);

        subscribe(&mut harness);
        harness.commit_transaction(B, 1);
        // Its deletion is not committed when the page over it is read.
        while harness.load_one() {}
        let mut first = Vec::new();
        let mut failed = Vec::new();
        loop {
            harness.run();
            // Never more than one smallest page beyond the limit.
            assert!(harness.broker.memory.windows <= 300_000);
            let Some(delivery) = harness.deliveries.pop_front() else {
                break;
            };
            let number: u32 = body(&delivery).parse().unwrap();
            if number == 40 {
                failed.push(delivery.redeliveries);
                harness.reject(&delivery);
            } else {
                assert_eq!(delivery.redeliveries, 1);
                harness.accept(&delivery);
            }
            if failed.len() < 2 {
                first.push(number);
            }
        }
        let expected = (0..10).chain(21..50).filter(|number| *number != 40);
        first.retain(|number| *number != 40);
        assert!(first.len() > 20 && expected.take(first.len()).eq(first));
        assert_eq!(failed, [2, 3]);
        assert_eq!(harness.depth("ActiveMQ.DLQ"), 1);
        let waiting = backlog(&harness, place);
        assert!(waiting.ready().is_none() && !waiting.is_oldest_open());
    }
}

#[test]
fn a_page_that_comes_after_the_last_consumer_left_is_given_up_too() {
    let mut harness = Harness::connected(short());
    for number in 0..50 {
        harness.send(A, "q", &large(number));
    }
    harness.run();
    harness.subscribe(B, 1, "q");
    harness.unsubscribe(B, 1);
    assert!(harness.load_one());
    assert!(backlog(&harness, "q").is_keeping());
    press(&mut harness);
    assert!(!backlog(&harness, "q").is_keeping());
    assert_eq!(harness.broker.memory.windows, 0);
}

#[test]
fn what_a_transaction_gives_back_without_a_consumer_is_given_up_too() {
    let mut harness = Harness::connected(short());
    harness.subscribe(B, 1, "q");
    harness.send(A, "q", &large(0));
    harness.run();
    let delivery = harness.delivered().remove(0);
    harness.begin(B, 1);
    harness.settle_delivery(&delivery, Disposition::Accepted, Some(1));
    harness.unsubscribe(B, 1);
    harness.abort(B, 1);
    harness.run();
    assert!(backlog(&harness, "q").is_keeping());
    press(&mut harness);
    assert!(!backlog(&harness, "q").is_keeping());
}

#[test]
fn feeds_that_cannot_give_up_their_memory_now_do_not_hide_those_that_can() {
    let mut harness = Harness::connected(short());
    let queues: Vec<String> = (0..8).map(|number| format!("q{number}")).collect();
    for queue in &queues {
        harness.subscribe_with(B, 1, queue, |subscribe| subscribe.credit = 1);
        harness.send(A, queue, &large(0));
        harness.send(A, queue, &large(1));
        harness.run();
        harness.unsubscribe(B, 1);
    }
    harness.delivered();
    // All but the last have something that is not committed.
    for queue in &queues[..7] {
        harness.send(A, queue, "x");
    }
    for _ in 0..2 {
        harness.broker.evict_idle();
    }
    let kept: Vec<bool> = queues
        .iter()
        .map(|queue| backlog(&harness, queue).is_keeping())
        .collect();
    assert_eq!(kept, [true, true, true, true, true, true, true, false]);
    harness.run();
    for _ in 0..2 {
        harness.broker.evict_idle();
    }
    assert_eq!(harness.broker.memory.windows, 0);
}
