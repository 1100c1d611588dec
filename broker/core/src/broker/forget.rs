//! Destinations that nobody uses are forgotten: names are made by use, and places for them
//! are few.
//!
//! Only what is as good as new goes: no message, no consumer, no browser, no durable
//! subscription, nothing in a transaction and nothing uncommitted. Whoever names it again
//! makes it again. Its record is deleted by a batch like any other, so that after a failover
//! it is there or not, and empty either way.

use std::collections::BTreeSet;

use crate::broker::Broker;
use crate::broker::expiry::is_due;
use crate::client::Source;
use crate::feed::{Feed, Owner};
use crate::keyspace::{queue, topic};
use crate::slab::Key;
use crate::topic::Topic;
use crate::transaction::Target;

/// Looks within the time after which a destination is forgotten.
const LOOKS: u64 = 30;
/// Forgotten at a time, so that a batch stays small.
const FORGOTTEN_MAX: usize = 1_000;

/// What clients hold on to without being consumers.
#[derive(Debug, Default)]
struct Held {
    feeds: BTreeSet<Key<Feed>>,
    topics: BTreeSet<Key<Topic>>,
}

impl Broker {
    /// Looks at each destination, a few times in the time that one may rest.
    pub(super) fn forget_unused(&mut self) {
        let (after_ms, now_ms) = (self.limits.forget_after_ms, self.now_ms);
        let every_ms = (after_ms / LOOKS).max(1);
        if !is_due(self.forget_next_ms, every_ms, now_ms) {
            return;
        }
        self.forget_next_ms = now_ms.saturating_add(every_ms);
        let committed = self.outbox.committed();
        let mut feeds = Vec::new();
        for key in self.queues_by_name.values() {
            let feed = &mut self.feeds[*key];
            let is_empty = is_empty(feed, committed);
            let counted = (feed.enqueued, feed.dequeued);
            if feed.rest.look(is_empty, counted, now_ms) >= after_ms && is_empty {
                feeds.push(*key);
            }
        }
        let mut topics = Vec::new();
        for key in self.topics_by_name.values() {
            let topic = &mut self.topics[*key];
            let is_empty = topic.is_empty();
            let counted = (topic.enqueued, topic.dequeued);
            if topic.rest.look(is_empty, counted, now_ms) >= after_ms && is_empty {
                topics.push(*key);
            }
        }
        if feeds.is_empty() && topics.is_empty() {
            return;
        }
        let held = self.held();
        feeds.retain(|key| !held.feeds.contains(key));
        topics.retain(|key| !held.topics.contains(key));
        for key in feeds.into_iter().take(FORGOTTEN_MAX) {
            self.forget_queue(key);
        }
        for key in topics.into_iter().take(FORGOTTEN_MAX) {
            self.forget_topic(key);
        }
    }

    fn held(&self) -> Held {
        let mut held = Held::default();
        let subscriptions = self.clients.subscriptions.iter();
        let mut sources: Vec<Source> = subscriptions.map(|(_, one)| one.source).collect();
        for (_, connection) in self.clients.connections.iter() {
            for transaction in connection.transactions.values() {
                for prepared in &transaction.sends {
                    match prepared.target {
                        Target::Queue(key) => drop(held.feeds.insert(key)),
                        Target::Topic(key) => drop(held.topics.insert(key)),
                    }
                }
                sources.extend(transaction.acknowledged.iter().map(|one| one.source));
            }
        }
        for source in sources {
            match source {
                Source::Feed(key) | Source::Browse(key) => drop(held.feeds.insert(key)),
                Source::Topic(key) => drop(held.topics.insert(key)),
            }
        }
        held
    }

    fn forget_queue(&mut self, key: Key<Feed>) {
        let feed = self.feeds.remove(key).expect("a named feed exists");
        let Owner::Queue(owner) = feed.owner else {
            unreachable!("durable subscriptions have a map of their own")
        };
        self.queues_by_name.remove(owner.record.name.as_str());
        self.idle.remove(&key);
        self.outbox.encoder.delete(&queue::key(feed.number));
    }

    fn forget_topic(&mut self, key: Key<Topic>) {
        let next = self.topics[key].record.next_sequence;
        self.trim(key, next);
        let topic = self.topics.remove(key).expect("a named topic exists");
        self.topics_by_name.remove(topic.record.name.as_str());
        self.outbox.encoder.delete(&topic::key(topic.number));
    }

    /// Whether the target of an earlier send still exists.
    pub(super) fn is_known(&self, target: Target) -> bool {
        match target {
            Target::Queue(key) => self.feeds.get(key).is_some(),
            Target::Topic(key) => self.topics.get(key).is_some(),
        }
    }
}

fn is_empty(feed: &Feed, committed: u64) -> bool {
    let Owner::Queue(queue) = &feed.owner else {
        return false;
    };
    let messages = queue.record.depth + queue.volatile_depth + feed.in_flight;
    let is_clean = !feed.dirty && feed.last_batch <= committed;
    messages == 0 && is_clean && feed.consumers.is_empty() && feed.backlog.loading().is_none()
}

impl Topic {
    fn is_empty(&self) -> bool {
        let heard = !self.subscribers.is_empty() || !self.durables.is_empty();
        !heard && self.uncommitted.is_empty() && !self.dirty
    }
}
