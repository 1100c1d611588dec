//! Every form of a literal, and Java's arithmetic on its edges.

use super::super::{Selector, StringNumbers, Value};
use super::{F, T, U, check, refused};

/// What a literal is worth, type included: it is looked at through an equal and an unlike value.
#[track_caller]
fn is(literal: &str, value: Value<'_>) {
    check(&format!("a = {literal}"), &[("a", value)], T);
    check(&format!("a <> {literal}"), &[("a", value)], F);
}

#[test]
fn exact_numbers() {
    for (literal, value) in [
        ("0", 0),
        ("57", 57),
        ("-957", -957),
        ("+62", 62),
        ("57L", 57),
        ("57l", 57),
        ("0L", 0),
        ("0x1F", 31),
        ("0XfF", 255),
        ("-0x10", -16),
        ("0x10L", 16),
        ("0x7FFFFFFFFFFFFFFF", i64::MAX),
        ("0xFFFFFFFF", 0xFFFF_FFFF),
        ("017", 15),
        ("00", 0),
        ("-010", -8),
        ("017l", 15),
        ("9223372036854775807", i64::MAX),
        ("-9223372036854775808", i64::MIN),
        ("- 9223372036854775808", i64::MIN),
        ("-0x8000000000000000", i64::MIN),
    ] {
        is(literal, Value::Long(value));
    }
}

#[test]
fn approximate_numbers() {
    for (literal, value) in [
        ("57.", 57.0),
        (".5", 0.5),
        ("7E3", 7_000.0),
        ("7e3", 7_000.0),
        ("-957.9E2", -95_790.0),
        ("+6.25", 6.25),
        ("7e-3", 0.007),
        ("7e+3", 7_000.0),
        ("7.e1", 70.0),
        (".5E1", 5.0),
        ("5f", 5.0),
        ("5D", 5.0),
        ("5.5F", 5.5),
        ("-5.5d", -5.5),
        ("08.5", 8.5),
        ("0.1f", 0.1),
        ("1e308", 1e308),
        ("1e-400", 0.0),
        ("9223372036854775808.", 9_223_372_036_854_775_808.0),
    ] {
        is(literal, Value::Double(value));
    }
}

#[test]
fn texts() {
    for (literal, value) in [
        ("''", ""),
        ("'literal'", "literal"),
        ("'literal''s'", "literal's"),
        ("''''", "'"),
        ("''''''", "''"),
        ("'a\nb\"\\n'", "a\nb\"\\n"),
        ("'größer 价格 🦀'", "größer 价格 🦀"),
        ("'NOT a -- /* '", "NOT a -- /* "),
    ] {
        is(literal, Value::Str(value));
    }
}

#[test]
fn booleans() {
    is("TRUE", Value::Bool(true));
    is("false", Value::Bool(false));
}

#[test]
fn what_is_no_number_is_refused_as_a_whole() {
    let decimal = "an exact one has digits alone";
    let octal = "one that begins with 0 is octal, and has digits from 0 to 7";
    let hexadecimal = "behind 0x stand digits from 0 to 9 and A to F";
    let approximate = "an approximate one is written as 1.5, 15. or 1.5E1";
    let range = "an exact one has 64 bits";
    for (literal, reason) in [
        ("08", octal),
        ("019L", octal),
        ("0x", hexadecimal),
        ("0xL", hexadecimal),
        ("0xG", hexadecimal),
        ("5a", decimal),
        ("5_0", decimal),
        ("5٣", decimal),
        ("5LL", decimal),
        ("1e", approximate),
        ("1e+", approximate),
        ("1.5L", approximate),
        ("1.5fd", approximate),
        ("1.5e2e3", approximate),
        ("1e999", "it is too large"),
        ("9223372036854775808", range),
        ("9223372036854775809", range),
        ("0x8000000000000000", range),
        ("18446744073709551616", range),
        ("01777777777777777777777", range),
    ] {
        let expected = format!("at column 5 {literal:?} is not a number: {reason}");
        refused(&format!("a = {literal}"), &expected);
    }
    let beyond = "at column 6 \"9223372036854775809\" is not a number: an exact one has 64 bits";
    refused("a = -9223372036854775809", beyond);
    let beyond = "at column 7 \"9223372036854775808\" is not a number: an exact one has 64 bits";
    refused("a = -(9223372036854775808)", beyond);
}

#[test]
fn exact_arithmetic_is_that_of_javas_long() {
    for text in [
        "9223372036854775807 + 1 = -9223372036854775808",
        "-9223372036854775808 - 1 = 9223372036854775807",
        "9223372036854775807 * 2 = -2",
        "-9223372036854775808 / -1 = -9223372036854775808",
        "-9223372036854775808 % -1 = 0",
        "-(-9223372036854775808) = -9223372036854775808",
        "-a = -9223372036854775808",
        "7 / 2 = 3",
        "-7 / 2 = -3",
        "7 % 3 = 1",
        "-7 % 3 = -1",
        "7 % -3 = 1",
        "7 / 2.0 = 3.5",
        "7. / 2 = 3.5",
        "7.5 % 2 = 1.5",
        "1 + 0.5 = 1.5",
        "2 * 0.25 = 0.5",
        "1 - 0.5 = .5",
        "9007199254740993 = 9007199254740992.0",
    ] {
        check(text, &[("a", Value::Long(i64::MIN))], T);
    }
}

#[test]
fn a_division_by_zero_has_no_value_or_an_infinite_one() {
    check("1 / 0 = 1", &[], U);
    check("1 % 0 = 1", &[], U);
    check("1 / 0 IS NULL", &[], T);
    check("1 / 0 = 1 OR TRUE", &[], T);
    check("1 / 0.0 > 1e308", &[], T);
    check("-1 / 0.0 < -1e308", &[], T);
    check("0 / 0.0 = 0 / 0.0", &[], F);
    check("0 / 0.0 <> 0 / 0.0", &[], T);
    check("0 / 0.0 < 1", &[], F);
    check("0 / 0.0 >= 1", &[], F);
    check("1 % 0.0 IS NULL", &[], F);
}

#[test]
fn a_number_may_touch_what_is_no_part_of_it() {
    check("5-3=2", &[], T);
    check("5.-3=2", &[], T);
    check("0xE-1=13", &[], T);
    check("1e1-1=9", &[], T);
    check("2*(3)=6", &[], T);
    assert!(Selector::parse("a=5 .5", StringNumbers::Keep).is_err());
}
