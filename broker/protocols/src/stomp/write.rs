//! Frames to bytes, in one pass over what is to be written.

use bytes::{BufMut, BytesMut};

use super::{Frame, Verb, Version};

/// Room for what stands around a header, and for what stands around a body.
const HEADER_EXTRA_BYTES: usize = 2;
const FRAME_EXTRA_BYTES: usize = 48;

/// The decimal digits of the largest number.
const DECIMAL_BYTES_MAX: usize = 20;

/// Appends a frame, escaped as this version wants it. `content-length` is
/// written by what the body is, whatever the headers say.
pub fn encode(frame: &Frame, version: Version, out: &mut BytesMut) {
    let headers_bytes = frame.text_bytes() + frame.headers_len() * HEADER_EXTRA_BYTES;
    out.reserve(headers_bytes + frame.body.len() + FRAME_EXTRA_BYTES);
    out.put_slice(frame.verb.as_str().as_bytes());
    out.put_u8(b'\n');
    let escapes = Escapes::of(frame.verb, version);
    for (name, value) in frame.headers() {
        if name != "content-length" {
            put_header(out, name, value, escapes);
        }
    }
    if frame.verb.has_body() {
        put_body(out, &frame.body);
    } else {
        out.put_slice(b"\n\0");
    }
}

/// Writes one frame whose parts are at hand in different places.
#[derive(Debug)]
pub(super) struct Writer<'a> {
    out: &'a mut BytesMut,
    escapes: Escapes,
}

impl<'a> Writer<'a> {
    pub(super) fn begin(verb: Verb, version: Version, out: &'a mut BytesMut) -> Self {
        out.reserve(FRAME_EXTRA_BYTES);
        out.put_slice(verb.as_str().as_bytes());
        out.put_u8(b'\n');
        let escapes = Escapes::of(verb, version);
        Self { out, escapes }
    }

    pub(super) fn header(&mut self, name: &str, value: &str) -> &mut Self {
        put_header(self.out, name, value, self.escapes);
        self
    }

    pub(super) fn number(&mut self, name_and_colon: &[u8], number: u64) -> &mut Self {
        put_number_header(self.out, name_and_colon, number);
        self
    }

    pub(super) fn optional(&mut self, name: &str, value: Option<&str>) -> &mut Self {
        match value {
            Some(value) => self.header(name, value),
            None => self,
        }
    }

    pub(super) fn end(&mut self) {
        self.out.put_slice(b"\n\0");
    }

    pub(super) fn end_with_body(&mut self, body: &[u8]) {
        self.out.reserve(body.len() + FRAME_EXTRA_BYTES);
        put_body(self.out, body);
    }
}

/// What is escaped, and how.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Escapes {
    /// Nothing but what would break the frame: 1.0, and frames that open a session.
    Raw,
    /// `\n`, `\c` and `\\`.
    V1_1,
    /// And `\r`.
    V1_2,
}

impl Escapes {
    fn of(verb: Verb, version: Version) -> Self {
        if verb.opens() {
            Self::Raw
        } else {
            version.into()
        }
    }
}

impl From<Version> for Escapes {
    fn from(version: Version) -> Self {
        match version {
            Version::V1_0 => Self::Raw,
            Version::V1_1 => Self::V1_1,
            Version::V1_2 => Self::V1_2,
        }
    }
}

/// Appends a header line.
pub(super) fn put_header(out: &mut BytesMut, name: &str, value: &str, escapes: Escapes) {
    put_text(out, name, escapes, Part::Name);
    out.put_u8(b':');
    put_text(out, value, escapes, Part::Value);
    out.put_u8(b'\n');
}

/// Appends a header line whose value is a number.
pub(super) fn put_number_header(out: &mut BytesMut, name_and_colon: &[u8], number: u64) {
    out.put_slice(name_and_colon);
    put_decimal(out, number);
    out.put_u8(b'\n');
}

/// Appends what follows the other headers of a frame that has a body.
pub(super) fn put_body(out: &mut BytesMut, body: &[u8]) {
    put_number_header(out, b"content-length:", body.len() as u64);
    out.put_u8(b'\n');
    out.put_slice(body);
    out.put_u8(0);
}

/// Appends a number.
pub(super) fn put_decimal(out: &mut BytesMut, mut number: u64) {
    let mut digits = [0; DECIMAL_BYTES_MAX];
    let mut length = 0;
    for digit in digits.iter_mut().rev() {
        // Below ten, so nothing is cut off.
        *digit = b'0' + (number % 10) as u8;
        length += 1;
        number /= 10;
        if number == 0 {
            break;
        }
    }
    out.put_slice(digits.get(DECIMAL_BYTES_MAX - length..).unwrap_or_default());
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Part {
    Name,
    Value,
}

/// Appends a name or a value. A message from a client of 1.2 may hold what 1.0
/// cannot express: written raw it would end the line, or the frame, and what
/// follows would be read as headers that nobody sent.
pub(super) fn put_text(out: &mut BytesMut, text: &str, escapes: Escapes, part: Part) {
    let bytes = text.as_bytes();
    let mut plain = 0;
    for (at, &byte) in bytes.iter().enumerate() {
        let Some(replacement) = replacement(byte, escapes, part) else {
            continue;
        };
        out.put_slice(bytes.get(plain..at).unwrap_or_default());
        out.put_slice(replacement);
        plain = at + 1;
    }
    out.put_slice(bytes.get(plain..).unwrap_or_default());
}

#[inline]
fn replacement(byte: u8, escapes: Escapes, part: Part) -> Option<&'static [u8]> {
    match (byte, escapes, part) {
        (b'\n', _, _) => Some(b"\\n"),
        (b':', Escapes::V1_1 | Escapes::V1_2, _) | (b':', Escapes::Raw, Part::Name) => Some(b"\\c"),
        (b'\\', Escapes::V1_1 | Escapes::V1_2, _) => Some(b"\\\\"),
        (b'\r', Escapes::V1_2, _) => Some(b"\\r"),
        // No version can write NUL.
        (0, _, _) => Some("\u{fffd}".as_bytes()),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn encoded(frame: &Frame, version: Version) -> String {
        let mut out = BytesMut::new();
        encode(frame, version, &mut out);
        String::from_utf8(out.to_vec()).unwrap()
    }

    #[test]
    fn each_version_escapes_in_its_way() {
        let frame = Frame::new(Verb::Message).with("a:b", "c\\d:e\nf\rg");
        for (version, expected) in [
            (
                Version::V1_0,
                "MESSAGE\na\\cb:c\\d:e\\nf\rg\ncontent-length:0\n\n\0",
            ),
            (
                Version::V1_1,
                "MESSAGE\na\\cb:c\\\\d\\ce\\nf\rg\ncontent-length:0\n\n\0",
            ),
            (
                Version::V1_2,
                "MESSAGE\na\\cb:c\\\\d\\ce\\nf\\rg\ncontent-length:0\n\n\0",
            ),
        ] {
            assert_eq!(encoded(&frame, version), expected);
        }
    }

    #[test]
    fn frames_that_open_a_session_are_not_escaped() {
        for verb in [Verb::Connect, Verb::Stomp, Verb::Connected] {
            let frame = Frame::new(verb).with("passcode", "a:b\\c");
            let expected = format!("{verb}\npasscode:a:b\\c\n\n\0");
            assert_eq!(encoded(&frame, Version::V1_2), expected);
        }
    }

    #[test]
    fn no_header_can_forge_another_or_end_the_frame() {
        let frame = Frame::new(Verb::Receipt).with("receipt-id", "1\nforged:x\n\n\0ERROR\n");
        for version in [Version::V1_0, Version::V1_1, Version::V1_2] {
            let bytes = encoded(&frame, version);
            assert_eq!(bytes.matches('\n').count(), 3, "{bytes:?}");
            assert_eq!(bytes.matches('\0').count(), 1, "{bytes:?}");
        }
    }

    #[test]
    fn the_body_decides_its_content_length() {
        let frame = Frame::new(Verb::Send)
            .with("destination", "/queue/a")
            .with("content-length", "99")
            .with_body("a\0b");
        assert_eq!(
            encoded(&frame, Version::V1_2),
            "SEND\ndestination:/queue/a\ncontent-length:3\n\na\0b\0"
        );
    }

    #[test]
    fn numbers_are_written_in_full() {
        for number in [0, 1, 9, 10, 1_234_567_890, u64::MAX] {
            let mut out = BytesMut::new();
            put_decimal(&mut out, number);
            assert_eq!(out, number.to_string().as_bytes());
        }
    }
}
