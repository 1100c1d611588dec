//! Selectors beside SQLite, whose conditions are the same SQL: random expressions over random
//! values, written once and read by both.
//!
//! The dialects agree but for a few things, which the generator keeps out: values of unlike types
//! (SQLite orders all values), the division of approximate numbers by zero (NULL there, infinite
//! here), overflow (SQLite goes on approximately), and an ESCAPE before an ordinary character.

mod expression;
mod oracle;

use proptest::prelude::*;
use replicamq_core::{Identifier, Selector, StringNumbers, Value};

use expression::{COLUMNS, Cell, condition, row};
use oracle::Oracle;

/// A run takes seconds.
const CASES: u32 = 10_000;

fn value(cell: &Cell) -> Value<'_> {
    match cell {
        Cell::Null => Value::Null,
        Cell::Bool(truth) => Value::Bool(*truth),
        Cell::Exact(number) => Value::Long(*number),
        Cell::Approximate(number) => Value::Double(*number),
        Cell::Text(text) => Value::Str(text),
    }
}

fn ours(text: &str, row: &[Cell]) -> Option<bool> {
    let parsed = Selector::parse(text, StringNumbers::Keep);
    let selector = parsed.unwrap_or_else(|error| panic!("{error}"));
    let selector = selector.expect("an expression is not blank");
    selector.evaluate(&|identifier| {
        let Identifier::Property(name) = identifier else {
            panic!("no header of JMS is written");
        };
        let at = COLUMNS.iter().position(|(column, _)| *column == &**name);
        value(&row[at.expect("only columns are written")])
    })
}

/// Whether a table of results has all three: a generator that only says NULL proves nothing.
#[derive(Default)]
struct Seen {
    truths: [u32; 3],
}

impl Seen {
    fn note(&mut self, truth: Option<bool>) {
        self.truths[truth.map_or(2, usize::from)] += 1;
    }
}

#[test]
fn selectors_agree_with_sqlite() {
    let oracle = Oracle::open();
    let seen = std::cell::RefCell::new(Seen::default());
    let mut runner = proptest::test_runner::TestRunner::new(ProptestConfig {
        cases: CASES,
        failure_persistence: None,
        max_shrink_iters: 2_000,
        ..ProptestConfig::default()
    });
    let result = runner.run(&(condition(), row()), |(text, row)| {
        let expected = oracle.evaluate(&text, &row);
        prop_assert_eq!(ours(&text, &row), expected, "{} with {:?}", text, row);
        seen.borrow_mut().note(expected);
        Ok(())
    });
    if let Err(error) = result {
        panic!("{error}");
    }
    let truths = seen.into_inner().truths;
    let least = CASES / 10;
    assert!(
        truths.iter().all(|count| *count > least),
        "one-sided: {truths:?}"
    );
}
