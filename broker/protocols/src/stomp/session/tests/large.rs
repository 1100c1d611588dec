//! Large frames: the room that they need, and the time that they may take.

use super::*;
use crate::stomp::Limits;

const HEAD: &str = "SEND\ndestination:/queue/a\nreceipt:r\n";

fn config() -> SessionConfig {
    SessionConfig {
        limits: Limits {
            body_bytes_max: 2_000,
            ..Limits::default()
        },
        large_frame_bytes: 100,
        large_frame_ms_max: 60_000,
        large_frames_bytes_max: 5_000,
        ..SessionConfig::default()
    }
}

/// A session of 1.2 whose client sent this `heart-beat`.
fn talk(beats: &str) -> Talk {
    let mut talk = Talk::configured(config());
    talk.says(&format!(
        "CONNECT\naccept-version:1.2\nheart-beat:{beats}\n\n\0"
    ));
    talk.hears();
    talk.receipt(0);
    talk.gets();
    talk
}

fn bytes(count: usize) -> String {
    "x".repeat(count)
}

#[test]
fn a_large_frame_needs_room_until_it_has_come_whole() {
    for (length, room) in [("content-length:500\n", 501), ("", 2_001)] {
        let mut talk = talk("0,0");
        talk.says(&format!("{HEAD}{length}\n{}", bytes(99)));
        assert_eq!((talk.session.room(), talk.session.deadline()), (0, None));
        talk.says("x");
        assert_eq!(talk.session.room(), room);
        talk.says(&bytes(400));
        assert_eq!(talk.session.room(), room);
        assert_eq!(talk.says("\0"), Flow::Read);
        assert_eq!((talk.session.room(), talk.session.deadline()), (0, None));
        assert_eq!(talk.hears().len(), 1);
    }
}

#[test]
fn the_next_large_frame_has_its_own_time_and_room() {
    let mut talk = talk("0,0");
    talk.says(&format!("{HEAD}content-length:500\n\n{}", bytes(100)));
    talk.now_ms += 50_000;
    let next = format!("{HEAD}content-length:1000\n\n{}", bytes(100));
    talk.says(&format!("{}\0{next}", bytes(400)));
    assert_eq!(talk.session.room(), 1_001);
    assert_eq!(talk.session.deadline(), Some(talk.now_ms + 60_000));
}

#[test]
fn a_large_frame_that_does_not_end_is_given_up() {
    for phase in ["opening", "connected"] {
        let mut talk = match phase {
            "opening" => Talk::configured(SessionConfig {
                connect_ms_max: 600_000,
                ..config()
            }),
            _ => talk("0,0"),
        };
        talk.says(&format!("{HEAD}content-length:500\n\n{}", bytes(100)));
        let due_ms = START_MS + 60_000;
        assert_eq!(talk.session.deadline(), Some(due_ms), "{phase}");
        talk.now_ms = due_ms - 1;
        // To trickle does not help.
        talk.says("x");
        assert_eq!(talk.session.deadline(), Some(due_ms), "{phase}");
        talk.tick(due_ms);
        let error = talk.error();
        let title = "message:frame timeout\nreceipt-id:r\n";
        assert!(error.contains(title), "{error}");
        let why = "SEND is larger than 100 bytes and did not come whole within 60000 ms";
        assert!(error.contains(why), "{error}");
        assert_eq!(talk.session.room(), 0, "{phase}");
    }
}

#[test]
fn who_waits_for_room_is_not_silent_and_is_told_what_the_limit_is() {
    let mut talk = talk("5000,0");
    talk.says(&format!("{HEAD}content-length:500\n\n{}", bytes(100)));
    assert_eq!(talk.session.deadline(), Some(START_MS + 10_000));
    talk.session.wait_for_room();
    let due_ms = START_MS + 60_000;
    assert_eq!(talk.session.deadline(), Some(due_ms));
    talk.now_ms = START_MS + 50_000;
    // The core has had an answer meanwhile, and still there is no room.
    talk.receive();
    talk.session.wait_for_room();
    talk.tick(due_ms);
    let error = talk.error();
    assert!(error.contains("message:limit reached\n"), "{error}");
    let why = "found no room within 60000 ms: such frames of all connections may take 5000 bytes";
    assert!(error.contains(why), "{error}");
}

#[test]
fn the_wait_for_room_ends_with_the_next_reading() {
    let mut talk = talk("5000,0");
    talk.says(&format!("{HEAD}content-length:500\n\n{}", bytes(100)));
    talk.session.wait_for_room();
    talk.now_ms = START_MS + 30_000;
    talk.says("x");
    assert_eq!(talk.session.deadline(), Some(START_MS + 40_000));
}
