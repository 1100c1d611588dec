//! Ready messages meet consumers with credit.

use std::collections::BTreeSet;

use crate::broker::{Broker, LoadFor};
use crate::client::{Connection, Room, Source, Subscription};
use crate::effect::{Effect, LoadRequest};
use crate::entry::{Entry, Held};
use crate::feed::{Feed, Lane};
use crate::groups;
use crate::slab::Key;

/// What keeps a feed from delivering its next message.
enum Next {
    /// Nothing does.
    Deliver,
    Expired,
    Wait,
}

impl Broker {
    /// Hands out what is ready, in order, to consumers in turn.
    pub(super) fn dispatch(&mut self, key: Key<Feed>, effects: &mut Vec<Effect>) {
        if self.feeds[key].views.is_empty() {
            self.dispatch_lane(key, Lane::All, effects);
            return;
        }
        let mut lanes = self.feeds[key].take_stirred();
        while let Some(at) = lanes
            .iter()
            .position(|lane| self.hand_out(key, *lane, effects))
        {
            self.feeds[key].serve(&mut lanes, at);
        }
        for lane in lanes {
            self.request_page(key, lane, effects);
        }
    }

    fn dispatch_lane(&mut self, key: Key<Feed>, lane: Lane, effects: &mut Vec<Effect>) {
        while self.hand_out(key, lane, effects) {}
        self.request_page(key, lane, effects);
    }

    /// Hands out the next message of a lane. False if none is ready, or nobody can take it.
    fn hand_out(&mut self, key: Key<Feed>, lane: Lane, effects: &mut Vec<Effect>) -> bool {
        let Some(subscription) = self.next_consumer(key, lane) else {
            return false;
        };
        match self.next_message(key, lane) {
            Next::Wait => {
                if let Lane::Selected(view) = lane {
                    self.feeds[key].views.wait(view);
                }
                return false;
            }
            Next::Expired => {
                let entry = self.feeds[key].take(lane, &mut self.memory);
                self.consume(key, &entry.expect("an expired message was ready"));
            }
            Next::Deliver => return self.hand_to(key, lane, subscription, effects),
        }
        true
    }

    /// Hands the next message of a lane to whose turn it is, or to the owner of its group. False
    /// if too much waits for owners already.
    fn hand_to(
        &mut self,
        key: Key<Feed>,
        lane: Lane,
        turn: Key<Subscription>,
        effects: &mut Vec<Effect>,
    ) -> bool {
        let feed = &mut self.feeds[key];
        let next = feed.ready(lane).expect("a message was ready");
        // Who alone gets messages gets all groups.
        let group = groups::group(&next.message).filter(|_| feed.exclusive.is_none());
        let group: Option<Box<str>> = group.map(Into::into);
        let owner = group.as_ref().and_then(|group| feed.groups.owner(group));
        // Its owner may have a selector.
        let wants =
            |owner: &Key<Subscription>| self.clients.subscriptions[*owner].wants(&next.message);
        let is_unwanted = owner.is_some_and(|owner| !wants(&owner));
        let owner = owner.filter(wants);
        let to = owner.unwrap_or(turn);
        let waits = owner.is_some_and(|owner| {
            feed.groups.is_waiting(owner)
                || self.clients.room(owner, &self.limits, &self.memory) != Room::Free
        });
        if waits && !feed.groups.has_room(&self.limits) {
            if let Lane::Selected(view) = lane {
                feed.views.wait(view);
            }
            return false;
        }
        let entry = feed.take(lane, &mut self.memory);
        let entry = entry.expect("a message was ready");
        if let Some(group) = group.filter(|_| !is_unwanted) {
            feed.groups.assign(&group, to, self.limits.groups_max);
        }
        if waits {
            feed.groups.hold(to, entry, &mut self.memory);
            return true;
        }
        if to == turn {
            feed.ring(lane).turn();
        }
        self.deliver(key, to, entry, effects);
        true
    }

    fn deliver(
        &mut self,
        key: Key<Feed>,
        to: Key<Subscription>,
        entry: Entry,
        effects: &mut Vec<Effect>,
    ) {
        let feed = &mut self.feeds[key];
        let (held, sequence) = (entry.held, entry.sequence);
        feed.groups.delivered(&entry.message, to);
        feed.in_flight += 1;
        let is_recovered = held == Held::Stored && sequence < feed.backlog.recovered_below;
        let effect = self
            .clients
            .deliver(to, entry, is_recovered, &mut self.memory);
        effects.push(effect);
        if held == Held::Stored {
            self.lift_watermark(key, sequence);
        }
    }

    /// Hands a consumer what waits for it as the owner of a group.
    fn hand_out_held(
        &mut self,
        key: Key<Feed>,
        owner: Key<Subscription>,
        effects: &mut Vec<Effect>,
    ) {
        while self.feeds[key].groups.is_waiting(owner)
            && self.clients.room(owner, &self.limits, &self.memory) == Room::Free
        {
            let groups = &mut self.feeds[key].groups;
            let entry = groups.take(owner, &mut self.memory);
            let entry = entry.expect("something waits");
            if entry.is_expired(self.now_ms) {
                self.consume(key, &entry);
            } else {
                self.deliver(key, owner, entry, effects);
            }
        }
    }

    /// The consumer whose turn it is. Those who cannot take more leave the ring.
    fn next_consumer(&mut self, key: Key<Feed>, lane: Lane) -> Option<Key<Subscription>> {
        let feed = &mut self.feeds[key];
        loop {
            let subscription = match feed.exclusive {
                None => feed.ring(lane).front()?,
                Some(exclusive) => {
                    let known = &self.clients.subscriptions[exclusive];
                    (known.lane == lane && known.in_ring).then_some(exclusive)?
                }
            };
            match self.clients.room(subscription, &self.limits, &self.memory) {
                Room::Free => return Some(subscription),
                Room::Full | Room::Blocked => {
                    feed.ring(lane).remove(subscription);
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
        Next::Deliver
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
            && view.waits(self.outbox.committed(), feed.backlog.visible)
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
        let Some(subscription) = self.clients.subscriptions.get(key) else {
            return;
        };
        match subscription.source {
            Source::Feed(feed) => self.refill_from(feed, key, effects),
            Source::Topic(_) | Source::Browse(_) => self.dispatch_pending(key, effects),
        }
    }

    fn refill_from(&mut self, feed: Key<Feed>, key: Key<Subscription>, effects: &mut Vec<Effect>) {
        self.hand_out_held(feed, key, effects);
        let subscription = &mut self.clients.subscriptions[key];
        let (lane, priority) = (subscription.lane, subscription.priority);
        let may_wait = subscription.in_ring || !subscription.has_credit();
        if !may_wait && !self.clients.is_blocked(key) {
            self.clients.subscriptions[key].in_ring = true;
            self.feeds[feed].ring(lane).push(key, priority);
        }
        if let Lane::Selected(view) = lane {
            self.feeds[feed].views.stir(view);
        }
        // What it gave back, or what was in its way, may be for others.
        self.dispatch(feed, effects);
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
