//! The keys of the last sends, so that one that is repeated after a failover
//! is stored once.
//!
//! In memory a key costs 16 bytes for its digest and 12 to 23 for finding it.

use std::collections::VecDeque;

use hashbrown::HashTable;
use sha2::{Digest as _, Sha256};

use crate::address::Address;
use crate::batch::BatchEncoder;
use crate::keyspace::Damage;
use crate::keyspace::duplicate::{Page, SLOTS, Slot};
use crate::limits::Limits;

/// A send's key within its destination: 128 bits of SHA-256.
pub(crate) fn digest(address: Address<'_>, key: &str) -> u128 {
    let mut hash = Sha256::new();
    hash.update(address.kind.as_str().as_bytes());
    hash.update((address.name.len() as u64).to_be_bytes());
    hash.update(address.name.as_bytes());
    hash.update(key.as_bytes());
    let bytes: [u8; 32] = hash.finalize().into();
    let (half, _) = bytes.split_at(16);
    u128::from_be_bytes(half.try_into().expect("half of 32 bytes are 16"))
}

/// The keys of stored messages, which outlive their master, and apart from them
/// those of messages that do not: a flood of these makes none of those forgotten.
#[derive(Debug)]
pub(crate) struct Duplicates {
    stored: Ring,
    volatile: Ring,
    /// Numbers of the first and after the last key of each page in the store, rising.
    pages: VecDeque<(u64, u64)>,
    /// Keys from here on are in no page.
    paged_to: u64,
}

impl Duplicates {
    /// Nothing is known yet.
    pub(crate) fn new(limits: &Limits) -> Self {
        Self {
            stored: Ring::new(limits.duplicate_window),
            volatile: Ring::new(limits.duplicate_window_volatile),
            pages: VecDeque::new(),
            paged_to: 0,
        }
    }

    /// The next page that was read from the store: they come in their order.
    pub(crate) fn restore_page(&mut self, page: &Page) -> Result<(), Damage> {
        if page.first < self.paged_to {
            return Err(Damage::Overlap);
        }
        for slot in page.slots() {
            self.stored.restore(slot);
        }
        self.pages.push_back((page.first, page.end()));
        self.paged_to = page.end();
        Ok(())
    }

    /// The slots that were read from the store, in any order, after all pages.
    pub(crate) fn restore_slots(&mut self, mut slots: Vec<Slot>) {
        slots.sort_unstable_by_key(|slot| slot.counter);
        if self.pages.is_empty() {
            self.paged_to = slots.first().map_or(0, |slot| slot.counter);
        }
        for slot in slots {
            // What has become part of a page stays in its slot until it is overwritten.
            if slot.counter >= self.paged_to {
                self.stored.restore(slot);
            }
        }
    }

    pub(crate) fn contains(&self, digest: u128) -> bool {
        self.stored.contains(digest) || self.volatile.contains(digest)
    }

    /// Remembers a send that is not stored, as long as this mastership lasts.
    pub(crate) fn remember_volatile(&mut self, digest: u128) {
        self.volatile.push(digest);
    }

    /// Remembers a send, together with its message.
    pub(crate) fn remember_stored(&mut self, digest: u128, encoder: &mut BatchEncoder) {
        let counter = self.stored.push(digest);
        let page_keys = u64::from(self.stored.window.min(SLOTS));
        if self.stored.next - self.paged_to >= page_keys {
            self.turn_page(encoder);
        } else {
            let slot = Slot { counter, digest };
            encoder.put(&slot.key(), &slot.value());
        }
    }

    /// Everything that is in no page goes into one; pages that nobody asks for go.
    fn turn_page(&mut self, encoder: &mut BatchEncoder) {
        let oldest = self.stored.oldest();
        let first = self.paged_to.max(oldest);
        let end = self.stored.next;
        let page = Page::new(first, (first..end).map(|counter| self.stored.at(counter)));
        encoder.put(&Page::key(first), page.value());
        self.pages.push_back((first, end));
        self.paged_to = end;
        while let Some((first, _)) = self.pages.pop_front_if(|(_, end)| *end <= oldest) {
            encoder.delete(&Page::key(first));
        }
    }
}

/// In the place of a key that is not known; a digest is never like it by chance.
const NONE: u128 = 0;

/// The digests of the last `window` keys: the nth is in slot `n % window`.
#[derive(Debug)]
struct Ring {
    /// At least 1.
    window: u32,
    /// The number of the next key.
    next: u64,
    slots: Vec<u128>,
    /// The slots that hold a digest, found by it.
    table: HashTable<u32>,
}

impl Ring {
    fn new(window: u32) -> Self {
        let window = window.max(1);
        let capacity = usize::try_from(window).expect("a usize has 32 bits");
        Self {
            window,
            next: 0,
            // To grow later would hold up everybody while all is moved. Memory that
            // was never written costs nothing.
            slots: Vec::with_capacity(capacity),
            // At most half full, it clears away what removals leave without growing.
            table: HashTable::with_capacity(2 * capacity),
        }
    }

    /// The number of the oldest key that is not forgotten.
    fn oldest(&self) -> u64 {
        self.next.saturating_sub(u64::from(self.window))
    }

    /// What was missing from the store is none.
    fn at(&self, counter: u64) -> u128 {
        let digest = self.slots.get(position(self.slot(counter)));
        digest.copied().unwrap_or(NONE)
    }

    fn slot(&self, counter: u64) -> u32 {
        let slot = counter % u64::from(self.window);
        u32::try_from(slot).expect("it is less than the window")
    }

    fn contains(&self, digest: u128) -> bool {
        let is_it = |slot: &u32| self.slots[position(*slot)] == digest;
        self.table.find(hash(digest), is_it).is_some()
    }

    /// Puts a key into its place, which is after that of all others.
    fn restore(&mut self, slot: Slot) {
        if slot.counter < self.next {
            return;
        }
        if !self.table.is_empty() {
            // Keys that are missing are not known any more, and neither is what they replaced.
            let window = u64::from(self.window);
            for counter in self.next.max(slot.counter.saturating_sub(window))..slot.counter {
                self.place(counter, NONE);
            }
        }
        self.place(slot.counter, slot.digest);
        self.next = slot.counter + 1;
    }

    fn place(&mut self, counter: u64, digest: u128) {
        let slot = self.slot(counter);
        let needed = self.slots.len().max(position(slot) + 1);
        self.slots.resize(needed, NONE);
        self.put(slot, digest);
    }

    /// Takes the next key, and gives its number. The oldest is forgotten for it.
    fn push(&mut self, digest: u128) -> u64 {
        let counter = self.next;
        let slot = self.slot(counter);
        self.next += 1;
        if position(slot) == self.slots.len() {
            self.slots.push(NONE);
        }
        self.put(slot, digest);
        counter
    }

    fn put(&mut self, slot: u32, digest: u128) {
        let old = std::mem::replace(&mut self.slots[position(slot)], digest);
        if old != NONE {
            let known = self.table.find_entry(hash(old), |other| *other == slot);
            known.expect("each digest of the ring is found").remove();
        }
        if digest != NONE {
            let slots = &self.slots;
            self.table
                .insert_unique(hash(digest), slot, |other| hash(slots[position(*other)]));
        }
    }
}

fn position(slot: u32) -> usize {
    usize::try_from(slot).expect("a usize has 32 bits")
}

/// Digests are as good as random: some of their bits are the hash.
#[expect(clippy::cast_possible_truncation, reason = "half of it is enough")]
fn hash(digest: u128) -> u64 {
    digest as u64
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use bytes::Bytes;
    use prost::Message as _;
    use replicamq_proto::store::v1::Batch;
    use replicamq_proto::store::v1::op::Kind;

    use super::*;
    use crate::address::DestinationKind;
    use crate::keyspace::duplicate::{PAGE_KIND, SLOT_KIND};

    /// A broker's memory of keys, and the store beneath it.
    struct Memory {
        duplicates: Duplicates,
        store: BTreeMap<Bytes, Bytes>,
    }

    impl Memory {
        fn new(window: u32) -> Self {
            Self {
                duplicates: Duplicates::new(&limits(window)),
                store: BTreeMap::new(),
            }
        }

        fn remember(&mut self, digests: impl Iterator<Item = u128>) {
            let mut encoder = BatchEncoder::default();
            for digest in digests {
                self.duplicates.remember_stored(digest, &mut encoder);
            }
            for op in Batch::decode(encoder.take()).unwrap().ops {
                match op.kind.unwrap() {
                    Kind::Put(put) => drop(self.store.insert(put.key, put.value)),
                    Kind::Delete(key) => drop(self.store.remove(&key)),
                    Kind::DeleteRange(_) => panic!("keys go one by one"),
                }
            }
        }

        /// Another master, with this window.
        fn fail_over(&mut self, window: u32) {
            let mut slots = Vec::new();
            self.duplicates = Duplicates::new(&limits(window));
            for (key, value) in &self.store {
                match key[0] {
                    PAGE_KIND => {
                        let page = Page::parse(key, value.clone()).unwrap();
                        self.duplicates.restore_page(&page).unwrap();
                    }
                    SLOT_KIND => slots.push(Slot::parse(key, value).unwrap()),
                    _ => panic!("{key:?} is no key of this file"),
                }
            }
            self.duplicates.restore_slots(slots);
        }

        /// The digests from `from` to below `to` are known, and none before.
        #[track_caller]
        fn knows(&self, from: u128, to: u128) {
            let unknown = (from..to).find(|digest| !self.duplicates.contains(*digest));
            let unforgotten = (1..from).find(|digest| self.duplicates.contains(*digest));
            assert_eq!((unknown, unforgotten), (None, None));
        }
    }

    fn limits(window: u32) -> Limits {
        Limits {
            duplicate_window: window,
            duplicate_window_volatile: 3,
            ..Limits::default()
        }
    }

    #[test]
    fn the_window_slides_and_survives() {
        for window in [1, 2, 3, 1_000, 1_024, 1_025, 5_000] {
            let mut memory = Memory::new(window);
            let mut next = 1;
            for more in [1, 1, 2, 500, 523, 1, 1_024, 3_000, 7] {
                memory.remember(next..next + more);
                next += more;
                memory.knows(next.saturating_sub(window.into()).max(1), next);
                memory.fail_over(window);
                memory.knows(next.saturating_sub(window.into()).max(1), next);
            }
            // All slots, and pages for the window and a little more.
            let bound = SLOTS + window / window.min(SLOTS) + 2;
            assert!(memory.store.len() <= position(bound), "window {window}");
        }
    }

    #[test]
    fn a_window_may_shrink_and_grow() {
        let mut memory = Memory::new(4_000);
        memory.remember(1..10_001);
        memory.knows(6_001, 10_001);
        memory.fail_over(10);
        memory.knows(9_991, 10_001);
        memory.remember(10_001..10_016);
        memory.knows(10_006, 10_016);
        // What is still in the store may be known again.
        memory.fail_over(3_000);
        assert!((10_006..10_016).all(|digest| memory.duplicates.contains(digest)));
        memory.remember(10_016..20_001);
        memory.knows(17_001, 20_001);
        memory.fail_over(3_000);
        memory.knows(17_001, 20_001);
        let pages = memory.store.keys().filter(|key| key[0] == PAGE_KIND);
        assert!(pages.count() <= 4);
    }

    #[test]
    fn a_page_that_is_missing_takes_nothing_else_with_it() {
        const PAGE: u128 = SLOTS as u128;
        let mut memory = Memory::new(4 * SLOTS);
        // A window and a half, so that the ring has turned.
        memory.remember(1..6 * PAGE + 8);
        let second = memory.store.keys().filter(|key| key[0] == PAGE_KIND).nth(2);
        let second = second.unwrap().clone();
        let lost = Page::parse(&second, memory.store.remove(&second).unwrap()).unwrap();
        let lost: Vec<u128> = lost.slots().map(|slot| slot.digest).collect();
        memory.fail_over(4 * SLOTS);
        for digest in 1..6 * PAGE + 8 {
            let known = digest >= 2 * PAGE + 8 && !lost.contains(&digest);
            assert_eq!(memory.duplicates.contains(digest), known, "{digest}");
        }
        let next = 6 * PAGE + 8;
        memory.remember(next..next + 9_000);
        memory.knows(next + 9_000 - 4 * PAGE, next + 9_000);
    }

    #[test]
    fn keys_of_what_is_not_stored_are_remembered_apart() {
        let mut memory = Memory::new(3);
        memory.remember(1..4);
        for digest in 10..15 {
            memory.duplicates.remember_volatile(digest);
        }
        memory.knows(1, 4);
        let volatile = (10..15).filter(|digest| memory.duplicates.contains(*digest));
        assert!(volatile.eq(12..15));
        memory.fail_over(3);
        memory.knows(1, 4);
        assert!(!memory.duplicates.contains(14));
    }

    #[test]
    fn a_key_counts_within_its_destination() {
        let address = |kind, name| Address { kind, name };
        let one = digest(address(DestinationKind::Queue, "a"), "bc");
        assert_ne!(one, digest(address(DestinationKind::Topic, "a"), "bc"));
        assert_ne!(one, digest(address(DestinationKind::Queue, "ab"), "c"));
        assert_eq!(one, digest(address(DestinationKind::Queue, "a"), "bc"));
    }
}
