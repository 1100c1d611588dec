//! The record of a topic that has, or had, durable subscriptions.

use bytes::Bytes;
use prost::Message as _;

use super::{Damage, NUMBER_MAX, NumberKey, number_key, parse_number};

pub(crate) const KIND: u8 = b'T';

/// Written with every batch that stores or trims messages of the topic.
#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct Record {
    #[prost(string, tag = "1")]
    pub(crate) name: String,
    /// The next stored message gets at least this number.
    #[prost(uint64, tag = "2")]
    pub(crate) next_sequence: u64,
    /// Messages below were deleted: every durable subscription passed them.
    #[prost(uint64, tag = "3")]
    pub(crate) trimmed: u64,
}

pub(crate) fn key(topic: u32) -> NumberKey {
    number_key(KIND, topic)
}

pub(crate) fn parse(key: &[u8], value: Bytes) -> Result<(u32, Record), Damage> {
    let record = Record::decode(value).map_err(|_| Damage::Value)?;
    if record.trimmed > record.next_sequence || record.next_sequence > NUMBER_MAX {
        return Err(Damage::Value);
    }
    Ok((parse_number(KIND, key)?, record))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn round_trip(topic: u32, name in ".*", trimmed: u32, more: u32) {
            let record = Record {
                name,
                next_sequence: u64::from(trimmed) + u64::from(more),
                trimmed: u64::from(trimmed),
            };
            let value = Bytes::from(record.encode_to_vec());
            prop_assert_eq!(parse(&key(topic), value), Ok((topic, record)));
        }
    }
}
