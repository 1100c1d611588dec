//! A selector's value for one message, in the three-valued logic of SQL: nothing is allocated.

use super::StringNumbers;
use super::expression::{Between, Comparison, Expression, In, Like};
use super::identifier::Identifier;
use super::number::Number;
use super::value::Value;

/// One evaluation: how it reads texts, and where its identifiers have their values.
pub(super) struct Evaluation<'l, L> {
    strings: StringNumbers,
    lookup: &'l L,
}

/// Two values, made comparable.
enum Pair<'v> {
    /// One is NULL.
    Unknown,
    Numbers(Number, Number),
    Texts(&'v str, &'v str),
    Bools(bool, bool),
    Unlike,
}

impl<'l, 'v, L: Fn(&'v Identifier) -> Value<'v>> Evaluation<'l, L> {
    pub(super) fn new(strings: StringNumbers, lookup: &'l L) -> Self {
        Self { strings, lookup }
    }

    /// `None` is unknown. A value that is no boolean is not true.
    pub(super) fn truth(&self, expression: &'v Expression) -> Option<bool> {
        match self.value(expression) {
            Value::Null => None,
            Value::Bool(truth) => Some(truth),
            Value::Long(_) | Value::Double(_) | Value::Str(_) => Some(false),
        }
    }

    fn value(&self, expression: &'v Expression) -> Value<'v> {
        match expression {
            Expression::Literal(literal) => literal.value(),
            Expression::Identifier(identifier) => (self.lookup)(identifier),
            Expression::Not(condition) => self.truth(condition).map(|truth| !truth).into(),
            Expression::And(conditions) => self.all(conditions, true).into(),
            Expression::Or(conditions) => self.all(conditions, false).into(),
            Expression::Compare(left, comparison, right) => {
                let (left, right) = (self.value(left), self.value(right));
                self.compare(left, *comparison, right).into()
            }
            Expression::Between(between) => self.between(between).into(),
            Expression::In(list) => self.is_in(list).into(),
            Expression::Like(like) => self.is_like(like).into(),
            Expression::IsNull { value, negated } => {
                Value::Bool((self.value(value) == Value::Null) != *negated)
            }
            Expression::Sign { value, is_minus } => {
                let number = self.number(self.value(value));
                let signed = number.map(|it| if *is_minus { it.negate() } else { it });
                signed.map_or(Value::Null, Value::from)
            }
            Expression::Arithmetic { first, rest } => {
                let first = self.number(self.value(first));
                let result = rest.iter().fold(first, |left, (operator, right)| {
                    let right = self.number(self.value(right));
                    left?.apply(*operator, right?)
                });
                result.map_or(Value::Null, Value::from)
            }
        }
    }

    /// AND, whose neutral condition is true, or OR, whose is false: the other one decides, whatever
    /// else is unknown.
    fn all(&self, conditions: &'v [Expression], neutral: bool) -> Option<bool> {
        let mut result = Some(neutral);
        for condition in conditions {
            match self.truth(condition) {
                Some(truth) if truth == neutral => {}
                Some(truth) => return Some(truth),
                None => result = None,
            }
        }
        result
    }

    fn compare(&self, left: Value<'v>, comparison: Comparison, right: Value<'v>) -> Option<bool> {
        match self.pair(left, right) {
            Pair::Unknown => None,
            Pair::Numbers(left, right) => Some(comparison.holds(left.compare(right))),
            Pair::Texts(left, right) => {
                Some(comparison.is_equality() && comparison.holds(Some(left.cmp(right))))
            }
            Pair::Bools(left, right) => {
                Some(comparison.is_equality() && comparison.holds(Some(left.cmp(&right))))
            }
            Pair::Unlike => Some(false),
        }
    }

    fn between(&self, between: &'v Between) -> Option<bool> {
        let value = self.value(&between.value);
        let (low, high) = (self.value(&between.low), self.value(&between.high));
        if between.negated {
            let below = self.compare(value, Comparison::Less, low);
            let above = self.compare(value, Comparison::Greater, high);
            either(below, above)
        } else {
            let below = self.compare(value, Comparison::GreaterOrEqual, low);
            let above = self.compare(value, Comparison::LessOrEqual, high);
            either(below.map(|it| !it), above.map(|it| !it)).map(|outside| !outside)
        }
    }

    /// False, negated or not, if the list has nothing that is like the value.
    fn is_in(&self, list: &'v In) -> Option<bool> {
        let value = self.value(&list.value);
        let mut is_comparable = false;
        for literal in &list.list {
            let is_equal = match self.pair(value, literal.value()) {
                Pair::Unknown => return None,
                Pair::Numbers(left, right) => Comparison::Equal.holds(left.compare(right)),
                Pair::Texts(left, right) => left == right,
                Pair::Bools(..) | Pair::Unlike => continue,
            };
            if is_equal {
                return Some(!list.negated);
            }
            is_comparable = true;
        }
        Some(is_comparable && list.negated)
    }

    /// False, negated or not, of what is no text.
    fn is_like(&self, like: &'v Like) -> Option<bool> {
        match self.value(&like.value) {
            Value::Null => None,
            Value::Str(text) => Some(like.pattern.matches(text) != like.negated),
            Value::Bool(_) | Value::Long(_) | Value::Double(_) => Some(false),
        }
    }

    fn pair(&self, left: Value<'v>, right: Value<'v>) -> Pair<'v> {
        match (left, right) {
            (Value::Null, _) | (_, Value::Null) => Pair::Unknown,
            (Value::Str(left), Value::Str(right)) => Pair::Texts(left, right),
            (Value::Bool(left), Value::Bool(right)) => Pair::Bools(left, right),
            (Value::Bool(truth), Value::Str(text)) | (Value::Str(text), Value::Bool(truth))
                if self.strings == StringNumbers::Convert =>
            {
                Pair::Bools(text.eq_ignore_ascii_case("true"), truth)
            }
            (left, right) => match (self.number(left), self.number(right)) {
                (Some(left), Some(right)) => Pair::Numbers(left, right),
                _ => Pair::Unlike,
            },
        }
    }

    /// `None`: it is no number.
    fn number(&self, value: Value<'v>) -> Option<Number> {
        match value {
            Value::Long(number) => Some(Number::Exact(number)),
            Value::Double(number) => Some(Number::Approximate(number)),
            Value::Str(text) if self.strings == StringNumbers::Convert => Number::read(text),
            Value::Null | Value::Bool(_) | Value::Str(_) => None,
        }
    }
}

/// OR.
fn either(left: Option<bool>, right: Option<bool>) -> Option<bool> {
    match (left, right) {
        (Some(true), _) | (_, Some(true)) => Some(true),
        (Some(false), Some(false)) => Some(false),
        _ => None,
    }
}
