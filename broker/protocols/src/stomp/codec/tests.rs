//! Bytes in, frames out: examples, limits, and whatever proptest thinks of.

use bytes::{BufMut, BytesMut};
use proptest::prelude::*;

use super::*;
use crate::stomp::encode;

const VERSIONS: [Version; 3] = [Version::V1_0, Version::V1_1, Version::V1_2];

/// All frames in the bytes, which come in these pieces.
fn decode_pieces<'a>(
    version: Version,
    limits: Limits,
    pieces: impl IntoIterator<Item = &'a [u8]>,
) -> (Vec<Frame>, Option<Violation>) {
    let mut decoder = Decoder::new(limits);
    decoder.set_version(version);
    let mut input = BytesMut::new();
    let mut frames = Vec::new();
    for piece in pieces {
        input.put_slice(piece);
        loop {
            match decoder.decode(&mut input) {
                Ok(Some(frame)) => frames.push(frame),
                Ok(None) => break,
                Err(violation) => {
                    assert_eq!(decoder.decode(&mut input), Err(violation.clone()));
                    return (frames, Some(violation));
                }
            }
        }
    }
    (frames, None)
}

fn decode_whole(version: Version, bytes: &[u8]) -> (Vec<Frame>, Option<Violation>) {
    decode_pieces(version, Limits::default(), [bytes])
}

/// Decodes in every way to cut the bytes in two, and byte by byte.
fn check(version: Version, bytes: &[u8], frames: &[Frame], violation: Option<&Violation>) {
    let limits = Limits::default();
    for at in 0..=bytes.len() {
        let (first, second) = bytes.split_at(at);
        let (found, error) = decode_pieces(version, limits, [first, second]);
        assert_eq!(found, frames, "cut at {at} of {bytes:?}");
        assert_eq!(error.as_ref(), violation, "cut at {at} of {bytes:?}");
    }
    let (found, error) = decode_pieces(version, limits, bytes.chunks(1));
    assert_eq!(found, frames, "byte by byte: {bytes:?}");
    assert_eq!(error.as_ref(), violation, "byte by byte: {bytes:?}");
}

fn check_violation(version: Version, bytes: &[u8], violation: &Violation) {
    check(version, bytes, &[], Some(violation));
}

#[test]
fn frames_follow_each_other_with_line_ends_between() {
    check(
        Version::V1_2,
        b"\n\r\n\nSEND\ndestination:/queue/a\n\nhello\0\n\nSEND\r\ndestination:/queue/b\r\ncontent-length:3\r\n\r\na\0b\0\nDISCONNECT\n\n\0",
        &[
            Frame::new(Verb::Send)
                .with("destination", "/queue/a")
                .with_body("hello"),
            Frame::new(Verb::Send)
                .with("destination", "/queue/b")
                .with("content-length", "3")
                .with_body("a\0b"),
            Frame::new(Verb::Disconnect),
        ],
        None,
    );
}

#[test]
fn each_version_unescapes_in_its_way() {
    let bytes = b"ACK\na\\\\b:c\\cd\\ne\n\n\0";
    let raw = Frame::new(Verb::Ack).with(r"a\\b", r"c\cd\ne");
    let unescaped = Frame::new(Verb::Ack).with(r"a\b", "c:d\ne");
    check(Version::V1_0, bytes, &[raw], None);
    check(Version::V1_1, bytes, std::slice::from_ref(&unescaped), None);
    check(Version::V1_2, bytes, &[unescaped], None);

    let bytes = b"ACK\na:b\\rc\n\n\0";
    let unescaped = Frame::new(Verb::Ack).with("a", "b\rc");
    check(Version::V1_2, bytes, &[unescaped], None);
    let undefined = Violation::UndefinedEscape {
        verb: Verb::Ack,
        escape: r"\r".to_owned(),
        version: Version::V1_1,
    };
    check_violation(Version::V1_1, bytes, &undefined);
}

#[test]
fn undefined_escapes_are_refused() {
    for (value, escape) in [(r"x\t", r"\t"), (r"x\", r"\"), (r"\é", r"\é")] {
        let bytes = format!("SEND\ndestination:{value}\n\n\0");
        let violation = Violation::UndefinedEscape {
            verb: Verb::Send,
            escape: escape.to_owned(),
            version: Version::V1_2,
        };
        check_violation(Version::V1_2, bytes.as_bytes(), &violation);
    }
}

#[test]
fn frames_that_open_a_session_are_never_unescaped() {
    for version in VERSIONS {
        for verb in [Verb::Connect, Verb::Stomp, Verb::Connected] {
            let bytes = format!("{verb}\npasscode: a\\cb:c\\t \n\n\0");
            let frame = Frame::new(verb).with("passcode", r" a\cb:c\t ");
            check(version, bytes.as_bytes(), &[frame], None);
        }
    }
}

#[test]
fn only_the_first_version_trims() {
    let bytes = b"SEND\ndestination: /queue/a \n\n\0";
    let trimmed = Frame::new(Verb::Send).with("destination", "/queue/a");
    let kept = Frame::new(Verb::Send).with("destination", " /queue/a ");
    check(Version::V1_0, bytes, &[trimmed], None);
    check(Version::V1_1, bytes, std::slice::from_ref(&kept), None);
    check(Version::V1_2, bytes, &[kept], None);
}

#[test]
fn a_carriage_return_belongs_to_the_line_end_or_in_1_1_to_the_value() {
    let unix = b"ACK\nid:a\r\n\n\0";
    let with_cr = Frame::new(Verb::Ack).with("id", "a\r");
    let without = Frame::new(Verb::Ack).with("id", "a");
    check(Version::V1_2, unix, std::slice::from_ref(&without), None);
    check(Version::V1_0, unix, std::slice::from_ref(&without), None);
    check(Version::V1_1, unix, &[with_cr], None);
    let windows = b"ACK\r\nid:a\r\n\r\n\0";
    check(Version::V1_1, windows, &[without], None);
}

#[test]
fn header_values_may_hold_colons_and_nothing() {
    check(
        Version::V1_2,
        "SEND\ndestination:/queue/a:b\nempty:\nn\u{e4}me:\u{53d1}\u{9001}\n\n\0".as_bytes(),
        &[Frame::new(Verb::Send)
            .with("destination", "/queue/a:b")
            .with("empty", "")
            .with("n\u{e4}me", "\u{53d1}\u{9001}")],
        None,
    );
}

#[test]
fn malformed_frames_are_named() {
    let verb = Verb::Send;
    let cases: [(&[u8], Violation); 10] = [
        (
            b"HELLO\n\n\0",
            Violation::UnknownCommand {
                line: "HELLO".to_owned(),
            },
        ),
        (
            b"send\n\n\0",
            Violation::UnknownCommand {
                line: "send".to_owned(),
            },
        ),
        (b"SEND\0", Violation::EndedInHeaders { verb }),
        (b"SEND\na:b\0", Violation::EndedInHeaders { verb }),
        (
            b"SEND\nabc\n\n\0",
            Violation::HeaderWithoutColon {
                verb,
                line: "abc".to_owned(),
            },
        ),
        (b"SEND\n:a\n\n\0", Violation::HeaderWithoutName { verb }),
        (b"SEND\na:\xff\n\n\0", Violation::HeaderNotUtf8 { verb }),
        (
            b"SEND\ncontent-length:-1\n\n\0",
            Violation::InvalidContentLength {
                verb,
                value: "-1".to_owned(),
            },
        ),
        (
            b"SEND\ncontent-length:2\n\nabc\0",
            Violation::BodyNotTerminated { verb, length: 2 },
        ),
        (
            b"ACK\nid:1\n\nbody\0",
            Violation::BodyNotAllowed { verb: Verb::Ack },
        ),
    ];
    for (bytes, violation) in cases {
        check_violation(Version::V1_2, bytes, &violation);
    }
}

#[test]
fn line_ends_are_no_body() {
    check(
        Version::V1_0,
        b"BEGIN\ntransaction:t\n\n\n\r\n\0",
        &[Frame::new(Verb::Begin).with("transaction", "t")],
        None,
    );
}

#[test]
fn every_limit_is_refused_at_its_edge() {
    let limits = Limits {
        command_bytes_max: 12,
        header_bytes_max: 20,
        headers_max: 3,
        head_bytes_max: 50,
        body_bytes_max: 10,
    };
    let verb = Verb::Send;
    let long =
        |name: &str, length: usize| format!("{name}:{}", "x".repeat(length - name.len() - 1));
    let cases = [
        ("X".repeat(13), Violation::CommandTooLong { limit: 12 }),
        (
            format!("SEND\n{}", long("a", 21)),
            Violation::HeaderTooLong { verb, limit: 20 },
        ),
        (
            "SEND\na:1\nb:2\nc:3\nd:4\n".to_owned(),
            Violation::TooManyHeaders { verb, limit: 3 },
        ),
        (
            format!(
                "SEND\n{}\n{}\n{}",
                long("a", 19),
                long("b", 19),
                long("c", 11)
            ),
            Violation::HeadTooLong { verb, limit: 50 },
        ),
        (
            "SEND\ncontent-length:11\n\n".to_owned(),
            Violation::BodyTooLong { verb, limit: 10 },
        ),
        (
            format!("SEND\ncontent-length:{}\n\n", "9".repeat(5)),
            Violation::BodyTooLong { verb, limit: 10 },
        ),
        (
            "SEND\n\n12345678901".to_owned(),
            Violation::BodyTooLong { verb, limit: 10 },
        ),
    ];
    for (text, violation) in cases {
        let bytes = text.as_bytes();
        let whole = decode_pieces(Version::V1_2, limits, [bytes]);
        assert_eq!(whole, (vec![], Some(violation.clone())), "{text:?}");
        let single = decode_pieces(Version::V1_2, limits, bytes.chunks(1));
        assert_eq!(single, (vec![], Some(violation)), "{text:?}");
        let shorter = bytes.get(..bytes.len() - 1).unwrap();
        let (_, error) = decode_pieces(Version::V1_2, limits, [shorter]);
        assert_eq!(error, None, "one byte less of {text:?} is within the limit");
    }
    let at_the_edge = format!("SEND\n{}\ncontent-length:10\n\n1234567890\0", long("a", 20));
    let (frames, error) = decode_pieces(Version::V1_2, limits, [at_the_edge.as_bytes()]);
    assert_eq!((frames.len(), error), (1, None));
}

#[test]
fn limits_are_for_one_frame_and_not_for_the_connection() {
    let limits = Limits {
        headers_max: 1,
        head_bytes_max: 24,
        body_bytes_max: 4,
        ..Limits::default()
    };
    let bytes = b"SEND\ndestination:/queue/a\n\nbody\0".repeat(20);
    for size in [1, 7, bytes.len()] {
        let (frames, error) = decode_pieces(Version::V1_2, limits, bytes.chunks(size));
        assert_eq!((frames.len(), error), (20, None));
    }
}

#[test]
fn an_absurd_content_length_is_too_long_and_not_an_overflow() {
    for value in ["99999999999999999999999999", "18446744073709551615"] {
        let bytes = format!("SEND\ncontent-length:{value}\n\n");
        let violation = Violation::BodyTooLong {
            verb: Verb::Send,
            limit: Limits::default().body_bytes_max,
        };
        check_violation(Version::V1_2, bytes.as_bytes(), &violation);
    }
}

#[test]
fn a_header_bomb_stops_at_its_limit() {
    let mut bytes = b"SEND\n".to_vec();
    for at in 0..2_000 {
        bytes.extend_from_slice(format!("h{at}:{}\n", "x".repeat(100)).as_bytes());
    }
    let (frames, error) = decode_whole(Version::V1_2, &bytes);
    assert_eq!(frames, []);
    assert!(
        matches!(
            error,
            Some(Violation::TooManyHeaders { .. } | Violation::HeadTooLong { .. })
        ),
        "{error:?}"
    );
}

#[test]
fn what_was_looked_at_is_not_looked_at_again() {
    let mut decoder = Decoder::new(Limits::default());
    let mut input = BytesMut::new();
    for byte in b"SEND\ndestination:/queue/a\n\nbody".chunks(1) {
        input.put_slice(byte);
        assert_eq!(decoder.decode(&mut input), Ok(None));
        let scanned = match decoder.state {
            State::Command { scanned }
            | State::Headers { scanned }
            | State::Terminated { scanned } => scanned,
            State::Counted { .. } => unreachable!("there is no content-length"),
        };
        assert_eq!(scanned, input.len());
    }
    assert_eq!(input, "body");
}

#[test]
fn long_bodies_are_shared_and_short_ones_let_the_buffer_go() {
    for (length, shared) in [
        (BODY_COPY_BYTES_MAX, false),
        (BODY_COPY_BYTES_MAX + 1, true),
    ] {
        let mut input = BytesMut::from(format!("SEND\ncontent-length:{length}\n\n").as_bytes());
        input.put_bytes(b'x', length);
        input.put_u8(0);
        let span = input.as_ptr_range();
        let mut decoder = Decoder::new(Limits::default());
        let frame = decoder.decode(&mut input).unwrap().unwrap();
        assert_eq!(frame.body.len(), length);
        assert_eq!(span.contains(&frame.body.as_ptr()), shared);
        assert_eq!(input.len(), 0);
    }
}

#[test]
fn the_room_that_a_body_needs_is_known() {
    let mut decoder = Decoder::new(Limits::default());
    let mut input = BytesMut::from("SEND\ncontent-length:100\n\n");
    assert_eq!((decoder.wanted(), decoder.is_within_frame()), (0, false));
    assert_eq!(decoder.decode(&mut input), Ok(None));
    assert_eq!((decoder.wanted(), decoder.is_within_frame()), (101, true));
}

fn verb() -> impl Strategy<Value = Verb> {
    prop::sample::select(vec![
        Verb::Connect,
        Verb::Stomp,
        Verb::Send,
        Verb::Subscribe,
        Verb::Ack,
        Verb::Message,
        Verb::Error,
    ])
}

/// A frame that the version can express.
fn frame(version: Version) -> impl Strategy<Value = Frame> {
    (
        verb(),
        prop::collection::vec(("[^\0]{1,8}", "[^\0]{0,12}"), 0..6),
        prop::collection::vec(any::<u8>(), 0..64),
    )
        .prop_map(move |(verb, headers, body)| {
            let mut frame = Frame::new(verb);
            let plain = verb.opens() || version == Version::V1_0;
            for (name, value) in headers {
                if plain {
                    let name = name.replace([':', '\n', '\r', '\\'], "");
                    let value = value.replace(['\n', '\r'], "");
                    if !name.trim().is_empty() {
                        frame.push(name.trim(), value.trim());
                    }
                } else {
                    frame.push(&name, &value);
                }
            }
            if verb.has_body() {
                frame.body = body.into();
            }
            frame
        })
}

fn version_and_frames() -> impl Strategy<Value = (Version, Vec<Frame>)> {
    prop::sample::select(VERSIONS.to_vec())
        .prop_flat_map(|version| (Just(version), prop::collection::vec(frame(version), 1..4)))
}

/// The frame as it reads back: with the `content-length` that was written.
fn with_length(frame: &Frame) -> Frame {
    let mut expected = Frame::new(frame.verb).with_body(frame.body.clone());
    for (name, value) in frame.headers() {
        expected.push(name, value);
    }
    if frame.verb.has_body() {
        expected.push("content-length", &frame.body.len().to_string());
    }
    expected
}

/// Cuts bytes at these places.
fn pieces<'a>(bytes: &'a [u8], cuts: &[prop::sample::Index]) -> Vec<&'a [u8]> {
    let mut places: Vec<usize> = cuts.iter().map(|cut| cut.index(bytes.len() + 1)).collect();
    places.sort_unstable();
    let mut start = 0;
    let mut pieces = Vec::new();
    for end in places.into_iter().chain([bytes.len()]) {
        pieces.push(bytes.get(start..end).unwrap());
        start = end;
    }
    pieces
}

proptest! {
    #[test]
    fn what_is_written_reads_back(
        (version, frames) in version_and_frames(),
        cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..8),
    ) {
        let mut bytes = BytesMut::new();
        for frame in &frames {
            encode(frame, version, &mut bytes);
        }
        let expected: Vec<_> = frames.iter().map(with_length).collect();
        let cut = pieces(&bytes, &cuts);
        let (found, error) = decode_pieces(version, Limits::default(), cut);
        prop_assert_eq!(error, None);
        prop_assert_eq!(found, expected);
    }

    #[test]
    fn garbage_is_judged_alike_however_it_is_cut(
        version in prop::sample::select(VERSIONS.to_vec()),
        start in "(SEND|ACK|CONNECT|STOMP|MESSAGE|)(\r\n|\n|)",
        rest in prop::collection::vec(
            prop_oneof![any::<u8>(), prop::sample::select(b"\n\r:\\\0nac1".to_vec())],
            0..200,
        ),
        cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..8),
    ) {
        let bytes = [start.as_bytes(), &rest].concat();
        let whole = decode_whole(version, &bytes);
        let cut = decode_pieces(version, Limits::default(), pieces(&bytes, &cuts));
        prop_assert_eq!(&whole, &cut);
        let single = decode_pieces(version, Limits::default(), bytes.chunks(1));
        prop_assert_eq!(&whole, &single);
    }

    #[test]
    fn tight_limits_hold_whatever_comes(
        bytes in prop::collection::vec(prop::sample::select(b"SEND\n:\0a\\".to_vec()), 0..300),
    ) {
        let limits = Limits {
            command_bytes_max: 8,
            header_bytes_max: 10,
            headers_max: 2,
            head_bytes_max: 15,
            body_bytes_max: 5,
        };
        let (frames, _) = decode_pieces(Version::V1_2, limits, bytes.chunks(3));
        for frame in frames {
            prop_assert!(frame.headers_len() <= 2);
            prop_assert!(frame.text_bytes() <= 15);
            prop_assert!(frame.body.len() <= 5);
        }
    }
}
