//! A parsed selector: a tree that is as deep as the selector is nested, never as it is long.
//!
//! Chains of one operator are lists, so that what walks the tree, dropping it included, recurses
//! no deeper than the parser allowed.

use std::cmp::Ordering;

use super::identifier::Identifier;
use super::like::Pattern;
use super::number::{Number, Operator};
use super::value::Value;

/// A condition, or a value in it. The parser sees to it that each stands where it may.
#[derive(Debug, Clone)]
pub(super) enum Expression {
    Literal(Literal),
    Identifier(Identifier),
    Not(Box<Expression>),
    /// Two or more.
    And(Box<[Expression]>),
    /// Two or more.
    Or(Box<[Expression]>),
    Compare(Box<Expression>, Comparison, Box<Expression>),
    Between(Box<Between>),
    In(Box<In>),
    Like(Box<Like>),
    IsNull {
        value: Box<Expression>,
        negated: bool,
    },
    /// A sign; that of a literal number is part of the number.
    Sign {
        value: Box<Expression>,
        is_minus: bool,
    },
    /// Evaluated from the left.
    Arithmetic {
        first: Box<Expression>,
        rest: Box<[(Operator, Expression)]>,
    },
}

#[derive(Debug, Clone)]
pub(super) struct Between {
    pub(super) value: Expression,
    pub(super) negated: bool,
    pub(super) low: Expression,
    pub(super) high: Expression,
}

#[derive(Debug, Clone)]
pub(super) struct In {
    pub(super) value: Expression,
    pub(super) negated: bool,
    /// Texts and numbers, at least one.
    pub(super) list: Box<[Literal]>,
}

#[derive(Debug, Clone)]
pub(super) struct Like {
    pub(super) value: Expression,
    pub(super) negated: bool,
    pub(super) pattern: Pattern,
}

#[derive(Debug, Clone, PartialEq)]
pub(super) enum Literal {
    Bool(bool),
    Number(Number),
    Text(Box<str>),
}

impl Literal {
    pub(super) fn value(&self) -> Value<'_> {
        match self {
            Self::Bool(truth) => Value::Bool(*truth),
            Self::Number(number) => (*number).into(),
            Self::Text(text) => Value::Str(text),
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Comparison {
    Equal,
    NotEqual,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
}

impl Comparison {
    /// Whether it is `=` or `<>`, which take values of any type.
    pub(super) fn is_equality(self) -> bool {
        matches!(self, Self::Equal | Self::NotEqual)
    }

    /// `None`: the two have no order, and are not equal.
    pub(super) fn holds(self, ordering: Option<Ordering>) -> bool {
        match self {
            Self::Equal => ordering == Some(Ordering::Equal),
            Self::NotEqual => ordering != Some(Ordering::Equal),
            Self::Less => ordering.is_some_and(Ordering::is_lt),
            Self::LessOrEqual => ordering.is_some_and(Ordering::is_le),
            Self::Greater => ordering.is_some_and(Ordering::is_gt),
            Self::GreaterOrEqual => ordering.is_some_and(Ordering::is_ge),
        }
    }
}
