//! A checked message goes to where it belongs.

use std::ops::Bound::{Excluded, Unbounded};
use std::sync::Arc;

use replicamq_proto::store::v1::Message;

use crate::broker::Broker;
use crate::client::Subscription;
use crate::effect::Effect;
use crate::entry::{Entry, Held, cost};
use crate::feed::{Feed, Owner};
use crate::keyspace::message::Log;
use crate::outbox::Safe;
use crate::slab::Key;
use crate::topic::{Publication, Topic};
use crate::transaction::{Prepared, Target};

/// Feeds looked at when memory is short.
const EVICTIONS_MAX: usize = 4;

impl Broker {
    /// Cannot fail: whatever could be refused was checked before.
    pub(super) fn publish(&mut self, prepared: Prepared, effects: &mut Vec<Effect>) -> Safe {
        let Prepared {
            target,
            message,
            encoded_bytes,
            digest,
        } = prepared;
        if digest.is_some_and(|digest| self.duplicates.contains(digest)) {
            // Never before the first one's commit.
            return self.outbox.everything();
        }
        let safe = match target {
            Target::Queue(feed) if message.persistent => self.enqueue(feed, message, encoded_bytes),
            Target::Queue(feed) => self.enqueue_volatile(feed, message, encoded_bytes, effects),
            Target::Topic(topic) => self.publish_to_topic(topic, message, encoded_bytes, effects),
        };
        match (digest, safe) {
            // What is not stored dies with its master, and so may its key.
            (Some(digest), Safe::Now) => self.duplicates.remember_volatile(digest),
            (Some(digest), Safe::Committed(_)) => {
                let encoder = &mut self.outbox.encoder;
                self.duplicates.remember_stored(digest, encoder);
            }
            (None, _) => {}
        }
        safe
    }

    /// A persistent message into a queue: seen when it is committed.
    pub(super) fn enqueue(
        &mut self,
        key: Key<Feed>,
        message: Message,
        encoded_bytes: usize,
    ) -> Safe {
        let feed = &mut self.feeds[key];
        let sequence = feed.next;
        feed.next += 1;
        feed.enqueued += 1;
        feed.last_put = self.outbox.number();
        if let Owner::Queue(queue) = &mut feed.owner {
            queue.record.depth += 1;
        }
        let message_key = feed.log.key(sequence);
        self.outbox
            .encoder
            .put_encoded(&message_key, &message, encoded_bytes);
        self.outbox.touch_feed(key, feed);
        self.keep(key, sequence, Arc::new(message), encoded_bytes);
        self.outbox.this_batch()
    }

    /// Keeps a stored message in memory, if consumers will want it soon.
    fn keep(&mut self, key: Key<Feed>, sequence: u64, message: Arc<Message>, encoded_bytes: usize) {
        let bytes = cost(encoded_bytes);
        if !self.feeds[key].consumers.is_empty()
            && self.memory.windows + bytes > self.limits.windows_bytes_max
        {
            self.evict_idle();
        }
        let feed = &mut self.feeds[key];
        let expires_ms = message.expires_ms;
        let entry = Entry::new(sequence, message, encoded_bytes, Held::Stored);
        if !feed.views.is_empty() {
            feed.views.offer(&entry, &self.limits, &mut self.memory);
        }
        if feed.takes_all() && feed.backlog.has_room(bytes, &self.limits, &self.memory) {
            feed.backlog.push_stored(entry, &mut self.memory);
        } else {
            feed.backlog.skip(sequence, expires_ms, &mut self.memory);
        }
    }

    /// A non-persistent message into a queue: seen at once, unless a
    /// persistent one before it is not committed.
    fn enqueue_volatile(
        &mut self,
        key: Key<Feed>,
        message: Message,
        encoded_bytes: usize,
        effects: &mut Vec<Effect>,
    ) -> Safe {
        let feed = &mut self.feeds[key];
        let sequence = feed.next;
        feed.next += 1;
        feed.enqueued += 1;
        if let Owner::Queue(queue) = &mut feed.owner {
            queue.volatile_depth += 1;
        }
        if feed.last_put <= self.outbox.committed() {
            feed.backlog.visible = feed.next;
        }
        let entry = Entry::new(sequence, Arc::new(message), encoded_bytes, Held::Volatile);
        self.memory.volatile += entry.bytes;
        feed.volatile_bytes += entry.bytes;
        feed.views.put(&entry, &mut self.memory);
        feed.backlog.push_volatile(entry);
        self.dispatch(key, effects);
        Safe::Now
    }

    /// Stored only if a durable subscription will ask for it.
    fn publish_to_topic(
        &mut self,
        key: Key<Topic>,
        message: Message,
        encoded_bytes: usize,
        effects: &mut Vec<Effect>,
    ) -> Safe {
        let topic = &mut self.topics[key];
        topic.enqueued += 1;
        let sequence = topic.record.next_sequence;
        topic.record.next_sequence += 1;
        let is_stored = message.persistent && !topic.durables.is_empty();
        let publication = Publication {
            sequence,
            message: Arc::new(message),
            encoded_bytes,
            is_stored,
        };
        if is_stored {
            let batch = self.outbox.number();
            let message_key = Log::Topic(topic.number).key(sequence);
            self.outbox
                .encoder
                .put_encoded(&message_key, &*publication.message, encoded_bytes);
            topic.uncommitted.push_back((batch, publication));
            self.outbox.touch_topic(key, &mut self.topics);
            return self.outbox.this_batch();
        }
        match topic.uncommitted.back().map(|(batch, _)| *batch) {
            // Nothing overtakes a message that waits for its commit.
            Some(batch) => topic.uncommitted.push_back((batch, publication)),
            None => self.fan_out(key, &publication, effects),
        }
        Safe::Now
    }

    /// Everybody who listens to the topic gets the message.
    pub(super) fn fan_out(
        &mut self,
        key: Key<Topic>,
        publication: &Publication,
        effects: &mut Vec<Effect>,
    ) {
        for index in 0..self.topics[key].subscribers.len() {
            let subscription = self.topics[key].subscribers[index];
            self.offer_copy(subscription, publication);
            self.dispatch_pending(subscription, effects);
        }
        for index in 0..self.topics[key].durables.len() {
            let feed = self.topics[key].durables[index];
            self.offer_durable(feed, publication);
            self.dispatch(feed, effects);
        }
    }

    fn offer_copy(&mut self, key: Key<Subscription>, publication: &Publication) {
        let subscription = &mut self.clients.subscriptions[key];
        if !subscription.wants(&publication.message) {
            return;
        }
        let message = Arc::clone(&publication.message);
        let entry = Entry::new(
            publication.sequence,
            message,
            publication.encoded_bytes,
            Held::Copy,
        );
        while subscription.pending.len() >= self.limits.topic_pending_messages_max
            || subscription.pending_bytes + entry.bytes > self.limits.topic_pending_bytes_max
        {
            let Some(oldest) = subscription.pending.pop_front() else {
                break;
            };
            subscription.pending_bytes -= oldest.bytes;
            subscription.dropped += 1;
        }
        subscription.pending_bytes += entry.bytes;
        subscription.pending.push_back(entry);
    }

    fn offer_durable(&mut self, key: Key<Feed>, publication: &Publication) {
        let sequence = publication.sequence;
        let feed = &mut self.feeds[key];
        if sequence < feed.next {
            // It was published before this subscription was made.
            return;
        }
        feed.next = sequence + 1;
        feed.backlog.visible = feed.next;
        if let Owner::Durable(durable) = &feed.owner
            && !durable.wants(&publication.message)
        {
            // It is done with this one.
            if publication.is_stored {
                let topic = &mut self.topics[durable.topic];
                topic.settled_messages += 1;
                topic.settled_bytes += cost(publication.encoded_bytes);
            }
            return;
        }
        let message = Arc::clone(&publication.message);
        if publication.is_stored {
            feed.enqueued += 1;
            self.keep(key, sequence, message, publication.encoded_bytes);
            return;
        }
        // What is not stored is for those who listen.
        let entry = Entry::new(sequence, message, publication.encoded_bytes, Held::Volatile);
        let limits = &self.limits;
        let has_room = self.memory.volatile + entry.bytes <= limits.volatile_bytes_max
            && feed.has_volatile_room(entry.bytes, limits.volatile_queue_bytes_max);
        if has_room && !feed.consumers.is_empty() {
            feed.enqueued += 1;
            self.memory.volatile += entry.bytes;
            feed.volatile_bytes += entry.bytes;
            feed.backlog.push_volatile(entry);
        }
    }

    /// Frees the memory of a few feeds without consumers, each time of others.
    pub(super) fn evict_idle(&mut self) {
        for _ in 0..EVICTIONS_MAX.min(self.idle.len()) {
            let last = self.idle_last.take();
            let next = last.and_then(|last| self.idle.range((Excluded(last), Unbounded)).next());
            let Some(key) = next.or_else(|| self.idle.first()).copied() else {
                break;
            };
            self.idle_last = Some(key);
            let feed = &mut self.feeds[key];
            let is_clean = feed.last_batch <= self.outbox.committed();
            if is_clean && feed.backlog.loading().is_none() {
                feed.backlog.evict(&mut self.memory);
                self.idle.remove(&key);
            }
        }
    }

    /// A feed without consumers who take everything may have got something to keep.
    pub(super) fn note_idle(&mut self, key: Key<Feed>) {
        let feed = &self.feeds[key];
        if !feed.takes_all() && feed.backlog.is_keeping() {
            self.idle.insert(key);
        }
    }
}
