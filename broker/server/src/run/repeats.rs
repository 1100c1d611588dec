//! What the log hears of things that happen again and again.
//!
//! Texts and a clock's word, without a clock or a log: the loop asks and tells.

use std::collections::BTreeMap;

/// A text is said so often in a row, …
const BURST: u64 = 3;
/// … and then once in so long.
const EVERY_MS: u64 = 10_000;
/// Texts remembered at a time.
const TEXTS_MAX: usize = 64;

/// When each text's next turn comes, as in a leaky bucket: saying it adds `EVERY_MS`.
#[derive(Debug, Default)]
pub(super) struct Repeats(BTreeMap<String, u64>);

impl Repeats {
    /// Whether `text` may be said; saying it now is assumed.
    pub(super) fn allow(&mut self, text: &str, now_ms: u64) -> bool {
        if self.0.len() >= TEXTS_MAX {
            self.0.retain(|_, full_ms| *full_ms > now_ms);
        }
        let full_ms = self.0.get(text).map_or(now_ms, |at| (*at).max(now_ms));
        if full_ms > now_ms + (BURST - 1) * EVERY_MS {
            return false;
        }
        if self.0.len() < TEXTS_MAX || self.0.contains_key(text) {
            self.0.insert(text.to_owned(), full_ms + EVERY_MS);
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_repeats_without_end_is_said_a_few_times_and_then_now_and_then() {
        let mut repeats = Repeats::default();
        let said: Vec<u64> = (0..100_000)
            .step_by(500)
            .filter(|now_ms| repeats.allow("role: electing", *now_ms))
            .collect();
        assert_eq!(&said[..3], [0, 500, 1_000]);
        assert!(
            said.windows(2)
                .skip(3)
                .all(|two| two[1] - two[0] >= EVERY_MS),
            "{said:?}"
        );
        assert!((11..=13).contains(&said.len()), "{said:?}");
        assert!(repeats.allow("role: candidate", 100_000));
        assert!(repeats.allow("role: electing", 200_000));
    }

    #[test]
    fn many_different_texts_are_said_and_not_remembered() {
        let mut repeats = Repeats::default();
        assert!((0..1_000).all(|text| repeats.allow(&text.to_string(), 0)));
        assert!(repeats.0.len() <= TEXTS_MAX);
    }
}
