//! Who selects gets what it selects, and nobody else goes without.

use replicamq_proto::store::v1::Message;

use super::harness::*;
use crate::{AcknowledgeMode, DestinationKind, Limits, Refusal};

const QUEUE: &str = "/queue/colours";
const TOPIC: &str = "/topic/colours";

fn coloured(destination: &str, colour: &str, body: &str) -> Message {
    with_header(message(destination, body), "colour", colour)
}

impl Harness {
    fn send_coloured(&mut self, to: &str, colour: &str, body: &str) {
        self.send_with(A, coloured(to, colour, body), |_| {});
    }

    fn select(&mut self, connection: crate::ConnectionId, to: &str, colour: &str) {
        let number = if to == QUEUE { 1 } else { 2 };
        self.subscribe_with(connection, number, to, |subscribe| {
            subscribe.selector = Some(format!("colour = '{colour}'"));
        });
    }

    /// What each got since the last look, in order.
    fn got(&mut self, connection: crate::ConnectionId) -> Vec<String> {
        let (own, others): (Vec<_>, Vec<_>) = self
            .deliveries
            .drain(..)
            .partition(|delivery| delivery.connection == connection);
        self.deliveries.extend(others);
        own.iter().map(body).collect()
    }
}

fn small() -> Limits {
    Limits {
        window_messages_max: 4,
        browse_page_messages: 3,
        ..Limits::default()
    }
}

#[test]
fn consumers_of_a_queue_get_what_they_select_and_the_rest_stays() {
    let mut harness = Harness::connected(Limits::default());
    for (index, colour) in ["red", "blue", "green", "red", "blue"].iter().enumerate() {
        harness.send_coloured(QUEUE, colour, &format!("{colour} {index}"));
    }
    harness.run();
    harness.select(A, QUEUE, "red");
    harness.select(B, QUEUE, "blue");
    harness.run();
    assert_eq!(harness.got(A), ["red 0", "red 3"]);
    assert_eq!(harness.got(B), ["blue 1", "blue 4"]);
    harness.subscribe(C, 1, QUEUE);
    harness.run();
    assert_eq!(harness.got(C), ["green 2"]);
    harness.send_coloured(QUEUE, "green", "green 5");
    harness.run();
    assert_eq!(harness.got(C), ["green 5"]);
    assert_eq!(harness.depth("colours"), 6);
}

/// However many messages that nobody selects lie before it.
#[test]
fn what_is_selected_is_found_in_the_depth_of_a_queue() {
    let mut harness = Harness::connected(small());
    for number in 0..100 {
        let colour = if number % 33 == 32 { "red" } else { "blue" };
        harness.send_coloured(QUEUE, colour, &number.to_string());
    }
    harness.run();
    harness.select(A, QUEUE, "red");
    harness.run();
    assert_eq!(harness.got(A), ["32", "65", "98"]);
    harness.send_coloured(QUEUE, "red", "new");
    harness.run();
    assert_eq!(harness.got(A), ["new"]);
    assert_eq!(harness.broker.memory.windows, 0);
}

/// A message is with one consumer, however many would have it.
#[test]
fn a_message_that_two_select_goes_to_one_and_comes_back_for_the_other() {
    let mut harness = Harness::connected(small());
    harness.select(A, QUEUE, "red");
    harness.subscribe(B, 1, QUEUE);
    for number in 0..20 {
        harness.send_coloured(QUEUE, "red", &number.to_string());
        harness.run();
    }
    let (one, other) = (harness.got(A), harness.got(B));
    assert_eq!((one.len(), other.len()), (10, 10));
    harness.unsubscribe(B, 1);
    harness.run();
    assert_eq!(harness.got(A), [""; 0], "it has no credit");
    harness.unsubscribe(A, 1);
    harness.subscribe_with(C, 1, QUEUE, |subscribe| subscribe.credit = 100);
    harness.run();
    let all: Vec<String> = (0..20).map(|number: u32| number.to_string()).collect();
    assert_eq!(harness.got(C), all);
}

/// What only slow consumers select must not keep others from what they select.
#[test]
fn a_consumer_without_credit_holds_nobody_up() {
    let mut harness = Harness::connected(small());
    harness.subscribe_with(A, 1, QUEUE, |subscribe| {
        subscribe.selector = Some("colour = 'red'".to_owned());
        subscribe.credit = 1;
    });
    harness.select(B, QUEUE, "blue");
    for number in 0..50 {
        harness.send_coloured(QUEUE, "red", &number.to_string());
    }
    harness.send_coloured(QUEUE, "blue", "sky");
    harness.run();
    assert_eq!(harness.got(B), ["sky"]);
    for number in 0..50 {
        let delivery = harness.deliveries.pop_front().unwrap();
        assert_eq!(body(&delivery), number.to_string());
        harness.accept(&delivery);
        harness.run();
    }
    assert_eq!(
        harness.depth("colours"),
        1,
        "the blue one is with its consumer"
    );
}

/// Thousands who wait for one message each must not cost anything while others get theirs.
#[test]
fn who_has_nothing_to_get_is_not_looked_at() {
    let mut harness = Harness::connected(small());
    harness.select(A, QUEUE, "red");
    harness.select(B, QUEUE, "blue");
    harness.run();
    for colour in ["red", "green"] {
        harness.send_coloured(QUEUE, colour, colour);
        harness.run();
        let mut feeds = harness.broker.feeds.iter();
        assert!(feeds.all(|(_, feed)| !feed.views.is_stirred()), "{colour}");
    }
}

#[test]
fn what_nobody_selects_is_there_after_a_failover() {
    let mut harness = Harness::connected(small());
    harness.select(A, QUEUE, "red");
    harness.send_coloured(QUEUE, "blue", "sky");
    harness.send_coloured(QUEUE, "red", "fire");
    harness.run();
    let fire = harness.deliveries.pop_front().unwrap();
    harness.accept(&fire);
    harness.run();
    harness.fail_over(0);
    harness.connect_all();
    harness.subscribe(B, 1, QUEUE);
    harness.run();
    assert_eq!(harness.got(B), ["sky"]);
}

#[test]
fn a_non_persistent_message_is_selected_like_any_other() {
    let mut harness = Harness::connected(small());
    let mut fire = coloured(QUEUE, "red", "fire");
    fire.persistent = false;
    harness.send_with(A, fire.clone(), |_| {});
    harness.select(B, QUEUE, "blue");
    harness.run();
    assert_eq!(harness.got(B), [""; 0]);
    harness.select(A, QUEUE, "red");
    harness.run();
    assert_eq!(harness.got(A), ["fire"]);
    harness.send_with(A, fire, |_| {});
    assert_eq!(harness.got(A), ["fire"]);
}

#[test]
fn a_browser_shows_what_it_selects() {
    let mut harness = Harness::connected(small());
    for number in 0..20 {
        let colour = if number % 10 == 9 { "red" } else { "blue" };
        harness.send_coloured(QUEUE, colour, &number.to_string());
    }
    harness.run();
    harness.subscribe_with(B, 1, QUEUE, |subscribe| {
        subscribe.browse = true;
        subscribe.mode = AcknowledgeMode::Auto;
        subscribe.selector = Some("colour = 'red'".to_owned());
    });
    harness.run();
    assert_eq!(harness.got(B), ["9", "19"]);
    assert_eq!(harness.browse_ends, 1);
}

#[test]
fn subscribers_of_a_topic_get_what_they_select() {
    let mut harness = Harness::connected(Limits::default());
    harness.select(B, TOPIC, "red");
    harness.subscribe(C, 2, TOPIC);
    for colour in ["red", "blue"] {
        harness.send_coloured(TOPIC, colour, colour);
    }
    harness.run();
    assert_eq!(harness.got(B), ["red"]);
    assert_eq!(harness.got(C), ["red", "blue"]);
}

fn durably(harness: &mut Harness, colour: Option<&str>) {
    harness.subscribe_with(B, 2, TOPIC, |subscribe| {
        subscribe.durable = Some("s".to_owned());
        subscribe.selector = colour.map(|colour| format!("colour = '{colour}'"));
    });
    harness.run();
}

fn with_durable(colour: Option<&str>) -> Harness {
    let mut harness = Harness::with(Limits {
        topic_trim_messages: 4,
        ..small()
    });
    harness.connect(A, None);
    harness.connect(B, Some("b"));
    durably(&mut harness, colour);
    harness
}

#[test]
fn a_durable_subscription_keeps_its_selector_through_a_failover() {
    let mut harness = with_durable(Some("red"));
    harness.unsubscribe(B, 2);
    for number in 0..20 {
        let colour = if number % 10 == 9 { "red" } else { "blue" };
        harness.send_coloured(TOPIC, colour, &number.to_string());
        harness.run();
    }
    harness.fail_over(0);
    harness.connect(A, None);
    harness.connect(B, Some("b"));
    harness.send_coloured(TOPIC, "blue", "20");
    harness.send_coloured(TOPIC, "red", "21");
    harness.run();
    durably(&mut harness, Some("red"));
    assert_eq!(harness.got(B), ["9", "19", "21"]);
}

/// What a durable subscription does not select is not stored for it for ever.
#[test]
fn a_topic_forgets_what_no_durable_subscription_selects() {
    let mut harness = with_durable(Some("red"));
    for number in 0..100 {
        harness.send_coloured(TOPIC, "blue", &number.to_string());
        harness.run();
    }
    assert!(harness.stored(b't') <= 5, "{}", harness.stored(b't'));
    assert!(harness.status(DestinationKind::Topic, "colours").depth <= 5);
}

/// As JMS has it: another selector is another subscription.
#[test]
fn another_selector_begins_a_durable_subscription_anew() {
    let mut harness = with_durable(Some("red"));
    harness.unsubscribe(B, 2);
    harness.send_coloured(TOPIC, "red", "before");
    harness.run();
    durably(&mut harness, Some("blue"));
    harness.send_coloured(TOPIC, "blue", "sky");
    harness.send_coloured(TOPIC, "red", "fire");
    harness.run();
    assert_eq!(harness.got(B), ["sky"]);
    harness.unsubscribe(B, 2);
    durably(&mut harness, None);
    harness.send_coloured(TOPIC, "red", "fire");
    harness.run();
    assert_eq!(harness.got(B), ["fire"], "what it had is forgotten");
}

/// An older build would deliver to it what it does not select.
#[test]
fn a_durable_selector_is_noted_in_the_format_of_the_store() {
    let harness = with_durable(None);
    assert_eq!(harness.stored(b'V'), 0);
    let harness = with_durable(Some("red"));
    assert_eq!(harness.stored(b'V'), 1);
}

#[test]
fn a_selector_that_does_not_parse_is_refused_and_makes_nothing() {
    let mut harness = Harness::connected(Limits::default());
    harness.subscribe_with(A, 1, QUEUE, |subscribe| {
        subscribe.selector = Some("price >".to_owned());
    });
    let refusal = harness.refusals.pop().unwrap();
    assert!(matches!(refusal, Refusal::InvalidSelector(_)), "{refusal}");
    assert!(refusal.to_string().contains("column 8"), "{refusal}");
    assert_eq!(harness.broker.destinations(), []);
}

/// A message that found no room in memory was looked for before its commit, and then not again.
#[test]
fn a_message_too_large_for_the_window_is_read_once_it_is_committed() {
    let limits = Limits {
        window_bytes_max: 1_000,
        ..Limits::default()
    };
    let mut harness = Harness::connected(limits);
    harness.select(B, QUEUE, "red");
    harness.run();
    harness.send_coloured(QUEUE, "red", &"x".repeat(2_000));
    let mut sky = coloured(QUEUE, "blue", "sky");
    sky.persistent = false;
    harness.send_with(A, sky, |_| {});
    harness.run();
    assert_eq!(harness.got(B).len(), 1);
}

/// What is given back may be for another who selects.
#[test]
fn what_one_gives_back_another_gets_at_once() {
    let mut harness = Harness::connected(Limits::default());
    harness.subscribe_with(B, 1, QUEUE, |subscribe| {
        subscribe.selector = Some("JMSRedelivered = FALSE".to_owned());
        subscribe.priority = 1;
    });
    harness.subscribe(C, 1, QUEUE);
    harness.send_coloured(QUEUE, "red", "hot");
    harness.run();
    let delivery = harness.deliveries.pop_front().unwrap();
    assert_eq!(delivery.connection, B);
    harness.reject(&delivery);
    assert_eq!(harness.got(C), ["hot"]);
}

/// Expired messages that nobody selects used to stay as long as somebody selected others.
#[test]
fn what_expires_unselected_leaves_the_store() {
    let mut harness = Harness::connected(small());
    harness.select(B, QUEUE, "red");
    for _ in 0..20 {
        let mut sky = coloured(QUEUE, "blue", "sky");
        sky.expires_ms = harness.now_ms + 100;
        harness.send_with(A, sky, |_| {});
    }
    harness.run();
    for _ in 0..40 {
        let later = harness.now_ms + 1_000;
        harness.tick(later);
        harness.run();
    }
    assert_eq!((harness.depth("colours"), harness.stored(b'm')), (0, 0));
}

/// Each new selector would read from the first message that ever was.
#[test]
fn the_head_moves_on_where_all_consumers_select() {
    let mut harness = Harness::connected(small());
    harness.select(B, QUEUE, "red");
    for number in 0..50 {
        harness.send_coloured(QUEUE, "red", &number.to_string());
        harness.run();
        let delivery = harness.deliveries.pop_front().unwrap();
        harness.accept(&delivery);
        harness.run();
    }
    harness.select(C, QUEUE, "blue");
    harness.run();
    let mut feeds = harness.broker.feeds.iter();
    assert!(feeds.all(|(_, feed)| feed.backlog.lowest(feed.next) == 50));
}
