//! The way of a batch: taken, sealed, committed; and the answers to reads.

use bytes::Bytes;
use prost::Message as _;

use crate::backlog::Loaded;
use crate::broker::{Broker, LoadFor};
use crate::effect::Effect;
use crate::feed::{Feed, Lane, Owner};
use crate::keyspace::message::{Log, parse_value};
use crate::keyspace::{durable, format, mark, queue, topic};
use crate::outbox::Touched;
use crate::slab::Key;
use crate::topic::Topic;

impl Broker {
    /// Everything to be stored since the last call, as one
    /// `replicamq.store.v1.Batch`; none if there is nothing.
    pub fn take_batch(&mut self) -> Option<Bytes> {
        let mut topics = std::mem::take(&mut self.outbox.dirty_topics);
        for key in &topics {
            self.touch_listeners(*key);
        }
        let mut feeds = std::mem::take(&mut self.outbox.dirty_feeds);
        for key in feeds.drain(..) {
            self.put_feed(key);
        }
        self.outbox.dirty_feeds = feeds;
        topics.append(&mut self.outbox.dirty_topics);
        for key in topics.drain(..) {
            self.put_topic(key);
        }
        self.outbox.dirty_topics = topics;
        self.outbox.take()
    }

    /// Bytes of the batch being built: reason to take it before it grows too large.
    pub fn batch_bytes(&self) -> usize {
        self.outbox.encoder.bytes()
    }

    /// Whether there is anything for a batch.
    pub fn has_batch(&self) -> bool {
        !self.outbox.is_empty()
    }

    /// Whether somebody waits for the batch being built. One that nobody waits
    /// for may be taken later, with what comes meanwhile.
    pub fn is_urgent(&self) -> bool {
        self.outbox.is_urgent()
    }

    /// The batch just taken became this entry of the log.
    pub fn sealed(&mut self, sequence: u64) {
        self.outbox.seal(sequence);
    }

    /// Everything up to this entry of the log is committed, and will be
    /// applied before any later read.
    pub fn committed(&mut self, sequence: u64, now_ms: u64, effects: &mut Vec<Effect>) {
        self.now_ms = now_ms;
        self.outbox.commit(sequence);
        while let Some((connection, receipt)) = self.outbox.pop_receipt() {
            effects.push(Effect::Receipt {
                connection,
                receipt,
            });
        }
        while let Some(touched) = self.outbox.pop_touched() {
            match touched {
                Touched::Feed {
                    feed,
                    next,
                    dispatched,
                } => self.feed_committed(feed, next, dispatched, effects),
                Touched::Topic(topic) => {
                    let committed = self.outbox.committed();
                    while let Some(publication) = self
                        .topics
                        .get_mut(topic)
                        .and_then(|topic| topic.pop_committed(committed))
                    {
                        self.fan_out(topic, &publication, effects);
                    }
                }
            }
        }
        self.wake_starved(effects);
    }

    fn feed_committed(
        &mut self,
        key: Key<Feed>,
        next: u64,
        dispatched: u64,
        effects: &mut Vec<Effect>,
    ) {
        let committed = self.outbox.committed();
        let Some(feed) = self.feeds.get_mut(key) else {
            return;
        };
        feed.dispatched.committed = feed.dispatched.committed.max(dispatched);
        let seen = if feed.last_put <= committed {
            feed.next
        } else {
            next
        };
        feed.backlog.visible = feed.backlog.visible.max(seen);
        feed.gone.forget(committed);
        self.dispatch(key, effects);
    }

    /// The answer to an [`Effect::Load`].
    #[expect(
        clippy::too_many_arguments,
        reason = "an answer has three parts, and time and effects go everywhere"
    )]
    pub fn loaded(
        &mut self,
        token: u64,
        pairs: Vec<(Bytes, Bytes)>,
        more: bool,
        now_ms: u64,
        effects: &mut Vec<Effect>,
    ) {
        self.now_ms = now_ms;
        match self.loads.remove(&token) {
            // Who asked is gone.
            None => {}
            Some(LoadFor::Feed(key, lane)) => {
                self.feed_loaded(token, (key, lane), (pairs, more), effects);
            }
            Some(LoadFor::Browse(key)) => self.browse_loaded(key, pairs, more, effects),
            Some(LoadFor::Sweep(key)) => self.sweep_loaded(token, key, pairs, more),
        }
        self.wake_starved(effects);
    }

    fn feed_loaded(
        &mut self,
        token: u64,
        (key, lane): (Key<Feed>, Lane),
        (pairs, more): (Vec<(Bytes, Bytes)>, bool),
        effects: &mut Vec<Effect>,
    ) {
        let feed = &mut self.feeds[key];
        let mut loaded = read(feed, pairs);
        let end = loaded.last().map(|(sequence, ..)| *sequence + 1);
        if let Owner::Durable(durable) = &feed.owner {
            loaded.retain(|(sequence, _, message)| {
                !durable.marks.contains(sequence) && durable.wants(message)
            });
        }
        let more = more.then(|| end.expect("the store says there is more but gives nothing"));
        feed.loaded(lane, loaded, more, &mut self.memory);
        feed.gone.read_ends(token, self.outbox.committed());
        self.note_idle(key);
        self.dispatch(key, effects);
    }

    /// Who listens now may get the messages in this batch as soon as it is
    /// committed: the watermarks go along.
    fn touch_listeners(&mut self, key: Key<Topic>) {
        for feed_key in &self.topics[key].durables {
            let feed = &mut self.feeds[*feed_key];
            if !feed.consumers.is_empty() {
                self.outbox.touch_feed(*feed_key, feed);
            }
        }
    }

    /// From now on the store holds what older builds would misread.
    pub(super) fn note_format(&mut self, format: u32) {
        if format > self.format {
            self.format = format;
            let encoder = &mut self.outbox.encoder;
            encoder.put(&[format::KIND], &format.to_be_bytes());
        }
    }

    fn put_feed(&mut self, key: Key<Feed>) {
        let Some(feed) = self.feeds.get_mut(key) else {
            return;
        };
        feed.dirty = false;
        let lowest = feed.backlog.lowest(feed.next);
        let horizon = match &feed.owner {
            Owner::Queue(_) => feed.next,
            Owner::Durable(durable) => self.topics[durable.topic].record.next_sequence,
        };
        let dispatched = feed.watermark_wanted(horizon, self.limits.dispatched_step);
        feed.dispatched.proposed = dispatched;
        let encoder = &mut self.outbox.encoder;
        match &mut feed.owner {
            Owner::Queue(queue) => {
                let record = &mut queue.record;
                record.next_sequence = feed.next;
                record.head = lowest;
                record.dispatched = dispatched;
                let bytes = record.encoded_len();
                encoder.put_encoded(&queue::key(feed.number), &*record, bytes);
            }
            Owner::Durable(durable) => {
                if durable.marks.first().is_some_and(|first| *first < lowest) {
                    let from = mark::key(feed.number, 0);
                    encoder.delete_range(&from, &mark::key(feed.number, lowest));
                    durable.marks = durable.marks.split_off(&lowest);
                }
                let record = &mut durable.record;
                record.acknowledged = lowest;
                record.dispatched = dispatched;
                let bytes = record.encoded_len();
                encoder.put_encoded(&durable::key(feed.number), &*record, bytes);
                let topic = &self.topics[durable.topic];
                if topic.settled_messages >= self.limits.topic_trim_messages
                    || topic.settled_bytes >= self.limits.topic_trim_bytes
                {
                    self.outbox.touch_topic(durable.topic, &mut self.topics);
                }
            }
        }
        self.outbox.note(Touched::Feed {
            feed: key,
            next: feed.next,
            dispatched,
        });
    }

    fn put_topic(&mut self, key: Key<Topic>) {
        self.topics[key].dirty = false;
        let topic = &self.topics[key];
        let wants_trim = topic.durables.is_empty()
            || topic.settled_messages >= self.limits.topic_trim_messages
            || topic.settled_bytes >= self.limits.topic_trim_bytes;
        if wants_trim {
            let lowest = topic
                .durables
                .iter()
                .map(|feed| self.feeds[*feed].backlog.lowest(self.feeds[*feed].next))
                .fold(topic.record.next_sequence, u64::min);
            self.trim(key, lowest);
        }
        let topic = &self.topics[key];
        let encoder = &mut self.outbox.encoder;
        let bytes = topic.record.encoded_len();
        encoder.put_encoded(&topic::key(topic.number), &topic.record, bytes);
        self.outbox.note(Touched::Topic(key));
    }

    /// Deletes what every durable subscription of a topic is done with.
    pub(super) fn trim(&mut self, key: Key<Topic>, lowest: u64) {
        let topic = &mut self.topics[key];
        topic.settled_messages = 0;
        topic.settled_bytes = 0;
        if lowest > topic.record.trimmed {
            let log = Log::Topic(topic.number);
            let (from, to) = (log.key(topic.record.trimmed), log.key(lowest));
            self.outbox.encoder.delete_range(&from, &to);
            topic.record.trimmed = lowest;
        }
    }
}

/// Stored messages of a feed. What does not parse is damage that the store's
/// checksums did not catch: to go on would be to lose it in silence.
pub(super) fn read(feed: &Feed, pairs: Vec<(Bytes, Bytes)>) -> Vec<Loaded> {
    pairs
        .into_iter()
        .map(|(key, value)| {
            let encoded_bytes = value.len();
            let sequence = feed.log.parse(&key);
            let message = parse_value(value);
            match (sequence, message) {
                (Ok(sequence), Ok(message)) => (sequence, encoded_bytes, message),
                (Err(damage), _) | (_, Err(damage)) => {
                    panic!("the stored message under key {key:02x?} is damaged: {damage}")
                }
            }
        })
        .collect()
}
