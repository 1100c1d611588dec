//! What a header or an expression is worth: one of the types that a selector knows.

use super::number::Number;

/// A value in a selector. Java's smaller numbers are widened, which loses nothing.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Value<'a> {
    /// Not there, or unknown.
    Null,
    /// A boolean.
    Bool(bool),
    /// An exact number: Java's `byte`, `short`, `int` and `long`.
    Long(i64),
    /// An approximate number: Java's `float` and `double`.
    Double(f64),
    /// A text.
    Str(&'a str),
}

impl From<Option<bool>> for Value<'_> {
    fn from(truth: Option<bool>) -> Self {
        truth.map_or(Self::Null, Self::Bool)
    }
}

impl From<Number> for Value<'_> {
    fn from(number: Number) -> Self {
        match number {
            Number::Exact(number) => Self::Long(number),
            Number::Approximate(number) => Self::Double(number),
        }
    }
}
