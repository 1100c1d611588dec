//! A broker from what an earlier one left in the store, read a page at a time.
//!
//! Each page is worked on as it comes: a node that stood still for all of them would not be
//! heard, and be taken for dead.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use bytes::Bytes;
use thiserror::Error;

use crate::broker::{Broker, Numbers};
use crate::client::Clients;
use crate::duplicate::Duplicates;
use crate::entry::Memory;
use crate::feed::{Cursors, Durable, Feed, Owner, Queue};
use crate::keyspace::message::Log;
use crate::keyspace::{Damage, duplicate, durable, format, mark, queue, topic};
use crate::limits::Limits;
use crate::outbox::Outbox;
use crate::selector::{Selector, StringNumbers};
use crate::slab::{Key, Slab};
use crate::topic::Topic;

/// A broker in the making.
#[derive(Debug)]
pub struct Boot {
    limits: Limits,
    format: u32,
    records: Records,
    duplicates: Duplicates,
}

impl Boot {
    /// Nothing is read yet.
    #[must_use]
    pub fn new(limits: Limits) -> Self {
        Self {
            duplicates: Duplicates::new(&limits),
            format: format::FIRST,
            records: Records::default(),
            limits,
        }
    }

    /// What comes next in the ranges of [`Broker::boot_ranges`]: each in the order of its keys.
    pub fn add(&mut self, pairs: Vec<(Bytes, Bytes)>) -> Result<(), BootError> {
        for (key, value) in pairs {
            let added = match key.first() {
                Some(&format::KIND) => match format::parse(&key, &value) {
                    Ok(found) if found > format::FORMAT => {
                        let known = format::FORMAT;
                        return Err(BootError::NewerFormat { found, known });
                    }
                    parsed => parsed.map(|found| self.format = found),
                },
                Some(&duplicate::PAGE_KIND) => duplicate::Page::parse(&key, value)
                    .and_then(|page| self.duplicates.restore_page(&page)),
                _ => self.records.add(&key, value),
            };
            added.map_err(|damage| BootError::Damaged {
                key,
                reason: damage.to_string(),
            })?;
        }
        Ok(())
    }

    /// The broker of this epoch, once everything was added.
    pub fn finish(self, epoch: u64) -> Result<Broker, BootError> {
        Broker::new(epoch, self)
    }
}

/// The store holds something that no broker wrote so.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum BootError {
    /// A record does not parse.
    #[error("the stored record under key {key:02x?} is damaged: {reason}")]
    Damaged {
        /// Its key.
        key: Bytes,
        /// What is wrong.
        reason: String,
    },
    /// A later build wrote it.
    #[error(
        "it has format {found}, but this build knows {known}: run the build that wrote it, or a later one"
    )]
    NewerFormat {
        /// Its format.
        found: u32,
        /// Ours.
        known: u32,
    },
    /// A durable subscription without its topic.
    #[error("durable subscription {durable} belongs to topic {topic}, which has no record")]
    TopicMissing {
        /// Its number.
        durable: u32,
        /// The number of the topic.
        topic: u32,
    },
}

/// The stored records by kind and number.
#[derive(Debug, Default)]
struct Records {
    queues: BTreeMap<u32, queue::Record>,
    topics: BTreeMap<u32, topic::Record>,
    durables: BTreeMap<u32, durable::Record>,
    marks: BTreeMap<u32, BTreeSet<u64>>,
    slots: Vec<duplicate::Slot>,
}

impl Records {
    fn add(&mut self, key: &[u8], value: Bytes) -> Result<(), Damage> {
        match key.first().copied() {
            Some(queue::KIND) => {
                let (number, record) = queue::parse(key, value)?;
                self.queues.insert(number, record);
            }
            Some(topic::KIND) => {
                let (number, record) = topic::parse(key, value)?;
                self.topics.insert(number, record);
            }
            Some(durable::KIND) => {
                let (number, record) = durable::parse(key, value)?;
                self.durables.insert(number, record);
            }
            Some(mark::KIND) => {
                let (number, sequence) = mark::parse(key)?;
                self.marks.entry(number).or_default().insert(sequence);
            }
            Some(duplicate::SLOT_KIND) => self.slots.push(duplicate::Slot::parse(key, &value)?),
            _ => return Err(Damage::Key),
        }
        Ok(())
    }

    /// A durable subscription may have passed non-persistent messages, whose
    /// sequences no topic record tells of.
    fn lift_topics(&mut self) {
        for durable in self.durables.values() {
            if let Some(topic) = self.topics.get_mut(&durable.topic) {
                let passed = durable.acknowledged.max(durable.dispatched);
                topic.next_sequence = topic.next_sequence.max(passed);
            }
        }
    }
}

impl Broker {
    fn new(epoch: u64, boot: Boot) -> Result<Self, BootError> {
        let Boot {
            limits,
            format,
            mut records,
            mut duplicates,
        } = boot;
        duplicates.restore_slots(std::mem::take(&mut records.slots));
        records.lift_topics();
        let mut broker = Self {
            epoch,
            format,
            ids_made: 0,
            now_ms: 0,
            feeds: Slab::new(),
            topics: Slab::new(),
            queues_by_name: BTreeMap::new(),
            topics_by_name: BTreeMap::new(),
            durables_by_name: BTreeMap::new(),
            numbers: Numbers {
                queue: after_last(&records.queues),
                topic: after_last(&records.topics),
                durable: after_last(&records.durables),
            },
            clients: Clients::new(),
            outbox: Outbox::new(),
            memory: Memory::default(),
            duplicates,
            loads: BTreeMap::new(),
            last_load: 0,
            idle: BTreeSet::new(),
            idle_last: None,
            expiry_next_ms: 0,
            forget_next_ms: 0,
            sweep: None,
            swept_last: None,
            limits,
        };
        for (number, record) in records.queues {
            broker.add_queue(number, record);
        }
        let mut topics = BTreeMap::new();
        for (number, record) in records.topics {
            topics.insert(number, broker.add_topic(number, record));
        }
        for (number, record) in records.durables {
            let topic = *topics.get(&record.topic).ok_or(BootError::TopicMissing {
                durable: number,
                topic: record.topic,
            })?;
            let marks = records.marks.remove(&number).unwrap_or_default();
            let selector = Selector::parse(&record.selector, StringNumbers::Keep);
            let selector = selector.map_err(|error| BootError::Damaged {
                key: Bytes::copy_from_slice(&durable::key(number)),
                reason: error.to_string(),
            })?;
            let rest = (marks, selector.map(Arc::new));
            broker.add_durable(number, record, topic, rest);
        }
        Ok(broker)
    }

    pub(super) fn add_queue(&mut self, number: u32, record: queue::Record) -> Key<Feed> {
        let name = record.name.as_str().into();
        let cursors = Cursors {
            from: record.head,
            next: record.next_sequence,
            dispatched: record.dispatched,
        };
        let owner = Owner::Queue(Queue {
            record,
            volatile_depth: 0,
        });
        let key = self
            .feeds
            .insert(Feed::new(number, Log::Queue(number), owner, cursors));
        self.queues_by_name.insert(name, key);
        key
    }

    pub(super) fn add_topic(&mut self, number: u32, record: topic::Record) -> Key<Topic> {
        let name = record.name.as_str().into();
        let key = self.topics.insert(Topic::new(number, record));
        self.topics_by_name.insert(name, key);
        key
    }

    pub(super) fn add_durable(
        &mut self,
        number: u32,
        record: durable::Record,
        topic: Key<Topic>,
        (mut marks, selector): (BTreeSet<u64>, Option<Arc<Selector>>),
    ) -> Key<Feed> {
        let name = (record.client_id.clone(), record.name.clone());
        let log = Log::Topic(self.topics[topic].number);
        let cursors = Cursors {
            from: record.acknowledged,
            next: self.topics[topic].record.next_sequence,
            dispatched: record.dispatched,
        };
        marks = marks.split_off(&record.acknowledged);
        let owner = Owner::Durable(Durable {
            record,
            topic,
            marks,
            selector,
        });
        let key = self.feeds.insert(Feed::new(number, log, owner, cursors));
        self.topics[topic].durables.push(key);
        self.durables_by_name.insert(name, key);
        key
    }
}

fn after_last<T>(records: &BTreeMap<u32, T>) -> u32 {
    records.last_key_value().map_or(0, |(last, _)| last + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_later_build_stored_is_refused_in_words() {
        let pair = |format: u32| {
            let value = Bytes::copy_from_slice(&format.to_be_bytes());
            vec![(Bytes::from_static(&[format::KIND]), value)]
        };
        let boot = |format| Boot::new(Limits::default()).add(pair(format));
        assert_eq!(boot(format::FORMAT), Ok(()));
        let refused = boot(format::FORMAT + 1).unwrap_err().to_string();
        assert!(refused.contains("run the build that wrote it"), "{refused}");
    }

    fn begun(pairs: &[(&[u8], Vec<u8>)]) -> Result<Broker, BootError> {
        let owned = |(key, value): &(&[u8], Vec<u8>)| {
            (Bytes::copy_from_slice(key), Bytes::from(value.clone()))
        };
        let pairs: Vec<(Bytes, Bytes)> = pairs.iter().map(owned).collect();
        let mut boot = Boot::new(Limits::default());
        boot.add(pairs)?;
        boot.finish(1)
    }

    fn page(first: u64, keys: u128) -> ([u8; 9], Vec<u8>) {
        let page = duplicate::Page::new(first, 1..=keys);
        (duplicate::Page::key(first), page.value().to_vec())
    }

    #[test]
    fn pages_that_share_keys_are_damage() {
        let (one, held) = page(0, 5);
        let (two, more) = page(4, 1);
        let error = begun(&[(&one, held.clone()), (&two, more.clone())]).unwrap_err();
        assert!(error.to_string().contains("the page before it"), "{error}");
        let (three, _) = page(5, 1);
        assert!(begun(&[(&one, held), (&three, more)]).is_ok());
    }

    #[test]
    fn a_page_without_keys_is_damage() {
        let (key, _) = page(5, 1);
        assert!(begun(&[(&key, Vec::new())]).is_err());
    }

    #[test]
    fn a_number_after_which_none_is_left_is_damage() {
        let (first, keys) = page(u64::MAX - 1, 3);
        assert!(begun(&[(&first, keys)]).is_err());
        let slot = duplicate::Slot {
            counter: u64::MAX,
            digest: 1,
        };
        assert!(begun(&[(&slot.key(), slot.value().to_vec())]).is_err());
        assert!(begun(&[(&queue::key(u32::MAX), Vec::new())]).is_err());
        assert!(begun(&[(&queue::key(u32::MAX - 1), Vec::new())]).is_ok());
    }
}
