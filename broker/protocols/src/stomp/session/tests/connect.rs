//! CONNECT, STOMP, DISCONNECT, and what is said before and after.

use super::*;

#[test]
fn a_session_begins_when_the_core_agrees() {
    for (version, beats) in [
        (Version::V1_0, ""),
        (Version::V1_1, "heart-beat:1000,5000\n"),
        (Version::V1_2, "heart-beat:1000,5000\n"),
    ] {
        for verb in ["CONNECT", "STOMP"] {
            let mut talk = Talk::fresh();
            let flow = talk.says(&format!(
                "{verb}\naccept-version:{version}\nhost:any\nlogin:l\npasscode:p\nclient-id:me\n\n\0"
            ));
            assert_eq!(flow, Flow::Wait);
            assert_eq!(talk.hears(), ["connect client=me owed=0"]);
            assert_eq!(talk.gets(), "", "CONNECTED comes after the core's answer");
            talk.receipt(0);
            let expected = format!(
                "CONNECTED\nversion:{version}\nserver:ReplicaMQ/0\nsession:session-1\n{beats}\n^@"
            );
            assert_eq!(talk.gets(), expected);
            assert_eq!(talk.receive(), Flow::Read);
        }
    }
}

#[test]
fn blank_lines_in_front_are_not_kept() {
    let mut talk = Talk::fresh();
    for _ in 0..1_000 {
        assert_eq!(talk.says(&"\n\r\n".repeat(100)), Flow::Read);
        assert_eq!(talk.input.len(), 0);
    }
    assert_eq!(talk.says("\nCONN"), Flow::Read);
    assert_eq!(talk.says("ECT\n\n\0"), Flow::Wait);
    assert_eq!(talk.hears(), ["connect owed=0"]);
}

#[test]
fn without_accept_version_it_is_1_0() {
    let mut talk = Talk::fresh();
    talk.says("CONNECT\nlogin:a\n\n\0");
    assert_eq!(talk.hears(), ["connect owed=0"]);
    assert_eq!(talk.session.version(), Version::V1_0);
}

#[test]
fn no_common_version_is_told_with_ours() {
    let mut talk = Talk::fresh();
    let flow = talk.says("CONNECT\naccept-version:2.0,3.1\n\n\0");
    assert_eq!(flow, Flow::Close);
    assert_eq!(talk.hears(), [""; 0]);
    assert_eq!(
        talk.gets(),
        "ERROR\nmessage:no common version\nversion:1.0,1.1,1.2\ncontent-type:text/plain\ncontent-length:79\n\n\
         no common version: the client accepts \"2.0,3.1\", this broker speaks 1.0,1.1,1.2^@"
    );
}

#[test]
fn what_is_sent_along_with_connect_waits_for_the_core() {
    let mut talk = Talk::fresh();
    let flow = talk.says("CONNECT\n\n\0SEND\ndestination:/queue/a\n\nx\0");
    assert_eq!(flow, Flow::Wait);
    assert_eq!(talk.hears(), ["connect owed=0"]);
    talk.receipt(0);
    assert_eq!(talk.receive(), Flow::Read);
    assert_eq!(talk.hears(), [r#"send /queue/a b"x""#]);
}

#[test]
fn a_refused_connection_does_nothing_of_what_it_sent_along() {
    let mut talk = Talk::fresh();
    talk.says("CONNECT\naccept-version:1.2\nclient-id:me\n\n\0SEND\ndestination:/queue/a\n\nx\0");
    talk.hears();
    let client_id = "me".to_owned();
    talk.refused(Some(0), Refusal::ClientIdInUse { client_id });
    let error = talk.error();
    assert!(error.contains("message:client id in use\n"), "{error}");
    assert!(
        error.contains(r#"client id "me" is already connected"#),
        "{error}"
    );
    assert_eq!(talk.receive(), Flow::Close);
    assert_eq!(talk.hears(), [""; 0]);
}

#[test]
fn other_protocols_are_told_where_they_are() {
    for (bytes, name) in [
        ("GET / HTTP/1.1\r\nHost: a\r\n\r\n", "HTTP"),
        ("AMQP\0\u{1}\0\0", "AMQP"),
        ("\u{10}\u{c}\0\u{4}MQTT\u{4}", "MQTT"),
        ("\0\0\0\u{46}\u{1}ActiveMQ", "OpenWire"),
        ("\u{16}\u{3}\u{1}\u{2}\0", "TLS"),
    ] {
        for at in 0..bytes.len() {
            let mut talk = Talk::fresh();
            let (first, second) = bytes.split_at(at);
            talk.says(first);
            assert_eq!(talk.says(second), Flow::Close, "{name} cut at {at}");
            let error = talk.error();
            assert!(error.contains("message:this is not STOMP\n"), "{error}");
            assert!(error.contains(&format!("look like {name}:")), "{error}");
        }
    }
}

#[test]
fn garbage_gets_an_error_and_not_a_panic() {
    let mut talk = Talk::fresh();
    assert_eq!(talk.says("hello\nworld\n"), Flow::Close);
    let error = talk.error();
    assert!(
        error.contains(r#"there is no STOMP command "hello""#),
        "{error}"
    );
    assert_eq!(talk.says("CONNECT\n\n\0"), Flow::Close, "it stays closed");
    assert_eq!((talk.gets().as_str(), talk.input.len()), ("", 0));
}

#[test]
fn frames_in_the_wrong_place_are_refused() {
    let mut talk = Talk::fresh();
    talk.says("SEND\ndestination:/queue/a\nreceipt:r\n\n\0");
    let error = talk.error();
    assert!(
        error.contains("message:not connected\nreceipt-id:r\n"),
        "{error}"
    );
    for (text, title) in [
        ("CONNECT\n\n\0", "already connected"),
        ("STOMP\n\n\0", "already connected"),
        ("MESSAGE\n\n\0", "unexpected command"),
        ("RECEIPT\n\n\0", "unexpected command"),
        ("CONNECTED\n\n\0", "unexpected command"),
        ("ERROR\n\n\0", "unexpected command"),
        ("FETCH\n\n\0", "unknown command"),
    ] {
        let mut talk = Talk::connected(Version::V1_2);
        assert_eq!(talk.says(text), Flow::Close);
        let error = talk.error();
        assert!(error.contains(&format!("message:{title}\n")), "{error}");
    }
}

#[test]
fn a_malformed_frame_is_answered_with_its_receipt_id() {
    let mut talk = Talk::connected(Version::V1_2);
    let text = "SEND\nreceipt:r\\c1\ncontent-length:99999999999\n\n";
    assert_eq!(talk.says(text), Flow::Close);
    let error = talk.error();
    assert!(
        error.contains("message:frame too large\nreceipt-id:r\\c1\n"),
        "{error}"
    );
}

#[test]
fn an_invalid_heart_beat_is_refused() {
    let mut talk = Talk::fresh();
    talk.says("CONNECT\naccept-version:1.1\nheart-beat:often\n\n\0");
    let error = talk.error();
    assert!(
        error.contains("header heart-beat:often of CONNECT is not two"),
        "{error}"
    );
}

#[test]
fn disconnect_with_receipt_waits_for_all_that_came_before() {
    for version in VERSIONS {
        let mut talk = Talk::connected(version);
        talk.says("SEND\ndestination:/queue/a\nreceipt:s\n\nx\0");
        let flow = talk.says("DISCONNECT\nreceipt:bye\n\n\0SEND\ndestination:/queue/a\n\nlate\0");
        assert_eq!(flow, Flow::Wait);
        assert_eq!(
            talk.hears(),
            [r#"send /queue/a owed=1 b"x""#, "flush owed=2"]
        );
        talk.receipt(1);
        assert!(!talk.session.is_closing());
        talk.receipt(2);
        assert_eq!(
            talk.gets(),
            "RECEIPT\nreceipt-id:s\n\n^@RECEIPT\nreceipt-id:bye\n\n^@"
        );
        assert!(talk.session.is_closing());
        assert_eq!(talk.session.fault(), None);
        assert_eq!(talk.receive(), Flow::Close);
        assert_eq!(talk.hears(), [""; 0], "nothing counts after DISCONNECT");
    }
}

#[test]
fn disconnect_without_receipt_closes_at_once() {
    let mut talk = Talk::connected(Version::V1_1);
    assert_eq!(talk.says("DISCONNECT\n\n\0"), Flow::Close);
    assert_eq!((talk.gets().as_str(), talk.session.fault()), ("", None));
}
