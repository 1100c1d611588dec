//! Expired messages that are only in the store, in queues of which nobody takes everything.
//!
//! One read at a time, of one queue, in the pace of ticks: what it costs does not grow with
//! what lies there. Queues take turns.

use bytes::Bytes;

use crate::broker::commit::read;
use crate::broker::{Broker, LoadFor};
use crate::effect::{Effect, LoadRequest};
use crate::feed::{Feed, Owner};
use crate::slab::Key;

/// The sweep of one queue, from its first message that is only in the store to its last.
#[derive(Debug)]
pub(super) struct Sweep {
    feed: Key<Feed>,
    /// The next sequence to look at.
    cursor: u64,
    /// Where nothing alive begins, as long as nothing alive was found.
    dead_from: Option<u64>,
    /// When the first of those that were left expires.
    due_ms: u64,
    /// The read under way, and where it ends.
    reading: Option<(u64, u64)>,
}

impl Broker {
    /// Reads on, or begins with the next queue.
    pub(super) fn sweep_on(&mut self, effects: &mut Vec<Effect>) {
        if self
            .sweep
            .as_ref()
            .is_some_and(|sweep| sweep.reading.is_some())
        {
            return;
        }
        let Some(mut sweep) = self.sweep.take().or_else(|| self.next_sweep()) else {
            return;
        };
        let Some(feed) = self.feeds.get_mut(sweep.feed) else {
            return;
        };
        if feed.takes_all() || feed.backlog.loading().is_some() {
            // Its consumers find what is expired. What they leave is looked at again.
            feed.backlog.sweep_due_ms = 0;
            return;
        }
        let Some((from, to)) = feed.backlog.sweep_range(sweep.cursor) else {
            feed.backlog.sweep_due_ms = feed.backlog.sweep_due_ms.min(sweep.due_ms);
            return;
        };
        if from > sweep.cursor && sweep.dead_from.is_some() {
            // Consumers had what is before it read. They may not be done with it.
            sweep.dead_from = Some(from);
        }
        self.last_load += 1;
        self.loads
            .insert(self.last_load, LoadFor::Sweep(sweep.feed));
        feed.gone
            .read_begins(self.last_load, self.outbox.committed());
        effects.push(Effect::Load(LoadRequest {
            token: self.last_load,
            from: feed.log.key_bytes(from),
            to: feed.log.key_bytes(to),
            pairs_max: self.limits.sweep_page_messages,
            bytes_max: self.limits.sweep_page_bytes,
        }));
        sweep.reading = Some((from, to));
        self.sweep = Some(sweep);
    }

    fn next_sweep(&mut self) -> Option<Sweep> {
        let now_ms = self.now_ms;
        let is_due = |feed: &Feed| {
            let is_queue = matches!(feed.owner, Owner::Queue(_));
            is_queue && !feed.takes_all() && feed.backlog.sweep_due_ms <= now_ms
        };
        let due = || {
            self.feeds
                .iter()
                .filter(|(_, feed)| is_due(feed))
                .map(|(key, _)| key)
        };
        let after = due().filter(|key| Some(*key) > self.swept_last).min();
        let feed = after.or_else(|| due().min())?;
        self.swept_last = Some(feed);
        let backlog = &mut self.feeds[feed].backlog;
        if backlog.loading().is_some() {
            return None;
        }
        let range = backlog.sweep_range(0);
        if range.is_some() || !backlog.has_gap() {
            backlog.sweep_due_ms = u64::MAX;
        }
        let (from, _) = range?;
        Some(Sweep {
            feed,
            cursor: from,
            dead_from: Some(from),
            due_ms: u64::MAX,
            reading: None,
        })
    }

    /// The answer to a sweep's read.
    pub(super) fn sweep_loaded(
        &mut self,
        token: u64,
        key: Key<Feed>,
        pairs: Vec<(Bytes, Bytes)>,
        more: bool,
    ) {
        self.sweep_read(pairs, more);
        if let Some(feed) = self.feeds.get_mut(key) {
            feed.gone.read_ends(token, self.outbox.committed());
        }
    }

    fn sweep_read(&mut self, pairs: Vec<(Bytes, Bytes)>, more: bool) {
        let Some(sweep) = &mut self.sweep else {
            return;
        };
        let (from, to) = sweep.reading.take().expect("an answer follows a question");
        let Some(feed) = self.feeds.get_mut(sweep.feed) else {
            self.sweep = None;
            return;
        };
        if feed.takes_all() || feed.backlog.loading().is_some() {
            return;
        }
        let range = feed.backlog.sweep_range(from);
        if range.is_none_or(|(begins, _)| begins != from) {
            // Its first messages came into memory since: it is read again from behind them.
            return;
        }
        let loaded = read(feed, pairs);
        let last = loaded.last().map(|(sequence, ..)| *sequence + 1);
        sweep.cursor = if more {
            last.expect("the store says there is more but gives nothing")
        } else {
            to
        };
        for (sequence, _, message) in loaded {
            let is_expired = message.expires_ms != 0 && message.expires_ms <= self.now_ms;
            if !is_expired {
                if message.expires_ms != 0 {
                    sweep.due_ms = sweep.due_ms.min(message.expires_ms);
                }
                if let Some(from) = sweep.dead_from.take() {
                    feed.backlog.swept_through(from, sequence);
                }
            } else if feed.backlog.is_only_stored(sequence)
                && feed.gone.insert(sequence, self.outbox.number())
                && let Owner::Queue(queue) = &mut feed.owner
            {
                queue.record.depth -= 1;
                self.outbox.encoder.delete(&feed.log.key(sequence));
                feed.views.taken(sequence, &mut self.memory);
                self.outbox.touch_feed(sweep.feed, feed);
            }
        }
        if let Some(from) = sweep.dead_from {
            feed.backlog.swept_through(from, sweep.cursor);
            sweep.dead_from = Some(sweep.cursor);
        }
    }
}
