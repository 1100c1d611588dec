//! A stored message behind a selector: JMS's names, STOMP's names, and everybody's own.

use replicamq_proto::store::v1::{Format, Header, Message};

use super::super::{Redelivery, StringNumbers};
use super::parse;

fn message() -> Message {
    let header = |(name, value): (&str, &str)| Header {
        name: name.to_owned(),
        value: value.to_owned(),
    };
    let headers = [
        ("correlation-id", "c-1"),
        ("type", "order"),
        ("reply-to", "/queue/answers"),
        ("JMSXGroupID", "g"),
        ("JMSXGroupSeq", "3"),
        ("price", "250"),
        ("price", "1"),
        ("colour", "red"),
        ("empty", ""),
        ("jmspriority", "7"),
    ];
    Message {
        id: "ID:7".to_owned(),
        destination: "/queue/orders".to_owned(),
        timestamp_ms: 1_700_000_000_000,
        expires_ms: 1_800_000_000_000,
        priority: 9,
        persistent: true,
        format: Format::Stomp.into(),
        headers: headers.map(header).into(),
        body: "price:5".into(),
    }
}

#[track_caller]
fn check(text: &str, message: &Message, redelivery: Redelivery, expected: bool) {
    let selector = parse(text, StringNumbers::Convert);
    assert_eq!(
        selector.matches_message(message, redelivery),
        expected,
        "{text}"
    );
}

#[test]
fn the_headers_of_jms_have_their_types() {
    let first = Redelivery::default();
    for text in [
        "JMSDestination = '/queue/orders'",
        "JMSReplyTo = '/queue/answers'",
        "JMSDeliveryMode = 'PERSISTENT'",
        "JMSPriority = 9 AND JMSPriority > 8",
        "JMSMessageID = 'ID:7'",
        "JMSTimestamp BETWEEN 1700000000000 AND 1700000000000",
        "JMSCorrelationID = 'c-1'",
        "JMSType IN ('order')",
        "JMSExpiration = 1800000000000",
        "JMSRedelivered = FALSE AND NOT JMSRedelivered",
        "JMSXDeliveryCount = 1",
        "JMSXGroupID = 'g'",
        "JMSXGroupSeq = 3 AND JMSXGroupSeq + 1 = 4",
    ] {
        check(text, &message(), first, true);
    }
    check(
        "no_convert_string_expressions:JMSXGroupSeq = 3",
        &message(),
        first,
        true,
    );
    check(
        "no_convert_string_expressions:price = 250",
        &message(),
        first,
        false,
    );
}

#[test]
fn the_names_of_a_frame_are_properties() {
    let first = Redelivery::default();
    for text in [
        "price = 250",
        "price > 100 AND colour = 'red'",
        "empty = '' AND empty IS NOT NULL",
        "Price IS NULL AND other IS NULL",
        "jmspriority = 7",
        "type = 'order'",
    ] {
        check(text, &message(), first, true);
    }
}

#[test]
fn what_is_not_there_is_null_or_has_its_default() {
    let bare = Message {
        destination: "/queue/a".to_owned(),
        priority: 4,
        ..Message::default()
    };
    for text in [
        "JMSReplyTo IS NULL AND JMSCorrelationID IS NULL AND JMSType IS NULL",
        "JMSMessageID IS NULL AND JMSXGroupID IS NULL AND JMSXGroupSeq IS NULL",
        "JMSDeliveryMode = 'NON_PERSISTENT'",
        "JMSExpiration = 0 AND JMSPriority = 4",
    ] {
        check(text, &bare, Redelivery::default(), true);
    }
    check(
        "price > 0 OR price <= 0",
        &bare,
        Redelivery::default(),
        false,
    );
}

#[test]
fn a_redelivery_shows() {
    let again = Redelivery {
        redelivered: true,
        redeliveries: 2,
    };
    check("JMSRedelivered", &message(), again, true);
    check(
        "JMSRedelivered = TRUE AND JMSXDeliveryCount = 3",
        &message(),
        again,
        true,
    );
    let last = Redelivery {
        redelivered: true,
        redeliveries: u32::MAX,
    };
    check("JMSXDeliveryCount = 4294967296", &message(), last, true);
}

#[test]
fn a_header_with_jmss_own_name_counts_where_stomps_is_not_there() {
    let mut message = message();
    let replace = |message: &mut Message, name: &str, value: &str| {
        message.headers.insert(
            0,
            Header {
                name: name.to_owned(),
                value: value.to_owned(),
            },
        );
    };
    replace(&mut message, "JMSType", "other");
    check("JMSType = 'order'", &message, Redelivery::default(), true);
    message.headers.retain(|header| header.name != "type");
    check("JMSType = 'other'", &message, Redelivery::default(), true);
    replace(&mut message, "JMSPriority", "1");
    check("JMSPriority = 9", &message, Redelivery::default(), true);
    replace(&mut message, "JMSXGroupSeq", "last");
    check(
        "JMSXGroupSeq IS NULL",
        &message,
        Redelivery::default(),
        true,
    );
}

#[test]
fn a_time_past_javas_range_is_its_last_one() {
    let message = Message {
        expires_ms: u64::MAX,
        ..message()
    };
    check(
        "JMSExpiration = 9223372036854775807",
        &message,
        Redelivery::default(),
        true,
    );
}
