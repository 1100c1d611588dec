//! SUBSCRIBE, UNSUBSCRIBE, and the MESSAGE frames between.

use super::*;

#[test]
fn every_mode_and_every_spelling_is_understood() {
    for (headers, expected) in [
        ("", "Auto credit=1000"),
        ("ack:auto\n", "Auto credit=1000"),
        ("ack:client\n", "Cumulative credit=1000"),
        ("ack:client-individual\n", "Individual credit=1000"),
        ("activemq.prefetchSize:1\n", "Auto credit=1"),
        ("prefetch-count:20\n", "Auto credit=20"),
        ("prefetch-count:4000000000\n", "Auto credit=65535"),
        ("browser:true\nack:client\n", "Auto credit=1000 browse"),
        ("browser:false\n", "Auto credit=1000"),
        (
            "activemq.subscriptionName:d\n",
            "Auto credit=1000 durable=d",
        ),
        ("activemq.subcriptionName:d\n", "Auto credit=1000 durable=d"),
        ("durable-subscriber-name:d\n", "Auto credit=1000 durable=d"),
        (
            "durable-subscription-name:d\n",
            "Auto credit=1000 durable=d",
        ),
        ("durable:true\n", "Auto credit=1000 durable=s"),
        ("persistent:true\n", "Auto credit=1000 durable=s"),
        ("durable:false\nselector: \n", "Auto credit=1000"),
        (
            "activemq.exclusive:true\nactivemq.priority:-3\n",
            "Auto credit=1000 exclusive priority=-3",
        ),
        (
            "selector:price > 5\n",
            "Auto credit=1000 selector=convert_string_expressions:price > 5",
        ),
        ("receipt:r\n", "Auto credit=1000 owed=1"),
    ] {
        for version in VERSIONS {
            let mut talk = Talk::connected(version);
            talk.says(&format!(
                "SUBSCRIBE\nid:s\ndestination:/queue/a\n{headers}\n\0"
            ));
            assert_eq!(talk.hears(), [format!("subscribe 1 /queue/a {expected}")]);
        }
    }
}

#[test]
fn wrong_subscriptions_are_named() {
    for (headers, words) in [
        ("id:s\n", "SUBSCRIBE lacks its header destination"),
        ("destination:/queue/a\n", "SUBSCRIBE lacks its header id"),
        (
            "ack:always\n",
            "header ack:always of SUBSCRIBE is not auto, client or client-individual",
        ),
        (
            "activemq.prefetchSize:0\n",
            "header activemq.prefetchSize:0 of SUBSCRIBE is not a number",
        ),
        (
            "prefetch-count:-1\n",
            "header prefetch-count:-1 of SUBSCRIBE is not a number",
        ),
        (
            "browser:maybe\n",
            "header browser:maybe of SUBSCRIBE is not true or false",
        ),
        ("activemq.noLocal:true\n", "noLocal is not there yet"),
        (
            "activemq.priority:128\n",
            "header activemq.priority:128 of SUBSCRIBE is not a number from -128 to 127",
        ),
    ] {
        let mut talk = Talk::connected(Version::V1_2);
        let complete = headers.starts_with("id:") || headers.starts_with("destination:");
        let rest = if complete {
            ""
        } else {
            "id:s\ndestination:/queue/a\n"
        };
        talk.says(&format!("SUBSCRIBE\n{rest}{headers}receipt:r\n\n\0"));
        assert_eq!(talk.hears(), [""; 0]);
        let error = talk.error();
        assert!(error.contains(words), "{error}");
        assert!(error.contains("receipt-id:r\n"), "{error}");
    }
}

#[test]
fn ids_are_unique_and_their_number_is_bounded() {
    let mut talk = Talk::connected(Version::V1_2);
    for _ in 0..2 {
        talk.says("SUBSCRIBE\nid:s\ndestination:/queue/a\n\n\0");
    }
    assert!(talk.error().contains(r#"already has a subscription "s""#));

    let config = SessionConfig {
        subscriptions_max: 2,
        ..SessionConfig::default()
    };
    let mut talk = Talk::connect(Talk::configured(config), Version::V1_2);
    for id in 0..3 {
        talk.says(&format!("SUBSCRIBE\nid:{id}\ndestination:/queue/a\n\n\0"));
    }
    assert!(talk.error().contains("has 2 subscriptions already"));
}

#[test]
fn a_message_is_written_as_its_version_reads_it() {
    let message = Message {
        id: "m:1".to_owned(),
        destination: "/queue/a".to_owned(),
        timestamp_ms: 1_700_000_000_000,
        expires_ms: 1_800_000_000_000,
        priority: 7,
        persistent: true,
        format: 1,
        headers: vec![
            Header {
                name: "k".to_owned(),
                value: "a\\b\r\nc".to_owned(),
            },
            Header {
                name: "empty".to_owned(),
                value: String::new(),
            },
        ],
        body: "x\0y".into(),
    };
    for (version, ack, id, value) in [
        (Version::V1_0, "", "m:1", "a\\b\r\\nc"),
        (Version::V1_1, "", "m\\c1", "a\\\\b\r\\nc"),
        (Version::V1_2, "ack:1-42\n", "m\\c1", "a\\\\b\\r\\nc"),
    ] {
        let mut talk = Talk::connected(version);
        talk.says("SUBSCRIBE\nid:s\ndestination:/queue/a\nack:client\n\n\0");
        talk.deliver_message(1, 42, message.clone(), true);
        assert_eq!(
            talk.gets(),
            format!(
                "MESSAGE\nsubscription:s\n{ack}message-id:{id}\ndestination:/queue/a\n\
                 timestamp:1700000000000\npriority:7\nexpires:1800000000000\npersistent:true\n\
                 redelivered:true\nk:{value}\nempty:\ncontent-length:3\n\nx^@y^@"
            )
        );
    }
}

#[test]
fn auto_needs_no_ack_header_and_tells_the_core_once_per_flush() {
    for version in VERSIONS {
        let mut talk = Talk::connected(version);
        talk.says("SUBSCRIBE\nid:s\ndestination:/queue/a\n\n\0");
        talk.says("SUBSCRIBE\nid:t\ndestination:/queue/b\n\n\0");
        talk.says("SUBSCRIBE\nid:u\ndestination:/queue/b\nack:client\n\n\0");
        talk.hears();
        for (subscription, delivery) in [(1, 1), (2, 1), (3, 1), (1, 2), (1, 3)] {
            talk.deliver(subscription, delivery, "m");
        }
        assert_eq!(talk.hears(), [""; 0]);
        let text = talk.gets();
        assert!(text.starts_with(
            "MESSAGE\nsubscription:s\nmessage-id:m\ndestination:/queue/a\ntimestamp:5\npriority:4\ncontent-length:2\n\nhi^@MESSAGE\n"
        ), "{text}");
        assert_eq!(talk.flushed(), ["written 1-3", "written 2-1"]);
        assert_eq!(talk.flushed(), [""; 0]);
        talk.deliver(1, 4, "m");
        assert_eq!(talk.flushed(), ["written 1-4"]);
    }
}

#[test]
fn unsubscribing_reports_what_is_already_on_its_way() {
    let mut talk = Talk::connected(Version::V1_2);
    talk.says("SUBSCRIBE\nid:s\ndestination:/queue/a\n\n\0");
    talk.hears();
    talk.deliver(1, 1, "m");
    talk.says("UNSUBSCRIBE\nid:s\nreceipt:r\n\n\0");
    assert_eq!(talk.hears(), ["written 1-1", "unsubscribe 1 owed=1"]);
    assert_eq!(talk.flushed(), [""; 0]);
    talk.gets();
    talk.deliver(1, 2, "late");
    assert_eq!(talk.gets(), "", "a late delivery goes to somebody else");
    talk.receipt(1);
    assert_eq!(talk.gets(), "RECEIPT\nreceipt-id:r\n\n^@");
    talk.says("SUBSCRIBE\nid:s\ndestination:/queue/a\n\n\0");
    assert_eq!(talk.hears(), ["subscribe 2 /queue/a Auto credit=1000"]);
}

#[test]
fn disconnecting_reports_what_is_already_on_its_way() {
    let mut talk = Talk::connected(Version::V1_2);
    talk.says("SUBSCRIBE\nid:s\ndestination:/queue/a\n\n\0");
    talk.hears();
    talk.deliver(1, 1, "m");
    talk.says("DISCONNECT\nreceipt:r\n\n\0");
    assert_eq!(talk.hears(), ["written 1-1", "flush owed=1"]);
    talk.gets();
    talk.deliver(1, 2, "late");
    assert_eq!(talk.gets(), "");
    assert_eq!(
        talk.flushed(),
        [""; 0],
        "what was not written is not done with"
    );
}

#[test]
fn in_1_0_a_subscription_may_go_by_its_destination() {
    let mut talk = Talk::connected(Version::V1_0);
    talk.says("SUBSCRIBE\ndestination:/queue/a\n\n\0");
    talk.hears();
    talk.deliver(1, 1, "m");
    let text = talk.gets();
    assert!(text.starts_with("MESSAGE\nmessage-id:m\n"), "{text}");
    talk.flushed();
    talk.says("UNSUBSCRIBE\ndestination:/queue/a\n\n\0");
    assert_eq!(talk.hears(), ["unsubscribe 1"]);
    talk.says("UNSUBSCRIBE\ndestination:/queue/a\n\n\0");
    assert!(talk.error().contains(r#"no subscription "/queue/a""#));
}

#[test]
fn a_durable_subscription_is_deleted_by_name() {
    let open = "SUBSCRIBE\nid:s\ndestination:/topic/a\nactivemq.subscriptionName:d\n\n\0";
    for (text, expected) in [
        (
            "UNSUBSCRIBE\nid:s\nactivemq.subscriptionName:d\nreceipt:r\n\n\0",
            vec!["unsubscribe 1", "delete-durable d owed=1"],
        ),
        (
            "UNSUBSCRIBE\nid:s\ndurable-subscriber-name:other\n\n\0",
            vec!["delete-durable other"],
        ),
        (
            "UNSUBSCRIBE\ndurable-subscriber-name:other\n\n\0",
            vec!["delete-durable other"],
        ),
        (
            "UNSUBSCRIBE\nid:x\ndurable:true\n\n\0",
            vec!["delete-durable x"],
        ),
        ("UNSUBSCRIBE\nid:s\n\n\0", vec!["unsubscribe 1"]),
    ] {
        let mut talk = Talk::connected(Version::V1_2);
        talk.says(open);
        talk.hears();
        talk.says(text);
        assert_eq!(talk.hears(), expected, "{text:?}");
    }
}

#[test]
fn a_browser_is_told_the_end() {
    let mut talk = Talk::connected(Version::V1_2);
    talk.says("SUBSCRIBE\nid:s\ndestination:/queue/a\nbrowser:true\n\n\0");
    talk.hears();
    talk.deliver(1, 1, "m");
    talk.effect(&Effect::BrowseEnd {
        connection: ConnectionId(1),
        subscription: SubscriptionId(1),
    });
    assert_eq!(
        talk.gets(),
        "MESSAGE\nsubscription:s\nmessage-id:m\ndestination:/queue/a\ntimestamp:5\npriority:4\ncontent-length:2\n\nhi^@\
         MESSAGE\nsubscription:s\ndestination:/queue/a\nmessage-id:0\nbrowser:end\ncontent-length:0\n\n^@"
    );
    assert_eq!(talk.flushed(), ["written 1-1"]);
}
