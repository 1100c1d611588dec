//! Comparisons, and what SQL puts behind a value: BETWEEN, IN, LIKE and IS NULL.

use super::{
    A_NUMBER, A_TEXT, COMPARISONS, Comparison, Expression, Keyword, Kind, Literal, Operator,
    Parsed, Parser, Place, SUM, SelectorFault, Symbol, Type,
};
use crate::selector::expression::{Between, In, Like};
use crate::selector::like::Pattern;

/// What IN and LIKE look at.
const TEXT_OR_NUMBER: &str = "a text or a number";

impl Parser<'_> {
    pub(super) fn predicate(&mut self) -> Result<Parsed, Place> {
        let value = self.sum()?;
        let from = value.from;
        let expression = if let Some(comparison) = self.take_one_of(&COMPARISONS)? {
            self.comparison(value, comparison)?
        } else if self.take(Kind::Keyword(Keyword::Is))? {
            let negated = self.take(Kind::Keyword(Keyword::Not))?;
            if !self.take(Kind::Keyword(Keyword::Null))? {
                return Err(self.unexpected(if negated { "NULL" } else { "NULL or NOT NULL" }));
            }
            let value = Box::new(value.expression);
            Expression::IsNull { value, negated }
        } else {
            let negated = self.take(Kind::Keyword(Keyword::Not))?;
            if self.take(Kind::Keyword(Keyword::Between))? {
                self.between(value, negated)?
            } else if self.take(Kind::Keyword(Keyword::In))? {
                self.list(value, negated)?
            } else if self.take(Kind::Keyword(Keyword::Like))? {
                self.like(value, negated)?
            } else if negated {
                return Err(self.unexpected("BETWEEN, IN or LIKE"));
            } else {
                return Ok(value);
            }
        };
        Ok(self.parsed(from, Type::Condition, expression))
    }

    fn comparison(&mut self, left: Parsed, comparison: Comparison) -> Result<Expression, Place> {
        if !comparison.is_equality() {
            self.check(&left, &[Type::Number], A_NUMBER)?;
        }
        let right = self.sum()?;
        if !comparison.is_equality() {
            self.check(&right, &[Type::Number], A_NUMBER)?;
        }
        let (left, right) = (Box::new(left.expression), Box::new(right.expression));
        Ok(Expression::Compare(left, comparison, right))
    }

    fn between(&mut self, value: Parsed, negated: bool) -> Result<Expression, Place> {
        self.check(&value, &[Type::Number], A_NUMBER)?;
        let low = self.sum()?;
        self.check(&low, &[Type::Number], A_NUMBER)?;
        if !self.take(Kind::Keyword(Keyword::And))? {
            return Err(self.unexpected("AND and the upper bound of BETWEEN"));
        }
        let high = self.sum()?;
        self.check(&high, &[Type::Number], A_NUMBER)?;
        Ok(Expression::Between(Box::new(Between {
            value: value.expression,
            negated,
            low: low.expression,
            high: high.expression,
        })))
    }

    fn list(&mut self, value: Parsed, negated: bool) -> Result<Expression, Place> {
        self.check(&value, &[Type::Text, Type::Number], TEXT_OR_NUMBER)?;
        if !self.take(Kind::Symbol(Symbol::Open))? {
            return Err(self.unexpected("\"(\" and the list of IN"));
        }
        let mut list = vec![self.element()?];
        while self.take(Kind::Symbol(Symbol::Comma))? {
            list.push(self.element()?);
        }
        if !self.take(Kind::Symbol(Symbol::Close))? {
            return Err(self.unexpected("\",\" or \")\""));
        }
        Ok(Expression::In(Box::new(In {
            value: value.expression,
            negated,
            list: list.into(),
        })))
    }

    fn element(&mut self) -> Result<Literal, Place> {
        let expected = "a text in single quotes or a number";
        let sign = self.take_one_of(SUM)?;
        let is_minus = sign == Some(Operator::Subtract);
        if let Kind::Exact(magnitude) = self.token.kind {
            return Ok(Literal::Number(self.exact(magnitude, is_minus)?));
        }
        if sign.is_some() && !matches!(self.token.kind, Kind::Approximate(_)) {
            return Err(self.unexpected(A_NUMBER));
        }
        match self.literal()? {
            Some(Literal::Number(number)) if is_minus => Ok(Literal::Number(number.negate())),
            Some(literal) => Ok(literal),
            None => Err(self.unexpected(expected)),
        }
    }

    fn like(&mut self, value: Parsed, negated: bool) -> Result<Expression, Place> {
        self.check(&value, &[Type::Text], "a text")?;
        let at = self.token.from;
        let pattern = self.text_literal()?;
        let has_escape = self.take(Kind::Keyword(Keyword::Escape))?;
        let escape = has_escape.then(|| self.escape()).transpose()?;
        let fault = SelectorFault::Pattern;
        let pattern = Pattern::new(&pattern, escape).map_err(|_| Place { at, fault })?;
        Ok(Expression::Like(Box::new(Like {
            value: value.expression,
            negated,
            pattern,
        })))
    }

    fn escape(&mut self) -> Result<char, Place> {
        let at = self.token.from;
        let text = self.text_literal()?;
        let mut characters = text.chars();
        if let (Some(escape), None) = (characters.next(), characters.next()) {
            return Ok(escape);
        }
        let characters = text.chars().count();
        let fault = SelectorFault::Escape { characters };
        Err(Place { at, fault })
    }

    fn text_literal(&mut self) -> Result<String, Place> {
        let Kind::Text(raw) = self.token.kind else {
            return Err(self.unexpected(A_TEXT));
        };
        self.advance()?;
        Ok(raw.replace("''", "'"))
    }
}
