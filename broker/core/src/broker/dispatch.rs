//! Ready messages meet consumers with credit.

use std::collections::BTreeSet;

use crate::broker::{Broker, LoadFor};
use crate::client::{Connection, Room, Source, Subscription};
use crate::effect::{Effect, LoadRequest};
use crate::entry::Held;
use crate::feed::{Feed, Lane};
use crate::slab::Key;

/// What keeps a feed from delivering its next message.
enum Next {
    /// Nothing does.
    Deliver {
        is_recovered: bool,
    },
    Expired,
    Wait,
}

impl Broker {
    /// Hands out what is ready, in order, to consumers in turn.
    pub(super) fn dispatch(&mut self, key: Key<Feed>, effects: &mut Vec<Effect>) {
        self.dispatch_lane(key, Lane::All, effects);
        for view in self.feeds[key].views.take_stirred() {
            self.dispatch_lane(key, Lane::Selected(view), effects);
        }
    }

    fn dispatch_lane(&mut self, key: Key<Feed>, lane: Lane, effects: &mut Vec<Effect>) {
        while let Some(subscription) = self.next_consumer(key, lane) {
            match self.next_message(key, lane) {
                Next::Wait => {
                    if let Lane::Selected(view) = lane {
                        self.feeds[key].views.stir(view);
                    }
                    break;
                }
                Next::Expired => {
                    let entry = self.feeds[key].take(lane, &mut self.memory);
                    self.consume(key, &entry.expect("an expired message was ready"));
                }
                Next::Deliver { is_recovered } => {
                    let feed = &mut self.feeds[key];
                    let entry = feed.take(lane, &mut self.memory);
                    let entry = entry.expect("a message was ready");
                    let (held, sequence) = (entry.held, entry.sequence);
                    feed.in_flight += 1;
                    let effect =
                        self.clients
                            .deliver(subscription, entry, is_recovered, &mut self.memory);
                    effects.push(effect);
                    feed.ring(lane).rotate_left(1);
                    if held == Held::Stored {
                        self.lift_watermark(key, sequence);
                    }
                }
            }
        }
        self.request_page(key, lane, effects);
    }

    /// The consumer whose turn it is. Those who cannot take more leave the ring.
    fn next_consumer(&mut self, key: Key<Feed>, lane: Lane) -> Option<Key<Subscription>> {
        let ring = self.feeds[key].ring(lane);
        loop {
            let subscription = *ring.front()?;
            match self.clients.room(subscription, &self.limits, &self.memory) {
                Room::Free => return Some(subscription),
                Room::Full | Room::Blocked => {
                    ring.pop_front();
                    self.clients.subscriptions[subscription].in_ring = false;
                }
            }
        }
    }

    fn next_message(&mut self, key: Key<Feed>, lane: Lane) -> Next {
        let feed = &mut self.feeds[key];
        if feed.waits_for_marks(self.limits.durable_marks_max) {
            return Next::Wait;
        }
        let Some(entry) = feed.ready(lane) else {
            return Next::Wait;
        };
        if entry.is_expired(self.now_ms) {
            return Next::Expired;
        }
        let sequence = entry.sequence;
        let is_stored = entry.held == Held::Stored;
        if is_stored && sequence >= feed.dispatched.committed {
            if sequence >= feed.dispatched.proposed {
                self.outbox.touch_feed(key, feed);
                self.outbox.urge();
            }
            return Next::Wait;
        }
        Next::Deliver {
            is_recovered: is_stored && sequence < feed.backlog.recovered_below,
        }
    }

    /// Moves the watermark on before deliveries come close to it.
    fn lift_watermark(&mut self, key: Key<Feed>, sequence: u64) {
        let feed = &mut self.feeds[key];
        let close = sequence.saturating_add(self.limits.dispatched_step / 2);
        if feed.dispatched.proposed < feed.next.min(close) {
            self.outbox.touch_feed(key, feed);
        }
    }

    /// Reads on, before the consumers of a lane have emptied what is in memory.
    fn request_page(&mut self, key: Key<Feed>, lane: Lane, effects: &mut Vec<Effect>) {
        if lane == Lane::All && !self.feeds[key].takes_all() {
            return;
        }
        if self.memory.windows >= self.limits.windows_bytes_max {
            self.evict_idle();
        }
        let feed = &mut self.feeds[key];
        if let Lane::Selected(key) = lane
            && let Some(view) = feed.views.get(key)
            && view.waits(self.outbox.committed())
        {
            feed.views.stir(key);
            return;
        }
        let token = self.last_load + 1;
        let Some(page) = feed.page(lane, token, &self.limits, &mut self.memory) else {
            return;
        };
        self.last_load = token;
        feed.gone.read_begins(token, self.outbox.committed());
        self.loads.insert(token, LoadFor::Feed(key, lane));
        effects.push(Effect::Load(LoadRequest {
            token,
            from: feed.log.key_bytes(page.from),
            to: feed.log.key_bytes(page.to),
            pairs_max: page.messages_max,
            bytes_max: page.bytes_max,
        }));
    }

    /// Hands out the copies that wait for one subscription.
    pub(super) fn dispatch_pending(&mut self, key: Key<Subscription>, effects: &mut Vec<Effect>) {
        loop {
            let subscription = &mut self.clients.subscriptions[key];
            let Some(next) = subscription.pending.front() else {
                break;
            };
            let is_expired = next.is_expired(self.now_ms);
            if !is_expired && self.clients.room(key, &self.limits, &self.memory) != Room::Free {
                break;
            }
            let subscription = &mut self.clients.subscriptions[key];
            let entry = subscription.pending.pop_front();
            let entry = entry.expect("one was in front");
            subscription.pending_bytes -= entry.bytes;
            if !is_expired {
                let effect = self.clients.deliver(key, entry, false, &mut self.memory);
                effects.push(effect);
            }
        }
        self.browse_on(key, effects);
    }

    /// A subscription may take more: it gets in line again and its source delivers.
    pub(super) fn refill(&mut self, key: Key<Subscription>, effects: &mut Vec<Effect>) {
        let Some(subscription) = self.clients.subscriptions.get_mut(key) else {
            return;
        };
        match subscription.source {
            Source::Feed(feed) => {
                let may_wait = subscription.in_ring || !subscription.has_credit();
                let lane = subscription.lane;
                if !may_wait && !self.clients.is_blocked(key) {
                    self.clients.subscriptions[key].in_ring = true;
                    self.feeds[feed].ring(lane).push_back(key);
                }
                self.dispatch_lane(feed, lane, effects);
            }
            Source::Topic(_) | Source::Browse(_) => self.dispatch_pending(key, effects),
        }
    }

    /// Subscriptions that waited for this connection's acknowledgements go on.
    pub(super) fn unblock(&mut self, key: Key<Connection>, effects: &mut Vec<Effect>) {
        let woken = self.clients.unblock(key, &self.limits, &self.memory);
        for subscription in woken {
            self.refill(subscription, effects);
        }
    }

    /// Connections that waited for others' acknowledgements go on.
    pub(super) fn wake_starved(&mut self, effects: &mut Vec<Effect>) {
        let mut seen = BTreeSet::new();
        while let Some(key) = self.clients.pop_starved(&self.limits, &self.memory) {
            if !seen.insert(key) {
                continue;
            }
            self.unblock(key, effects);
        }
    }
}
