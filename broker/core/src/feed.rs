//! An ordered stream of messages for consumers who compete for them: a queue,
//! or the copy of a topic that belongs to one durable subscription.

use std::cmp::Reverse;
use std::collections::BTreeSet;
use std::sync::Arc;

use replicamq_proto::store::v1::Message;

use crate::backlog::{Backlog, Loaded, Page};
use crate::client::Subscription;
use crate::entry::{Entry, Held, Memory};
use crate::gone::Gone;
use crate::groups::Groups;
use crate::keyspace::message::Log;
use crate::keyspace::{durable, queue};
use crate::limits::Limits;
use crate::rest::Rest;
use crate::ring::Ring;
use crate::selector::{Selector, wants};
use crate::slab::Key;
use crate::topic::Topic;
use crate::view::View;
use crate::views::Views;

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
    pub(crate) selector: Option<Arc<Selector>>,
}

impl Durable {
    /// Whether its selector, if it has one, takes this message.
    pub(crate) fn wants(&self, message: &Message) -> bool {
        wants(self.selector.as_deref(), message)
    }
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
    /// Those without a selector that may have credit, in the order of their turns.
    pub(crate) ring: Ring,
    /// The one that alone gets messages, if some want that.
    pub(crate) exclusive: Option<Key<Subscription>>,
    /// Who got the last message: the others come first now.
    served: Option<Lane>,
    pub(crate) groups: Groups,
    /// What those with a selector see.
    pub(crate) views: Views,
    /// Deleted, and perhaps still read.
    pub(crate) gone: Gone,
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

/// Which of a feed's messages, and for whom.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Lane {
    All,
    Selected(Key<View>),
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
            ring: Ring::default(),
            exclusive: None,
            served: None,
            groups: Groups::default(),
            views: Views::new(),
            gone: Gone::default(),
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

    /// Those of a lane that may have credit, in the order of their turns.
    pub(crate) fn ring(&mut self, lane: Lane) -> &mut Ring {
        match lane {
            Lane::All => &mut self.ring,
            Lane::Selected(view) => {
                let view = self.views.get_mut(view);
                &mut view.expect("a view is there as long as its consumers").ring
            }
        }
    }

    /// The lanes to whose consumers something may be new: those with the highest priority first,
    /// and among equals the one after that which was served last.
    pub(crate) fn take_stirred(&mut self) -> Vec<Lane> {
        let stirred = self.views.take_stirred();
        let mut lanes = vec![Lane::All];
        lanes.extend(stirred.into_iter().map(Lane::Selected));
        lanes.sort_unstable();
        let after = lanes.partition_point(|lane| Some(*lane) <= self.served);
        lanes.rotate_left(after);
        lanes.sort_by_key(|lane| Reverse(self.ring(*lane).priority()));
        lanes
    }

    /// The lane there was served: its equals come first now.
    pub(crate) fn serve(&mut self, lanes: &mut [Lane], at: usize) {
        self.served = Some(lanes[at]);
        let priority = self.ring(lanes[at]).priority();
        let lower = |lane: &Lane| self.ring(*lane).priority() < priority;
        let end = lanes[at..].iter().position(lower);
        let end = end.map_or(lanes.len(), |lower| at + lower);
        lanes[at..end].rotate_left(1);
    }

    /// The next message of a lane, if it is in memory and committed.
    pub(crate) fn ready(&self, lane: Lane) -> Option<&Entry> {
        match lane {
            Lane::All => self.backlog.ready(),
            Lane::Selected(view) => self.views.get(view)?.next(self.backlog.visible),
        }
    }

    /// Takes out what [`ready`](Self::ready) shows, of all lanes.
    pub(crate) fn take(&mut self, lane: Lane, memory: &mut Memory) -> Option<Entry> {
        let entry = match lane {
            Lane::All => self.backlog.take(memory)?,
            Lane::Selected(_) => {
                let entry = self.ready(lane)?.clone();
                self.backlog.taken(entry.sequence, memory);
                entry
            }
        };
        self.views.taken(entry.sequence, memory);
        Some(entry)
    }

    /// The read that should be made now for a lane, if any: it is under way then.
    pub(crate) fn page(
        &mut self,
        lane: Lane,
        token: u64,
        limits: &Limits,
        memory: &mut Memory,
    ) -> Option<Page> {
        match lane {
            Lane::All => {
                let page = self.backlog.page(limits, memory)?;
                self.backlog.begin_loading(token, &page, memory);
                Some(page)
            }
            Lane::Selected(view) => {
                let view = self.views.get_mut(view)?;
                let page = view.page(self.backlog.visible, limits, memory)?;
                view.begin_loading(token, &page, memory);
                Some(page)
            }
        }
    }

    /// A taken message comes back to its place.
    pub(crate) fn give_back(&mut self, entry: Entry, memory: &mut Memory) {
        self.views.put(&entry, memory);
        self.backlog.give_back(entry, memory);
    }

    pub(crate) fn may_expire(&self, now_ms: u64) -> bool {
        self.backlog.may_expire(now_ms) || self.views.may_expire(now_ms)
    }

    /// Takes out what has expired in memory, as [`take`](Self::take) does.
    pub(crate) fn expire(&mut self, now_ms: u64, memory: &mut Memory) -> Vec<Entry> {
        let mut expired = self.backlog.expire(now_ms, memory);
        for entry in &expired {
            self.views.taken(entry.sequence, memory);
        }
        for (sequence, entry) in self.views.expired(now_ms) {
            self.backlog.taken(sequence, memory);
            self.views.taken(sequence, memory);
            expired.push(entry);
        }
        expired
    }

    /// A message of the store is done with, by this batch.
    pub(crate) fn delete(&mut self, sequence: u64, batch: u64) {
        if !self.views.is_empty() || self.backlog.has_gap() {
            self.gone.insert(sequence, batch);
        }
    }

    /// What was read for a lane is there, except what is not to be had.
    pub(crate) fn loaded(
        &mut self,
        lane: Lane,
        mut loaded: Vec<Loaded>,
        more_from: Option<u64>,
        memory: &mut Memory,
    ) {
        if let Lane::Selected(view) = lane {
            self.pass(view, loaded.first().map(|(sequence, ..)| *sequence));
        }
        let gone = &self.gone;
        loaded.retain(|(sequence, ..)| !gone.contains(*sequence));
        let view = match lane {
            Lane::All => return self.backlog.page_in(loaded, more_from, memory),
            Lane::Selected(view) => view,
        };
        let backlog = &self.backlog;
        loaded.retain(|(sequence, ..)| !backlog.is_open(*sequence));
        let entries = loaded
            .into_iter()
            .map(|(sequence, encoded_bytes, message)| {
                let message = Arc::new(message);
                let mut entry = Entry::new(sequence, message, encoded_bytes, Held::Stored);
                (entry.deliveries, entry.failures) = backlog.counts(sequence);
                if sequence < backlog.recovered_below {
                    entry.deliveries = entry.deliveries.max(1);
                }
                entry
            });
        self.views.page_in(view, entries, more_from, memory);
    }

    /// A view read from where the backlog would: before `first`, nothing is alive.
    fn pass(&mut self, view: Key<View>, first: Option<u64>) {
        let reading = self.views.get(view).and_then(View::reading);
        if let Some((from, to)) = reading
            && self.backlog.loading().is_none()
        {
            self.backlog.swept_through(from, first.unwrap_or(to));
        }
    }

    /// How far the watermark should be now. `horizon`: where the next message
    /// would be.
    pub(crate) fn watermark_wanted(&self, horizon: u64, step: u64) -> u64 {
        if self.consumers.is_empty() {
            return self.dispatched.proposed;
        }
        let own = self.takes_all().then(|| self.backlog.front(self.next));
        let front = own.max(self.views.front(self.next)).unwrap_or(self.next);
        let ahead = front.saturating_add(step);
        self.dispatched.proposed.max(horizon.min(ahead))
    }

    /// Whether it has a consumer without a selector.
    pub(crate) fn takes_all(&self) -> bool {
        self.consumers.len() > self.views.consumers()
    }
}

/// Where a feed stood when it was last stored.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Cursors {
    pub(crate) from: u64,
    pub(crate) next: u64,
    pub(crate) dispatched: u64,
}
