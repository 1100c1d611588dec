//! The keys of the last sends, so that one that is repeated after a failover
//! is stored once.

use std::hash::{BuildHasherDefault, Hasher};

use hashbrown::HashMap;
use sha2::{Digest as _, Sha256};

use crate::address::Address;
use crate::keyspace::duplicate::Slot;

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

/// Digests are as good as random: some of their bits are the hash.
#[derive(Debug, Default)]
struct DigestHasher(u64);

impl Hasher for DigestHasher {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for (index, byte) in bytes.iter().enumerate() {
            self.0 ^= u64::from(*byte) << (index % 8 * 8);
        }
    }
}

/// A ring of digests. Slot `n % window` holds the nth.
#[derive(Debug)]
pub(crate) struct Duplicates {
    window: u32,
    /// The number of the next send.
    counter: u64,
    slots: Vec<u128>,
    /// Each digest in the ring, with the number of its last send.
    seen: HashMap<u128, u64, BuildHasherDefault<DigestHasher>>,
}

impl Duplicates {
    /// `stored` holds the slots that were read from the store, in any order.
    pub(crate) fn new(window: u32, mut stored: Vec<Slot>) -> Self {
        stored.sort_unstable_by_key(|slot| slot.counter);
        let window = window.max(1);
        let mut duplicates = Self {
            window,
            counter: 0,
            slots: Vec::new(),
            seen: HashMap::default(),
        };
        let Some(last) = stored.last().map(|slot| slot.counter) else {
            return duplicates;
        };
        duplicates.counter = last + 1;
        let oldest = duplicates.counter.saturating_sub(u64::from(window));
        let filled = duplicates.counter.min(u64::from(window));
        duplicates.slots = vec![0; usize::try_from(filled).expect("a window fits in memory")];
        for slot in stored.into_iter().filter(|slot| slot.counter >= oldest) {
            let index = duplicates.index(slot.counter);
            duplicates.slots[index] = slot.digest;
            duplicates.seen.insert(slot.digest, slot.counter);
        }
        duplicates
    }

    pub(crate) fn contains(&self, digest: u128) -> bool {
        self.seen.contains_key(&digest)
    }

    /// Remembers a send; the oldest is forgotten for it. Gives the slot to store.
    pub(crate) fn remember(&mut self, digest: u128) -> (u32, Slot) {
        let counter = self.counter;
        self.counter += 1;
        let index = self.index(counter);
        if index == self.slots.len() {
            self.slots.push(digest);
        } else {
            let old = std::mem::replace(&mut self.slots[index], digest);
            let forgotten = counter - u64::from(self.window);
            if self.seen.get(&old) == Some(&forgotten) {
                self.seen.remove(&old);
            }
        }
        self.seen.insert(digest, counter);
        let number = u32::try_from(index).expect("a window has 32 bits");
        (number, Slot { counter, digest })
    }

    fn index(&self, counter: u64) -> usize {
        usize::try_from(counter % u64::from(self.window)).expect("a window fits in memory")
    }
}

#[cfg(test)]
mod tests {
    use crate::address::DestinationKind;

    use super::*;

    #[test]
    fn the_window_slides() {
        let mut duplicates = Duplicates::new(3, Vec::new());
        let slots: Vec<_> = (1..=4).map(|digest| duplicates.remember(digest)).collect();
        assert!(!duplicates.contains(1));
        assert!((2..=4).all(|digest| duplicates.contains(digest)));
        assert_eq!(
            slots[3],
            (
                0,
                Slot {
                    counter: 3,
                    digest: 4
                }
            )
        );

        let stored = slots[1..].iter().map(|(_, slot)| *slot).collect();
        let mut again = Duplicates::new(3, stored);
        assert!((2..=4).all(|digest| again.contains(digest)));
        assert_eq!(again.remember(5).0, 1);
        assert!(!again.contains(2));
    }

    #[test]
    fn slots_that_were_never_written_do_not_matter() {
        let stored = vec![
            Slot {
                counter: 7,
                digest: 7,
            },
            Slot {
                counter: 1,
                digest: 1,
            },
        ];
        let mut duplicates = Duplicates::new(3, stored);
        assert!(duplicates.contains(7) && !duplicates.contains(1));
        for digest in 8..20 {
            duplicates.remember(digest);
        }
        assert!(duplicates.contains(17) && !duplicates.contains(16));
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
