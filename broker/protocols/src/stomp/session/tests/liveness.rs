//! Heart-beats, silence, and connections that say nothing.

use super::*;

/// A session whose client sent this `heart-beat`.
fn beating(version: &str, beats: &str) -> Talk {
    let mut talk = Talk::fresh();
    talk.says(&format!(
        "CONNECT\naccept-version:{version}\nheart-beat:{beats}\n\n\0"
    ));
    talk.hears();
    talk.receipt(0);
    talk.gets();
    talk.receive();
    talk
}

#[test]
fn a_connection_that_says_nothing_is_closed() {
    for text in ["", "\n\n", "CONNECT\nlogin:", "CONN"] {
        let mut talk = Talk::fresh();
        talk.says(text);
        let deadline_ms = START_MS + 30_000;
        assert_eq!(talk.session.deadline(), Some(deadline_ms));
        talk.tick(deadline_ms - 1);
        assert!(!talk.session.is_closing());
        talk.tick(deadline_ms);
        let error = talk.error();
        assert!(error.contains("no CONNECT within 30000 ms"), "{error}");
        assert_eq!(talk.session.deadline(), None);
    }
}

#[test]
fn without_agreed_heart_beats_nothing_is_due() {
    for (version, beats) in [("1.2", "0,0"), ("1.0", "1000,1000")] {
        let talk = beating(version, beats);
        assert_eq!(talk.session.deadline(), None, "{version} {beats}");
    }
    assert_eq!(Talk::connected(Version::V1_2).session.deadline(), None);
}

#[test]
fn the_broker_beats_in_time_unless_it_says_something_else() {
    let mut talk = beating("1.1", "0,2000");
    let due_ms = START_MS + 1_500;
    assert_eq!(talk.session.deadline(), Some(due_ms));
    talk.tick(due_ms - 1);
    assert_eq!(talk.gets(), "");
    talk.tick(due_ms);
    assert_eq!(talk.gets(), "\n");
    assert_eq!(talk.session.deadline(), Some(due_ms + 1_500));

    talk.now_ms = due_ms + 1_000;
    talk.says("SUBSCRIBE\nid:s\ndestination:/queue/a\n\n\0");
    talk.deliver(1, 1, "m");
    assert_eq!(talk.session.deadline(), Some(due_ms + 2_500));
    let waiting = talk.out.write.len();
    talk.tick(due_ms + 2_500);
    assert_eq!(
        talk.out.write.len(),
        waiting,
        "no beat behind waiting bytes"
    );
    assert_eq!(talk.session.deadline(), Some(due_ms + 4_000));
}

#[test]
fn a_client_that_promised_beats_and_falls_silent_is_closed() {
    for version in ["1.1", "1.2"] {
        let mut talk = beating(version, "6000,0");
        assert_eq!(talk.session.deadline(), Some(START_MS + 12_000));
        talk.now_ms = START_MS + 5_000;
        talk.says("\n");
        assert_eq!(talk.session.deadline(), Some(START_MS + 17_000));
        talk.now_ms = START_MS + 10_000;
        talk.says("SEND\ndest");
        assert_eq!(talk.session.deadline(), Some(START_MS + 22_000));
        talk.tick(START_MS + 21_999);
        assert!(!talk.session.is_closing());
        talk.tick(START_MS + 22_000);
        let error = talk.error();
        assert!(error.contains("message:heart-beat timeout\n"), "{error}");
        assert!(error.contains("nothing was heard for 12000 ms"), "{error}");
    }
}

#[test]
fn half_a_frame_is_a_sign_of_life_only_when_it_comes() {
    let mut talk = beating("1.2", "5000,0");
    talk.says("SEND\ndestination:/queue/a\n\nhalf a body");
    talk.now_ms = START_MS + 9_000;
    assert_eq!(talk.receive(), Flow::Read);
    assert_eq!(talk.session.deadline(), Some(START_MS + 10_000));
    talk.tick(START_MS + 10_000);
    talk.error();
}

#[test]
fn a_client_that_is_not_read_is_not_silent() {
    let config = SessionConfig {
        commands_max: 1,
        ..SessionConfig::default()
    };
    let mut talk = Talk::configured(config);
    talk.says("CONNECT\naccept-version:1.2\nheart-beat:5000,0\n\n\0");
    talk.hears();
    talk.receipt(0);
    talk.gets();
    assert_eq!(talk.says("SEND\ndestination:/queue/a\n\nx\0"), Flow::Full);
    assert_eq!(talk.session.deadline(), None, "held up by the broker");
    talk.now_ms = START_MS + 60_000;
    talk.hears();
    assert_eq!(talk.receive(), Flow::Read);
    assert_eq!(talk.session.deadline(), Some(START_MS + 70_000));
}

#[test]
fn a_broker_that_slept_gives_its_clients_another_chance() {
    let mut talk = beating("1.2", "5000,0");
    assert_eq!(talk.session.deadline(), Some(START_MS + 10_000));
    talk.tick(START_MS + 60_000);
    assert!(!talk.session.is_closing());
    assert_eq!(talk.session.deadline(), Some(START_MS + 70_000));
    talk.tick(START_MS + 70_000);
    talk.error();
}
