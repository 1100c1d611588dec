//! One slot of the ring of remembered keys of sends.

use super::{Damage, NumberKey, number_key, parse_number};

pub(crate) const KIND: u8 = b'w';

/// What a slot holds: which send since the beginning, and its key's digest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Slot {
    pub(crate) counter: u64,
    pub(crate) digest: u128,
}

impl Slot {
    pub(crate) fn value(self) -> [u8; 24] {
        let mut value = [0; 24];
        value[..8].copy_from_slice(&self.counter.to_be_bytes());
        value[8..].copy_from_slice(&self.digest.to_be_bytes());
        value
    }
}

pub(crate) fn key(slot: u32) -> NumberKey {
    number_key(KIND, slot)
}

pub(crate) fn parse(key: &[u8], value: &[u8]) -> Result<(u32, Slot), Damage> {
    let (counter, digest) = value.split_at_checked(8).ok_or(Damage::Value)?;
    let slot = Slot {
        counter: u64::from_be_bytes(counter.try_into().map_err(|_| Damage::Value)?),
        digest: u128::from_be_bytes(digest.try_into().map_err(|_| Damage::Value)?),
    };
    Ok((parse_number(KIND, key)?, slot))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn round_trip(number: u32, counter: u64, digest: u128) {
            let slot = Slot { counter, digest };
            prop_assert_eq!(parse(&key(number), &slot.value()), Ok((number, slot)));
        }
    }
}
