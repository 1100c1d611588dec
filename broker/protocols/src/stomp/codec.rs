//! Bytes to frames, however the network cuts them.
//!
//! The decoder remembers how far it has looked, so that a frame which arrives
//! in a thousand pieces is still read once. It refuses whatever is too large
//! before it has been received, and never panics.

use bytes::{Buf, Bytes, BytesMut};
use memchr::{memchr, memchr2};

use super::{Frame, Limits, Verb, Version, Violation};

/// Bodies up to this length are copied out of the read buffer. A longer one
/// shares its memory: that saves the copy, but keeps the whole buffer alive for
/// as long as the message waits in its queue.
const BODY_COPY_BYTES_MAX: usize = 4 * 1024;

/// So much of an offending line is quoted.
const QUOTE_BYTES_MAX: usize = 64;

/// Where in a frame the decoder stands. `scanned` bytes of the input were
/// looked at without finding the end of the part.
#[derive(Debug, Clone, Copy)]
enum State {
    Command {
        scanned: usize,
    },
    Headers {
        scanned: usize,
    },
    /// The body has this length; a NUL follows.
    Counted {
        length: usize,
    },
    /// The body ends at the first NUL.
    Terminated {
        scanned: usize,
    },
}

/// Cuts frames out of a stream of bytes.
#[derive(Debug)]
pub struct Decoder {
    limits: Limits,
    version: Version,
    state: State,
    /// What has been read of the next frame.
    frame: Frame,
    /// Length of the header lines so far.
    head_bytes: usize,
    /// The command line ended with CR LF, so the other lines do, too.
    crlf: bool,
    failed: Option<Violation>,
}

/// What one look at the input gave.
enum Step {
    /// So many bytes are done with.
    Next { consumed: usize, state: State },
    /// The end is not there yet.
    Wait { state: State },
    /// The body begins here and has this length; a NUL follows.
    Complete { length: usize },
}

impl Decoder {
    /// A decoder that reads by the rules of 1.0 until it is told better.
    pub fn new(limits: Limits) -> Self {
        Self {
            limits,
            version: Version::default(),
            state: State::Command { scanned: 0 },
            frame: Frame::new(Verb::Send),
            head_bytes: 0,
            crlf: false,
            failed: None,
        }
    }

    /// From the next frame on the rules of this version hold.
    pub fn set_version(&mut self, version: Version) {
        self.version = version;
    }

    /// The next whole frame, taken from the front of the input.
    pub fn decode(&mut self, input: &mut BytesMut) -> Result<Option<Frame>, Violation> {
        let mut frame = Frame::new(Verb::Send);
        Ok(self.decode_into(input, &mut frame)?.then_some(frame))
    }

    /// Like [`Decoder::decode`], but uses the memory of a frame that is no
    /// longer needed. `false`: there is no whole frame, and `frame` is undefined.
    ///
    /// After a violation the stream cannot be read any further: each call
    /// answers with the same violation.
    pub fn decode_into(
        &mut self,
        input: &mut BytesMut,
        frame: &mut Frame,
    ) -> Result<bool, Violation> {
        if let Some(violation) = &self.failed {
            return Err(violation.clone());
        }
        loop {
            match self.step(input) {
                Ok(Step::Next { consumed, state }) => {
                    input.advance(consumed);
                    self.state = state;
                }
                Ok(Step::Wait { state }) => {
                    self.state = state;
                    return Ok(false);
                }
                Ok(Step::Complete { length }) => {
                    let body = take_body(input, length);
                    if self.frame.verb.has_body() {
                        self.frame.body = body;
                    }
                    self.state = State::Command { scanned: 0 };
                    std::mem::swap(frame, &mut self.frame);
                    return Ok(true);
                }
                Err(violation) => {
                    self.failed = Some(violation.clone());
                    return Err(violation);
                }
            }
        }
    }

    /// Whether a frame has begun and not ended.
    pub fn is_within_frame(&self) -> bool {
        !matches!(self.state, State::Command { scanned: 0 })
    }

    /// How many bytes the input must hold before another call makes sense,
    /// where that is known: make so much room.
    pub fn wanted(&self) -> usize {
        match self.state {
            State::Counted { length } => length.saturating_add(1),
            State::Command { .. } | State::Headers { .. } | State::Terminated { .. } => 0,
        }
    }

    /// The command of the frame at hand, once its line was read.
    pub(super) fn partial_verb(&self) -> Verb {
        self.frame.verb
    }

    /// A header of the frame that could not be read to its end.
    pub(super) fn partial_header(&self, name: &str) -> Option<&str> {
        match self.state {
            State::Command { .. } => None,
            State::Headers { .. } | State::Counted { .. } | State::Terminated { .. } => {
                self.frame.header(name)
            }
        }
    }

    fn step(&mut self, input: &[u8]) -> Result<Step, Violation> {
        match self.state {
            State::Command { scanned } => self.command(input, scanned),
            State::Headers { scanned } => self.headers(input, scanned),
            State::Counted { length } => self.counted(input, length),
            State::Terminated { scanned } => self.terminated(input, scanned),
        }
    }

    /// Skips the ends of lines between frames, then reads the command line.
    fn command(&mut self, input: &[u8], scanned: usize) -> Result<Step, Violation> {
        if scanned == 0 {
            let blank = blank_bytes(input);
            if blank > 0 {
                let state = State::Command { scanned: 0 };
                return Ok(Step::Next {
                    consumed: blank,
                    state,
                });
            }
        }
        let unseen = input.get(scanned..).unwrap_or_default();
        let found = memchr2(b'\n', 0, unseen).map(|at| scanned + at);
        let limit = self.limits.command_bytes_max;
        if found.unwrap_or(input.len()) > limit {
            return Err(Violation::CommandTooLong { limit });
        }
        let Some(end) = found else {
            let scanned = input.len();
            return Ok(Step::Wait {
                state: State::Command { scanned },
            });
        };
        let line = input.get(..end).unwrap_or_default();
        let (line, crlf) = match line.strip_suffix(b"\r") {
            Some(line) => (line, true),
            None => (line, false),
        };
        let Some(verb) = Verb::parse(line) else {
            return Err(Violation::UnknownCommand { line: quote(line) });
        };
        if input.get(end) == Some(&0) {
            return Err(Violation::EndedInHeaders { verb });
        }
        self.frame.reset(verb);
        self.head_bytes = 0;
        self.crlf = crlf;
        Ok(Step::Next {
            consumed: end + 1,
            state: State::Headers { scanned: 0 },
        })
    }

    /// Reads as many header lines as are there, up to the blank one.
    fn headers(&mut self, input: &[u8], mut scanned: usize) -> Result<Step, Violation> {
        let verb = self.frame.verb;
        let mut start = 0;
        loop {
            let unseen = input.get(scanned..).unwrap_or_default();
            let end = memchr2(b'\n', 0, unseen).map(|at| scanned + at);
            let line_bytes = end.unwrap_or(input.len()) - start;
            let limit = self.limits.header_bytes_max;
            if line_bytes > limit {
                return Err(Violation::HeaderTooLong { verb, limit });
            }
            let limit = self.limits.head_bytes_max;
            if self.head_bytes + line_bytes > limit {
                return Err(Violation::HeadTooLong { verb, limit });
            }
            let Some(end) = end else {
                // The whole lines are done with; only the last is kept.
                return Ok(if start == 0 {
                    let scanned = input.len();
                    Step::Wait {
                        state: State::Headers { scanned },
                    }
                } else {
                    Step::Next {
                        consumed: start,
                        state: State::Headers {
                            scanned: input.len() - start,
                        },
                    }
                });
            };
            if input.get(end) == Some(&0) {
                return Err(Violation::EndedInHeaders { verb });
            }
            let line = self.without_cr(input.get(start..end).unwrap_or_default());
            if line.is_empty() {
                return Ok(Step::Next {
                    consumed: end + 1,
                    state: self.body_state()?,
                });
            }
            self.header_line(line)?;
            self.head_bytes += line_bytes + 1;
            start = end + 1;
            scanned = start;
        }
    }

    /// In 1.1 a CR may end a value, unless the client ends its lines so.
    fn without_cr<'a>(&self, line: &'a [u8]) -> &'a [u8] {
        match line.strip_suffix(b"\r") {
            Some(stripped) if self.crlf || self.version != Version::V1_1 => stripped,
            _ => line,
        }
    }

    fn header_line(&mut self, line: &[u8]) -> Result<(), Violation> {
        let verb = self.frame.verb;
        let limit = self.limits.headers_max;
        if self.frame.headers_len() >= limit {
            return Err(Violation::TooManyHeaders { verb, limit });
        }
        let Ok(text) = std::str::from_utf8(line) else {
            return Err(Violation::HeaderNotUtf8 { verb });
        };
        let Some((name, value)) = text.split_once(':') else {
            let line = quote(line);
            return Err(Violation::HeaderWithoutColon { verb, line });
        };
        let raw = verb.opens();
        let (name, value) = if self.version == Version::V1_0 && !raw {
            (name.trim(), value.trim())
        } else {
            (name, value)
        };
        if name.is_empty() {
            return Err(Violation::HeaderWithoutName { verb });
        }
        let version = if raw { Version::V1_0 } else { self.version };
        self.frame.push_with(
            |text| unescape(name, version, verb, text),
            |text| unescape(value, version, verb, text),
        )
    }

    /// How the body is read that follows the headers.
    fn body_state(&self) -> Result<State, Violation> {
        let verb = self.frame.verb;
        let Some(value) = self.frame.header("content-length") else {
            return Ok(State::Terminated { scanned: 0 });
        };
        let digits = value.trim();
        let number = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
        if !number {
            let value = quote(value.as_bytes());
            return Err(Violation::InvalidContentLength { verb, value });
        }
        let limit = self.limits.body_bytes_max;
        // A number that is too long to be read is too large in any case.
        match digits.parse::<usize>() {
            Ok(length) if length <= limit => Ok(State::Counted { length }),
            _ => Err(Violation::BodyTooLong { verb, limit }),
        }
    }

    fn counted(&self, input: &[u8], length: usize) -> Result<Step, Violation> {
        let verb = self.frame.verb;
        match input.get(length) {
            None => Ok(Step::Wait { state: self.state }),
            Some(0) => {
                self.check_body(input.get(..length).unwrap_or_default())?;
                Ok(Step::Complete { length })
            }
            Some(_) => Err(Violation::BodyNotTerminated { verb, length }),
        }
    }

    fn terminated(&self, input: &[u8], scanned: usize) -> Result<Step, Violation> {
        let verb = self.frame.verb;
        let found = memchr(0, input.get(scanned..).unwrap_or_default()).map(|at| scanned + at);
        let limit = self.limits.body_bytes_max;
        if found.unwrap_or(input.len()) > limit {
            return Err(Violation::BodyTooLong { verb, limit });
        }
        match found {
            Some(length) => {
                self.check_body(input.get(..length).unwrap_or_default())?;
                Ok(Step::Complete { length })
            }
            None => Ok(Step::Wait {
                state: State::Terminated {
                    scanned: input.len(),
                },
            }),
        }
    }

    /// Old clients put ends of lines in front of every NUL; that is no body.
    fn check_body(&self, body: &[u8]) -> Result<(), Violation> {
        let verb = self.frame.verb;
        if verb.has_body() || blank_bytes(body) == body.len() {
            Ok(())
        } else {
            Err(Violation::BodyNotAllowed { verb })
        }
    }
}

/// Takes the body and the NUL behind it.
fn take_body(input: &mut BytesMut, length: usize) -> Bytes {
    let body = if length == 0 {
        Bytes::new()
    } else if length <= BODY_COPY_BYTES_MAX {
        let body = Bytes::copy_from_slice(input.get(..length).unwrap_or_default());
        input.advance(length);
        body
    } else {
        input.split_to(length).freeze()
    };
    input.advance(1);
    body
}

/// How many ends of lines the bytes begin with.
pub(super) fn blank_bytes(bytes: &[u8]) -> usize {
    bytes
        .iter()
        .take_while(|byte| matches!(byte, b'\n' | b'\r'))
        .count()
}

/// Makes the beginning of what somebody sent printable.
fn quote(bytes: &[u8]) -> String {
    let start = bytes.get(..QUOTE_BYTES_MAX).unwrap_or(bytes);
    String::from_utf8_lossy(start).into_owned()
}

/// Adds a name or a value without its escapes.
fn unescape(
    mut raw: &str,
    version: Version,
    verb: Verb,
    text: &mut String,
) -> Result<(), Violation> {
    if version == Version::V1_0 {
        text.push_str(raw);
        return Ok(());
    }
    while let Some((plain, escaped)) = raw.split_once('\\') {
        text.push_str(plain);
        let mut rest = escaped.chars();
        text.push(match (rest.next(), version) {
            (Some('\\'), _) => '\\',
            (Some('c'), _) => ':',
            (Some('n'), _) => '\n',
            (Some('r'), Version::V1_2) => '\r',
            (other, _) => {
                return Err(Violation::UndefinedEscape {
                    verb,
                    escape: std::iter::once('\\').chain(other).collect(),
                    version,
                });
            }
        });
        raw = rest.as_str();
    }
    text.push_str(raw);
    Ok(())
}

#[cfg(test)]
mod tests;
