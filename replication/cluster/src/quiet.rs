//! Warnings that repeat are written once in a while.
//!
//! A peer that knocks ten times a second with a wrong token must not fill the log.

use std::collections::BTreeMap;
use std::sync::Mutex;

use tokio::time::Instant;

use crate::limits::WARN_EVERY;

/// Texts remembered at once.
const TEXTS_MAX: usize = 64;

#[derive(Debug, Default)]
pub(crate) struct Quiet(Mutex<BTreeMap<String, Instant>>);

impl Quiet {
    /// Whether `text` was not said lately; saying it now is assumed.
    pub(crate) fn allows(&self, text: &str) -> bool {
        let now = Instant::now();
        let mut said = self.0.lock().expect("no panic while it is held");
        if said
            .get(text)
            .is_some_and(|at| now.duration_since(*at) < WARN_EVERY)
        {
            return false;
        }
        if said.len() >= TEXTS_MAX {
            said.retain(|_, at| now.duration_since(*at) < WARN_EVERY);
        }
        if said.len() >= TEXTS_MAX {
            return false;
        }
        said.insert(text.to_owned(), now);
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_text_is_said_again_only_after_a_while() {
        let quiet = Quiet::default();
        assert!(quiet.allows("a"));
        assert!(!quiet.allows("a"));
        assert!(quiet.allows("b"));
        tokio::time::advance(WARN_EVERY).await;
        assert!(quiet.allows("a"));
    }

    #[tokio::test(start_paused = true)]
    async fn a_flood_of_different_texts_is_silenced() {
        let quiet = Quiet::default();
        let said = (0..1000).filter(|n| quiet.allows(&n.to_string())).count();
        assert_eq!(said, TEXTS_MAX);
        tokio::time::advance(WARN_EVERY).await;
        assert!(quiet.allows("again"));
    }
}
