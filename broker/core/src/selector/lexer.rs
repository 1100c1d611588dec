//! Cuts a selector into words, numbers, quoted texts and signs; skips blanks and comments.

use super::error::{Place, SelectorFault, shown};

/// The magnitude of Java's least `long`, which is a number only behind a minus.
pub(super) const EXACT_MAX: u64 = 1 << 63;

/// A token and the bytes where it stands.
#[derive(Debug, Clone, Copy)]
pub(super) struct Token<'t> {
    pub(super) kind: Kind<'t>,
    pub(super) from: usize,
    pub(super) to: usize,
}

#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Kind<'t> {
    Keyword(Keyword),
    Symbol(Symbol),
    Identifier(&'t str),
    /// What is between the quotation marks; each one in it is still doubled.
    Text(&'t str),
    /// At most [`EXACT_MAX`].
    Exact(u64),
    Approximate(f64),
    End,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Keyword {
    And,
    Between,
    Escape,
    False,
    In,
    Is,
    Like,
    Not,
    Null,
    Or,
    True,
}

const KEYWORDS: [(&str, Keyword); 11] = [
    ("AND", Keyword::And),
    ("BETWEEN", Keyword::Between),
    ("ESCAPE", Keyword::Escape),
    ("FALSE", Keyword::False),
    ("IN", Keyword::In),
    ("IS", Keyword::Is),
    ("LIKE", Keyword::Like),
    ("NOT", Keyword::Not),
    ("NULL", Keyword::Null),
    ("OR", Keyword::Or),
    ("TRUE", Keyword::True),
];

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Symbol {
    Equal,
    NotEqual,
    LessOrEqual,
    Less,
    GreaterOrEqual,
    Greater,
    Plus,
    Minus,
    Star,
    Slash,
    Percent,
    Open,
    Close,
    Comma,
}

/// The first that fits is meant.
const SYMBOLS: [(&str, Symbol); 14] = [
    ("=", Symbol::Equal),
    ("<>", Symbol::NotEqual),
    ("<=", Symbol::LessOrEqual),
    ("<", Symbol::Less),
    (">=", Symbol::GreaterOrEqual),
    (">", Symbol::Greater),
    ("+", Symbol::Plus),
    ("-", Symbol::Minus),
    ("*", Symbol::Star),
    ("/", Symbol::Slash),
    ("%", Symbol::Percent),
    ("(", Symbol::Open),
    (")", Symbol::Close),
    (",", Symbol::Comma),
];

#[derive(Debug)]
pub(super) struct Lexer<'t> {
    text: &'t str,
    at: usize,
}

impl<'t> Lexer<'t> {
    /// Starts at a byte that begins a character.
    pub(super) fn new(text: &'t str, at: usize) -> Self {
        Self { text, at }
    }

    pub(super) fn next(&mut self) -> Result<Token<'t>, Place> {
        self.skip()?;
        let from = self.at;
        let rest = self.rest();
        let (kind, length) = match rest.chars().next() {
            None => (Kind::End, 0),
            Some('\'') => self.quoted()?,
            Some(first) if is_start(first) => word(rest),
            Some(first) if first.is_ascii_digit() || is_fraction(rest) => self.number()?,
            Some(character) => {
                let symbol = SYMBOLS.iter().find(|(sign, _)| rest.starts_with(sign));
                let Some((sign, symbol)) = symbol else {
                    return Err(self.fault(SelectorFault::Character { character }));
                };
                (Kind::Symbol(*symbol), sign.len())
            }
        };
        self.at += length;
        let to = self.at;
        Ok(Token { kind, from, to })
    }

    fn rest(&self) -> &'t str {
        &self.text[self.at..]
    }

    fn fault(&self, fault: SelectorFault) -> Place {
        let at = self.at;
        Place { at, fault }
    }

    /// Blanks and comments.
    fn skip(&mut self) -> Result<(), Place> {
        loop {
            let rest = self.rest();
            let blank = rest.len() - rest.trim_start().len();
            self.at += blank;
            let rest = &rest[blank..];
            self.at += if rest.starts_with("--") {
                rest.find(['\n', '\r']).unwrap_or(rest.len())
            } else if let Some(comment) = rest.strip_prefix("/*") {
                let what = "a comment";
                let open = || self.fault(SelectorFault::Open { what });
                comment.find("*/").ok_or_else(open)? + "/**/".len()
            } else {
                return Ok(());
            };
        }
    }

    fn quoted(&self) -> Result<(Kind<'t>, usize), Place> {
        let rest = self.rest();
        let mut end = 1;
        loop {
            let Some(quote) = rest[end..].find('\'') else {
                let what = "a quoted text";
                return Err(self.fault(SelectorFault::Open { what }));
            };
            end += quote + 1;
            if !rest[end..].starts_with('\'') {
                return Ok((Kind::Text(&rest[1..end - 1]), end));
            }
            end += 1;
        }
    }

    /// Java's literals, the hexadecimal approximate ones excepted.
    fn number(&self) -> Result<(Kind<'t>, usize), Place> {
        let rest = self.rest();
        let length = number_length(rest);
        let found = &rest[..length];
        let fault = |reason| {
            let found = shown(found);
            self.fault(SelectorFault::Number { found, reason })
        };
        let lower = found.to_ascii_lowercase();
        let kind = if let Some(digits) = lower.strip_prefix("0x") {
            Kind::Exact(exact(digits, 16).map_err(fault)?)
        } else if lower.contains(['.', 'e', 'f', 'd']) {
            Kind::Approximate(approximate(&lower).map_err(fault)?)
        } else if lower.len() > 1 && lower.starts_with('0') && lower != "0l" {
            Kind::Exact(exact(&lower, 8).map_err(fault)?)
        } else {
            Kind::Exact(exact(&lower, 10).map_err(fault)?)
        };
        Ok((kind, length))
    }
}

/// Whether a number begins with its point.
fn is_fraction(rest: &str) -> bool {
    let digit = |rest: &str| rest.starts_with(|first: char| first.is_ascii_digit());
    rest.strip_prefix('.').is_some_and(digit)
}

/// All that is written in one with the digits: if it is not a number, it is a fault as a whole.
fn number_length(rest: &str) -> usize {
    let is_hexadecimal = rest.starts_with("0x") || rest.starts_with("0X");
    let mut last = ' ';
    let mut has_point = false;
    let ends = |character: char| {
        let is_sign = matches!(character, '+' | '-') && matches!(last, 'e' | 'E');
        let is_point = character == '.' && !has_point;
        has_point |= is_point;
        last = character;
        !(is_part(character) || is_point || is_sign && !is_hexadecimal)
    };
    rest.find(ends).unwrap_or(rest.len())
}

fn exact(digits: &str, radix: u32) -> Result<u64, &'static str> {
    let digits = digits.strip_suffix('l').unwrap_or(digits);
    if digits.is_empty() || !digits.chars().all(|digit| digit.is_digit(radix)) {
        return Err(match radix {
            8 => "one that begins with 0 is octal, and has digits from 0 to 7",
            16 => "behind 0x stand digits from 0 to 9 and A to F",
            _ => "an exact one has digits alone",
        });
    }
    let number = u64::from_str_radix(digits, radix).ok();
    let in_range = number.filter(|number| *number <= EXACT_MAX);
    in_range.ok_or("an exact one has 64 bits")
}

fn approximate(text: &str) -> Result<f64, &'static str> {
    let digits = text.strip_suffix(['f', 'd']).unwrap_or(text);
    // Rust also reads words, such as `inf`: none begins with a digit or a point.
    let number: f64 = digits
        .parse()
        .map_err(|_| "an approximate one is written as 1.5, 15. or 1.5E1")?;
    let in_range = Some(number).filter(|number| number.is_finite());
    in_range.ok_or("it is too large")
}

fn word(rest: &str) -> (Kind<'_>, usize) {
    let length = rest.find(|next| !is_part(next)).unwrap_or(rest.len());
    let word = &rest[..length];
    let keyword = KEYWORDS
        .iter()
        .find(|(keyword, _)| word.eq_ignore_ascii_case(keyword));
    let kind = match keyword {
        Some((_, keyword)) => Kind::Keyword(*keyword),
        None => Kind::Identifier(word),
    };
    (kind, length)
}

/// As Java's `isJavaIdentifierStart`, but for rare currencies and ligatures.
fn is_start(character: char) -> bool {
    character.is_alphabetic() || matches!(character, '_' | '$')
}

fn is_part(character: char) -> bool {
    is_start(character) || character.is_numeric()
}
