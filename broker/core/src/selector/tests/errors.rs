//! What is refused, where, and in which words.

use super::super::{Selector, SelectorError, StringNumbers};
use super::refused;
use crate::{SELECTOR_BYTES_MAX, SELECTOR_DEPTH_MAX};

#[track_caller]
fn ends(text: &str, column: usize, expected: &str) {
    let words = format!("at column {column} the text ends where {expected} is expected");
    refused(text, &words);
}

#[track_caller]
fn stands(text: &str, column: usize, found: &str, expected: &str) {
    let words = format!("at column {column} {found:?} stands where {expected} is expected");
    refused(text, &words);
}

#[test]
fn what_is_missing_is_named() {
    for (text, column) in [
        ("price >", 8),
        ("a = ", 5),
        ("a AND", 6),
        ("a OR ", 6),
        ("NOT", 4),
        ("-", 2),
        ("1 +", 4),
        ("2 *", 4),
        ("(", 2),
        ("a BETWEEN", 10),
        ("a BETWEEN 1 AND", 16),
        ("größe =\n", 9),
        ("-- nothing", 11),
    ] {
        ends(text, column, "a value");
    }
}

#[test]
fn what_is_missing_may_be_one_word_of_several() {
    ends("(a = 1", 7, "AND, OR or \")\"");
    ends("(a", 3, "an operator or \")\"");
    ends("a IS", 5, "NULL or NOT NULL");
    ends("a IS NOT", 9, "NULL");
    ends("a NOT", 6, "BETWEEN, IN or LIKE");
    ends("a LIKE", 7, "a text in single quotes");
    ends("a LIKE 'x' ESCAPE", 18, "a text in single quotes");
    ends("a IN", 5, "\"(\" and the list of IN");
    ends("a IN (", 7, "a text in single quotes or a number");
    ends("a IN (-", 8, "a number");
    ends("a IN ('x'", 10, "\",\" or \")\"");
    ends("a IN ('x',", 11, "a text in single quotes or a number");
    ends("a BETWEEN 1", 12, "AND and the upper bound of BETWEEN");
}

#[test]
fn what_stands_in_the_wrong_place_is_shown() {
    stands("AND a", 1, "AND", "a value");
    stands("a = = 1", 5, "=", "a value");
    stands("a > > 1", 5, ">", "a value");
    stands("a == 1", 4, "=", "a value");
    stands("a = )", 5, ")", "a value");
    stands("()", 2, ")", "a value");
    stands("a = NOT b", 5, "NOT", "a value");
    stands("a 'b'", 3, "'b'", "an operator or the end");
    stands("a = 1 b", 7, "b", "AND, OR or the end");
    stands("a = 1)", 6, ")", "AND, OR or the end");
    stands("1 < a < 5", 7, "<", "AND, OR or the end");
    stands("(a = 1 b)", 8, "b", "AND, OR or \")\"");
    stands("(1 b)", 4, "b", "an operator or \")\"");
    stands("a IS 1", 6, "1", "NULL or NOT NULL");
    stands("a IS NOT b", 10, "b", "NULL");
    stands("a NOT NULL", 7, "NULL", "BETWEEN, IN or LIKE");
    stands("a LIKE b", 8, "b", "a text in single quotes");
    stands("a LIKE 'b' ESCAPE c", 19, "c", "a text in single quotes");
    stands("a IN 'b'", 6, "'b'", "\"(\" and the list of IN");
    stands("a IN ()", 7, ")", "a text in single quotes or a number");
    stands("a IN (b)", 7, "b", "a text in single quotes or a number");
    stands("a IN (-'b')", 8, "'b'", "a number");
    stands("a IN (1 2)", 9, "2", "\",\" or \")\"");
    stands(
        "a BETWEEN 1 OR 2",
        13,
        "OR",
        "AND and the upper bound of BETWEEN",
    );
}

#[test]
fn a_character_of_no_word_has_no_meaning() {
    refused("a.b = 1", "at column 2 '.' has no meaning");
    refused("a != 1", "at column 3 '!' has no meaning");
    refused("\"a\" = 1", "at column 1 '\"' has no meaning");
    refused("é = ?", "at column 5 '?' has no meaning");
    refused("'ö' = 'ö' AND #", "at column 15 '#' has no meaning");
}

#[test]
fn null_is_a_value_only_behind_is() {
    let words = "\"NULL\" stands where a value (NULL stands behind IS or IS NOT) is expected";
    refused("a = NULL", &format!("at column 5 {words}"));
    refused("NULL", &format!("at column 1 {words}"));
    refused(
        "a IN (NULL)",
        "at column 7 \"NULL\" stands where a text in single quotes or a number is expected",
    );
}

#[test]
fn what_is_no_condition_is_refused() {
    for (text, column, found, expected) in [
        ("price + 1", 1, "price + 1", "a condition"),
        (" 'abc' ", 2, "'abc'", "a condition"),
        ("5", 1, "5", "a condition"),
        ("-a", 1, "-a", "a condition"),
        ("(1.5)", 1, "(1.5)", "a condition"),
        ("a AND 5", 7, "5", "a condition"),
        ("'x' OR a", 1, "'x'", "a condition"),
        ("a OR b AND (a + 1)", 12, "(a + 1)", "a condition"),
        ("NOT 'x'", 5, "'x'", "a condition"),
        ("a + 'x' = 1", 5, "'x'", "a number"),
        ("TRUE * 2 = 1", 1, "TRUE", "a number"),
        ("-(a = 1) = 1", 2, "(a = 1)", "a number"),
        ("+'5' = 5", 2, "'5'", "a number"),
        ("a < 'x'", 5, "'x'", "a number"),
        ("'x' >= a", 1, "'x'", "a number"),
        ("a < TRUE", 5, "TRUE", "a number"),
        ("a BETWEEN 'a' AND 'b'", 11, "'a'", "a number"),
        ("a BETWEEN 1 AND 'b'", 17, "'b'", "a number"),
        ("'a' BETWEEN 1 AND 2", 1, "'a'", "a number"),
        ("5 LIKE '5'", 1, "5", "a text"),
        ("(a = 1) LIKE '5'", 1, "(a = 1)", "a text"),
        ("TRUE IN ('5')", 1, "TRUE", "a text or a number"),
    ] {
        stands(text, column, found, expected);
    }
}

#[test]
fn what_opens_must_close() {
    refused(
        "a = 'x",
        "at column 5 a quoted text begins that does not end",
    );
    refused(
        "a = 'x''",
        "at column 5 a quoted text begins that does not end",
    );
    refused(
        "a LIKE 'x' ESCAPE '''",
        "at column 19 a quoted text begins that does not end",
    );
    refused(
        "a = 1 /* x",
        "at column 7 a comment begins that does not end",
    );
    refused(
        "a = 1 /*/",
        "at column 7 a comment begins that does not end",
    );
}

#[test]
fn an_escape_is_one_character() {
    let words = "characters stands where one of one character is expected";
    refused(
        "a LIKE 'b' ESCAPE ''",
        &format!("at column 19 an ESCAPE of 0 {words}"),
    );
    refused(
        "a LIKE 'b' ESCAPE 'éé'",
        &format!("at column 19 an ESCAPE of 2 {words}"),
    );
}

#[test]
fn extensions_of_activemq_are_refused_by_name() {
    let words = "stands, but functions and XPATH are not supported: compare headers";
    refused("XPATH '//a'", &format!("at column 1 \"XPATH\" {words}"));
    refused(
        "a = 1 OR xquery 'b'",
        &format!("at column 10 \"xquery\" {words}"),
    );
    refused("REGEX('a', b)", &format!("at column 1 \"REGEX\" {words}"));
    refused(
        "NOT regex ('a', b)",
        &format!("at column 5 \"regex\" {words}"),
    );
}

#[test]
fn the_prefix_that_a_protocol_puts_there_is_not_shown() {
    let words = r#"invalid selector "a >": at column 4 the text ends where a value is expected"#;
    refused("convert_string_expressions:a >", words);
}

#[test]
fn nesting_has_a_limit() {
    let levels = SELECTOR_DEPTH_MAX;
    let too_deep = format!("the expression is nested more than {levels} levels deep");
    for (open, inner, close) in [
        ("(", "a", ")"),
        ("NOT ", "a", ""),
        ("NOT(", "a", ")"),
        ("- ", "a = 1", ""),
        ("+", "a = 1", ""),
        ("(1+", "1", ")"),
        ("a AND (b OR ", "c", ")"),
        ("a = (NOT ", "b", ")"),
        ("(a BETWEEN 1 AND ", "1", ")"),
    ] {
        for count in [levels + 1, 4_000] {
            let whole = open.repeat(count) + inner + &close.repeat(count);
            let text = if whole.len() <= SELECTOR_BYTES_MAX {
                whole
            } else {
                open.repeat(SELECTOR_BYTES_MAX / open.len())
            };
            let error = Selector::parse(&text, StringNumbers::Keep).expect_err("it is too deep");
            let error = error.to_string();
            assert!(error.ends_with(&too_deep), "{error}");
        }
    }
    for (open, inner, close) in [("(", "a", ")"), ("NOT ", "a", ""), ("- ", "a", " = 1")] {
        let close = if open == "(" {
            close.repeat(levels)
        } else {
            close.to_owned()
        };
        let text = open.repeat(levels) + inner + &close;
        assert!(
            Selector::parse(&text, StringNumbers::Keep).is_ok(),
            "{text}"
        );
    }
    // What is closed again does not count.
    let text = "(a) AND NOT -b = 1 AND ".repeat(2 * levels) + "a";
    assert!(Selector::parse(&text, StringNumbers::Keep).is_ok());
}

#[test]
fn length_has_a_limit() {
    let longest = format!("{:SELECTOR_BYTES_MAX$}", "a");
    assert!(Selector::parse(&longest, StringNumbers::Keep).is_ok());
    let bytes = longest.len() + 1;
    let error = Selector::parse(&format!("{longest} "), StringNumbers::Keep);
    assert_eq!(error, Err(SelectorError::TooLong { bytes }));
}

#[test]
fn a_message_shows_a_part_of_what_is_long() {
    let text = format!("{} = 1 AND >", "ü".repeat(3_000));
    let error = Selector::parse(&text, StringNumbers::Keep).expect_err("a value is missing");
    let shown = "ü".repeat(200);
    let expected = format!(
        "invalid selector \"{shown}…\": at column 3010 \">\" stands where a value is expected"
    );
    assert_eq!(error.to_string(), expected);
}
