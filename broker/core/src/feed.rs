//! An ordered stream of messages for consumers who compete for them: a queue,
//! or the copy of a topic that belongs to one durable subscription.

use std::collections::{BTreeSet, VecDeque};

use crate::backlog::Backlog;
use crate::client::Subscription;
use crate::keyspace::message::Log;
use crate::keyspace::{durable, queue};
use crate::rest::Rest;
use crate::slab::Key;
use crate::topic::Topic;

/// Messages below may have been delivered. A message is delivered only below
/// the committed mark, so that a new master knows what may be a repetition.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Watermark {
    pub(crate) committed: u64,
    /// Invariant: not below `committed`.
    pub(crate) proposed: u64,
}

/// What is particular to a queue.
#[derive(Debug)]
pub(crate) struct Queue {
    /// As it is to be stored. `depth` is always right; the cursors are filled
    /// in when it is written.
    pub(crate) record: queue::Record,
    /// Non-persistent messages in the queue.
    pub(crate) volatile_depth: u64,
}

/// What is particular to a durable subscription.
#[derive(Debug)]
pub(crate) struct Durable {
    /// As it is to be stored. The cursors are filled in when it is written.
    pub(crate) record: durable::Record,
    pub(crate) topic: Key<Topic>,
    /// Acknowledged ahead of the lowest unacknowledged message.
    pub(crate) marks: BTreeSet<u64>,
}

#[derive(Debug)]
pub(crate) enum Owner {
    Queue(Queue),
    Durable(Durable),
}

/// See the head of this file.
#[derive(Debug)]
pub(crate) struct Feed {
    /// The number in the keys of its record.
    pub(crate) number: u32,
    /// Where its messages are stored.
    pub(crate) log: Log,
    pub(crate) owner: Owner,
    pub(crate) backlog: Backlog,
    /// Every message that ever came has a lower sequence.
    pub(crate) next: u64,
    pub(crate) consumers: Vec<Key<Subscription>>,
    /// Those that may have credit, in the order of their turns.
    pub(crate) ring: VecDeque<Key<Subscription>>,
    pub(crate) dispatched: Watermark,
    /// Its record goes into the batch being built.
    pub(crate) dirty: bool,
    /// The last batch with anything of this feed.
    pub(crate) last_batch: u64,
    /// The last batch with a message of this feed.
    pub(crate) last_put: u64,
    /// Bytes of its non-persistent messages, until they are settled.
    pub(crate) volatile_bytes: usize,
    pub(crate) rest: Rest,
    pub(crate) in_flight: u64,
    pub(crate) enqueued: u64,
    pub(crate) dequeued: u64,
}

impl Feed {
    /// A feed whose messages from `from` to below `next` are in the store, and
    /// may have been delivered below `dispatched`.
    pub(crate) fn new(number: u32, log: Log, owner: Owner, cursors: Cursors) -> Self {
        let Cursors {
            from,
            next,
            dispatched,
        } = cursors;
        Self {
            number,
            log,
            owner,
            backlog: Backlog::new(from, next, dispatched.min(next)),
            next,
            consumers: Vec::new(),
            ring: VecDeque::new(),
            dispatched: Watermark {
                committed: dispatched,
                proposed: dispatched,
            },
            dirty: false,
            last_batch: 0,
            last_put: 0,
            volatile_bytes: 0,
            rest: Rest::default(),
            in_flight: 0,
            enqueued: 0,
            dequeued: 0,
        }
    }

    /// Whether it has its share of memory for so many bytes of non-persistent
    /// messages. One that has none takes what comes.
    pub(crate) fn has_volatile_room(&self, bytes: usize, bytes_max: usize) -> bool {
        self.volatile_bytes == 0 || self.volatile_bytes + bytes <= bytes_max
    }

    /// Whether too much is acknowledged ahead of one open message.
    pub(crate) fn waits_for_marks(&self, marks_max: usize) -> bool {
        match &self.owner {
            Owner::Queue(_) => false,
            Owner::Durable(durable) => {
                durable.marks.len() >= marks_max && self.backlog.is_oldest_open()
            }
        }
    }

    /// How far the watermark should be now. `horizon`: where the next message
    /// would be.
    pub(crate) fn watermark_wanted(&self, horizon: u64, step: u64) -> u64 {
        if self.consumers.is_empty() {
            return self.dispatched.proposed;
        }
        let ahead = self.backlog.front(self.next).saturating_add(step);
        self.dispatched.proposed.max(horizon.min(ahead))
    }
}

/// Where a feed stood when it was last stored.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Cursors {
    pub(crate) from: u64,
    pub(crate) next: u64,
    pub(crate) dispatched: u64,
}
