//! Texts that are read as numbers, as STOMP needs it, and the prefixes that ask for it.

use super::super::{Selector, StringNumbers, Value};
use super::{F, T, U, check, check_converted, evaluate};

const HEADERS: &[(&str, Value<'_>)] = &[
    ("five", Value::Str("5")),
    ("half", Value::Str("0.5")),
    ("padded", Value::Str(" -7 ")),
    ("large", Value::Str("99999999999999999999")),
    ("word", Value::Str("five")),
    ("infinite", Value::Str("inf")),
    ("nan", Value::Str("NaN")),
    ("empty", Value::Str("")),
    ("sign", Value::Str("-")),
    ("yes", Value::Str("True")),
    ("other", Value::Str("yes")),
    ("real", Value::Bool(false)),
];

#[test]
fn a_text_is_a_number_beside_a_number() {
    for text in [
        "five = 5",
        "5 = five",
        "five = 5.0",
        "five <> 6",
        "five > 4.5",
        "half < 1",
        "half = .5",
        "padded = -7",
        "padded < 0",
        "large > 9223372036854775807",
        "five BETWEEN 4 AND 6",
        "five NOT BETWEEN 6 AND 7",
        "five IN (4, 5)",
        "five NOT IN (4, 6)",
        "five IN ('5')",
        "half IN (0.5, 'x')",
        "five + 1 = 6",
        "five * half = 2.5",
        "-five = -5",
        "+five = 5",
        "five / 2 = 2",
        "five LIKE '5'",
        "five = '5'",
        "five <> '5.0'",
        "'5' = 5",
        "five + five = 10",
    ] {
        check_converted(text, HEADERS, T);
    }
}

#[test]
fn a_text_that_is_no_number_is_unlike_one() {
    for name in ["word", "infinite", "nan", "empty", "sign"] {
        check_converted(&format!("{name} = 5"), HEADERS, F);
        check_converted(&format!("{name} <> 5"), HEADERS, F);
        check_converted(&format!("{name} > 5"), HEADERS, F);
        check_converted(&format!("{name} NOT IN (5)"), HEADERS, F);
        check_converted(&format!("{name} + 1 = 5"), HEADERS, U);
    }
    check_converted("gone = 5", HEADERS, U);
}

#[test]
fn two_texts_stay_texts() {
    check_converted("five < word", HEADERS, F);
    check_converted("half < five", HEADERS, F);
    check_converted("half + 0 < five", HEADERS, T);
}

#[test]
fn a_text_is_a_boolean_beside_a_boolean_as_in_activemq() {
    check_converted("yes = TRUE", HEADERS, T);
    check_converted("TRUE = yes", HEADERS, T);
    check_converted("yes <> FALSE", HEADERS, T);
    check_converted("other = TRUE", HEADERS, F);
    check_converted("other = FALSE", HEADERS, T);
    check_converted("other = real", HEADERS, T);
    check_converted("yes", HEADERS, F);
    check_converted("NOT yes", HEADERS, T);
}

#[test]
fn a_prefix_chooses_how_texts_are_read() {
    const CONVERT: &str = "convert_string_expressions:";
    const KEEP: &str = "no_convert_string_expressions:";
    check(&format!("{CONVERT}five = 5"), HEADERS, T);
    check(&format!("{CONVERT} five = 5"), HEADERS, T);
    check_converted(&format!("{KEEP}five = 5"), HEADERS, F);
    check_converted(&format!("{CONVERT}{KEEP}five = 5"), HEADERS, F);
    check(&format!("{KEEP}{CONVERT}five = 5"), HEADERS, T);
    check("five = 5", HEADERS, F);
}

#[test]
fn a_prefix_belongs_to_the_text() {
    let text = "convert_string_expressions:five = 5";
    let parsed = Selector::parse(text, StringNumbers::Keep).expect("it is valid");
    let selector = parsed.expect("it is not blank");
    assert_eq!(selector.as_str(), text);
    assert_eq!(evaluate(&selector, HEADERS), T);
}
