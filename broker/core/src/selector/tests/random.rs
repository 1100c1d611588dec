//! Whatever is written: a selector or a refusal, and never a panic.

use proptest::prelude::*;
use proptest::sample::select;

use super::super::{Selector, SelectorError, StringNumbers, Value};
use super::evaluate;
use crate::SELECTOR_BYTES_MAX;

const WORDS: &[&str] = &[
    "AND",
    "OR",
    "NOT",
    "BETWEEN",
    "IN",
    "LIKE",
    "ESCAPE",
    "IS",
    "NULL",
    "TRUE",
    "FALSE",
    "XPATH",
    "a",
    "b",
    "c",
    "JMSPriority",
    "é",
    "=",
    "<>",
    "<",
    "<=",
    ">",
    ">=",
    "+",
    "-",
    "*",
    "/",
    "%",
    "(",
    ")",
    ",",
    "0",
    "1",
    "9223372036854775807",
    "9223372036854775808",
    "0x7f",
    "017",
    "1.5",
    ".5e3",
    "1e308",
    "'a'",
    "'%_'",
    "'\\'",
    "''",
    "'5'",
    "--",
    "/*",
    "*/",
    "\n",
    "'",
    ".",
    "#",
];

fn tries(text: &str) -> Result<(), TestCaseError> {
    let values = [
        Value::Null,
        Value::Bool(true),
        Value::Long(i64::MIN),
        Value::Double(-0.5),
        Value::Str("5"),
        Value::Str("aé"),
    ];
    for choices in ["\0\0", "\u{1}\u{b}"] {
        crate::fuzz::selector(format!("{choices}{text}").as_bytes());
    }
    for strings in [StringNumbers::Keep, StringNumbers::Convert] {
        match Selector::parse(text, strings) {
            Ok(Some(selector)) => {
                prop_assert_eq!(selector.as_str(), text);
                for (at, value) in values.iter().enumerate() {
                    let other = values[(at + 1) % values.len()];
                    evaluate(&selector, &[("a", *value), ("b", other)]);
                }
            }
            Ok(None) => {}
            Err(SelectorError::TooLong { bytes }) => prop_assert!(bytes > SELECTOR_BYTES_MAX),
            Err(SelectorError::Invalid { column, .. }) => {
                prop_assert!((1..=text.chars().count() + 1).contains(&column));
            }
        }
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn any_text_is_a_selector_or_refused(text in any::<String>()) {
        tries(&text)?;
    }

    #[test]
    fn any_words_are_a_selector_or_refused(words in prop::collection::vec(select(WORDS), 0..20)) {
        tries(&words.join(" "))?;
        tries(&words.concat())?;
    }

    #[test]
    fn any_operands_with_operators_between_them_are_tried(
        pairs in prop::collection::vec((select(&WORDS[9..]), select(&WORDS[..33])), 1..8),
    ) {
        let words: Vec<_> = pairs.iter().flat_map(|(left, right)| [*left, *right]).collect();
        tries(&words.join(" "))?;
    }
}
