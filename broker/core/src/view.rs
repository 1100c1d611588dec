//! What consumers with a selector see of a queue.
//!
//! A view reads the queue's messages for itself, from the first one on, and keeps those that its
//! selector takes until they are delivered, by itself or elsewhere. What it does not take stays
//! where it is, for others. All consumers with the same selector share one view; it goes with the
//! last of them.
//!
//! Like its queue's [`Backlog`](crate::backlog::Backlog) it is in memory only as far as it is about
//! to be delivered: beyond `ready` there may be a gap, which is read page by page.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::backlog::{Page, page_max};
use crate::entry::{Entry, Held, Memory};
use crate::limits::Limits;
use crate::ring::Ring;
use crate::selector::{Redelivery, Selector};

/// See the head of this file.
#[derive(Debug)]
pub(crate) struct View {
    pub(crate) selector: Arc<Selector>,
    pub(crate) consumers: usize,
    /// Those that may have credit, in the order of their turns.
    pub(crate) ring: Ring,
    /// Selected, and with nobody.
    ready: BTreeMap<u64, Entry>,
    /// Stored ones among them.
    kept_messages: usize,
    kept_bytes: usize,
    gap: Option<Gap>,
    /// What was deleted before this view was there is deleted by this batch at the latest: until
    /// it is committed, a read might show it.
    read_after: u64,
    loading: Option<Loading>,
    /// Nothing in `ready` expires before.
    expires_first_ms: u64,
    /// Something may be new to its consumers.
    pub(crate) is_stirred: bool,
}

/// What a queue has in the store when a view of it begins.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Stored {
    pub(crate) from: u64,
    pub(crate) next: u64,
    /// The last batch that changes it.
    pub(crate) changed: u64,
}

/// Messages from `from` to below `to` were not looked at: they are only in the store.
#[derive(Debug)]
struct Gap {
    from: u64,
    to: u64,
    /// Small enough to be read at once: what is new is kept behind it.
    closing: bool,
}

/// A read under way. The memory for its answer is reserved.
#[derive(Debug)]
struct Loading {
    token: u64,
    to: u64,
    bytes: usize,
}

impl View {
    /// Of a queue whose stored messages are from `from` to below `next`, and were last changed by
    /// the batch `changed`.
    pub(crate) fn new(selector: Arc<Selector>, stored: Stored) -> Self {
        let Stored {
            from,
            next,
            changed,
        } = stored;
        Self {
            selector,
            consumers: 0,
            ring: Ring::default(),
            ready: BTreeMap::new(),
            kept_messages: 0,
            kept_bytes: 0,
            gap: (from < next).then_some(Gap {
                from,
                to: next,
                closing: false,
            }),
            read_after: changed,
            loading: None,
            expires_first_ms: u64::MAX,
            is_stirred: false,
        }
    }

    pub(crate) fn selects(&self, entry: &Entry) -> bool {
        let redelivery = Redelivery {
            redelivered: entry.deliveries > 0,
            redeliveries: entry.deliveries,
        };
        self.selector.matches_message(&entry.message, redelivery)
    }

    /// A new stored message that it selects.
    pub(crate) fn offer(&mut self, entry: Entry, limits: &Limits, memory: &mut Memory) {
        let is_whole = self.gap.as_ref().is_none_or(|gap| gap.closing);
        let has_room = self.kept_messages < limits.window_messages_max
            && self.kept_bytes + entry.bytes <= limits.window_bytes_max
            && memory.windows + entry.bytes <= limits.windows_bytes_max;
        let to = entry.sequence + 1;
        if is_whole && has_room {
            self.keep(entry, memory);
            return;
        }
        let gap = self.gap.get_or_insert(Gap {
            from: entry.sequence,
            to,
            closing: false,
        });
        gap.to = to;
        gap.closing = false;
    }

    /// A message that is not in the store, or comes back to where this view has read already.
    pub(crate) fn keep(&mut self, entry: Entry, memory: &mut Memory) {
        if entry.held == Held::Stored {
            self.kept_messages += 1;
            self.kept_bytes += entry.bytes;
            memory.windows += entry.bytes;
        }
        if entry.message.expires_ms != 0 {
            self.expires_first_ms = self.expires_first_ms.min(entry.message.expires_ms);
        }
        let before = self.ready.insert(entry.sequence, entry);
        assert!(before.is_none(), "a message is in a view once");
    }

    /// Whether it will yet read what is stored there.
    pub(crate) fn will_read(&self, sequence: u64) -> bool {
        let gap = self.gap.as_ref();
        gap.is_some_and(|gap| (gap.from..gap.to).contains(&sequence))
    }

    pub(crate) fn has(&self, sequence: u64) -> bool {
        self.ready.contains_key(&sequence)
    }

    /// Takes a message out: it is delivered, here or elsewhere.
    pub(crate) fn remove(&mut self, sequence: u64, memory: &mut Memory) -> Option<Entry> {
        let entry = self.ready.remove(&sequence)?;
        if entry.held == Held::Stored {
            self.kept_messages -= 1;
            self.kept_bytes -= entry.bytes;
            memory.windows -= entry.bytes;
        }
        Some(entry)
    }

    /// Whether its next message is in memory, committed or not.
    pub(crate) fn has_next(&self) -> bool {
        self.next(u64::MAX).is_some()
    }

    /// The next message to deliver, if it is in memory and below `visible`: committed.
    pub(crate) fn next(&self, visible: u64) -> Option<&Entry> {
        let end = self
            .gap
            .as_ref()
            .map_or(visible, |gap| gap.from.min(visible));
        let (_, entry) = self.ready.first_key_value()?;
        (entry.sequence < end).then_some(entry)
    }

    /// The lowest sequence that it may deliver next; `next` if there is none.
    pub(crate) fn front(&self, next: u64) -> u64 {
        let first = self.ready.keys().next().copied().unwrap_or(next);
        self.gap.as_ref().map_or(first, |gap| gap.from.min(first))
    }

    /// Whether there is something to read that it may not read before a commit.
    pub(crate) fn waits(&self, committed: u64, visible: u64) -> bool {
        let gap = self.gap.as_ref();
        gap.is_some_and(|gap| self.read_after > committed || gap.from >= visible)
    }

    /// What the read under way began and will end with.
    pub(crate) fn reading(&self) -> Option<(u64, u64)> {
        let from = self.gap.as_ref()?.from;
        self.loading.as_ref().map(|loading| (from, loading.to))
    }

    /// The read that should be made now, if any.
    pub(crate) fn page(&mut self, visible: u64, limits: &Limits, memory: &Memory) -> Option<Page> {
        if self.loading.is_some() {
            return None;
        }
        let gap = self.gap.as_mut()?;
        let (messages_max, bytes_max) = page_max(limits);
        let is_full = self.kept_messages > messages_max || self.kept_bytes > bytes_max;
        let waits = self
            .ready
            .keys()
            .next()
            .is_some_and(|first| *first < gap.from);
        if waits && (is_full || memory.windows >= limits.windows_bytes_max) {
            return None;
        }
        let page = Page::of_gap(gap.from, gap.to.min(visible), limits, memory);
        gap.closing |= gap.to - gap.from <= page.messages_max as u64;
        (page.from < page.to).then_some(page)
    }

    pub(crate) fn begin_loading(&mut self, token: u64, page: &Page, memory: &mut Memory) {
        memory.windows += page.bytes_max;
        self.loading = Some(Loading {
            token,
            to: page.to,
            bytes: page.bytes_max,
        });
    }

    /// The token of the read under way.
    pub(crate) fn loading(&self) -> Option<u64> {
        self.loading.as_ref().map(|loading| loading.token)
    }

    /// The read was answered with `entries`, of which it takes what it selects. `more_from`: where
    /// to read on, if the range was not read to its end.
    pub(crate) fn page_in(
        &mut self,
        entries: impl Iterator<Item = Entry>,
        more_from: Option<u64>,
        memory: &mut Memory,
    ) {
        let loading = self.loading.take().expect("an answer follows a question");
        memory.windows -= loading.bytes;
        for entry in entries {
            if !self.has(entry.sequence) && self.selects(&entry) {
                self.keep(entry, memory);
            }
        }
        let gap = self.gap.as_mut().expect("a gap stays while it is read");
        gap.from = more_from.unwrap_or(loading.to);
        if gap.from >= gap.to {
            self.gap = None;
        }
    }

    pub(crate) fn may_expire(&self, now_ms: u64) -> bool {
        self.expires_first_ms <= now_ms
    }

    /// What has expired in memory.
    pub(crate) fn expired(&mut self, now_ms: u64) -> Vec<Entry> {
        if !self.may_expire(now_ms) {
            return Vec::new();
        }
        let mortal = self
            .ready
            .values()
            .filter(|one| one.message.expires_ms != 0);
        let (expired, left): (Vec<&Entry>, Vec<&Entry>) =
            mortal.partition(|entry| entry.is_expired(now_ms));
        let left = left.iter().map(|entry| entry.message.expires_ms);
        self.expires_first_ms = left.min().unwrap_or(u64::MAX);
        expired.into_iter().cloned().collect()
    }

    /// Gives up all memory: the view is no more.
    pub(crate) fn drop_from(&self, memory: &mut Memory) {
        memory.windows -= self.kept_bytes + self.loading.as_ref().map_or(0, |one| one.bytes);
    }
}
