//! What a person asks of a batch, by the environment, and is told. No run ever sees it.

use std::env;
use std::io::{self, Write as _};
use std::str::FromStr;

/// The number that was asked for, if one was.
#[must_use]
pub fn number<T: FromStr>(name: &str) -> Option<T> {
    let value = env::var(name).ok()?;
    let Ok(number) = value.parse() else {
        panic!("{name} is a number that fits, not {value:?}");
    };
    Some(number)
}

/// A line for a person.
pub fn tell(text: &str) {
    writeln!(io::stderr(), "{text}").expect("the terminal takes a line");
}
