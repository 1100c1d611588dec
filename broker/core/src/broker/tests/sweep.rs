//! Expired messages that are only in the store, without anybody to consume them.

use super::harness::*;
use crate::Limits;

const PAGE: usize = 3;

/// Ten messages that expire at 2 seconds, with one that does not in their midst.
fn harness() -> Harness {
    let mut harness = Harness::connected(Limits {
        sweep_page_messages: PAGE,
        ..Limits::default()
    });
    for number in 0..10 {
        let mut mortal = message("q", &number.to_string());
        mortal.expires_ms = 2_000;
        harness.send_with(A, mortal, |_| {});
        if number == 4 {
            harness.send(A, "q", "immortal");
        }
    }
    harness.run();
    assert_eq!((harness.depth("q"), harness.stored(b'm')), (11, 11));
    harness
}

/// So many reads that so many ticks made; everything else happens.
fn ticks(harness: &mut Harness, count: u64) -> usize {
    let mut reads = 0;
    for _ in 0..count {
        harness.tick(harness.now_ms + 1_000);
        while harness.seal() || harness.commit_one() {}
        reads += harness.loads.len();
        harness.run();
    }
    reads
}

fn all_that_comes(harness: &mut Harness) -> Vec<String> {
    harness.subscribe(B, 1, "q");
    harness.run();
    harness.bodies()
}

#[test]
fn they_go_page_by_page_and_what_lives_stays() {
    let mut harness = harness();
    harness.now_ms = 0;
    assert_eq!(ticks(&mut harness, 1), 0, "nothing has expired");
    assert_eq!(ticks(&mut harness, 1), 1, "one page in a tick");
    assert_eq!((harness.depth("q"), harness.stored(b'm')), (8, 8));
    assert_eq!(ticks(&mut harness, 20), 3);
    assert_eq!((harness.depth("q"), harness.stored(b'm')), (1, 1));
    assert_eq!(all_that_comes(&mut harness), ["immortal"]);
}

#[test]
fn a_new_master_looks_at_what_it_finds() {
    let mut harness = harness();
    harness.fail_over(0);
    harness.connect_all();
    assert_eq!(ticks(&mut harness, 20), 4);
    assert_eq!((harness.depth("q"), harness.stored(b'm')), (1, 1));
    // Nothing is left to expire, and nothing more is read.
    assert_eq!(ticks(&mut harness, 20), 0);
    assert_eq!(all_that_comes(&mut harness), ["immortal"]);
}

#[test]
fn a_consumer_that_comes_before_the_deletion_is_committed_finds_each_message_once() {
    for reads in 0..2 {
        let mut harness = Harness::connected(Limits {
            sweep_page_messages: PAGE,
            ..Limits::default()
        });
        // What lives keeps the swept ones behind it within what is to be read.
        harness.send(A, "q", "alive");
        for _ in 0..4 {
            let mut mortal = message("q", "mortal");
            mortal.expires_ms = 2_000;
            harness.send_with(A, mortal, |_| {});
        }
        harness.run();
        harness.tick(5_000);
        assert_eq!(harness.loads.len(), 1);
        if reads == 1 {
            harness.load_one();
            assert_eq!(harness.depth("q"), 3);
        }
        // Its page is read from a store that still has everything.
        harness.subscribe(B, 1, "q");
        while harness.load_one() {}
        harness.run();
        assert_eq!(harness.bodies(), ["alive"], "{reads}");
        assert_eq!((harness.depth("q"), harness.stored(b'm')), (1, 1));
        assert_eq!(ticks(&mut harness, 5), 0);
        harness.fail_over(0);
        assert_eq!(harness.depth("q"), 1);
    }
}

#[test]
fn queues_take_turns() {
    let mut harness = harness();
    for queue in ["r", "s"] {
        let mut mortal = message(queue, "x");
        mortal.expires_ms = 2_000;
        harness.send_with(A, mortal, |_| {});
    }
    harness.run();
    ticks(&mut harness, 30);
    let depths = ["q", "r", "s"].map(|queue| harness.depth(queue));
    assert_eq!(depths, [1, 0, 0]);
}
