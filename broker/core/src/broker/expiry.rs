//! Messages whose time is over leave memory and store.

use crate::broker::Broker;
use crate::effect::Effect;
use crate::feed::Feed;
use crate::slab::Key;

impl Broker {
    /// Time passes. Costs nothing most of the time, and else a look at each
    /// destination and one read of messages that are only in the store.
    pub fn tick(&mut self, now_ms: u64, effects: &mut Vec<Effect>) {
        self.now_ms = now_ms;
        let every_ms = self.limits.expiry_interval_ms;
        if !is_due(self.expiry_next_ms, every_ms, now_ms) {
            return;
        }
        self.expiry_next_ms = now_ms.saturating_add(every_ms);
        let feeds: Vec<Key<Feed>> = self
            .feeds
            .iter()
            .filter(|(_, feed)| feed.may_expire(now_ms))
            .map(|(key, _)| key)
            .collect();
        for key in feeds {
            let expired = self.feeds[key].expire(now_ms, &mut self.memory);
            for entry in expired {
                self.consume(key, &entry);
            }
            self.dispatch(key, effects);
        }
        self.forget_unused();
        self.sweep_on(effects);
    }
}

/// Whether something is due that comes in intervals. A calendar that was put back since the
/// last time must not put it off.
pub(super) fn is_due(next_ms: u64, every_ms: u64, now_ms: u64) -> bool {
    now_ms >= next_ms || next_ms - now_ms > every_ms
}
