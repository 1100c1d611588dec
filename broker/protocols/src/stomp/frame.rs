//! One frame: a verb, headers and a body.
//!
//! All header text of a frame lives in one string, so that a frame that is
//! used again and again costs no allocation.

use std::fmt;

use bytes::Bytes;

/// Memory that a frame keeps for the next one: what most need, so that one
/// huge frame does not cost its memory for as long as the connection lives.
const KEPT_TEXT_BYTES: usize = 4 * 1024;
const KEPT_HEADERS: usize = 64;

/// What a frame is for: STOMP's word is "command", which here means what a
/// client asks of the broker.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Verb {
    /// Opens a session.
    Connect,
    /// Opens a session, since 1.1.
    Stomp,
    /// Stores or forwards a message.
    Send,
    /// Begins to receive.
    Subscribe,
    /// Stops receiving.
    Unsubscribe,
    /// A message was processed.
    Ack,
    /// A message was not processed.
    Nack,
    /// Opens a transaction.
    Begin,
    /// Makes a transaction happen.
    Commit,
    /// Forgets a transaction.
    Abort,
    /// Ends the session.
    Disconnect,
    /// The server opened the session.
    Connected,
    /// The server delivers.
    Message,
    /// The server did what was asked.
    Receipt,
    /// The server gives up on the connection.
    Error,
}

impl Verb {
    /// As the wire spells it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Connect => "CONNECT",
            Self::Stomp => "STOMP",
            Self::Send => "SEND",
            Self::Subscribe => "SUBSCRIBE",
            Self::Unsubscribe => "UNSUBSCRIBE",
            Self::Ack => "ACK",
            Self::Nack => "NACK",
            Self::Begin => "BEGIN",
            Self::Commit => "COMMIT",
            Self::Abort => "ABORT",
            Self::Disconnect => "DISCONNECT",
            Self::Connected => "CONNECTED",
            Self::Message => "MESSAGE",
            Self::Receipt => "RECEIPT",
            Self::Error => "ERROR",
        }
    }

    /// The verb that a command line names; case counts.
    pub fn parse(line: &[u8]) -> Option<Self> {
        Some(match line {
            b"CONNECT" => Self::Connect,
            b"STOMP" => Self::Stomp,
            b"SEND" => Self::Send,
            b"SUBSCRIBE" => Self::Subscribe,
            b"UNSUBSCRIBE" => Self::Unsubscribe,
            b"ACK" => Self::Ack,
            b"NACK" => Self::Nack,
            b"BEGIN" => Self::Begin,
            b"COMMIT" => Self::Commit,
            b"ABORT" => Self::Abort,
            b"DISCONNECT" => Self::Disconnect,
            b"CONNECTED" => Self::Connected,
            b"MESSAGE" => Self::Message,
            b"RECEIPT" => Self::Receipt,
            b"ERROR" => Self::Error,
            _ => return None,
        })
    }

    /// Whether frames of this kind may have a body.
    pub fn has_body(self) -> bool {
        matches!(self, Self::Send | Self::Message | Self::Error)
    }

    /// Whether these frames come before both ends know which version they
    /// speak: their headers are neither escaped nor trimmed. The specification
    /// does not name STOMP here, but its reason holds, and clients go by it.
    pub fn opens(self) -> bool {
        matches!(self, Self::Connect | Self::Stomp | Self::Connected)
    }
}

impl fmt::Display for Verb {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.as_str())
    }
}

/// One frame, its headers unescaped.
#[derive(Clone, PartialEq, Eq)]
pub struct Frame {
    /// What it is for.
    pub verb: Verb,
    /// Names and values, one after the other.
    text: String,
    /// Where each name and each value ends in `text`; each begins where the
    /// one before ends. Invariant: rising, on character boundaries.
    ends: Vec<(usize, usize)>,
    /// Empty unless [`Verb::has_body`].
    pub body: Bytes,
}

impl Frame {
    /// A frame without headers and body.
    pub fn new(verb: Verb) -> Self {
        Self {
            verb,
            text: String::new(),
            ends: Vec::new(),
            body: Bytes::new(),
        }
    }

    /// The same frame with one more header.
    #[must_use]
    pub fn with(mut self, name: &str, value: &str) -> Self {
        self.push(name, value);
        self
    }

    /// The same frame with this body.
    #[must_use]
    pub fn with_body(mut self, body: impl Into<Bytes>) -> Self {
        self.body = body.into();
        self
    }

    /// Adds a header behind the others.
    pub fn push(&mut self, name: &str, value: &str) {
        self.text.push_str(name);
        let name_end = self.text.len();
        self.text.push_str(value);
        self.ends.push((name_end, self.text.len()));
    }

    /// The value of a header; of repeated ones the first counts.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers()
            .find_map(|(each, value)| (each == name).then_some(value))
    }

    /// All headers as they came.
    pub fn headers(&self) -> impl Iterator<Item = (&str, &str)> {
        let mut start = 0;
        self.ends.iter().map(move |&(name_end, end)| {
            let name = self.text.get(start..name_end).unwrap_or_default();
            let value = self.text.get(name_end..end).unwrap_or_default();
            start = end;
            (name, value)
        })
    }

    /// How many headers there are.
    pub fn headers_len(&self) -> usize {
        self.ends.len()
    }

    /// How long all header names and values are together.
    pub(super) fn text_bytes(&self) -> usize {
        self.text.len()
    }

    /// Makes it an empty frame that keeps its memory.
    pub(super) fn reset(&mut self, verb: Verb) {
        self.verb = verb;
        self.text.clear();
        self.text.shrink_to(KEPT_TEXT_BYTES);
        self.ends.clear();
        self.ends.shrink_to(KEPT_HEADERS);
        self.body = Bytes::new();
    }

    /// Lets `write` add text of a header in two steps: the name, then the value.
    pub(super) fn push_with<E>(
        &mut self,
        name: impl FnOnce(&mut String) -> Result<(), E>,
        value: impl FnOnce(&mut String) -> Result<(), E>,
    ) -> Result<(), E> {
        name(&mut self.text)?;
        let name_end = self.text.len();
        value(&mut self.text)?;
        self.ends.push((name_end, self.text.len()));
        Ok(())
    }
}

impl fmt::Debug for Frame {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_tuple(self.verb.as_str())
            .field(&self.headers().collect::<Vec<_>>())
            .field(&self.body)
            .finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_of_repeated_headers_counts_and_all_are_kept() {
        let frame = Frame::new(Verb::Message)
            .with("foo", "World")
            .with("", "")
            .with("foo", "Hello");
        assert_eq!(frame.header("foo"), Some("World"));
        assert_eq!(frame.header(""), Some(""));
        assert_eq!(frame.header("bar"), None);
        let all: Vec<_> = frame.headers().collect();
        assert_eq!(all, [("foo", "World"), ("", ""), ("foo", "Hello")]);
    }

    #[test]
    fn a_reset_frame_forgets_everything() {
        let mut frame = Frame::new(Verb::Send)
            .with("destination", "/queue/a")
            .with_body("x");
        frame.reset(Verb::Ack);
        assert_eq!(frame, Frame::new(Verb::Ack));
    }

    #[test]
    fn every_verb_reads_as_it_is_written() {
        for verb in [
            Verb::Connect,
            Verb::Stomp,
            Verb::Send,
            Verb::Subscribe,
            Verb::Unsubscribe,
            Verb::Ack,
            Verb::Nack,
            Verb::Begin,
            Verb::Commit,
            Verb::Abort,
            Verb::Disconnect,
            Verb::Connected,
            Verb::Message,
            Verb::Receipt,
            Verb::Error,
        ] {
            assert_eq!(Verb::parse(verb.as_str().as_bytes()), Some(verb));
        }
        assert_eq!(Verb::parse(b"send"), None);
    }
}
