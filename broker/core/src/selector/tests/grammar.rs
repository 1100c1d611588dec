//! Each rule of the grammar, what binds how, words in any case, blanks and comments.

use super::super::{Selector, StringNumbers, Value};
use super::{F, T, U, check, parse};

const HEADERS: &[(&str, Value<'_>)] = &[
    ("one", Value::Long(1)),
    ("two", Value::Long(2)),
    ("half", Value::Double(0.5)),
    ("red", Value::Str("red")),
    ("yes", Value::Bool(true)),
    ("no", Value::Bool(false)),
];

#[test]
fn every_comparison_compares() {
    for (text, less, equal, greater) in [
        ("a = 5", F, T, F),
        ("a <> 5", T, F, T),
        ("a < 5", T, F, F),
        ("a <= 5", T, T, F),
        ("a > 5", F, F, T),
        ("a >= 5", F, T, T),
    ] {
        check(text, &[("a", Value::Long(4))], less);
        check(text, &[("a", Value::Long(5))], equal);
        check(text, &[("a", Value::Long(6))], greater);
        check(text, &[("a", Value::Double(4.5))], less);
        check(text, &[("a", Value::Double(5.0))], equal);
        check(text, &[("a", Value::Double(5.5))], greater);
        check(text, &[], U);
    }
}

#[test]
fn between_takes_its_bounds_in() {
    for (value, inside) in [(14, F), (15, T), (17, T), (19, T), (20, F)] {
        let headers = &[("age", Value::Long(value))];
        check("age BETWEEN 15 AND 19", headers, inside);
        check("NOT age BETWEEN 15 AND 19", headers, inside.map(|it| !it));
        check("age NOT BETWEEN 15 AND 19", headers, inside.map(|it| !it));
    }
    check("one BETWEEN 0 AND two AND two = 2", HEADERS, T);
    check("one + 1 BETWEEN one * 2 AND two - 0", HEADERS, T);
    check("one BETWEEN 2 AND 0", HEADERS, F);
}

#[test]
fn an_unknown_bound_decides_only_if_the_other_does_not() {
    check("one BETWEEN gone AND 0", HEADERS, F);
    check("one BETWEEN gone AND 5", HEADERS, U);
    check("one BETWEEN 5 AND gone", HEADERS, F);
    check("one BETWEEN 0 AND gone", HEADERS, U);
    check("gone BETWEEN 0 AND 1", HEADERS, U);
    check("one NOT BETWEEN gone AND 0", HEADERS, T);
    check("one NOT BETWEEN gone AND 5", HEADERS, U);
    check("one NOT BETWEEN 5 AND gone", HEADERS, T);
    check("gone NOT BETWEEN 0 AND 1", HEADERS, U);
}

#[test]
fn in_finds_a_value_in_a_list() {
    check("red IN ('red')", HEADERS, T);
    check("red IN ('blue', 'red')", HEADERS, T);
    check("red IN ('blue', 'green')", HEADERS, F);
    check("red NOT IN ('blue', 'green')", HEADERS, T);
    check("red NOT IN ('blue', 'red')", HEADERS, F);
    check("gone IN ('blue')", HEADERS, U);
    check("gone NOT IN ('blue')", HEADERS, U);
    check("one IN (5, 1)", HEADERS, T);
    check("one IN (+1)", HEADERS, T);
    check("one IN (-1, 2.5)", HEADERS, F);
    check("-one IN (-1.0)", HEADERS, T);
    check("half IN (+.5)", HEADERS, T);
    check("one + 1 NOT IN (1, 3)", HEADERS, T);
    check("red IN ('it''s', 'red')", HEADERS, T);
}

#[test]
fn is_null_is_never_unknown() {
    check("one IS NULL", HEADERS, F);
    check("one IS NOT NULL", HEADERS, T);
    check("gone IS NULL", HEADERS, T);
    check("gone IS NOT NULL", HEADERS, F);
    check("gone + 1 IS NULL", HEADERS, T);
    check("(gone = 1) IS NULL", HEADERS, T);
    check("(one = 1) IS NULL", HEADERS, F);
    check("NOT gone IS NULL", HEADERS, F);
}

#[test]
fn a_boolean_alone_is_a_condition() {
    check("TRUE", &[], T);
    check("FALSE", &[], F);
    check("yes", HEADERS, T);
    check("no", HEADERS, F);
    check("gone", HEADERS, U);
    check("(((yes)))", HEADERS, T);
    check("yes = TRUE", HEADERS, T);
    check("yes = (one = 1)", HEADERS, T);
    check("(one < two) <> (two < one)", HEADERS, T);
}

#[test]
fn what_binds_more_comes_first() {
    check("no AND no OR yes", HEADERS, T);
    check("no AND (no OR yes)", HEADERS, F);
    check("yes OR no AND no", HEADERS, T);
    check("(yes OR no) AND no", HEADERS, F);
    check("NOT no AND no", HEADERS, F);
    check("NOT (no AND no)", HEADERS, T);
    check("NOT yes OR yes", HEADERS, T);
    check("NOT (yes OR yes)", HEADERS, F);
    check("NOT one = 2", HEADERS, T);
    check("NOT NOT NOT no", HEADERS, T);
    check("1 + 2 * 3 = 7", &[], T);
    check("(1 + 2) * 3 = 9", &[], T);
    check("10 - 2 - 3 = 5", &[], T);
    check("10 - (2 - 3) = 11", &[], T);
    check("100 / 10 / 5 = 2", &[], T);
    check("100 / (10 / 5) = 50", &[], T);
    check("7 % 4 * 2 = 6", &[], T);
    check("- one + 3 = 2", HEADERS, T);
    check("-(one + 3) = - 4", HEADERS, T);
    check("2 * - one = -2", HEADERS, T);
    check("- - - one = -1", HEADERS, T);
    check("+ - + one = -1", HEADERS, T);
    check("one + 1 > two - 1", HEADERS, T);
}

#[test]
fn words_are_written_in_any_case_and_names_in_their_own() {
    for text in [
        "one between 0 and 1 AND red like 'R%' OR not red in ('a') and gone is null",
        "one BeTwEeN 0 aNd 1 And red Not Like 'b' escape 'c'",
        "true aNd NOT False",
        "Gone Is Null and gone iS nOt NuLl oR tRuE",
    ] {
        check(text, HEADERS, T);
    }
    check("One = 1", HEADERS, U);
    check(
        "notone IS NULL AND nullify IS NULL AND inn IS NULL",
        HEADERS,
        T,
    );
}

#[test]
fn names_are_those_of_java() {
    for name in [
        "a", "_", "$", "_a", "$1", "a_$9", "Größe", "имя", "价格", "é٣", "xpath", "JMS_a",
    ] {
        check(&format!("{name} = 7"), &[(name, Value::Long(7))], T);
    }
}

#[test]
fn blanks_and_comments_part_words() {
    for text in [
        " \t\r\n\u{c}one\n=\n1 \n",
        "one/* is */=/**/1",
        "one /* * / ** -- ' */ = 1",
        "/***/ one = 1 /* end **/",
        "one -- the first\n = 1",
        "one -- the first\r = 1",
        "one = 1 -- that is all",
        "one = 1 --",
        "two --1\n = 2",
        "(one)=(1)",
    ] {
        check(text, HEADERS, T);
    }
    check("red = '/* no comment */' OR red = '-- none'", HEADERS, F);
}

#[test]
fn a_blank_selector_is_none() {
    for text in [
        "",
        " ",
        " \t\r\n",
        "convert_string_expressions:",
        "no_convert_string_expressions: ",
    ] {
        let parsed = Selector::parse(text, StringNumbers::Keep);
        assert!(matches!(parsed, Ok(None)), "{text:?}");
    }
}

#[test]
fn a_selector_keeps_its_text() {
    let text = " convert = 'a' /* as\nwritten */ ";
    let selector = parse(text, StringNumbers::Keep);
    assert_eq!(selector.as_str(), text);
    assert_eq!(selector.to_string(), text);
    assert_eq!(selector, parse(text, StringNumbers::Keep));
    assert_ne!(selector, parse(text, StringNumbers::Convert));
    assert_ne!(selector, parse(text.trim(), StringNumbers::Keep));
}

#[test]
fn a_long_chain_is_not_deep() {
    for (first, next) in [
        ("yes", " AND yes"),
        ("yes", " OR no"),
        ("1", "+0"),
        ("1", "*1"),
    ] {
        let count = (crate::SELECTOR_BYTES_MAX - 10) / next.len();
        let mut text = first.to_owned() + &next.repeat(count);
        if first == "1" {
            text.push_str(" = 1");
        }
        check(&text, HEADERS, T);
    }
    let list = "'x',".repeat(crate::SELECTOR_BYTES_MAX / 4 - 5);
    check(&format!("red IN ({list}'red')"), HEADERS, T);
}
