//! One check for all tables: a selector, the headers of a message, and what comes out.

mod errors;
mod grammar;
mod like;
mod literals;
mod logic;
mod message;
mod random;
mod strings;
mod types;

use super::{Identifier, Selector, StringNumbers, Value};

const T: Option<bool> = Some(true);
const F: Option<bool> = Some(false);
/// Unknown.
const U: Option<bool> = None;

type Headers<'h> = &'h [(&'h str, Value<'h>)];

fn parse(text: &str, strings: StringNumbers) -> Selector {
    let parsed = Selector::parse(text, strings);
    let selector = parsed.unwrap_or_else(|error| panic!("{error}"));
    selector.unwrap_or_else(|| panic!("{text:?} is blank"))
}

fn evaluate(selector: &Selector, headers: Headers<'_>) -> Option<bool> {
    let lookup = |identifier: &Identifier| {
        let Identifier::Property(name) = identifier else {
            return Value::Null;
        };
        let found = headers.iter().find(|(header, _)| *header == &**name);
        found.map_or(Value::Null, |(_, value)| *value)
    };
    let truth = selector.evaluate(&lookup);
    assert_eq!(selector.matches(&lookup), truth == T);
    truth
}

/// As JMS reads it.
#[track_caller]
fn check(text: &str, headers: Headers<'_>, expected: Option<bool>) {
    let selector = parse(text, StringNumbers::Keep);
    assert_eq!(evaluate(&selector, headers), expected, "{text}");
}

/// As it is read for STOMP.
#[track_caller]
fn check_converted(text: &str, headers: Headers<'_>, expected: Option<bool>) {
    let selector = parse(text, StringNumbers::Convert);
    assert_eq!(evaluate(&selector, headers), expected, "{text}");
}

/// That it is refused, in these words.
#[track_caller]
fn refused(text: &str, expected: &str) {
    let error = Selector::parse(text, StringNumbers::Convert).expect_err(text);
    let error = error.to_string();
    let words = error.strip_prefix(&format!("invalid selector {text:?}: "));
    assert_eq!(words.unwrap_or(&error), expected, "{text}");
}
