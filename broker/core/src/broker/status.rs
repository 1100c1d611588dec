//! What operators see of the destinations.

use crate::address::DestinationKind;
use crate::broker::Broker;
use crate::feed::{Feed, Owner};
use crate::topic::Topic;

/// One destination. Counts are of this mastership.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DestinationStatus {
    /// Queue or topic.
    pub kind: DestinationKind,
    /// Its name.
    pub name: String,
    /// Messages in a queue, delivered or not. Of a topic, at most so many are
    /// stored because some durable subscription still needs them.
    pub depth: u64,
    /// Subscriptions that are connected.
    pub consumers: u32,
    /// Messages that came.
    pub enqueued: u64,
    /// Deliveries that were acknowledged.
    pub dequeued: u64,
    /// Delivered and not yet acknowledged.
    pub in_flight: u64,
}

impl Broker {
    /// All destinations: queues, then topics, by name.
    pub fn destinations(&self) -> Vec<DestinationStatus> {
        let queues = self
            .queues_by_name
            .iter()
            .map(|(name, key)| queue_status(name, &self.feeds[*key]));
        let topics = self
            .topics_by_name
            .iter()
            .map(|(name, key)| self.topic_status(name, &self.topics[*key]));
        queues.chain(topics).collect()
    }

    fn topic_status(&self, name: &str, topic: &Topic) -> DestinationStatus {
        let durables = || topic.durables.iter().map(|key| &self.feeds[*key]);
        let subscribers = topic.subscribers.iter();
        let copies =
            subscribers.map(|key| self.clients.subscriptions[*key].outstanding.len() as u64);
        let next = topic.record.next_sequence;
        let slowest = durables().map(|feed| feed.backlog.lowest(feed.next)).min();
        let listening = durables().map(|feed| feed.consumers.len()).sum::<usize>();
        DestinationStatus {
            kind: DestinationKind::Topic,
            name: name.to_owned(),
            depth: next - slowest.unwrap_or(next),
            consumers: count(topic.subscribers.len() + listening),
            enqueued: topic.enqueued,
            dequeued: topic.dequeued + durables().map(|feed| feed.dequeued).sum::<u64>(),
            in_flight: copies.sum::<u64>() + durables().map(|feed| feed.in_flight).sum::<u64>(),
        }
    }
}

fn queue_status(name: &str, feed: &Feed) -> DestinationStatus {
    let depth = match &feed.owner {
        Owner::Queue(queue) => queue.record.depth + queue.volatile_depth,
        Owner::Durable(_) => unreachable!("queues have a map of their own"),
    };
    DestinationStatus {
        kind: DestinationKind::Queue,
        name: name.to_owned(),
        depth,
        consumers: count(feed.consumers.len()),
        enqueued: feed.enqueued,
        dequeued: feed.dequeued,
        in_flight: feed.in_flight,
    }
}

fn count(number: usize) -> u32 {
    u32::try_from(number).unwrap_or(u32::MAX)
}
