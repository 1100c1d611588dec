//! The truth tables of section 3.8.1.2.

use super::super::Value;
use super::{F, T, U, check};

/// A header for each of the three.
const HEADERS: &[(&str, Value<'_>)] = &[("t", Value::Bool(true)), ("f", Value::Bool(false))];
const NAMES: [(&str, Option<bool>); 3] = [("t", T), ("f", F), ("u", U)];

#[test]
fn and() {
    let table = [[T, F, U], [F, F, F], [U, F, U]];
    for ((left, _), row) in NAMES.iter().zip(table) {
        for ((right, _), expected) in NAMES.iter().zip(row) {
            check(&format!("{left} AND {right}"), HEADERS, expected);
        }
    }
}

#[test]
fn or() {
    let table = [[T, T, T], [T, F, U], [T, U, U]];
    for ((left, _), row) in NAMES.iter().zip(table) {
        for ((right, _), expected) in NAMES.iter().zip(row) {
            check(&format!("{left} OR {right}"), HEADERS, expected);
        }
    }
}

#[test]
fn not() {
    for ((name, _), expected) in NAMES.iter().zip([F, T, U]) {
        check(&format!("NOT {name}"), HEADERS, expected);
        check(&format!("NOT NOT {name}"), HEADERS, expected.map(|it| !it));
    }
}

#[test]
fn chains_of_three() {
    for (first, a) in NAMES {
        for (second, b) in NAMES {
            for (third, c) in NAMES {
                let all = [a, b, c];
                let decided = |by: Option<bool>| all.contains(&by).then_some(by);
                let and = decided(F).or(decided(U)).unwrap_or(T);
                check(&format!("{first} AND {second} AND {third}"), HEADERS, and);
                let or = decided(T).or(decided(U)).unwrap_or(F);
                check(&format!("{first} OR {second} OR {third}"), HEADERS, or);
            }
        }
    }
}

#[test]
fn null_in_any_operation_is_unknown() {
    for text in [
        "u = 1",
        "1 = u",
        "u <> 1",
        "u < 1",
        "1 >= u",
        "u = u",
        "u <> u",
        "u = 'x'",
        "u = TRUE",
        "u + 1 = 1",
        "1 - u = 1",
        "u * 0 = 0",
        "u / 1 = 1",
        "u % 1 = 0",
        "-u = 1",
        "+u = 1",
        "u LIKE '%'",
        "u NOT LIKE '%'",
        "u IN ('a')",
        "u NOT IN (1)",
        "u BETWEEN u AND u",
        "u",
        "NOT u",
        "u AND t",
        "u OR f",
    ] {
        check(text, HEADERS, U);
    }
}
