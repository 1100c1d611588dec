//! ACK and NACK in every version and mode.

use super::*;

/// A session with three deliveries on a subscription `s` of this mode.
fn with_deliveries(version: Version, mode: &str) -> Talk {
    let mut talk = Talk::connected(version);
    talk.says(&format!(
        "SUBSCRIBE\nid:s\ndestination:/queue/a\nack:{mode}\n\n\0"
    ));
    for (delivery, id) in [(11, "m:1"), (12, "m:2"), (13, "m:1")] {
        talk.deliver(1, delivery, id);
    }
    talk.hears();
    talk.gets();
    talk
}

#[test]
fn in_1_2_the_ack_header_names_the_delivery() {
    for mode in ["client", "client-individual"] {
        let mut talk = with_deliveries(Version::V1_2, mode);
        talk.says("ACK\nid:1-13\nreceipt:r\n\n\0NACK\nid:1-11\n\n\0");
        talk.says("BEGIN\ntransaction:t\n\n\0ACK\nid:1-12\ntransaction:t\n\n\0");
        assert_eq!(
            talk.hears(),
            [
                "accept 1-13 owed=1",
                "reject 1-11",
                "begin 1",
                "accept 1-12 transaction=1",
            ]
        );
        talk.receipt(1);
        assert_eq!(talk.gets(), "RECEIPT\nreceipt-id:r\n\n^@");
        assert_eq!(talk.flushed(), [""; 0], "only the client acknowledges");
    }
}

#[test]
fn in_1_1_subscription_and_message_id_do() {
    let mut talk = with_deliveries(Version::V1_1, "client-individual");
    for text in [
        "NACK\nsubscription:s\nmessage-id:m\\c2\nreceipt:r\n\n\0",
        "ACK\nsubscription:s\nmessage-id:m\\c1\n\n\0",
        "ACK\nsubscription:s\nmessage-id:m:1\n\n\0",
    ] {
        talk.says(text);
    }
    assert_eq!(
        talk.hears(),
        ["reject 1-12 owed=1", "accept 1-11", "accept 1-13"],
        "of equal message ids the oldest goes first"
    );
    talk.says("ACK\nsubscription:s\nmessage-id:m\\c1\n\n\0");
    assert!(
        talk.error()
            .contains(r#"ACK for "m:1", which is no unacknowledged"#)
    );
}

#[test]
fn in_1_1_client_mode_covers_all_before() {
    let mut talk = with_deliveries(Version::V1_1, "client");
    talk.says("ACK\nsubscription:s\nmessage-id:m\\c2\n\n\0");
    assert_eq!(talk.hears(), ["accept 1-12"]);
    talk.says("ACK\nsubscription:s\nmessage-id:m\\c1\n\n\0");
    assert_eq!(talk.hears(), ["accept 1-13"]);
}

#[test]
fn in_1_0_the_message_id_is_enough() {
    for mode in ["client", "client-individual"] {
        let mut talk = with_deliveries(Version::V1_0, mode);
        talk.says("SUBSCRIBE\ndestination:/queue/b\nack:client\n\n\0");
        talk.deliver(2, 1, "other");
        talk.hears();
        talk.says("ACK\nmessage-id:other\n\n\0ACK\nmessage-id:m:1\nreceipt:r\n\n\0");
        talk.says("ACK\nmessage-id:m:2\nsubscription:s\n\n\0");
        assert_eq!(
            talk.hears(),
            ["accept 2-1", "accept 1-11 owed=1", "accept 1-12"]
        );
    }
}

/// What is said, and what the answer must name.
const IN_VAIN: [(Version, &str, &str, &str); 14] = [
    (
        Version::V1_0,
        "client",
        "NACK\nmessage-id:m\\c1\n\n\0",
        "STOMP 1.0 has no NACK",
    ),
    (
        Version::V1_0,
        "client",
        "ACK\n\n\0",
        "ACK lacks its header message-id",
    ),
    (
        Version::V1_0,
        "client",
        "ACK\nmessage-id:x\n\n\0",
        r#"ACK for "x", which is no"#,
    ),
    (
        Version::V1_0,
        "auto",
        "ACK\nmessage-id:m:1\n\n\0",
        r#"ACK for "m:1", which is no"#,
    ),
    (
        Version::V1_1,
        "client",
        "ACK\nmessage-id:x\n\n\0",
        "ACK lacks its header subscription",
    ),
    (
        Version::V1_1,
        "client",
        "NACK\nsubscription:s\n\n\0",
        "NACK lacks its header message-id",
    ),
    (
        Version::V1_1,
        "client",
        "ACK\nsubscription:t\nmessage-id:x\n\n\0",
        r#"no subscription "t""#,
    ),
    (
        Version::V1_1,
        "auto",
        "ACK\nsubscription:s\nmessage-id:m:1\n\n\0",
        r#"ACK for a message of subscription "s", whose messages need none"#,
    ),
    (
        Version::V1_2,
        "client",
        "ACK\nmessage-id:m\n\n\0",
        "ACK lacks its header id: copy the ack header",
    ),
    (
        Version::V1_2,
        "client",
        "ACK\nid:m\n\n\0",
        r#"ACK for "m", which is no"#,
    ),
    (
        Version::V1_2,
        "client",
        "ACK\nid:2-11\n\n\0",
        r#"ACK for "2-11", which is no"#,
    ),
    (
        Version::V1_2,
        "client",
        "ACK\nid:1-99999999999999999999\n\n\0",
        r#"ACK for "1-99999999999999999999""#,
    ),
    (
        Version::V1_2,
        "auto",
        "NACK\nid:1-11\n\n\0",
        r#"NACK for a message of subscription "s", whose"#,
    ),
    (
        Version::V1_2,
        "client",
        "ACK\nid:1-11\ntransaction:t\n\n\0",
        r#"transaction "t" is not open"#,
    ),
];

#[test]
fn what_cannot_be_acknowledged_is_named() {
    for (version, mode, text, words) in IN_VAIN {
        let mut talk = with_deliveries(version, mode);
        talk.says(text);
        assert_eq!(talk.hears(), [""; 0], "{text:?}");
        let error = talk.error();
        assert!(error.contains(words), "{text:?}: {error}");
    }
}

#[test]
fn an_acknowledgement_after_unsubscribe_comes_too_late() {
    for (version, text) in [
        (Version::V1_1, "ACK\nsubscription:s\nmessage-id:m\\c1\n\n\0"),
        (Version::V1_2, "ACK\nid:1-11\n\n\0"),
    ] {
        let mut talk = with_deliveries(version, "client");
        talk.says("UNSUBSCRIBE\nid:s\n\n\0");
        assert_eq!(talk.hears(), ["unsubscribe 1"]);
        talk.says(text);
        talk.error();
    }
}

#[test]
fn a_transaction_that_aborts_leaves_nothing_to_look_up() {
    let mut talk = with_deliveries(Version::V1_1, "client-individual");
    talk.says("BEGIN\ntransaction:t\n\n\0");
    talk.says("ACK\nsubscription:s\nmessage-id:m\\c2\ntransaction:t\n\n\0");
    talk.says("ABORT\ntransaction:t\n\n\0");
    talk.hears();
    // The core gives it back, and delivers it under a new number.
    talk.deliver(1, 14, "m:2");
    talk.says("ACK\nsubscription:s\nmessage-id:m\\c2\n\n\0");
    assert_eq!(talk.hears(), ["accept 1-14"]);
}
