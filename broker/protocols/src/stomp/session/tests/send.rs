//! SEND and transactions.

use super::*;

#[test]
fn a_message_keeps_what_the_consumer_needs() {
    for version in VERSIONS {
        let mut talk = Talk::connected(version);
        talk.says(
            "SEND\ndestination:/queue/a\npersistent:true\npriority:9\nexpires:77\n\
             correlation-id:c\nreply-to:/queue/b\ntype:t\nfoo:1\nfoo:2\ncontent-type:text/plain\n\
             content-length:3\nreceipt:r\n\na\0b\0",
        );
        assert_eq!(
            talk.hears(),
            [
                "send /queue/a persistent priority=9 expires=77 [correlation-id:c] [reply-to:/queue/b] \
                 [type:t] [foo:1] [foo:2] [content-type:text/plain] owed=1 b\"a\\0b\""
            ]
        );
        talk.receipt(1);
        assert_eq!(talk.gets(), "RECEIPT\nreceipt-id:r\n\n^@");
    }
}

#[test]
fn without_headers_it_is_not_persistent() {
    let mut talk = Talk::connected(Version::V1_2);
    talk.says(
        "SEND\ndestination:/queue/a\n\n\0SEND\ndestination:/topic/b\npersistent:false\n\nx\0",
    );
    assert_eq!(
        talk.hears(),
        [r#"send /queue/a b"""#, r#"send /topic/b b"x""#]
    );
}

#[test]
fn headers_are_unescaped_once() {
    let mut talk = Talk::connected(Version::V1_2);
    talk.says("SEND\ndestination:/queue/a\\cb\nk\\n:v\\\\n\nreceipt:r\\c\\\\\n\n\0");
    assert_eq!(talk.hears(), ["send /queue/a:b [k\n:v\\n] owed=1 b\"\""]);
    talk.receipt(1);
    assert_eq!(talk.gets(), "RECEIPT\nreceipt-id:r\\c\\\\\n\n^@");
}

#[test]
fn a_key_of_the_client_makes_a_send_recognisable() {
    let mut talk = Talk::connected(Version::V1_2);
    for headers in [
        "message-id:m\n",
        "_AMQ_DUPL_ID:k\n",
        "message-id:m\n_AMQ_DUPL_ID:k\n",
        "message-id:\n",
    ] {
        talk.says(&format!("SEND\ndestination:/queue/a\n{headers}\n\0"));
    }
    assert_eq!(
        talk.hears(),
        [
            r#"send /queue/a id=m key=m b"""#,
            r#"send /queue/a id=k key=k b"""#,
            r#"send /queue/a id=m key=k b"""#,
            r#"send /queue/a b"""#,
        ]
    );
}

#[test]
fn a_message_that_is_sent_on_is_no_repetition_of_itself() {
    let mut talk = Talk::connected(Version::V1_2);
    for header in [
        "subscription:s\n",
        "ack:1-2\n",
        "redelivered:true\n",
        "timestamp:1\n",
        "original-destination:/queue/a\n",
        "dlqDeliveryFailureCause:c\n",
    ] {
        for headers in [
            format!("message-id:m\n{header}"),
            format!("{header}message-id:m\n_AMQ_DUPL_ID:k\n"),
        ] {
            talk.says(&format!("SEND\ndestination:/queue/a\n{headers}\n\0"));
        }
        let [without, with] = <[String; 2]>::try_from(talk.hears()).unwrap();
        assert!(
            without.contains(" id=m ") && !without.contains("key="),
            "{without}"
        );
        assert!(
            with.contains(" id=m ") && with.contains(" key=k "),
            "{with}"
        );
    }
}

#[test]
fn what_a_consumer_gets_can_be_sent_back_as_it_is() {
    for version in VERSIONS {
        let mut talk = Talk::connected(version);
        talk.says("SEND\ndestination:/queue/a\nmessage-id:m\n_AMQ_DUPL_ID:k\nfoo:1\n\nhi\0");
        let Command::Send(send) = talk.out.commands.remove(0) else {
            panic!("a SEND is a send");
        };
        talk.says("SUBSCRIBE\nid:s\ndestination:/queue/a\nack:client\n\n\0");
        talk.hears();
        talk.deliver_message(1, 1, send.message, false);
        let message = talk.gets().replace("^@", "\0");
        let back = message.strip_prefix("MESSAGE").unwrap();
        talk.says(&format!("SEND{back}"));
        assert_eq!(talk.hears(), [r#"send /queue/a id=m [foo:1] b"hi""#]);
    }
}

#[test]
fn what_the_broker_says_itself_is_not_kept() {
    let mut talk = Talk::connected(Version::V1_2);
    talk.says(
        "SEND\ndestination:/queue/a\nsubscription:s\nack:1-2\nredelivered:true\ntimestamp:1\nfoo:1\n\n\0",
    );
    assert_eq!(talk.hears(), [r#"send /queue/a [foo:1] b"""#]);
}

#[test]
fn of_repeated_headers_the_first_counts() {
    let mut talk = Talk::connected(Version::V1_2);
    talk.says("SEND\ndestination:/queue/a\ndestination:/queue/b\nreceipt:1\nreceipt:2\n\n\0");
    assert_eq!(talk.hears(), [r#"send /queue/a owed=1 b"""#]);
    talk.receipt(1);
    assert_eq!(talk.gets(), "RECEIPT\nreceipt-id:1\n\n^@");
}

#[test]
fn wrong_headers_are_named() {
    for (headers, words) in [
        ("", "SEND lacks its header destination"),
        ("destination:\n", "SEND lacks its header destination"),
        (
            "destination:/queue/a\npriority:10\n",
            "header priority:10 of SEND is not a number from 0 to 9",
        ),
        (
            "destination:/queue/a\nexpires:soon\n",
            "header expires:soon of SEND is not a time",
        ),
        (
            "destination:/queue/a\npersistent:yes\n",
            "header persistent:yes of SEND is not true or false",
        ),
        (
            "destination:/queue/a\nAMQ_SCHEDULED_DELAY:1000\n",
            "scheduled delivery is not there yet",
        ),
        (
            "destination:/queue/a\ntransaction:t\n",
            r#"transaction "t" is not open on this connection: send BEGIN first"#,
        ),
    ] {
        let mut talk = Talk::connected(Version::V1_2);
        let flow = talk.says(&format!("SEND\nreceipt:r\n{headers}\nbody\0"));
        assert_eq!(flow, Flow::Close);
        assert_eq!(talk.hears(), [""; 0]);
        let error = talk.error();
        assert!(error.contains(words), "{error}");
        assert!(error.contains("receipt-id:r\n"), "{error}");
    }
}

#[test]
fn a_refusal_names_the_receipt_and_closes() {
    let mut talk = Talk::connected(Version::V1_2);
    talk.says("SEND\ndestination:a\nreceipt:r\n\n\0");
    talk.refused(
        Some(1),
        Refusal::InvalidDestination {
            address: "a".to_owned(),
            reason: "it names no kind",
        },
    );
    assert_eq!(
        talk.error(),
        "ERROR\nmessage:invalid destination\nreceipt-id:r\ncontent-type:text/plain\ncontent-length:73\n\n\
         invalid destination \"a\": it names no kind; use /queue/NAME or /topic/NAME^@"
    );
    talk.receipt(1);
    talk.deliver(1, 1, "m");
    assert_eq!(talk.gets(), "", "nothing follows an ERROR");
}

#[test]
fn transactions_are_numbered_by_name() {
    for version in VERSIONS {
        let mut talk = Talk::connected(version);
        talk.says("BEGIN\ntransaction:t\nreceipt:b\n\n\0BEGIN\ntransaction:u\n\n\0");
        talk.says("SEND\ndestination:/queue/a\ntransaction:t\n\n1\0");
        talk.says("SEND\ndestination:/queue/a\ntransaction:u\nreceipt:s\n\n2\0");
        talk.says("COMMIT\ntransaction:t\nreceipt:c\n\n\0ABORT\ntransaction:u\nreceipt:a\n\n\0");
        talk.says("BEGIN\ntransaction:t\n\n\0");
        assert_eq!(
            talk.hears(),
            [
                "begin 1 owed=1",
                "begin 2",
                r#"send /queue/a transaction=1 b"1""#,
                r#"send /queue/a transaction=2 owed=2 b"2""#,
                "commit 1 owed=3",
                "abort 2 owed=4",
                "begin 3",
            ]
        );
        for receipt in [1, 2, 4, 3] {
            talk.receipt(receipt);
        }
        let receipts = ["b", "s", "a", "c"].map(|id| format!("RECEIPT\nreceipt-id:{id}\n\n^@"));
        assert_eq!(talk.gets(), receipts.concat());
    }
}

#[test]
fn transactions_out_of_place_are_refused() {
    for (text, words) in [
        ("BEGIN\n\n\0", "BEGIN lacks its header transaction"),
        (
            "BEGIN\ntransaction:t\n\n\0BEGIN\ntransaction:t\n\n\0",
            r#"transaction "t" is open already"#,
        ),
        (
            "COMMIT\ntransaction:t\n\n\0",
            r#"transaction "t" is not open"#,
        ),
        (
            "BEGIN\ntransaction:t\n\n\0COMMIT\ntransaction:t\n\n\0ABORT\ntransaction:t\n\n\0",
            r#"transaction "t" is not open"#,
        ),
    ] {
        let mut talk = Talk::connected(Version::V1_1);
        talk.says(text);
        let error = talk.error();
        assert!(error.contains(words), "{error}");
    }
    let mut talk = Talk::configured(SessionConfig {
        transactions_max: 2,
        ..SessionConfig::default()
    });
    talk = Talk::connect(talk, Version::V1_1);
    for name in ["a", "b"] {
        talk.says(&format!("BEGIN\ntransaction:{name}\n\n\0"));
    }
    assert!(!talk.session.is_closing());
    talk.says("BEGIN\ntransaction:c\n\n\0");
    assert!(talk.error().contains("has 2 open transactions already"));
}
