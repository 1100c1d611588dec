//! For how long nothing has happened to a destination.

/// Kept by each destination, and looked at now and then.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Rest {
    /// Since when it is empty without a use, and what it had counted then.
    since: Option<(u64, (u64, u64))>,
}

impl Rest {
    /// Somebody named it.
    pub(crate) fn end(&mut self) {
        self.since = None;
    }

    /// How long it has rested when looked at. `counted`: what grows with each use that
    /// [`Rest::end`] does not hear of.
    pub(crate) fn look(&mut self, is_empty: bool, counted: (u64, u64), now_ms: u64) -> u64 {
        if !is_empty {
            self.since = None;
            return 0;
        }
        let (since_ms, _) = self
            .since
            .filter(|(since_ms, before)| *before == counted && *since_ms <= now_ms)
            .unwrap_or((now_ms, counted));
        self.since = Some((since_ms, counted));
        now_ms - since_ms
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rest_lasts_until_something_happens() {
        let mut rest = Rest::default();
        assert_eq!(rest.look(true, (1, 1), 1_000), 0);
        assert_eq!(rest.look(true, (1, 1), 3_000), 2_000);
        assert_eq!(rest.look(true, (2, 2), 4_000), 0, "a message came and went");
        assert_eq!(rest.look(true, (2, 2), 5_000), 1_000);
        assert_eq!(rest.look(false, (2, 2), 6_000), 0);
        assert_eq!(rest.look(true, (2, 2), 7_000), 0);
        rest.end();
        assert_eq!(rest.look(true, (2, 2), 9_000), 0);
        assert_eq!(rest.look(true, (2, 2), 8_000), 0, "the clock was put back");
    }
}
