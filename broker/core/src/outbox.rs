//! Store operations on their way to the quorum, and what waits for them.
//!
//! Batches are numbered by us as they are built; the log's sequence of a batch
//! is known only after it was taken. What waits, waits for a number of ours.

use std::collections::VecDeque;

use bytes::Bytes;

use crate::batch::BatchEncoder;
use crate::command::{ConnectionId, Receipt};
use crate::feed::Feed;
use crate::slab::{Key, Slab};
use crate::topic::Topic;

/// When a command is as safe as it asked to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Safe {
    /// At once.
    Now,
    /// When this batch is committed.
    Committed(u64),
}

/// What is to be looked at again when a batch is committed.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Touched {
    Feed {
        feed: Key<Feed>,
        /// Where the feed's next message would be, when the batch was taken.
        next: u64,
        /// The watermark in the batch.
        dispatched: u64,
    },
    Topic(Key<Topic>),
}

/// See the head of this file.
#[derive(Debug)]
pub(crate) struct Outbox {
    pub(crate) encoder: BatchEncoder,
    /// The number of the batch being built, from 1.
    number: u64,
    /// The last number that is committed.
    committed: u64,
    /// A batch that was taken and has no sequence yet.
    unsealed: Option<u64>,
    /// Number and sequence of the batches that are not committed.
    sealed: VecDeque<(u64, u64)>,
    receipts: VecDeque<(u64, ConnectionId, Receipt)>,
    touched: VecDeque<(u64, Touched)>,
    pub(crate) dirty_feeds: Vec<Key<Feed>>,
    pub(crate) dirty_topics: Vec<Key<Topic>>,
    /// Somebody waits for the batch being built.
    urgent: bool,
}

impl Outbox {
    pub(crate) fn new() -> Self {
        Self {
            encoder: BatchEncoder::default(),
            number: 1,
            committed: 0,
            unsealed: None,
            sealed: VecDeque::new(),
            receipts: VecDeque::new(),
            touched: VecDeque::new(),
            dirty_feeds: Vec::new(),
            dirty_topics: Vec::new(),
            urgent: false,
        }
    }

    pub(crate) fn number(&self) -> u64 {
        self.number
    }

    pub(crate) fn committed(&self) -> u64 {
        self.committed
    }

    /// Whether there is nothing for a batch.
    pub(crate) fn is_empty(&self) -> bool {
        self.encoder.is_empty() && self.dirty_feeds.is_empty() && self.dirty_topics.is_empty()
    }

    /// Somebody waits for the batch being built.
    pub(crate) fn urge(&mut self) {
        self.urgent = true;
    }

    pub(crate) fn is_urgent(&self) -> bool {
        self.urgent && !self.is_empty()
    }

    /// Safe when the batch being built is committed.
    pub(crate) fn this_batch(&self) -> Safe {
        Safe::Committed(self.number)
    }

    /// Safe when everything proposed so far is committed.
    pub(crate) fn everything(&self) -> Safe {
        let last = if self.is_empty() {
            self.number - 1
        } else {
            self.number
        };
        if last <= self.committed {
            Safe::Now
        } else {
            Safe::Committed(last)
        }
    }

    /// The record of a feed goes into the batch being built.
    pub(crate) fn touch_feed(&mut self, key: Key<Feed>, feed: &mut Feed) {
        feed.last_batch = self.number;
        if !feed.dirty {
            feed.dirty = true;
            self.dirty_feeds.push(key);
        }
    }

    /// The record of a topic goes into the batch being built.
    pub(crate) fn touch_topic(&mut self, key: Key<Topic>, topics: &mut Slab<Topic>) {
        let topic = &mut topics[key];
        if !topic.dirty {
            topic.dirty = true;
            self.dirty_topics.push(key);
        }
    }

    /// A receipt is owed when `batch` is committed.
    pub(crate) fn owe(&mut self, batch: u64, connection: ConnectionId, receipt: Receipt) {
        let last = self.receipts.back().map_or(0, |(last, ..)| *last);
        // One who asks for less than the last one waits with it: the order stays simple.
        self.receipts
            .push_back((batch.max(last), connection, receipt));
    }

    pub(crate) fn note(&mut self, touched: Touched) {
        self.touched.push_back((self.number, touched));
    }

    /// The batch being built, if anything is in it; the next one begins.
    pub(crate) fn take(&mut self) -> Option<Bytes> {
        assert!(
            self.unsealed.is_none(),
            "a batch is sealed before the next is taken"
        );
        self.urgent = false;
        if self.encoder.is_empty() {
            return None;
        }
        self.unsealed = Some(self.number);
        self.number += 1;
        Some(self.encoder.take())
    }

    /// The batch just taken became this entry of the log.
    pub(crate) fn seal(&mut self, sequence: u64) {
        let number = self.unsealed.take().expect("only a taken batch is sealed");
        let last = self.sealed.back().map_or(0, |(_, last)| *last);
        assert!(sequence > last, "sequences rise");
        self.sealed.push_back((number, sequence));
    }

    /// Everything up to this entry of the log is committed.
    pub(crate) fn commit(&mut self, sequence: u64) {
        while let Some((number, sealed)) = self.sealed.front().copied() {
            if sealed > sequence {
                break;
            }
            self.committed = number;
            self.sealed.pop_front();
        }
    }

    pub(crate) fn pop_receipt(&mut self) -> Option<(ConnectionId, Receipt)> {
        let (batch, connection, receipt) = self.receipts.front().copied()?;
        if batch > self.committed {
            return None;
        }
        self.receipts.pop_front();
        Some((connection, receipt))
    }

    pub(crate) fn pop_touched(&mut self) -> Option<Touched> {
        let (batch, touched) = self.touched.front().copied()?;
        if batch > self.committed {
            return None;
        }
        self.touched.pop_front();
        Some(touched)
    }
}
