//! A topic: its subscribers, its durable subscriptions, and the messages that
//! wait to be committed before anybody sees them.

use std::collections::VecDeque;
use std::sync::Arc;

use replicamq_proto::store::v1::Message;

use crate::client::Subscription;
use crate::feed::Feed;
use crate::keyspace::topic;
use crate::rest::Rest;
use crate::slab::Key;

/// A message on its way to the subscriptions of a topic.
#[derive(Debug, Clone)]
pub(crate) struct Publication {
    pub(crate) sequence: u64,
    pub(crate) message: Arc<Message>,
    pub(crate) encoded_bytes: usize,
    pub(crate) is_stored: bool,
}

/// See the head of this file.
#[derive(Debug)]
pub(crate) struct Topic {
    pub(crate) number: u32,
    /// As it is to be stored; always right.
    pub(crate) record: topic::Record,
    pub(crate) subscribers: Vec<Key<Subscription>>,
    pub(crate) durables: Vec<Key<Feed>>,
    /// With the batch that each waits for, rising.
    pub(crate) uncommitted: VecDeque<(u64, Publication)>,
    /// Its record goes into the batch being built.
    pub(crate) dirty: bool,
    /// What durable subscriptions have done with since the last search for
    /// messages that all of them passed.
    pub(crate) settled_messages: u64,
    pub(crate) settled_bytes: usize,
    pub(crate) rest: Rest,
    pub(crate) enqueued: u64,
    pub(crate) dequeued: u64,
}

impl Topic {
    pub(crate) fn new(number: u32, record: topic::Record) -> Self {
        Self {
            number,
            record,
            subscribers: Vec::new(),
            durables: Vec::new(),
            uncommitted: VecDeque::new(),
            dirty: false,
            settled_messages: 0,
            settled_bytes: 0,
            rest: Rest::default(),
            enqueued: 0,
            dequeued: 0,
        }
    }

    /// The next publication whose batch is committed.
    pub(crate) fn pop_committed(&mut self, committed: u64) -> Option<Publication> {
        let (batch, _) = self.uncommitted.front()?;
        if *batch > committed {
            return None;
        }
        self.uncommitted
            .pop_front()
            .map(|(_, publication)| publication)
    }
}
