//! The record of a queue: enough to go on after a restart without reading its messages.

use bytes::Bytes;
use prost::Message as _;

use super::{Damage, NUMBER_MAX, NumberKey, number_key, parse_number};

pub(crate) const KIND: u8 = b'q';

/// Written with every batch that touches the queue.
#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct Record {
    #[prost(string, tag = "1")]
    pub(crate) name: String,
    /// The next persistent message gets at least this number.
    #[prost(uint64, tag = "2")]
    pub(crate) next_sequence: u64,
    /// No message below lives: where reading begins.
    #[prost(uint64, tag = "3")]
    pub(crate) head: u64,
    /// Persistent messages in the queue.
    #[prost(uint64, tag = "4")]
    pub(crate) depth: u64,
    /// Messages below may have been delivered.
    #[prost(uint64, tag = "5")]
    pub(crate) dispatched: u64,
}

pub(crate) fn key(queue: u32) -> NumberKey {
    number_key(KIND, queue)
}

pub(crate) fn parse(key: &[u8], value: Bytes) -> Result<(u32, Record), Damage> {
    let record = Record::decode(value).map_err(|_| Damage::Value)?;
    let high = record.next_sequence.max(record.depth) > NUMBER_MAX;
    if high || record.head > record.next_sequence || record.dispatched > record.next_sequence {
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
        fn round_trip(queue: u32, name in ".*", head: u32, live: u32, depth: u32) {
            let next_sequence = u64::from(head) + u64::from(live);
            let (head, depth) = (u64::from(head), u64::from(depth));
            let record = Record { name, next_sequence, head, depth, dispatched: head };
            let value = Bytes::from(record.encode_to_vec());
            prop_assert_eq!(parse(&key(queue), value), Ok((queue, record)));
        }
    }

    #[test]
    fn a_head_beyond_the_end_is_damage() {
        let record = Record {
            head: 2,
            next_sequence: 1,
            ..Record::default()
        };
        let value = Bytes::from(record.encode_to_vec());
        assert_eq!(parse(&key(1), value), Err(Damage::Value));
    }
}
