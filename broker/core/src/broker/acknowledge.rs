//! Deliveries come back: done with, or not.

use crate::broker::Broker;
use crate::client::{Connection, Source, Subscription};
use crate::command::{Acknowledge, AcknowledgeMode, Disposition, SubscriptionId};
use crate::effect::{DeliveryId, Effect, Refusal};
use crate::entry::{Entry, Held};
use crate::feed::{Feed, Owner};
use crate::groups;
use crate::keyspace::mark;
use crate::outbox::Safe;
use crate::slab::Key;
use crate::transaction::Acknowledged;

impl Broker {
    pub(super) fn acknowledge(
        &mut self,
        connection: Key<Connection>,
        acknowledge: &Acknowledge,
        effects: &mut Vec<Effect>,
    ) -> Result<Safe, Refusal> {
        let key = self.subscription(connection, acknowledge.subscription)?;
        let subscription = &self.clients.subscriptions[key];
        if !subscription.outstanding.contains_key(&acknowledge.delivery) {
            return Err(Refusal::DeliveryUnknown);
        }
        if let Some(transaction) = acknowledge.transaction {
            self.reserve_acknowledged(connection, transaction, key, acknowledge.delivery)?;
        }
        let is_cumulative = self.clients.subscriptions[key].mode == AcknowledgeMode::Cumulative;
        let mut safe = Safe::Now;
        while let Some(entry) = if is_cumulative {
            self.clients
                .take_up_to(key, acknowledge.delivery, &mut self.memory)
        } else {
            self.clients
                .take_one(key, acknowledge.delivery, &mut self.memory)
        } {
            let acknowledged = Acknowledged {
                source: self.clients.subscriptions[key].source,
                subscription: key,
                entry,
                disposition: acknowledge.disposition,
            };
            match acknowledge.transaction {
                Some(id) => self.hold(connection, id, acknowledged),
                None => safe = safe.max(self.settle(acknowledged)),
            }
        }
        self.refill(key, effects);
        self.unblock(connection, effects);
        Ok(safe)
    }

    /// Deliveries that were written to the socket of a client that acknowledges nothing.
    pub(super) fn written(
        &mut self,
        connection: Key<Connection>,
        id: SubscriptionId,
        last: DeliveryId,
        effects: &mut Vec<Effect>,
    ) -> Safe {
        let Ok(key) = self.subscription(connection, id) else {
            // It ended while the deliveries were on their way.
            return Safe::Now;
        };
        if self.clients.subscriptions[key].mode != AcknowledgeMode::Auto {
            return Safe::Now;
        }
        let mut safe = Safe::Now;
        while let Some(entry) = self.clients.take_up_to(key, last, &mut self.memory) {
            safe = safe.max(self.settle(Acknowledged {
                source: self.clients.subscriptions[key].source,
                subscription: key,
                entry,
                disposition: Disposition::Accepted,
            }));
        }
        self.refill(key, effects);
        self.unblock(connection, effects);
        safe
    }

    pub(super) fn subscription(
        &self,
        connection: Key<Connection>,
        id: SubscriptionId,
    ) -> Result<Key<Subscription>, Refusal> {
        let subscriptions = &self.clients.connections[connection].subscriptions;
        subscriptions
            .get(&id)
            .copied()
            .ok_or(Refusal::SubscriptionUnknown)
    }

    /// A delivery ends. The caller dispatches its source afterwards.
    pub(super) fn settle(&mut self, acknowledged: Acknowledged) -> Safe {
        let Acknowledged {
            source,
            subscription,
            entry,
            disposition,
        } = acknowledged;
        match (source, disposition) {
            (Source::Feed(feed), Disposition::Accepted) => {
                self.feeds[feed].in_flight -= 1;
                self.feeds[feed].dequeued += 1;
                self.consume(feed, &entry)
            }
            (Source::Topic(topic), Disposition::Accepted) => {
                self.topics[topic].dequeued += 1;
                Safe::Now
            }
            (Source::Browse(_), _) => Safe::Now,
            (Source::Feed(_) | Source::Topic(_), Disposition::Rejected) => {
                self.fail(source, subscription, entry)
            }
        }
    }

    /// A taken message of a feed is done with, for good.
    pub(super) fn consume(&mut self, key: Key<Feed>, entry: &Entry) -> Safe {
        let feed = &mut self.feeds[key];
        feed.backlog.settle(entry.sequence);
        match entry.held {
            Held::Copy => return Safe::Now,
            Held::Volatile => {
                self.memory.volatile -= entry.bytes;
                feed.volatile_bytes -= entry.bytes;
                match &mut feed.owner {
                    Owner::Queue(queue) => queue.volatile_depth -= 1,
                    // The watermark may pass its marks now.
                    Owner::Durable(durable) if !durable.marks.is_empty() => {
                        self.outbox.touch_feed(key, feed);
                    }
                    Owner::Durable(_) => {}
                }
                return Safe::Now;
            }
            Held::Stored => {}
        }
        match &mut feed.owner {
            Owner::Queue(queue) => {
                queue.record.depth -= 1;
                self.outbox.encoder.delete(&feed.log.key(entry.sequence));
                feed.delete(entry.sequence, self.outbox.number());
            }
            Owner::Durable(durable) => {
                if entry.sequence > feed.backlog.lowest(feed.next) {
                    durable.marks.insert(entry.sequence);
                    let key = mark::key(feed.number, entry.sequence);
                    self.outbox.encoder.put(&key, &[]);
                }
                let topic = &mut self.topics[durable.topic];
                topic.settled_messages += 1;
                topic.settled_bytes += entry.bytes;
            }
        }
        self.outbox.touch_feed(key, feed);
        self.outbox.this_batch()
    }

    /// A delivery goes back to where it came from. A copy for a subscriber who
    /// is gone goes nowhere.
    pub(super) fn give_back(&mut self, source: Source, key: Key<Subscription>, entry: Entry) {
        match source {
            Source::Feed(key) => {
                let feed = &mut self.feeds[key];
                feed.in_flight -= 1;
                let owner =
                    groups::group(&entry.message).and_then(|group| feed.groups.owner(group));
                let subscriptions = &self.clients.subscriptions;
                let waiting = owner.filter(|owner| {
                    let owns = subscriptions.get(*owner);
                    feed.groups.is_waiting(*owner)
                        && owns.is_some_and(|owner| owner.wants(&entry.message))
                });
                match waiting {
                    // It comes before what waits for that one already.
                    Some(owner) => feed.groups.hold(owner, entry, &mut self.memory),
                    None => feed.give_back(entry, &mut self.memory),
                }
                self.note_idle(key);
            }
            Source::Topic(_) => {
                let Some(subscription) = self.clients.subscriptions.get_mut(key) else {
                    return;
                };
                let pending = &mut subscription.pending;
                let index = pending.partition_point(|other| other.sequence < entry.sequence);
                subscription.pending_bytes += entry.bytes;
                pending.insert(index, entry);
            }
            Source::Browse(_) => {}
        }
    }
}
