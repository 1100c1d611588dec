//! The message selector of JMS: which messages a subscription wants.
//!
//! A selector is a condition in a part of SQL-92, over the headers of a message: sections 3.8.1.1
//! to 3.8.1.3 of the JMS specification (2.0; Jakarta Messaging 3.1 says the same). It is parsed
//! once, and is then a tree that is evaluated for each message without allocating.
//!
//! Where the specification leaves room, or where ActiveMQ, whose users we serve, goes beyond it:
//!
//! - A value that is not there is NULL, and what is compared or computed with it is unknown. A
//!   message matches if the whole is true, neither if it is false nor if it is unknown.
//! - Values of unlike types compare false, with `<>`, `NOT IN`, `NOT LIKE` and `NOT BETWEEN`, too.
//!   ActiveMQ calls `'x' <> 1` true; the specification says "the value of the operation is false".
//! - Texts and booleans are not ordered: `<` with a literal text is refused, between two headers
//!   that turn out to be texts it is false. ActiveMQ orders the latter by their characters, which
//!   puts 10 before 9.
//! - Exact numbers are Java's `long`: they wrap, divide towards zero, and the remainder has the
//!   sign of the dividend. ActiveMQ divides all numbers as approximate ones (`7 / 2 = 3.5`); the
//!   specification wants Java's promotion (`7 / 2 = 3`). What an exact number is when divided by
//!   zero is unknown: Java would throw. Approximate numbers are Java's `double`, infinities included.
//! - Arithmetic with a boolean or a text is unknown. ActiveMQ throws, or joins texts.
//! - `NOT` binds less than a comparison, as in SQL: `NOT a = 1` is `NOT (a = 1)`. In ActiveMQ it is
//!   `(NOT a) = 1`.
//! - Taken from ActiveMQ: the remainder `%`, comments (`-- to the end of the line`, `/* … */`),
//!   hexadecimal and octal numbers, any expression before `IS NULL`, `IN` and `LIKE`, a comparison
//!   of conditions in parentheses. `IN` takes numbers, too. Identifiers are Java's: hyphens and
//!   dots have no place in them, and ActiveMQ has no quotes for them either.
//! - Not there: ActiveMQ's XPATH, XQUERY and functions.
//! - With [`StringNumbers::Convert`], which is for STOMP, whose headers are all texts, a text that
//!   meets a number is read as one, and a text that meets a boolean in `=` or `<>` is true if it is
//!   `true` in any case, else false. ActiveMQ reads `5.5` only where the other number is
//!   approximate; here it is a number everywhere. A text alone is no condition, as in ActiveMQ:
//!   write `urgent = TRUE`, not `urgent`.

mod error;
mod evaluate;
mod expression;
mod identifier;
mod lexer;
mod like;
mod message;
mod number;
mod parser;
mod value;

#[cfg(test)]
mod tests;

use std::fmt;

use replicamq_proto::store::v1::Message;

use crate::limits::SELECTOR_BYTES_MAX;
use evaluate::Evaluation;
use expression::Expression;
use parser::Parser;

pub use error::{SelectorError, SelectorFault};
pub use identifier::{Identifier, JmsHeader};
pub use message::{Redelivery, message_value};
pub use value::Value;

/// ActiveMQ and Artemis choose the reading of texts in front of the selector.
const PREFIXES: [(&str, StringNumbers); 2] = [
    ("convert_string_expressions:", StringNumbers::Convert),
    ("no_convert_string_expressions:", StringNumbers::Keep),
];

/// What a text is where a number or a boolean is on the other side.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StringNumbers {
    /// A text, which is unlike a number: JMS.
    Keep,
    /// A number, if it is written like one: STOMP.
    Convert,
}

/// A condition on messages: parsed, checked, and ready to be evaluated.
#[derive(Debug, Clone)]
pub struct Selector {
    text: String,
    strings: StringNumbers,
    condition: Expression,
}

impl Selector {
    /// Parses a selector. `None`: it is empty or blank, which is to say that there is none.
    ///
    /// A prefix in the text, `convert_string_expressions:` or `no_convert_string_expressions:`,
    /// overrules `strings`; of several, the last one does.
    pub fn parse(text: &str, strings: StringNumbers) -> Result<Option<Self>, SelectorError> {
        if text.len() > SELECTOR_BYTES_MAX {
            return Err(SelectorError::TooLong { bytes: text.len() });
        }
        let (start, strings) = after_prefixes(text, strings);
        if text[start..].trim().is_empty() {
            return Ok(None);
        }
        let condition =
            Parser::parse(text, start).map_err(|place| SelectorError::at(text, start, place))?;
        Ok(Some(Self {
            text: text.to_owned(),
            strings,
            condition,
        }))
    }

    /// Whether the condition is true of whatever `lookup` knows. Unknown is not true.
    pub fn matches<'v>(&'v self, lookup: &impl Fn(&'v Identifier) -> Value<'v>) -> bool {
        self.evaluate(lookup) == Some(true)
    }

    /// The same in three values; `None` is unknown.
    pub fn evaluate<'v>(&'v self, lookup: &impl Fn(&'v Identifier) -> Value<'v>) -> Option<bool> {
        Evaluation::new(self.strings, lookup).truth(&self.condition)
    }

    /// Whether the condition is true of a stored message, redelivered as is said beside it.
    pub fn matches_message(&self, message: &Message, redelivery: Redelivery) -> bool {
        self.matches(&|identifier| message_value(message, redelivery, identifier))
    }

    /// The selector as it was written, prefixes included.
    pub fn as_str(&self) -> &str {
        &self.text
    }
}

/// Whether a selector, if there is one, is true of a message that was not delivered yet.
pub(crate) fn wants(selector: Option<&Selector>, message: &Message) -> bool {
    selector.is_none_or(|selector| selector.matches_message(message, Redelivery::default()))
}

impl fmt::Display for Selector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// Two selectors are equal if they were written alike and read texts alike: one that only means
/// the same is another one, as for ActiveMQ's durable subscriptions.
impl PartialEq for Selector {
    fn eq(&self, other: &Self) -> bool {
        self.text == other.text && self.strings == other.strings
    }
}

impl Eq for Selector {}

/// Where the condition begins, and how it reads texts.
fn after_prefixes(text: &str, mut strings: StringNumbers) -> (usize, StringNumbers) {
    let mut rest = text;
    while let Some((after, chosen)) = PREFIXES
        .iter()
        .find_map(|(prefix, chosen)| Some((rest.strip_prefix(prefix)?, *chosen)))
    {
        rest = after;
        strings = chosen;
    }
    (text.len() - rest.len(), strings)
}
