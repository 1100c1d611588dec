//! Reads a selector by descent, and checks that conditions, numbers and texts each stand where they
//! may, as far as that can be told before a message is there.
//!
//! ```text
//! condition = both { OR both }            both = negation { AND negation }
//! negation  = NOT negation | predicate
//! predicate = sum [ ( "=" | "<>" | "<" | "<=" | ">" | ">=" ) sum
//!                 | [ NOT ] BETWEEN sum AND sum
//!                 | [ NOT ] IN "(" literal { "," literal } ")"
//!                 | [ NOT ] LIKE text [ ESCAPE text ]
//!                 | IS [ NOT ] NULL ]
//! sum       = product { ( "+" | "-" ) product }
//! product   = signed { ( "*" | "/" | "%" ) signed }
//! signed    = ( "+" | "-" ) signed | literal | identifier | "(" condition ")"
//! ```
//!
//! What nests is counted; what only follows each other becomes a list. So neither this nor
//! whatever walks the result later can exhaust the stack.

use super::error::{Place, SelectorFault, shown};
use super::expression::{Comparison, Expression, Literal};
use super::identifier::Identifier;
use super::lexer::{EXACT_MAX, Keyword, Kind, Lexer, Symbol, Token};
use super::number::{Number, Operator};
use crate::limits::SELECTOR_DEPTH_MAX;

mod predicate;

const COMPARISONS: [(Symbol, Comparison); 6] = [
    (Symbol::Equal, Comparison::Equal),
    (Symbol::NotEqual, Comparison::NotEqual),
    (Symbol::Less, Comparison::Less),
    (Symbol::LessOrEqual, Comparison::LessOrEqual),
    (Symbol::Greater, Comparison::Greater),
    (Symbol::GreaterOrEqual, Comparison::GreaterOrEqual),
];

type Operators = [(Symbol, Operator)];
const SUM: &Operators = &[
    (Symbol::Plus, Operator::Add),
    (Symbol::Minus, Operator::Subtract),
];
const PRODUCT: &Operators = &[
    (Symbol::Star, Operator::Multiply),
    (Symbol::Slash, Operator::Divide),
    (Symbol::Percent, Operator::Remainder),
];

const EXTENSIONS: [&str; 2] = ["XPATH", "XQUERY"];

const A_CONDITION: &str = "a condition";
const A_NUMBER: &str = "a number";
const A_VALUE: &str = "a value";
const A_TEXT: &str = "a text in single quotes";

#[derive(Debug)]
pub(super) struct Parser<'t> {
    text: &'t str,
    lexer: Lexer<'t>,
    /// The next token.
    token: Token<'t>,
    /// Where the last token that was taken ends.
    end: usize,
    depth: usize,
}

/// What an expression can be, as far as it is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Type {
    Condition,
    Number,
    Text,
    /// An identifier: the message will tell.
    Any,
}

/// An expression and the bytes where it stands.
struct Parsed {
    expression: Expression,
    kind: Type,
    from: usize,
    to: usize,
}

impl<'t> Parser<'t> {
    /// Reads the condition that begins at a byte and reaches to the end.
    pub(super) fn parse(text: &'t str, start: usize) -> Result<Expression, Place> {
        let mut lexer = Lexer::new(text, start);
        let token = lexer.next()?;
        let mut parser = Self {
            text,
            lexer,
            token,
            end: start,
            depth: 0,
        };
        let whole = parser.condition()?;
        if parser.token.kind != Kind::End {
            return Err(parser.unexpected(what_may_follow(whole.kind, false)));
        }
        parser.check(&whole, &[Type::Condition], A_CONDITION)?;
        Ok(whole.expression)
    }

    fn condition(&mut self) -> Result<Parsed, Place> {
        self.chain(Keyword::Or, Self::both, Expression::Or)
    }

    fn both(&mut self) -> Result<Parsed, Place> {
        self.chain(Keyword::And, Self::negation, Expression::And)
    }

    /// Conditions with a word between them, or what stands alone.
    fn chain(
        &mut self,
        keyword: Keyword,
        part: fn(&mut Self) -> Result<Parsed, Place>,
        join: fn(Box<[Expression]>) -> Expression,
    ) -> Result<Parsed, Place> {
        let first = part(self)?;
        if self.token.kind != Kind::Keyword(keyword) {
            return Ok(first);
        }
        let from = first.from;
        self.check(&first, &[Type::Condition], A_CONDITION)?;
        let mut all = vec![first.expression];
        while self.take(Kind::Keyword(keyword))? {
            let next = part(self)?;
            self.check(&next, &[Type::Condition], A_CONDITION)?;
            all.push(next.expression);
        }
        Ok(self.parsed(from, Type::Condition, join(all.into())))
    }

    fn negation(&mut self) -> Result<Parsed, Place> {
        let from = self.token.from;
        if !self.take(Kind::Keyword(Keyword::Not))? {
            return self.predicate();
        }
        let condition = self.deeper(from, Self::negation)?;
        self.check(&condition, &[Type::Condition], A_CONDITION)?;
        let not = Expression::Not(Box::new(condition.expression));
        Ok(self.parsed(from, Type::Condition, not))
    }

    fn sum(&mut self) -> Result<Parsed, Place> {
        self.arithmetic(SUM, Self::product)
    }

    fn product(&mut self) -> Result<Parsed, Place> {
        self.arithmetic(PRODUCT, Self::signed)
    }

    fn arithmetic(
        &mut self,
        operators: &Operators,
        part: fn(&mut Self) -> Result<Parsed, Place>,
    ) -> Result<Parsed, Place> {
        let first = part(self)?;
        let mut rest = Vec::new();
        while let Some(operator) = self.take_one_of(operators)? {
            if rest.is_empty() {
                self.check(&first, &[Type::Number], A_NUMBER)?;
            }
            let next = part(self)?;
            self.check(&next, &[Type::Number], A_NUMBER)?;
            rest.push((operator, next.expression));
        }
        if rest.is_empty() {
            return Ok(first);
        }
        let arithmetic = Expression::Arithmetic {
            first: Box::new(first.expression),
            rest: rest.into(),
        };
        Ok(self.parsed(first.from, Type::Number, arithmetic))
    }

    fn signed(&mut self) -> Result<Parsed, Place> {
        let from = self.token.from;
        let Some(operator) = self.take_one_of(SUM)? else {
            return self.operand();
        };
        let is_minus = operator == Operator::Subtract;
        if let Kind::Exact(magnitude) = self.token.kind {
            let number = self.exact(magnitude, is_minus)?;
            let literal = Expression::Literal(Literal::Number(number));
            return Ok(self.parsed(from, Type::Number, literal));
        }
        let signed = self.deeper(from, Self::signed)?;
        self.check(&signed, &[Type::Number], A_NUMBER)?;
        let value = signed.expression;
        let expression = if is_minus && let Expression::Literal(Literal::Number(number)) = value {
            Expression::Literal(Literal::Number(number.negate()))
        } else {
            let value = Box::new(value);
            Expression::Sign { value, is_minus }
        };
        Ok(self.parsed(from, Type::Number, expression))
    }

    fn operand(&mut self) -> Result<Parsed, Place> {
        let from = self.token.from;
        let (kind, expression) = match self.token.kind {
            Kind::Identifier(name) => {
                self.advance()?;
                self.refuse_extension(from, name)?;
                (Type::Any, Expression::Identifier(Identifier::new(name)))
            }
            Kind::Symbol(Symbol::Open) => {
                self.advance()?;
                let inner = self.deeper(from, Self::condition)?;
                if !self.take(Kind::Symbol(Symbol::Close))? {
                    return Err(self.unexpected(what_may_follow(inner.kind, true)));
                }
                (inner.kind, inner.expression)
            }
            Kind::Keyword(Keyword::True | Keyword::False) => {
                let truth = self.token.kind == Kind::Keyword(Keyword::True);
                self.advance()?;
                (Type::Condition, Expression::Literal(Literal::Bool(truth)))
            }
            Kind::Keyword(Keyword::Null) => {
                return Err(self.unexpected("a value (NULL stands behind IS or IS NOT)"));
            }
            Kind::Text(_)
            | Kind::Exact(_)
            | Kind::Approximate(_)
            | Kind::Keyword(_)
            | Kind::Symbol(_)
            | Kind::End => match self.literal()? {
                Some(Literal::Text(text)) => (Type::Text, Expression::Literal(Literal::Text(text))),
                Some(number) => (Type::Number, Expression::Literal(number)),
                None => return Err(self.unexpected(A_VALUE)),
            },
        };
        Ok(self.parsed(from, kind, expression))
    }

    /// ActiveMQ's functions, and its searches in bodies.
    fn refuse_extension(&self, at: usize, name: &str) -> Result<(), Place> {
        let is_search = EXTENSIONS
            .iter()
            .any(|word| word.eq_ignore_ascii_case(name))
            && matches!(self.token.kind, Kind::Text(_));
        if is_search || self.token.kind == Kind::Symbol(Symbol::Open) {
            let found = shown(name);
            let fault = SelectorFault::Function { found };
            return Err(Place { at, fault });
        }
        Ok(())
    }

    /// Takes a text or a number without a sign, if there is one.
    fn literal(&mut self) -> Result<Option<Literal>, Place> {
        let literal = match self.token.kind {
            Kind::Text(raw) => Literal::Text(raw.replace("''", "'").into()),
            Kind::Exact(magnitude) => {
                let number = self.exact(magnitude, false)?;
                return Ok(Some(Literal::Number(number)));
            }
            Kind::Approximate(number) => Literal::Number(Number::Approximate(number)),
            Kind::Keyword(_) | Kind::Symbol(_) | Kind::Identifier(_) | Kind::End => {
                return Ok(None);
            }
        };
        self.advance()?;
        Ok(Some(literal))
    }

    /// Takes an exact number behind its sign.
    fn exact(&mut self, magnitude: u64, is_minus: bool) -> Result<Number, Place> {
        let number = match i64::try_from(magnitude) {
            Ok(number) if is_minus => -number,
            Ok(number) => number,
            Err(_) if is_minus && magnitude == EXACT_MAX => i64::MIN,
            Err(_) => {
                return Err(Place {
                    at: self.token.from,
                    fault: SelectorFault::Number {
                        found: shown(self.found()),
                        reason: "an exact one has 64 bits",
                    },
                });
            }
        };
        self.advance()?;
        Ok(Number::Exact(number))
    }

    /// One level down.
    fn deeper(
        &mut self,
        at: usize,
        part: fn(&mut Self) -> Result<Parsed, Place>,
    ) -> Result<Parsed, Place> {
        if self.depth == SELECTOR_DEPTH_MAX {
            let fault = SelectorFault::TooDeep;
            return Err(Place { at, fault });
        }
        self.depth += 1;
        let parsed = part(self)?;
        self.depth -= 1;
        Ok(parsed)
    }

    fn advance(&mut self) -> Result<(), Place> {
        self.end = self.token.to;
        self.token = self.lexer.next()?;
        Ok(())
    }

    fn take(&mut self, kind: Kind<'_>) -> Result<bool, Place> {
        let is_next = self.token.kind == kind;
        if is_next {
            self.advance()?;
        }
        Ok(is_next)
    }

    fn take_one_of<T: Copy>(&mut self, symbols: &[(Symbol, T)]) -> Result<Option<T>, Place> {
        let fits = |(symbol, _): &&(Symbol, T)| self.token.kind == Kind::Symbol(*symbol);
        let Some((_, meaning)) = symbols.iter().find(fits) else {
            return Ok(None);
        };
        self.advance()?;
        Ok(Some(*meaning))
    }

    /// An identifier is of every type.
    fn check(&self, parsed: &Parsed, types: &[Type], expected: &'static str) -> Result<(), Place> {
        if parsed.kind == Type::Any || types.contains(&parsed.kind) {
            return Ok(());
        }
        let found = shown(&self.text[parsed.from..parsed.to]);
        let fault = SelectorFault::Unexpected { found, expected };
        let at = parsed.from;
        Err(Place { at, fault })
    }

    fn parsed(&self, from: usize, kind: Type, expression: Expression) -> Parsed {
        Parsed {
            expression,
            kind,
            from,
            to: self.end,
        }
    }

    fn found(&self) -> &'t str {
        &self.text[self.token.from..self.token.to]
    }

    /// The next token may not stand here.
    fn unexpected(&self, expected: &'static str) -> Place {
        let fault = if self.token.kind == Kind::End {
            SelectorFault::Ends { expected }
        } else {
            let found = shown(self.found());
            SelectorFault::Unexpected { found, expected }
        };
        let at = self.token.from;
        Place { at, fault }
    }
}

/// What an expression of a type can go on with, in parentheses or not.
fn what_may_follow(kind: Type, is_nested: bool) -> &'static str {
    match (kind, is_nested) {
        (Type::Condition, false) => "AND, OR or the end",
        (Type::Condition, true) => "AND, OR or \")\"",
        (Type::Number | Type::Text | Type::Any, false) => "an operator or the end",
        (Type::Number | Type::Text | Type::Any, true) => "an operator or \")\"",
    }
}
