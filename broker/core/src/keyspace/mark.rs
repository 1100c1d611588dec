//! A message that a durable subscription acknowledged while an older one is
//! still open. Marks below the watermark are deleted in ranges.

use super::{Damage, SequenceKey, parse_sequence, sequence_key};

pub(crate) const KIND: u8 = b'a';

pub(crate) fn key(durable: u32, sequence: u64) -> SequenceKey {
    sequence_key(KIND, durable, sequence)
}

pub(crate) fn parse(key: &[u8]) -> Result<(u32, u64), Damage> {
    parse_sequence(KIND, key)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn round_trip(durable: u32, sequence: u64) {
            prop_assert_eq!(parse(&key(durable, sequence)), Ok((durable, sequence)));
        }
    }
}
