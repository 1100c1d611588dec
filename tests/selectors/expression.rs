//! Random conditions, as text: parentheses stand only where the grammar needs them, and sometimes
//! where it does not, so that what binds how is tried as well.

use proptest::prelude::*;
use proptest::sample::select;

#[derive(Debug, Clone)]
pub(crate) enum Cell {
    Null,
    Bool(bool),
    Exact(i64),
    Approximate(f64),
    Text(String),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Type {
    Bool,
    Exact,
    Approximate,
    Text,
}

/// What every row has.
pub(crate) const COLUMNS: [(&str, Type); 8] = [
    ("flag", Type::Bool),
    ("mark", Type::Bool),
    ("count", Type::Exact),
    ("size", Type::Exact),
    ("price", Type::Approximate),
    ("rate", Type::Approximate),
    ("colour", Type::Text),
    ("name_2", Type::Text),
];

/// How tight an expression binds: what is looser needs parentheses.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Level {
    Or,
    And,
    Not,
    Predicate,
    Sum,
    Product,
    Sign,
    Operand,
}

/// Text, and how tight it binds.
#[derive(Debug, Clone)]
struct Part {
    text: String,
    level: Level,
}

type Parts = BoxedStrategy<Part>;

impl Part {
    fn new(level: Level, text: impl Into<String>) -> Self {
        let text = text.into();
        Self { text, level }
    }

    /// As an operand of something that binds as tight as `level`.
    fn at(&self, level: Level) -> String {
        if self.level < level {
            format!("({})", self.text)
        } else {
            self.text.clone()
        }
    }
}

pub(crate) fn row() -> impl Strategy<Value = Vec<Cell>> {
    COLUMNS
        .map(|(_, kind)| prop_oneof![1 => Just(Cell::Null), 4 => cell(kind)])
        .to_vec()
}

fn cell(kind: Type) -> BoxedStrategy<Cell> {
    match kind {
        Type::Bool => any::<bool>().prop_map(Cell::Bool).boxed(),
        Type::Exact => (-9_i64..10).prop_map(Cell::Exact).boxed(),
        Type::Approximate => quarters().prop_map(Cell::Approximate).boxed(),
        // Of few characters, or no pattern would ever match.
        Type::Text => prop_oneof![3 => "[ab]{0,5}", 1 => "[ab%_'\\\\éA\n]{0,4}"]
            .prop_map(Cell::Text)
            .boxed(),
    }
}

/// They are added and multiplied without a rest, whatever the order.
fn quarters() -> impl Strategy<Value = f64> {
    (-20_i16..20).prop_map(|number| f64::from(number) / 4.0)
}

pub(crate) fn condition() -> impl Strategy<Value = String> {
    let leaf = prop_oneof![1 => truth(), 6 => predicate()];
    let tree = leaf.prop_recursive(5, 24, 3, |inner| {
        prop_oneof![
            2 => chain(inner.clone(), Level::And, &[" AND ", " and ", "\nAnd\t"]),
            2 => chain(inner.clone(), Level::Or, &[" OR ", " or ", " /* either */ Or "]),
            2 => (inner.clone(), select(&["NOT ", "not ", "NOT\n"][..])).prop_map(|(part, not)| {
                Part::new(Level::Not, format!("{not}{}", part.at(Level::Not)))
            }),
            1 => in_parentheses(inner.clone()),
            1 => (inner.clone(), select(&["=", "<>"][..]), inner.clone()).prop_map(|(left, sign, right)| {
                let (left, right) = (left.at(Level::Sum), right.at(Level::Sum));
                Part::new(Level::Predicate, format!("{left} {sign} {right}"))
            }),
            1 => (inner, is_null()).prop_map(|(part, is_null)| {
                Part::new(Level::Predicate, format!("{}{is_null}", part.at(Level::Sum)))
            }),
        ]
        .boxed()
    });
    tree.prop_map(|part| part.text)
}

fn chain(inner: Parts, level: Level, words: &'static [&'static str]) -> Parts {
    let next = match level {
        Level::And => Level::Not,
        _ => Level::And,
    };
    (prop::collection::vec(inner, 2..4), select(words))
        .prop_map(move |(parts, word)| {
            let parts: Vec<String> = parts.iter().map(|part| part.at(next)).collect();
            Part::new(level, parts.join(word))
        })
        .boxed()
}

fn in_parentheses(inner: Parts) -> Parts {
    let part = inner.prop_map(|part| Part::new(Level::Operand, format!("( {} )", part.text)));
    part.boxed()
}

fn column(kind: Type) -> Parts {
    let names = COLUMNS.iter().filter(move |(_, column)| *column == kind);
    let names: Vec<&'static str> = names.map(|(name, _)| *name).collect();
    select(names)
        .prop_map(|name| Part::new(Level::Operand, name))
        .boxed()
}

fn truth() -> Parts {
    let literal = select(&["TRUE", "FALSE", "true", "False"][..]);
    let literal = literal.prop_map(|word| Part::new(Level::Operand, word));
    prop_oneof![1 => literal, 4 => column(Type::Bool)].boxed()
}

fn is_null() -> impl Strategy<Value = &'static str> {
    select(&[" IS NULL", " IS NOT NULL", " is not null"][..])
}

fn not() -> impl Strategy<Value = &'static str> {
    select(&["", "NOT "][..])
}

fn predicate() -> Parts {
    prop_oneof![
        4 => (number(), select(&["=", "<>", "<", "<=", ">", ">="][..]), number()).prop_map(
            |(left, sign, right)| {
                Part::new(Level::Predicate, format!("{}{sign}{}", left.text, right.text))
            }
        ),
        2 => (number(), not(), number(), number()).prop_map(|(value, not, low, high)| {
            let (value, low, high) = (value.text, low.text, high.text);
            Part::new(Level::Predicate, format!("{value} {not}BETWEEN {low} AND {high}"))
        }),
        1 => (number(), not(), prop::collection::vec(number_literal(), 1..4)).prop_map(
            |(value, not, list)| {
                let value = value.text;
                Part::new(Level::Predicate, format!("{value} {not}IN ({})", list.join(", ")))
            }
        ),
        1 => (text(), not(), prop::collection::vec(text_literal(), 1..4)).prop_map(
            |(value, not, list)| {
                let value = value.text;
                Part::new(Level::Predicate, format!("{value} {not}IN ({})", list.join(",")))
            }
        ),
        1 => (text(), select(&[" = ", "<>"][..]), text()).prop_map(|(left, sign, right)| {
            Part::new(Level::Predicate, format!("{}{sign}{}", left.text, right.text))
        }),
        3 => (text(), not(), pattern()).prop_map(|(value, not, pattern)| {
            Part::new(Level::Predicate, format!("{} {not}LIKE {pattern}", value.text))
        }),
        1 => (prop_oneof![number(), text()], is_null()).prop_map(|(value, is_null)| {
            Part::new(Level::Predicate, format!("{}{is_null}", value.text))
        }),
    ]
    .boxed()
}

fn number() -> Parts {
    prop_oneof![
        2 => arithmetic(Type::Exact),
        1 => arithmetic(Type::Approximate),
        1 => arithmetic(Type::Exact).prop_flat_map(|left| {
            arithmetic(Type::Approximate).prop_map(move |right| binary(&left, "*", &right))
        }),
    ]
    .boxed()
}

/// Three levels of numbers up to ten stay far from every bound.
fn arithmetic(kind: Type) -> Parts {
    let literal = match kind {
        Type::Exact => exact_literal(),
        _ => approximate_literal(),
    };
    let literal = literal.prop_map(|text| Part::new(Level::Operand, text));
    let leaf = prop_oneof![1 => literal, 2 => column(kind)];
    leaf.prop_recursive(3, 8, 2, move |inner| {
        let all = match kind {
            Type::Exact => &["+", "-", "*", "/", "%"][..],
            _ => &["+", "-", "*"][..],
        };
        let divisor = select(&["2.", "-0.5", ".25", "4E0"][..]);
        let divided = (inner.clone(), divisor).prop_map(|(left, right)| {
            let right = Part::new(Level::Sign, right);
            binary(&left, "/", &right)
        });
        let signed = (inner.clone(), select(&["-", "+", "- "][..])).prop_map(|(part, sign)| {
            let part = part.at(Level::Sign);
            // Two of them would begin a comment.
            let space = if part.starts_with(['-', '+']) {
                " "
            } else {
                ""
            };
            Part::new(Level::Sign, format!("{sign}{space}{part}"))
        });
        prop_oneof![
            5 => (inner.clone(), select(all), inner.clone())
                .prop_map(|(left, operator, right)| binary(&left, operator, &right)),
            u32::from(kind != Type::Exact) => divided,
            1 => signed,
            1 => in_parentheses(inner),
        ]
        .boxed()
    })
    .boxed()
}

fn binary(left: &Part, operator: &str, right: &Part) -> Part {
    let (level, next) = match operator {
        "+" | "-" => (Level::Sum, Level::Product),
        _ => (Level::Product, Level::Sign),
    };
    let (left, right) = (left.at(level), right.at(next));
    let space = if right.starts_with('-') { " " } else { "" };
    Part::new(level, format!("{left}{operator}{space}{right}"))
}

fn exact_literal() -> BoxedStrategy<String> {
    let decimal = (0_u8..10).prop_map(|number| number.to_string());
    let hexadecimal = (0_u8..10).prop_map(|number| format!("0x{number:X}"));
    prop_oneof![4 => decimal, 1 => hexadecimal].boxed()
}

fn approximate_literal() -> BoxedStrategy<String> {
    select(&["0.0", "1.", ".5", "2.5E0", "25e-1", "1E1", "3.75"][..])
        .prop_map(str::to_owned)
        .boxed()
}

fn number_literal() -> BoxedStrategy<String> {
    let sign = select(&["", "-", "+"][..]);
    (sign, prop_oneof![exact_literal(), approximate_literal()])
        .prop_map(|(sign, number)| format!("{sign}{number}"))
        .boxed()
}

fn text() -> Parts {
    let literal = text_literal().prop_map(|text| Part::new(Level::Operand, text));
    prop_oneof![3 => column(Type::Text), 1 => literal].boxed()
}

fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}

fn text_literal() -> BoxedStrategy<String> {
    "[ab'éA]{0,2}".prop_map(|text| quoted(&text)).boxed()
}

/// A pattern, with an escape or without.
fn pattern() -> BoxedStrategy<String> {
    let plain = prop_oneof![3 => "[ab%_]{1,6}", 1 => "[ab%_'\\\\éA\n]{0,4}"];
    let plain = plain.prop_map(|pattern| quoted(&pattern));
    let atoms = prop::collection::vec(
        select(&["a", "b", "é", "%", "_", "!%", "!_", "!!"][..]),
        0..5,
    );
    let escaped = atoms.prop_map(|atoms| format!("{} ESCAPE '!'", quoted(&atoms.concat())));
    prop_oneof![3 => plain, 1 => escaped].boxed()
}
