//! The messages of a feed that nobody has yet, of which only the next few are
//! in memory.
//!
//! In the order of their sequences: `returned`, `window`, then perhaps a `gap`
//! that is only in the store and is loaded page by page, then `behind`. A feed
//! without a gap takes new messages straight into the window. Once a message
//! found no room there is a gap, and new stored messages only make it longer,
//! until what is left of it fits a page: then it closes, and new messages
//! gather behind it.
//!
//! A feed without consumers may give up what is in the store. Of what was
//! `returned` a `shadow` stays then, and the message is read again in its turn.
//!
//! Whatever was delivered from here has a lower sequence than the window's first message, and no
//! stored message expires in memory behind a gap. But consumers with a selector take messages
//! from anywhere (see `view.rs`), and sweeps delete some. So what is read of a gap may be with
//! somebody or have come back; and what is gone, its feed knows until no read can show it.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use crate::entry::{Entry, Held, Memory};
use crate::limits::Limits;

mod page;

use page::Part;
pub(crate) use page::{Loaded, Page, page_max, page_room};

/// Sequences from `from` to below `to` whose messages are only in the store.
#[derive(Debug)]
struct Gap {
    from: u64,
    to: u64,
    /// It does not grow any more: new messages gather behind it.
    closing: bool,
}

/// A message that was returned and is now only in the store.
#[derive(Debug, Clone, Copy)]
struct Shadow {
    /// As in its [`Entry`].
    deliveries: u32,
    failures: u32,
}

/// Where the next message is.
enum Place {
    Returned,
    Window,
}

/// A read under way. The memory for its answer is reserved.
#[derive(Debug, Clone, Copy)]
struct Loading {
    token: u64,
    part: Part,
    to: u64,
    bytes: usize,
}

/// See the head of this file.
#[derive(Debug)]
pub(crate) struct Backlog {
    returned: BTreeMap<u64, Entry>,
    shadows: BTreeMap<u64, Shadow>,
    window: VecDeque<Entry>,
    gap: Option<Gap>,
    behind: VecDeque<Entry>,
    /// Stored messages in `window` and `behind`, which the limits bound.
    kept_messages: usize,
    kept_bytes: usize,
    /// Messages that were delivered and are not settled. Volatile ones count,
    /// too: `lowest` must never move back.
    open: BTreeSet<u64>,
    loading: Option<Loading>,
    /// Messages below are committed.
    pub(crate) visible: u64,
    /// Stored messages below may have been delivered by an earlier master.
    pub(crate) recovered_below: u64,
    /// Nothing that [`expire`](Self::expire) may take expires before.
    expires_first_ms: u64,
    /// Nothing that only the store has expires before, as far as is known.
    pub(crate) sweep_due_ms: u64,
}

impl Backlog {
    /// Everything from `from` to below `next` is in the store.
    pub(crate) fn new(from: u64, next: u64, recovered_below: u64) -> Self {
        Self {
            returned: BTreeMap::new(),
            shadows: BTreeMap::new(),
            window: VecDeque::new(),
            gap: (from < next).then_some(Gap {
                from,
                to: next,
                closing: false,
            }),
            behind: VecDeque::new(),
            kept_messages: 0,
            kept_bytes: 0,
            open: BTreeSet::new(),
            loading: None,
            visible: next,
            recovered_below,
            expires_first_ms: u64::MAX,
            sweep_due_ms: if from < next { 0 } else { u64::MAX },
        }
    }

    /// Whether one more stored message may be kept in memory.
    pub(crate) fn has_room(&self, bytes: usize, limits: &Limits, memory: &Memory) -> bool {
        self.kept_messages < limits.window_messages_max
            && self.kept_bytes + bytes <= limits.window_bytes_max
            && memory.windows + bytes <= limits.windows_bytes_max
            && self.gap.as_ref().is_none_or(|gap| gap.closing)
    }

    /// Takes a new stored message, for which there is room.
    pub(crate) fn push_stored(&mut self, entry: Entry, memory: &mut Memory) {
        assert!(
            entry.held == Held::Stored,
            "only stored messages are kept for speed"
        );
        memory.windows += entry.bytes;
        self.kept_messages += 1;
        self.kept_bytes += entry.bytes;
        self.push(entry);
    }

    /// Takes a new message that has no other place.
    pub(crate) fn push_volatile(&mut self, entry: Entry) {
        assert!(
            entry.held == Held::Volatile,
            "a stored message has a limit of its own"
        );
        self.push(entry);
    }

    fn push(&mut self, entry: Entry) {
        self.note_expiry(&entry);
        match self.gap {
            None => self.window.push_back(entry),
            Some(_) => self.behind.push_back(entry),
        }
    }

    fn note_sweep(&mut self, expires_ms: u64) {
        self.sweep_due_ms = self.sweep_due_ms.min(never_if_0(expires_ms));
    }

    fn note_expiry(&mut self, entry: &Entry) {
        if entry.message.expires_ms != 0 {
            self.expires_first_ms = self.expires_first_ms.min(entry.message.expires_ms);
        }
    }

    /// Leaves a new stored message in the store alone. `expires_ms`: never if 0.
    pub(crate) fn skip(&mut self, sequence: u64, expires_ms: u64, memory: &mut Memory) {
        self.note_sweep(expires_ms);
        match &mut self.gap {
            None => {
                self.gap = Some(Gap {
                    from: sequence,
                    to: sequence + 1,
                    closing: false,
                });
            }
            Some(gap) => {
                gap.to = sequence + 1;
                gap.closing = false;
                self.forget_behind(memory);
            }
        }
    }

    /// The gap grew over what had gathered behind it.
    fn forget_behind(&mut self, memory: &mut Memory) {
        let (messages, bytes) = (&mut self.kept_messages, &mut self.kept_bytes);
        let due_ms = &mut self.sweep_due_ms;
        self.behind.retain(|entry| {
            if entry.held == Held::Stored {
                *due_ms = (*due_ms).min(never_if_0(entry.message.expires_ms));
                *messages -= 1;
                *bytes -= entry.bytes;
                memory.windows -= entry.bytes;
            }
            entry.held != Held::Stored
        });
    }

    /// Drops from memory what is in the store. Right only while no change of
    /// this feed is uncommitted and nothing is being read.
    pub(crate) fn evict(&mut self, memory: &mut Memory) {
        assert!(
            self.loading.is_none(),
            "a read would go on behind what is dropped"
        );
        for (sequence, entry) in &self.returned {
            if entry.held == Held::Stored {
                memory.windows -= entry.bytes;
                let shadow = Shadow {
                    deliveries: entry.deliveries,
                    failures: entry.failures,
                };
                self.shadows.insert(*sequence, shadow);
            }
        }
        self.returned.retain(|_, entry| entry.held != Held::Stored);
        let first = self
            .window
            .iter()
            .position(|entry| entry.held == Held::Stored)
            .unwrap_or(self.window.len());
        let mut dropped = self.window.split_off(first);
        dropped.append(&mut self.behind);
        for entry in dropped {
            if entry.held != Held::Stored {
                self.behind.push_back(entry);
                continue;
            }
            self.note_sweep(entry.message.expires_ms);
            self.kept_messages -= 1;
            self.kept_bytes -= entry.bytes;
            memory.windows -= entry.bytes;
            let gap = self.gap.get_or_insert(Gap {
                from: entry.sequence,
                to: entry.sequence + 1,
                closing: false,
            });
            gap.from = gap.from.min(entry.sequence);
            gap.to = gap.to.max(entry.sequence + 1);
        }
        match &mut self.gap {
            Some(gap) => gap.closing = false,
            None => self.window.append(&mut self.behind),
        }
    }

    /// Whether [`evict`](Self::evict) would free anything.
    pub(crate) fn is_keeping(&self) -> bool {
        let mut returned = self.returned.values();
        self.kept_messages > 0 || returned.any(|entry| entry.held == Held::Stored)
    }

    /// The next message to deliver, if it is in memory and committed.
    pub(crate) fn ready(&self) -> Option<&Entry> {
        let window = self.window.front();
        match self.place()? {
            Place::Returned => self.returned.first_key_value().map(|(_, entry)| entry),
            Place::Window => window.filter(|entry| entry.sequence < self.visible),
        }
    }

    /// Where the next message is; nowhere if something before it has to be read.
    fn place(&self) -> Option<Place> {
        let before = self.shadows.keys().next().copied().unwrap_or(u64::MAX);
        let front = self.front(u64::MAX);
        let returned = self.returned.keys().next();
        if returned.is_some_and(|sequence| *sequence < front && *sequence < before) {
            return Some(Place::Returned);
        }
        (!self.window.is_empty() && front < before).then_some(Place::Window)
    }

    /// Whether the oldest message that is not done with is with a consumer.
    pub(crate) fn is_oldest_open(&self) -> bool {
        self.returned.is_empty() && self.shadows.is_empty() && !self.open.is_empty()
    }

    /// Takes out what [`ready`](Self::ready) shows.
    pub(crate) fn take(&mut self, memory: &mut Memory) -> Option<Entry> {
        self.ready()?;
        let entry = match self.place()? {
            Place::Returned => self.returned.pop_first()?.1,
            Place::Window => {
                let entry = self.window.pop_front()?;
                self.unkeep(&entry);
                entry
            }
        };
        if entry.held == Held::Stored {
            memory.windows -= entry.bytes;
        }
        self.open.insert(entry.sequence);
        Some(entry)
    }

    /// A consumer took this message from elsewhere.
    pub(crate) fn taken(&mut self, sequence: u64, memory: &mut Memory) {
        let is_new = self.open.insert(sequence);
        assert!(is_new, "a message is with one consumer at a time");
        self.shadows.remove(&sequence);
        let kept =
            remove(&mut self.window, sequence).or_else(|| remove(&mut self.behind, sequence));
        if let Some(entry) = &kept {
            self.unkeep(entry);
        }
        let entry = kept.or_else(|| self.returned.remove(&sequence));
        if let Some(entry) = entry.filter(|entry| entry.held == Held::Stored) {
            memory.windows -= entry.bytes;
        }
    }

    /// How often a message that only the store has was delivered and given back on purpose.
    pub(crate) fn counts(&self, sequence: u64) -> (u32, u32) {
        let shadow = self.shadows.get(&sequence);
        let returned = self.returned.get(&sequence);
        let returned = returned.map(|entry| (entry.deliveries, entry.failures));
        let shadow = shadow.map(|shadow| (shadow.deliveries, shadow.failures));
        returned.or(shadow).unwrap_or_default()
    }

    /// Whether a consumer has it.
    pub(crate) fn is_open(&self, sequence: u64) -> bool {
        self.open.contains(&sequence)
    }

    fn unkeep(&mut self, entry: &Entry) {
        if entry.held == Held::Stored {
            self.kept_messages -= 1;
            self.kept_bytes -= entry.bytes;
        }
    }

    /// A taken message comes back to its place.
    pub(crate) fn give_back(&mut self, entry: Entry, memory: &mut Memory) {
        self.settle(entry.sequence);
        if entry.held == Held::Stored {
            memory.windows += entry.bytes;
        }
        self.note_expiry(&entry);
        self.returned.insert(entry.sequence, entry);
    }

    /// A taken message is no longer with a consumer.
    pub(crate) fn settle(&mut self, sequence: u64) {
        let was_open = self.open.remove(&sequence);
        assert!(was_open, "only what was taken is settled");
    }

    /// The lowest sequence that is not done with; `next` if all are.
    pub(crate) fn lowest(&self, next: u64) -> u64 {
        let open = self.open.first().copied();
        let returned = self
            .returned
            .first_key_value()
            .map(|(sequence, _)| *sequence);
        let shadow = self.shadows.first_key_value();
        let shadow = shadow.map(|(sequence, _)| *sequence);
        [open, returned, shadow]
            .into_iter()
            .flatten()
            .fold(self.front(next), u64::min)
    }

    /// The lowest sequence that was not delivered yet; `next` if all were.
    pub(crate) fn front(&self, next: u64) -> u64 {
        let in_window = self.window.front().map(|entry| entry.sequence);
        let in_gap = self.gap.as_ref().map(|gap| gap.from);
        in_window.or(in_gap).unwrap_or(next)
    }

    /// The read that should be made now, if any.
    pub(crate) fn page(&mut self, limits: &Limits, memory: &Memory) -> Option<Page> {
        if self.loading.is_some() {
            return None;
        }
        if let Some(page) = self.page_of_shadows(limits, memory) {
            return Some(page);
        }
        let gap = self.gap.as_mut()?;
        let (messages_max, bytes_max) = page_max(limits);
        let is_full = self.kept_messages > messages_max || self.kept_bytes > bytes_max;
        if !self.window.is_empty() && (is_full || memory.windows >= limits.windows_bytes_max) {
            return None;
        }
        let page = Page::of_gap(gap.from, gap.to.min(self.visible), limits, memory);
        gap.closing |= gap.to - gap.from <= page.messages_max as u64;
        (page.from < page.to).then_some(page)
    }

    /// Shadows are read when nothing comes before them: they were read ahead once.
    fn page_of_shadows(&self, limits: &Limits, memory: &Memory) -> Option<Page> {
        let (first, _) = self.shadows.first_key_value()?;
        let (last, _) = self.shadows.last_key_value()?;
        let returned = self.returned.first_key_value();
        let (messages_max, bytes_max) = page_room(limits, memory);
        returned
            .is_none_or(|(sequence, _)| sequence > first)
            .then_some(Page {
                part: Part::Shadows,
                from: *first,
                to: *last + 1,
                messages_max,
                bytes_max,
            })
    }

    /// The read is under way.
    pub(crate) fn begin_loading(&mut self, token: u64, page: &Page, memory: &mut Memory) {
        memory.windows += page.bytes_max;
        self.loading = Some(Loading {
            token,
            part: page.part,
            to: page.to,
            bytes: page.bytes_max,
        });
    }

    /// The token of the read under way.
    pub(crate) fn loading(&self) -> Option<u64> {
        self.loading.map(|loading| loading.token)
    }

    /// Takes the answer to the read under way. `more_from`: where to read on,
    /// if the range was not read to its end.
    pub(crate) fn page_in(
        &mut self,
        loaded: Vec<Loaded>,
        more_from: Option<u64>,
        memory: &mut Memory,
    ) {
        let loading = self.loading.take().expect("an answer follows a question");
        memory.windows -= loading.bytes;
        let end = more_from.unwrap_or(loading.to);
        match loading.part {
            Part::Gap => self.fill_gap(loaded, end, memory),
            Part::Shadows => self.fill_shadows(loaded, end, memory),
        }
    }

    /// Takes what was read of the shadows below `end`.
    fn fill_shadows(&mut self, loaded: Vec<Loaded>, end: u64, memory: &mut Memory) {
        for (sequence, encoded_bytes, message) in loaded {
            let Some(shadow) = self.shadows.remove(&sequence) else {
                continue;
            };
            let mut entry = Entry::new(sequence, Arc::new(message), encoded_bytes, Held::Stored);
            entry.deliveries = shadow.deliveries;
            entry.failures = shadow.failures;
            memory.windows += entry.bytes;
            self.note_expiry(&entry);
            self.returned.insert(sequence, entry);
        }
        assert!(
            self.shadows.range(..end).next().is_none(),
            "what is not done with is in the store"
        );
    }

    /// Takes what was read of the gap up to `end`.
    fn fill_gap(&mut self, loaded: Vec<Loaded>, end: u64, memory: &mut Memory) {
        for (sequence, encoded_bytes, message) in loaded {
            if self.is_elsewhere(sequence) {
                continue;
            }
            self.advance_behind(sequence);
            let entry = Entry::new(sequence, Arc::new(message), encoded_bytes, Held::Stored);
            memory.windows += entry.bytes;
            self.kept_messages += 1;
            self.kept_bytes += entry.bytes;
            self.note_expiry(&entry);
            self.window.push_back(entry);
        }
        self.pass_gap(end);
    }

    /// Nothing of the gap below `end` is only in the store any more.
    fn pass_gap(&mut self, end: u64) {
        let gap = self.gap.as_mut().expect("a gap stays while it is read");
        gap.from = end;
        if gap.from >= gap.to {
            self.gap = None;
            for entry in std::mem::take(&mut self.behind) {
                self.push(entry);
            }
        } else {
            self.advance_behind(end);
        }
    }

    /// Moves volatile messages below `sequence` into the window: the gap passed them.
    fn advance_behind(&mut self, sequence: u64) {
        while self
            .behind
            .front()
            .is_some_and(|entry| entry.sequence < sequence)
        {
            self.window.extend(self.behind.pop_front());
        }
    }

    /// Whether some of its messages are only in the store.
    pub(crate) fn has_gap(&self) -> bool {
        self.gap.is_some()
    }

    /// What a sweep should read from `from` on, if anything.
    pub(crate) fn sweep_range(&self, from: u64) -> Option<(u64, u64)> {
        let gap = self.gap.as_ref()?;
        let (from, to) = (from.max(gap.from), gap.to.min(self.visible));
        (self.loading.is_none() && from < to).then_some((from, to))
    }

    /// Whether it is in the gap.
    pub(crate) fn is_in_gap(&self, sequence: u64) -> bool {
        let gap = self.gap.as_ref();
        gap.is_some_and(|gap| (gap.from..gap.to).contains(&sequence))
    }

    /// Whether nobody but the store has it.
    pub(crate) fn is_only_stored(&self, sequence: u64) -> bool {
        self.is_in_gap(sequence) && !self.is_elsewhere(sequence)
    }

    /// Whether a message in the gap is with a consumer, or has come back from one.
    fn is_elsewhere(&self, sequence: u64) -> bool {
        self.open.contains(&sequence)
            || self.returned.contains_key(&sequence)
            || self.shadows.contains_key(&sequence)
    }

    /// A sweep found nothing alive from `from`, where the gap begins, to below `to`.
    pub(crate) fn swept_through(&mut self, from: u64, to: u64) {
        if self
            .gap
            .as_ref()
            .is_some_and(|gap| gap.from == from && gap.to >= to)
        {
            self.pass_gap(to);
        }
    }

    /// Copies of the non-persistent messages from `from` to below `to`.
    pub(crate) fn volatile_between(&self, from: u64, to: u64) -> Vec<Entry> {
        let returned = self.returned.range(from..to).map(|(_, entry)| entry);
        returned
            .chain(within(&self.window, from, to))
            .chain(within(&self.behind, from, to))
            .filter(|entry| entry.held == Held::Volatile)
            .cloned()
            .collect()
    }

    /// Whether something in memory may have expired.
    pub(crate) fn may_expire(&self, now_ms: u64) -> bool {
        self.expires_first_ms <= now_ms
    }

    /// Takes out what has expired, as [`take`](Self::take) does. Stored messages
    /// behind a gap stay: should it grow over them, they are read again, and
    /// perhaps before their deletion is committed.
    pub(crate) fn expire(&mut self, now_ms: u64, memory: &mut Memory) -> Vec<Entry> {
        let mut sieve = Sieve {
            now_ms,
            first_ms: u64::MAX,
            expired: Vec::new(),
        };
        self.returned.retain(|_, entry| sieve.keeps(entry));
        let returned = sieve.expired.len();
        self.window.retain(|entry| sieve.keeps(entry));
        self.behind
            .retain(|entry| entry.held == Held::Stored || sieve.keeps(entry));
        self.expires_first_ms = sieve.first_ms;
        for (index, entry) in sieve.expired.iter().enumerate() {
            if index >= returned {
                self.unkeep(entry);
            }
            if entry.held == Held::Stored {
                memory.windows -= entry.bytes;
            }
            self.open.insert(entry.sequence);
        }
        sieve.expired
    }

    /// Gives up all memory: the feed is no more.
    pub(crate) fn drop_from(&self, memory: &mut Memory) {
        memory.windows -= self.loading.map_or(0, |loading| loading.bytes);
        let ready = self.returned.values().chain(&self.window);
        for entry in ready.chain(&self.behind) {
            match entry.held {
                Held::Stored => memory.windows -= entry.bytes,
                Held::Volatile => memory.volatile -= entry.bytes,
                Held::Copy => {}
            }
        }
    }
}

/// Tells the expired from the living, and when the first of these expires.
struct Sieve {
    now_ms: u64,
    first_ms: u64,
    expired: Vec<Entry>,
}

impl Sieve {
    fn keeps(&mut self, entry: &Entry) -> bool {
        if entry.is_expired(self.now_ms) {
            self.expired.push(entry.clone());
            return false;
        }
        if entry.message.expires_ms != 0 {
            self.first_ms = self.first_ms.min(entry.message.expires_ms);
        }
        true
    }
}

fn never_if_0(expires_ms: u64) -> u64 {
    match expires_ms {
        0 => u64::MAX,
        ms => ms,
    }
}

fn remove(deque: &mut VecDeque<Entry>, sequence: u64) -> Option<Entry> {
    let index = deque.binary_search_by_key(&sequence, |entry| entry.sequence);
    deque.remove(index.ok()?)
}

fn within(deque: &VecDeque<Entry>, from: u64, to: u64) -> impl Iterator<Item = &Entry> {
    let first = deque.partition_point(|entry| entry.sequence < from);
    deque
        .range(first..)
        .take_while(move |entry| entry.sequence < to)
}
