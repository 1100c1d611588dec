//! Back-pressure, and bytes that come in pieces.

use super::*;

/// One conversation with a frame of every kind.
const CONVERSATION: &str = "\n\nCONNECT\naccept-version:1.1,1.2\nclient-id:me\nheart-beat:0,0\n\n\0\n\
    SUBSCRIBE\nid:0\ndestination:/queue/a\nack:client\nreceipt:r1\n\n\0\r\n\
    SEND\ndestination:/queue/a\ncontent-length:4\nk:\\c\n\na\0\n\n\0\n\
    BEGIN\r\ntransaction:t\r\n\r\n\0\
    SEND\ndestination:/queue/a\ntransaction:t\n\nbody\0\n\n\n\
    ACK\nid:1-1\ntransaction:t\n\n\0NACK\nid:1-2\n\n\0\
    COMMIT\ntransaction:t\nreceipt:r2\n\n\0BEGIN\ntransaction:u\n\n\0ABORT\ntransaction:u\n\n\0\
    UNSUBSCRIBE\nid:0\n\n\0DISCONNECT\nreceipt:bye\n\n\0";

const COMMANDS: [&str; 12] = [
    "connect client=me owed=0",
    "subscribe 1 /queue/a Cumulative credit=1000 owed=1",
    r#"send /queue/a [k::] b"a\0\n\n""#,
    "begin 1",
    r#"send /queue/a transaction=1 b"body""#,
    "accept 1-1 transaction=1",
    "reject 1-2",
    "commit 1 owed=2",
    "begin 2",
    "abort 2",
    "unsubscribe 1",
    "flush owed=3",
];

/// Plays the conversation in pieces; the core answers at once.
fn play<'a>(
    pieces: impl IntoIterator<Item = &'a [u8]>,
    commands_max: usize,
) -> (Vec<String>, String) {
    let mut talk = Talk::configured(SessionConfig {
        commands_max,
        ..SessionConfig::default()
    });
    let (mut heard, mut got) = (Vec::new(), String::new());
    for piece in pieces {
        talk.input.extend_from_slice(piece);
        loop {
            let flow = talk.receive();
            assert!(talk.out.commands.len() <= commands_max);
            let commands = std::mem::take(&mut talk.out.commands);
            for command in &commands {
                heard.push(show(command));
                if let Some(number) = heard.last().and_then(|line| line.split_once("owed=")) {
                    talk.receipt(number.1.parse().unwrap());
                }
            }
            if flow == Flow::Read || flow == Flow::Close {
                break;
            }
        }
        got.push_str(&talk.gets());
    }
    assert!(talk.session.is_closing());
    (heard, got)
}

#[test]
fn a_conversation_is_the_same_however_it_is_cut() {
    let bytes = CONVERSATION.as_bytes();
    let (heard, got) = play([bytes], 64);
    assert_eq!(heard, COMMANDS);
    assert_eq!(
        got,
        "CONNECTED\nversion:1.2\nserver:ReplicaMQ/0\nsession:session-1\nheart-beat:1000,5000\n\n^@\
         RECEIPT\nreceipt-id:r1\n\n^@RECEIPT\nreceipt-id:r2\n\n^@RECEIPT\nreceipt-id:bye\n\n^@"
    );
    for at in 0..=bytes.len() {
        let (first, second) = bytes.split_at(at);
        assert_eq!(
            play([first, second], 64),
            (heard.clone(), got.clone()),
            "cut at {at}"
        );
    }
    assert_eq!(play(bytes.chunks(1), 64), (heard.clone(), got.clone()));
    assert_eq!(play(bytes.chunks(7), 1), (heard, got));
}

#[test]
fn a_full_batch_of_commands_stops_the_reading() {
    let config = SessionConfig {
        commands_max: 3,
        ..SessionConfig::default()
    };
    let mut talk = Talk::connect(Talk::configured(config), Version::V1_2);
    let sends = "SEND\ndestination:/queue/a\n\nx\0".repeat(7);
    assert_eq!(talk.says(&sends), Flow::Full);
    assert_eq!(talk.hears().len(), 3);
    assert_eq!(talk.receive(), Flow::Full);
    assert_eq!(talk.hears().len(), 3);
    assert_eq!(talk.receive(), Flow::Read);
    assert_eq!(talk.hears().len(), 1);
    assert_eq!(talk.input.len(), 0);
}

#[test]
fn too_many_unanswered_receipts_stop_the_reading() {
    let config = SessionConfig {
        receipts_max: 2,
        ..SessionConfig::default()
    };
    let mut talk = Talk::connect(Talk::configured(config), Version::V1_2);
    for id in 1..=3 {
        talk.says(&format!("SEND\ndestination:/queue/a\nreceipt:{id}\n\nx\0"));
    }
    assert_eq!(talk.receive(), Flow::Wait);
    assert_eq!(talk.hears().len(), 2);
    talk.receipt(1);
    assert_eq!(talk.receive(), Flow::Wait);
    assert_eq!(talk.hears(), [r#"send /queue/a owed=3 b"x""#]);
    talk.receipt(2);
    talk.receipt(3);
    assert_eq!(talk.receive(), Flow::Read);
}

#[test]
fn answers_that_nobody_owes_are_passed_over() {
    let mut talk = Talk::connected(Version::V1_2);
    for receipt in [0, 1, 99, u64::MAX] {
        talk.receipt(receipt);
    }
    talk.deliver(7, 1, "m");
    assert_eq!(talk.gets(), "");
    assert!(!talk.session.is_closing());
}

#[test]
fn what_came_before_a_fault_still_counts() {
    let mut talk = Talk::connected(Version::V1_2);
    let flow = talk.says("SEND\ndestination:/queue/a\n\nx\0SEND\n\n\0");
    assert_eq!(flow, Flow::Close);
    assert_eq!(talk.hears(), [r#"send /queue/a b"x""#]);
    talk.error();
}
