//! The remembered keys of sends: the last few one by one, those before them in pages.
//!
//! A new master reads all of them before it begins; pages make that a matter of
//! a few large values.

use bytes::Bytes;

use super::{Damage, NUMBER_MAX, NumberKey, number_key, parse_number};

/// Recent keys, in a ring: the nth is in slot `n % SLOTS`.
pub(crate) const SLOT_KIND: u8 = b'w';
/// Pages, by the number of their first key.
pub(crate) const PAGE_KIND: u8 = b'W';

/// Slots in the store. So many keys at most are in no page yet.
pub(crate) const SLOTS: u32 = 1_024;

const DIGEST_BYTES: usize = 16;

/// What a slot holds: which send since the beginning, and its key's digest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Slot {
    pub(crate) counter: u64,
    pub(crate) digest: u128,
}

impl Slot {
    pub(crate) fn key(self) -> NumberKey {
        let slot = self.counter % u64::from(SLOTS);
        number_key(
            SLOT_KIND,
            u32::try_from(slot).expect("it is less than SLOTS"),
        )
    }

    pub(crate) fn value(self) -> [u8; 24] {
        let mut value = [0; 24];
        value[..8].copy_from_slice(&self.counter.to_be_bytes());
        value[8..].copy_from_slice(&self.digest.to_be_bytes());
        value
    }

    pub(crate) fn parse(key: &[u8], value: &[u8]) -> Result<Self, Damage> {
        parse_number(SLOT_KIND, key)?;
        let (counter, digest) = value.split_at_checked(8).ok_or(Damage::Value)?;
        let counter = u64::from_be_bytes(counter.try_into().map_err(|_| Damage::Value)?);
        if counter > NUMBER_MAX {
            return Err(Damage::Value);
        }
        Ok(Self {
            counter,
            digest: u128::from_be_bytes(digest.try_into().map_err(|_| Damage::Value)?),
        })
    }
}

/// Consecutive keys, the first of which is the `first`th send since the beginning.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Page {
    pub(crate) first: u64,
    /// Their digests, one after the other. Invariant: there is one, and none is in part.
    digests: Bytes,
}

impl Page {
    pub(crate) fn new(first: u64, digests: impl Iterator<Item = u128>) -> Self {
        let digests: Vec<u8> = digests.flat_map(u128::to_be_bytes).collect();
        Self {
            first,
            digests: digests.into(),
        }
    }

    /// The number of the first send that is not in it.
    pub(crate) fn end(&self) -> u64 {
        self.first + (self.digests.len() / DIGEST_BYTES) as u64
    }

    pub(crate) fn slots(&self) -> impl Iterator<Item = Slot> {
        let digests = self.digests.as_chunks::<DIGEST_BYTES>().0.iter();
        (self.first..).zip(digests).map(|(counter, digest)| Slot {
            counter,
            digest: u128::from_be_bytes(*digest),
        })
    }

    pub(crate) fn key(first: u64) -> [u8; 9] {
        let mut key = [PAGE_KIND; 9];
        key[1..].copy_from_slice(&first.to_be_bytes());
        key
    }

    pub(crate) fn value(&self) -> &[u8] {
        &self.digests
    }

    pub(crate) fn parse(key: &[u8], value: Bytes) -> Result<Self, Damage> {
        let first = match key {
            [PAGE_KIND, first @ ..] => first.try_into().map_err(|_| Damage::Key)?,
            _ => return Err(Damage::Key),
        };
        if value.is_empty() || !value.len().is_multiple_of(DIGEST_BYTES) {
            return Err(Damage::Value);
        }
        let first = u64::from_be_bytes(first);
        if first > NUMBER_MAX {
            return Err(Damage::Key);
        }
        Ok(Self {
            first,
            digests: value,
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn slots_round_trip(counter: u32, digest: u128) {
            let counter = counter.into();
            let slot = Slot { counter, digest };
            prop_assert_eq!(Slot::parse(&slot.key(), &slot.value()), Ok(slot));
        }

        #[test]
        fn pages_round_trip(first in any::<u32>(), digests in prop::collection::vec(any::<u128>(), 1..50)) {
            let page = Page::new(first.into(), digests.iter().copied());
            let read = Page::parse(&Page::key(page.first), page.value().to_vec().into()).unwrap();
            prop_assert_eq!(read.end(), u64::from(first) + digests.len() as u64);
            let slots: Vec<Slot> = read.slots().collect();
            let numbered = (u64::from(first)..).zip(digests);
            let expected: Vec<Slot> =
                numbered.map(|(counter, digest)| Slot { counter, digest }).collect();
            prop_assert_eq!(slots, expected);
            prop_assert_eq!(read, page);
        }
    }

    #[test]
    fn a_page_with_a_part_of_a_digest_is_damage() {
        let value = Bytes::from_static(&[0; DIGEST_BYTES + 1]);
        assert_eq!(Page::parse(&Page::key(3), value), Err(Damage::Value));
    }
}
