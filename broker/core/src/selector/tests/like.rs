//! LIKE: patterns, escapes, and a second opinion on random ones.

use proptest::prelude::*;

use super::super::Value;
use super::super::like::{Pattern, TooLong};
use super::{F, T, check};

#[test]
fn patterns() {
    for (text, pattern, expected) in [
        ("123", "12%3", T),
        ("12993", "12%3", T),
        ("1234", "12%3", F),
        ("lose", "l_se", T),
        ("loose", "l_se", F),
        ("", "", T),
        ("a", "", F),
        ("", "%", T),
        ("", "_", F),
        ("a", "_", T),
        ("a", "__", F),
        ("ab", "_", F),
        ("anything", "%", T),
        ("anything", "%%", T),
        ("abc", "abc", T),
        ("ABC", "abc", F),
        ("abcd", "abc", F),
        ("abc", "%c", T),
        ("abc", "a%", T),
        ("abc", "%b%", T),
        ("abc", "%d%", F),
        ("abc", "b%", F),
        ("aab", "%ab", T),
        ("abab", "%ab", T),
        ("abab", "ab%ab", T),
        ("ab", "ab%ab", F),
        ("aba", "a%a%a", F),
        ("aXbXc", "a_b_c", T),
        ("abcabd", "%ab_", T),
        ("xaybz", "%a_b%", T),
        ("aabb", "%a_b%", T),
        ("xab", "%a_b%", F),
        ("abcab", "%_b%b", T),
        ("b", "%_b", F),
        ("ß", "_", T),
        ("🦀x", "_x", T),
        ("x🦀", "%_", T),
        ("a\nb", "a_b", T),
        ("a\r\nb", "a%b", T),
        ("\n", "%", T),
        ("a.c", "a.c", T),
        ("abc", "a.c", F),
        ("[a]*", "[a]*", T),
        ("50%", "50\\%", F),
    ] {
        let headers = &[("a", Value::Str(text))];
        let pattern = pattern.replace('\'', "''");
        check(&format!("a LIKE '{pattern}'"), headers, expected);
        let negated = expected.map(|it| !it);
        check(&format!("a NOT LIKE '{pattern}'"), headers, negated);
    }
}

#[test]
fn an_escape_takes_the_meaning_of_what_follows() {
    for (text, rest, expected) in [
        ("_foo", "'\\_%' ESCAPE '\\'", T),
        ("bar", "'\\_%' ESCAPE '\\'", F),
        ("50%", "'50\\%' ESCAPE '\\'", T),
        ("50x", "'50\\%' ESCAPE '\\'", F),
        ("a\\b", "'a\\\\b' ESCAPE '\\'", T),
        ("a\\\\b", "'a\\\\b' ESCAPE '\\'", F),
        // ActiveMQ: it stands for itself before anything else, and at the end.
        ("a\\b", "'a\\b' ESCAPE '\\'", T),
        ("a\\", "'a\\' ESCAPE '\\'", T),
        ("a%b", "'a''%b' ESCAPE ''''", T),
        ("axb", "'a''%b' ESCAPE ''''", F),
        ("a_", "'axx_' ESCAPE 'x'", F),
        ("axb", "'axx_' ESCAPE 'x'", T),
        ("a%", "'a%%' ESCAPE '%'", T),
        ("abc", "'a%%' ESCAPE '%'", F),
        ("a🦀", "'a🦀🦀' ESCAPE '🦀'", T),
    ] {
        check(
            &format!("a LIKE {rest}"),
            &[("a", Value::Str(text))],
            expected,
        );
    }
}

#[test]
fn a_run_with_any_character_in_it_has_a_limit() {
    let longest = "_".repeat(crate::SELECTOR_RUN_CHARACTERS_MAX);
    assert!(Pattern::new(&format!("%{longest}%{longest}"), None).is_ok());
    assert_eq!(Pattern::new(&format!("%{longest}a%"), None), Err(TooLong));
    let text = "a".repeat(10 * crate::SELECTOR_RUN_CHARACTERS_MAX);
    assert!(Pattern::new(&text, None).is_ok_and(|pattern| pattern.matches(&text)));
}

/// Each `%` tries every length: slow, and plainly right.
fn matches_slowly(pattern: &[char], text: &[char]) -> bool {
    match pattern.split_first() {
        None => text.is_empty(),
        Some(('%', rest)) => (0..=text.len()).any(|skipped| matches_slowly(rest, &text[skipped..])),
        Some((wanted, rest)) => text.split_first().is_some_and(|(found, after)| {
            (*wanted == '_' || wanted == found) && matches_slowly(rest, after)
        }),
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4_000))]

    #[test]
    fn runs_find_what_trying_all_lengths_finds(pattern in "[abé%_]{0,8}", text in "[abé\n]{0,10}") {
        let characters = |text: &str| text.chars().collect::<Vec<_>>();
        let expected = matches_slowly(&characters(&pattern), &characters(&text));
        let found = Pattern::new(&pattern, None).expect("it is short").matches(&text);
        prop_assert_eq!(found, expected);
    }
}
