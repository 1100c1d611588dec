//! Any bytes as a stream of frames: cut anywhere it reads the same, and what was read and is
//! written is read again.

use bytes::BytesMut;
use replicamq_fuzzing::Input;

use crate::detect::{DETECT_BYTES_MAX, Detected, detect};
use crate::stomp::{Decoder, Frame, Limits, Version, encode};

const VERSIONS: [Version; 3] = [Version::V1_0, Version::V1_1, Version::V1_2];

/// Small enough that a fuzzer reaches them.
const TIGHT: Limits = Limits {
    command_bytes_max: 12,
    header_bytes_max: 24,
    headers_max: 4,
    head_bytes_max: 64,
    body_bytes_max: 40,
};

/// So much of a written frame may be escapes and `content-length`.
const GROWTH: usize = 3;

/// The first bytes choose version, limits and the size of the pieces; the rest is the stream.
pub fn stomp_frames(data: &[u8]) {
    let mut input = Input::new(data);
    let version = input.pick(&VERSIONS);
    let limits = if input.bool() {
        TIGHT
    } else {
        Limits::default()
    };
    let mut sizes = Input::new(input.bytes());
    let stream = input.rest();

    let whole = read(limits, version, std::iter::once(stream));
    let pieces = read(limits, version, cut(stream, &mut sizes));
    assert_eq!(whole.frames, pieces.frames, "the network's cuts show");
    assert_eq!(whole.failed, pieces.failed, "the network's cuts show");
    assert_eq!(whole.left, pieces.left, "the network's cuts show");
    for frame in &whole.frames {
        is_within(frame, limits);
        is_read_as_written(frame, version);
    }
    tells_its_protocol(stream);
}

/// What a stream was read as.
struct Read {
    frames: Vec<Frame>,
    failed: bool,
    /// How much of an unfinished frame there is.
    left: usize,
}

fn read<'a>(limits: Limits, version: Version, pieces: impl Iterator<Item = &'a [u8]>) -> Read {
    let mut decoder = Decoder::new(limits);
    decoder.set_version(version);
    let mut input = BytesMut::new();
    let mut frames = Vec::new();
    for piece in pieces {
        input.extend_from_slice(piece);
        loop {
            match decoder.decode(&mut input) {
                Ok(Some(frame)) => frames.push(frame),
                Ok(None) => break,
                Err(violation) => {
                    assert_eq!(decoder.decode(&mut input), Err(violation));
                    return Read {
                        frames,
                        failed: true,
                        left: 0,
                    };
                }
            }
        }
        let part_max = limits
            .command_bytes_max
            .max(limits.header_bytes_max)
            .max(limits.body_bytes_max);
        assert!(input.len() <= part_max, "it keeps {} bytes", input.len());
        assert!(decoder.wanted() <= limits.body_bytes_max + 1);
        assert!(decoder.is_within_frame() || input.is_empty());
    }
    Read {
        frames,
        failed: false,
        left: input.len(),
    }
}

/// The stream in pieces, the sizes of which repeat.
fn cut<'a>(stream: &'a [u8], sizes: &mut Input<'_>) -> impl Iterator<Item = &'a [u8]> {
    let chosen: Vec<usize> = sizes.rest().iter().map(|&size| size.into()).collect();
    let mut sizes = chosen.into_iter().map(|size| size + 1).cycle();
    let mut rest = stream;
    std::iter::from_fn(move || {
        let size = sizes.next().unwrap_or(1).min(rest.len());
        let (piece, after) = rest.split_at(size);
        rest = after;
        (!piece.is_empty()).then_some(piece)
    })
}

fn is_within(frame: &Frame, limits: Limits) {
    let headers = frame
        .headers()
        .map(|(name, value)| name.len() + value.len());
    assert!(frame.headers_len() <= limits.headers_max);
    assert!(headers.sum::<usize>() <= limits.head_bytes_max);
    assert!(frame.body.len() <= limits.body_bytes_max);
    assert!(frame.verb.has_body() || frame.body.is_empty());
}

fn is_read_as_written(frame: &Frame, version: Version) {
    // A carriage return at the end of a line that is not escaped belongs to the line.
    let lost = |value: &str| frame.verb.opens() && value.ends_with('\r');
    if frame.headers().any(|(_, value)| lost(value)) {
        return;
    }
    let mut written = BytesMut::new();
    encode(frame, version, &mut written);
    let limits = Limits::default();
    let mut decoder = Decoder::new(Limits {
        header_bytes_max: limits.header_bytes_max * GROWTH,
        head_bytes_max: limits.head_bytes_max * GROWTH,
        headers_max: limits.headers_max + 1,
        ..limits
    });
    decoder.set_version(version);
    let again = decoder.decode(&mut written);
    let again = again.expect("it is a frame").expect("and a whole one");
    assert!(written.is_empty(), "more than a frame was written");
    let headers = |frame: &Frame| -> Vec<(String, String)> {
        let kept = frame
            .headers()
            .filter(|(name, _)| *name != "content-length");
        let owned = |(name, value): (&str, &str)| (name.to_owned(), value.to_owned());
        kept.map(owned).collect()
    };
    assert_eq!(again.verb, frame.verb);
    assert_eq!(headers(&again), headers(frame));
    assert_eq!(again.body, frame.body);
}

/// Its first bytes tell a protocol by the known length at the latest, and more of them do not
/// change what they told.
fn tells_its_protocol(stream: &[u8]) {
    let opening = stream.get(..DETECT_BYTES_MAX).unwrap_or(stream);
    let mut told = Detected::NeedMore;
    for length in 0..=opening.len() {
        let now = detect(opening.get(..length).unwrap_or_default());
        if told != Detected::NeedMore {
            assert_eq!(now, told);
        }
        told = now;
    }
    assert!(opening.len() < DETECT_BYTES_MAX || told != Detected::NeedMore);
}
