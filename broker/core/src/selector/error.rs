//! Why a selector is refused, and where in it.

use thiserror::Error;

use crate::limits::{SELECTOR_BYTES_MAX, SELECTOR_DEPTH_MAX, SELECTOR_RUN_CHARACTERS_MAX};

/// A message shows no more characters of a selector, or of a part of it.
const SHOWN_CHARACTERS_MAX: usize = 200;

/// A selector that is refused.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum SelectorError {
    /// It is longer than allowed.
    #[error("selector of {bytes} bytes: {SELECTOR_BYTES_MAX} are allowed")]
    TooLong {
        /// Its length.
        bytes: usize,
    },
    /// It is not a condition.
    #[error("invalid selector {text:?}: at column {column} {fault}")]
    Invalid {
        /// The selector, cut where it is too long for a message.
        text: String,
        /// Where the fault is, in characters, from 1.
        column: usize,
        /// What is wrong there.
        fault: SelectorFault,
    },
}

/// What is wrong at a place of a selector.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum SelectorFault {
    /// Something is missing at the end.
    #[error("the text ends where {expected} is expected")]
    Ends {
        /// What may stand there.
        expected: &'static str,
    },
    /// Something stands where it may not.
    #[error("{found:?} stands where {expected} is expected")]
    Unexpected {
        /// A word, or the expression that is of the wrong type.
        found: String,
        /// What may stand there.
        expected: &'static str,
    },
    /// A quotation mark or a comment that opens and does not close.
    #[error("{what} begins that does not end")]
    Open {
        /// What it is.
        what: &'static str,
    },
    /// No token has such a character.
    #[error("{character:?} has no meaning")]
    Character {
        /// The character.
        character: char,
    },
    /// Digits that are not a number.
    #[error("{found:?} is not a number: {reason}")]
    Number {
        /// The digits, and what hangs on to them.
        found: String,
        /// What a number is instead.
        reason: &'static str,
    },
    /// An ESCAPE of no or several characters.
    #[error("an ESCAPE of {characters} characters stands where one of one character is expected")]
    Escape {
        /// How many.
        characters: usize,
    },
    /// A LIKE that could take too long.
    #[error(
        "the pattern has more than {SELECTOR_RUN_CHARACTERS_MAX} characters, a '_' among them, without a '%'"
    )]
    Pattern,
    /// Parentheses, signs and NOT in each other, beyond the limit.
    #[error("the expression is nested more than {SELECTOR_DEPTH_MAX} levels deep")]
    TooDeep,
    /// ActiveMQ's extension.
    #[error("{found:?} stands, but functions and XPATH are not supported: compare headers")]
    Function {
        /// Its name.
        found: String,
    },
}

/// A fault, and the byte where it is.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) at: usize,
    pub(super) fault: SelectorFault,
}

impl SelectorError {
    /// `start`: behind the prefixes, which a protocol may have put there.
    pub(super) fn at(text: &str, start: usize, place: Place) -> Self {
        Self::Invalid {
            text: shown(&text[start..]),
            column: text[start..place.at].chars().count() + 1,
            fault: place.fault,
        }
    }
}

/// A text that came from a client, short enough for a message.
pub(super) fn shown(text: &str) -> String {
    match text.char_indices().nth(SHOWN_CHARACTERS_MAX) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}
