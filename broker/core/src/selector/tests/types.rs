//! Values of unlike types: false, whatever the comparison. What is no number computes to nothing.

use super::super::Value;
use super::{F, T, U, check};

const HEADERS: &[(&str, Value<'_>)] = &[
    ("number", Value::Long(5)),
    ("double", Value::Double(5.0)),
    ("text", Value::Str("5")),
    ("word", Value::Str("word")),
    ("flag", Value::Bool(true)),
];

#[test]
fn numbers_of_both_kinds_are_alike() {
    check("number = double", HEADERS, T);
    check("number >= double AND double <= number", HEADERS, T);
    check("number IN (5.0)", HEADERS, T);
    check("double IN (5)", HEADERS, T);
}

#[test]
fn unlike_values_compare_false_and_so_does_the_opposite() {
    for text in [
        "text = 5",
        "text <> 5",
        "5 = text",
        "5 <> text",
        "text < 6",
        "text >= 1",
        "flag = 1",
        "flag <> 1",
        "flag = 'true'",
        "flag <> 'true'",
        "number = TRUE",
        "number <> FALSE",
        "'a' = 1",
        "TRUE <> 'a'",
        "text BETWEEN 1 AND 9",
        "text NOT BETWEEN 1 AND 2",
        "number BETWEEN word AND 9",
        "number IN ('5')",
        "number NOT IN ('5', '6')",
        "text IN (5)",
        "text NOT IN (6, 7)",
        "flag IN ('true')",
        "flag NOT IN ('false', 1)",
        "number LIKE '5'",
        "number NOT LIKE '6'",
        "flag LIKE '%'",
        "flag NOT LIKE 'x'",
    ] {
        check(text, HEADERS, F);
    }
}

#[test]
fn a_list_of_both_types_is_asked_for_the_ones_that_are_like_the_value() {
    check("number IN ('a', 5)", HEADERS, T);
    check("number NOT IN ('a', 6)", HEADERS, T);
    check("word IN (1, 'word')", HEADERS, T);
    check("word NOT IN (1, 'other')", HEADERS, T);
    check("word NOT IN (1, 'word')", HEADERS, F);
}

#[test]
fn texts_and_booleans_are_equal_or_not_but_have_no_order() {
    check("word = 'word'", HEADERS, T);
    check("word = 'Word'", HEADERS, F);
    check("word <> 'Word'", HEADERS, T);
    check("text <> word", HEADERS, T);
    for text in [
        "word < text",
        "word > text",
        "word <= word",
        "flag < flag",
        "flag >= flag",
    ] {
        check(text, HEADERS, F);
    }
    check("word BETWEEN word AND word", HEADERS, F);
}

#[test]
fn what_is_no_number_computes_to_nothing() {
    for text in [
        "text + 1 = 6",
        "1 + text = 6",
        "-text = -5",
        "+text = 5",
        "flag * 1 = 1",
    ] {
        check(text, HEADERS, U);
    }
    check("-word IS NULL", HEADERS, T);
}

#[test]
fn a_header_that_is_no_boolean_is_not_true() {
    check("number", HEADERS, F);
    check("word", HEADERS, F);
    check("NOT word", HEADERS, T);
    check("word OR flag", HEADERS, T);
}
