//! Arithmetic with Java's numeric promotion: exact numbers wrap, and become approximate beside one
//! that is. Nothing here panics.

use std::cmp::Ordering;

/// A number in a selector.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Number {
    Exact(i64),
    Approximate(f64),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Operator {
    Add,
    Subtract,
    Multiply,
    Divide,
    Remainder,
}

impl Number {
    /// Reads a text that a client sent where a number is meant: decimal, with blanks around it at
    /// most. What passes an exact number's range becomes approximate. Words like `inf` are none.
    pub(super) fn read(text: &str) -> Option<Self> {
        let text = text.trim();
        let unsigned = text.strip_prefix(['+', '-']).unwrap_or(text);
        if !unsigned.starts_with(|first: char| first.is_ascii_digit() || first == '.') {
            return None;
        }
        match text.parse() {
            Ok(exact) => Some(Self::Exact(exact)),
            Err(_) => text.parse().ok().map(Self::Approximate),
        }
    }

    /// `None`: the exact division by zero, which has no value.
    pub(super) fn apply(self, operator: Operator, other: Self) -> Option<Self> {
        let (Self::Exact(left), Self::Exact(right)) = (self, other) else {
            let (left, right) = (self.approximate(), other.approximate());
            return Some(Self::Approximate(match operator {
                Operator::Add => left + right,
                Operator::Subtract => left - right,
                Operator::Multiply => left * right,
                Operator::Divide => left / right,
                Operator::Remainder => left % right,
            }));
        };
        let is_defined = right != 0;
        match operator {
            Operator::Add => Some(left.wrapping_add(right)),
            Operator::Subtract => Some(left.wrapping_sub(right)),
            Operator::Multiply => Some(left.wrapping_mul(right)),
            Operator::Divide => is_defined.then(|| left.wrapping_div(right)),
            Operator::Remainder => is_defined.then(|| left.wrapping_rem(right)),
        }
        .map(Self::Exact)
    }

    pub(super) fn negate(self) -> Self {
        match self {
            Self::Exact(number) => Self::Exact(number.wrapping_neg()),
            Self::Approximate(number) => Self::Approximate(-number),
        }
    }

    /// `None`: one of them is not a number, so that all but `<>` is false.
    pub(super) fn compare(self, other: Self) -> Option<Ordering> {
        match (self, other) {
            (Self::Exact(left), Self::Exact(right)) => Some(left.cmp(&right)),
            _ => self.approximate().partial_cmp(&other.approximate()),
        }
    }

    #[expect(
        clippy::cast_precision_loss,
        reason = "Java's promotion of a long loses what a double does not hold"
    )]
    fn approximate(self) -> f64 {
        match self {
            Self::Exact(number) => number as f64,
            Self::Approximate(number) => number,
        }
    }
}
