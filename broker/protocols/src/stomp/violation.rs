//! How the other side can break the protocol. The text goes to it as it is:
//! it says what was wrong and what would be right.

use thiserror::Error;

use super::{Verb, Version};
use crate::detect::Protocol;

/// A broken rule; the connection cannot go on after one.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum Violation {
    /// The first bytes are not STOMP.
    #[error(
        "this port speaks STOMP, but the first bytes look like {found}: check the port and the scheme of the URL"
    )]
    OtherProtocol {
        /// What they look like.
        found: Protocol,
    },
    /// No frame begins like this.
    #[error(
        "there is no STOMP command {line:?}: commands are upper-case words on a line of their own"
    )]
    UnknownCommand {
        /// The command line as it came, made printable.
        line: String,
    },
    /// A command line without an end.
    #[error(
        "a command line is longer than {limit} bytes: commands are upper-case words on a line of their own"
    )]
    CommandTooLong {
        /// [`super::Limits::command_bytes_max`].
        limit: usize,
    },
    /// A header line without an end.
    #[error("a header line of {verb} is longer than {limit} bytes: put long values into the body")]
    HeaderTooLong {
        /// The frame.
        verb: Verb,
        /// [`super::Limits::header_bytes_max`].
        limit: usize,
    },
    /// Too many headers.
    #[error("{verb} has more than {limit} headers: put the data into the body")]
    TooManyHeaders {
        /// The frame.
        verb: Verb,
        /// [`super::Limits::headers_max`].
        limit: usize,
    },
    /// Too much header text.
    #[error(
        "the headers of {verb} are longer than {limit} bytes together: put the data into the body"
    )]
    HeadTooLong {
        /// The frame.
        verb: Verb,
        /// [`super::Limits::head_bytes_max`].
        limit: usize,
    },
    /// The body is too long.
    #[error(
        "the body of {verb} is longer than {limit} bytes: send it in parts, or raise the limit of the broker"
    )]
    BodyTooLong {
        /// The frame.
        verb: Verb,
        /// [`super::Limits::body_bytes_max`].
        limit: usize,
    },
    /// NUL before the blank line.
    #[error(
        "{verb} ended within its headers: a blank line must stand between the headers and the body"
    )]
    EndedInHeaders {
        /// The frame.
        verb: Verb,
    },
    /// A header line without a colon.
    #[error("header line {line:?} of {verb} has no colon: write name:value")]
    HeaderWithoutColon {
        /// The frame.
        verb: Verb,
        /// The line as it came, made printable.
        line: String,
    },
    /// A header line that begins with its colon.
    #[error("a header of {verb} has no name: write name:value")]
    HeaderWithoutName {
        /// The frame.
        verb: Verb,
    },
    /// A header that is not text.
    #[error(
        "a header of {verb} is not UTF-8: encode headers in UTF-8, and put other data into the body"
    )]
    HeaderNotUtf8 {
        /// The frame.
        verb: Verb,
    },
    /// A backslash that escapes nothing.
    #[error("undefined escape {escape:?} in a header of {verb}: STOMP {version} knows {}", escapes(*.version))]
    UndefinedEscape {
        /// The frame.
        verb: Verb,
        /// The backslash and what follows it.
        escape: String,
        /// The version whose rules hold.
        version: Version,
    },
    /// A content-length that is no number.
    #[error("content-length {value:?} of {verb} is not a number of bytes")]
    InvalidContentLength {
        /// The frame.
        verb: Verb,
        /// As it came.
        value: String,
    },
    /// The body is longer than announced.
    #[error(
        "no NUL byte behind the {length} bytes that the content-length of {verb} announced: count bytes, not characters, and end the frame with NUL"
    )]
    BodyNotTerminated {
        /// The frame.
        verb: Verb,
        /// The announced length.
        length: usize,
    },
    /// A body where none may be.
    #[error("{verb} has a body, but only SEND, MESSAGE and ERROR may have one")]
    BodyNotAllowed {
        /// The frame.
        verb: Verb,
    },
}

/// What may follow a backslash.
fn escapes(version: Version) -> &'static str {
    match version {
        Version::V1_0 => "none",
        Version::V1_1 => r"\n, \c and \\",
        Version::V1_2 => r"\r, \n, \c and \\",
    }
}

impl Violation {
    /// A few words for the `message` header of an ERROR.
    pub fn title(&self) -> &'static str {
        match self {
            Self::OtherProtocol { .. } => "this is not STOMP",
            Self::UnknownCommand { .. } => "unknown command",
            Self::CommandTooLong { .. }
            | Self::HeaderTooLong { .. }
            | Self::TooManyHeaders { .. }
            | Self::HeadTooLong { .. }
            | Self::BodyTooLong { .. } => "frame too large",
            Self::EndedInHeaders { .. }
            | Self::HeaderWithoutColon { .. }
            | Self::HeaderWithoutName { .. }
            | Self::HeaderNotUtf8 { .. }
            | Self::UndefinedEscape { .. }
            | Self::InvalidContentLength { .. }
            | Self::BodyNotTerminated { .. }
            | Self::BodyNotAllowed { .. } => "malformed frame",
        }
    }
}
